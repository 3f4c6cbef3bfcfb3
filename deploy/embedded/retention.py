"""Facts in an embedded Kafka: kept for thirty days, and until everybody has read them.

The machine of an embedded run may be off for longer than that. Kafka would then delete by time what
nobody has read, so here it deletes no facts by itself; this does, and looks at who has read what.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from shared.contracts.topics import AUDITED_TOPICS, FACT_RETENTION_DAYS, Topic

FACTS = tuple(topic for topic in AUDITED_TOPICS if topic.config["cleanup.policy"] == "delete")


async def stop_deleting_by_time(bootstrap: str, topics: Iterable[Topic] = FACTS) -> None:
    """Have Kafka delete nothing of `topics` by itself.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer, or refuses.
    """
    for_ever = [
        ConfigResource(ConfigResourceType.TOPIC, topic.name, topic.config | {"retention.ms": "-1"})
        for topic in topics
    ]
    async with _admin(bootstrap) as admin:
        for answer in await admin.alter_configs(for_ever):
            for code, *_ in answer.resources:
                if code:
                    raise for_code(code)


async def delete_what_was_read(
    bootstrap: str, admin_dsn: str, now: datetime, topics: Iterable[Topic] = FACTS
) -> dict[TopicPartition, int]:
    """Delete what is older than thirty days and passed by every group; where those logs now start.

    A group counts whether it runs or not: a service by what it stored in its database, which may be
    behind what it told Kafka, and anybody else by what they committed. A partition is left alone
    while a group that reads its topic has no position there, or no group reads its topic.

    Raises:
        aiokafka.errors.KafkaError, asyncpg.PostgresError, OSError: a server does not answer.
    """
    old = int((now - timedelta(days=FACT_RETENTION_DAYS)).timestamp() * 1000)
    names = [topic.name for topic in topics]
    async with (
        _admin(bootstrap) as admin,
        AIOKafkaConsumer(*names, bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer,
    ):
        partitions = consumer.assignment()
        passed = await _passed_by_all(admin, admin_dsn)
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        younger = await consumer.offsets_for_times(dict.fromkeys(partitions, old))
        before = {}
        for tp in partitions:
            first_young = ends[tp] if (found := younger[tp]) is None else found.offset
            if (offset := min(first_young, passed[tp])) > starts[tp]:
                before[tp] = RecordsToDelete(offset)
        return await admin.delete_records(before) if before else {}


async def _passed_by_all(admin: AIOKafkaAdminClient, dsn: str) -> dict[TopicPartition, int]:
    """The offset below which every group that reads the topic has passed; 0 where one has not."""
    readers: dict[str, set[str]] = defaultdict(set)
    positions: dict[TopicPartition, dict[str, int]] = defaultdict(dict)
    for group, tp, offset in [*await _stored(dsn), *await _committed(admin)]:
        readers[tp.topic].add(group)
        positions[tp][group] = min(offset, positions[tp].get(group, offset))
    return defaultdict(
        int,
        {tp: min(of.values()) for tp, of in positions.items() if of.keys() == readers[tp.topic]},
    )


async def _stored(dsn: str) -> list[tuple[str, TopicPartition, int]]:
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.source_offset', schemaname) AS name FROM pg_tables"
            " WHERE tablename = 'source_offset'"
        )
        return [
            (
                row["consumer_group"],
                TopicPartition(row["topic"], row["partition"]),
                row["next_offset"],
            )
            for table in tables
            for row in await connection.fetch(
                f"SELECT consumer_group, topic, partition, next_offset FROM {table['name']}"
            )
        ]
    finally:
        await connection.close()


async def _committed(admin: AIOKafkaAdminClient) -> list[tuple[str, TopicPartition, int]]:
    return [
        (group, tp, committed.offset)
        for group, _ in await admin.list_consumer_groups()
        for tp, committed in (await admin.list_consumer_group_offsets(group)).items()
    ]


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
