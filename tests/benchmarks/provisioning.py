"""HR event to committed state and outbox, against the peer and against plain COPY."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer

from services.provisioning.handlers.deciding import decide_tickers
from services.provisioning.handlers.directory import DirectoryCommands
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.main import main_lane
from shared.auth import Principal
from shared.clock import DatabaseClock
from shared.postgres import create_pool, in_transaction
from shared.process import going
from tests.benchmarks.workload import ORGANIZATION, PORTALS, directory

TABLES = ("worker", "worker_event", "account", "operation", "outbox")
ADMINISTRATOR = Principal(ORGANIZATION, "bench", None, frozenset({"access:admin"}), "Bench")
LIMIT_BATCH = 1_000
WAIT_SECONDS = 300


async def apply_directory(
    pool: asyncpg.Pool[Any],
    version: str = "v1",
    connector: str = "manual",
    portals: int = PORTALS,
) -> None:
    """Put the benchmark's directory in force."""
    commands = DirectoryCommands(Recompute(DatabaseClock()))
    applied = directory(version, connector, portals)
    await in_transaction(pool, lambda conn: commands.apply(conn, applied, ADMINISTRATOR))


async def until(
    done: Callable[[], Awaitable[bool]],
    what: str,
    seconds: float = WAIT_SECONDS,
    pause: float = 0.002,
) -> None:
    """Wait for something, asking every couple of milliseconds.

    Raises:
        TimeoutError: it did not come about.
    """
    deadline = time.monotonic() + seconds
    while not await done():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(pause)


@asynccontextmanager
async def decider_process(dsn: str, pool: asyncpg.Pool[Any]) -> AsyncIterator[None]:
    """The process of deciders beside the main one, as it runs in production, once it has begun."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.provisioning.decider",
        env={**os.environ, "PORTALKEEPER_DATABASE_URL": dsn},
        stdout=subprocess.DEVNULL,
    )

    async def begun() -> bool:
        connections = await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        )
        return int(connections) > pool.get_size()

    try:
        await until(begun, "the decider did not begin")
        yield
    finally:
        process.terminate()
        await process.wait()


async def run_provisioning(
    kafka: str, dsns: Mapping[str, str], topic: str, count: int
) -> tuple[float, int]:
    """Events a second to committed state and outbox, and how many rows that left."""
    pool = await create_pool(dsns["provisioning"], min_size=8, max_size=8)
    try:
        await apply_directory(pool)
        recompute = Recompute(DatabaseClock())
        deciders = decide_tickers(pool, recompute)
        consumer = main_lane(kafka, f"bench-{topic}", topic, pool, recompute, deciders)

        async def decided() -> bool:
            total = await pool.fetchval("SELECT coalesce(sum(next_offset), 0) FROM source_offset")
            return int(total) >= count and not await pool.fetchval(
                "SELECT EXISTS (SELECT FROM undecided)"
            )

        async with decider_process(dsns["provisioning"], pool):
            began = time.perf_counter()
            async with going(*deciders, consumer):
                await until(decided, "provisioning did not decide about every event", pause=0.02)
                seconds = time.perf_counter() - began
        rows = 0
        for table in TABLES:
            rows += await pool.fetchval(f"SELECT count(*) FROM {table}")
        return count / seconds, rows
    finally:
        await pool.close()


async def run_limit(
    kafka: str, dsns: Mapping[str, str], topic: str, count: int, rows: int
) -> float:
    """Events a second when as many rows are merely copied from the raw records."""
    conn = await asyncpg.connect(dsns["provisioning"])
    await conn.execute("CREATE TABLE IF NOT EXISTS raw (id bigint, key bytea, value bytea)")
    await conn.execute("TRUNCATE raw")
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka,
        group_id=None,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=1024 * 1024,
    )
    per_event = rows / count
    began = time.perf_counter()
    await consumer.start()
    try:
        seen, written = 0, 0
        while seen < count:
            fetched = await consumer.getmany(timeout_ms=500, max_records=LIMIT_BATCH)
            records = [record for part in fetched.values() for record in part]
            seen += len(records)
            batch: list[tuple[int, bytes, bytes]] = []
            while written + len(batch) < round(seen * per_event):
                record = records[len(batch) % len(records)]
                batch.append((record.offset, record.key, record.value))
            if batch:
                await conn.copy_records_to_table("raw", records=batch)
                written += len(batch)
        return count / (time.perf_counter() - began)
    finally:
        await consumer.stop()
        await conn.close()
