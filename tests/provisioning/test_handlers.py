import asyncio
from dataclasses import replace
from typing import Any

import pytest

from services.provisioning.rules.operations import Transition
from services.provisioning.store import directories as directories_store
from services.provisioning.store import workers as workers_store
from shared.contracts.directory import Directory
from shared.contracts.hr import CONSOLE_SOURCE
from shared.errors import Problem
from shared.kafka import Batch, Item
from shared.postgres import in_transaction
from tests.provisioning.desk import ADMINISTRATOR, Desk, hire, hr_record, leave_now, sequence_of
from tests.provisioning.worlds import ORGANIZATION, OTHER_TIN, TIN, day, directory

FRONT_DESK = {
    ("hub", "eligibility"),
    ("hub", "benefits"),
    ("mac", "eligibility"),
    ("gate", "sign_on"),
}


async def portals_of(desk: Desk, worker: str = "w1") -> dict[str, Any]:
    return {access["portal"]: access for access in (await desk.state(worker))["portals"]}


async def test_a_hire_orders_a_login_on_every_portal_the_duty_needs(desk: Desk) -> None:
    await desk.hear(hire())
    assert {(item["portal"], item["kind"]) for item in await desk.work()} == {
        ("hub", "open"),
        ("mac", "open"),
        ("gate", "open"),
    }
    assert await desk.effective() == set()
    await desk.finish_all()
    assert await desk.effective() == FRONT_DESK


async def test_the_same_record_twice_changes_nothing_more(desk: Desk) -> None:
    await desk.hear(hire())
    before = await desk.published()
    await desk.hear(hire())
    await desk.hear(hire(), lane="express")
    assert await desk.published() == before


