"""What HR seals stays sealed until it takes effect."""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.gateway.rules.embargo import COMMITMENT_LABEL
from shared.contracts.hr import read_hr_event
from shared.contracts.topics import TOPICS
from tests.gateway.conftest import ORGANIZATION, Door, MakeSettings, Watcher, open_door
from tests.gateway.provisioned import provisioning
from tests.provisioning.desk import hire, hr_record

WORKER = "W-DISMISSED-41"
ALIAS = "W-DISMISSED-OLD-7"
EMPLOYMENT = "employment-41"
OWNER, READER, OTHER = "hr=W-HR-1", "administrator=W-DEPUTY", "hr=W-HR-2"
IN_A_WEEK = (datetime.now(UTC) + timedelta(days=7)).date()


@pytest_asyncio.fixture(loop_scope="session")
async def hr_door(
    make_settings: MakeSettings, prepared_kafka: str, fresh_database: Mapping[str, str]
) -> AsyncIterator[Door]:
    """A gateway beside a provisioning that knows the worker under two ids."""
    settings = make_settings(kafka=prepared_kafka, database_url=fresh_database["gateway"])
    async with provisioning(settings, fresh_database) as (desk, told):
        merged = hr_record(
            "worker.merged",
            WORKER,
            id_="merge",
            organization=ORGANIZATION,
            previous_worker_id=ALIAS,
        )
        await desk.hear(hire(WORKER, organization=ORGANIZATION, employment_id=EMPLOYMENT), merged)
        async with open_door(told) as opened:
            yield opened


def dismissal(**changes: Any) -> dict[str, Any]:
    """An entry that ends an employment in a week, sealed for its author alone."""
    return {
        "type": "worker.terminated",
        "worker": WORKER,
        "data": {"employment_id": EMPLOYMENT, "effective_on": IN_A_WEEK.isoformat()},
        "embargo": {},
        **changes,
    }


async def seal(door: Door, role: str = OWNER, key: str = "k1", **changes: Any) -> Any:
    headers = {**await door.authorized(role), "Idempotency-Key": key}
    return await door.http.post("/hr/v1/entries", json=dismissal(**changes), headers=headers)


async def seen(door: Door, role: str) -> list[dict[str, Any]]:
    answer = await door.http.get("/hr/v1/sealed", headers=await door.authorized(role))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["sealed"]
    return found


async def let_time_come(door: Door) -> None:
    """As if the week were over; the gateway looks every second."""
    await door.fetch("UPDATE timer SET due_at = now() WHERE kind = 'embargo'")


async def test_nothing_in_clear_says_it_before_it_takes_effect(
    hr_door: Door, prepared_kafka: str, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = await ends(prepared_kafka)
    answer = await seal(hr_door, embargo={"readers": ["W-DEPUTY"]})
    assert (answer.status_code, answer.json()["status"]) == (202, "sealed")
    written = [await tables(hr_door), await records(prepared_kafka, starts), *capsys.readouterr()]
    pages = [
        (await hr_door.http.get(path, headers=await hr_door.authorized(role))).text
        for path in ("/hr/v1/sealed", "/hr/v1/rejected")
        for role in (OTHER, "administrator=W-BOSS", f"hr={WORKER}", f"hr={ALIAS}")
    ]
    for text in (*written, *pages):
        for word in (WORKER, EMPLOYMENT, "terminated", IN_A_WEEK.isoformat(), "W-DEPUTY"):
            assert word not in text


async def test_only_its_author_and_the_readers_that_hr_named_see_it(hr_door: Door) -> None:
    await seal(hr_door, embargo={"readers": ["W-DEPUTY"]})
    for role in (OWNER, READER):
        (found,) = await seen(hr_door, role)
        assert (found["worker"], found["type"]) == (WORKER, "worker.terminated")
        assert "salt" not in found
    for role in (OTHER, "administrator=W-BOSS", f"administrator={WORKER}"):
        assert await seen(hr_door, role) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"embargo": {"readers": [WORKER]}}, "reader_is_concerned"),
        ({"embargo": {"readers": ["W-DEPUTY", ALIAS]}}, "reader_is_concerned"),
        ({"worker": "W-HR-1"}, "self_entry"),
        (
            {"data": {"employment_id": EMPLOYMENT, "effective_at": "2026-01-05T09:00:00Z"}},
            "in_effect_already",
        ),
        ({"data": {"employment_id": EMPLOYMENT}}, "invalid_data"),
        ({"type": "worker.rescinded", "data": {"rescinds": "x"}}, "not_dated"),
        ({"embargo": {"replaces": "7d0f3c52-7f5f-5a5e-9c0e-0f6f0d4a7e11"}}, "no_such_sealed_entry"),
    ],
)
async def test_what_cannot_be_sealed_is_refused_by_a_rule_whose_record_names_nobody(
    hr_door: Door, change: Mapping[str, Any], code: str
) -> None:
    answer = await seal(hr_door, **change)
    assert answer.json()["code"] == code, answer.text
    refused = dict(await hr_door.activity())["command.refused"]
    assert (refused["command"], refused["code"], refused["target"]) == ("hr.seal", code, "")
    assert await hr_door.fetch("SELECT 1 FROM sealed_entry") == []


