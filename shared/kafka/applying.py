"""One transaction: lock the offset rows, decide what of the work is next, apply it, advance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from aiokafka import TopicPartition

from shared.errors import Rejected
from shared.kafka.dead_letters import dead_letter
from shared.kafka.offsets import Offsets, Position
from shared.kafka.records import (
    Batch,
    Gap,
    Handler,
    Item,
    NotOurLog,
    T,
    UnknownError,
    Work,
    record_digest,
)
from shared.outbox import enqueue
from shared.postgres import Connection


@dataclass(slots=True)
class Outcome:
    """What a transaction did, to be noted once it has committed."""

    reached: dict[TopicPartition, Position] = field(default_factory=dict)
    set_aside: list[TopicPartition] = field(default_factory=list)
    unknown_errors: dict[TopicPartition, int] = field(default_factory=dict)
    records: int = 0
    dead_letters: int = 0


class Applier(Generic[T]):
    """Applies work of several partitions in the caller's transaction.

    Args:
        scanning: positions are compared with those in memory, and nothing is dead-lettered.
    """

    def __init__(
        self, handler: Handler[T], offsets: Offsets, *, service: str, group: str, scanning: bool
    ) -> None:
        self._handler = handler
        self._offsets = offsets
        self._service = service
        self._group = group
        self._scanning = scanning

    async def apply(self, conn: Connection, work: Sequence[Work[T]]) -> Outcome:
        """Apply whatever of the work is next, once.

        Raises:
            NotOurLog: a partition holds another record where the last applied one was.
        """
        rows = await self._offsets.lock(conn, [each.tp for each in work])
        outcome = Outcome()
        batch: Batch[T] = Batch([], [])
        dead: list[tuple[Any, Rejected]] = []
        for each in work:
            self._gather(each, rows[each.tp], batch, dead, outcome)
        if batch.items or batch.gaps:
            await self._handler.apply(conn, batch)
        if not self._scanning:
            dead.extend(batch.rejects)
            outcome.dead_letters = len(dead)
            letters = [
                dead_letter(record, why, service=self._service, group=self._group)
                for record, why in dead
            ]
            await enqueue(conn, letters, held=True)
        await self._offsets.store(conn, outcome.reached)
        return outcome

    def _gather(
        self,
        work: Work[T],
        row: Any,
        batch: Batch[T],
        dead: list[tuple[Any, Rejected]],
        outcome: Outcome,
    ) -> None:
        """Collect what continues the stored position; the rest of the partition is set aside."""
        tp, state, chunks = work
        stored = position = row["next_offset"]
        if self._scanning:
            position = max(position, state.applied or 0)
        start, accepted, last = position, row["accepted_until"], None
        for chunk in chunks:
            for record, parsed in zip(chunk.records, chunk.parsed, strict=True):
                offset = record.offset
                if offset < position:
                    if offset == stored - 1:
                        _check_same(tp, record, row)
                    continue
                if offset > position:
                    if chunk.follows > max(position, accepted):
                        outcome.set_aside.append(tp)
                        break
                    self._add_gap(batch, tp, position, offset)
                position, last = offset + 1, record
                outcome.records += 1
                if isinstance(parsed, Rejected):
                    dead.append((record, parsed))
                    if type(parsed) is UnknownError:
                        outcome.unknown_errors[tp] = outcome.unknown_errors.get(tp, 0) + 1
                else:
                    batch.items.append(Item(record, parsed))
            else:
                if chunk.until > position:
                    if chunk.follows > max(position, accepted):
                        outcome.set_aside.append(tp)
                        break
                    self._add_gap(batch, tp, position, chunk.until)
                    position = chunk.until
                continue
            break
        if position > start:
            outcome.reached[tp] = Position(position, last)

    def _add_gap(self, batch: Batch[T], tp: TopicPartition, first: int, until: int) -> None:
        # A scanning lane passes over most records; the lane that applies all hears of gaps.
        if not self._scanning:
            batch.gaps.append(Gap(tp.topic, tp.partition, first, until - 1))


def _check_same(tp: TopicPartition, record: Any, row: Any) -> None:
    if row["last_sha256"] is None:
        return
    if record.timestamp != row["last_timestamp"] or record_digest(record) != row["last_sha256"]:
        raise NotOurLog(
            tp,
            "another_log",
            f"the record at offset {record.offset} is not the one that was applied",
        )
