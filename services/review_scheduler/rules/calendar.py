"""When campaigns begin and reviews are due: business days in the organization's own zone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from shared.contracts.directory import Organization
from shared.contracts.hr import end_of_day, start_of_day

SATURDAY = 5
MONTHS: dict[str, int] = {"month": 1, "quarter": 3, "year": 12}

WORK_BEGINS = time(8)
"""When people are told: in the morning, on the wall clock of their zone."""


@dataclass(frozen=True, slots=True)
class BusinessCalendar:
    """The organization's zone, and the days on which nobody is expected to work."""

    zone: ZoneInfo
    holidays: frozenset[date] = frozenset()

    def day(self, instant: datetime) -> date:
        """The calendar day of an instant."""
        return instant.astimezone(self.zone).date()

    def is_business_day(self, day: date) -> bool:
        """Monday to Friday, and no holiday."""
        return day.weekday() < SATURDAY and day not in self.holidays

    def count(self, day: date, business_days: int) -> date:
        """The business day so many business days after `day`, or before it for less than 0.

        For 0, `day` itself or the next one that is one.
        """
        step = timedelta(days=-1 if business_days < 0 else 1)
        if business_days == 0:
            while not self.is_business_day(day):
                day += step
            return day
        left = abs(business_days)
        while left:
            day += step
            left -= self.is_business_day(day)
        return day

    def morning(self, day: date) -> datetime:
        """The instant in UTC at which work begins on a day."""
        return datetime.combine(day, WORK_BEGINS, self.zone).astimezone(UTC)

    def due_after_days(self, begins: datetime, days: int) -> datetime:
        """The end, in UTC, of the last of so many calendar days; on a business day."""
        return end_of_day(self.count(self.day(begins) + timedelta(days=days), 0), self.zone)

    def due_after_business_days(self, begins: datetime, days: int) -> datetime:
        """The end, in UTC, of the last of so many business days."""
        return end_of_day(self.count(self.day(begins), days), self.zone)

    def due_day(self, due_at: datetime) -> date:
        """The last day on which an answer is in time; `due_at` is its end."""
        return self.day(due_at - timedelta(microseconds=1))

    def rung_at(self, due_at: datetime, days: int) -> datetime:
        """When the rung so many business days from the due day falls; 0 is the due instant."""
        return due_at if days == 0 else self.morning(self.count(self.due_day(due_at), days))

    def turn(self, opened_at: datetime, wave: int) -> datetime:
        """When a share of the workers of a campaign has its turn: one each business day."""
        return opened_at if wave == 0 else self.morning(self.count(self.day(opened_at), wave))


UNKNOWN = BusinessCalendar(ZoneInfo("UTC"))
"""While the organization's own zone has not arrived."""


def calendar_of(organization: Organization | None) -> BusinessCalendar:
    """The organization's own calendar."""
    if organization is None:
        return UNKNOWN
    return BusinessCalendar(ZoneInfo(organization.zone), frozenset(organization.holidays))


Every = Literal["month", "quarter", "year"]


def period_title(every: Every, day: date) -> str:
    """The period that a day is in, such as `2026-11`, `2026-Q4` or `2026`."""
    if every == "month":
        return f"{day:%Y-%m}"
    return f"{day.year}-Q{(day.month - 1) // 3 + 1}" if every == "quarter" else str(day.year)


def next_start(every: Every, now: datetime, zone: ZoneInfo) -> datetime:
    """The instant in UTC, always after `now`, at which the next period begins in `zone`."""
    today = now.astimezone(zone).date()
    months = MONTHS[every]
    begun = today.year * 12 + (today.month - 1) // months * months
    year, month = divmod(begun + months, 12)
    return start_of_day(date(year, month + 1, 1), zone)


def recertification_start(due_on: date, ahead_days: int, zone: ZoneInfo) -> datetime:
    """When a portal's recertification is reviewed: so many days before its own date."""
    return start_of_day(due_on - timedelta(days=ahead_days), zone)


def recertification_due(
    opened_at: datetime, days: int, due_on: date, calendar: BusinessCalendar
) -> datetime:
    """By when its reviews are due: as usual, but no later than the business day before the date."""
    usual = calendar.due_after_days(opened_at, days)
    latest = end_of_day(calendar.count(due_on, -1), calendar.zone)
    return min(usual, max(latest, calendar.due_after_business_days(opened_at, 1)))
