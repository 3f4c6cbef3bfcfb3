"""The geometry of the console's charts, which the server draws as SVG.

What is left of a campaign and how it goes on; how long removals took; when logins lapse.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.gateway.console.view import span

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 26
AHEAD_DAYS_MAX = 120
"""What would take longer than this is drawn up to here."""


LAPSED = -1
"""The week of what has lapsed already; 0 is the week that begins now."""


@dataclass(frozen=True, slots=True)
class BurnDown:
    """Points of polylines in a box of WIDTH by HEIGHT, and where its marks stand.

    `left` is what was left so far, `ahead` how it goes on at the pace of now.
    """

    left: str
    ahead: str
    due_x: float
    now_x: float
    top: int
    width: int = WIDTH
    height: int = HEIGHT
    x0: int = LEFT
    y0: int = HEIGHT - BOTTOM
    y1: int = TOP


def burn_down(
    campaign: Mapping[str, Any], progress: Mapping[str, Any], now: datetime, zone: ZoneInfo
) -> BurnDown | None:
    """A campaign's chart; None while nothing is asked."""
    lines: int = campaign["lines"] - campaign["moot"]
    if lines <= 0:
        return None
    opened = datetime.fromisoformat(campaign["opened_at"])
    due = datetime.fromisoformat(campaign["due_at"])
    closed = datetime.fromisoformat(campaign["closed_at"]) if campaign["closed_at"] else None
    until = closed or now
    told = progress["forecast"]["done_at"]
    done = datetime.fromisoformat(told) if told and not closed else None
    if done is not None:
        done = min(done, now + timedelta(days=AHEAD_DAYS_MAX))
    last = max(each for each in (due, until, done) if each is not None)

    def x(at: datetime) -> float:
        share: float = (at - opened) / (last - opened) if last > opened else 0.0
        return round(LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT), 1)

    def y(left: float) -> float:
        return round(HEIGHT - BOTTOM - max(0.0, left) / lines * (HEIGHT - TOP - BOTTOM), 1)

    def evening(day: str) -> datetime:
        return datetime.combine(date.fromisoformat(day) + timedelta(days=1), time.min, zone)

    points = [(x(opened), y(lines))]
    for each in progress["remaining"]:
        points.append((x(min(until, evening(each["day"]))), y(each["lines"])))
    undecided = campaign["undecided"]
    points.append((x(until), y(undecided)))
    ahead = [(x(now), y(undecided)), (x(done), y(0))] if done is not None and undecided else []
    return BurnDown(_polyline(points), _polyline(ahead), x(due), x(now), lines)


GAP = 8
"""Between two columns."""


@dataclass(frozen=True, slots=True)
class Column:
    """A labelled number as a rectangle that stands on the base line."""

    label: str
    number: int
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Where the label is centred."""
        return round(self.x + self.width / 2, 1)


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns in a box of WIDTH by HEIGHT; `mark_x` is where a line stands across them."""

    columns: tuple[Column, ...]
    mark_x: float | None = None
    width: int = WIDTH
    height: int = HEIGHT
    x0: int = LEFT
    x1: int = WIDTH - RIGHT
    y0: int = HEIGHT - BOTTOM
    y1: int = TOP


def columns(counted: Sequence[tuple[str, int]], mark: float | None = None) -> Columns | None:
    """Numbers side by side, the highest as high as the box; None where all are 0.

    Args:
        mark: across which column a line stands, and after which share of it: 2.5 is the middle of
            the third.
    """
    highest = max((number for _, number in counted), default=0)
    if not highest:
        return None
    step = (WIDTH - LEFT - RIGHT) / len(counted)
    # Room for the number above the highest.
    room = HEIGHT - TOP - BOTTOM - 14
    drawn = []
    for place, (label, number) in enumerate(counted):
        height = round(number / highest * room, 1)
        x = round(LEFT + place * step + GAP / 2, 1)
        y = round(HEIGHT - BOTTOM - height, 1)
        drawn.append(Column(label, number, x, y, round(step - GAP, 1), height))
    return Columns(tuple(drawn), None if mark is None else round(LEFT + mark * step, 1))


def removal_spread(removals: Mapping[str, Any]) -> Columns | None:
    """How long removals took, with a line where they were promised; None before the first."""
    bounds = [each["up_to_minutes"] for each in removals["spread"]]
    counted = [
        (f"≤ {span(bound * 60)}" if bound else "longer", each["removals"])
        for bound, each in zip(bounds, removals["spread"], strict=True)
    ]
    return columns(counted, _place(removals["promised_hours"] * 60, bounds))


def _place(minutes: float, bounds: Sequence[int | None]) -> float:
    """Across which column a span falls, and after which share of it."""
    lower = 0.0
    for place, bound in enumerate(bounds):
        if bound is None:
            break
        if minutes <= bound:
            return place + (minutes - lower) / (bound - lower)
        lower = bound
    return len(bounds) - 0.5


def lapses_by_week(weeks: Sequence[Mapping[str, Any]], days: int) -> Columns | None:
    """How many logins lapse in each of the weeks that `days` reach; None where none does."""
    counted = Counter[int]()
    for each in weeks:
        counted[each["week"]] += each["logins"]
    ahead = [(week_name(week), counted[week]) for week in range((days + 6) // 7)]
    lapsed = [(week_name(LAPSED), counted[LAPSED])] if counted[LAPSED] else []
    return columns([*lapsed, *ahead])


def lapses_by_portal(
    weeks: Sequence[Mapping[str, Any]],
) -> tuple[list[int], list[tuple[str, list[int]]]]:
    """The weeks in which anything lapses, and per portal how many logins do in each of them."""
    shown = sorted({each["week"] for each in weeks})
    counted: dict[str, Counter[int]] = {}
    for each in weeks:
        name = each["portal_name"] or each["portal"]
        counted.setdefault(name, Counter())[each["week"]] += each["logins"]
    return shown, [(name, [own[week] for week in shown]) for name, own in sorted(counted.items())]


def week_name(week: int) -> str:
    """A week counted from now, in words that fit below a column."""
    return {LAPSED: "lapsed", 0: "this week", 1: "next"}.get(week, f"+{week} wk")


def _polyline(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
