"""The geometry of the console's one chart: what is left of a campaign, and how it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 26
AHEAD_DAYS_MAX = 120
"""What would take longer than this is drawn up to here."""


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


def _polyline(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
