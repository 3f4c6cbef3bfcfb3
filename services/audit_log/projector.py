"""The process that keeps what follows from the log: `python -m services.audit_log.projector`.

It reads entries in their order, projects them for search and publishes them as OCSF events, under a
database role of its own that may read the log and change nothing of it. `--rebuild` forgets the
projection first; searches answer "not ready" until it is there again. OCSF events are published in
the order of the log and at least once: how far is noted once Kafka has them.
"""

import argparse
import asyncio
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any

import asyncpg
import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.audit_log.crypto import (
    Key,
    KeyStore,
    KeyUnavailable,
    PayloadAltered,
    read_master_key,
)
from services.audit_log.reading import event_of, read_leaf, unseal
from services.audit_log.rules import chain
from services.audit_log.rules.ocsf import Entry, to_ocsf
from services.audit_log.rules.terms import SECRET_LABEL, Query, Terms
from services.audit_log.settings import Settings
from services.audit_log.store import search
from shared.contracts.topics import OCSF_EVENTS
from shared.postgres import create_pool, is_transient
from shared.process import run_process, until_stopped
from shared.tlog.leaf import LeafError, Opening, RecordLeaf, parse_leaf

logger = structlog.get_logger(__name__)

BATCH_ENTRIES = 1_000
POLL_SECONDS = 0.1
PUBLISH_POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0


class Projector:
    """Projects the log for search."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._terms = Terms(keys.derive(SECRET_LABEL))

    async def project(self, pool: "asyncpg.Pool[Any]") -> int:
        """Project the next entries, if there are any, and forget what was pruned; how many."""
        async with pool.acquire() as conn, conn.transaction():
            start = await search.lock_position(conn)
            await search.forget_pruned(conn)
            entries = await search.read_log(conn, start, BATCH_ENTRIES)
            if entries:
                opened: dict[int, Key] = {}
                found = [self.found(entry, opened) for entry in entries]
                self._leave_out_erased(found, await search.erased(conn))
                await search.add(conn, found)
        return len(entries)

    def found(self, entry: search.LogEntry, opened: dict[int, Key]) -> search.Found:
        """An entry as it is searched; `opened` are keys that the caller has at hand."""
        identity: int | None = None
        try:
            leaf = parse_leaf(entry.leaf)
        except LeafError:
            return search.Found(entry.index, entry.recorded_at, None, self._terms.of_leaf(None, ""))
        if not isinstance(leaf, RecordLeaf):
            topic = getattr(leaf, "topic", "")
            terms = self._terms.of_leaf(None, topic)
            return search.Found(entry.index, entry.recorded_at, None, terms)
        terms = self._terms.of_leaf(leaf, leaf.topic)
        if entry.key_slot is not None and entry.payload is not None:
            with suppress(KeyUnavailable, PayloadAltered, LeafError):
                opening = self._open(leaf, entry.key_slot, entry.payload, opened)
                holder = chain.keyholder(leaf.topic, leaf.type, opening.key)
                terms = self._terms.of_record(leaf, opening, holder)
                identity = chain.event_names(dict(opening.headers), opening.value)[1]
        return search.Found(entry.index, entry.recorded_at, identity, terms)

    def _leave_out_erased(
        self, found: list[search.Found], erased: list[tuple[str, str, datetime]]
    ) -> None:
        """What was recorded before somebody was erased is not found by them, whosesoever it is."""
        for organization, worker, begun_at in erased:
            naming = self._terms.of_worker(organization, worker)
            [about] = self._terms.of_query(Query(organization, (("worker", worker),)))
            for each in found:
                if each.recorded_at < begun_at and about in each.terms:
                    each.terms = [term for term in each.terms if term not in naming]

    def _open(self, leaf: RecordLeaf, slot: int, payload: bytes, opened: dict[int, Key]) -> Opening:
        key = opened.get(slot)
        if key is None:
            key = opened[slot] = self._keys.key(slot)
        context = f"{leaf.topic}/{leaf.partition}/{leaf.offset}".encode()
        return Opening.decode(key.unseal(context, payload))


class Publisher:
    """Publishes the log as OCSF events."""

    def __init__(self, keys: KeyStore, origin: str) -> None:
        self._keys = keys
        self._origin = origin

    async def publish(self, pool: "asyncpg.Pool[Any]", producer: AIOKafkaProducer) -> int:
        """Publish the next entries, if there are any; how many.

        Raises:
            KafkaError: Kafka does not take them; they will be published again.
        """
        async with pool.acquire() as conn:
            start = await search.published(conn)
            entries = await search.read_log(conn, start, BATCH_ENTRIES)
        sending = []
        for entry in entries:
            told = self._told(entry)
            if told is not None:
                key, value = told
                sending.append(await producer.send(OCSF_EVENTS.name, value, key))
        await asyncio.gather(*sending)
        if entries:
            async with pool.acquire() as conn:
                await search.note_published(conn, entries[-1].index + 1)
        return len(entries)

    def _told(self, entry: search.LogEntry) -> tuple[bytes, bytes] | None:
        """Key and value of an entry's OCSF event; None of what is no event or was erased."""
        leaf = read_leaf(entry.leaf)
        if not isinstance(leaf, RecordLeaf) or entry.key_slot is None or entry.payload is None:
            return None
        try:
            raw = unseal(self._keys, entry.leaf, entry.key_slot, entry.payload)
            event = event_of(Opening.decode(raw))
        except (KeyUnavailable, PayloadAltered, LeafError):
            return None
        if event is None:
            return None
        recorded_at = int(entry.recorded_at.timestamp() * 1000)
        made = to_ocsf(event, Entry(entry.index, self._origin, recorded_at, leaf.topic))
        return event.key.encode(), orjson.dumps(made)


async def _publish_forever(
    publisher: Publisher, pool: "asyncpg.Pool[Any]", settings: Settings
) -> None:
    while True:
        try:
            async with AIOKafkaProducer(
                bootstrap_servers=settings.kafka, acks="all", enable_idempotence=True
            ) as producer:
                while True:
                    if not await publisher.publish(pool, producer):
                        await asyncio.sleep(PUBLISH_POLL_SECONDS)
        except (KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("publishing.waits", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)


async def run(settings: Settings, *, rebuild: bool) -> None:
    """Project until cancelled; faults of the database are waited out.

    Raises:
        KeyStoreError: the master key or the key store cannot be used.
    """
    keys = KeyStore(settings.audit_keystore_dir, read_master_key(settings.audit_master_key_file))
    projector = Projector(keys)
    pool = await create_pool(settings.database_url, max_size=3)
    publishing: asyncio.Task[None] | None = None
    try:
        async with pool.acquire() as conn:
            if rebuild:
                await search.drop(conn)
            logger.info("projection.begins", position=await search.prepare(conn))
        publisher = Publisher(keys, settings.log_origin)
        publishing = asyncio.create_task(_publish_forever(publisher, pool, settings))
        while True:
            try:
                if not await projector.project(pool):
                    await asyncio.sleep(POLL_SECONDS)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                if not is_transient(error):
                    raise
                logger.warning("projection.waits", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
    finally:
        if publishing is not None:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
        await pool.close()


def main() -> int:
    """Run; the exit status is 0, or 1 after a sentence on standard error."""
    parser = argparse.ArgumentParser(description="Project the audit log for search.")
    parser.add_argument("--rebuild", action="store_true", help="forget the projection first")
    rebuild = parser.parse_args().rebuild
    return run_process(
        "audit-projector",
        Settings,
        lambda settings: until_stopped(run(settings, rebuild=rebuild)),
    )


if __name__ == "__main__":
    sys.exit(main())
