"""A topic, a table and a handler that only writes down what it was given."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from shared.errors import Rejected
from shared.kafka import Batch, BatchConsumer, Gap, Item, Record
from shared.postgres import Connection, create_pool
from tests.servers import TopicMaker

R = TypeVar("R")
PATIENCE_SECONDS = 60.0
SERVICE = "provisioning"
"""Whose schema the tables of these tests are made in."""

TABLES = """
CREATE TABLE seen (
    seen_at bigint GENERATED ALWAYS AS IDENTITY,
    topic text, partition integer, "offset" bigint, number integer
);
CREATE TABLE gap (topic text, partition integer, first bigint, last bigint);
"""


async def eventually(ask: Callable[[], Awaitable[R]], seconds: float = PATIENCE_SECONDS) -> R:
    """The first truthy answer."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        if answer := await ask():
            return answer
        assert asyncio.get_running_loop().time() < deadline, "it never came true"
        await asyncio.sleep(0.05)


class Notes:
    """A handler that inserts one row per record, duplicates and all, and obeys its records.

    A record `{"number": n, "do": …}` may be refused while it is read or applied, raise, or raise
    only the first time.
    """

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.pause_seconds = 0.0
        self.fail_transiently = 0
        self.transient_error: Exception = ConnectionResetError("the network blinked")
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    def parse(self, record: Record) -> dict[str, Any]:
        try:
            body: dict[str, Any] = json.loads(record.value or b"")
        except ValueError as error:
            raise Rejected("not_json", "It is not JSON.") from error
        if body.get("do") == "raise_reading":
            raise ZeroDivisionError
        return body

    async def apply(self, conn: Connection, batch: Batch[dict[str, Any]]) -> None:
        self.entered.set()
        await self.gate.wait()
        await asyncio.sleep(self.pause_seconds)
        self.batches.append(len(batch.items))
        if self.fail_transiently:
            self.fail_transiently -= 1
            raise self.transient_error
        kept: list[Item[dict[str, Any]]] = []
        for item in batch.items:
            match item.parsed.get("do"):
                case "reject":
                    batch.reject(item, Rejected("refused_by_rule", "It breaks a rule."))
                case "raise":
                    raise ZeroDivisionError
                case "raise_rejected":
                    raise Rejected("named", "Raised, not handed back.")
                case "huge_number":
                    await conn.execute("SELECT $1::bigint", 2**70)
                case _:
                    kept.append(item)
        await conn.executemany(
            'INSERT INTO seen (topic, partition, "offset", number) VALUES ($1, $2, $3, $4)',
            [
                (i.record.topic, i.record.partition, i.record.offset, i.parsed["number"])
                for i in kept
            ],
        )
        await conn.executemany(
            "INSERT INTO gap VALUES ($1, $2, $3, $4)",
            [(g.topic, g.partition, g.first, g.last) for g in batch.gaps],
        )


