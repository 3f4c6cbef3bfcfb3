"""Everything that provisioning says in a long story is what the contracts say it is."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
from fastapi import FastAPI
from joserfc.jwk import OKPKey

from services.gateway.tokens import mint
from services.provisioning.handlers.chores import ChoreCommands
from services.provisioning.handlers.outages import OutageCommands
from services.provisioning.handlers.recurring import RecurringChores
from services.provisioning.rules.brake import CauseMove
from services.provisioning.rules.chores import ChoreMove
from services.provisioning.rules.enrolment import Phase, PhaseMove
from services.provisioning.rules.operations import Transition
from services.provisioning.rules.outages import Trouble
from shared.auth import Authenticator, Principal
from shared.contracts.access import ACCESS_EVENT_MODELS
from shared.contracts.directory import Directory, Function
from shared.contracts.topics import ACCESS_EVENTS, DIRECTORY_EVENTS, WORKER_STATE
from shared.kafka import Gap
from shared.ops import ops_router
from shared.postgres import Connection, create_pool, in_transaction
from tests.contracts.reading import MODELS, TOPIC_OF, check
from tests.provisioning.asking import Asking
from tests.provisioning.desk import ADMINISTRATOR, Desk, hire, hr_record, leave_now
from tests.provisioning.importing import Importing, existing
from tests.provisioning.test_brake import SMALLER, closing, decide, last_engaged
from tests.provisioning.test_chores import Chores
from tests.provisioning.test_clocks import recertified
from tests.provisioning.test_enrolment import UNREGISTERED, Seeing
from tests.provisioning.test_exceptions import Exceptions, wish
from tests.provisioning.test_planning import BILLERS_TOO, Planner, policy
from tests.provisioning.worlds import ORGANIZATION, TIN, as_date, day, directory

Event = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def said(database: Mapping[str, str], tmp_path_factory: Any) -> AsyncIterator[list[Event]]:
    """Every event of the story, in order."""
    pool = await create_pool(database["provisioning"], max_size=4)
    desk = Desk(pool)
    await desk.apply_directory()
    await people_come_and_things_go_wrong(desk)
    await somebody_goes_on_leave_and_returns_twice(desk)
    await somebody_moves_and_a_review_removes(desk)
    await somebody_needs_more_than_policy_gives(desk)
    await somebody_asks_what_was_done(desk)
    await the_only_administrator_leaves(desk)
    await two_ids_are_one_person(desk)
    await somebody_leaves_and_nobody_does_the_work(desk)
    await the_directory_shrinks(desk)
    await a_portal_is_told_of_a_departure(desk, tmp_path_factory.mktemp("asking"))
    await a_portal_is_down(desk)
    await rules_change_and_logins_end(desk)
    await the_organization_enrols(desk)
    await two_persons_change_the_policy(desk)
    await an_administrator_brings_a_sheet_and_lists(desk)
    await an_operator_accepts_a_gap(desk, tmp_path_factory.mktemp("keys"))
    await a_portal_wants_its_users_confirmed(desk)
    yield await desk.published()
    await pool.close()


async def people_come_and_things_go_wrong(desk: Desk) -> None:
    await desk.hear(hire("w1"), hire("w2"), hire("w3", title="Rev Cycle Spec II"), hire("w4"))
    await desk.hear(hire("w3", title="Front Desk"))
    gate, hub, mac = sorted(await desk.work("w1"), key=lambda item: str(item["portal"]))
    await desk.say(gate["operation_id"], Transition.CLAIM, by="ann")
    await desk.say(gate["operation_id"], Transition.RELEASE, by="ann")
    await in_transaction(
        desk.pool,
        lambda conn: desk.operations.take_step(conn, ORGANIZATION, gate["operation_id"], 0, "ann"),
    )
    await desk.say(hub["operation_id"], Transition.FAIL)
    await desk.say(mac["operation_id"], Transition.DECLINE)
    await desk.pass_time(hours=25)
    await desk.finish_all()


async def a_portal_wants_its_users_confirmed(desk: Desk) -> None:
    await desk.apply_directory(recertified())
    await RecurringChores(desk.pool, desk.recompute, ChoreCommands(desk.recompute)).ask()


async def somebody_goes_on_leave_and_returns_twice(desk: Desk) -> None:
    await desk.hear(
        hr_record("worker.leave_started", id_="l1", employment_id="w1-e1", effective_on=day(-1))
    )
    await desk.say((await desk.work("w1"))[0]["operation_id"], Transition.CLAIM, by="ann")
    await desk.hear(
        hr_record("worker.leave_ended", id_="l2", employment_id="w1-e1", effective_on=day(0))
    )
    await desk.hear(hr_record("worker.rescinded", id_="l3", rescinds="l2"))
    await desk.finish_all("w1")
    await desk.hear(hr_record("worker.rescinded", id_="l4", rescinds="l1"))
    await desk.finish_all("w1")


async def somebody_moves_and_a_review_removes(desk: Desk) -> None:
    await desk.hear(
        hr_record(
            "worker.changed", id_="c", employment_id="w1-e1", effective_on=day(0), title="Biller"
        )
    )
    await desk.finish_all("w1")
    await desk.decide_review(worker="w4", portal="hub", tin=TIN, function="benefits")
    await desk.finish_all("w4")


async def somebody_needs_more_than_policy_gives(desk: Desk) -> None:
    exceptions = Exceptions(desk)
    soon = desk.clock.at + timedelta(hours=4)
    one = await exceptions.request(wish("w4", ends_at=soon))
    await exceptions.approve(one)
    opened = await exceptions.break_glass(wish("w4", function=Function.REMITTANCE, ends_at=soon))
    await desk.finish_all("w4")
    await desk.pass_time(hours=5)
    await exceptions.review(opened)
    await desk.finish_all("w4")


async def somebody_asks_what_was_done(desk: Desk) -> None:
    chores = Chores(desk)
    one, other = await chores.activity_log(), await chores.activity_log("w4")
    for move in (ChoreMove.CLAIM, ChoreMove.RELEASE, ChoreMove.DONE):
        await chores.say(one, move)
    await chores.say(other, ChoreMove.DECLINE)


async def the_only_administrator_leaves(desk: Desk) -> None:
    appointment = {"id": "mac-w4", "portal": "mac", "worker": "w4", "since": "2026-01-01"}
    await desk.apply_directory(directory(administrators=[appointment]))
    await desk.hear(
        hr_record("worker.terminated", "w4", id_="d", employment_id="w4-e1", effective_on=day(9))
    )
    await desk.hear(hr_record("worker.rescinded", "w4", id_="e", rescinds="d"))
    await desk.hear(leave_now("w4"))
    await desk.finish_all("w4")


async def two_ids_are_one_person(desk: Desk) -> None:
    await desk.hear(hire("w5"), hire("w6"))
    await desk.finish_all()
    await desk.hear(hr_record("worker.merged", "w5", id_="m", previous_worker_id="w6"))
    await desk.finish_all()


async def somebody_leaves_and_nobody_does_the_work(desk: Desk) -> None:
    await desk.hear(leave_now("w2"))
    await desk.say((await desk.work("w2"))[0]["operation_id"], Transition.FAIL)
    await desk.pass_time(hours=2)
    await desk.finish_all()


async def the_directory_shrinks(desk: Desk) -> None:
    titles = [{"id": "Front Desk", "duties": ["front-desk"]}]
    await desk.apply_directory(directory(titles=titles))
    await desk.pass_time()


async def a_portal_is_told_of_a_departure(desk: Desk, folder: Path) -> None:
    asking = Asking.of(desk, folder)
    sent = {"portal": "hub", "channel": "email", "proof": "message 4711"}
    await asking.post("/access/v1/leavers/w2/notices", sent)


async def a_portal_is_down(desk: Desk) -> None:
    commands = OutageCommands(desk.recompute)

    async def story(conn: Connection) -> None:
        await commands.report(conn, ADMINISTRATOR, "hub", Trouble.LOGIN_LOOP, "thrown back")
        begun = await commands.begin(conn, ADMINISTRATOR, "hub", Trouble.DOWN, "503 since nine")
        await commands.end(conn, ADMINISTRATOR, begun["outage_id"])

    await in_transaction(desk.pool, story)


async def rules_change_and_logins_end(desk: Desk) -> None:
    base = closing().model_dump(mode="json")
    base["organization"]["brake"] = {"removals": 0, "percent": 0}
    old = next(portal for portal in base["portals"] if portal["id"] == "old")
    old["revoke_instead_of_suspend"] = False
    old["rules"] = [{"rule": "one_login", "value": True, "source": "the carrier"}]
    await desk.apply_directory(Directory.model_validate(base))
    await desk.hear(hire("w7"), hire("w8", title="Biller"))
    await desk.finish_all()
    fewer = {**base, "job_duties": SMALLER}
    await desk.apply_directory(Directory.model_validate(fewer))
    await desk.pass_time()
    await decide(desk, await last_engaged(desk), CauseMove.REJECT)
    await desk.hear(leave_now("w7"), leave_now("w8"))
    await desk.finish_all()
    await desk.pass_time(days=31)
    await decide(desk, await last_engaged(desk), CauseMove.RELEASE)
    await desk.finish_all()


async def the_organization_enrols(desk: Desk) -> None:
    await desk.apply_directory(directory(enrolments=UNREGISTERED))
    seeing = Seeing(desk)
    await seeing.move(Phase.REGISTRATION, PhaseMove.BEGIN)
    await seeing.assign(Phase.REGISTRATION, "w9")
    await seeing.tick_all(Phase.REGISTRATION)
    await seeing.move(Phase.REGISTRATION, PhaseMove.SUBMIT, note="sent")
    await seeing.move(Phase.REGISTRATION, PhaseMove.CLEAR)


async def two_persons_change_the_policy(desk: Desk) -> None:
    planner = Planner(desk)
    for version, decide_ in (("v8", planner.reject), ("v9", planner.approve)):
        changed = directory(policy=policy(version), titles=BILLERS_TOO)
        plan = (await planner.make(changed))["plan"]
        await planner.apply(plan)
        await decide_(plan)


async def an_administrator_brings_a_sheet_and_lists(desk: Desk) -> None:
    await desk.apply_directory(existing("hub", "gate", "mac"))
    await desk.hear(hire("w17"), hire("w18"), hire("w19"))
    importing = Importing(desk)
    sheet = (
        "Name,Hub,Gate\nName of w17,w17@hub,yes\nName of w18,w18@hub,yes\nName of w19,w19@hub,\n"
    )
    await importing.adopt(sheet, as_of=as_date(-3))
    header = "User ID,Name,Status,Last login\n"
    seen = "w17@hub,Name of w17,Active,2026-06-14\nw18@hub,Name of w18,Disabled,\n"
    await importing.import_roster("hub", f"{header}{seen}ghost,Ghost Rider,Active,\n")
    desk.clock.at += timedelta(hours=1)
    await importing.import_roster("hub", header + seen, as_of=desk.clock.at)


class RefusingConsumer:
    """Stands where a consumer with a refused partition does."""

    async def accept_gap(self, topic: str, partition: int, record_fact: Any) -> Gap:
        gap = Gap(topic, partition, 40, 49)
        self.pool: Any
        await in_transaction(self.pool, lambda conn: record_fact(conn, gap, "records_lost"))
        return gap


async def an_operator_accepts_a_gap(desk: Desk, folder: Path) -> None:
    key = OKPKey.generate_key("Ed25519", {"kid": "k"})
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    operator = Principal(ORGANIZATION, "op-1", None, frozenset({"ops:admin"}), "Operator", True)
    consumer: Any = RefusingConsumer()
    consumer.pool = desk.pool
    app = FastAPI()
    app.include_router(
        ops_router(
            service="provisioning",
            pool=desk.pool,
            authenticator=Authenticator(jwks),
            consumers={"provisioning": consumer},
        )
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://provisioning.test"
    ) as http:
        answer = await http.post(
            "/ops/v1/accept-gap",
            json={"group": "provisioning", "topic": "hr.worker-events.v1", "partition": 3},
            headers={"Authorization": f"Bearer {mint(key, operator)}"},
        )
    assert answer.status_code == 200, answer.text


async def test_every_event_is_as_its_model_and_its_schema_say(said: list[Event]) -> None:
    assert len(said) > 100
    for event in said:
        if event["data"] is None:
            assert MODELS[event["ce_type"]] is None
        else:
            check(event["ce_type"], event["data"])


async def test_every_event_is_on_the_topic_of_its_type(said: list[Event]) -> None:
    for event in said:
        assert event["topic"] == TOPIC_OF[event["ce_type"]]


async def test_every_type_of_access_event_is_said_and_no_other(said: list[Event]) -> None:
    types = {event["ce_type"] for event in said if event["topic"] == ACCESS_EVENTS.name}
    assert types == set(ACCESS_EVENT_MODELS)


async def test_state_records_carry_epoch_and_version(said: list[Event]) -> None:
    state = [one for one in said if one["topic"] in (WORKER_STATE.name, DIRECTORY_EVENTS.name)]
    assert {event["ce_type"].rpartition(".")[2] for event in state} == {
        *("state", "set", "removed"),
        *("proposed", "approved", "rejected"),
    }
    assert all(event["ce_epoch"].isdigit() and event["ce_version"].isdigit() for event in state)
