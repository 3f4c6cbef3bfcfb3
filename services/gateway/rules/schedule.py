"""When a source's list is expected, when it is late, and when a source has been silent too long."""

from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

USUAL_DAYS = 60
"""How far back a source's habits are looked at."""

USUAL_MIN_DAYS = 5
"""A source heard on fewer days has no habit yet."""


class Expected(BaseModel):
    """A list is expected by a time of day, in the organization's zone, on some days of the week."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: time
    days: frozenset[Weekday] = Field(default=frozenset(WEEKDAYS), min_length=1)

    def last_due(self, now: datetime, zone: ZoneInfo) -> datetime:
        """The latest instant, not after `now`, by which a list was expected."""
        return self._before(now.astimezone(zone).date(), zone, now)

    def counts_from(self, due: datetime, zone: ZoneInfo) -> datetime:
        """From when on a list counts for `due`: from halfway since the one before."""
        day = due.astimezone(zone).date() - timedelta(days=1)
        before = self._before(day, zone, due - timedelta(seconds=1))
        return before + (due - before) / 2

    def _before(self, day: date, zone: ZoneInfo, limit: datetime) -> datetime:
        while True:
            at = datetime.combine(day, self.by, tzinfo=zone)
            if WEEKDAYS[day.weekday()] in self.days and at <= limit:
                return at
            day -= timedelta(days=1)


def late_for(
    expected: Expected, last_list_at: datetime | None, now: datetime, zone: ZoneInfo
) -> datetime | None:
    """The instant by which a list should have come and has not; None while all is well."""
    due = expected.last_due(now, zone)
    if last_list_at is not None and last_list_at >= expected.counts_from(due, zone):
        return None
    return due


def usual_silence(heard_on: Collection[date]) -> int | None:
    """The longest that a source was silent between two days on which it was heard, in days."""
    days = sorted(set(heard_on))
    if len(days) < USUAL_MIN_DAYS:
        return None
    return max((b - a).days for a, b in pairwise(days))


def is_silent(heard_on: Collection[date], today: date) -> bool:
    """Whether a source has been silent for longer than it ever was, by more than a day."""
    usual = usual_silence(heard_on)
    return usual is not None and (today - max(heard_on)).days > usual + 1
