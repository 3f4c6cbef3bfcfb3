"""Where logs end, asked of the brokers at this moment."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

ANSWER_MS = 10_000
"""How long a broker may take, and a topic may be unknown, before there is no answer."""


async def log_ends(bootstrap: str, topic: str) -> dict[int, int]:
    """The offset after the last record, by partition.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer, or have no such topic.
    """
    # Only a consumer that was given the topic knows its partitions.
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        request_timeout_ms=ANSWER_MS,
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        return {tp.partition: end for tp, end in ends.items()}
    finally:
        await consumer.stop()


class LogEnds:
    """Where logs end for readers of what is committed, asked beside their consumer.

    Kafka answers a connection in order: on the consumer's own, a fetch that waits for records would
    hold the answer up.
    """

    def __init__(self, bootstrap: str, *, metadata_max_age_ms: int) -> None:
        self._bootstrap = bootstrap
        self._metadata_max_age_ms = metadata_max_age_ms
        self._asker: AIOKafkaConsumer | None = None
        self._connecting = asyncio.Lock()

    async def of(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset after the last record of each.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not answer; a partition that they do not
                know is waited for.
        """
        if not partitions:
            return {}
        async with self._connecting:
            if self._asker is None:
                self._asker = await self._connected()
        ends: dict[TopicPartition, int] = await self._asker.end_offsets(partitions)
        return ends

    async def stop(self) -> None:
        """Close the connection, if one was opened."""
        async with self._connecting:
            if self._asker is not None:
                await self._asker.stop()
                self._asker = None

    async def _connected(self) -> AIOKafkaConsumer:
        asker = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            isolation_level="read_committed",
            metadata_max_age_ms=self._metadata_max_age_ms,
        )
        try:
            await asker.start()
        except BaseException:
            await asker.stop()
            raise
        return asker
