"""How fast the audit log's search and proofs answer at a size, and what the projection takes."""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit_log import store
from services.audit_log.api import Reading
from services.audit_log.crypto import KeyStore
from services.audit_log.handlers.appending import AuditHandler, Draft
from services.audit_log.projector import Projector
from services.audit_log.reading import unseal
from services.audit_log.rules import chain
from services.audit_log.rules.terms import SECRET_LABEL, Query, Terms
from services.audit_log.store import search
from services.cli.audit_check import Task, check_stretch
from services.cli.audit_sources import Folder
from shared.clock import DatabaseClock
from shared.kafka import Batch, Item
from shared.postgres import Connection, create_pool, in_transaction
from shared.tlog.merkle import Frontier, leaf_hash, subtrees
from shared.tlog.note import Checkpoint, SignerKey
from shared.tlog.tiles import TILE_WIDTH, pack_entries, tile_path
from tests.benchmarks.audit_append import BATCH_RECORDS, ORIGIN, WORKERS, make_records

PAGE = 50
QUERIES = 100
VERIFIED = 65_536
COPIED_PER_TURN = 10_000
SINGLES = 200
MADE = 100_000
"""Entries that go through all of the product; those behind them are copies, appended and projected
by the product's own SQL, because encrypting ten million of them takes an hour."""


@dataclass(slots=True)
class Searched:
    """Seconds of each search and proof, entries projected a second, and bytes per entry."""

    entries: int
    searches: dict[str, list[float]] = field(default_factory=dict)
    proofs: list[float] = field(default_factory=list)
    projected_per_second: float = 0.0
    bytes_per_entry: float = 0.0
    verified_per_second: float = 0.0
    verified_with_payloads_per_second: float = 0.0
    single: list[float] = field(default_factory=list)

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
        found.projected_per_second = await fill_log(pool, search_pool, keys, entries, say)
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
            await _verify(conn, keys, keystore / "copy", found)
        await _append_singly(pool, keys, reading, found)
    finally:
        await search_pool.close()
        await pool.close()
    return found


async def fill_log(
    pool: "asyncpg.Pool[Any]",
    search_pool: "asyncpg.Pool[Any]",
    keys: KeyStore,
    entries: int,
    say: Any = None,
) -> float:
    """A log of so many entries that search knows; how many a second were projected."""
    made = min(entries, MADE)
    await _fill(pool, keys, made)
    if say:
        say(f"audit log: {made:,} entries appended, projecting")
    seconds = await _project(search_pool, keys)
    if entries > made:
        await _copy_log(pool, made, entries, say)
        await _copy_projection(search_pool, made, entries, say)
    return made / seconds


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


async def _copy_log(pool: "asyncpg.Pool[Any]", made: int, entries: int, say: Any) -> None:
    """Append the first entries again and again, with the tree that such a log has."""
    size = made
    while size < entries:
        start = size % made
        end = min(start + COPIED_PER_TURN, made, start + entries - size)
        async with pool.acquire() as conn:
            await store.make_partitions_ahead(conn)
            read = await store.read_sealed_range(conn, start, end)
        again = [
            store.NewEntry(each.leaf, leaf_hash(each.leaf), each.key_slot, each.payload)
            for each in read
        ]
        async with pool.acquire() as conn, conn.transaction():
            growth = chain.grow(
                await store.lock_head(conn),
                await store.read_edges(conn),
                [each.leaf_hash for each in again],
            )
            await store.append(conn, size, again, growth, await DatabaseClock().now(conn))
        size += len(again)
        if say and size % 1_000_000 < COPIED_PER_TURN:
            say(f"audit log: {size:,} entries")


