"""What opens a micro-review, and what does not: a table of states that follow one another."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.contracts.directory import Function, OperationKind
from shared.contracts.review_policy import ReviewPolicy
from shared.contracts.state import (
    Employment,
    ExceptionInForce,
    ExceptionKind,
    Finding,
    OpenOperation,
    OperationStatus,
    PortalAccess,
    WorkerState,
    WorkerStatus,
)
from tests.review_scheduler.worlds import (
    START,
    TIN,
    World,
    administrator,
    directory_record,
    holds,
    state,
)

DAY = timedelta(days=1)


def employed(
    id: str = "e1",
    *,
    kind: str = "employee",
    ends: int | None = None,
    supervisor: str = "sam",
    **more: Any,
) -> Employment:
    given: dict[str, Any] = {"open": True, "on_leave": False, **more}
    ends_at = None if ends is None else START + ends * DAY
    return Employment(id, "Biller", None, ("tacoma",), supervisor, kind, START, ends_at, **given)


def found(access: PortalAccess, *rules: str, desired: bool = False) -> PortalAccess:
    return replace(
        access,
        findings=tuple(Finding(each, "as the list shows") for each in rules),
        desired=access.effective if desired else (),
    )


def giving(access: PortalAccess) -> PortalAccess:
    """Something is still being given there."""
    operation = OpenOperation(
        "op-9",
        OperationKind.GRANT,
        TIN,
        Function.REMITTANCE,
        1,
        OperationStatus.REQUESTED,
        START,
        START + DAY,
        None,
    )
    return replace(access, operations=(operation,))


def in_force(kind: ExceptionKind) -> ExceptionInForce:
    return ExceptionInForce(
        "x1", kind, "noridian", TIN, Function.ELIGIBILITY, START, START + DAY, "olga"
    )


def used(access: PortalAccess, days_ago: int) -> PortalAccess:
    return replace(access, last_login_at=START - days_ago * DAY)


NORIDIAN, HUB = holds("noridian"), holds("availity", "claim_status")
BOTH = (NORIDIAN, HUB)
HERE = state("ana", 1, access=BOTH)
AWAY = state(
    "ana",
    1,
    access=(),
    status=WorkerStatus.ON_LEAVE,
    employments=(employed(on_leave=True, leave_since=START - 45 * DAY),),
)
GONE = state("ana", 1, access=(), status=WorkerStatus.TERMINATED)
CONTRACTOR = state("ana", 1, access=BOTH, employments=(employed(kind="contractor", ends=10),))
ALL = ["availity", "noridian"]

OPENS = {
    "another title": (HERE, state("ana", 2, access=BOTH, title="Lead"), "role_changed", ALL),
    "another site": (HERE, state("ana", 2, access=BOTH, sites=["olympia"]), "role_changed", ALL),
    "another supervisor": (
        HERE,
        state("ana", 2, access=BOTH, supervisor="tom"),
        "role_changed",
        ALL,
    ),
    "back from a long leave": (
        AWAY,
        state("ana", 2, access=BOTH),
        "returned_from_leave",
        ALL,
    ),
    "hired again": (
        GONE,
        state("ana", 2, access=BOTH, employments=(employed(open=False), employed("e2"))),
        "rehired",
        ALL,
    ),
    "a contractor who stays longer": (
        CONTRACTOR,
        state("ana", 2, access=BOTH, employments=(employed(kind="contractor", ends=40),)),
        "contractor_extended",
        ALL,
    ),
    "a contractor who stays for good": (
        CONTRACTOR,
        state("ana", 2, access=BOTH, employments=(employed(kind="contractor"),)),
        "contractor_extended",
        ALL,
    ),
    "an exception that ended": (
        replace(HERE, exceptions=(in_force(ExceptionKind.EXCEPTION),)),
        state("ana", 2, access=BOTH),
        "exception_ended",
        ["noridian"],
    ),
    "break-glass that ended": (
        replace(HERE, exceptions=(in_force(ExceptionKind.BREAK_GLASS),)),
        state("ana", 2, access=BOTH),
        "break_glass_ended",
        ["noridian"],
    ),
    "a function beyond policy": (
        HERE,
        state("ana", 2, access=(found(NORIDIAN, "drift"), HUB)),
        "beyond_policy",
        ["noridian"],
    ),
    "a login that others use too": (
        HERE,
        state("ana", 2, access=(found(NORIDIAN, "shared"), HUB)),
        "shared_login",
        ["noridian"],
    ),
    "a login that nobody uses": (
        HERE,
        state("ana", 2, access=(used(NORIDIAN, 61), used(HUB, 2))),
        "inactive",
        ["noridian"],
    ),
    "a login that was never used": (
        HERE,
        state("ana", 2, access=(found(NORIDIAN, "dormant"), HUB)),
        "inactive",
        ["noridian"],
    ),
}

OPENS_NOTHING = {
    "the same again": (HERE, state("ana", 2, access=BOTH)),
    "a worker never seen before": (None, state("ana", 2, access=BOTH, title="Lead")),
    "another title of somebody who holds nothing": (
        state("ana", 1),
        state("ana", 2, title="Lead"),
    ),
    "another title of somebody on leave": (
        HERE,
        state("ana", 2, access=BOTH, title="Lead", status=WorkerStatus.ON_LEAVE),
    ),
    "a termination": (HERE, state("ana", 2, access=BOTH, status=WorkerStatus.TERMINATED)),
    "a withdrawn termination": (GONE, state("ana", 2, access=BOTH)),
    "back from a short leave": (
        replace(AWAY, employments=(employed(on_leave=True, leave_since=START - 5 * DAY),)),
        state("ana", 2, access=BOTH),
    ),
    "an employee whose last day moves": (
        state("ana", 1, access=BOTH, employments=(employed(ends=10),)),
        state("ana", 2, access=BOTH, employments=(employed(ends=40),)),
    ),
    "a contractor who leaves sooner": (
        CONTRACTOR,
        state("ana", 2, access=BOTH, employments=(employed(kind="contractor", ends=5),)),
    ),
    "an exception that ended where nothing is held": (
        replace(state("ana", 1, access=(HUB,)), exceptions=(in_force(ExceptionKind.EXCEPTION),)),
        state("ana", 2, access=(HUB,)),
    ),
    "a difference that policy allows": (
        HERE,
        state("ana", 2, access=(found(NORIDIAN, "drift", desired=True), HUB)),
    ),
    "a finding that was there before": (
        state("ana", 1, access=(found(NORIDIAN, "drift", "shared"), HUB)),
        state("ana", 2, access=(found(NORIDIAN, "drift", "shared"), HUB)),
    ),
    "a login used lately": (HERE, state("ana", 2, access=(used(NORIDIAN, 59), HUB))),
    "somebody whose state cannot be computed": (
        HERE,
        state("ana", 2, access=BOTH, title="Lead", blocked=True),
    ),
}


@pytest.mark.parametrize(("before", "after", "rule", "portals"), OPENS.values(), ids=OPENS)
async def test_this_opens_a_micro_review(
    world: World, before: WorkerState, after: WorkerState, rule: str, portals: list[str]
) -> None:
    await world.begin(state("sam"), state("tom"), before)
    at_first = len(await world.said("review.opened"))

    await world.hear(after)

    (opened,) = (await world.said("review.opened"))[at_first:]
    assert (opened["rule"], opened["kind"]) == (rule, "micro")
    assert [line["portal"] for line in opened["lines"]] == portals
    assert opened["reviewer"] in ("sam", "tom")


@pytest.mark.parametrize(("before", "after"), OPENS_NOTHING.values(), ids=OPENS_NOTHING)
async def test_this_opens_nothing(
    world: World, before: WorkerState | None, after: WorkerState
) -> None:
    await world.begin(state("sam"), *([before] if before else []))
    at_first = len(await world.said("review.opened"))

    await world.hear(after)

    assert len(await world.said("review.opened")) == at_first


async def test_time_alone_opens_a_review_of_an_idle_login_once(world: World) -> None:
    await world.begin(state("sam"), state("ana", access=(used(NORIDIAN, 30), HUB)))
    assert await world.said("review.opened") == []

    await world.at(START + 29 * DAY)
    assert await world.said("review.opened") == []
    await world.at(START + 30 * DAY)
    await world.hear(state("ana", 2, access=(used(NORIDIAN, 30), HUB)))
    await world.at(START + 50 * DAY)

    opened = [each for each in await world.said("review.opened") if each["kind"] == "micro"]
    assert [(each["rule"], len(each["lines"])) for each in opened] == [("inactive", 1)]


async def test_who_comes_back_is_reviewed_once_their_access_is_back(world: World) -> None:
    await world.begin(state("sam"), AWAY)

    await world.hear(state("ana", 2))
    await world.hear(state("ana", 3, access=(giving(NORIDIAN),)))
    assert await world.said("review.opened") == []
    await world.hear(state("ana", 4, access=BOTH))

    (opened,) = await world.said("review.opened")
    assert (opened["rule"], len(opened["lines"])) == ("returned_from_leave", 2)


async def test_what_is_never_given_holds_up_the_review_of_the_rest_for_five_days_only(
    world: World,
) -> None:
    await world.begin(state("sam"), AWAY)
    await world.hear(state("ana", 2, access=(giving(NORIDIAN),)))

    await world.at(START + 6 * DAY)
    assert await world.said("review.opened") == []
    await world.at(START + 8 * DAY)

    (opened,) = await world.said("review.opened")
    assert (opened["rule"], len(opened["lines"])) == ("returned_from_leave", 1)


async def test_who_leaves_again_while_their_review_waits_is_asked_about_no_more(
    world: World,
) -> None:
    await world.begin(state("sam"), AWAY)
    await world.hear(state("ana", 2))

    await world.hear(state("ana", 3, status=WorkerStatus.TERMINATED))
    await world.hear(state("ana", 4, access=BOTH))

    assert await world.said("review.opened") == []


ORPHANED = state(
    "ana",
    2,
    access=BOTH,
    employments=(employed(kind="contractor", ends=10),),
    findings=(Finding("sponsor_left", "sam has left"),),
)
SAM_LEFT = state("sam", 2, supervisor="tom", status=WorkerStatus.TERMINATED)


async def test_when_a_sponsor_leaves_whoever_is_above_is_asked_at_once_with_a_due_date(
    world: World,
) -> None:
    await world.begin(state("sam", supervisor="tom"), state("tom", supervisor=None), CONTRACTOR)

    await world.hear(SAM_LEFT, ORPHANED)
    await world.hear(replace(ORPHANED, version=3))

    (opened,) = await world.said("review.opened")
    assert (opened["rule"], opened["reviewer"]) == ("sponsor_left", "tom")
    assert [line["portal"] for line in opened["lines"]] == ALL
    assert opened["due_at"].startswith("2026-12-01"), "five business days, one of them a holiday"
    assert {line["status"] for line in await world.lines()} == {"undecided"}, "asked, and once"


async def test_with_nobody_above_a_gone_sponsor_the_portals_administrator_is_asked(
    world: World,
) -> None:
    await world.begin(
        directory_record("administrator", "a1", administrator("noridian", "ada")),
        state("sam", supervisor=None),
        state("ada", supervisor=None),
        CONTRACTOR,
    )

    await world.hear(replace(SAM_LEFT, employments=()), ORPHANED)

    assert {each["reviewer"] for each in await world.said("review.opened")} == {"ada"}


async def test_access_for_which_nobody_answers_any_more_is_suspended_when_nobody_decides(
    world: World,
) -> None:
    await world.begin(state("sam", supervisor="tom"), state("tom", supervisor=None), CONTRACTOR)
    await world.hear(SAM_LEFT, ORPHANED)

    await world.at(START + 10 * DAY)

    (expired,) = await world.said("review.expired")
    assert (expired["consequence"], len(expired["lines"])) == ("suspend", 2)


async def test_the_policy_says_what_becomes_of_access_whose_sponsor_left(world: World) -> None:
    policy = ReviewPolicy(sponsor_left_no_answer="remove")
    await world.begin(
        directory_record("review_policy", "review_policy", policy),
        state("sam", supervisor="tom"),
        state("tom", supervisor=None),
        CONTRACTOR,
    )
    await world.hear(SAM_LEFT, ORPHANED)

    await world.at(START + 10 * DAY)

    assert [each["consequence"] for each in await world.said("review.expired")] == ["remove"]


async def test_a_new_sponsor_is_asked_instead_of_whoever_was_in_between(world: World) -> None:
    await world.begin(state("sam", supervisor="tom"), state("tom", supervisor=None), CONTRACTOR)
    await world.hear(state("uma", supervisor="tom"), SAM_LEFT, ORPHANED)

    named = (employed(kind="contractor", ends=10, supervisor="uma"),)
    await world.hear(state("ana", 3, access=BOTH, supervisor="uma", employments=named))

    last = (await world.said("review.opened"))[-1]
    assert (last["rule"], last["reviewer"]) == ("role_changed", "uma")
    assert [each["reviewer"] for each in await world.lines(status="undecided")] == ["uma"] * 2


async def test_what_one_micro_review_asks_is_not_asked_by_a_narrower_one(world: World) -> None:
    await world.begin(state("sam"), HERE)
    await world.hear(state("ana", 2, access=BOTH, title="Lead"))

    await world.hear(state("ana", 3, access=(found(NORIDIAN, "shared"), HUB), title="Lead"))

    assert [each["rule"] for each in await world.said("review.opened")] == ["role_changed"]