async def test_whoever_may_not_see_it_cannot_withdraw_it(hr_door: Door) -> None:
    id_ = (await seal(hr_door)).json()["id"]
    refused = await withdraw(hr_door, OTHER, id_)
    assert (refused.status_code, refused.json()["code"]) == (404, "no_such_sealed_entry")
    assert dict(await hr_door.activity())["command.refused"]["command"] == "hr.sealed.withdraw"
    assert (await withdraw(hr_door, "administrator", id_)).status_code == 403
    assert len(await seen(hr_door, OWNER)) == 1


async def test_what_is_withdrawn_never_takes_effect_and_nobody_learns_what_it_was(
    hr_door: Door,
) -> None:
    id_ = (await seal(hr_door)).json()["id"]
    assert (await withdraw(hr_door, OWNER, id_)).status_code == 200
    assert (await withdraw(hr_door, OWNER, id_)).status_code == 404
    assert await seen(hr_door, OWNER) == []
    assert await hr_door.fetch("SELECT 1 FROM timer WHERE kind = 'embargo'") == []
    said = {kind: data for kind, data in await hr_door.activity() if kind.startswith("entry.")}
    assert said["entry.sealed"] == said["entry.withdrawn"]
    assert set(said["entry.withdrawn"]) == {"commitment"}


async def test_a_changed_entry_takes_the_place_of_the_one_before(hr_door: Door) -> None:
    before = (await seal(hr_door)).json()["id"]
    later = (IN_A_WEEK + timedelta(days=7)).isoformat()
    data = {"employment_id": EMPLOYMENT, "effective_on": later}
    for _ in range(2):
        answer = await seal(hr_door, key="k2", embargo={"replaces": before}, data=data)
        assert answer.status_code == 202, answer.text
    (found,) = await seen(hr_door, OWNER)
    assert found["data"] == data
    kinds = [kind for kind, _ in await hr_door.activity() if kind.startswith("entry.")]
    assert kinds == ["entry.sealed", "entry.withdrawn", "entry.sealed"]


async def test_it_is_sent_once_when_its_time_comes_and_shown_to_be_what_was_sealed(
    hr_door: Door, hr_topic: Watcher
) -> None:
    (first, again) = [(await seal(hr_door)).json() for _ in range(2)]
    assert first == again
    assert first["opens_at"].startswith((IN_A_WEEK + timedelta(days=1)).isoformat())
    await let_time_come(hr_door)
    (record,) = await hr_topic.take(1)
    event = read_hr_event(record)
    assert (event.worker, event.type, event.entered_by) == (WORKER, "worker.terminated", "W-HR-1")
    said = await until_said(hr_door, "entry.opened")
    sealed = dict(await hr_door.activity())["entry.sealed"]
    identity = "\x1f".join((ORGANIZATION, event.source, event.id)).encode()
    whole = COMMITMENT_LABEL + bytes.fromhex(said["salt"]) + identity + event.fingerprint
    assert hashlib.sha256(whole).hexdigest() == said["commitment"] == sealed["commitment"]
    assert said["event"] == event.id == first["id"]
    assert await seen(hr_door, OWNER) == []


async def test_whoever_has_left_is_signed_out_when_it_takes_effect(
    hr_door: Door, hr_topic: Watcher
) -> None:
    secret = await hr_door.secret(f"administrator={WORKER}")
    link = await hr_door.link(f"administrator={WORKER}")
    await seal(hr_door)
    asked = {"Authorization": f"Bearer {secret}"}
    assert (await hr_door.http.post("/session/token", headers=asked)).status_code == 200
    await let_time_come(hr_door)
    await until_said(hr_door, "entry.opened")
    assert (await hr_door.http.post("/session/token", headers=asked)).status_code == 401
    code = link.rpartition("/")[2]
    assert (await hr_door.http.post("/session", json={"code": code})).status_code == 403
    assert dict(await hr_door.activity())["session.closed"]["reason"] == "left"


