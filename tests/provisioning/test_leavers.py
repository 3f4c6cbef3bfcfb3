"""One sheet per departure: what is still reachable, whom to tell, and the receipt for HR."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.provisioning.rules.operations import Transition
from tests.provisioning.asking import Asking
from tests.provisioning.desk import Desk, hire, hr_record, leave_now
from tests.provisioning.worlds import NOW, directory

SHEET = "/access/v1/leavers/w1"


@pytest.fixture
def asking(desk: Desk, tmp_path: Path) -> Asking:
    return Asking.of(desk, tmp_path)


async def departed(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    desk.clock.at = NOW
    await desk.hear(leave_now())


def reachable(sheet: Any) -> list[str]:
    return [one["portal"] for one in sheet["portals"] if one["reachable"]]


async def test_the_sheet_is_in_the_order_of_harm_and_says_what_is_reachable_after_each_tick(
    desk: Desk, asking: Asking
) -> None:
    await departed(desk)
    assert reachable(await asking.get(SHEET)) == ["gate", "hub", "mac"]
    first = (await desk.work("w1"))[0]
    await desk.say(first["operation_id"], Transition.DONE)
    sheet = await asking.get(SHEET)
    assert reachable(sheet) == ["hub", "mac"]
    assert sheet["portals"][0]["grade"] == "person"


async def test_the_receipt_names_what_is_gone_how_that_is_known_and_what_is_not(
    desk: Desk, asking: Asking
) -> None:
    await departed(desk)
    first = (await desk.work("w1"))[0]
    await desk.say(first["operation_id"], Transition.DONE)
    receipt = await asking.get(f"{SHEET}/receipt", scopes="hr:enter")
    assert (receipt["removed"], receipt["of"], receipt["complete"]) == (1, 3, False)
    assert "confirmed by the person who did it" in receipt["lines"][0]
    assert "STILL OPEN" in receipt["lines"][1]
    await desk.finish_all()
    receipt = await asking.get(f"{SHEET}/receipt", scopes="hr:enter")
    assert receipt["complete"]
    assert receipt["last_removed_at"]


async def test_a_portal_is_told_once_per_departure_and_late_notices_are_named(
    desk: Desk, asking: Asking
) -> None:
    await departed(desk)
    draft = (await asking.get(SHEET))["portals"][1]["draft"]
    assert "Name of w1" in draft
    assert "terminat" not in draft.lower(), "never why somebody left"
    sent = {"portal": "hub", "channel": "email", "proof": "message 4711"}
    await asking.post(f"{SHEET}/notices", sent, scopes="work:do")
    await asking.post(f"{SHEET}/notices", sent, scopes="work:do", status=409)
    await asking.post(f"{SHEET}/notices", {**sent, "portal": "old"}, status=404)
    desk.clock.at = NOW + timedelta(hours=25)
    late = {one["portal"] for one in (await asking.get(SHEET))["portals"] if one["notice_overdue"]}
    assert late == {"gate", "mac"}
    (said,) = await desk.published("notice.sent")
    assert said["data"]["proof"] == "message 4711"


async def test_the_list_of_leavers_counts_what_is_open(desk: Desk, asking: Asking) -> None:
    await departed(desk)
    first = (await desk.work("w1"))[0]
    await desk.say(first["operation_id"], Transition.DONE)
    (leaver,) = (await asking.get("/access/v1/leavers", days=3660))["leavers"]
    assert (leaver["portals"], leaver["removed"], leaver["reachable"]) == (3, 1, 2)
    assert leaver["notices_open"] == 3


async def test_somebody_who_came_back_and_left_again_has_a_sheet_of_that_departure(
    desk: Desk, asking: Asking
) -> None:
    await departed(desk)
    await desk.finish_all()
    desk.clock.at = NOW + timedelta(days=1)
    back = hr_record(
        "worker.hired",
        id_="back",
        employment_id="w1-e2",
        effective_at=desk.clock.at.isoformat(),
        title="Front Desk",
        sites=["north"],
    )
    await desk.hear(back)
    await asking.get(SHEET, status=409)
    await desk.finish_all()
    desk.clock.at = NOW + timedelta(days=2)
    again = leave_now(id_="again", employment_id="w1-e2", effective_at=desk.clock.at.isoformat())
    await desk.hear(again)
    assert reachable(await asking.get(SHEET)) == ["gate", "hub", "mac"]


async def test_nobody_has_a_sheet_who_works_here(desk: Desk, asking: Asking) -> None:
    await desk.hear(hire())
    await asking.get(SHEET, status=409)
    await asking.get("/access/v1/leavers/nobody", status=404)


async def test_when_an_administrator_leaves_their_removal_is_the_deputys_and_never_their_own(
    desk: Desk, asking: Asking
) -> None:
    appointed = {"id": "hub-1", "portal": "hub", "since": "2026-01-01"}
    await desk.apply_directory(
        directory(administrators=[{**appointed, "worker": "w1", "deputy": "w9"}])
    )
    await departed(desk)
    overview = await asking.get("/access/v1/overview")
    owners = {one["portal"]: one["owner"] for one in overview["exposures"]}
    assert owners == {"gate": None, "hub": "w9", "mac": None}
    others = [{**appointed, "worker": "w1", "deputy": "w9"}]
    others.append({**appointed, "id": "hub-2", "worker": "w5"})
    await desk.apply_directory(directory(administrators=others))
    overview = await asking.get("/access/v1/overview")
    assert "w5" in {one["owner"] for one in overview["exposures"]}
