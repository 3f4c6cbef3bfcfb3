"""What travels through the consumer: records as Kafka gave them, chunks, batches, and gaps."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from aiokafka import ConsumerRecord, TopicPartition

from shared.errors import Rejected
from shared.postgres import Connection

Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"
"""A raw record as aiokafka delivers it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """One record with what `parse` made of it."""

    record: Record
    parsed: T


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that the log no longer holds or never gave to consumers, both ends included."""

    topic: str
    partition: int
    first: int
    last: int


@dataclass(slots=True)
class Batch(Generic[T]):
    """What one transaction applies. `items` of one partition are in offset order."""

    items: list[Item[T]]
    gaps: list[Gap]
    rejects: list[tuple[Any, Rejected]] = field(default_factory=list)

    def reject(self, item: Item[T], why: Rejected) -> None:
        """Dead-letter one record in this transaction; the others are applied."""
        self.rejects.append((item.record, why))


class Handler(Protocol[T]):
    """What a service does with records."""

    def parse(self, record: Record) -> T:
        """Read one record, purely.

        Raises:
            Rejected: the record is kept as a dead letter.
        """
        ...

    async def apply(self, conn: Connection, batch: Batch[T]) -> None:
        """Make the batch true in the caller's transaction, whose offset rows are locked."""
        ...


class UnknownError(Rejected):
    """An error that nobody foresaw; a partition has a budget of these per minute."""

    def __init__(self, detail: str) -> None:
        super().__init__("unknown_error", detail)


NOT_MATCHED = Rejected("not_matched", "passed over by the scanning lane")


class NotOurLog(Exception):
    """The partition is not, or no longer whole, the log that was read before."""

    def __init__(self, tp: TopicPartition, reason: str, detail: str) -> None:
        super().__init__(f"{tp.topic}/{tp.partition} {reason}: {detail}")
        self.tp = tp
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class Chunk(Generic[T]):
    """Records delivered together: the log holds no others from `follows` up to `until`."""

    follows: int
    until: int
    records: list[Any]
    parsed: list[T | Rejected]
    size_bytes: int = 0

    def unknown_errors(self) -> int:
        """How many of the records nobody foresaw."""
        return sum(type(verdict) is UnknownError for verdict in self.parsed)

    def halves(self) -> tuple[Chunk[T], Chunk[T]]:
        """The chunk as two, for finding the record that cannot be applied."""
        middle = len(self.records) // 2
        until = self.records[middle - 1].offset + 1
        return (
            Chunk(self.follows, until, self.records[:middle], self.parsed[:middle]),
            Chunk(until, self.until, self.records[middle:], self.parsed[middle:]),
        )

    def judged(self, verdict: Rejected) -> Chunk[T]:
        """The same records, all of them refused for one reason."""
        verdicts: list[T | Rejected] = [verdict] * len(self.records)
        return Chunk(self.follows, self.until, self.records, verdicts, self.size_bytes)


def joined(chunks: list[Chunk[T]]) -> Chunk[T]:
    """Chunks that follow each other, as one."""
    return Chunk(
        chunks[0].follows,
        chunks[-1].until,
        [record for chunk in chunks for record in chunk.records],
        [parsed for chunk in chunks for parsed in chunk.parsed],
        sum(chunk.size_bytes for chunk in chunks),
    )


@dataclass(slots=True)
class Partition(Generic[T]):
    """Where an assigned partition stands in this process."""

    expect: int | None = None
    """The position the next delivery follows; None until the stored offset has been sought."""
    epoch: int = 0
    """Raised by every seek: what was delivered under an older one is discarded."""
    queue: deque[Chunk[T]] = field(default_factory=deque)
    busy: bool = False
    refused: bool = False
    applied: int | None = None
    committed: int | None = None
    turn: int = 0
    scan_stored_at: float = 0.0
    unknown_errors: deque[float] = field(default_factory=deque)

    def forget_queued(self) -> None:
        """Take nothing more from this delivery on: a seek, a refusal."""
        self.epoch += 1
        self.expect = None
        self.queue.clear()


class Work(NamedTuple, Generic[T]):
    """Chunks of one partition, to be applied together."""

    tp: TopicPartition
    state: Partition[T]
    chunks: list[Chunk[T]]


def record_digest(record: Record) -> bytes:
    """SHA-256 that identifies a record's content, stored with the offset behind it."""
    digest = hashlib.sha256(len(record.key or b"").to_bytes(4, "big"))
    digest.update(record.key or b"")
    digest.update(record.value or b"")
    return digest.digest()
