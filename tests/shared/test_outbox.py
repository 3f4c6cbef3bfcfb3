"""What a transaction said leaves at least once, in order per key, whatever fails on the way."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerClosed

from deploy.embedded.kafka import EmbeddedKafka
from shared.outbox import (
    MAX_MESSAGE_BYTES,
    SHARDS,
    MessageTooLarge,
    OutboxMessage,
    Relay,
    depth,
    enqueue,
    run_relay,
    shard_of,
)
from shared.postgres import in_transaction
from tests.servers import JARS, TopicMaker, session_folder
from tests.shared.worlds import SERVICE, World, eventually


def message(topic: str, key: str, number: int) -> OutboxMessage:
    return OutboxMessage(topic, key, {"ce_type": "x"}, str(number).encode())


async def put(world: World, messages: Iterable[OutboxMessage], *, held: bool = True) -> None:
    batch = list(messages)
    await in_transaction(world.pool, lambda conn: enqueue(conn, batch, held=held))


async def waiting(world: World) -> int:
    async with world.pool.acquire() as conn:
        return await depth(conn)


async def until_empty(world: World) -> None:
    async def empty() -> bool:
        return await waiting(world) == 0

    await eventually(empty)


async def published(kafka: str, topic: str) -> dict[str, list[int]]:
    """Numbers by key, in the order of the topic."""
    found: dict[str, list[int]] = defaultdict(list)
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka) as consumer:
        tps = [TopicPartition(topic, each) for each in consumer.partitions_for_topic(topic)]
        for tp in tps:
            consumer.seek(tp, 0)
        ends = await consumer.end_offsets(tps)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    found[record.key.decode()].append(int(record.value.lstrip(b"0") or b"0"))
    return found


def firsts(numbers: list[int]) -> list[int]:
    """As a consumer sees them that ignores what it has seen."""
    return list(dict.fromkeys(numbers))


@asynccontextmanager
async def relaying(dsn: str, kafka: str) -> AsyncIterator[None]:
    task = asyncio.create_task(run_relay(dsn, kafka))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_messages_leave_in_order_per_key(world: World, fresh_database: Any) -> None:
    keys = [f"key-{number}" for number in range(20)]
    for start in range(0, 100, 10):
        await put(
            world,
            [message(world.topic, key, n) for n in range(start, start + 10) for key in keys],
        )
    async with relaying(fresh_database[SERVICE], world.kafka):
        await until_empty(world)
    assert await published(world.kafka, world.topic) == {key: list(range(100)) for key in keys}


async def test_sends_that_fail_at_random_break_no_keys_order(
    world: World, fresh_database: Any
) -> None:
    """Only what precedes a key's first failure is deleted; the rest is sent again, in order."""
    keys = [f"key-{number}" for number in range(5)]
    await put(world, [message(world.topic, key, n) for n in range(60) for key in keys])
    luck = random.Random(7)
    send = AIOKafkaProducer.send

    async def unlucky(producer: AIOKafkaProducer, *args: Any, **kwargs: Any) -> Any:
        future = await send(producer, *args, **kwargs)
        if luck.random() > 0.02:
            return future
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(ConnectionResetError("the acknowledgement was lost"))
        return failed

    with (
        patch.object(AIOKafkaProducer, "send", unlucky),
        patch("shared.outbox.ERROR_PAUSE_SECONDS", 0.01),
        patch("shared.outbox.RELAY_BATCH_ROWS", 40),
    ):
        async with relaying(fresh_database[SERVICE], world.kafka):
            await until_empty(world)
    found = await published(world.kafka, world.topic)
    assert {key: firsts(numbers) for key, numbers in found.items()} == {
        key: list(range(60)) for key in keys
    }
    assert any(len(numbers) > 60 for numbers in found.values())


