"""A scripted log in Kafka's place, read by the real consumer from assignment to stored offset.

The log has partitions, offsets with natural holes and timestamps, and keeps everything. What the
client library would do (polling, positions, seeking) is played here; accepting a delivery, parsing,
applying, setting aside and storing offsets are the product's own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Generic, TypeVar, cast

import asyncpg
from aiokafka import TopicPartition

from shared.kafka import BatchConsumer, Handler
from shared.kafka import Record as KafkaRecord
from shared.kafka.records import Chunk, Work
from tests.provisioning.desk import RawRecord
from tests.simulation.stories import Letter, Said

T = TypeVar("T")

PARTITIONS = 2


@dataclass(slots=True)
class Log:
    """One topic. `said` remembers what the readable records say."""

    topic: str
    records: dict[int, list[RawRecord]] = field(
        default_factory=lambda: {partition: [] for partition in range(PARTITIONS)}
    )
    ends: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    said: list[Said] = field(default_factory=list)
    unreadable: set[tuple[int, int]] = field(default_factory=set)

    def append(self, random: Random, letter: Letter) -> None:
        """One more record, sometimes after offsets that no consumer ever sees."""
        partition = zlib.crc32(letter.key) % PARTITIONS
        if random.random() < 0.1:
            self.ends[partition] += random.randint(1, 3)
        offset = self.ends[partition]
        self.ends[partition] = offset + 1
        self.records[partition].append(
            RawRecord(
                self.topic,
                partition,
                offset,
                1_700_000_000_000 + offset,
                letter.key,
                letter.value,
                letter.headers,
            )
        )
        if letter.said is not None:
            self.said.append(letter.said)
        else:
            self.unreadable.add((partition, offset))

    def read(self, partition: int, position: int, count: int) -> list[RawRecord]:
        """Records from a position on."""
        found = [record for record in self.records[partition] if record.offset >= position]
        return found[:count]

    def last(self, partition: int) -> int:
        """The position behind the last record that consumers see."""
        records = self.records[partition]
        return records[-1].offset + 1 if records else 0


class _Client:
    """The part of aiokafka's consumer that the product's consumer talks to."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.positions: dict[TopicPartition, int] = {}

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.log.ends[tp.partition] for tp in tps}

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    def pause(self, *tps: TopicPartition) -> None:
        pass

    def resume(self, *tps: TopicPartition) -> None:
        pass


class Member(BatchConsumer[T], Generic[T]):
    """One process of a consumer group. It can die and be started again."""

    def __init__(
        self,
        group: str,
        topic: str,
        pool: asyncpg.Pool[Any],
        handler: Handler[T],
        matches: Callable[[KafkaRecord], bool] | None = None,
    ) -> None:
        super().__init__(
            bootstrap="nowhere:9092",
            group=group,
            topics=[topic],
            pool=pool,
            handler=handler,
            service="provisioning",
            matches=matches,
        )
        self._client = _Client(Log(topic))
        self._lost: set[TopicPartition] = set()

    @property
    def _consumer(self) -> Any:
        return self._client

    def _resume_later(self, tp: TopicPartition) -> None:
        self._partitions[tp].forget_queued()
        self._lost.add(tp)

    def join(self, log: Log) -> None:
        """Begin anew, as a process that has just been given every partition."""
        self._client = _Client(log)
        self._partitions.clear()
        self._lost.clear()
        self.assigned(TopicPartition(log.topic, partition) for partition in range(PARTITIONS))

    async def consume(self, random: Random, *, most: int, mishaps: bool) -> bool:
        """Poll once and apply what came; whether the log may hold more.

        Raises:
            AssertionError: a partition was refused.
        """
        for tp in sorted(self._lost):
            self._lost.discard(tp)
            await self._check_and_seek(tp, self._partitions[tp])
        log = self._client.log
        tps = sorted(self._client.positions)
        random.shuffle(tps)
        work = []
        for tp in tps[: random.randint(1, PARTITIONS) if mishaps else PARTITIONS]:
            chunks = []
            for _ in range(random.randint(1, 3)):
                chunk = await self._poll(tp, random, random.randint(1, most), mishaps=mishaps)
                if chunk is not None:
                    chunks.append(chunk)
            if chunks:
                work.append(Work(tp, self._partitions[tp], chunks))
        if work:
            await self._apply_until_done(work)
        refused = [tp for tp, state in self._partitions.items() if state.refused]
        assert not refused, f"{self._group} refused {refused}"
        return bool(self._lost) or any(
            self._client.positions[tp] < log.last(tp.partition) for tp in tps
        )

    async def _poll(
        self, tp: TopicPartition, random: Random, count: int, *, mishaps: bool
    ) -> Chunk[T] | None:
        log, positions = self._client.log, self._client.positions
        if mishaps and random.random() < 0.05:
            # Fetched before a seek and handed over after it.
            stale = log.read(tp.partition, random.randint(0, log.ends[tp.partition]), count)
            if stale:
                follows = await self._accept_delivery(tp, cast("list[Any]", stale))
                if follows is not None:
                    return await self._parse(follows, cast("list[Any]", stale))
            return None
        records = log.read(tp.partition, positions[tp], count)
        if not records:
            return None
        positions[tp] = records[-1].offset + 1
        follows = await self._accept_delivery(tp, cast("list[Any]", records))
        if follows is None or (mishaps and random.random() < 0.05):
            # Delivered, and then lost with a transaction that failed: what follows must notice.
            return None
        return await self._parse(follows, cast("list[Any]", records))