async def test_a_termination_orders_removal_everywhere_and_stays_exposed_until_confirmed(
    desk: Desk,
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    assert {(item["portal"], item["kind"]) for item in await desk.work()} == {
        ("hub", "suspend"),
        ("mac", "suspend"),
        ("gate", "suspend"),
    }
    first = (await desk.work())[0]
    assert first["portal"] == "gate", "what cuts most goes first"
    assert await desk.effective() == FRONT_DESK
    assert all(access["exposed_since"] for access in (await portals_of(desk)).values())
    await desk.finish_all()
    assert await desk.effective() == set()
    types = sequence_of(await desk.published())
    assert types.count("exposure.started") == types.count("exposure.ended") == 3
    assert types.count("account.suspended") == 3


async def test_one_work_item_confirmed_leaves_the_others_exposed(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    first = (await desk.work())[0]
    await desk.say(first["operation_id"], Transition.DONE)
    exposed = {
        portal for portal, access in (await portals_of(desk)).items() if access["exposed_since"]
    }
    assert exposed == {"hub", "mac"}


async def test_a_rescinded_termination_withdraws_the_removal_orders(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    await desk.hear(hr_record("worker.rescinded", id_="undo", rescinds="w1-terminated"))
    assert await desk.work() == []
    assert await desk.effective() == FRONT_DESK


async def test_a_rescind_that_arrives_before_what_it_rescinds_counts(desk: Desk) -> None:
    await desk.hear(hr_record("worker.rescinded", id_="undo", rescinds="w1-terminated"))
    await desk.hear(leave_now())
    await desk.hear(hire())
    assert (await desk.state())["status"] == "active"


async def test_a_future_termination_takes_effect_by_itself(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    leaving = hr_record("worker.terminated", id_="t", employment_id="w1-e1", effective_on=day(2))
    await desk.hear(leaving)
    assert await desk.work() == []
    await desk.pass_time(days=2)
    assert await desk.work() == [], "the last day is still a working day"
    await desk.pass_time(hours=13)
    assert {item["kind"] for item in await desk.work()} == {"suspend"}


async def test_overdue_work_says_so_once(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    await desk.pass_time(hours=2)
    await desk.pass_time(hours=2)
    assert len(await desk.published("operation.overdue")) == 3


async def test_leave_suspends_and_the_return_resumes_with_the_same_functions(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    away = hr_record("worker.leave_started", id_="l", employment_id="w1-e1", effective_on=day(-1))
    await desk.hear(away, lane="express")
    assert {item["kind"] for item in await desk.work()} == {"suspend"}
    await desk.finish_all()
    assert await desk.effective() == set()
    back = hr_record("worker.leave_ended", id_="b", employment_id="w1-e1", effective_on=day(0))
    await desk.hear(back)
    assert {item["kind"] for item in await desk.work()} == {"resume"}
    await desk.finish_all()
    assert await desk.effective() == FRONT_DESK


async def test_an_event_of_an_organization_without_directory_is_refused_by_name(
    desk: Desk,
) -> None:
    stranger = hire(organization="unheard-of")
    unbound = hire("w2", source="/somebody/else")
    assert await desk.hear(stranger, unbound, hire("w3")) == [
        "unknown_organization",
        "source_not_bound",
    ]
    assert (await desk.state("w3"))["status"] == "active"


async def test_the_same_id_with_other_content_is_kept_and_raised(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.hear(hire(title="Biller"))
    assert "conflicting_event" in {f["rule"] for f in (await desk.state())["findings"]}


async def test_merged_ids_are_one_person_with_one_login(desk: Desk) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()
    await desk.hear(hr_record("worker.merged", "w1", id_="m", previous_worker_id="w2"))
    assert (await desk.state("w2"))["merged_into"] == "w1"
    state = await desk.state("w1")
    assert state["aliases"] == ["w2"]
    assert {item["worker"] for item in await desk.work()} == {"w2"}, "the second login goes"
    await desk.finish_all()
    await desk.hear(leave_now("w2"))
    assert await desk.work() == [], "one of two employments is over"
    await desk.hear(leave_now("w1"))
    assert {item["kind"] for item in await desk.work()} == {"suspend"}


async def test_a_rescinded_merge_makes_them_two_again(desk: Desk) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    await desk.hear(hr_record("worker.merged", "w1", id_="m", previous_worker_id="w2"))
    await desk.hear(hr_record("worker.rescinded", "w1", id_="u", rescinds="m"))
    assert (await desk.state("w2"))["merged_into"] is None
    assert (await desk.state("w2"))["status"] == "active"


async def test_erasure_empties_desired_and_leaves_a_tombstone(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(hr_record("worker.erased", id_="x"))
    state = await desk.state()
    assert (state["status"], state["name"], state["employments"]) == ("erased", None, [])
    assert {item["kind"] for item in await desk.work()} == {"suspend"}


async def test_a_new_directory_sweeps_everybody(desk: Desk) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()
    document = directory().model_dump(mode="json")
    document["job_duties"][0]["functions"] = ["eligibility"]
    answer = await desk.apply_directory(directory(job_duties=document["job_duties"]))
    assert answer["workers_behind"] == 2
    await desk.pass_time()
    revoked = {(item["worker"], item["kind"], item["function"]) for item in await desk.work()}
    assert revoked == {("w1", "revoke", "benefits"), ("w2", "revoke", "benefits")}


async def test_applying_the_same_directory_again_changes_nothing(desk: Desk) -> None:
    assert (await desk.apply_directory())["changed"] == []


async def test_a_portal_in_use_cannot_be_taken_out_of_the_directory(desk: Desk) -> None:
    await desk.hear(hire())
    document = directory().model_dump(mode="json")
    portals = [portal for portal in document["portals"] if portal["id"] != "mac"]
    enrolments = [one for one in document["enrolments"] if one["portal"] != "mac"]
    with pytest.raises(Problem, match="portal_in_use"):
        await desk.apply_directory(directory(portals=portals, enrolments=enrolments))


async def test_a_review_removal_sticks_and_ends_confirmed(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.decide_review(portal="hub", tin="12-3456789", function="benefits")
    (item,) = await desk.work()
    assert (item["kind"], item["function"], item["rule"]) == (
        "revoke",
        "benefits",
        "review_removed",
    )
    assert (await desk.state())["decisions"][0]["status"] == "ordered"
    await desk.finish_all()
    assert (await desk.state())["decisions"][0]["status"] == "confirmed"
    document = directory().model_dump(mode="json")
    document["policy"]["version"] = "v2"
    await desk.apply_directory(directory(policy=document["policy"]))
    await desk.pass_time()
    assert ("hub", "benefits") not in await desk.effective()
    assert await desk.work() == []


async def test_a_review_decision_about_what_was_granted_anew_is_moot(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.decide_review(
        portal="hub",
        tin="12-3456789",
        function="benefits",
        operation_id="00000000-0000-0000-0000-000000000000",
    )
    assert (await desk.state())["decisions"][0]["status"] == "moot"
    assert await desk.work() == []


def with_administrators(*workers: str) -> Any:
    return directory(
        administrators=[
            {"id": f"hub-{worker}", "portal": "hub", "worker": worker, "since": "2026-01-01"}
            for worker in workers
        ]
    )


async def test_the_only_administrators_dated_exit_asks_for_a_successor_first(desk: Desk) -> None:
    await desk.apply_directory(with_administrators("w1"))
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all("w1")
    await desk.finish_all("w2")
    await desk.hear(
        hr_record("worker.terminated", id_="t", employment_id="w1-e1", effective_on=day(5))
    )
    (item,) = await desk.work("w1")
    assert (item["kind"], item["portal"]) == ("appoint_successor", "hub")
    assert "last_administrator" in {f["rule"] for f in (await desk.state())["findings"]}
    await desk.apply_directory(with_administrators("w1", "w2"))
    await desk.pass_time()
    assert await desk.work("w1") == []
    assert "last_administrator" not in {f["rule"] for f in (await desk.state())["findings"]}


async def test_an_immediate_exit_of_the_only_administrator_is_ordered_with_the_support_line(
    desk: Desk,
) -> None:
    await desk.apply_directory(
        directory(
            administrators=[
                {"id": "mac-w1", "portal": "mac", "worker": "w1", "since": "2026-01-01"}
            ]
        )
    )
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    removal = next(
        item for item in await desk.work() if (item["portal"], item["kind"]) == ("mac", "suspend")
    )
    assert "800-555-0100" in removal["steps"][0]["text"]
    assert len(await desk.published("guard.refused")) == 1


async def test_two_administrators_leaving_at_once_leave_exactly_one_guarded(desk: Desk) -> None:
    await desk.apply_directory(with_administrators("w1", "w2"))
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all()
    exits = [
        hr_record(
            "worker.terminated",
            worker,
            id_=f"{worker}-t",
            employment_id=f"{worker}-e1",
            effective_on=day(5),
        )
        for worker in ("w1", "w2")
    ]
    await asyncio.gather(desk.hear(exits[0]), desk.hear(exits[1], lane="express"))
    await desk.pass_time()
    assert [(item["worker"], item["kind"]) for item in await desk.work()] == [
        ("w2", "appoint_successor")
    ]


async def test_a_failed_grant_is_asked_again_later_and_a_failed_removal_at_once(
    desk: Desk,
) -> None:
    await desk.hear(hire())
    hub = next(item for item in await desk.work() if item["portal"] == "hub")
    await desk.say(hub["operation_id"], Transition.FAIL)
    assert "hub" not in {item["portal"] for item in await desk.work()}
    await desk.pass_time(hours=25)
    assert "hub" in {item["portal"] for item in await desk.work()}
    await desk.finish_all()
    await desk.hear(leave_now())
    removal = next(item for item in await desk.work() if item["portal"] == "hub")
    await desk.say(removal["operation_id"], Transition.FAIL)
    again = next(item for item in await desk.work() if item["portal"] == "hub")
    assert again["generation"] == removal["generation"] + 1


async def test_somebody_elses_claim_is_respected(desk: Desk) -> None:
    await desk.hear(hire())
    item = (await desk.work())[0]
    await desk.say(item["operation_id"], Transition.CLAIM, by="ann")
    with pytest.raises(Problem, match="not_possible_now"):
        await desk.say(item["operation_id"], Transition.CLAIM, by="bea")
    with pytest.raises(Problem, match="claimed_by_another"):
        await desk.say(item["operation_id"], Transition.RELEASE, by="bea")


async def test_the_simulator_answers_like_an_api(desk: Desk) -> None:
    document = directory().model_dump(mode="json")
    for portal in document["portals"]:
        portal["connector"] = "simulator"
    await desk.apply_directory(directory(portals=document["portals"]))
    await desk.hear(hire("w1"), hire("w2"))
    while await desk.simulator.work():
        pass
    assert await desk.effective("w1") == FRONT_DESK
    assert (await portals_of(desk))["hub"]["grade"] == "api"
    await desk.hear(leave_now())
    while await desk.simulator.work():
        pass
    assert await desk.effective("w1") == set()
    assert await desk.effective("w2") == FRONT_DESK


async def test_a_command_sent_again_gets_the_same_answer(desk: Desk) -> None:
    calls: list[int] = []

    async def work(_conn: Any) -> dict[str, Any]:
        calls.append(1)
        return {"call": len(calls)}

    async def send(body: bytes) -> dict[str, Any]:
        return await desk.operations.command(ADMINISTRATOR, "route", "key-1", body, work)

    assert await send(b"a") == await send(b"a") == {"call": 1}
    with pytest.raises(Problem, match="key_reused"):
        await send(b"b")


async def test_main_and_express_lane_at_the_same_time_store_an_event_once(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await asyncio.gather(*(desk.hear(leave_now(), lane=lane) for lane in ("main", "express") * 3))
    types = sequence_of(await desk.published())
    assert types.count("operation.requested") == 6


async def test_only_higher_versions_of_a_state_are_published(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    versions = [
        int(event["ce_version"])
        for event in await desk.published("worker.state")
        if event["key"].endswith("/w1")
    ]
    assert versions == list(range(1, len(versions) + 1))


async def test_a_crash_before_commit_leaves_nothing(desk: Desk) -> None:
    handler = desk.lanes["express"]

    async def crash(conn: Any) -> None:
        record = hire()
        await handler.apply(conn, Batch([Item(record, handler.parse(record))], []))
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        await in_transaction(desk.pool, crash)
    assert await desk.published("operation.requested") == []
    await desk.hear(hire())
    assert len(await desk.work()) == 3


async def test_deciding_again_about_an_erased_worker_says_nothing(desk: Desk) -> None:
    await desk.hear(leave_now(), hr_record("worker.erased", id_="x"))
    before = await desk.published()
    await desk.hear(
        hr_record("worker.training_completed", id_="t", module="m", completed_on=day(0))
    )
    assert await desk.published() == before


async def test_an_erased_administrators_appointment_still_begins(desk: Desk) -> None:
    appointed = {"id": "a1", "portal": "mac", "worker": "w1", "since": day(3)}
    await desk.apply_directory(directory(administrators=[appointed]))
    await desk.hear(hire(), leave_now(), hr_record("worker.erased", id_="x"))
    assert await desk.work() == []
    await desk.pass_time(days=4)
    assert [item["kind"] for item in await desk.work()] == ["appoint_successor"]


async def test_a_second_look_asked_for_during_the_first_is_not_lost(desk: Desk) -> None:
    await desk.hear(hire())
    async with desk.pool.acquire() as conn:
        await workers_store.request_recompute(conn, [(ORGANIZATION, "w1")])

    async def look(conn: Any) -> None:
        locked = await workers_store.lock_workers(conn, [(ORGANIZATION, "w1")])
        await workers_store.forget_recompute_requests(conn, [row.key for row in locked])
        async with desk.pool.acquire() as other, asyncio.timeout(5):
            await workers_store.request_recompute(other, [(ORGANIZATION, "w1")])

    await in_transaction(desk.pool, look)
    async with desk.pool.acquire() as conn:
        assert await workers_store.workers_behind(conn, 10) == [(ORGANIZATION, "w1")]


async def test_of_two_appointments_that_begin_together_the_lasting_one_counts(desk: Desk) -> None:
    twice = [
        {"id": "a1", "portal": "mac", "worker": "w1", "since": day(-9)},
        {"id": "a2", "portal": "mac", "worker": "w1", "since": day(-9), "until": day(5)},
    ]
    await desk.apply_directory(directory(administrators=twice))
    async with desk.pool.acquire() as conn:
        standings = await directories_store.standings(conn, ORGANIZATION)
    assert [(one.tin, one.worker, one.until) for one in standings] == [
        (TIN, "w1", None),
        (OTHER_TIN, "w1", None),
    ]


async def test_a_removal_wanted_again_can_be_overdue_again(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    for item in await desk.work():
        await desk.say(item["operation_id"], Transition.CLAIM)
    await desk.pass_time(hours=2)
    await desk.hear(hr_record("worker.rescinded", id_="r", rescinds="w1-terminated"))
    await desk.pass_time(minutes=1)
    await desk.hear(leave_now(id_="w1-terminated-again"))
    overdue = await desk.published("operation.overdue")
    assert len(overdue) == len({event["ce_id"] for event in overdue}) == 6


async def test_two_workers_given_one_event_id_at_once_are_both_told_of(desk: Desk) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    handler, stored = desk.lanes["main"], asyncio.Event()

    async def hear(conn: Any, worker: str) -> None:
        record = hr_record(
            "worker.training_completed", worker, id_="same", module="m", completed_on=day(0)
        )
        await handler.apply(conn, Batch([Item(record, handler.parse(record))], []))

    async def hear_and_linger(conn: Any) -> None:
        await hear(conn, "w1")
        stored.set()
        await asyncio.sleep(0.3)

    async def hear_meanwhile(conn: Any) -> None:
        await stored.wait()
        await hear(conn, "w2")

    await asyncio.gather(
        in_transaction(desk.pool, hear_and_linger), in_transaction(desk.pool, hear_meanwhile)
    )
    await desk.pass_time(minutes=1)
    for worker in ("w1", "w2"):
        findings = (await desk.state(worker))["findings"]
        assert [finding["rule"] for finding in findings] == ["conflicting_event"]


async def test_a_login_on_a_portal_taken_out_meanwhile_holds_nobody_up(desk: Desk) -> None:
    handler = desk.lanes["express"]
    without = directory().model_dump(mode="json", exclude_none=True)
    for kind, name in (("portals", "id"), ("enrolments", "portal")):
        without[kind] = [each for each in without[kind] if each[name] != "old"]

    async def hear_while_the_portal_goes(conn: Any) -> None:
        record = hire(title="Biller")
        await handler.apply(conn, Batch([Item(record, handler.parse(record))], []))
        await desk.apply_directory(Directory.model_validate(without))

    await in_transaction(desk.pool, hear_while_the_portal_goes)
    (on_old,) = [item for item in await desk.work() if item["portal"] == "old"]
    await desk.say(on_old["operation_id"], Transition.DONE)
    await desk.pass_time(minutes=1)
    findings = (await desk.state())["findings"]
    assert "unknown_portal" in {finding["rule"] for finding in findings}
    (removal,) = [item for item in await desk.work() if item["portal"] == "old"]
    assert removal["kind"] == "revoke"
    await desk.hear(leave_now())
    assert {item["kind"] for item in await desk.work() if item["portal"] == "old"} == {"suspend"}


GRACED = {
    "version": "v1",
    "signatory": "Dr. Ada Fox",
    "signed_on": "2026-01-02",
    "mover_grace_days": 5,
}


async def test_who_moves_before_getting_anything_gets_no_sign_on_for_the_former_job(
    desk: Desk,
) -> None:
    await desk.apply_directory(directory(policy=GRACED))
    await desk.hear(hire())
    moves = hr_record(
        "worker.changed", id_="moves", employment_id="w1-e1", effective_on=day(0), title="Nurse"
    )
    await desk.hear(moves)
    assert await desk.work() == []


async def test_what_a_former_job_gave_is_kept_for_its_grace_but_never_given_anew(
    desk: Desk,
) -> None:
    await desk.apply_directory(directory(policy=GRACED))
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all("w1")
    moves = [
        hr_record(
            "worker.changed",
            worker,
            id_=f"{worker}-moves",
            employment_id=f"{worker}-e1",
            effective_on=day(0),
            title="Biller",
        )
        for worker in ("w1", "w2")
    ]
    await desk.hear(*moves)
    assert all("benefits" not in str(item["rights"]) for item in await desk.work("w2"))
    await desk.finish_all()
    assert ("hub", "benefits") in await desk.effective("w1")
    assert ("hub", "benefits") not in await desk.effective("w2")
    await desk.pass_time(days=6)
    assert {item["kind"] for item in await desk.work("w1")} == {"revoke"}
    await desk.finish_all()
    assert ("hub", "benefits") not in await desk.effective("w1")


def one_login(portal: str = "old") -> Directory:
    """The directory in which one portal takes a single login that several people know."""
    base = directory().model_dump(mode="json")
    for one in base["portals"]:
        if one["id"] == portal:
            one["revoke_instead_of_suspend"] = False
            one["rules"] = [{"rule": "one_login", "value": True, "source": "the carrier's manual"}]
    return Directory.model_validate(base)


async def test_a_leaver_who_knew_a_shared_login_causes_its_rotation(desk: Desk) -> None:
    await desk.apply_directory(one_login())
    await desk.hear(hire("w1", title="Biller"), hire("w2", title="Biller"))
    await desk.finish_all()
    await desk.hear(leave_now("w1"))
    (item,) = [item for item in await desk.work("w1") if item["portal"] == "old"]
    assert item["kind"] == "rotate"
    assert (await portals_of(desk, "w1"))["old"]["exposed_since"]
    await desk.say(item["operation_id"], Transition.DONE)
    assert ("old", "fee_schedule") not in await desk.effective("w1")
    assert ("old", "fee_schedule") in await desk.effective("w2")
    assert len(await desk.published("account.rotated")) == 1


async def test_a_mover_who_needs_a_shared_login_no_more_causes_its_rotation(desk: Desk) -> None:
    await desk.apply_directory(one_login())
    await desk.hear(hire("w1", title="Biller"))
    await desk.finish_all()
    moves = hr_record(
        "worker.changed",
        id_="m",
        employment_id="w1-e1",
        effective_on=day(0),
        title="Front Desk",
    )
    await desk.hear(moves)
    (item,) = [item for item in await desk.work("w1") if item["portal"] == "old"]
    assert (item["kind"], item["rule"]) == ("rotate", "no_longer_needed")


async def test_a_hire_is_asked_for_the_login_they_bring_along(desk: Desk) -> None:
    base = directory().model_dump(mode="json")
    gate = next(one for one in base["portals"] if one["id"] == "gate")
    gate["identity"] = "Gate Pass"
    gate["rules"] = [{"rule": "identity_survives", "value": True, "source": "gate.example/help"}]
    await desk.apply_directory(Directory.model_validate(base))
    await desk.hear(hire())
    (item,) = [item for item in await desk.work() if item["portal"] == "gate"]
    first = item["steps"][0]
    assert first["actor"] == "worker"
    assert "Gate Pass login from earlier work" in first["text"]


async def test_training_that_access_waits_for_is_due_and_a_sign_off_by_hand_gives_it(
    desk: Desk,
) -> None:
    await desk.hear(hire(title="Biller"))
    (due,) = (await desk.state())["training_due"]
    assert due["module"] == "remittance-basics"
    signed = hr_record(
        "worker.training_completed",
        id_="signed",
        source=CONSOLE_SOURCE,
        module="remittance-basics",
        completed_on=day(-1),
    )
    assert await desk.hear(signed) == ["source_not_bound"], "nobody has put their name to it"
    by_hand = replace(signed, headers=(*signed.headers, ("ce_enteredby", b"w9")))
    assert await desk.hear(by_hand) == []
    assert (await desk.state())["training_due"] == []
    await desk.finish_all()
    assert ("hub", "remittance") in await desk.effective()
