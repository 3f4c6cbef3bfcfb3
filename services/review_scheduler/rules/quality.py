"""What tells that reviews are not done well. Signals for a person to look into, never verdicts."""

from dataclasses import dataclass
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