async def test_an_entry_that_cannot_be_opened_holds_up_nothing_behind_it_and_is_tried_again(
    hr_door: Door, hr_topic: Watcher
) -> None:
    stuck = (await seal(hr_door)).json()["id"]
    (kept,) = await hr_door.fetch("SELECT sealed FROM sealed_entry")
    await hr_door.fetch("UPDATE sealed_entry SET sealed = 'altered'")
    await seal(hr_door, key="k2", worker="W-BEHIND")
    assert [one["worker"] for one in await seen(hr_door, OWNER)] == ["W-BEHIND"]
    await let_time_come(hr_door)
    (record,) = await hr_topic.take(1)
    assert read_hr_event(record).worker == "W-BEHIND"
    with anyio.fail_after(15):
        due = True
        while due:
            await anyio.sleep(0.05)
            due = bool(await hr_door.fetch("SELECT 1 FROM timer WHERE due_at <= now()"))
    assert [timer["key"] for timer in await hr_door.fetch("SELECT key FROM timer")] == [stuck]
    await hr_door.fetch("UPDATE sealed_entry SET sealed = $1", kept["sealed"])
    await let_time_come(hr_door)
    (record,) = await hr_topic.take(1)
    assert read_hr_event(record).worker == WORKER


async def test_while_kafka_is_away_it_waits_and_nothing_is_lost(
    hr_door: Door, hr_topic: Watcher
) -> None:
    await seal(hr_door)
    away = hr_door.settings.model_copy(
        update={"kafka": "127.0.0.1:1", "acknowledgement_seconds": 0.2}
    )
    async with open_door(away) as cut_off:
        await hr_door.fetch("SELECT 1")
        assert len(await seen(cut_off, OWNER)) == 1
    await let_time_come(hr_door)
    (record,) = await hr_topic.take(1)
    assert read_hr_event(record).worker == WORKER


async def test_who_else_is_concerned_is_asked_of_provisioning_or_nothing_is_sealed(
    door: Door,
) -> None:
    answer = await seal(door)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_down")


# -- looking everywhere


async def withdraw(door: Door, role: str, id_: str) -> Any:
    return await door.http.post(
        f"/hr/v1/sealed/{id_}/withdraw", headers=await door.authorized(role)
    )


async def until_said(door: Door, kind: str) -> dict[str, Any]:
    with anyio.fail_after(15):
        while True:
            said = dict(await door.activity())
            if kind in said:
                return said[kind]
            await anyio.sleep(0.05)


async def tables(door: Door) -> str:
    """Everything in the gateway's tables, as text; bytes also as what they would say in clear."""
    names = await door.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    rows = [
        str(row[0])
        for name in names
        for row in await door.fetch(
            f'SELECT row_to_json(each)::text FROM "{name["tablename"]}" AS each'
        )
    ]
    in_clear = [
        bytes.fromhex(found).decode(errors="replace")
        for row in rows
        for found in re.findall(r"\\x((?:[0-9a-f]{2})+)", row)
    ]
    assert any("entry.sealed" in each for each in in_clear)
    return "\n".join(rows + in_clear)


async def ends(kafka: str) -> dict[TopicPartition, int]:
    """Where every partition of every topic ends."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka) as consumer:
        partitions = [
            TopicPartition(topic.name, number)
            for topic in TOPICS
            for number in range(topic.partitions)
        ]
        found: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return found


async def records(kafka: str, since: Mapping[TopicPartition, int]) -> str:
    """Everything that arrived on any topic, as text."""
    until = await ends(kafka)
    grown = {each: start for each, start in since.items() if start < until[each]}
    if not grown:
        return ""
    found = []
    async with AIOKafkaConsumer(bootstrap_servers=kafka) as consumer:
        consumer.assign(list(grown))
        for partition, start in grown.items():
            consumer.seek(partition, start)
        while grown:
            for partition, own in (await consumer.getmany(timeout_ms=500)).items():
                found += [repr((one.key, one.value, one.headers)) for one in own]
                if await consumer.position(partition) >= until[partition]:
                    grown.pop(partition, None)
    return "\n".join(found)