async def _copy_projection(pool: "asyncpg.Pool[Any]", made: int, entries: int, say: Any) -> None:
    """Project the copies by the terms of what they copy; the index is built when all are there."""
    async with pool.acquire() as conn:
        [(definition, name)] = await conn.fetch(
            "SELECT pg_get_indexdef(indexrelid), indexrelid::regclass::text FROM pg_index"
            " WHERE indexrelid = 'audit_search.found_terms'::regclass"
        )
        await conn.execute(f"DROP INDEX {name}")
        size = made
        while size < entries:
            start = size % made
            end = min(start + COPIED_PER_TURN, made, start + entries - size)
            rows = await conn.fetch(
                "SELECT index, recorded_at, identity, terms FROM audit_search.found"
                " WHERE index >= $1 AND index < $2 ORDER BY index",
                start,
                end,
            )
            again = [
                search.Found(
                    index=size + number,
                    recorded_at=row["recorded_at"],
                    identity=row["identity"] ^ size,
                    terms=row["terms"],
                )
                for number, row in enumerate(rows)
            ]
            async with conn.transaction():
                await search.add(conn, again)
            size += len(again)
            if say and size % 1_000_000 < COPIED_PER_TURN:
                say(f"audit log: {size:,} entries projected")
        await conn.execute("SET maintenance_work_mem = '1GB'")
        # The definition of a partitioned index speaks of the parent alone.
        await conn.execute(definition.replace(" ON ONLY ", " ON "), timeout=None)
        await conn.execute("VACUUM ANALYZE audit_search.found")


async def _verify(conn: Connection, keys: KeyStore, folder: Path, found: Searched) -> None:
    """Entries a second that one process checks offline, without and with payloads."""
    width = min(VERIFIED, MADE, found.entries)
    openings = folder / "openings.jsonl"
    openings.parent.mkdir()
    with openings.open("wb") as file:
        for start in range(0, width, TILE_WIDTH):
            end = min(width, start + TILE_WIDTH)
            path = tile_path(start // TILE_WIDTH, end - start)
            entries = await store.read_sealed_range(conn, start, end)
            leaves = [entry.leaf for entry in entries]
            for kind, content in (
                ("entries", pack_entries(leaves)),
                ("0", b"".join(leaf_hash(leaf) for leaf in leaves)),
            ):
                (folder / "tile" / kind / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / "tile" / kind / path).write_bytes(content)
            for entry in entries:
                assert entry.key_slot is not None
                assert entry.payload is not None
                raw = unseal(keys, entry.leaf, entry.key_slot, entry.payload)
                line = {"index": entry.index, "opening": base64.b64encode(raw).decode()}
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    task = Task(Folder(folder), ORIGIN, 0, width)
    found.verified_with_payloads_per_second = width / _time_of(task)
    openings.unlink()
    found.verified_per_second = width / _time_of(task)


def _time_of(task: Task) -> float:
    started = time.perf_counter()
    checked = check_stretch(task)
    assert not checked.problems
    return time.perf_counter() - started


async def _append_singly(
    pool: "asyncpg.Pool[Any]", keys: KeyStore, reading: Reading, found: Searched
) -> None:
    """Seconds from a lone record to its entry with a proof under a signed checkpoint."""
    handler = AuditHandler(ORIGIN, keys, DatabaseClock())
    key = SignerKey(ORIGIN, Ed25519PrivateKey.generate())
    async with pool.acquire() as conn:
        whole = [[each] for each in subtrees(0, found.entries)]
        frontier = Frontier(found.entries, await reading.fold(conn, whole))
    for record in make_records(SINGLES, seed=7, first_offset=found.entries):
        started = time.perf_counter()
        batch: Batch[Draft] = Batch([Item(record, handler.parse(record))], [])
        await in_transaction(pool, partial(handler.apply, batch=batch))
        async with pool.acquire() as conn:
            [(index, leaf)] = await store.read_leaves(conn, frontier.size, frontier.size + 1)
            frontier.extend([leaf_hash(leaf)])
            key.sign(Checkpoint(ORIGIN, frontier.size, frontier.root()).text())
            await reading.paths(conn, [index], frontier.size)
        found.single.append(time.perf_counter() - started)


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
