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
from functools import lru_cache
from typing import Any

import asyncpg
import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed

from shared.postgres import Connection, is_transient
from shared.values import value_class

logger = structlog.get_logger(__name__)

SHARDS = 4
"""Fixed for the life of an installation: rows already stored carry their shard."""

RELAY_BATCH_ROWS = 2_000
RELAY_BATCH_BYTES = 8 * 1024 * 1024
"""2,000 of the largest messages would be 4 GB."""

IDLE_POLL_SECONDS = 0.01
IDLE_POLL_MOST_SECONDS = 0.16
"""With nothing to do a relay looks half as often each time: every shard of every service, looked at
a hundred times a second, kept a fifth of a core busy."""

STANDBY_POLL_SECONDS = 0.5
ERROR_PAUSE_SECONDS = 0.5
SEND_TIMEOUT_SECONDS = 30.0
ABANDON_SECONDS = 5.0
COMMAND_TIMEOUT_SECONDS = 60.0
"""A server that vanished without a word must not hold the relay as long as TCP would."""

PRODUCER_BATCH_BYTES = 256 * 1024
TOPIC_MAX_BYTES = 2 * 1024 * 1024
MAX_MESSAGE_BYTES = TOPIC_MAX_BYTES - 16 * 1024
"""Value, key and headers of one message, which leaves room for Kafka's framing: too large must fail
the insert, not the relay, behind which everything of a shard would wait."""

MAX_HEADERS_BYTES = 32 * 1024
MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - MAX_HEADERS_BYTES - 4 * 1024
"""A value that fits whatever its headers and key are."""


class MessageTooLarge(ValueError):
    """An event would not fit into its topic; nothing was stored."""


