"""Periods, business days and due instants, over clock changes and ends of months."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.review_scheduler.rules.calendar import (
    BusinessCalendar,
    next_start,
    period_title,
    recertification_due,
    recertification_start,
)

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
THANKSGIVING = date(2026, 11, 26)
PACIFIC = BusinessCalendar(LOS_ANGELES)
WITH_HOLIDAY = BusinessCalendar(LOS_ANGELES, frozenset({THANKSGIVING, date(2026, 11, 27)}))


@pytest.mark.parametrize(
    ("now", "zone", "start", "title"),
    [
        ("2026-11-23T16:00Z", "America/Los_Angeles", "2027-01-01T08:00Z", "2026-Q4"),
        # The clocks change between: a quarter that begins in summer time begins an hour earlier.
        ("2026-01-15T00:00Z", "America/Los_Angeles", "2026-04-01T07:00Z", "2026-Q1"),
        ("2026-07-01T06:59:59Z", "America/Los_Angeles", "2026-07-01T07:00Z", "2026-Q2"),
        ("2026-07-01T07:00Z", "America/Los_Angeles", "2026-10-01T07:00Z", "2026-Q3"),
        ("2026-12-31T13:00Z", "Pacific/Auckland", "2027-03-31T11:00Z", "2027-Q1"),
        ("2026-06-30T20:00Z", "Asia/Kolkata", "2026-09-30T18:30Z", "2026-Q3"),
    ],
)
def test_a_quarter_begins_at_midnight_in_the_organizations_zone(
    now: str, zone: str, start: str, title: str
) -> None:
    instant, place = datetime.fromisoformat(now), ZoneInfo(zone)

    assert next_start("quarter", instant, place) == datetime.fromisoformat(start)
    assert period_title("quarter", instant.astimezone(place).date()) == title


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["America/Los_Angeles", "Pacific/Apia", "Africa/Casablanca", "UTC"]),
)
def test_the_next_quarter_always_lies_ahead_and_begins_a_quarter(now: datetime, zone: str) -> None:
    place = ZoneInfo(zone)
    start = next_start("quarter", now, place)

    assert now < start
    assert period_title("quarter", start.astimezone(place).date()) != period_title(
        "quarter", now.astimezone(place).date()
    )
    assert next_start("quarter", start, place) > start


@pytest.mark.parametrize(
    ("opened", "due"),
    [
        # Monday: until the end of the Monday after.
        ("2026-11-23T16:00Z", "2026-12-01T08:00Z"),
        # Friday evening, which is Saturday in UTC: until the end of the Friday after.
        ("2026-11-21T03:00Z", "2026-11-28T08:00Z"),
        # Saturday: the weekend does not count.
        ("2026-11-21T20:00Z", "2026-11-28T08:00Z"),
        # Over the end of summer time, when a day has 25 hours.
        ("2026-10-30T17:00Z", "2026-11-07T08:00Z"),
    ],
)
def test_a_micro_review_is_due_after_five_business_days(opened: str, due: str) -> None:
    found = PACIFIC.due_after_business_days(datetime.fromisoformat(opened), 5)

    assert found == datetime.fromisoformat(due)


def test_a_campaign_is_due_at_the_end_of_the_fourteenth_day_also_when_the_clocks_change() -> None:
    opened = datetime(2026, 10, 26, 19, tzinfo=UTC)

    assert PACIFIC.due_after_days(opened, 14) == datetime(2026, 11, 10, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("every", "now", "start", "title"),
    [
        ("month", "2026-01-31T20:00Z", "2026-02-01T08:00Z", "2026-01"),
        ("month", "2026-02-28T20:00Z", "2026-03-01T08:00Z", "2026-02"),
        ("month", "2026-12-31T20:00Z", "2027-01-01T08:00Z", "2026-12"),
        # The clocks change within the month.
        ("month", "2026-03-02T20:00Z", "2026-04-01T07:00Z", "2026-03"),
        ("year", "2024-02-29T20:00Z", "2025-01-01T08:00Z", "2024"),
    ],
)
def test_months_and_years_begin_at_midnight_too(
    every: Any, now: str, start: str, title: str
) -> None:
    instant = datetime.fromisoformat(now)

    assert next_start(every, instant, LOS_ANGELES) == datetime.fromisoformat(start)
    assert period_title(every, PACIFIC.day(instant)) == title


@pytest.mark.parametrize(
    ("day", "days", "expected"),
    [
        (date(2026, 11, 25), 1, date(2026, 11, 30)),
        (date(2026, 11, 30), -1, date(2026, 11, 25)),
        (date(2026, 11, 26), 0, date(2026, 11, 30)),
        (date(2026, 11, 25), 0, date(2026, 11, 25)),
        (date(2027, 1, 29), 1, date(2027, 2, 1)),
        (date(2028, 2, 28), 1, date(2028, 2, 29)),
    ],
)
def test_business_days_pass_over_weekends_and_holidays(
    day: date, days: int, expected: date
) -> None:
    assert WITH_HOLIDAY.count(day, days) == expected


def test_what_would_be_due_on_a_holiday_is_due_on_the_next_business_day() -> None:
    opened = datetime(2026, 11, 12, 17, tzinfo=UTC)

    assert WITH_HOLIDAY.due_after_days(opened, 14) == datetime(2026, 12, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "instant"),
    [
        # Due at the end of Friday 13 March 2026, after the change to summer time on the 8th.
        (-5, "2026-03-06T16:00Z"),
        (-4, "2026-03-09T15:00Z"),
        (0, "2026-03-14T07:00Z"),
        (1, "2026-03-16T15:00Z"),
    ],
)
def test_rungs_fall_in_the_morning_of_business_days_on_the_wall_clock(
    days: int, instant: str
) -> None:
    due_at = datetime(2026, 3, 14, 7, tzinfo=UTC)

    assert PACIFIC.rung_at(due_at, days) == datetime.fromisoformat(instant)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 60),
)
def test_due_instants_end_business_days_and_rungs_come_in_their_order(
    opened: datetime, days: int
) -> None:
    due_at = WITH_HOLIDAY.due_after_days(opened, days)

    assert WITH_HOLIDAY.is_business_day(WITH_HOLIDAY.due_day(due_at))
    assert due_at > opened + timedelta(days=days - 1)
    rungs = [WITH_HOLIDAY.rung_at(due_at, each) for each in range(-5, 6)]
    assert rungs == sorted(set(rungs))


def test_a_recertification_is_reviewed_before_the_portals_own_date() -> None:
    due_on = date(2027, 3, 1)
    begins = recertification_start(due_on, 45, LOS_ANGELES)

    assert begins == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert recertification_due(begins, 14, due_on, PACIFIC) == datetime(2027, 1, 30, 8, tzinfo=UTC)
    # Known late: no later than the business day before, which is a Friday.
    late = datetime(2027, 2, 22, 17, tzinfo=UTC)
    assert recertification_due(late, 14, due_on, PACIFIC) == datetime(2027, 2, 27, 8, tzinfo=UTC)
