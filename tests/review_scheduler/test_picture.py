import random
from dataclasses import replace

import pytest

from services.review_scheduler.handlers.picture import PictureHandler
from shared.contracts.directory import Function, JobDuty
from shared.contracts.state import DecisionApplied, WorkerState, WorkerStatus
from shared.errors import Rejected
from tests.review_scheduler.worlds import (
    ORGANIZATION,
    SetClock,
    World,
    administrator,
    directory_record,
    holds,
    organization,
    state,
    state_record,
)

PICTURE = "SELECT * FROM worker ORDER BY worker"


async def test_states_out_of_order_and_doubled_converge_however_they_are_batched(
    world: World,
) -> None:
    history = [
        state(
            worker,
            version,
            access=[holds("noridian", operation=f"op-{version}")],
            title=f"Title {version}",
        )
        for worker in ("ana", "ben")
        for version in (1, 2, 3, 4)
    ]
    await world.begin(*history)
    expected = await world.rows(PICTURE)
    assert [row["version"] for row in expected] == [4, 4]

    for seed in range(5):
        shuffled = random.Random(seed).choices(history, k=12) + history
        random.Random(seed).shuffle(shuffled)
        async with world.pool.acquire() as conn:
            await conn.execute("DELETE FROM line; DELETE FROM review; DELETE FROM worker")
        for batch in _batches(shuffled):
            await world.hear(*batch)
        assert await world.rows(PICTURE) == expected


def _batches(states: list[WorkerState]) -> list[list[WorkerState]]:
    return [states[start : start + 3] for start in range(0, len(states), 3)]


async def test_a_state_after_a_restore_counts_although_its_version_is_lower(world: World) -> None:
    await world.begin(state("ana", 9, access=[holds("noridian")]))

    await world.hear(replace(state("ana", 2), epoch=2))
    await world.hear(state("ana", 10, access=[holds("noridian")]))

    assert [(row["epoch"], row["effective"]) for row in await world.rows(PICTURE)] == [(2, [])]


async def test_a_role_change_opens_a_micro_review_of_all_that_is_held(world: World) -> None:
    await world.begin(
        state("sam", supervisor=None),
        state("ana", access=[holds("noridian", "eligibility", "remittance"), holds("lni")]),
    )

    await world.hear(
        state(
            "ana",
            2,
            title="Front desk",
            access=[holds("noridian", "eligibility", "remittance"), holds("lni")],
        )
    )

    lines = await world.lines()
    assert [(each["portal"], each["function"]) for each in lines] == [
        ("lni", "eligibility"),
        ("noridian", "eligibility"),
        ("noridian", "remittance"),
    ]
    assert {(each["reviewer"], each["reviewer_rule"]) for each in lines} == {("sam", "supervisor")}
    opened = await world.said("review.opened")
    assert [
        (each["kind"], each["reason"], each["due_at"], len(each["lines"])) for each in opened
    ] == [("micro", "role changed: title", "2026-12-01T08:00:00Z", 3)]


async def test_a_role_change_of_somebody_who_holds_nothing_opens_nothing(world: World) -> None:
    await world.begin(state("ana"))

    await world.hear(state("ana", 2, title="Front desk"))

    assert await world.lines() == []


async def test_coming_back_from_leave_or_a_withdrawn_departure_opens_nothing(world: World) -> None:
    access = [holds("noridian")]
    await world.begin(state("ana", access=access))

    await world.hear(state("ana", 2, access=access, status=WorkerStatus.ON_LEAVE, duties=[]))
    await world.hear(state("ana", 3, access=access))
    await world.hear(state("ana", 4, access=access, status=WorkerStatus.TERMINATED))
    await world.hear(state("ana", 5, access=access))

    assert await world.lines() == []


async def test_a_second_role_change_replaces_the_questions_of_the_first(world: World) -> None:
    access = [holds("noridian")]
    await world.begin(state("ana", access=access))

    await world.hear(state("ana", 2, access=access, title="Front desk"))
    await world.hear(state("ana", 3, access=access, title="Coder"))

    assert {(each["status"], each["review_status"]) for each in await world.lines()} == {
        ("moot", "closed"),
        ("undecided", "open"),
    }
    assert [each["reason"] for each in await world.said("review.moot")] == ["reviewed_again"]
    assert len(await world.said("review.closed")) == 1


async def test_who_left_in_between_needs_no_decision_any_more(world: World) -> None:
    access = [holds("noridian")]
    await world.begin(state("ana", access=access))
    await world.open_campaign()

    await world.hear(state("ana", 2, access=access, status=WorkerStatus.TERMINATED))

    assert [(each["status"], each["review_status"]) for each in await world.lines()] == [
        ("moot", "closed")
    ]
    assert [each["reason"] for each in await world.said("review.moot")] == ["worker_left"]
    assert [(each["reviews"], each["moot"]) for each in await world.said("campaign.closed")] == [
        (1, 1)
    ]


