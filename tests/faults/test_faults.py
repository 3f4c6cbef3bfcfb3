"""Faults of real servers and processes: whatever happens, every event counts once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest

from deploy.embedded.postgres import EmbeddedPostgres
from shared.contracts.topics import WORKER_STATE
from shared.postgres import create_pool
from tests.benchmarks import workload
from tests.benchmarks.provisioning import apply_directory
from tests.servers import ROOT, TopicMaker, database_copy, session_folder, template_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EVENTS = 4_000
WORKERS = 400
LEAVERS = 60
PATIENCE_SECONDS = 300.0
SESSION_TIME_OUT_SECONDS = 12
"""A little more than the ten seconds after which Kafka gives a silent member's partitions away."""


@asynccontextmanager
async def lanes(
    kafka: str, dsn: str, topic: str, group: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.faults.lanes", kafka, dsn, topic, group),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        await asyncio.wait_for(process.wait(), 60)


async def story(kafka: str, topic: str) -> None:
    """Hires and changes, and then immediate terminations of some."""
    messages = workload.events(EVENTS, workers=WORKERS)
    messages += [
        workload.termination(f"W-{number:05}", f"leaves-{number}", workload.START)
        for number in range(LEAVERS)
    ]
    await workload.produce(kafka, topic, messages)


class Books:
    """What the database says of the events of one topic."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def ask(self, query: str) -> Any:
        """One value; None while the database is away."""
        try:
            conn = await asyncpg.connect(self._dsn, timeout=5)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return None
        try:
            return await conn.fetchval(query, timeout=30)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return None
        finally:
            conn.terminate()

    async def stored(self) -> int:
        return int(await self.ask("SELECT count(*) FROM worker_event") or 0)

    async def until_stored(self, count: int) -> None:
        await self._until(f"SELECT count(*) >= {count} FROM worker_event")

    async def until_done(self) -> None:
        await self._until(
            f"SELECT (SELECT count(*) FROM worker_event) >= {EVENTS + LEAVERS}"
            " AND NOT EXISTS (SELECT FROM undecided)"
        )

    async def _until(self, condition: str) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not await self.ask(f"SELECT ({condition})"):
            assert asyncio.get_running_loop().time() < deadline, await self.state()
            await asyncio.sleep(0.1)

    async def state(self) -> str:
        """Who holds things up, for somebody who wants to know why it never came true."""
        conn = await asyncpg.connect(self._dsn, timeout=5)
        rows = await conn.fetch(
            "SELECT state, wait_event, left(query, 60) AS query, now() - xact_start AS since"
            " FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        )
        left = await conn.fetchval("SELECT count(*) FROM undecided")
        offsets = await conn.fetch("SELECT consumer_group, next_offset FROM source_offset")
        await conn.close()
        return f"{await self.stored()} stored, {left} undecided, {offsets}: {rows}"

    async def check(self) -> None:
        """Nothing lost, nothing doubled, and who left has nothing coming."""
        assert await self.stored() == EVENTS + LEAVERS
        assert await self.ask("SELECT count(*) FROM worker") == WORKERS
        assert await self.ask("SELECT count(*) FROM worker WHERE status = 'terminated'") == LEAVERS
        waiting = await self.ask(
            "SELECT count(*) FROM operation JOIN worker USING (organization, worker)"
            " WHERE worker.status = 'terminated' AND operation.status = 'requested'"
        )
        assert waiting == 0, "somebody who left before anything was opened has work waiting"
        conn = await asyncpg.connect(self._dsn)
        rows = await conn.fetch("SELECT topic, key, headers FROM outbox ORDER BY id")
        workers = await conn.fetch("SELECT worker, version FROM worker")
        await conn.close()
        headers = [(row["topic"], row["key"], orjson.loads(row["headers"])) for row in rows]
        ids = [(topic, said["ce_id"]) for topic, _, said in headers]
        assert len(ids) == len(set(ids)), "an event was said twice"
        told: dict[str, list[int]] = {}
        for topic, _, said in headers:
            if topic == WORKER_STATE.name:
                told.setdefault(said["ce_subject"], []).append(int(said["ce_version"]))
        assert {row["worker"]: list(range(1, row["version"] + 1)) for row in workers} == told


async def prepare(dsn: str) -> None:
    pool = await create_pool(dsn)
    await apply_directory(pool)
    await pool.close()


async def freeze(running: asyncio.subprocess.Process, books: Books) -> None:
    """Stop a process, but not inside a COPY: one that freezes there has to be ended."""
    copying = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE 'COPY%')"
    )
    running.send_signal(signal.SIGSTOP)
    while await books.ask(copying):
        running.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.05)
        running.send_signal(signal.SIGSTOP)


async def test_a_frozen_consumer_that_comes_back_after_another_took_over_changes_nothing(
    prepared_kafka: str, fresh_database: Mapping[str, str], make_topic: TopicMaker
) -> None:
    topic, dsn = await make_topic(partitions=3), fresh_database["provisioning"]
    books, group = Books(dsn), f"frozen-{uuid4().hex[:8]}"
    await prepare(dsn)
    async with lanes(prepared_kafka, dsn, topic, group) as frozen:
        await story(prepared_kafka, topic)
        await books.until_stored(200)
        await freeze(frozen, books)
        async with lanes(prepared_kafka, dsn, topic, group):
            await asyncio.sleep(SESSION_TIME_OUT_SECONDS)
            # What it holds locked is let go of when its sessions have idled for a minute.
            await books.until_done()
            frozen.send_signal(signal.SIGCONT)
            await asyncio.sleep(3)
            await books.until_done()
            await books.check()


@contextmanager
def own_postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder / "postgres")
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.forget()


def stop_immediately(server: EmbeddedPostgres) -> None:
    """As `pg_ctl stop -m immediate`: no checkpoint, no goodbye to anybody."""
    server.process.stop(signal.SIGQUIT, 30)


async def test_postgres_stopped_in_immediate_mode_and_started_again_loses_nothing(
    prepared_kafka: str, make_topic: TopicMaker
) -> None:
    topic = await make_topic(partitions=3)
    with session_folder() as folder, own_postgres(folder) as server:
        async with (
            template_database(server.admin_dsn()) as template,
            database_copy(server.admin_dsn(), template) as dsns,
        ):
            dsn = dsns["provisioning"]
            books = Books(dsn)
            await prepare(dsn)
            async with lanes(prepared_kafka, dsn, topic, f"immediate-{uuid4().hex[:8]}"):
                await story(prepared_kafka, topic)
                for count in (200, 1_500):
                    await books.until_stored(count)
                    stop_immediately(server)
                    await asyncio.sleep(1)
                    server.start()
                await books.until_done()
                await books.check()


@contextmanager
def small_disk(mebibytes: int) -> Iterator[Path]:
    """A file system of its own; the test is not run where nobody may mount one."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=755", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"nobody may mount a small disk here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


async def test_postgres_on_a_full_disk_holds_everything_up_and_loses_nothing(
    prepared_kafka: str, make_topic: TopicMaker
) -> None:
    topic = await make_topic(partitions=3)
    with small_disk(400) as folder, own_postgres(folder) as server:
        async with (
            template_database(server.admin_dsn()) as template,
            database_copy(server.admin_dsn(), template) as dsns,
        ):
            dsn = dsns["provisioning"]
            books = Books(dsn)
            await prepare(dsn)
            async with lanes(prepared_kafka, dsn, topic, f"full-{uuid4().hex[:8]}"):
                fill(folder / "filler")
                await story(prepared_kafka, topic)
                await asyncio.sleep(5)
                assert await books.stored() < EVENTS, "the disk never was full"
                (folder / "filler").unlink()
                if not server.process.is_running():
                    # Where the log of changes itself found no room, PostgreSQL stops.
                    server.start()
                await books.until_done()
                await books.check()


def fill(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(64 * 1024))
