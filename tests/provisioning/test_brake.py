"""The brake: removals by a change of rules wait for a verdict; what a person causes does not."""

from datetime import timedelta
from typing import Any

import pytest

from services.provisioning.rules.brake import CauseMove, judge
from services.provisioning.rules.operations import Transition
from shared.contracts.directory import BrakeLimits, Directory
from shared.errors import Problem
from shared.postgres import in_transaction
from tests.provisioning.asking import Asking
from tests.provisioning.desk import ADMINISTRATOR, Desk, hire, hr_record, leave_now
from tests.provisioning.worlds import NOW, ORGANIZATION, TIN, directory

SMALLER = [
    {"id": "front-desk", "name": "Front desk", "functions": ["eligibility"]},
    {"id": "billing", "name": "Billing", "functions": ["claim_status"]},
]


def limited(removals: int = 10, percent: int = 5, **changes: Any) -> Directory:
    organization = {
        "id": ORGANIZATION,
        "name": "Maple Clinic",
        "zone": "America/Los_Angeles",
        "tins": [TIN, "98-7654321"],
        "brake": {"removals": removals, "percent": percent},
    }
    return directory(organization=organization, **changes)


async def clinic(desk: Desk, removals: int) -> None:
    """Three people at the front desk, who have what they need."""
    await desk.apply_directory(limited(removals))
    await desk.hear(*(hire(worker) for worker in ("w1", "w2", "w3")))
    await desk.finish_all()


async def decide(desk: Desk, cause_id: str, move: CauseMove) -> None:
    await in_transaction(
        desk.pool,
        lambda conn: desk.brake.decide(conn, ADMINISTRATOR, cause_id, move, "looked at it"),
    )
    await desk.pass_time()


async def last_engaged(desk: Desk) -> str:
    cause_id: str = (await desk.published("brake.engaged"))[-1]["data"]["cause_id"]
    return cause_id


@pytest.mark.parametrize(
    ("parked", "recent", "held", "move"),
    [
        (10, 0, 20, CauseMove.LET_PASS),
        (11, 0, 1000, CauseMove.LET_PASS),
        (11, 0, 200, CauseMove.ENGAGE),
        (6, 5, 200, CauseMove.ENGAGE),
        (11, 0, 0, CauseMove.ENGAGE),
    ],
)
@pytest.mark.fast
def test_the_brake_engages_beyond_both_limits(
    parked: int, recent: int, held: int, move: CauseMove
) -> None:
    assert judge(parked, recent, held, BrakeLimits(removals=10, percent=5)) is move


async def test_a_small_change_of_rules_passes_the_brake_by_itself(desk: Desk) -> None:
    await clinic(desk, removals=10)
    await desk.apply_directory(limited(job_duties=SMALLER))
    await desk.pass_time()
    assert {(item["kind"], item["function"]) for item in await desk.work()} == {
        ("revoke", "benefits")
    }
    assert await desk.published("brake.engaged") == []


async def test_a_large_change_of_rules_waits_for_a_person(desk: Desk) -> None:
    await clinic(desk, removals=2)
    await desk.apply_directory(limited(2, job_duties=SMALLER))
    await desk.pass_time()
    assert await desk.work() == []
    assert ("hub", "benefits") in await desk.effective()
    hub = next(one for one in (await desk.state())["portals"] if one["portal"] == "hub")
    assert [one["verdict"] for one in hub["parked"]] == ["engaged"]
    assert hub["exposed_since"] is None
    (engaged,) = await desk.published("brake.engaged")
    assert engaged["data"]["parked"] == 3
    await decide(desk, await last_engaged(desk), CauseMove.RELEASE)
    assert len(await desk.work()) == 3
    await desk.finish_all()
    assert ("hub", "benefits") not in await desk.effective()


async def test_a_rejected_cause_keeps_the_access_and_names_who_decided(desk: Desk) -> None:
    await clinic(desk, removals=2)
    await desk.apply_directory(limited(2, job_duties=SMALLER))
    await desk.pass_time()
    await decide(desk, await last_engaged(desk), CauseMove.REJECT)
    assert await desk.work() == []
    hub = next(one for one in (await desk.state())["portals"] if one["portal"] == "hub")
    (kept,) = [one for one in hub["desired"] if one["function"] == "benefits"]
    assert kept["authorized_by"] == {
        "kind": "brake_rejection",
        "reference": await last_engaged(desk),
        "by": "admin-1",
    }
    with pytest.raises(Problem, match="not_held"):
        await decide(desk, await last_engaged(desk), CauseMove.RELEASE)


async def test_a_departure_goes_past_an_engaged_brake(desk: Desk) -> None:
    await clinic(desk, removals=2)
    await desk.apply_directory(limited(2, job_duties=SMALLER))
    await desk.pass_time()
    await desk.hear(leave_now("w2"))
    assert {item["kind"] for item in await desk.work("w2")} == {"suspend"}
    await desk.finish_all("w2")
    assert await desk.effective("w2") == set()
    await decide(desk, await last_engaged(desk), CauseMove.RELEASE)
    assert {item["worker"] for item in await desk.work()} == {"w1", "w3"}


async def test_a_directory_put_back_leaves_nothing_parked(desk: Desk) -> None:
    await clinic(desk, removals=2)
    await desk.apply_directory(limited(2, job_duties=SMALLER))
    await desk.pass_time()
    await desk.apply_directory(limited(2))
    await desk.pass_time()
    assert all(not one["parked"] for one in (await desk.state())["portals"])
    await decide(desk, await last_engaged(desk), CauseMove.RELEASE)
    assert await desk.work() == []


