"""Quarters, due dates and business days, in the organization's own zone."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from shared.contracts.hr import end_of_day, start_of_day

CAMPAIGN_DUE_DAYS = 14
"""Two working weeks: a supervisor on a week's holiday still has a week for everybody's access."""

MICRO_REVIEW_DUE_BUSINESS_DAYS = 5
"""One working week: a mover holds old and new access together until somebody has looked."""

SATURDAY = 5
MONTHS_PER_QUARTER = 3


def quarter_title(day: date) -> str:
    """The calendar quarter of a day, such as `2026-Q4`."""
    return f"{day.year}-Q{(day.month - 1) // MONTHS_PER_QUARTER + 1}"


def next_quarter_start(now: datetime, zone: ZoneInfo) -> datetime:
    """The instant in UTC, always after `now`, at which the next quarter begins in `zone`."""
    today = now.astimezone(zone).date()
    months = today.year * 12 + (today.month - 1) // MONTHS_PER_QUARTER * MONTHS_PER_QUARTER
    year, month = divmod(months + MONTHS_PER_QUARTER, 12)
    return start_of_day(date(year, month + 1, 1), zone)


def campaign_due(opened_at: datetime, zone: ZoneInfo) -> datetime:
    """The end, in UTC, of the last day in `zone` on which a campaign's reviews are in time."""
    last_day = opened_at.astimezone(zone).date() + timedelta(days=CAMPAIGN_DUE_DAYS)
    return end_of_day(last_day, zone)


def micro_review_due(opened_at: datetime, zone: ZoneInfo) -> datetime:
    """The end, in UTC, of the last business day in `zone` on which a micro-review is in time.

    Business days are Monday to Friday; holidays are not known here.
    """
    day = opened_at.astimezone(zone).date()
    left = MICRO_REVIEW_DUE_BUSINESS_DAYS
    while left:
        day += timedelta(days=1)
        left -= day.weekday() < SATURDAY
    return end_of_day(day, zone)
