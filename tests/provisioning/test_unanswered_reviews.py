"""What nobody answered in time goes under the brake, judged by the campaign it was asked in."""

from typing import Any

from services.provisioning.rules.brake import CauseMove
from shared.contracts.directory import OperationKind
from tests.provisioning.desk import Desk, hire, leave_now
from tests.provisioning.test_brake import decide, last_engaged, limited
from tests.provisioning.test_guards import appointed
from tests.provisioning.worlds import TIN, directory

CAUSE = "campaign-7-2026-06-30"


async def clinic(desk: Desk, removals: int = 10) -> None:
    """Three people at the front desk, who have what they need."""
    await desk.apply_directory(limited(removals))
    await desk.hear(*(hire(worker) for worker in ("w1", "w2", "w3")))
    await desk.finish_all()


async def expire(
    desk: Desk,
    worker: str,
    *functions: str,
    consequence: str = "remove",
    portal: str = "hub",
    **more: Any,
) -> None:
    """Nobody answered about what a worker holds on a portal."""
    lines = [
        {
            "line_id": f"{worker}-{function}",
            "portal": portal,
            "tin": TIN,
            "function": function,
            "operation_id": None,
        }
        for function in functions
    ]
    given = {
        "review_id": f"r-{worker}",
        "campaign_id": "7",
        "reviewer": "w9",
        "due_at": desk.clock.at.isoformat(),
        "expired_at": desk.clock.at.isoformat(),
        "cause_id": CAUSE,
        "cause_lines": None,
    }
    await desk.hear_review(
        "review.expired", worker=worker, consequence=consequence, lines=lines, **given | more
    )


async def whole(desk: Desk, lines: int) -> None:
    """Everything that expired of the campaign has been said."""
    await desk.hear_review(
        "campaign.expired",
        campaign_id="7",
        cause_id=CAUSE,
        due_at=desk.clock.at.isoformat(),
        expired_at=desk.clock.at.isoformat(),
        lines=lines,
    )
    await desk.pass_time()


async def applied(desk: Desk, worker: str = "w1") -> list[str]:
    """What the published state says became of the decisions."""
    return [each["status"] for each in (await desk.state(worker))["decisions"]]


async def test_it_waits_until_the_whole_campaign_was_heard_of(desk: Desk) -> None:
    await clinic(desk)
    await expire(desk, "w1", "benefits")
    await expire(desk, "w2", "benefits")
    await desk.pass_time()
    assert await desk.work() == []
    assert await applied(desk) == ["parked"]

    await whole(desk, 2)

    assert {(each["worker"], each["kind"], each["function"]) for each in await desk.work()} == {
        ("w1", "revoke", "benefits"),
        ("w2", "revoke", "benefits"),
    }
    assert await applied(desk) == ["ordered"]
    await desk.finish_all()
    assert await applied(desk) == ["confirmed"]
    assert ("hub", "benefits") not in await desk.effective()


async def test_too_much_of_it_waits_for_a_person_and_is_released_as_one(desk: Desk) -> None:
    await clinic(desk, removals=2)
    for worker in ("w1", "w2", "w3"):
        await expire(desk, worker, "benefits")
    await whole(desk, 3)
    assert await desk.work() == []
    (engaged,) = await desk.published("brake.engaged")
    assert (engaged["data"]["cause_id"], engaged["data"]["kind"]) == (CAUSE, "campaign")

    await decide(desk, CAUSE, CauseMove.RELEASE)

    assert len(await desk.work()) == 3
    await desk.finish_all()
    await desk.pass_time(hours=1)
    assert await desk.work() == []


async def test_when_it_is_rejected_the_access_stays_and_the_line_is_over(desk: Desk) -> None:
    await clinic(desk, removals=2)
    for worker in ("w1", "w2", "w3"):
        await expire(desk, worker, "benefits")
    await whole(desk, 3)

    await decide(desk, await last_engaged(desk), CauseMove.REJECT)

    assert await desk.work() == []
    assert ("hub", "benefits") in await desk.effective()
    assert await applied(desk) == ["rejected"]
    assert all(not each["parked"] for each in (await desk.state())["portals"])


async def test_an_answer_that_comes_late_counts_and_the_cause_is_still_judged(desk: Desk) -> None:
    await clinic(desk)
    await expire(desk, "w1", "benefits")
    await expire(desk, "w2", "benefits")
    await desk.pass_time(minutes=1)
    await desk.decide_review(
        review_id="r-w1",
        line_id="w1-benefits",
        portal="hub",
        tin=TIN,
        function="benefits",
        decision="keep",
    )

    await whole(desk, 2)

    assert {each["worker"] for each in await desk.work()} == {"w2"}


async def test_a_micro_review_is_judged_by_itself(desk: Desk) -> None:
    await clinic(desk)

    await expire(desk, "w1", "benefits", campaign_id=None, cause_id="review-r-w1", cause_lines=1)
    await desk.pass_time()

    assert {each["kind"] for each in await desk.work()} == {"revoke"}


async def test_where_policy_suspends_the_login_is_suspended_and_comes_back_with_an_answer(
    desk: Desk,
) -> None:
    await clinic(desk)
    held = sorted(name for portal, name in await desk.effective() if portal == "hub")
    await expire(desk, "w1", *held, consequence="suspend")
    await whole(desk, len(held))
    on_hub = [each["kind"] for each in await desk.work() if each["portal"] == "hub"]
    assert on_hub == [OperationKind.SUSPEND.value]
    await desk.finish_all()
    assert await applied(desk) == ["confirmed"] * len(held)

    await desk.pass_time(minutes=1)
    for function in held:
        await desk.decide_review(
            review_id="r-w1",
            line_id=f"w1-{function}",
            portal="hub",
            tin=TIN,
            function=function,
            decision="keep",
        )
    await desk.finish_all()

    assert sorted(name for portal, name in await desk.effective() if portal == "hub") == held


async def test_a_departure_goes_past_what_waits(desk: Desk) -> None:
    await clinic(desk)
    await expire(desk, "w1", "benefits")

    await desk.hear(leave_now("w1"))

    assert {each["kind"] for each in await desk.work("w1")} == {"suspend"}


async def test_the_only_administrator_is_not_removed_before_there_is_a_successor(
    desk: Desk,
) -> None:
    await desk.apply_directory(directory(administrators=appointed("w1")))
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()
    assert ("mac", "user_administration") in await desk.effective("w1")

    await expire(desk, "w1", "user_administration", portal="mac")
    await whole(desk, 1)

    (order,) = await desk.work("w1")
    assert "appoint a successor there first" in order["steps"][0]["text"]
    (refused,) = await desk.published("guard.refused")
    assert refused["data"]["rule"] == "last_administrator"


async def test_one_administrator_of_two_may_be_removed(desk: Desk) -> None:
    await desk.apply_directory(directory(administrators=appointed("w1", "w2")))
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()

    await expire(desk, "w1", "user_administration", portal="mac")
    await whole(desk, 1)

    (order,) = await desk.work("w1")
    assert not any("successor" in step["text"] for step in order["steps"])
    assert await desk.published("guard.refused") == []
