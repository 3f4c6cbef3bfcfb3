"""Logins die when nobody uses them; only their holders may keep them alive."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.provisioning.handlers.chores import ChoreCommands
from services.provisioning.handlers.recurring import RecurringChores
from services.provisioning.rules.operations import Transition
from services.provisioning.store import chores as chores_store
from services.provisioning.store import outages as outages_store
from shared.contracts.directory import Directory
from tests.provisioning.asking import Asking
from tests.provisioning.desk import Desk, hire, hr_record, leave_now
from tests.provisioning.worlds import NOW, ORGANIZATION, day, directory


def idle(days: int = 30, *, leave_suspends: bool = True) -> Directory:
    """The directory in which the Medicare portal disables idle logins."""
    base = directory().model_dump(mode="json")
    base["organization"]["leave_suspends"] = leave_suspends
    for one in base["portals"]:
        if one["id"] == "mac":
            one["rules"] = [
                {"rule": "inactivity_days", "value": days, "source": "mac.example/help"},
                {"rule": "deletes_after_days", "value": 90, "source": "mac.example/help"},
            ]
    return Directory.model_validate(base)


@pytest.fixture
def asking(desk: Desk, tmp_path: Path) -> Asking:
    return Asking.of(desk, tmp_path)


async def at_work(desk: Desk, **more: Any) -> None:
    await desk.apply_directory(idle(**more))
    await desk.hear(hire())
    await desk.finish_all()


async def keeping(desk: Desk) -> list[Any]:
    return [item for item in await desk.work() if item["kind"] == "keep_alive"]


async def test_keep_alive_work_opens_a_week_ahead_for_the_holder(desk: Desk) -> None:
    await at_work(desk)
    await desk.pass_time(days=22)
    assert await keeping(desk) == []
    await desk.pass_time(days=1)
    (item,) = await keeping(desk)
    assert (item["portal"], item["rule"]) == ("mac", "inactivity")
    assert [step["actor"] for step in item["steps"]] == ["worker"]
    assert item["deadline"] == NOW + timedelta(days=30)


async def test_who_signed_in_is_left_alone_until_the_next_time(desk: Desk) -> None:
    await at_work(desk)
    await desk.pass_time(days=25)
    (item,) = await keeping(desk)
    await desk.say(item["operation_id"], Transition.DONE, by="w1")
    mac = next(one for one in (await desk.state())["portals"] if one["portal"] == "mac")
    assert mac["last_login_grade"] == "person"
    await desk.pass_time(days=20)
    assert await keeping(desk) == []
    await desk.pass_time(days=4)
    assert len(await keeping(desk)) == 1


async def test_who_could_not_sign_in_is_not_asked_again_at_once(desk: Desk) -> None:
    await at_work(desk)
    await desk.pass_time(days=23)
    (item,) = await keeping(desk)
    await desk.say(item["operation_id"], Transition.FAIL, by="w1")
    assert await keeping(desk) == []
    await desk.pass_time(days=3)
    assert len(await keeping(desk)) == 1


async def test_a_login_that_nobody_used_in_time_is_a_finding_and_its_work_says_what_next(
    desk: Desk,
) -> None:
    await at_work(desk)
    await desk.pass_time(days=25)
    await desk.pass_time(days=6)
    rules = {finding["rule"] for finding in (await desk.state())["findings"]}
    assert "login_lapsed" in rules
    (item,) = await keeping(desk)
    assert item["steps"][0]["actor"] == "administrator"
    assert "Reactivate" in item["steps"][0]["text"]
    assert ("mac", "eligibility") in await desk.effective(), "only a roster or a person can say"


async def test_on_leave_the_clock_runs_and_the_work_waits_for_the_return(desk: Desk) -> None:
    await at_work(desk, leave_suspends=False)
    await desk.hear(
        hr_record("worker.leave_started", id_="l", employment_id="w1-e1", effective_on=day(1))
    )
    await desk.pass_time(days=40)
    assert await keeping(desk) == []
    await desk.hear(
        hr_record("worker.leave_ended", id_="r", employment_id="w1-e1", effective_on=day(40))
    )
    await desk.pass_time()
    (item,) = await keeping(desk)
    assert [step["actor"] for step in item["steps"]] == ["administrator", "worker"]


async def test_a_departure_withdraws_the_work_of_keeping_alive(desk: Desk) -> None:
    await at_work(desk)
    await desk.pass_time(days=25)
    await desk.hear(leave_now(effective_at=(NOW + timedelta(days=25)).isoformat()))
    assert await keeping(desk) == []
    assert {item["kind"] for item in await desk.work()} == {"suspend"}


async def test_a_login_that_can_do_nothing_any_more_may_lapse(desk: Desk, asking: Asking) -> None:
    base = idle().model_dump(mode="json")
    mac = next(one for one in base["portals"] if one["id"] == "mac")
    mac["revoke_instead_of_suspend"] = True
    await desk.apply_directory(Directory.model_validate(base))
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    await desk.finish_all()
    assert (await asking.get("/access/v1/clocks", days=365))["lapses"] == []


async def test_the_forecast_names_what_lapses_and_what_that_costs(
    desk: Desk, tmp_path: Path
) -> None:
    await at_work(desk)
    asking = Asking.of(desk, tmp_path)
    assert (await asking.get("/access/v1/clocks", days=29))["lapses"] == []
    (lapse,) = (await asking.get("/access/v1/clocks", days=60))["lapses"]
    assert (lapse["worker"], lapse["portal"]) == ("w1", "mac")
    assert lapse["deleted_after_days"] == 90
    assert lapse["lapsed"] is False


async def test_the_holder_ends_keep_alive_work_and_nobody_elses(desk: Desk, tmp_path: Path) -> None:
    await at_work(desk)
    await desk.pass_time(days=25)
    (item,) = await keeping(desk)
    asking = Asking.of(desk, tmp_path)
    path = f"/access/v1/own/work/{item['operation_id']}/signed-in"
    await asking.post(path, {}, scopes="directory:read", worker="w2", status=404)
    await asking.post(path, {}, scopes="directory:read", worker="w1")
    assert await keeping(desk) == []


# -- clocks of portals themselves


def recertified(days: int = 365) -> Directory:
    base = directory().model_dump(mode="json")
    mac = next(one for one in base["portals"] if one["id"] == "mac")
    mac["rules"] = [
        {"rule": "recertification_days", "value": days, "source": "mac.example/help"},
        {"rule": "recertification_window_days", "value": 45, "source": "mac.example/help"},
    ]
    mac["chores"] = {"recertify": [{"actor": "administrator", "text": "Tick each user."}]}
    return Directory.model_validate(base)


async def test_users_are_confirmed_at_the_portal_by_its_own_date_every_year(
    desk: Desk, asking: Asking
) -> None:
    await desk.apply_directory(recertified())

    async def asked() -> list[Any]:
        await RecurringChores(desk.pool, desk.recompute, ChoreCommands(desk.recompute)).ask()
        chores = (await asking.get("/access/v1/chores"))["chores"]
        return [chore for chore in chores if chore["kind"] == "recertify"]

    assert await asked() == []
    desk.clock.at = NOW + timedelta(days=320)
    (chore,) = await asked()
    assert "Tick each user" in chore["text"]
    assert await asked() == [chore], "asked for once"
    done = {"evidence": {"kind": "confirmation_number", "text": "R-2027"}}
    await asking.post(f"/access/v1/chores/{chore['chore_id']}/done", done, scopes="work:do")
    desk.clock.at = NOW + timedelta(days=600)
    assert await asked() == []
    desk.clock.at = NOW + timedelta(days=645)
    assert len(await asked()) == 1
    told = await desk.published("portal_clock.set")
    assert [each["data"] for each in told] == [
        {"portal": "mac", "recertify_by": str((NOW + timedelta(days=days)).date())}
        for days in (365, 320 + 365)
    ]


# -- passwords


async def passwords(desk: Desk) -> list[Any]:
    await RecurringChores(desk.pool, desk.recompute, ChoreCommands(desk.recompute)).ask()
    async with desk.pool.acquire() as conn:
        rows = await chores_store.chores(
            conn, ORGANIZATION, ended=False, portal="mac", worker=None, limit=100
        )
    return [row for row in rows if row["kind"] == "change_password"]


async def with_passwords(desk: Desk) -> None:
    base = directory().model_dump(mode="json")
    mac = next(one for one in base["portals"] if one["id"] == "mac")
    mac["rules"] = [{"rule": "password_days", "value": 90, "source": "mac.example/passwords"}]
    await desk.apply_directory(Directory.model_validate(base))
    await desk.hear(hire())
    await desk.finish_all()


async def test_a_password_about_to_expire_is_its_holders_to_change(
    desk: Desk, asking: Asking
) -> None:
    await with_passwords(desk)
    desk.clock.at = NOW + timedelta(days=75)
    assert await passwords(desk) == []
    desk.clock.at = NOW + timedelta(days=77)
    (chore,) = await passwords(desk)
    assert (chore["worker"], chore["addressed_to"]) == ("w1", "w1")
    assert chore["deadline"] == NOW + timedelta(days=90)
    assert "90 days (mac.example/passwords)" in chore["text"]
    path = f"/access/v1/own/work/{chore['chore_id']}/signed-in"
    await asking.post(path, {}, scopes="directory:read", worker="w2", status=404)
    await asking.post(path, {"note": "changed"}, scopes="directory:read", worker="w1")
    assert await passwords(desk) == []
    desk.clock.at = NOW + timedelta(days=77 + 77)
    assert [one["deadline"] for one in await passwords(desk)] == [NOW + timedelta(days=77 + 90)]


async def test_on_leave_a_password_expires_and_is_changed_after_the_return(desk: Desk) -> None:
    await with_passwords(desk)
    desk.clock.at = NOW + timedelta(days=80)
    assert len(await passwords(desk)) == 1
    await desk.hear(
        hr_record("worker.leave_started", id_="l", employment_id="w1-e1", effective_on=day(80))
    )
    await desk.finish_all()
    assert await passwords(desk) == []
    await desk.hear(
        hr_record("worker.leave_ended", id_="r", employment_id="w1-e1", effective_on=day(100))
    )
    await desk.pass_time(days=21)
    (resume,) = [item for item in await desk.work("w1") if item["portal"] == "mac"]
    assert await passwords(desk) == [], "nobody can use the login yet"
    await desk.say(resume["operation_id"], Transition.DONE)
    assert await passwords(desk) == [], "who brought it back set a new one"
    desk.clock.at += timedelta(days=80)
    assert len(await passwords(desk)) == 1


async def test_a_password_that_expires_for_want_of_use_is_kept_alive_like_a_login(
    desk: Desk,
) -> None:
    base = idle(90).model_dump(mode="json")
    mac = next(one for one in base["portals"] if one["id"] == "mac")
    mac["rules"].append({"rule": "password_idle_days", "value": 60, "source": "mac.example"})
    await desk.apply_directory(Directory.model_validate(base))
    await desk.hear(hire())
    await desk.finish_all()
    await desk.pass_time(days=53)
    assert [item["deadline"] for item in await keeping(desk)] == [NOW + timedelta(days=60)]


# -- outages


DOWN = {"portal": "mac", "kind": "down", "note": "maintenance page since eight"}


async def test_during_an_outage_deadlines_there_stand_still_and_exposure_does_not(
    desk: Desk, asking: Asking
) -> None:
    await at_work(desk)
    outage = await asking.post("/access/v1/outages", DOWN)
    await desk.hear(leave_now())
    await desk.pass_time(hours=3)
    overdue = {item["portal"] for item in await desk.work() if item["overdue"]}
    assert overdue == {"hub", "gate"}
    mac = next(one for one in (await desk.state())["portals"] if one["portal"] == "mac")
    assert mac["exposed_since"]
    shown = {item["portal"]: item for item in (await asking.get("/access/v1/work"))["items"]}
    assert [shown[portal]["overdue"] for portal in ("hub", "gate", "mac")] == [True, True, False]
    assert shown["mac"]["paused_since"]
    assert not shown["hub"]["paused_since"]
    late = (await asking.get("/access/v1/work", overdue=True))["items"]
    assert {item["portal"] for item in late} == {"hub", "gate"}
    overview = await asking.get("/access/v1/overview")
    assert {item["portal"] for item in overview["overdue"]} == {"hub", "gate"}
    assert overview["work_overdue"] == 2
    ended = await asking.post(f"/access/v1/outages/{outage['outage_id']}/end", {})
    (order,) = [item for item in await desk.work() if item["portal"] == "mac"]
    assert ended["catch_up"] == [order["operation_id"]]
    assert order["deadline"] == NOW + timedelta(hours=4)
    async with desk.pool.acquire() as conn:
        (over,) = await outages_store.outages(conn, ORGANIZATION, open_only=False, limit=2)
    assert over["waiting"] == 1, "what is to be caught up with stays in sight"
    await desk.pass_time(hours=2)
    assert all(item["overdue"] for item in await desk.work())


async def test_a_portal_is_down_once_and_its_outage_ends_once(desk: Desk, asking: Asking) -> None:
    outage = await asking.post("/access/v1/outages", DOWN)
    await asking.post("/access/v1/outages", DOWN, status=409)
    await asking.post(f"/access/v1/outages/{outage['outage_id']}/end", {})
    await asking.post(f"/access/v1/outages/{outage['outage_id']}/end", {}, status=409)
    async with desk.pool.acquire() as conn:
        assert await outages_store.portals_down(conn, [ORGANIZATION]) == {}


async def test_anybody_who_works_here_can_report_that_they_cannot_get_in(
    desk: Desk, asking: Asking
) -> None:
    report = {"portal": "hub", "kind": "login_loop", "note": "thrown back to the start"}
    await asking.post("/access/v1/incidents", report, scopes="directory:read", worker="w1")
    (incident,) = (await asking.get("/access/v1/incidents"))["incidents"]
    assert (incident["worker"], incident["kind"]) == ("w1", "login_loop")
    nowhere = {**report, "portal": "nowhere"}
    await asking.post("/access/v1/incidents", nowhere, scopes="directory:read", status=404)