@value_class(frozen=True, slots=True)
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
    records = []
    for row in rows:
        headers = orjson.dumps(row.headers)
        # As JSON the headers are at least as long as Kafka frames them.
        size = len(headers) + len(row.key.encode()) + len(row.value or b"")
        if size > MAX_MESSAGE_BYTES:
            raise MessageTooLarge(f"{row.headers.get('ce_type')} has {size} bytes")
        records.append((shard_of(row.topic, row.key), row.topic, row.key, headers, row.value))
    if not held:
        await _lock_keys(conn, rows)
    await conn.copy_records_to_table(
        "outbox", columns=("shard", "topic", "key", "headers", "value"), records=records
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
    """Publishes one shard. The connection that holds its advisory lock also reads and deletes.

    A message is published at least once, and a key's messages in the order of their ids. What was
    published but not deleted (a crash in between, a failed send before it) is published again;
    ids of events do not change, so whoever consumes them ignores what it has seen.

    Taking over re-publishes nothing that was deleted. The lock is only lost with its connection,
    and that kills the producer on the spot, before its successor can have the lock; a relay that
    gives the lock up has killed its producer before. So nothing older can land behind what the
    successor publishes, but for a request that was on the wire at that moment, from a process
    that froze in between. Consumers of state topics apply higher versions only and do not care;
    compaction would keep the older record only after the topic's `min.compaction.lag.ms` of 30
    days without another change of the key. Re-publishing recently changed keys would have to
    remember them; we do not pay for that on every message.
    """

    def __init__(self, dsn: str, kafka: str, shard: int) -> None:
        self._dsn = dsn
        self._kafka = kafka
        self._shard = shard
        self._producer: AIOKafkaProducer | None = None
        self._killing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Relay until cancelled; faults of Kafka or PostgreSQL pause it, never end it."""
        while True:
            try:
                await self._hold_and_relay()
            except Exception as error:
                # A relay that ended on an unforeseen error would stop a service silently.
                log = logger.warning if is_transient(error) else logger.error
                log("relay.paused", shard=self._shard, error=repr(error))
                await asyncio.sleep(ERROR_PAUSE_SECONDS)

    async def _hold_and_relay(self) -> None:
        conn: asyncpg.Connection[Any] = await asyncpg.connect(
            self._dsn, timeout=COMMAND_TIMEOUT_SECONDS, command_timeout=COMMAND_TIMEOUT_SECONDS
        )
        conn.add_termination_listener(self._lose_lock)
        try:
            while not await self._take_lock(conn):  # noqa: ASYNC110, another process holds it
                await asyncio.sleep(STANDBY_POLL_SECONDS)
            pause = IDLE_POLL_SECONDS
            while True:
                if await self.relay_once(conn):
                    pause = IDLE_POLL_SECONDS
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, IDLE_POLL_MOST_SECONDS)
        finally:
            # First the producer, then the lock: the next holder must be the only one who sends.
            await self._kill_producer()
            with suppress(Exception):
                await conn.close(timeout=2)

    async def _take_lock(self, conn: asyncpg.Connection[Any]) -> bool:
        taken: bool = await conn.fetchval(
            "SELECT pg_try_advisory_lock(hashtext(current_schema() || '.outbox'), $1)", self._shard
        )
        return taken

    def _lose_lock(self, _conn: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._kill_producer())
        self._killing.add(task)
        task.add_done_callback(self._killing.discard)

    async def relay_once(self, conn: asyncpg.Connection[Any]) -> int:
        """Publish the next rows and delete what Kafka acknowledged; how many that were.

        Raises:
            KafkaError, TimeoutError: not everything was acknowledged; what may be deleted is.
        """
        rows = await conn.fetch(
            """
            SELECT id, topic, key, headers, value FROM (
                SELECT *, sum(octet_length(headers) + coalesce(octet_length(value), 0))
                              OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS bytes
                FROM (SELECT * FROM outbox WHERE shard = $1 ORDER BY id LIMIT $2) AS next
            ) AS measured
            WHERE bytes <= $3 OR id = (SELECT min(id) FROM outbox WHERE shard = $1)
            ORDER BY id
            """,
            self._shard,
            RELAY_BATCH_ROWS,
            RELAY_BATCH_BYTES,
        )
        if not rows:
            return 0
        acknowledged, failure = await self._publish(rows)
        if acknowledged:
            await conn.execute(
                "DELETE FROM outbox WHERE shard = $1 AND id = ANY($2::bigint[])",
                self._shard,
                acknowledged,
            )
        if failure is not None:
            raise failure
        return len(acknowledged)

    async def _publish(self, rows: Sequence[Any]) -> tuple[list[int], BaseException | None]:
        """Send rows in order; per key, only what precedes the first failure counts as sent."""
        producer = await self._open_producer()
        futures: list[asyncio.Future[object]] = []
        failure: BaseException | None = None
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                for row in rows:
                    futures.append(
                        await producer.send(
                            row["topic"],
                            value=row["value"],
                            key=row["key"].encode(),
                            headers=_kafka_headers(row["headers"]),
                        )
                    )
        except Exception as error:
            failure = error
        if futures:
            # An idempotent producer retries for ever while Kafka is away.
            await asyncio.wait(futures, timeout=SEND_TIMEOUT_SECONDS)
        acknowledged: list[int] = []
        broken: set[tuple[str, str]] = set()
        for row, future in zip(rows, futures, strict=False):
            key = (row["topic"], row["key"])
            why = _why_not_sent(future)
            if why is not None:
                broken.add(key)
                failure = failure or why
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
                max_request_size=TOPIC_MAX_BYTES,
                linger_ms=2,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _kill_producer(self) -> None:
        """End the producer without sending what it still holds.

        Its own `stop` would send that first, behind what failed and, if it takes longer than we
        wait, behind what the next producer sends.
        """
        producer, self._producer = self._producer, None
        if producer is None:
            return
        with suppress(Exception):
            async with asyncio.timeout(ABANDON_SECONDS):
                await producer._sender.close()
        with suppress(Exception):
            producer._message_accumulator.fail_all(ProducerClosed())
            async with asyncio.timeout(ABANDON_SECONDS):
                await producer.stop()


def _why_not_sent(future: asyncio.Future[object]) -> BaseException | None:
    if not future.done():
        return TimeoutError("Kafka did not acknowledge in time")
    if future.cancelled():
        return TimeoutError("the producer gave the message up")
    return future.exception()


def _kafka_headers(stored: bytes) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in orjson.loads(stored).items()]


async def run_relay(dsn: str, kafka: str) -> None:
    """Relay every shard of one service's schema until cancelled."""
    async with asyncio.TaskGroup() as group:
        for shard in range(SHARDS):
            group.create_task(Relay(dsn, kafka, shard).run())
