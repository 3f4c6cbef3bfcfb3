"""How fast the audit log's search and proofs answer at a size, and what the projection takes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import asyncpg

from services.audit_log import store
from services.audit_log.api import Reading
from services.audit_log.crypto import KeyStore
from services.audit_log.handlers import AuditHandler, Draft
from services.audit_log.projector import Projector
from services.audit_log.store import search
from services.audit_log.terms import SECRET_LABEL, Query, Terms
from shared.clock import DatabaseClock
from shared.kafka import Batch, Item
from shared.postgres import create_pool, in_transaction
from tests.benchmarks.audit_append import BATCH_RECORDS, ORIGIN, WORKERS, make_records

PAGE = 50
QUERIES = 100


@dataclass(slots=True)
class Searched:
    """Seconds of each search and proof, entries projected a second, and bytes per entry."""

    entries: int
    searches: dict[str, list[float]] = field(default_factory=dict)
    proofs: list[float] = field(default_factory=list)
    projected_per_second: float = 0.0
    bytes_per_entry: float = 0.0

    @property
    def all_searches(self) -> list[float]:
        """Every search's seconds."""
        return [seconds for times in self.searches.values() for seconds in times]


async def audit_search(
    database: Mapping[str, str], keystore: Path, entries: int, *, say: Any = None
) -> Searched:
    """Fill a log, project it, and ask.

    Args:
        database: role -> connection string of a prepared, empty database.
        keystore: a folder for keys that may be thrown away.
    """
    pool = await create_pool(database["audit_log"], max_size=2)
    search_pool = await create_pool(database["audit_search"], max_size=2)
    keys = KeyStore(keystore, bytes(32))
    found = Searched(entries)
    try:
        await _fill(pool, keys, entries)
        if say:
            say(f"audit log: {entries:,} entries appended, projecting")
        found.projected_per_second = entries / await _project(search_pool, keys)
        async with search_pool.acquire() as conn:
            found.bytes_per_entry = float(await search.footprint(conn)) / entries
        terms = Terms(keys.derive(SECRET_LABEL))
        reading = Reading(pool, keys, DatabaseClock(), ORIGIN, terms)
        async with pool.acquire() as conn:
            for name, query, before in _queries(entries):
                started = time.perf_counter()
                indexes = await search.find(conn, terms.of_query(query), before=before, limit=PAGE)
                await store.read_entries(conn, indexes)
                found.searches.setdefault(name, []).append(time.perf_counter() - started)
            random = Random(3)
            for _ in range(QUERIES):
                started = time.perf_counter()
                await reading.paths(conn, [random.randrange(entries)], entries)
                found.proofs.append(time.perf_counter() - started)
    finally:
        await search_pool.close()
        await pool.close()
    return found


async def _fill(pool: "asyncpg.Pool[Any]", keys: KeyStore, entries: int) -> None:
    handler = AuditHandler(ORIGIN, keys, DatabaseClock())
    async with pool.acquire() as conn:
        await store.open_log(conn, ORIGIN)
    for first in range(0, entries, BATCH_RECORDS):
        records = make_records(min(BATCH_RECORDS, entries - first), seed=first, first_offset=first)
        batch: Batch[Draft] = Batch([Item(record, handler.parse(record)) for record in records], [])
        await in_transaction(pool, partial(handler.apply, batch=batch))


async def _project(pool: "asyncpg.Pool[Any]", keys: KeyStore) -> float:
    async with pool.acquire() as conn:
        await search.prepare(conn)
    projector = Projector(keys)
    started = time.perf_counter()
    while await projector.project(pool):
        pass
    return time.perf_counter() - started


def _queries(entries: int) -> list[tuple[str, Query, int]]:
    """Searches of a compliance officer, from the newest entries and from the middle."""
    random = Random(2)
    asked = []
    for number in range(QUERIES):
        worker = f"W-{random.randrange(WORKERS):05}"
        before = entries if number % 2 else random.randrange(entries)
        everything = (("type", "worker.changed"), ("worker", worker))
        asked += [
            ("worker", Query("cedar-sound", (("worker", worker),)), before),
            ("worker and type", Query("cedar-sound", everything), before),
            ("type", Query("cedar-sound", (("type", "worker.changed"),)), before),
            ("words", Query("cedar-sound", text=f"specialist {worker} main"), before),
            ("nothing", Query("cedar-sound", (("worker", "W-none"),)), before),
        ]
    return asked
