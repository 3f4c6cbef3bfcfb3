"""A portal that had users before: differences are shown, and no work is made of ignorance."""

from datetime import timedelta
from typing import Any

from services.provisioning.rules.operations import Transition
from tests.provisioning.desk import Desk, hire, hr_record, leave_now
from tests.provisioning.importing import existing
from tests.provisioning.worlds import NOW, as_date


async def access_to(desk: Desk, portal: str, worker: str = "w1") -> dict[str, Any]:
    return next(a for a in (await desk.state(worker))["portals"] if a["portal"] == portal)


async def test_what_may_exist_already_is_held_and_shown_and_nothing_is_ordered(desk: Desk) -> None:
    await desk.apply_directory(existing("hub"))
    await desk.hear(hire())
    assert {item["portal"] for item in await desk.work()} == {"gate", "mac"}
    hub = await access_to(desk, "hub")
    assert {own["rule"] for own in hub["held"]} == {"observe_only"}
    assert {own["function"] for own in hub["held"]} == {"eligibility", "benefits"}
    assert "observe_only" in {finding["rule"] for finding in (await desk.state())["findings"]}


async def test_somebody_hired_after_the_portal_was_first_heard_of_gets_access_ordered(
    desk: Desk,
) -> None:
    await desk.apply_directory(existing("hub", "mac", "gate"))
    desk.clock.at = NOW + timedelta(days=5)
    await desk.hear(hire("w2", effective_on=as_date(3).isoformat()))
    assert {item["portal"] for item in await desk.work("w2")} == {"hub", "gate", "mac"}


async def test_rights_that_policy_gave_only_later_are_ordered(desk: Desk) -> None:
    await desk.apply_directory(existing("hub", "mac", "gate"))
    await desk.hear(hire())
    desk.clock.at = NOW + timedelta(days=5)
    moved = hr_record(
        "worker.changed",
        id_="moves",
        employment_id="w1-e1",
        effective_on=as_date(4).isoformat(),
        title="Biller",
    )
    await desk.hear(moved)
    ordered = {
        (item["portal"], function) for item in await desk.work() for _, function in item["rights"]
    }
    assert ("hub", "claim_status") in ordered
    assert ("hub", "eligibility") not in ordered


async def test_a_confirmed_login_is_known_and_is_worked_on_as_ever(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.apply_directory(existing("hub", "mac", "gate"))
    await desk.hear(leave_now())
    items = await desk.work()
    assert {(item["portal"], item["kind"]) for item in items} == {
        ("hub", "suspend"),
        ("mac", "suspend"),
        ("gate", "suspend"),
    }
    for item in items:
        await desk.say(item["operation_id"], Transition.DONE)
    assert await desk.effective() == set()
