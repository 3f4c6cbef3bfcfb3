"""Guards that portals' own rules make necessary: each refuses by name and says what next."""

from datetime import timedelta
from typing import Any

import pytest

from services.provisioning.handlers.commands import Evidence, Said
from services.provisioning.rules.operations import Transition
from shared.contracts.directory import Directory
from shared.contracts.state import Grade
from shared.errors import Problem
from shared.postgres import in_transaction
from tests.provisioning.desk import Desk, hire, hr_record, leave_now
from tests.provisioning.worlds import ORGANIZATION, OTHER_TIN, TIN, day, directory


def with_rule(rule: str, value: Any, portal: str = "mac", **changes: Any) -> Directory:
    base = directory(**changes).model_dump(mode="json")
    for one in base["portals"]:
        if one["id"] == portal:
            one["rules"] = [{"rule": rule, "value": value, "source": "the portal's help"}]
    return Directory.model_validate(base)


def appointed(*workers: str) -> list[dict[str, str]]:
    return [
        {"id": f"mac-{worker}", "portal": "mac", "worker": worker, "since": "2026-01-01"}
        for worker in workers
    ]


async def opened(desk: Desk, worker: str, login_id: str, portal: str = "mac") -> None:
    (item,) = [item for item in await desk.work(worker) if item["portal"] == portal]
    said = Said(
        item["operation_id"],
        Transition.DONE,
        "admin-1",
        Grade.PERSON,
        Evidence(kind="note", text="seen"),
        login_id,
    )
    await in_transaction(desk.pool, lambda conn: desk.operations.say(conn, ORGANIZATION, [said]))


async def test_a_login_id_that_is_somebody_elses_is_refused_by_name(desk: Desk) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    await opened(desk, "w1", "frontdesk")
    with pytest.raises(Problem, match="login_id_in_use"):
        await opened(desk, "w2", "FrontDesk")
    assert "mac" not in {portal for portal, _ in await desk.effective("w2")}
    await opened(desk, "w2", "w2.own")


async def test_several_people_know_the_login_of_a_portal_that_gives_one(desk: Desk) -> None:
    await desk.apply_directory(with_rule("one_login", value=True))
    await desk.hear(hire("w1"), hire("w2"))
    await opened(desk, "w1", "clinic")
    await opened(desk, "w2", "clinic")


async def test_a_login_id_is_kept_from_others_for_as_long_as_the_portals_rule_says(
    desk: Desk,
) -> None:
    rule = with_rule("id_reuse_days", value=30)
    base = rule.model_dump(mode="json")
    mac = next(one for one in base["portals"] if one["id"] == "mac")
    mac["steps"] = {"close": [{"actor": "administrator", "text": "End it."}]}
    await desk.apply_directory(Directory.model_validate(base))
    await desk.hear(hire("w1"))
    await opened(desk, "w1", "jdoe")
    await desk.finish_all()
    await desk.hear(leave_now())
    await desk.finish_all()
    await desk.pass_time(days=31)
    await desk.finish_all()
    await desk.hear(hire("w2"))
    with pytest.raises(Problem, match="login_id_reused"):
        await opened(desk, "w2", "jdoe")
    desk.clock.at += timedelta(days=31)
    await opened(desk, "w2", "jdoe")


async def test_who_administers_a_portal_with_one_role_per_person_gets_nothing_else_there(
    desk: Desk,
) -> None:
    await desk.apply_directory(
        with_rule("one_role_per_person", value=True, administrators=appointed("w1"))
    )
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()
    assert {function for portal, function in await desk.effective("w1") if portal == "mac"} == {
        "user_administration"
    }
    mac = next(one for one in (await desk.state("w1"))["portals"] if one["portal"] == "mac")
    assert {held["rule"] for held in mac["held"]} == {"one_role_per_person"}
    assert ("mac", "eligibility") in await desk.effective("w2")


async def test_a_contractor_does_not_administer_a_portal_that_takes_staff_only(desk: Desk) -> None:
    await desk.apply_directory(
        with_rule("administrator_must_be_staff", value=True, administrators=appointed("w1"))
    )
    await desk.hear(hire("w1", kind="contractor"))
    mac = next(one for one in (await desk.state("w1"))["portals"] if one["portal"] == "mac")
    assert "administrator_must_be_staff" in {held["rule"] for held in mac["held"]}
    kind = hr_record(
        "worker.changed",
        id_="becomes-staff",
        employment_id="w1-e1",
        effective_on="2026-04-01",
        kind="employee",
    )
    await desk.hear(kind)
    await desk.finish_all()
    assert ("mac", "user_administration") in await desk.effective("w1")


