"""What is told to FastStream and aiokafka, so that neither decides anything about offsets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import ConsumerStoppedError
from faststream.kafka.message import KafkaMessage

READ_WAIT_MS = 200
EMPTY_READ_PAUSE_MS = 1
"""FastStream pauses for as long as it tells a read to wait whenever that found nothing. A record
would wait for the end of the pause, so the reader waits by itself, for `READ_WAIT_MS`."""


class Owner(Protocol):
    """Who consumes, and has to know what FastStream does not tell."""

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Kafka gave these partitions."""
        ...

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Kafka took these partitions."""
        ...

    def next_probe(self) -> TopicPartition | None:
        """The one partition to read next, record by record, or None to read them all."""
        ...

    def records_in_hand(self) -> None:
        """Records left aiokafka and are on their way to the handler."""
        ...

    async def reading_failed(self, probed: TopicPartition | None, error: Exception) -> None:
        """A read raised: records of other partitions that it had already taken are lost."""
        ...


class Reader(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer, whose failed reads are noticed.

    A read that raises, over a header name that is not UTF-8 or a broken checksum, drops what it
    had already taken from other partitions, and their positions have moved past it: a hole that
    looks natural. FastStream would only try again.
    """

    def __init__(self, owner: Owner, **options: Any) -> None:
        super().__init__(**options)
        self._owner = owner

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """Records by partition; none after a failure, which the owner has been told."""
        probe = self._owner.next_probe()
        if probe is not None:
            partitions, max_records = (probe,), 1
        try:
            found: dict[TopicPartition, list[ConsumerRecord[Any, Any]]] = await super().getmany(
                *partitions, timeout_ms=max(timeout_ms, READ_WAIT_MS), max_records=max_records
            )
        except ConsumerStoppedError:
            raise
        except Exception as error:
            await self._owner.reading_failed(probe, error)
            return {}
        if found:
            self._owner.records_in_hand()
        return found


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the owner of rebalances; aiokafka only logs what a listener raises."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Before a rebalance."""
        self._owner.revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """After a rebalance."""
        self._owner.assigned(assigned)


async def keep_raw(records: Any) -> KafkaMessage:
    """FastStream's parser: nothing is decoded, so nothing can be dropped for not decoding."""
    return KafkaMessage(body=records, raw_message=records, consumer=_NO_CONSUMER)


async def keep_body(message: Any) -> Any:
    """FastStream's decoder: the records themselves."""
    return message.body


class _NoConsumer:
    """Offsets are committed from what was applied, never through FastStream's message."""

    async def commit(self) -> None:
        raise AssertionError("not used")

    def seek(self, partition: TopicPartition, offset: int) -> None:
        raise AssertionError("not used")


_NO_CONSUMER = _NoConsumer()
