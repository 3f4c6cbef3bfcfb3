"""Reminders, telling others, covering for each other, and what follows when nobody answers."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.review_scheduler.handlers.decisions import Wish, decide_lines
from services.review_scheduler.handlers.ladder import climb
from shared.auth import Principal
from shared.contracts.review_policy import ReviewPolicy
from shared.contracts.state import AuthorizedBy, WorkerStatus
from shared.postgres import in_transaction
from tests.review_scheduler.worlds import (
    ORGANIZATION,
    START,
    World,
    administrator,
    directory_record,
    holds,
    person,
    state,
)

DAY = timedelta(days=1)
DUE = datetime(2026, 12, 8, 8, tzinfo=UTC)
"""The end of Monday 7 December in Los Angeles, fourteen days after the start."""


def policy(**more: Any) -> Any:
    return directory_record("review_policy", "review_policy", ReviewPolicy(**more))


async def clinic(world: World, **more: Any) -> None:
    """Ana's access is reviewed by sam, above whom is tom."""
    await world.begin(
        policy(**more),
        directory_record("administrator", "a", administrator("noridian", "olga")),
        state("olga", supervisor=None),
        state("tom", supervisor=None),
        state("sam", supervisor="tom"),
        state("ana", access=[holds("noridian", "eligibility", "benefits")]),
    )


async def told(world: World) -> list[tuple[str, tuple[str, ...], int]]:
    """Who was told at which rung."""
    said = await world.said("review.reminded") + await world.said("review.escalated")
    return [(each["tell"], tuple(each["recipients"]), each["days"]) for each in said]


async def test_the_ladder_is_climbed_rung_by_rung_in_the_morning(world: World) -> None:
    await clinic(world)
    await world.open_campaign()

    await world.at(datetime(2026, 11, 30, 15, 59, tzinfo=UTC))
    assert await told(world) == []
    await world.at(datetime(2026, 11, 30, 16, tzinfo=UTC))
    assert await told(world) == [("reviewer", ("sam",), -5)]
    await world.at(datetime(2026, 12, 3, 16, tzinfo=UTC))
    await world.at(datetime(2026, 12, 4, 16, tzinfo=UTC))

    assert await told(world) == [
        ("reviewer", ("sam",), -5),
        ("reviewer", ("sam",), -2),
        ("above_reviewer", ("tom",), -1),
    ]


async def test_after_a_standstill_only_the_present_rung_is_told(world: World) -> None:
    await clinic(world)
    await world.open_campaign()

    await world.at(datetime(2026, 12, 4, 20, tzinfo=UTC))

    assert await told(world) == [("above_reviewer", ("tom",), -1)]


async def test_replicas_tell_a_rung_once(world: World) -> None:
    await clinic(world)
    await world.open_campaign()
    world.clock.instant = datetime(2026, 11, 30, 16, tzinfo=UTC)

    await asyncio.gather(*(climb(world.pool, world.clock) for _ in range(4)))
    await climb(world.pool, world.clock)

    assert await told(world) == [("reviewer", ("sam",), -5)]


async def test_who_has_answered_is_told_nothing(world: World) -> None:
    await clinic(world)
    await world.open_campaign()
    await world.hear(state("ana", 2))

    await world.at(DUE + 9 * DAY)

    assert await told(world) == []


async def test_where_policy_escalates_the_next_above_is_asked_and_at_last_the_queue(
    world: World,
) -> None:
    await clinic(world)
    await world.open_campaign()

    for days in range(30):
        await world.at(DUE + days * DAY)

    asked = await world.said("review.reassigned")
    assert [(each["reviewer"], each["reviewer_rule"], each["reason"]) for each in asked] == [
        ("tom", "next_above", "no_answer"),
        ("olga", "portal_administrator", "no_answer"),
        (None, "review_admin_queue", "no_answer"),
    ]
    expired = await world.said("review.expired")
    assert [each["reviewer"] for each in expired] == ["sam", "tom", "olga", None]
    assert {each["consequence"] for each in expired} == {"escalate"}
    assert {each["status"] for each in await world.lines()} == {"undecided"}
    assert ("review_admin", (), 1) in await told(world)


