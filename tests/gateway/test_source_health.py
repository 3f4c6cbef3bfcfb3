"""How HR's sources fare: late lists raise an alarm, silence beyond the usual shows."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio

from services.gateway.handlers.source_health import SourceHealth
from services.gateway.rules.schedule import WEEKDAYS, Expected, is_silent, late_for
from services.gateway.sources import load_sources
from shared.clock import DatabaseClock
from shared.postgres import create_pool
from tests.gateway.conftest import SOURCE, Door, hired
from tests.gateway.lists import HrOffice, csv, line, state

ZONE = ZoneInfo("America/Los_Angeles")
NIGHTLY = Expected(by=time(6))
WEEKDAYS_ONLY = Expected(by=time(6), days=frozenset(WEEKDAYS[:5]))


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """In November 2026, of which the 2nd is a Monday."""
    return datetime(2026, 11, day, hour, minute, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("expected", "last", "now", "due"),
    [
        (NIGHTLY, at(4, 5, 40), at(4, 7), None),
        (NIGHTLY, at(3, 5, 40), at(4, 5, 59), None),
        (NIGHTLY, at(3, 5, 40), at(4, 7), at(4, 6)),
        # Yesterday's, which came late, does not count for today.
        (NIGHTLY, at(3, 9), at(4, 7), at(4, 6)),
        (NIGHTLY, None, at(4, 7), at(4, 6)),
        (WEEKDAYS_ONLY, at(6, 5), at(8, 12), None),
        (WEEKDAYS_ONLY, at(6, 5), at(9, 7), at(9, 6)),
    ],
)
def test_a_list_is_late_when_none_came_for_the_time_it_was_expected(
    expected: Expected, last: datetime | None, now: datetime, due: datetime | None
) -> None:
    assert late_for(expected, last, now, ZONE) == due


def test_a_source_is_silent_only_beyond_its_own_habit() -> None:
    weekly = [date(2026, 10, 5) + timedelta(days=7 * week) for week in range(5)]
    assert not is_silent(weekly, date(2026, 11, 10))
    assert is_silent(weekly, date(2026, 11, 12))
    assert not is_silent(weekly[:3], date(2027, 1, 1)), "it has no habit yet"


@pytest_asyncio.fixture(loop_scope="session")
async def office(door: Door) -> HrOffice:
    office = HrOffice(door)
    await office.begin()
    return office


async def checked(door: Door) -> None:
    """What the gateway's own loop does every half minute."""
    sources = load_sources(door.settings.sources_file)
    async with await create_pool(door.settings.database_url, max_size=1) as pool:
        await SourceHealth(pool, sources, DatabaseClock()).check()


async def test_a_late_list_raises_one_alarm_and_shows_until_it_comes(office: HrOffice) -> None:
    await office.know(state("w1"))
    answer = await office.door.http.put(
        f"/hr/v1/sources/{SOURCE}",
        json={"expected": {"by": "00:00"}, "mapping": {"statuses": {"Furloughed": "leave"}}},
        headers=office.headers,
    )
    assert answer.status_code == 200, answer.text
    for _ in range(2):
        await checked(office.door)
    alarms = [data for kind, data in await office.door.activity() if kind == "hr_file.late"]
    assert [each["source"] for each in alarms] == [SOURCE]
    (source,) = (await office.get("/hr/v1/sources"))["sources"]
    assert datetime.fromisoformat(source["late_since"]) <= datetime.now(UTC)
    assert source["mapping"]["statuses"] == {"Furloughed": "leave"}

    await office.plan(csv(line("w1", status="Furloughed")), apply=True)
    await checked(office.door)
    (source,) = (await office.get("/hr/v1/sources"))["sources"]
    assert source["late_since"] is None


async def test_each_source_shows_its_last_list_the_last_good_one_and_its_questions(
    office: HrOffice,
) -> None:
    await office.know(*(state(f"w{number}") for number in range(20)))
    await office.plan(csv(*(line(f"w{number}") for number in range(18))), name="thu", apply=True)
    await office.plan(csv(line("w1")), name="fri", apply=True)
    (source,) = (await office.get("/hr/v1/sources"))["sources"]
    assert (source["last_list"]["file"], source["last_list"]["status"]) == ("fri", "held")
    assert source["last_good_list"]["file"] == "thu"
    assert source["questions"] == 19


async def test_requests_that_no_source_signed_are_counted(office: HrOffice) -> None:
    before = (await office.get("/hr/v1/sources"))["wrong_signatures"]
    async with await create_pool(office.door.settings.database_url, max_size=1) as pool:
        health = SourceHealth(
            pool, load_sources(office.door.settings.sources_file), DatabaseClock()
        )
        health.note_wrong_signature()
        await health.check()
    assert (await office.get("/hr/v1/sources"))["wrong_signatures"] == before + 1


async def test_events_count_for_their_source_as_well(office: HrOffice) -> None:
    await office.door.send([hired("w1")])
    (source,) = (await office.get("/hr/v1/sources"))["sources"]
    assert source["accepted"] >= 1
    assert source["silent"] is False
