"""Exceptions and break-glass: beyond policy, bound in time, never approved by oneself."""

from datetime import timedelta
from typing import Any

import pytest

from services.provisioning.handlers.exceptions import ExceptionCommands, Wish
from services.provisioning.rules.exceptions import AccessException
from shared.auth import Principal
from shared.contracts.directory import Directory, Function
from shared.errors import Problem
from shared.postgres import in_transaction
from tests.provisioning.desk import ADMINISTRATOR, Desk, hire, hr_record, leave_now
from tests.provisioning.worlds import NOW, ORGANIZATION, TIN, day, directory

SECOND = Principal(ORGANIZATION, "admin-2", None, frozenset({"access:admin"}), "Second")
CLAIMS = ("hub", "claim_status")


def wish(worker: str = "w1", **changes: Any) -> Wish:
    values = {
        "portal": "hub",
        "tin": TIN,
        "function": Function.CLAIM_STATUS,
        "reason": "covers claim follow-up in July",
        "starts_at": None,
        "ends_at": NOW + timedelta(days=10),
        **changes,
    }
    return Wish(worker, **values)


class Exceptions:
    """The commands on a desk, each in a transaction."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.commands = ExceptionCommands(desk.recompute)

    async def request(self, asked: Wish, who: Principal = ADMINISTRATOR) -> AccessException:
        return await in_transaction(
            self.desk.pool, lambda conn: self.commands.request(conn, who, asked)
        )

    async def approve(self, one: AccessException, who: Principal = SECOND) -> AccessException:
        return await in_transaction(
            self.desk.pool, lambda conn: self.commands.approve(conn, who, one.exception_id)
        )

    async def end(self, one: AccessException, who: Principal = SECOND) -> AccessException:
        return await in_transaction(
            self.desk.pool, lambda conn: self.commands.end(conn, who, one.exception_id)
        )

    async def break_glass(self, asked: Wish, who: Principal = ADMINISTRATOR) -> AccessException:
        return await in_transaction(
            self.desk.pool, lambda conn: self.commands.open_break_glass(conn, who, asked)
        )

    async def review(self, one: AccessException, who: Principal = SECOND) -> AccessException:
        return await in_transaction(
            self.desk.pool,
            lambda conn: self.commands.review(conn, who, one.exception_id, "was needed"),
        )


@pytest.fixture
def exceptions(desk: Desk) -> Exceptions:
    return Exceptions(desk)


async def test_an_exception_gives_nothing_before_a_second_person_approves(
    desk: Desk, exceptions: Exceptions
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    asked = await exceptions.request(wish())
    assert await desk.work() == []
    await exceptions.approve(asked)
    (item,) = await desk.work()
    assert (item["kind"], item["function"]) == ("grant", "claim_status")
    assert item["authorized_by"] == {
        "kind": "exception",
        "reference": asked.exception_id,
        "by": "admin-2",
    }
    await desk.finish_all()
    assert CLAIMS in await desk.effective()


async def test_an_exception_gives_what_the_grace_after_a_move_would_only_have_kept(
    desk: Desk, exceptions: Exceptions
) -> None:
    policy = directory().policy.model_copy(update={"mover_grace_days": 5})
    await desk.apply_directory(directory(policy=policy.model_dump(mode="json")))
    await desk.hear(hire())
    await desk.hear(
        hr_record(
            "worker.changed",
            id_="moves",
            employment_id="w1-e1",
            effective_on=day(-1),
            title="Nurse",
        )
    )
    assert await desk.effective() == set()
    await exceptions.approve(await exceptions.request(wish(function=Function.BENEFITS)))
    await desk.finish_all()
    assert await desk.effective() == {("hub", "benefits"), ("gate", "sign_on")}


async def test_an_exception_on_a_portal_that_was_taken_out_blocks_nobody(
    desk: Desk, exceptions: Exceptions
) -> None:
    await desk.hear(hire())
    later = wish(portal="old", starts_at=NOW + timedelta(days=1))
    await exceptions.approve(await exceptions.request(later))
    without = directory().model_dump(mode="json")
    for kind in ("portals", "enrolments"):
        without[kind] = [
            one for one in without[kind] if "old" not in (one["id"], one.get("portal"))
        ]
    await desk.apply_directory(Directory.model_validate(without))
    await desk.pass_time(days=2)
    assert not (await desk.state())["blocked"]
    await desk.finish_all()
    assert ("hub", "eligibility") in await desk.effective()


async def test_an_exception_ends_by_itself_and_its_access_is_ordered_away(
    desk: Desk, exceptions: Exceptions
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await exceptions.approve(await exceptions.request(wish()))
    await desk.finish_all()
    await desk.pass_time(days=10)
    (item,) = await desk.work()
    assert (item["kind"], item["rule"]) == ("revoke", "exception_ended")
    assert CLAIMS in await desk.effective(), "nothing is gone before somebody says so"
    await desk.finish_all()
    assert CLAIMS not in await desk.effective()
    (ended,) = await desk.published("exception.ended")
    assert (ended["data"]["by"], ended["data"]["status"]) == ("time", "ended")


async def test_nobody_approves_what_they_asked_for_or_their_own_access(
    desk: Desk, exceptions: Exceptions
) -> None:
    await desk.hear(hire())
    asked = await exceptions.request(wish())
    with pytest.raises(Problem, match="approver_is_requester"):
        await exceptions.approve(asked, ADMINISTRATOR)
    holder = Principal(ORGANIZATION, "somebody", "w1", frozenset({"access:admin"}), "W1")
    with pytest.raises(Problem, match="self_approval"):
        await exceptions.approve(asked, holder)


async def test_an_exception_nobody_approves_in_time_lapses(
    desk: Desk, exceptions: Exceptions
) -> None:
    await desk.hear(hire())
    asked = await exceptions.request(wish())
    await desk.pass_time(days=11)
    with pytest.raises(Problem, match="exception_over"):
        await exceptions.approve(asked)
    (ended,) = await desk.published("exception.ended")
    assert ended["data"]["status"] == "refused"


async def test_a_departure_takes_access_by_exception_as_well(
    desk: Desk, exceptions: Exceptions
) -> None:
    await desk.hear(hire())
    await exceptions.approve(await exceptions.request(wish()))
    await desk.finish_all()
    await desk.hear(leave_now())
    await desk.finish_all()
    assert await desk.effective() == set()


async def test_an_exception_approved_after_a_review_removal_outweighs_it(
    desk: Desk, exceptions: Exceptions
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.decide_review(portal="hub", tin=TIN, function="benefits")
    await desk.finish_all()
    assert ("hub", "benefits") not in await desk.effective()
    desk.clock.at += timedelta(hours=1)
    await exceptions.approve(await exceptions.request(wish(function=Function.BENEFITS)))
    await desk.finish_all()
    assert ("hub", "benefits") in await desk.effective()


async def test_break_glass_is_immediate_and_needs_no_training_but_a_review(
    desk: Desk, exceptions: Exceptions
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    asked = wish(function=Function.REMITTANCE, ends_at=NOW + timedelta(hours=4))
    opened = await exceptions.break_glass(asked)
    (item,) = await desk.work()
    assert (item["kind"], item["authorized_by"]["kind"]) == ("grant", "break_glass")
    await desk.finish_all()
    await desk.pass_time(hours=4)
    (item,) = await desk.work()
    assert (item["kind"], item["rule"]) == ("revoke", "break_glass_ended")
    with pytest.raises(Problem, match="approver_is_requester"):
        await exceptions.review(opened, ADMINISTRATOR)
    reviewed = await exceptions.review(opened)
    assert reviewed.reviewed_by == "admin-2"
    with pytest.raises(Problem, match="nothing_to_review"):
        await exceptions.review(opened)


async def test_an_exception_ended_early_takes_its_access_away(
    desk: Desk, exceptions: Exceptions
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    one = await exceptions.approve(await exceptions.request(wish()))
    await desk.finish_all()
    await exceptions.end(one)
    assert [item["rule"] for item in await desk.work()] == ["exception_ended"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"portal": "nowhere"}, "no registration"),
        ({"ends_at": NOW - timedelta(hours=1)}, "over before it begins"),
        ({"ends_at": NOW + timedelta(days=400)}, "180 days at most"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_the_next_step(
    desk: Desk, exceptions: Exceptions, changes: dict[str, Any], says: str
) -> None:
    await desk.hear(hire())
    with pytest.raises(Problem, match=says):
        await exceptions.request(wish(**changes))
    with pytest.raises(Problem, match="no_such_worker"):
        await exceptions.request(wish("nobody"))


async def test_break_glass_lasts_hours(desk: Desk, exceptions: Exceptions) -> None:
    await desk.hear(hire())
    with pytest.raises(Problem, match="24 hours at most"):
        await exceptions.break_glass(wish())
