import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.review_scheduler.handlers import campaigns
from services.review_scheduler.handlers.calendars import open_due_campaigns
from services.review_scheduler.handlers.campaigns import open_next_chunk
from shared.contracts.state import WorkerState, WorkerStatus
from shared.errors import Problem
from tests.review_scheduler.worlds import (
    ORGANIZATION,
    START,
    World,
    administrator,
    directory_record,
    holds,
    organization,
    state,
)

NEW_YEAR = datetime(2027, 1, 1, 8, tzinfo=UTC)
"""Midnight in Los Angeles."""


async def titles(world: World) -> list[str]:
    """The quarterly campaigns; others by the default policy have tests of their own."""
    rows = await world.rows(
        "SELECT title FROM campaign WHERE calendar = 'quarterly' ORDER BY title"
    )
    return [row["title"] for row in rows]


QUARTER_DUE = "SELECT due_at FROM timer WHERE kind = 'calendar' AND key LIKE '%/quarterly'"


async def test_a_new_installation_has_no_campaign_before_its_first_quarter_begins(
    world: World,
) -> None:
    await world.begin(state("ana", access=[holds("noridian")]))

    await open_due_campaigns(world.pool, world.clock)
    world.clock.instant = NEW_YEAR.replace(hour=7, minute=59)
    await open_due_campaigns(world.pool, world.clock)
    assert await titles(world) == []

    world.clock.instant = NEW_YEAR
    await open_due_campaigns(world.pool, world.clock)
    assert await titles(world) == ["2027-Q1"]


async def test_replicas_and_restarts_open_a_quarter_once(world: World) -> None:
    await world.begin(*(state(f"w{n}", access=[holds("noridian")]) for n in range(5)))
    world.clock.instant = NEW_YEAR

    await asyncio.gather(*(open_due_campaigns(world.pool, world.clock) for _ in range(4)))
    await asyncio.gather(*(open_next_chunk(world.pool, world.clock) for _ in range(4)))
    await world.finish_opening()
    # The same directory once more, as after a restart that reads the topic from its beginning.
    await world.hear(directory_record("organization", ORGANIZATION, organization(), 2))
    await open_due_campaigns(world.pool, world.clock)
    await world.finish_opening()

    assert await titles(world) == ["2027-Q1"]
    assert [row["worker"] for row in await world.lines()] == ["w0", "w1", "w2", "w3", "w4"]
    opened = await world.said("campaign.opened")
    assert [each["calendar"] for each in opened].count("quarterly") == 1
    assert len(await world.said("review.opened")) == 5


async def test_each_quarter_gets_its_campaign_and_what_the_last_still_asks_is_not_asked_twice(
    world: World,
) -> None:
    await world.begin(state("ana", access=[holds("noridian")]))

    for month in (1, 4, 7, 10):
        world.clock.instant = datetime(2027, month, 2, tzinfo=UTC)
        await open_due_campaigns(world.pool, world.clock)
        await world.finish_opening()

    assert await titles(world) == ["2027-Q1", "2027-Q2", "2027-Q3", "2027-Q4"]
    assert len(await world.lines(status="undecided")) == 1
    counted = await world.rows("SELECT elsewhere FROM campaign WHERE calendar = 'quarterly'")
    assert sorted(row["elsewhere"] for row in counted) == [0, 1, 1, 1]


async def test_after_a_long_standstill_only_the_present_quarter_is_opened(world: World) -> None:
    await world.begin()
    world.clock.instant = datetime(2027, 8, 1, tzinfo=UTC)
    await world.hear(directory_record("organization", ORGANIZATION, organization(), 2))

    await open_due_campaigns(world.pool, world.clock)
    await open_due_campaigns(world.pool, world.clock)

    assert await titles(world) == ["2027-Q3"]


async def test_an_organization_that_moves_to_another_zone_moves_its_quarters(world: World) -> None:
    await world.begin()

    await world.hear(directory_record("organization", ORGANIZATION, organization("Asia/Tokyo"), 2))

    timers = await world.rows(QUARTER_DUE)
    assert [row["due_at"] for row in timers] == [datetime(2026, 12, 31, 15, tzinfo=UTC)]


async def test_a_quarter_that_begins_a_second_time_by_a_zone_further_west_opens_once(
    world: World,
) -> None:
    await world.begin()
    world.clock.instant = NEW_YEAR
    await open_due_campaigns(world.pool, world.clock)
    await world.hear(
        directory_record("organization", ORGANIZATION, organization("Pacific/Honolulu"), 2)
    )
    world.clock.instant = NEW_YEAR.replace(hour=10)

    await open_due_campaigns(world.pool, world.clock)

    assert await titles(world) == ["2027-Q1"]
    opened = await world.said("campaign.opened")
    assert [each["calendar"] for each in opened].count("quarterly") == 1
    assert await world.rows(QUARTER_DUE) == [{"due_at": datetime(2027, 4, 1, 10, tzinfo=UTC)}]