@pytest.mark.parametrize("consequence", ["remove", "suspend"])
async def test_where_policy_removes_what_nobody_answered_is_removed(
    world: World, consequence: str
) -> None:
    await clinic(world)
    await world.open_campaign(no_answer=consequence)

    await world.at(DUE - timedelta(seconds=1))
    assert await world.said("review.expired") == []
    await world.at(DUE)

    (expired,) = await world.said("review.expired")
    assert (expired["consequence"], len(expired["lines"])) == (consequence, 2)
    (whole,) = await world.said("campaign.expired")
    assert (whole["cause_id"], whole["lines"]) == (expired["cause_id"], 2)
    lines = await world.lines()
    assert {(each["status"], each["decided_by"]) for each in lines} == {("removal_decided", None)}
    assert {each["review_status"] for each in lines} == {"decided"}


async def test_a_removal_by_no_answer_is_followed_until_the_portal_shows_it(world: World) -> None:
    await clinic(world)
    await world.open_campaign(no_answer="remove")
    await world.at(DUE)

    await world.hear(state("ana", 2))

    assert {each["status"] for each in await world.lines()} == {"removal_confirmed"}
    (closed,) = [each for each in await world.said("campaign.closed") if each["reviews"]]
    assert (closed["removed"], closed["kept"]) == (2, 0)


async def test_what_was_decided_in_time_does_not_expire(world: World) -> None:
    await clinic(world)
    await world.open_campaign(no_answer="remove")
    await world.hear(state("ana", 2, access=[holds("noridian", "benefits")]))

    await world.at(DUE)

    (expired,) = await world.said("review.expired")
    assert [each["function"] for each in expired["lines"]] == ["benefits"]
    assert [each["lines"] for each in await world.said("campaign.expired")] == [1]


async def test_a_micro_review_that_expires_is_a_cause_of_its_own(world: World) -> None:
    await clinic(world, micro_no_answer="remove")
    await world.hear(
        state("ana", 2, title="Lead", access=[holds("noridian", "eligibility", "benefits")])
    )

    await world.at(START + 8 * DAY)

    (expired,) = await world.said("review.expired")
    assert (expired["cause_id"], expired["cause_lines"]) == (f"review-{expired['review_id']}", 2)
    assert await world.said("campaign.expired") == []


async def test_when_a_reviewer_leaves_somebody_else_is_asked(world: World) -> None:
    await clinic(world)
    await world.open_campaign()

    await world.hear(state("sam", 2, supervisor="tom", status=WorkerStatus.TERMINATED))
    await world.at(START)

    (asked,) = await world.said("review.reassigned")
    assert (asked["previous_reviewer"], asked["reviewer"], asked["reason"]) == (
        "sam",
        "tom",
        "reviewer_left",
    )
    assert {each["reviewer"] for each in await world.lines()} == {"tom"}


async def decide(world: World, who: Principal, line: dict[str, Any], wish: Wish) -> object:
    return await in_transaction(
        world.pool, lambda conn: decide_lines(conn, world.clock, who, line["review_id"], [wish])
    )


async def test_an_authorizer_is_not_asked_about_what_they_authorized_unless_policy_says_so(
    world: World,
) -> None:
    access = holds("noridian", "eligibility", "benefits")
    first, second = access.effective
    by_sam = replace(first, authorized_by=AuthorizedBy("exception", "x1", "sam"))
    await clinic(world)
    await world.hear(state("ana", 2, access=[replace(access, effective=(by_sam, second))]))

    await world.open_campaign()

    lines = {each["function"]: each for each in await world.lines()}
    assert lines[by_sam.function]["reviewer"] == "tom"
    assert lines[second.function]["reviewer"] == "sam"
    own = lines[by_sam.function]
    wish = Wish(own["line_id"], "keep", "needed")
    assert await decide(world, person("sam", "review:admin"), own, wish) == "authorizer"
    assert await decide(world, person("tom"), own, wish) == own["review_id"]


async def test_who_covers_for_a_reviewer_is_told_with_them(world: World) -> None:
    await clinic(world)
    await world.open_campaign()
    async with world.pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO delegation VALUES (gen_random_uuid(), $1, 'sam', 'olga', '2026-11-30',"
            " '2026-12-01', 'sam', $2, NULL)",
            ORGANIZATION,
            START,
        )

    await world.at(datetime(2026, 11, 30, 16, tzinfo=UTC))
    await world.at(datetime(2026, 12, 3, 16, tzinfo=UTC))

    assert await told(world) == [
        ("reviewer", ("sam", "olga"), -5),
        ("reviewer", ("sam",), -2),
    ]
