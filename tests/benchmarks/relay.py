"""The outbox relay against plain send and gather of the same bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import asyncpg
from aiokafka import AIOKafkaProducer

from shared.outbox import SHARDS, OutboxMessage, Relay, enqueue
from tests.benchmarks.provisioning import until
from tests.benchmarks.workload import Message

PRODUCER_BATCH_BYTES = 256 * 1024


async def run_relay_once(
    kafka: str, dsns: Mapping[str, str], topic: str, messages: list[Message]
) -> float:
    """Messages a second from committed outbox rows to acknowledged and deleted."""
    conn = await asyncpg.connect(dsns["provisioning"])
    await conn.execute("TRUNCATE outbox")
    async with conn.transaction():
        await enqueue(
            conn,
            [
                OutboxMessage(
                    topic,
                    message.key.decode(),
                    {name: value.decode() for name, value in message.headers},
                    message.value,
                )
                for message in messages
            ],
            held=True,
        )
    relays = [Relay(dsns["provisioning"], kafka, shard) for shard in range(SHARDS)]
    began = time.perf_counter()
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:

        async def empty() -> bool:
            return not await conn.fetchval("SELECT EXISTS (SELECT 1 FROM outbox)")

        await until(empty, "the relay did not empty the outbox")
        return len(messages) / (time.perf_counter() - began)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await conn.close()


async def run_plain(kafka: str, topic: str, messages: list[Message]) -> float:
    """Messages a second with nothing but a producer: send all, gather all."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka,
        acks="all",
        enable_idempotence=True,
        max_batch_size=PRODUCER_BATCH_BYTES,
    )
    await producer.start()
    try:
        began = time.perf_counter()
        futures = [
            await producer.send(topic, message.value, key=message.key, headers=message.headers)
            for message in messages
        ]
        await asyncio.gather(*futures)
        return len(messages) / (time.perf_counter() - began)
    finally:
        await producer.stop()