async def test_a_tombstone_forgets_the_name_and_makes_open_questions_moot(world: World) -> None:
    await world.begin(state("ana", access=[holds("noridian")]))
    await world.open_campaign()
    record = state_record(state("ana"))
    headers = (("ce_epoch", b"1"), ("ce_version", b"2"))

    await world.hear(replace(record, value=None, headers=headers))

    rows = await world.rows(PICTURE)
    assert [(row["name"], row["role"], row["effective"]) for row in rows] == [(None, None, [])]
    assert [each["status"] for each in await world.lines()] == ["moot"]


async def test_access_granted_anew_in_between_is_not_what_was_asked_about(world: World) -> None:
    await world.begin(state("ana", access=[holds("noridian")]))
    await world.open_campaign()

    await world.hear(state("ana", 2, access=[holds("noridian", operation="op-2")]))

    assert [each["reason"] for each in await world.said("review.moot")] == ["granted_anew"]


async def test_a_removed_administrator_reviews_nothing_more(world: World) -> None:
    await world.begin(
        directory_record("administrator", "a1", administrator("noridian", "ada"), 1),
        state("ada", supervisor=None),
        state("ana", supervisor=None, access=[holds("noridian")]),
    )
    # An older record that comes late changes nothing.
    await world.hear(directory_record("administrator", "a1", None, 3))
    await world.hear(directory_record("administrator", "a1", administrator("noridian", "ada"), 2))

    await world.open_campaign()

    assert [each["reviewer"] for each in await world.lines()] == [None]


async def test_duties_that_call_for_a_function_are_named_on_its_line(world: World) -> None:
    duty = JobDuty(id="billing", name="Billing", functions=(Function.REMITTANCE,))
    await world.begin(
        directory_record("job_duty", "billing", duty),
        state("ana", access=[holds("noridian", "remittance", "fee_schedule")]),
    )

    await world.open_campaign()

    assert {each["function"]: each["duties"] for each in await world.lines()} == {
        "remittance": ["billing"],
        "fee_schedule": [],
    }


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"value": b"{}"}, "invalid_data"),
        ({"value": b"\xff"}, "invalid_data"),
        ({"key": b"fern-clinic/ben"}, "key_mismatch"),
        ({"key": None, "value": None}, "invalid_key"),
        ({"value": None}, "missing_version"),
        ({"value": None, "key": b"fern-clinic/%00"}, "invalid_key"),
        (
            {"topic": "portal.directory-events.v1", "key": b"fern-clinic/policy/policy"},
            "missing_version",
        ),
    ],
)
def test_a_malformed_record_is_refused_by_name(change: dict[str, object], code: str) -> None:
    record = replace(state_record(state("ana")), **change)

    with pytest.raises(Rejected) as refused:
        PictureHandler(SetClock()).parse(record)

    assert refused.value.code == code


def test_kinds_of_directory_objects_that_reviews_do_not_need_are_passed_over() -> None:
    record = directory_record("carrier", "premera", organization())

    assert PictureHandler(SetClock()).parse(record) is None


async def test_a_confirmed_removal_closes_and_an_unconfirmed_one_stays_open(world: World) -> None:
    await world.begin(state("ana", access=[holds("noridian"), holds("lni")]))
    await world.open_campaign()
    lines = await world.lines()
    async with world.pool.acquire() as conn:
        await conn.execute(
            "UPDATE line SET status = 'removal_decided', decision = 'remove', decided_by = 'sam',"
            " decided_at = now()"
        )
    applied = [
        DecisionApplied(str(each["review_id"]), str(each["line_id"]), "ordered", "")
        for each in lines
    ]

    await world.hear(state("ana", 2, access=[holds("noridian"), holds("lni")], decisions=applied))
    assert {each["status"] for each in await world.lines()} == {"removal_ordered"}

    await world.hear(state("ana", 3, access=[holds("lni")], decisions=applied))
    assert [each["status"] for each in await world.lines(review_status="decided")] == [
        "removal_ordered",
        "removal_confirmed",
    ]
    assert await world.said("campaign.closed") == []

    await world.hear(state("ana", 4, decisions=applied))
    assert {each["review_status"] for each in await world.lines()} == {"closed"}
    assert [each["removed"] for each in await world.said("campaign.closed")] == [2]


async def test_a_removal_is_followed_to_the_id_that_a_worker_was_merged_into(world: World) -> None:
    access = [holds("noridian")]
    await world.begin(state("ana", access=access))
    await world.open_campaign()
    async with world.pool.acquire() as conn:
        await conn.execute(
            "UPDATE line SET status = 'removal_ordered', decision = 'remove', decided_by = 'sam',"
            " decided_at = now()"
        )

    await world.hear(state("ana", 2, merged_into="anna"))
    await world.hear(state("anna", 1, aliases=("ana",), access=access))
    assert [each["status"] for each in await world.lines()] == ["removal_ordered"]

    await world.hear(state("anna", 2, aliases=("ana",)))
    assert [each["review_status"] for each in await world.lines()] == ["closed"]


def test_the_organization_is_the_one_in_the_key() -> None:
    change = PictureHandler(SetClock()).parse(
        directory_record("organization", ORGANIZATION, organization())
    )

    assert change is not None
    assert change.organization == ORGANIZATION