@dataclass
class World:
    """One topic of this test's own, consumed into one database of this test's own."""

    kafka: str
    pool: "asyncpg.Pool[Any]"
    make_topic: TopicMaker
    topic: str = ""
    group: str = field(default_factory=lambda: f"test-{uuid4().hex[:8]}")
    handler: Notes = field(default_factory=Notes)

    def consumer(self, **options: Any) -> BatchConsumer[dict[str, Any]]:
        options = {"handler": self.handler, "topics": [self.topic], **options}
        return BatchConsumer(
            bootstrap=self.kafka, group=self.group, pool=self.pool, service=SERVICE, **options
        )

    @asynccontextmanager
    async def consuming(self, **options: Any) -> AsyncIterator[BatchConsumer[dict[str, Any]]]:
        consumer = self.consumer(**options)
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def send(
        self,
        numbers: Iterable[int],
        *,
        partition: int = 0,
        do: str | None = None,
        topic: str | None = None,
    ) -> None:
        bodies = [json.dumps({"number": number, "do": do}).encode() for number in numbers]
        await self.send_raw(bodies, partition=partition, topic=topic)

    async def send_raw(
        self,
        values: Sequence[bytes | None],
        *,
        partition: int = 0,
        key: bytes | None = b"key",
        headers: Sequence[tuple[str, bytes]] = (),
        topic: str | None = None,
    ) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self.kafka, acks="all", max_request_size=2**21, linger_ms=5
        ) as producer:
            sent = [
                await producer.send(
                    topic or self.topic, value, key, partition=partition, headers=list(headers)
                )
                for value in values
            ]
            await asyncio.gather(*sent)

    async def send_in_transactions(self, *groups: Iterable[int], abort: Iterable[int] = ()) -> None:
        """Each group in a transaction of its own; those at the indexes `abort` are aborted."""
        async with AIOKafkaProducer(
            bootstrap_servers=self.kafka, transactional_id=uuid4().hex
        ) as producer:
            for index, numbers in enumerate(groups):
                await producer.begin_transaction()
                for number in numbers:
                    body = json.dumps({"number": number}).encode()
                    await producer.send_and_wait(self.topic, body, b"key", partition=0)
                if index in set(abort):
                    await producer.abort_transaction()
                else:
                    await producer.commit_transaction()

    async def seen(self, partition: int | None = None) -> list[int]:
        """Numbers in the order in which they were applied."""
        rows = await self.pool.fetch(
            "SELECT number FROM seen WHERE $1::integer IS NULL OR partition = $1 ORDER BY seen_at",
            partition,
        )
        return [row["number"] for row in rows]

    async def gaps(self) -> list[tuple[int, int]]:
        rows = await self.pool.fetch("SELECT first, last FROM gap ORDER BY partition, first")
        return [(row["first"], row["last"]) for row in rows]

    async def until_seen(self, count: int, partition: int | None = None) -> list[int]:
        async def enough() -> list[int]:
            seen = await self.seen(partition)
            return seen if len(seen) >= count else []

        return await eventually(enough)

    async def stored(self, partition: int = 0) -> int | None:
        """The stored offset."""
        offset: int | None = await self.pool.fetchval(
            "SELECT next_offset FROM source_offset"
            " WHERE consumer_group = $1 AND topic = $2 AND partition = $3",
            self.group,
            self.topic,
            partition,
        )
        return offset

    async def until_stored(self, offset: int, partition: int = 0) -> None:
        async def reached() -> bool:
            return await self.stored(partition) == offset

        await eventually(reached)

    async def until_refused(self, consumer: BatchConsumer[Any]) -> Any:
        rows = await eventually(consumer.refusals)
        assert len(rows) == 1
        return rows[0]

    async def pause(self, consumer: BatchConsumer[Any]) -> TopicPartition:
        """Let the consumer fetch nothing of the topic's partition 0 that is sent from now on."""
        tp = TopicPartition(self.topic, 0)
        consumer._consumer.pause(tp)
        # Kafka answers a connection in order: a fetch that was under way has been answered, too.
        await consumer._consumer.end_offsets([tp])
        return tp

    async def dead_letters(self) -> list[tuple[dict[str, str], bytes]]:
        rows = await self.pool.fetch(
            "SELECT headers, value FROM outbox WHERE topic = 'portalkeeper.dead-letters.v1'"
            " ORDER BY id"
        )
        return [(json.loads(row["headers"]), row["value"]) for row in rows]

    async def commit_in_kafka(self, offset: int) -> None:
        """Set the group's committed offset, as a stranger would."""
        tp = TopicPartition(self.topic, 0)
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka, group_id=self.group, enable_auto_commit=False
        ) as raw:
            raw.assign([tp])
            await raw.commit({tp: offset})

    async def committed_in_kafka(self) -> int | None:
        tp = TopicPartition(self.topic, 0)
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka, group_id=self.group, enable_auto_commit=False
        ) as raw:
            raw.assign([tp])
            offset: int | None = await raw.committed(tp)
            return offset

    async def delete_records(self, before: int, partition: int = 0) -> None:
        async with self.admin() as admin:
            await admin.delete_records(
                {TopicPartition(self.topic, partition): RecordsToDelete(before)}
            )

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def open_world(kafka: str, dsn: str, make_topic: TopicMaker) -> AsyncIterator[World]:
    """A topic with two partitions, and a database with tables for what is seen of it."""
    pool = await create_pool(dsn)
    try:
        await pool.execute(TABLES)
        yield World(kafka, pool, make_topic, await make_topic(2))
    finally:
        await pool.close()


async def no_fact(_conn: Connection, _gap: Gap, _reason: str) -> None:
    """For gaps whose acceptance nobody has to hear of."""
