"""Deleting old facts in an embedded run: never what somebody has not read."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.embedded.retention import FACTS, delete_what_was_read, stop_deleting_by_time
from shared.contracts.topics import Topic
from tests.servers import TopicMaker
from tests.shared.worlds import SERVICE, World, eventually, open_world

RECORDS = 10


@dataclass
class Installation:
    """A topic with ten records in each of two partitions, and the databases of its readers."""

    world: World
    dsn: str

    async def stored(self, schema: str, group: str, *offsets: int) -> None:
        """A service whose group stored these offsets, and does not run."""
        connection = await asyncpg.connect(self.dsn)
        await connection.executemany(
            f"INSERT INTO {schema}.source_offset (consumer_group, topic, partition, next_offset)"
            " VALUES ($1, $2, $3, $4)",
            [(group, self.world.topic, number, offset) for number, offset in enumerate(offsets)],
        )
        await connection.close()

    async def starts_after(self, days: int) -> list[int]:
        """Where the logs start once that many days have passed."""
        now = datetime.now(UTC) + timedelta(days=days)
        topic = Topic(self.world.topic, "key", 2)
        await delete_what_was_read(self.world.kafka, self.dsn, now, [topic])
        async with AIOKafkaConsumer(bootstrap_servers=self.world.kafka) as consumer:
            partitions = [TopicPartition(topic.name, number) for number in range(2)]
            starts = await consumer.beginning_offsets(partitions)
        return [starts[tp] for tp in partitions]


@pytest_asyncio.fixture(loop_scope="session")
async def installation(
    kafka: str, fresh_database: Mapping[str, str], make_topic: TopicMaker
) -> AsyncIterator[Installation]:
    async with open_world(kafka, fresh_database[SERVICE], make_topic) as world:
        for partition in range(2):
            await world.send(range(RECORDS), partition=partition)
        yield Installation(world, fresh_database["admin"])


async def test_what_is_old_and_read_by_every_service_is_deleted(
    installation: Installation,
) -> None:
    await installation.stored("provisioning", "provisioning", RECORDS, RECORDS)
    await installation.stored("audit_log", "audit-log", 4, RECORDS)
    assert await installation.starts_after(days=31) == [4, RECORDS]


async def test_what_is_younger_than_thirty_days_stays_whoever_has_read_it(
    installation: Installation,
) -> None:
    await installation.stored("audit_log", "audit-log", RECORDS, RECORDS)
    assert await installation.starts_after(days=29) == [0, 0]


async def test_what_a_stopped_subscriber_has_not_read_stays(installation: Installation) -> None:
    await installation.stored("audit_log", "audit-log", RECORDS, RECORDS)
    subscriber = AIOKafkaConsumer(
        bootstrap_servers=installation.world.kafka, group_id="siem", enable_auto_commit=False
    )
    await subscriber.start()
    subscriber.assign([TopicPartition(installation.world.topic, 0)])
    await subscriber.commit({TopicPartition(installation.world.topic, 0): 3})
    await subscriber.stop()
    assert await installation.starts_after(days=31) == [3, 0]


async def test_what_a_service_told_kafka_and_has_not_stored_stays(
    installation: Installation,
) -> None:
    world = installation.world
    await installation.stored("provisioning", world.group, 5, 5)
    await world.commit_in_kafka(RECORDS)
    assert await installation.starts_after(days=31) == [5, 5]


async def test_a_partition_that_one_of_its_readers_never_came_to_stays_whole(
    installation: Installation,
) -> None:
    await installation.stored("provisioning", "provisioning", RECORDS, RECORDS)
    await installation.stored("audit_log", "audit-log", RECORDS)
    assert await installation.starts_after(days=31) == [RECORDS, 0]


async def test_a_topic_that_nobody_reads_stays_whole(installation: Installation) -> None:
    assert await installation.starts_after(days=31) == [0, 0]


async def test_a_service_reads_on_after_what_it_had_read_was_deleted(
    installation: Installation,
) -> None:
    world = installation.world
    async with world.consuming():
        await world.until_seen(2 * RECORDS)
    assert await installation.starts_after(days=31) == [RECORDS, RECORDS]
    await world.send(range(RECORDS, RECORDS + 5))
    async with world.consuming() as consumer:
        await world.until_seen(2 * RECORDS + 5)
        assert await consumer.refusals() == []
    assert await world.seen(0) == list(range(RECORDS + 5))
    assert await world.gaps() == []


async def test_kafka_deletes_no_facts_by_time(prepared_kafka: str) -> None:
    await stop_deleting_by_time(prepared_kafka)
    for topic in FACTS:
        wanted = topic.config | {"retention.ms": "-1"}
        await eventually(partial(has_configuration, prepared_kafka, topic.name, wanted))


async def has_configuration(kafka: str, topic: str, wanted: dict[str, str]) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (answer,) = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(wanted))]
        )
    finally:
        await admin.close()
    ((*_, entries),) = answer.resources
    return {name: value for name, value, *_ in entries} == wanted