async def test_before_an_administrator_goes_whose_end_ends_others_those_are_taken_over(
    desk: Desk,
) -> None:
    await desk.apply_directory(
        with_rule(
            "terminating_admin_ends_assigned", value=True, administrators=appointed("w1", "w2")
        )
    )
    await desk.hear(hire("w1"), hire("w2"), hire("w3"))
    await desk.finish_all()
    await desk.hear(leave_now("w1"))
    (order,) = [item for item in await desk.work("w1") if item["portal"] == "mac"]
    assert "take those logins over" in order["steps"][0]["text"]
    (refused,) = await desk.published("guard.refused")
    assert refused["data"]["rule"] == "cascading_administrator"
    await desk.hear(leave_now("w3"))
    (plain,) = [item for item in await desk.work("w3") if item["portal"] == "mac"]
    assert "take those logins over" not in plain["steps"][0]["text"]


async def test_a_portal_gets_no_more_administrators_than_it_takes(desk: Desk) -> None:
    three = appointed("w1", "w2", "w3")
    three[0]["since"] = "2026-02-01"
    await desk.apply_directory(with_rule("max_administrators", value=2, administrators=three))
    await desk.hear(hire("w1"), hire("w2"), hire("w3"))
    await desk.finish_all()
    administering = {
        worker
        for worker in ("w1", "w2", "w3")
        if ("mac", "user_administration") in await desk.effective(worker)
    }
    assert administering == {"w2", "w3"}, "those appointed first"
    mac = next(one for one in (await desk.state("w1"))["portals"] if one["portal"] == "mac")
    held = [one for one in mac["held"] if one["function"] == "user_administration"]
    assert {one["rule"] for one in held} == {"max_administrators"}
    assert "end the appointment of one" in held[0]["detail"]


async def test_an_administrator_serves_no_more_tax_ids_than_the_portal_lets_one_serve(
    desk: Desk,
) -> None:
    both = [
        {"id": f"mac-{number}", "portal": "mac", "tin": tin, "registered_on": "2020-01-01"}
        for number, tin in enumerate(sorted((TIN, OTHER_TIN)))
    ]
    first, second = sorted((TIN, OTHER_TIN))
    only = with_rule(
        "max_tins_per_administrator", value=1, administrators=appointed("w1"), enrolments=both
    )
    await desk.apply_directory(only)
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()
    assert await administered(desk, "w1") == {first}
    mac = next(one for one in (await desk.state("w1"))["portals"] if one["portal"] == "mac")
    (held,) = [one for one in mac["held"] if one["function"] == "user_administration"]
    assert (held["rule"], held["tin"]) == ("max_tins_per_administrator", second)
    assert f"appoint somebody else there with tins: [{second}]" in held["detail"]

    shared = [
        {**one, "tins": [tin]}
        for one, tin in zip(appointed("w1", "w2"), (first, second), strict=True)
    ]
    await desk.apply_directory(
        with_rule("max_tins_per_administrator", value=1, administrators=shared, enrolments=both)
    )
    await desk.pass_time()
    await desk.finish_all()
    assert await administered(desk, "w1") == {first}
    assert await administered(desk, "w2") == {second}


async def administered(desk: Desk, worker: str) -> set[str]:
    (mac,) = [one for one in (await desk.state(worker))["portals"] if one["portal"] == "mac"]
    return {own["tin"] for own in mac["effective"] if own["function"] == "user_administration"}


async def removal_order(desk: Desk, worker: str) -> Any:
    (order,) = [
        item
        for item in await desk.work(worker)
        if (item["portal"], item["kind"]) == ("mac", "suspend")
    ]
    return order


async def say_gone(desk: Desk, worker: str, kind: str) -> None:
    item = await removal_order(desk, worker)
    said = Said(
        item["operation_id"],
        Transition.DONE,
        "admin-1",
        Grade.PERSON,
        Evidence(kind=kind, text="C-17"),
    )
    await in_transaction(desk.pool, lambda conn: desk.operations.say(conn, ORGANIZATION, [said]))


