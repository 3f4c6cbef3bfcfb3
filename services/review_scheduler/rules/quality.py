"""What tells that reviews are not done well. Signals for a person to look into, never verdicts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Signal = Literal["rubber_stamping", "overloaded", "late"]

RUBBER_STAMP_LINES_MIN = 5
"""Fewer lines can be judged at a glance by whoever knows the person."""

RUBBER_STAMP_SECONDS_PER_LINE = 4.0
"""Reading what a line says takes longer; all kept faster than that was not read."""

OVERLOAD_OPEN_LINES = 150
"""More than a morning's work at a quarter of a minute each, beside one's own job."""

LATE_SHARE = 0.25
"""A quarter of somebody's reviews decided after their due date, or not at all by then."""

LATE_REVIEWS_MIN = 2

REPEATED_KEEPS_MIN = 2
"""A login that was dormant twice when it was kept was not used for at least a whole campaign."""

COVERAGE_DAYS = 365
"""Every entitlement is looked at within a year, as auditors count it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """One review as its reviewer worked through it (instants in UTC).

    `kept` of `decided` lines were kept; `read_at` is when the reviewer first looked at it.
    """

    decided: int
    kept: int
    read_at: datetime | None
    last_decided_at: datetime | None


def seconds_per_line(pace: Pace) -> float | None:
    """How long a reviewer looked at each line; None where that is not known."""
    if pace.read_at is None or pace.last_decided_at is None or not pace.decided:
        return None
    return max(0.0, (pace.last_decided_at - pace.read_at) / timedelta(seconds=1)) / pace.decided


def is_rubber_stamp(pace: Pace) -> bool:
    """Whether all was kept faster than it can be read; without a look at it, it was not read."""
    if pace.decided < RUBBER_STAMP_LINES_MIN or pace.kept < pace.decided:
        return False
    took = seconds_per_line(pace)
    return took is None or took < RUBBER_STAMP_SECONDS_PER_LINE


@dataclass(frozen=True, slots=True)
class Load:
    """What one reviewer was asked and how they answered; `late` counts reviews."""

    reviews: int
    late: int
    open_lines: int
    rubber_stamped: int


def signals(load: Load) -> tuple[Signal, ...]:
    """What a compliance officer should ask about, for one reviewer."""
    found: dict[Signal, bool] = {
        "rubber_stamping": load.rubber_stamped > 0,
        "late": load.late >= LATE_REVIEWS_MIN and load.late >= LATE_SHARE * load.reviews,
        "overloaded": load.open_lines > OVERLOAD_OPEN_LINES,
    }
    return tuple(name for name, holds in found.items() if holds)