def closing(portal: str = "mac") -> Directory:
    """The directory in which one portal can end a login for good."""
    base = directory().model_dump(mode="json")
    for one in base["portals"]:
        if one["id"] == portal:
            one["steps"] = {"close": [{"actor": "administrator", "text": "End the login."}]}
    return Directory.model_validate(base)


async def closings(desk: Desk) -> list[str]:
    return [item["portal"] for item in await desk.work() if item["kind"] == "close"]


async def leaver(desk: Desk) -> None:
    await desk.apply_directory(closing())
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    await desk.finish_all()


async def test_a_login_is_closed_only_after_the_wait_and_the_barrier(desk: Desk) -> None:
    await leaver(desk)
    await desk.pass_time(days=29)
    assert await closings(desk) == []
    desk.hr_is_read = False
    await desk.pass_time(days=2)
    assert await closings(desk) == [], "something in HR's log may still say otherwise"
    desk.hr_is_read = True
    await desk.pass_time(hours=1)
    assert await closings(desk) == ["mac"]
    await desk.finish_all()
    states = {one["portal"]: one["status"] for one in (await desk.state())["portals"]}
    assert states["mac"] == "closed"
    assert len(await desk.published("account.closed")) == 1


async def test_a_rehire_during_the_wait_stops_the_closing(desk: Desk) -> None:
    await leaver(desk)
    await desk.pass_time(days=20)
    again = hr_record(
        "worker.hired",
        id_="again",
        employment_id="w1-e2",
        effective_on="2026-07-01",
        title="Front Desk",
        sites=["north"],
    )
    await desk.hear(again)
    await desk.finish_all()
    await desk.pass_time(days=20)
    assert await closings(desk) == []
    assert ("mac", "eligibility") in await desk.effective()


async def test_a_closing_that_was_ordered_is_withdrawn_by_a_rehire(desk: Desk) -> None:
    await leaver(desk)
    await desk.pass_time(days=31)
    (order,) = [item for item in await desk.work() if item["kind"] == "close"]
    again = hr_record(
        "worker.hired",
        id_="again",
        employment_id="w1-e2",
        effective_on="2026-07-01",
        title="Front Desk",
        sites=["north"],
    )
    await desk.hear(again)
    assert {item["kind"] for item in await desk.work() if item["portal"] == "mac"} == {"resume"}
    await desk.say(order["operation_id"], Transition.DONE)
    mac = next(one for one in (await desk.state())["portals"] if one["portal"] == "mac")
    assert mac["status"] == "closed", "what somebody did at the portal is a fact"
    assert {item["kind"] for item in await desk.work() if item["portal"] == "mac"} == {"open"}


# -- portals that offer nothing but closing


def closing_only() -> Directory:
    base = directory().model_dump(mode="json")
    next(one for one in base["portals"] if one["id"] == "mac")["closes_only"] = True
    return Directory.model_validate(base)


async def mac_of(desk: Desk) -> dict[str, Any]:
    return next(one for one in (await desk.state())["portals"] if one["portal"] == "mac")


async def test_where_only_closing_is_offered_it_is_the_removal_and_exposed_while_it_waits(
    desk: Desk, asking: Asking
) -> None:
    await desk.apply_directory(closing_only())
    await desk.hear(hire())
    await desk.finish_all()
    desk.hr_is_read = False
    await desk.hear(leave_now(), lane="express")
    await desk.pass_time(minutes=1)
    assert await closings(desk) == [], "HR's log may still take it back"
    mac = await mac_of(desk)
    assert mac["exposed_since"] is not None
    assert [one["tin"] for one in mac["parked"]] == [None]
    desk.hr_is_read = True
    await desk.pass_time(minutes=1)
    (order,) = [item for item in await desk.work() if item["kind"] == "close"]
    assert order["deadline"] == desk.clock.at + timedelta(hours=1)
    exposures = (await asking.get("/access/v1/overview"))["exposures"]
    assert order["operation_id"] in {one["operation_id"] for one in exposures}
    (left,) = (await asking.get("/access/v1/leavers"))["leavers"]
    assert left["portals"] == 3
    await desk.say(order["operation_id"], Transition.DONE)
    mac = await mac_of(desk)
    assert (mac["status"], mac["exposed_since"], mac["effective"]) == ("closed", None, [])


async def test_a_termination_that_is_withdrawn_before_hrs_log_is_read_ends_no_login(
    desk: Desk,
) -> None:
    await desk.apply_directory(closing_only())
    await desk.hear(hire())
    await desk.finish_all()
    desk.hr_is_read = False
    await desk.hear(leave_now(), lane="express")
    await desk.pass_time(minutes=1)
    await desk.hear(hr_record("worker.rescinded", id_="r", rescinds="w1-terminated"))
    desk.hr_is_read = True
    await desk.pass_time(minutes=1)
    assert await closings(desk) == []
    assert (await mac_of(desk))["exposed_since"] is None


async def test_on_leave_a_login_that_can_only_be_ended_is_left_alone(desk: Desk) -> None:
    await desk.apply_directory(closing_only())
    await desk.hear(hire())
    await desk.finish_all()
    today = NOW.date().isoformat()
    await desk.hear(
        hr_record("worker.leave_started", id_="l", employment_id="w1-e1", effective_on=today)
    )
    await desk.pass_time(minutes=1)
    assert {item["portal"] for item in await desk.work()} == {"hub", "gate"}
    mac = await mac_of(desk)
    assert (mac["status"], mac["exposed_since"]) == ("active", None)
