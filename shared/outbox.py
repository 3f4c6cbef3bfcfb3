"""The transactional outbox: events leave in the transaction that made them true, in order per key.

A relay process publishes each shard's rows in id order, waits for Kafka, and deletes what was
acknowledged. Rows of a key are only inserted while a lock that owns the key is held, so ids of a
key are in commit order although a sequence as a whole is not.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import asyncpg
import orjson
import structlog
from aiokafka import AIOKafkaProducer

from shared.postgres import Connection, is_transient

logger = structlog.get_logger(__name__)

SHARDS = 4
"""Fixed for the life of an installation: rows already stored carry their shard."""

RELAY_BATCH_ROWS = 2_000
IDLE_POLL_SECONDS = 0.01
ERROR_PAUSE_SECONDS = 0.5
SEND_TIMEOUT_SECONDS = 30.0
PRODUCER_BATCH_BYTES = 256 * 1024
MAX_MESSAGE_BYTES = 2 * 1024 * 1024 - 16 * 1024
"""What a topic takes, less headers and framing: too large must fail the insert, not the relay."""


class MessageTooLarge(ValueError):
    """An event would not fit into its topic; nothing was stored."""


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One record for Kafka. A `value` of None is a tombstone on a compacted topic."""

    topic: str
    key: str
    headers: dict[str, str]
    value: bytes | None


@lru_cache(maxsize=100_000)
def shard_of(topic: str, key: str) -> int:
    """The shard that carries a key's records, equal in every process."""
    digest = hashlib.blake2b(f"{topic}\x00{key}".encode(), digest_size=2).digest()
    return int.from_bytes(digest, "big") % SHARDS


async def enqueue(
    conn: Connection, messages: Iterable[OutboxMessage], *, held: bool = False
) -> None:
    """Store messages for the relay in the caller's transaction.

    Args:
        held: the caller holds a row lock that owns every key (the worker, portal or offset row);
            otherwise the keys' own rows are locked here, which is last in the lock order.

    Raises:
        MessageTooLarge: before anything is stored.
    """
    rows = list(messages)
    if not rows:
        return
    for row in rows:
        if row.value is not None and len(row.value) > MAX_MESSAGE_BYTES:
            raise MessageTooLarge(f"{row.headers.get('ce_type')} has {len(row.value)} bytes")
    if not held:
        await _lock_keys(conn, rows)
    await conn.copy_records_to_table(
        "outbox",
        columns=("shard", "topic", "key", "headers", "value"),
        records=[
            (shard_of(row.topic, row.key), row.topic, row.key, orjson.dumps(row.headers), row.value)
            for row in rows
        ],
    )


async def _lock_keys(conn: Connection, rows: Sequence[OutboxMessage]) -> None:
    keys = sorted({(row.topic, row.key) for row in rows})
    topics, names = [topic for topic, _ in keys], [key for _, key in keys]
    await conn.execute(
        """
        INSERT INTO outbox_key (topic, key)
        SELECT * FROM unnest($1::text[], $2::text[]) AS wanted (topic, key)
        ORDER BY topic, key
        ON CONFLICT DO NOTHING
        """,
        topics,
        names,
    )
    await conn.execute(
        """
        SELECT 1 FROM outbox_key
        WHERE (topic, key) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        ORDER BY topic, key FOR UPDATE
        """,
        topics,
        names,
    )


async def depth(conn: Connection) -> int:
    """How many messages wait for the relay."""
    count: int = await conn.fetchval("SELECT count(*) FROM outbox")
    return count


class Relay:
    """Publishes one shard. The connection that holds its advisory lock also reads and deletes."""

    def __init__(self, dsn: str, kafka: str, shard: int) -> None:
        self._dsn = dsn
        self._kafka = kafka
        self._shard = shard
        self._producer: AIOKafkaProducer | None = None

    async def run(self) -> None:
        """Relay until cancelled; faults of Kafka or PostgreSQL pause it, never end it."""
        while True:
            try:
                await self._hold_and_relay()
            except asyncio.CancelledError:
                await self._drop_producer()
                raise
            except Exception as error:
                # A relay that ended on an unforeseen error would stop a service silently.
                log = logger.warning if is_transient(error) else logger.error
                log("relay.paused", shard=self._shard, error=repr(error))
                await self._drop_producer()
                await asyncio.sleep(ERROR_PAUSE_SECONDS)

    async def _hold_and_relay(self) -> None:
        conn: asyncpg.Connection[Any] = await asyncpg.connect(self._dsn)
        try:
            await conn.execute(
                "SELECT pg_advisory_lock(hashtext(current_schema() || '.outbox'), $1)", self._shard
            )
            while True:
                if not await self.relay_once(conn):
                    await asyncio.sleep(IDLE_POLL_SECONDS)
        finally:
            with suppress(Exception):
                await conn.close(timeout=2)

    async def relay_once(self, conn: asyncpg.Connection[Any]) -> int:
        """Publish the next rows and delete what Kafka acknowledged; how many that were."""
        rows = await conn.fetch(
            "SELECT id, topic, key, headers, value FROM outbox WHERE shard = $1"
            " ORDER BY id LIMIT $2",
            self._shard,
            RELAY_BATCH_ROWS,
        )
        if not rows:
            return 0
        acknowledged, failure = await self._publish(rows)
        if acknowledged:
            await conn.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", acknowledged)
        if failure is not None:
            raise failure
        return len(acknowledged)

    async def _publish(self, rows: Sequence[Any]) -> tuple[list[int], BaseException | None]:
        """Send rows in order; per key, only what precedes the first failure counts as sent."""
        producer = await self._open_producer()
        futures: list[Any] = []
        failure: BaseException | None = None
        for row in rows:
            try:
                futures.append(
                    await asyncio.wait_for(
                        producer.send(
                            row["topic"],
                            value=row["value"],
                            key=row["key"].encode(),
                            headers=_kafka_headers(row["headers"]),
                        ),
                        SEND_TIMEOUT_SECONDS,
                    )
                )
            except Exception as error:
                failure = error
                break
        results = await asyncio.gather(*futures, return_exceptions=True)
        acknowledged: list[int] = []
        broken: set[tuple[str, str]] = set()
        for row, result in zip(rows, results, strict=False):
            key = (row["topic"], row["key"])
            if isinstance(result, BaseException):
                broken.add(key)
                failure = failure or result
            elif key not in broken:
                acknowledged.append(row["id"])
        return acknowledged, failure

    async def _open_producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._kafka,
                acks="all",
                enable_idempotence=True,
                max_batch_size=PRODUCER_BATCH_BYTES,
                max_request_size=MAX_MESSAGE_BYTES + 16 * 1024,
                linger_ms=2,
            )
            await producer.start()
            self._producer = producer
        return self._producer

    async def _drop_producer(self) -> None:
        """A producer that failed may still hold messages: closing it keeps order per key."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):
                await asyncio.wait_for(producer.stop(), 5)


def _kafka_headers(stored: bytes) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in orjson.loads(stored).items()]


async def run_relay(dsn: str, kafka: str) -> None:
    """Relay every shard of one service's schema until cancelled."""
    async with asyncio.TaskGroup() as group:
        for shard in range(SHARDS):
            group.create_task(Relay(dsn, kafka, shard).run())
