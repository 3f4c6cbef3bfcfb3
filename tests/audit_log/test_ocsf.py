"""Every event is an OCSF event by the published schema, and subscribers get each in order."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from services.audit_log.projector import Publisher
from services.audit_log.rules import ocsf
from services.audit_log.rules.ocsf import Entry, to_ocsf
from services.audit_log.store import search
from shared.contracts.envelope import Envelope, read_structured
from shared.contracts.topics import ACCESS_EVENTS, OCSF_EVENTS
from tests.audit_log.test_search import event
from tests.audit_log.worlds import World, hired, raw_record
from tests.servers import ROOT

EXAMPLES = sorted((ROOT / "shared" / "contracts" / "examples").glob("*.json"))
ENTRY = Entry(7, "portalkeeper.local/test", 1_772_438_400_000, "topic")
SUBSCRIBING = ROOT / "deploy" / "subscribing.md"


@cache
def validator(class_uid: int) -> Any:
    """A validator of one class by the schema that OCSF has published."""
    published = _published()
    name = published.lookup_class_name_from_uid(class_uid=class_uid)
    return jsonschema_rs.validator_for(published.get_class_schema(class_name=name, profiles=[]))


@cache
def _published() -> Any:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(version=ocsf.VERSION))


def check(made: dict[str, Any]) -> None:
    errors = [error.message for error in validator(made["class_uid"]).iter_errors(made)]
    assert errors == []
    assert made["type_uid"] == made["class_uid"] * 100 + made["activity_id"]


def is_event(path: Path) -> bool:
    document = orjson.loads(path.read_bytes())
    return "specversion" in document and "data" in document


@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if is_event(path)], ids=lambda p: p.stem
)
def test_every_type_of_event_is_one_by_the_published_schema(path: Path) -> None:
    document = orjson.loads(path.read_bytes())
    made = to_ocsf(read_structured(document), ENTRY)
    check(made)
    assert made["metadata"]["event_code"] == document["type"]
    assert made["metadata"]["sequence"] == 7


def test_the_published_schema_can_refuse() -> None:
    made = to_ocsf(read_structured(orjson.loads(EXAMPLES[0].read_bytes())), ENTRY)
    for wrong in ({**made, "severity_id": 17}, {**made, "nonsense": 1}, {**made, "time": "now"}):
        assert not validator(made["class_uid"]).is_valid(wrong)


@pytest.mark.parametrize(
    ("type_", "class_uid", "activity", "status"),
    [
        ("entitlement.granted", 3005, 1, 1),
        ("entitlement.revoked", 3005, 2, 1),
        ("account.closed", 3001, 6, 1),
        ("session.refused", 3002, 1, 2),
        ("command.refused", 3004, 3, 2),
        ("portal.removed", 3004, 4, 1),
        ("something.new", 3004, 3, 1),
    ],
)
def test_what_happened_decides_class_activity_and_status(
    type_: str, class_uid: int, activity: int, status: int
) -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    data = b'{"name":"Maria Delgado","note":"x","portal":"hub","by":"dana","function":"remittance"}'
    made = to_ocsf(Envelope("1", type_, "s", "W-1", at, "o", data, {}), ENTRY)
    check(made)
    assert (made["class_uid"], made["activity_id"], made["status_id"]) == (
        class_uid,
        activity,
        status,
    )
    assert made["actor"]["user"]["uid"] == "dana"
    assert b"Maria" not in orjson.dumps(made)


async def test_entries_are_published_in_order_and_again_only_after_a_failure(
    world: World, prepared_kafka: str
) -> None:
    async with world.search_pool.acquire() as conn:
        assert await search.published(conn) == 0
    await world.append(
        hired(0, "W-1"),
        raw_record(1, None, b"no event"),
        event(0, ACCESS_EVENTS.name, "entitlement.granted", "W-1", {"portal": "hub"}),
    )
    origin = f"portalkeeper.local/{world.folder.name.replace('_', '-')}"
    publisher = Publisher(world.keys, origin)
    async with producing(prepared_kafka) as producer:
        assert await publisher.publish(world.search_pool, producer) == 3
        assert await publisher.publish(world.search_pool, producer) == 0
        async with world.search_pool.acquire() as conn:
            await search.note_published(conn, 2)
        assert await publisher.publish(world.search_pool, producer) == 1
    found = await published(prepared_kafka, origin, 3)
    assert [each["metadata"]["sequence"] for each in found] == [0, 2, 2]
    uids = [each["metadata"]["uid"] for each in found]
    assert uids == [f"{origin}/0", f"{origin}/2", f"{origin}/2"]
    for each in found:
        check(each)


@asynccontextmanager
async def producing(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        yield producer


async def published(kafka: str, origin: str, count: int) -> list[dict[str, Any]]:
    """What is on the topic of one log, in order (all of one worker, so of one partition)."""
    found: list[dict[str, Any]] = []
    async with (
        AIOKafkaConsumer(
            OCSF_EVENTS.name, bootstrap_servers=kafka, auto_offset_reset="earliest"
        ) as consumer,
        asyncio.timeout(30),
    ):
        while len(found) < count:
            record = await consumer.getone()
            made = orjson.loads(record.value)
            if made["metadata"]["log_name"] == origin:
                found.append(made)
    return found


async def test_the_subscriber_in_the_documentation_works(
    world: World, prepared_kafka: str, tmp_path: Path
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", SUBSCRIBING.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    script = tmp_path / "subscriber.py"
    script.write_text(code.replace("my-siem", f"siem-{tmp_path.name}"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        env=os.environ | {"KAFKA": prepared_kafka},
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        await world.append(hired(0, "W-subscribed"))
        async with producing(prepared_kafka) as producer:
            origin = f"portalkeeper.local/{tmp_path.name.replace('_', '-')}"
            for _ in range(2):
                async with world.search_pool.acquire() as conn:
                    await search.published(conn)
                    await search.note_published(conn, 0)
                await Publisher(world.keys, origin).publish(world.search_pool, producer)
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while True:
                line = await process.stdout.readline()
                assert line, "the subscriber ended"
                code_, _, rest = line.decode().partition(" ")
                if "W-subscribed" in rest and tmp_path.name.replace("_", "-") in rest:
                    assert code_ == "worker.hired"
                    check(orjson.loads(rest))
                    break
    finally:
        process.kill()
        await process.wait()