async def test_a_portal_that_keeps_its_last_administrator_is_not_believed_to_have_lost_them(
    desk: Desk,
) -> None:
    await desk.apply_directory(
        with_rule("last_administrator_kept", value=True, administrators=appointed("w1"))
    )
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()
    await desk.hear(leave_now("w1"))
    order = await removal_order(desk, "w1")
    assert "does not let its only administrator be deactivated" in order["steps"][0]["text"]
    (refused,) = await desk.published("guard.refused")
    assert refused["data"]["rule"] == "last_administrator_kept"
    with pytest.raises(Problem, match="last_administrator_kept"):
        await say_gone(desk, "w1", "note")
    await say_gone(desk, "w1", "confirmation_number")
    assert "mac" not in {portal for portal, _ in await desk.effective("w1")}


async def test_once_a_successor_administers_the_portal_the_former_may_go(desk: Desk) -> None:
    await desk.apply_directory(
        with_rule("last_administrator_kept", value=True, administrators=appointed("w1", "w2"))
    )
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all("w1")
    await desk.hear(leave_now("w1"))
    with pytest.raises(Problem, match="last_administrator_kept"):
        await say_gone(desk, "w1", "note")
    await desk.finish_all("w2")
    await say_gone(desk, "w1", "note")


async def test_whoever_administers_a_portal_for_another_tax_id_is_no_successor(desk: Desk) -> None:
    (first,) = appointed("w1")
    (second,) = appointed("w2")
    await desk.apply_directory(
        with_rule(
            "last_administrator_kept",
            value=True,
            administrators=[first, {**second, "tins": [OTHER_TIN]}],
        )
    )
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()
    leaving = hr_record(
        "worker.terminated", id_="leaves", employment_id="w1-e1", effective_on=day(5)
    )
    await desk.hear(leaving)
    (item,) = await desk.work("w1")
    assert (item["portal"], item["kind"]) == ("mac", "appoint_successor")
    (found,) = (await desk.state("w1"))["findings"]
    assert f"Medicare portal for {TIN} leaves" in found["detail"]
    await desk.pass_time(days=6)
    with pytest.raises(Problem, match="last_administrator_kept"):
        await say_gone(desk, "w1", "note")


def clinician(*carriers: dict[str, str]) -> dict[str, Any]:
    return {
        "id": "dr-w1",
        "name": "Dr. W One",
        "npi": "1234567893",
        "worker": "w1",
        "carriers": [{"tin": TIN, **carrier} for carrier in carriers],
    }


async def test_a_clinician_uses_a_carriers_portal_only_from_the_day_the_carrier_names(
    desk: Desk,
) -> None:
    await desk.apply_directory(
        directory(
            clinicians=[
                clinician(
                    {"carrier": "medicare", "effective_on": day(10)},
                    {"carrier": "acme", "effective_on": day(-10), "until": day(20)},
                )
            ]
        )
    )
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()
    assert "mac" not in {portal for portal, _ in await desk.effective("w1")}
    assert "mac" in {portal for portal, _ in await desk.effective("w2")}
    mac = next(one for one in (await desk.state("w1"))["portals"] if one["portal"] == "mac")
    assert {one["rule"] for one in mac["held"]} == {"carrier_not_effective"}
    assert (
        f"Medicare recognizes this clinician under {TIN} only from {day(10)}"
        in (mac["held"][0]["detail"])
    )
    await desk.pass_time(days=10)
    await desk.finish_all()
    assert {portal for portal, _ in await desk.effective("w1")} == {"mac", "hub", "gate"}
    await desk.pass_time(days=11)
    assert {(item["portal"], item["kind"]) for item in await desk.work("w1")} == {
        ("hub", "revoke"),
        ("gate", "revoke"),
    }


async def test_before_the_only_administrator_is_away_a_successor_is_appointed(desk: Desk) -> None:
    await desk.apply_directory(directory(administrators=appointed("w1")))
    await desk.hear(hire("w1"))
    await desk.finish_all()
    away = hr_record("worker.leave_started", id_="l", employment_id="w1-e1", effective_on=day(1))
    await desk.hear(away)
    await desk.pass_time(days=2)
    (removal,) = [one for one in await desk.work("w1") if one["portal"] == "mac"]
    assert "appoint a successor there first" in removal["steps"][0]["text"]
