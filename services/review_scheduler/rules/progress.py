"""How fast a campaign is being decided, and when it would be done at that pace."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

PACE_DAYS = 7
"""A week has its weekend in it, whenever one looks."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """`done_at` (UTC) is None while nobody decides anything; `in_time` says whether by `due_at`."""

    lines_per_day: float
    done_at: datetime | None
    in_time: bool


def forecast(
    decided: Sequence[tuple[date, int]],
    undecided: int,
    opened_at: datetime,
    now: datetime,
    due_at: datetime,
    today: date,
) -> Forecast:
    """When a campaign would be decided at the pace of its last days.

    Args:
        decided: lines decided on each day in the organization's zone.
        today: the day of `now` in that zone.
    """
    days = min(float(PACE_DAYS), max(1.0, (now - opened_at) / timedelta(days=1)))
    recent = sum(count for day, count in decided if day > today - timedelta(days=PACE_DAYS))
    pace = recent / days
    if not undecided:
        return Forecast(round(pace, 1), now, True)
    if not pace:
        return Forecast(0.0, None, False)
    done_at = now + timedelta(days=undecided / pace)
    return Forecast(round(pace, 1), done_at, done_at <= due_at)


def remaining(decided: Sequence[tuple[date, int]], lines: int) -> list[tuple[date, int]]:
    """How many of `lines` were left at the end of each day on which some were decided."""
    left, points = lines, []
    for day, count in sorted(decided):
        left -= count
        points.append((day, left))
    return points