async def test_after_a_failure_only_the_prefix_of_that_key_is_deleted(
    world: World, fresh_database: Any
) -> None:
    bad = "bad"
    good = next(k for k in (f"k{n}" for n in range(99)) if shard_of(world.topic, k) == shard(world))
    await put(world, [message(world.topic, key, n) for n in range(4) for key in (bad, good)])
    send = AIOKafkaProducer.send

    async def fail_second(producer: AIOKafkaProducer, *args: Any, **kwargs: Any) -> Any:
        future = await send(producer, *args, **kwargs)
        if kwargs["key"] != b"bad" or kwargs["value"] != b"1":
            return future
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(ConnectionResetError("lost"))
        return failed

    relay = Relay(fresh_database[SERVICE], world.kafka, shard(world))
    conn = await asyncpg.connect(fresh_database[SERVICE])
    with patch.object(AIOKafkaProducer, "send", fail_second), pytest.raises(ConnectionResetError):
        await relay.relay_once(conn)
    left = await conn.fetch("SELECT key, value FROM outbox ORDER BY id")
    assert [(row["key"], int(row["value"])) for row in left] == [("bad", 1), ("bad", 2), ("bad", 3)]
    await relay._kill_producer()
    await conn.close()


def shard(world: World) -> int:
    return shard_of(world.topic, "bad")


async def test_what_was_published_and_not_deleted_is_published_again_in_order(
    world: World, fresh_database: Any
) -> None:
    await put(world, [message(world.topic, "k", n) for n in range(10)])
    relay = Relay(fresh_database[SERVICE], world.kafka, shard_of(world.topic, "k"))
    conn = await asyncpg.connect(fresh_database[SERVICE])
    rows = await conn.fetch("SELECT * FROM outbox ORDER BY id")
    acknowledged, failure = await relay._publish(rows)
    assert (len(acknowledged), failure) == (10, None)
    await relay._kill_producer()
    await conn.close()
    async with relaying(fresh_database[SERVICE], world.kafka):
        await until_empty(world)
    assert await published(world.kafka, world.topic) == {"k": [*range(10), *range(10)]}


async def test_a_killed_producer_sends_nothing_more(world: World, fresh_database: Any) -> None:
    await put(world, [message(world.topic, "k", n) for n in range(10)])
    relay = Relay(fresh_database[SERVICE], world.kafka, shard_of(world.topic, "k"))
    producer = await relay._open_producer()
    for number in range(10):
        await producer.send(world.topic, str(number).encode(), key=b"k")
    before = asyncio.all_tasks()
    await relay._kill_producer()
    sent = sum(map(len, (await published(world.kafka, world.topic)).values()))
    await asyncio.sleep(0.5)
    assert sum(map(len, (await published(world.kafka, world.topic)).values())) == sent
    assert not asyncio.all_tasks() - before
    with pytest.raises(ProducerClosed):
        await producer.send_and_wait(world.topic, b"1")


