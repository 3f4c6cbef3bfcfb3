"""Replay tells what was published anew, and finds what was changed behind its back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from services.provisioning.handlers.outages import OutageCommands
from services.provisioning.handlers.recompute import Directories
from services.provisioning.rules.enrolment import Phase, PhaseMove
from services.provisioning.rules.operations import Transition
from services.provisioning.rules.outages import Trouble
from shared.contracts.directory import Directory
from shared.contracts.envelope import event_key
from shared.postgres import in_transaction
from tests.provisioning.asking import Asking
from tests.provisioning.desk import ADMINISTRATOR, Desk, RawRecord, hire, hr_record, leave_now
from tests.provisioning.importing import Importing, existing
from tests.provisioning.test_enrolment import UNREGISTERED, Seeing
from tests.provisioning.worlds import OTHER_TIN, TIN, as_date, day, directory

PATH = "/access/v1/replay"


class Logged:
    """Everything that HR sent and provisioning published, as the audit log gives it back."""

    def __init__(self, desk: Desk, asking: Asking) -> None:
        self.desk = desk
        self.asking = asking
        self.heard: list[RawRecord] = []
        self.left_out: set[str] = set()

    async def hear(self, *records: RawRecord) -> None:
        self.heard += records
        await self.desk.hear(*records)

    async def lines(self) -> bytes:
        async with self.desk.pool.acquire() as conn:
            rows = await conn.fetch("SELECT key, headers, value FROM outbox ORDER BY id")
            await conn.execute("DELETE FROM outbox")
        self.published = [
            *getattr(self, "published", []),
            *(
                {
                    "key": row["key"],
                    "headers": orjson.loads(row["headers"]),
                    "value": orjson.loads(row["value"]) if row["value"] else None,
                }
                for row in rows
            ),
        ]
        heard = [
            {
                "key": (record.key or b"").decode(),
                "headers": {name: value.decode() for name, value in record.headers},
                "value": orjson.loads(record.value or b"null"),
            }
            for record in self.heard
        ]
        sent = [
            line
            for line in (*heard, *self.published)
            if line["headers"]["ce_type"] not in self.left_out
        ]
        return b"\n".join(orjson.dumps(line) for line in sent)

    async def replay(self, **params: Any) -> Any:
        headers = self.asking._headers("audit:read")
        answer = await self.asking.http.post(
            PATH, content=await self.lines(), headers=headers, params=params
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def tamper(self, statement: str, *args: Any) -> None:
        async with self.desk.pool.acquire() as conn:
            await conn.execute(statement, *args)


@pytest.fixture
async def logged(desk: Desk, asking: Asking) -> Logged:
    """People who came, moved, were reviewed, went on leave and left, with work done and not."""
    logged = Logged(desk, asking)
    await logged.hear(hire("w1"), hire("w2"), hire("w3", title="Biller"), hire("w4"))
    [gate] = [item for item in await desk.work("w1") if item["portal"] == "gate"]
    await desk.say(gate["operation_id"], Transition.CLAIM, by="ann")
    [mac] = [item for item in await desk.work("w2") if item["portal"] == "mac"]
    await desk.say(mac["operation_id"], Transition.FAIL)
    await desk.pass_time(hours=1)
    await desk.finish_all()
    await desk.pass_time(hours=25)
    await desk.finish_all()
    await logged.hear(
        hr_record(
            "worker.changed", id_="c", employment_id="w1-e1", effective_on=day(0), title="Biller"
        )
    )
    await desk.decide_review(worker="w4", portal="hub", tin=TIN, function="benefits")
    await desk.finish_all("w4")
    await logged.hear(leave_now("w2"))
    first = (await desk.work("w2"))[0]
    await desk.say(first["operation_id"], Transition.DONE)
    await desk.pass_time(hours=3)
    return logged


async def test_what_was_published_tells_the_tables_whole(logged: Logged) -> None:
    report = await logged.replay()
    assert report["differences"] == []
    assert report["workers"] == 4
    assert min(report[name] for name in ("events", "hr_events", "operations", "holdings")) > 5


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("operation", "UPDATE operation SET status = 'done' WHERE status = 'requested'"),
        ("operation", "UPDATE operation SET authorized_by = NULL WHERE worker = 'w1'"),
        ("operation", 'UPDATE operation SET evidence = \'{"kind":"note","text":"no"}\''),
        ("operation", "DELETE FROM operation WHERE worker = 'w3' AND portal = 'old'"),
        ("account", "UPDATE account SET status = 'suspended' WHERE worker = 'w1'"),
        ("account", "UPDATE account SET login_id = 'mallory' WHERE worker = 'w1'"),
        ("account", "UPDATE account SET exposed_since = NULL WHERE worker = 'w2'"),
        ("account", "UPDATE account SET rights = '[]' WHERE worker = 'w4' AND portal = 'hub'"),
        ("history", "DELETE FROM entitlement_history WHERE worker = 'w1' AND portal = 'hub'"),
        ("history", "UPDATE entitlement_history SET authority_by = 'Mallory'"),
        ("history", "UPDATE entitlement_history SET valid_from = valid_from - interval '1 day'"),
        ("HR event", "DELETE FROM worker_event WHERE worker = 'w2' AND type LIKE '%terminated'"),
        ("HR event", "UPDATE worker_event SET fingerprint = 'x' WHERE worker = 'w3'"),
        (
            "directory",
            "UPDATE directory_version SET document = jsonb_set(document,"
            " '{policy,signatory}', '\"Mallory\"')",
        ),
        ("open work", "DELETE FROM worker_event WHERE worker = 'w2' AND type LIKE '%terminated'"),
    ],
)
async def test_a_row_that_somebody_changed_is_found(
    logged: Logged, what: str, statement: str
) -> None:
    await logged.tamper(statement)
    # As after a restart: what a process has compiled does not change behind its back.
    logged.desk.recompute.directories = Directories()
    report = await logged.replay()
    assert what in {one["what"] for one in report["differences"]}, report["differences"]


async def test_what_waits_for_the_relay_is_told_as_well(logged: Logged) -> None:
    await logged.replay()
    [item, *_] = await logged.desk.work("w2")
    await logged.desk.say(item["operation_id"], Transition.DONE)
    headers = logged.asking._headers("audit:read")
    lines = b"\n".join(
        orjson.dumps(line)
        for line in (
            *logged.published,
            *(
                {
                    "key": (record.key or b"").decode(),
                    "headers": {name: value.decode() for name, value in record.headers},
                    "value": orjson.loads(record.value or b"null"),
                }
                for record in logged.heard
            ),
        )
    )
    answer = await logged.asking.http.post(PATH, content=lines, headers=headers)
    assert answer.json()["differences"] == []


async def test_a_record_that_is_missing_from_the_log_is_a_difference(logged: Logged) -> None:
    logged.left_out = {"operation.confirmed"}
    report = await logged.replay()
    assert {"operation", "account", "history"} <= {one["what"] for one in report["differences"]}
    assert set(report["differing"]) == {"w1", "w2", "w3", "w4"}
    only = await logged.replay(worker=["w3"])
    assert only["differing"] == ["w3"]


async def test_what_sheets_and_lists_told_is_retold_as_well(desk: Desk, asking: Asking) -> None:
    logged, importing = Logged(desk, asking), Importing(desk)
    await desk.apply_directory(existing("hub", "old"))
    await logged.hear(hire("w1"), hire("w2"))
    sheet = "Name,Hub,Old portal\nName of w1,w1hub,w1old\nName of w2,w2hub,\n"
    await importing.adopt(sheet, as_of=as_date(-1))
    desk.clock.at += timedelta(hours=3)
    roster = (
        "User ID,Full name,Status,Last login,Functions\n"
        "w1hub,Name of w1,Active,2026-06-14,eligibility; benefits\n"
        "w2hub,Name of w2,Inactive,2026-06-01,eligibility\n"
    )
    await importing.import_roster("hub", roster, as_of=desk.clock.at - timedelta(hours=1))
    await desk.finish_all()
    await logged.hear(leave_now("w1"))
    desk.clock.at += timedelta(hours=3)
    gone = roster.replace("w1,Active", "w1,Inactive")
    await importing.import_roster("hub", gone, as_of=desk.clock.at - timedelta(hours=1))
    report = await logged.replay()
    assert report["differences"] == []
    types = {line["headers"]["ce_type"] for line in logged.published}
    assert {"account.adopted", "account.seen"} <= types
    await logged.tamper("UPDATE account SET last_login_at = NULL WHERE portal = 'hub'")
    fields = {one["field"] for one in (await logged.replay())["differences"]}
    assert "last_login_at" in fields


async def test_deadlines_that_an_outage_put_off_are_told(desk: Desk, asking: Asking) -> None:
    logged, outages = Logged(desk, asking), OutageCommands(desk.recompute)
    await logged.hear(hire("w1"))
    begun = await in_transaction(
        desk.pool, lambda conn: outages.begin(conn, ADMINISTRATOR, "hub", Trouble.DOWN, "no answer")
    )
    desk.clock.at += timedelta(hours=5)
    await in_transaction(
        desk.pool, lambda conn: outages.end(conn, ADMINISTRATOR, begun["outage_id"])
    )
    assert (await logged.replay())["differences"] == []
    await logged.tamper("UPDATE operation SET deadline = deadline + interval '1 day'")
    assert {one["field"] for one in (await logged.replay())["differences"]} == {"deadline"}


async def beyond(logged: Logged) -> None:
    """Access beyond policy, approved and used up, a portal in trouble, and an enrolment on its way.

    The Medicare portal disables idle logins, so that a date is kept for each of them.
    """
    desk, asking = logged.desk, logged.asking
    base = directory().model_dump(mode="json")
    next(one for one in base["portals"] if one["id"] == "mac")["rules"] = [
        {"rule": "inactivity_days", "value": 30, "source": "the guide"}
    ]
    begun = next(one for one in base["enrolments"] if one["id"] == f"old-{OTHER_TIN}")
    begun["registered_on"] = None
    await desk.apply_directory(Directory.model_validate(base))
    await desk.pass_time(minutes=1)
    wish = {
        "worker": "w1",
        "portal": "old",
        "tin": TIN,
        "function": "fee_schedule",
        "reason": "covers for a colleague",
        "ends_at": (desk.clock.at + timedelta(days=5)).isoformat(),
    }
    asked = await asking.post("/access/v1/exceptions", wish, worker="w3")
    await asking.post(f"/access/v1/exceptions/{asked['exception_id']}/approve", {}, worker="w4")
    incident = {"portal": "hub", "kind": "login_loop", "note": "round and round"}
    await asking.post("/access/v1/incidents", incident)
    down = {"portal": "hub", "kind": "down", "note": "no answer"}
    await asking.post("/access/v1/outages", down)
    registration = f"/access/v1/enrolments/{begun['id']}/registration"
    await asking.post(f"{registration}/begin", {})
    await asking.post(f"{registration}/items/npis", {"done": True})
    await asking.post(f"{registration}/owner", {"owner": "w9"})


async def test_what_stands_beside_accounts_and_work_is_retold_as_well(logged: Logged) -> None:
    await beyond(logged)
    report = await logged.replay()
    assert report["differences"] == []
    assert (report["exceptions"], report["portals"]) == (1, 4)


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("exception", "UPDATE exception SET approved_by = 'mallory'"),
        ("exception", "DELETE FROM exception"),
        ("outage", "UPDATE outage SET note = 'nothing'"),
        ("outage", "DELETE FROM outage"),
        ("incident", "DELETE FROM incident"),
        ("enrolment", "UPDATE enrolment_phase SET ticked = '{}'"),
        ("enrolment", "UPDATE enrolment_phase SET owner = 'mallory'"),
        (
            "portal",
            "UPDATE directory_version SET observed = jsonb_set(observed, '{hub,adopted}', 'true')",
        ),
        ("account", "UPDATE account SET lapses_at = lapses_at + interval '1 year'"),
        (
            "portal",
            "UPDATE directory_version SET observed = jsonb_set(observed,"
            " '{hub,reconciled_as_of}', '\"2026-06-01T00:00:00+00:00\"')",
        ),
        (
            "parked removal",
            "WITH cause AS (INSERT INTO brake_cause (organization, cause_id, kind, opened_at,"
            " status) VALUES ('maple-clinic', 'x-1', 'x', now(), 'engaged'))"
            " INSERT INTO parked_removal (organization, worker, portal, tin, function, cause_id,"
            " parked_at) VALUES ('maple-clinic', 'w4', 'gate', '12-3456789', 'sign_on', 'x-1',"
            " now())",
        ),
    ],
)
async def test_what_somebody_changed_beside_accounts_and_work_is_found(
    logged: Logged, what: str, statement: str
) -> None:
    await beyond(logged)
    await logged.tamper(statement)
    logged.desk.recompute.directories = Directories()
    report = await logged.replay()
    assert {one["what"] for one in report["differences"]} == {what}, report["differences"]


async def test_a_registration_entered_in_the_directory_and_a_phase_begun_anew_are_retold(
    logged: Logged,
) -> None:
    seeing = Seeing(logged.desk)
    await logged.desk.apply_directory(directory(enrolments=UNREGISTERED))
    await seeing.commands.watch()
    await seeing.move(Phase.REGISTRATION, PhaseMove.BEGIN)
    registered = [{**one, "registered_on": day(0)} for one in UNREGISTERED]
    await logged.desk.apply_directory(directory(enrolments=registered))
    logged.desk.clock.at += timedelta(minutes=1)
    await seeing.commands.watch()
    for move in (PhaseMove.BEGIN, PhaseMove.SUBMIT, PhaseMove.CLEAR, PhaseMove.REOPEN):
        logged.desk.clock.at += timedelta(minutes=1)
        await seeing.move(Phase.CARRIER_MAPPING, move)
        if move is PhaseMove.BEGIN:
            await seeing.tick_all(Phase.CARRIER_MAPPING)

    assert (await logged.replay())["differences"] == []


async def test_the_erased_are_not_comparable(logged: Logged) -> None:
    await logged.desk.finish_all("w2")
    await logged.hear(hr_record("worker.erased", "w2", id_="e"))
    report = await logged.replay()
    assert report["workers_erased"] == 1
    assert report["differences"] == []


async def test_nonsense_and_other_organizations_records_change_nothing(logged: Logged) -> None:
    lines = await logged.lines()
    other = orjson.dumps(
        {
            "key": event_key("other", "w1"),
            "headers": {
                "ce_id": "x",
                "ce_type": "operation.requested",
                "ce_source": "/portalkeeper/provisioning",
                "ce_subject": "w1",
                "ce_time": "2026-06-15T18:00:00Z",
                "ce_specversion": "1.0",
                "ce_organization": "other",
            },
            "value": {"worker": "w1"},
        }
    )
    headers = logged.asking._headers("audit:read")
    answer = await logged.asking.http.post(PATH, content=lines + b"\n" + other, headers=headers)
    assert answer.json()["differences"] == []
    refused = await logged.asking.http.post(PATH, content=b"what\n", headers=headers)
    assert refused.status_code == 422
