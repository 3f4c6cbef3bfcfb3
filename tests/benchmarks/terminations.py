"""From a termination on Kafka to removal ordered everywhere and to confirmed, in real processes."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from deploy.keys import make_secrets
from shared.contracts.topics import HR_EVENTS
from shared.postgres import create_pool
from tests.benchmarks import workload
from tests.benchmarks.copies import copy_workers
from tests.benchmarks.provisioning import apply_directory, until

PROCESSES = ("main", "express", "decider")
START_SECONDS = 60
HIRED = 2_000
"""Workers who come about through Kafka; the others are copies of them."""

FAR_PORTS = {"main": 18181, "express": 18184, "decider": 0}


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from producing a termination, sorted."""

    ordered: list[float]
    confirmed: list[float]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@asynccontextmanager
async def provisioning_processes(
    kafka: str, dsns: Mapping[str, str], folder: Path
) -> AsyncIterator[None]:
    """Main and express lane and deciders as they run in production, stopped at the end."""
    secrets = make_secrets(folder / "secrets")
    running = []
    try:
        for name in PROCESSES:
            environment = {
                **os.environ,
                "PORTALKEEPER_KAFKA": kafka,
                "PORTALKEEPER_DATABASE_URL": dsns["provisioning"],
                "PORTALKEEPER_JWKS_FILE": str(secrets.jwks),
                "PORTALKEEPER_PORT": str(FAR_PORTS[name]),
            }
            log = (folder / f"{name}.log").open("w")
            running.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    f"services.provisioning.{name}",
                    env=environment,
                    stderr=log,
                    stdout=log,
                )
            )
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            await asyncio.wait_for(process.wait(), 30)


async def wait_for_lanes(pool: asyncpg.Pool[Any], partitions: int) -> None:
    """Wait until both lanes have every partition."""

    async def joined() -> bool:
        rows = await pool.fetchval(
            "SELECT count(*) FROM source_offset WHERE topic = $1", HR_EVENTS.name
        )
        return int(rows) >= 2 * partitions

    await until(joined, "the lanes did not start", START_SECONDS)
    await asyncio.sleep(1)


async def terminate_one_by_one(
    kafka: str, pool: asyncpg.Pool[Any], workers: Sequence[str], *, confirmed: bool
) -> Latencies:
    """Produce a termination per worker, each after the one before was ordered everywhere."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=0)
    await producer.start()
    ordered, done = [], []
    try:
        for worker in workers:
            message = workload.termination(
                worker, f"{worker}-terminated-{time.time_ns()}", datetime.now(UTC)
            )
            began = time.perf_counter()
            await producer.send_and_wait(
                HR_EVENTS.name, message.value, key=message.key, headers=message.headers
            )
            await _until_removals(pool, worker, "status IS NOT NULL")
            ordered.append(time.perf_counter() - began)
            if confirmed:
                await _until_removals(pool, worker, "status = 'done'")
                done.append(time.perf_counter() - began)
    finally:
        await producer.stop()
    return Latencies(sorted(ordered), sorted(done))


async def _until_removals(pool: asyncpg.Pool[Any], worker: str, condition: str) -> None:
    async def there() -> bool:
        count = await pool.fetchval(
            f"SELECT count(*) FROM operation WHERE organization = $1 AND worker = $2"
            f" AND kind = 'suspend' AND {condition}",
            workload.ORGANIZATION,
            worker,
        )
        return int(count) == workload.PORTALS

    await until(there, f"removal of {worker} was not ordered everywhere", 120)


async def open_accounts(pool: asyncpg.Pool[Any]) -> None:
    """Wait until the simulator has opened every login."""

    async def opened() -> bool:
        waiting = await pool.fetchval(
            "SELECT count(*) FROM operation WHERE status IN ('requested', 'claimed')"
        )
        return int(waiting) == 0

    await until(opened, "the simulator did not open every login", 900)


async def prepare_workers(kafka: str, pool: asyncpg.Pool[Any], count: int) -> list[str]:
    """Hire `count` workers through Kafka and have their logins opened."""
    names = [f"L-{number:06}" for number in range(count)]
    messages = [
        workload.hire(name, workload.TITLES[number % 2], workload.START)
        for number, name in enumerate(names)
    ]
    await workload.produce(kafka, HR_EVENTS.name, messages)

    async def applied() -> bool:
        total = await pool.fetchval("SELECT count(*) FROM worker WHERE state IS NOT NULL")
        return int(total) >= count

    await until(applied, "the workers were not hired", 900)
    await open_accounts(pool)
    return names


@dataclass(frozen=True, slots=True)
class TerminationFigures:
    """Latencies when idle, behind a backlog, and during a recompute of everybody."""

    idle: Latencies
    backlog: Latencies
    recompute: Latencies


async def measure(
    kafka: str,
    dsns: Mapping[str, str],
    folder: Path,
    *,
    samples: int,
    backlog: int,
    workers: int,
    say: Any,
) -> TerminationFigures:
    """Measure all three in one installation, so that the ratios belong together."""
    pool = await create_pool(dsns["provisioning"])
    try:
        await apply_directory(pool, connector="simulator")
        async with provisioning_processes(kafka, dsns, folder):
            await wait_for_lanes(pool, HR_EVENTS.partitions)
            hired = min(workers, HIRED)
            say(f"hiring {hired} workers and opening their logins, and copying them to {workers}")
            names = await prepare_workers(kafka, pool, hired)
            await copy_workers(dsns["provisioning"], workers // hired - 1)
            say("terminations when idle")
            idle = await terminate_one_by_one(kafka, pool, names[:samples], confirmed=True)
            say(f"terminations behind a backlog of {backlog} events")
            await workload.produce(kafka, HR_EVENTS.name, workload.events(backlog, seed=7))
            behind = await terminate_one_by_one(
                kafka, pool, names[samples : 2 * samples], confirmed=False
            )

            async def drained() -> bool:
                total = await pool.fetchval(
                    "SELECT sum(next_offset) FROM source_offset"
                    " WHERE consumer_group = 'provisioning'"
                )
                undecided = await pool.fetchval("SELECT EXISTS (SELECT FROM undecided)")
                return int(total) >= hired + backlog + 2 * samples and not undecided

            say("waiting for the backlog to end")
            await until(drained, "the backlog was not drained", 1800)
            await open_accounts(pool)
            say("terminations while everybody is recomputed")
            await apply_directory(pool, version="v2", connector="simulator")
            during = await terminate_one_by_one(
                kafka, pool, names[2 * samples : 3 * samples], confirmed=False
            )
            left = await pool.fetchval("SELECT count(*) FROM worker WHERE directory_version < 2")
            say(f"{left} workers were still to recompute at the end of the samples")
        return TerminationFigures(idle, behind, during)
    finally:
        await pool.close()