async def test_the_campaign_closes_once_when_its_last_reviews_close_at_the_same_time(
    world: World,
) -> None:
    names = [f"w{n}" for n in range(6)]
    await world.begin(*(state(name, access=[holds("noridian")]) for name in names))
    await world.open_campaign()

    await asyncio.gather(*(world.hear(state(name, 2)) for name in names))

    assert [each["reviews"] for each in await world.said("campaign.closed")] == [6]


async def test_a_command_opens_a_campaign_called_after_the_present_quarter(world: World) -> None:
    await world.begin(state("ana", access=[holds("noridian")]))

    await world.open_campaign()

    opened = await world.said("campaign.opened")
    assert [(each["title"], each["opened_by"], each["due_at"]) for each in opened] == [
        ("2026-Q4", "ada", "2026-12-08T08:00:00Z")
    ]


async def test_a_command_is_refused_while_a_campaign_is_unfinished(world: World) -> None:
    await world.begin(state("ana", access=[holds("noridian")]))
    await world.open_campaign()

    with pytest.raises(Problem) as refused:
        await world.open_campaign()

    assert refused.value.code == "campaign_unfinished"


async def test_a_command_is_refused_before_the_directory_is_known(world: World) -> None:
    with pytest.raises(Problem) as refused:
        await world.begin_campaign()

    assert refused.value.code == "organization_unknown"


async def test_a_campaign_that_finds_nothing_closes_without_an_empty_review(world: World) -> None:
    await world.begin(state("ana"))

    await world.open_campaign()

    assert await world.said("review.opened") == []
    assert [each["reviews"] for each in await world.said("campaign.closed")] == [0]


async def test_a_campaign_opens_in_chunks_and_goes_on_where_it_was_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaigns, "OPENING_CHUNK_WORKERS", 2)
    await world.begin(*(state(f"w{n}", access=[holds("noridian")]) for n in range(5)))
    await world.begin_campaign()

    await open_next_chunk(world.pool, world.clock)
    assert len(await world.lines()) == 2
    # One leaves before their turn, one after.
    await world.hear(
        state("w0", 2, access=[holds("noridian")], status=WorkerStatus.TERMINATED), state("w4", 2)
    )
    await world.finish_opening()

    assert [(each["worker"], each["status"]) for each in await world.lines()] == [
        ("w0", "moot"),
        ("w1", "undecided"),
        ("w2", "undecided"),
        ("w3", "undecided"),
    ]
    assert await world.said("campaign.closed") == []


PORTALS = st.lists(st.sampled_from(["availity", "lni", "noridian"]), unique=True)
WORKERS = st.dictionaries(
    st.sampled_from(["ana", "ben", "cho", "dee", "eli", "fay"]),
    st.tuples(
        PORTALS,
        st.sampled_from(["ana", "ben", "cho", "gus", None]),
        st.sampled_from([WorkerStatus.ACTIVE, WorkerStatus.ACTIVE, WorkerStatus.ON_LEAVE]),
    ),
    min_size=1,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(workers=WORKERS, admins=st.sets(st.sampled_from(["ana", "dee", "gus"]), max_size=2))
async def test_every_effective_entitlement_is_on_exactly_one_line_never_its_holders(
    world: World,
    workers: dict[str, tuple[list[str], str | None, WorkerStatus]],
    admins: set[str],
) -> None:
    async with world.pool.acquire() as conn:
        await conn.execute(
            "TRUNCATE line, review, campaign, worker, directory_object, timer, outbox CASCADE"
        )
    world.clock.instant = START
    states: list[WorkerState] = [
        state(name, access=[holds(each) for each in portals], supervisor=above, status=status)
        for name, (portals, above, status) in workers.items()
    ]
    await world.begin(
        *states,
        *(
            directory_record("administrator", each, administrator("noridian", each))
            for each in sorted(admins)
        ),
    )

    await world.open_campaign()

    lines = await world.lines()
    assert sorted((each["worker"], each["portal"]) for each in lines) == sorted(
        (name, portal) for name, (portals, _, _) in workers.items() for portal in portals
    )
    assert all(each["reviewer"] != each["worker"] for each in lines)
    assert all(
        each["reviewer"] is not None or each["reviewer_rule"] == "review_admin_queue"
        for each in lines
    )