async def test_one_relay_publishes_a_shard_and_another_takes_over_when_it_dies(
    world: World, fresh_database: Any
) -> None:
    dsn = fresh_database[SERVICE]
    first = asyncio.create_task(run_relay(dsn, world.kafka))
    await put(world, [message(world.topic, "k", 0)])
    await until_empty(world)
    async with relaying(dsn, world.kafka):
        for number in range(1, 50):
            await put(world, [message(world.topic, "k", number)])
        await until_empty(world)
        holders = await world.pool.fetch(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert len(holders) == SHARDS
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        for number in range(50, 100):
            await put(world, [message(world.topic, "k", number)])
        await until_empty(world)
    assert await published(world.kafka, world.topic) == {"k": list(range(100))}


async def test_relays_whose_connections_are_cut_lose_and_reorder_nothing(
    world: World, fresh_database: Any
) -> None:
    dsn = fresh_database[SERVICE]
    admin = await asyncpg.connect(fresh_database["admin"])
    keys = [f"key-{number}" for number in range(8)]
    async with relaying(dsn, world.kafka), relaying(dsn, world.kafka):
        for start in range(0, 200, 20):
            await put(
                world,
                [message(world.topic, k, n) for n in range(start, start + 20) for k in keys],
            )
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        await until_empty(world)
    await admin.close()
    found = await published(world.kafka, world.topic)
    assert {key: firsts(numbers) for key, numbers in found.items()} == {
        key: list(range(200)) for key in keys
    }


@pytest.mark.slow
async def test_a_relay_outlives_kafka(world: World, fresh_database: Any) -> None:
    with session_folder() as folder:
        kafka = EmbeddedKafka(Path(folder) / "kafka", JARS)
        await asyncio.to_thread(kafka.start)
        try:
            topic = await TopicMaker(kafka.bootstrap)(2)
            with patch("shared.outbox.SEND_TIMEOUT_SECONDS", 1):
                async with relaying(fresh_database[SERVICE], kafka.bootstrap):
                    await put(world, [message(topic, "k", n) for n in range(50)])
                    await until_empty(world)
                    await asyncio.to_thread(kafka.stop)
                    await put(world, [message(topic, "k", n) for n in range(50, 100)])
                    await asyncio.sleep(3)
                    assert await waiting(world) == 50
                    await asyncio.to_thread(kafka.start)
                    await put(world, [message(topic, "k", n) for n in range(100, 150)])
                    await until_empty(world)
            found = await published(kafka.bootstrap, topic)
        finally:
            await asyncio.to_thread(kafka.stop)
    assert firsts(found["k"]) == list(range(150))


async def test_a_message_too_large_for_its_topic_fails_its_own_transaction(world: World) -> None:
    large = b"x" * (MAX_MESSAGE_BYTES + 1)
    many = {f"name-{n}": "v" * 100 for n in range(30_000)}
    for each in (
        OutboxMessage(world.topic, "k", {}, large),
        OutboxMessage(world.topic, "k" * len(large), {}, None),
        OutboxMessage(world.topic, "k", many, None),
    ):
        with pytest.raises(MessageTooLarge):
            await put(world, [message(world.topic, "k", 1), each])
    assert await waiting(world) == 0


async def test_the_largest_message_there_may_be_passes(world: World, fresh_database: Any) -> None:
    world.topic = await world.make_topic(1, {"max.message.bytes": str(2**21)})
    room = MAX_MESSAGE_BYTES - 100
    for value, key in ((b"1".zfill(room), "k"), (None, "k" * room)):
        await put(world, [OutboxMessage(world.topic, key, {}, value)])
    headers = {f"h{n}": "v" for n in range(150_000)}
    await put(world, [OutboxMessage(world.topic, "k", headers, b"2")])
    async with relaying(fresh_database[SERVICE], world.kafka):
        await until_empty(world)


async def test_many_large_messages_are_read_a_few_at_a_time(
    world: World, fresh_database: Any
) -> None:
    world.topic = await world.make_topic(1, {"max.message.bytes": str(2**21)})
    await put(
        world,
        [OutboxMessage(world.topic, "k", {}, str(n).encode().zfill(1_000_000)) for n in range(20)],
    )
    relay = Relay(fresh_database[SERVICE], world.kafka, shard_of(world.topic, "k"))
    conn = await asyncpg.connect(fresh_database[SERVICE])
    assert await relay.relay_once(conn) == 8
    assert await relay.relay_once(conn) == 8
    assert await relay.relay_once(conn) == 4
    await relay._kill_producer()
    await conn.close()
    assert (await published(world.kafka, world.topic))["k"] == list(range(20))


async def test_keys_that_nobody_holds_are_locked_until_their_transaction_ends(
    world: World,
) -> None:
    """Otherwise a later id could become visible before an earlier one of the same key."""
    async with world.pool.acquire() as one, world.pool.acquire() as other:
        first = one.transaction()
        await first.start()
        await enqueue(one, [message(world.topic, "k", 1)])

        async def second() -> None:
            async with other.transaction():
                await enqueue(other, [message(world.topic, "k", 2)])

        later = asyncio.create_task(second())
        await put(world, [message(world.topic, "elsewhere", 3)], held=False)
        await asyncio.sleep(0.2)
        assert not later.done()
        await first.commit()
        await later
    rows = await world.pool.fetch("SELECT value FROM outbox WHERE key = 'k' ORDER BY id")
    assert [int(row["value"]) for row in rows] == [1, 2]


def test_a_key_has_the_same_shard_in_every_process() -> None:
    assert [shard_of("topic", f"key-{n}") for n in range(8)] == [1, 0, 1, 0, 3, 0, 0, 3]
    assert {shard_of("topic", f"key-{n}") for n in range(100)} == set(range(SHARDS))
