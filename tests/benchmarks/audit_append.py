"""How fast the audit log appends, against COPY of the same raw records into one table."""

import asyncio
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import asyncpg
import orjson
from aiokafka import ConsumerRecord

from services.audit_log import store
from services.audit_log.crypto import KeyStore
from services.audit_log.handlers.appending import AuditHandler, Draft
from services.audit_log.main import BATCH_MAX_RECORDS
from shared.clock import DatabaseClock
from shared.contracts.envelope import binary_headers, event_key
from shared.contracts.topics import HR_EVENTS
from shared.kafka import Batch, Item
from shared.postgres import Connection, create_pool, in_transaction

ORIGIN = "portalkeeper.local/benchmark"
ORGANIZATION = "cedar-sound"
BATCH_RECORDS = BATCH_MAX_RECORDS
WORKERS = 5_000
EVENT_BYTES = 600
RUNS = 3
CONCURRENT_BATCHES = 2

Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"


@dataclass(frozen=True, slots=True)
class Appended:
    """Entries a second of the log and of the limit (medians), their ratio, and the space taken.

    `bytes_per_entry` counts tables, tiles and indexes; `event_bytes` is an event's key, headers
    and value.
    """

    entries_per_second: float
    limit_per_second: float
    ratio: float
    bytes_per_entry: float
    event_bytes: float
    runs: int


def make_records(count: int, seed: int = 1, first_offset: int = 0) -> list[Record]:
    """CloudEvents of `EVENT_BYTES` each in key, headers and value, spread over `WORKERS`."""
    random = Random(seed)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    records = []
    for number in range(first_offset, first_offset + count):
        worker = f"W-{random.randrange(WORKERS):05}"
        headers = binary_headers(
            id=f"{random.getrandbits(128):032x}",
            type="worker.changed",
            source="hr-suite",
            subject=worker,
            time=start + timedelta(seconds=number),
            organization=ORGANIZATION,
        )
        data = {"employment_id": f"{worker}-1", "title": "Billing Specialist", "sites": ["main"]}
        body = orjson.dumps({**data, "department": f"{random.getrandbits(64):x}"})
        key = event_key(ORGANIZATION, worker)
        around = len(key) + sum(len(name) + len(text) for name, text in headers.items())
        note = random.getrandbits(4 * (EVENT_BYTES - around - len(body) - 10))
        value = body[:-1] + f',"note":"{note:x}"}}'.encode()
        records.append(
            ConsumerRecord(
                HR_EVENTS.name,
                0,
                number,
                1_772_000_000_000 + number,
                1,
                key.encode(),
                value,
                None,
                0,
                len(value),
                tuple((name, text.encode()) for name, text in headers.items()),
            )
        )
    return records


async def audit_append_vs_limit(
    database: Mapping[str, str], keystore: Path, batches: int = 20
) -> Appended:
    """Append `batches` of `BATCH_RECORDS`, and copy the same records, in turns; medians of three.

    Args:
        database: role -> connection string of a prepared, empty database, with `admin`.
        keystore: a folder for keys that may be thrown away.
    """
    pool = await create_pool(database["audit_log"], max_size=CONCURRENT_BATCHES)
    handler = AuditHandler(ORIGIN, KeyStore(keystore, bytes(32)), DatabaseClock())
    admin = await asyncpg.connect(database["admin"])
    try:
        async with pool.acquire() as conn:
            await store.open_log(conn, ORIGIN)
        await admin.execute(
            "CREATE TABLE public.raw (topic text, partition integer, kafka_offset bigint,"
            " stamp bigint, key bytea, headers bytea, value bytea)"
        )
        await admin.execute("GRANT USAGE ON SCHEMA public TO audit_log")
        await admin.execute("GRANT INSERT ON public.raw TO audit_log")
        log: list[float] = []
        limit: list[float] = []
        offset, event_bytes = 0, 0.0
        for run in range(RUNS + 1):
            records = make_records(batches * BATCH_RECORDS, seed=run, first_offset=offset)
            offset += len(records)
            event_bytes = statistics.fmean(_size(record) for record in records)
            rates = await _append(pool, handler, records), await _copy(pool, records)
            if run:  # The first is the warm-up.
                log.append(rates[0])
                limit.append(rates[1])
        space = await _space(admin)
    finally:
        await admin.close()
        await pool.close()
    ours, theirs = statistics.median(log), statistics.median(limit)
    return Appended(ours, theirs, ours / theirs, space / offset, event_bytes, RUNS)


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + headers + len(record.value or b"")


async def _append(pool: "asyncpg.Pool[Any]", handler: AuditHandler, records: list[Record]) -> float:
    """The real path, as the consumer drives it: parse, then apply, two batches at a time."""
    batches = [records[at : at + BATCH_RECORDS] for at in range(0, len(records), BATCH_RECORDS)]
    turn = asyncio.Semaphore(CONCURRENT_BATCHES)
    started = time.perf_counter()

    async def append(part: list[Record]) -> None:
        async with turn:
            batch: Batch[Draft] = Batch(
                [Item(record, handler.parse(record)) for record in part], []
            )
            await in_transaction(pool, lambda conn: handler.apply(conn, batch))

    async with asyncio.TaskGroup() as group:
        for part in batches:
            group.create_task(append(part))
    return len(records) / (time.perf_counter() - started)


async def _copy(pool: "asyncpg.Pool[Any]", records: list[Record]) -> float:
    batches = [records[at : at + BATCH_RECORDS] for at in range(0, len(records), BATCH_RECORDS)]
    turn = asyncio.Semaphore(CONCURRENT_BATCHES)
    started = time.perf_counter()

    async def copy(part: list[Record]) -> None:
        rows = [
            (
                record.topic,
                record.partition,
                record.offset,
                record.timestamp,
                record.key,
                b"".join([name.encode() + (value or b"") for name, value in record.headers]),
                record.value,
            )
            for record in part
        ]

        async def write(conn: Connection) -> None:
            await conn.copy_records_to_table("raw", schema_name="public", records=rows)

        async with turn:
            await in_transaction(pool, write)

    async with asyncio.TaskGroup() as group:
        for part in batches:
            group.create_task(copy(part))
    return len(records) / (time.perf_counter() - started)


async def _space(admin: "asyncpg.Connection[Any]") -> float:
    """Bytes of every table of the log with indexes and overflow, dead rows excluded."""
    await admin.execute("VACUUM FULL audit_log.tile_edge")
    total: int = await admin.fetchval(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relnamespace = 'audit_log'::regnamespace AND relkind = 'r'"
    )
    return float(total)
