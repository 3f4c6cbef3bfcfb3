"""The batch consumer of every service: each record takes effect exactly once, or is kept whole.

The offset a service has applied is stored in the transaction that applied it; that row, not Kafka's
commit, is the truth. Records below it are skipped, a hole that the log cannot explain stops the
partition, and a log that is not the one we read before is refused loudly. FastStream delivers the
raw records; what it would decide by itself (acknowledging, decoding, seeking) is decided here.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import asyncpg
import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage

from shared.contracts.topics import DEAD_LETTERS
from shared.errors import Rejected
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection, in_transaction, is_transient

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

logger = structlog.get_logger(__name__)

Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"
"""A raw record as aiokafka delivers it."""

T = TypeVar("T")

BATCH_MAX_RECORDS = 500
"""More gains little; a termination that needs a worker of a batch waits for the whole of it."""

CONCURRENT_BATCHES = 2
"""Python decides for one batch while PostgreSQL works for the other; they share no partition."""

QUEUE_MAX_RECORDS = 4 * BATCH_MAX_RECORDS
"""Beyond this the consumer stops polling: back-pressure instead of memory."""

PARSE_SLICE_RECORDS = 100
COMMIT_INTERVAL_SECONDS = 1.0
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
REFUSAL_POLL_SECONDS = 2.0
SCAN_STORE_SECONDS = 3.0
UNKNOWN_ERRORS_PER_MINUTE = 20
"""A handler that fails on everything is our fault, not that of the records: stop."""


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


@dataclass(slots=True)
class _Chunk(Generic[T]):
    """Records of one partition that were delivered together and follow position `follows`."""

    follows: int
    records: list[Record]
    parsed: list[T | Rejected]


@dataclass(slots=True)
class _Partition(Generic[T]):
    expect: int | None = None
    """The position the next delivery follows; None until the stored offset has been sought."""
    queue: deque[_Chunk[T]] = field(default_factory=deque)
    busy: bool = False
    refused: bool = False
    applied: int | None = None
    turn: int = 0
    scan_stored_at: float = 0.0
    unknown_errors: deque[float] = field(default_factory=deque)


NOT_MATCHED = Rejected("not_matched", "passed over by the scanning lane")


class _NotOurLog(Exception):
    def __init__(self, tp: TopicPartition, reason: str, detail: str) -> None:
        super().__init__(f"{tp.topic}/{tp.partition} {reason}: {detail}")
        self.tp = tp
        self.reason = reason
        self.detail = detail


def record_digest(record: Record) -> bytes:
    """SHA-256 that identifies a record's content, stored with the offset behind it."""
    digest = hashlib.sha256(len(record.key or b"").to_bytes(4, "big"))
    digest.update(record.key or b"")
    digest.update(record.value or b"")
    return digest.digest()


class BatchConsumer(Generic[T]):
    """Consumes topics in one group and applies batches transactionally.

    Args:
        group: consumer group and name of its offset rows.
        matches: for a scanning lane: only matching records are parsed and applied, the position is
            kept in memory and stored every few seconds, and nothing is dead-lettered (the lane
            that applies everything does that).
        service: source of the dead letters it writes.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        group: str,
        topics: Sequence[str],
        pool: asyncpg.Pool[Any],
        handler: Handler[T],
        service: str,
        matches: Callable[[Record], bool] | None = None,
        batch_max_records: int = BATCH_MAX_RECORDS,
        concurrent_batches: int = CONCURRENT_BATCHES,
    ) -> None:
        self._group = group
        self._pool = pool
        self._handler = handler
        self._service = service
        self._matches = matches
        self._batch_max = batch_max_records
        self._concurrent = concurrent_batches
        self._partitions: dict[TopicPartition, _Partition[T]] = {}
        self._work = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._resuming: dict[TopicPartition, asyncio.Task[None]] = {}
        self._stopping = False
        self._turn = 0
        self._broker = KafkaBroker(
            bootstrap, logger=None, apply_types=False, graceful_timeout=10.0, client_id=group
        )
        self._subscriber = self._broker.subscriber(
            *topics,
            batch=True,
            group_id=group,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_records=batch_max_records,
            batch_timeout_ms=20,
            fetch_max_wait_ms=20,
            max_partition_fetch_bytes=1024 * 1024,
            listener=_Listener(self),
            parser=_keep_raw,
            decoder=_keep_body,
        )
        self._subscriber(self._on_delivery)

    # -- life cycle

    async def start(self) -> None:
        """Join the group and begin applying."""
        for number in range(self._concurrent):
            self._tasks.append(asyncio.create_task(self._apply_forever(), name=f"apply-{number}"))
        self._tasks.append(asyncio.create_task(self._commit_forever(), name="commit"))
        self._tasks.append(asyncio.create_task(self._watch_refusals(), name="refusals"))
        await self._broker.start()

    async def stop(self) -> None:
        """Leave the group; what was not committed is applied by whoever takes over."""
        self._stopping = True
        async with self._work:
            self._work.notify_all()
        await self._broker.stop()
        for task in [*self._tasks, *self._resuming.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._resuming.values(), return_exceptions=True)

    @property
    def _consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        if consumer is None:
            raise IllegalStateError("the consumer is not started")
        return consumer

    # -- assignment

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Kafka gave us partitions: find out where each must go on."""
        for tp in partitions:
            self._partitions[tp] = _Partition()
            self._resume_later(tp)

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Kafka took partitions away: forget what is queued; the stored offsets stand."""
        for tp in partitions:
            self._partitions.pop(tp, None)
            task = self._resuming.pop(tp, None)
            if task is not None:
                task.cancel()

    def _resume_later(self, tp: TopicPartition) -> None:
        previous = self._resuming.pop(tp, None)
        if previous is not None and not previous.done():
            previous.cancel()
        self._resuming[tp] = asyncio.create_task(self._resume(tp), name=f"resume-{tp}")

    async def _resume(self, tp: TopicPartition) -> None:
        """Seek to the stored offset once the log has been shown to be the one we read before."""
        state = self._partitions[tp]
        state.expect = None
        state.queue.clear()
        for attempt in range(1_000_000):
            if self._stopping or self._partitions.get(tp) is not state:
                return
            try:
                await self._check_and_seek(tp, state)
                return
            except _NotOurLog as refusal:
                await self._refuse(refusal.tp, refusal.reason, refusal.detail)
                return
            except (KafkaError, TimeoutError, asyncpg.PostgresError, OSError) as error:
                logger.warning("partition.resume_failed", partition=str(tp), error=repr(error))
                await asyncio.sleep(_retry_pause(attempt))

    async def _check_and_seek(self, tp: TopicPartition, state: _Partition[T]) -> None:
        consumer = self._consumer
        log_start = (await consumer.beginning_offsets([tp]))[tp]
        log_end = (await consumer.end_offsets([tp]))[tp]
        async with self._pool.acquire() as conn:
            refused = await conn.fetchval(
                "SELECT reason FROM refused_partition"
                " WHERE consumer_group = $1 AND topic = $2 AND partition = $3",
                self._group,
                tp.topic,
                tp.partition,
            )
            row = await conn.fetchrow(
                """
                INSERT INTO source_offset (consumer_group, topic, partition, next_offset)
                VALUES ($1, $2, $3, $4)
                ON CONFLICT (consumer_group, topic, partition)
                DO UPDATE SET next_offset = source_offset.next_offset
                RETURNING next_offset, accepted_until
                """,
                self._group,
                tp.topic,
                tp.partition,
                log_start,
            )
        assert row is not None
        stored, accepted = row["next_offset"], row["accepted_until"]
        if refused is not None:
            state.refused = True
            consumer.pause(tp)
            return
        if stored > log_end:
            raise _NotOurLog(
                tp, "offset_beyond_end", f"applied up to {stored}, but the log ends at {log_end}"
            )
        if log_start > max(stored, accepted):
            raise _NotOurLog(
                tp,
                "records_lost",
                f"the log starts at {log_start}; offsets {stored} to {log_start - 1} were not read",
            )
        # One record earlier, if it is still there, to compare it with what we applied.
        target = stored - 1 if stored > log_start else max(stored, log_start)
        state.refused = False
        state.applied = stored
        consumer.seek(tp, target)
        state.expect = target
        consumer.resume(tp)

    # -- delivery

    async def _on_delivery(self, records: Sequence[Record]) -> None:
        """FastStream's handler: queue what was delivered, then wait while too much is queued."""
        try:
            by_partition: dict[TopicPartition, list[Any]] = {}
            for record in records:
                by_partition.setdefault(TopicPartition(record.topic, record.partition), []).append(
                    record
                )
            fresh = []
            for tp, part in by_partition.items():
                follows = await self._accept_delivery(tp, part)
                if follows is not None:
                    fresh.append((tp, self._partitions[tp], follows, part))
            for tp, state, follows, part in fresh:
                chunk = await self._parse(follows, part)
                if self._partitions.get(tp) is state and state.expect is not None:
                    state.queue.append(chunk)
            async with self._work:
                self._work.notify_all()
                await self._work.wait_for(
                    lambda: self._stopping or self._queued() < QUEUE_MAX_RECORDS
                )
        except asyncio.CancelledError:
            raise
        except Exception:
            # FastStream would swallow it. Delivered records that were not queued are fetched again.
            logger.exception("delivery.failed", group=self._group)
            for tp in list(self._partitions):
                self._resume_later(tp)

    async def _accept_delivery(self, tp: TopicPartition, records: list[Any]) -> int | None:
        """The position these records follow, or None when they were fetched before a seek."""
        state = self._partitions.get(tp)
        if state is None or state.expect is None or state.refused:
            return None
        try:
            position = await self._consumer.position(tp)
        except IllegalStateError:
            return None
        expect = state.expect
        if expect is None or position <= records[-1].offset:
            return None
        state.expect = max(expect, records[-1].offset + 1)
        return expect

    async def _parse(self, follows: int, records: list[Any]) -> _Chunk[T]:
        if self._matches is not None:
            # The first and last record show where the scan stands; the rest is passed over.
            ends = (records[0].offset, records[-1].offset)
            chunk: _Chunk[T] = _Chunk(follows, [], [])
            for record in records:
                matched = self._matches(record)
                if matched or record.offset in ends:
                    chunk.records.append(record)
                    chunk.parsed.append(self._parse_one(record) if matched else NOT_MATCHED)
            return chunk
        parsed: list[T | Rejected] = []
        for start in range(0, len(records), PARSE_SLICE_RECORDS):
            parsed.extend(
                self._parse_one(record) for record in records[start : start + PARSE_SLICE_RECORDS]
            )
            await asyncio.sleep(0)
        return _Chunk(follows, records, parsed)

    def _parse_one(self, record: Any) -> T | Rejected:
        try:
            return self._handler.parse(record)
        except Rejected as error:
            return error
        except Exception as error:
            logger.exception("record.unreadable", topic=record.topic, offset=record.offset)
            return Rejected("unknown_error", f"reading it raised {type(error).__name__}")

    def _queued(self) -> int:
        return sum(
            len(chunk.records) for state in self._partitions.values() for chunk in state.queue
        )

    # -- applying

    async def _apply_forever(self) -> None:
        while True:
            work = await self._take()
            if work is None:
                return
            try:
                await self._apply_until_done(work)
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.exception("batch.failed", group=self._group)
                for tp, _, _ in work:
                    if tp in self._partitions:
                        self._resume_later(tp)
            finally:
                async with self._work:
                    for _, state, _ in work:
                        state.busy = False
                    self._work.notify_all()

    def _ready(self) -> list[TopicPartition]:
        """Partitions with something to apply, the one that waited longest first."""
        ready = [(s.turn, tp) for tp, s in self._partitions.items() if s.queue and not s.busy]
        return [tp for _, tp in sorted(ready)]

    async def _take(self) -> list[tuple[TopicPartition, _Partition[T], list[_Chunk[T]]]] | None:
        """Whole chunks of partitions nobody else is applying, up to a batch."""
        async with self._work:
            await self._work.wait_for(lambda: self._stopping or bool(self._ready()))
            if self._stopping:
                return None
            work: list[tuple[TopicPartition, _Partition[T], list[_Chunk[T]]]] = []
            room = self._batch_max
            for tp in self._ready():
                state = self._partitions[tp]
                chunks: list[_Chunk[T]] = []
                while state.queue and (
                    room >= len(state.queue[0].records) or (not work and not chunks)
                ):
                    chunk = state.queue.popleft()
                    room -= len(chunk.records)
                    chunks.append(chunk)
                if chunks:
                    state.busy = True
                    self._turn += 1
                    state.turn = self._turn
                    work.append((tp, state, chunks))
                if room <= 0:
                    break
            return work

    async def _apply_until_done(
        self, work: list[tuple[TopicPartition, _Partition[T], list[_Chunk[T]]]]
    ) -> None:
        if self._matches is not None and self._only_scanned(work):
            return
        for attempt in range(1_000_000):
            live = [
                (tp, state, chunks)
                for tp, state, chunks in work
                if self._partitions.get(tp) is state and not state.refused
            ]
            if not live or self._stopping:
                return
            try:
                await self._apply_and_note(live)
                return
            except _NotOurLog as refusal:
                await self._refuse(refusal.tp, refusal.reason, refusal.detail)
            except Exception as error:
                if is_transient(error):
                    logger.warning("batch.again", group=self._group, error=repr(error))
                    await asyncio.sleep(_retry_pause(attempt))
                    continue
                logger.warning("batch.split", group=self._group, error=repr(error))
                await self._split(live, error)
                return

    def _only_scanned(
        self, work: list[tuple[TopicPartition, _Partition[T], list[_Chunk[T]]]]
    ) -> bool:
        """Whether a scanning lane may just remember its position instead of storing it."""
        now = time.monotonic()
        for _, state, chunks in work:
            if state.applied is None or chunks[0].follows > state.applied:
                return False
            if any(parsed is not NOT_MATCHED for chunk in chunks for parsed in chunk.parsed):
                return False
            if now - state.scan_stored_at > SCAN_STORE_SECONDS:
                state.scan_stored_at = now
                return False
        for _, state, chunks in work:
            state.applied = max(state.applied or 0, chunks[-1].records[-1].offset + 1)
        return True

    async def _apply_and_note(
        self,
        work: list[tuple[TopicPartition, _Partition[T], list[_Chunk[T]]]],
        poison: Exception | None = None,
    ) -> None:
        started = time.monotonic()
        outcome = await in_transaction(
            self._pool, lambda conn: self._apply(conn, work, poison=poison)
        )
        for tp, next_offset in outcome.applied.items():
            state = self._partitions.get(tp)
            if state is not None:
                state.applied = next_offset
        for tp in outcome.set_aside:
            if tp in self._partitions:
                logger.warning("partition.set_aside", partition=str(tp), group=self._group)
                self._resume_later(tp)
        if outcome.records:
            logger.info(
                "batch.applied",
                group=self._group,
                records=outcome.records,
                partitions=len(work),
                dead_letters=outcome.dead_letters,
                ms=round((time.monotonic() - started) * 1000, 1),
            )

    async def _apply(
        self,
        conn: Connection,
        work: list[tuple[TopicPartition, _Partition[T], list[_Chunk[T]]]],
        poison: Exception | None = None,
    ) -> _Outcome:
        stored = await self._lock_offsets(conn, [tp for tp, _, _ in work])
        outcome = _Outcome()
        batch: Batch[T] = Batch([], [])
        dead: list[tuple[Any, Rejected]] = []
        last: dict[TopicPartition, Any] = {}
        for tp, state, chunks in work:
            row = stored[tp]
            position = row["next_offset"]
            if self._matches is not None:
                position = max(position, state.applied or 0)
            for chunk in chunks:
                for record, parsed in zip(chunk.records, chunk.parsed, strict=True):
                    if record.offset < position:
                        if record.offset == row["next_offset"] - 1:
                            _check_same(tp, record, row)
                        continue
                    if record.offset > position:
                        # What was delivered in one piece after a position at or before ours shows
                        # that the offsets between hold no records for consumers.
                        if chunk.follows > max(position, row["accepted_until"]):
                            outcome.set_aside.append(tp)
                            break
                        if self._matches is None:
                            batch.gaps.append(
                                Gap(tp.topic, tp.partition, position, record.offset - 1)
                            )
                    position = record.offset + 1
                    last[tp] = record
                    outcome.records += 1
                    if isinstance(parsed, Rejected):
                        dead.append((record, parsed))
                    elif poison is not None:
                        dead.append(
                            (record, Rejected("unknown_error", f"raised {type(poison).__name__}"))
                        )
                    else:
                        batch.items.append(Item(record, parsed))
                else:
                    continue
                break
        if batch.items or batch.gaps:
            await self._handler.apply(conn, batch)
        if self._matches is None:
            dead.extend(batch.rejects)
            outcome.dead_letters = len(dead)
            await enqueue(conn, [self._dead_letter(record, why) for record, why in dead], held=True)
        outcome.applied = {tp: record.offset + 1 for tp, record in last.items()}
        await self._store_offsets(conn, last)
        return outcome

    async def _lock_offsets(
        self, conn: Connection, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, Any]:
        rows = await conn.fetch(
            """
            SELECT topic, partition, next_offset, last_timestamp, last_sha256, accepted_until
            FROM source_offset
            WHERE consumer_group = $1
              AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::integer[]))
            ORDER BY topic, partition FOR UPDATE
            """,
            self._group,
            [tp.topic for tp in partitions],
            [tp.partition for tp in partitions],
        )
        return {TopicPartition(row["topic"], row["partition"]): row for row in rows}

    async def _store_offsets(self, conn: Connection, last: dict[TopicPartition, Any]) -> None:
        if not last:
            return
        await conn.execute(
            """
            UPDATE source_offset AS stored
            SET next_offset = greatest(stored.next_offset, applied.next_offset),
                last_timestamp = applied.last_timestamp, last_sha256 = applied.last_sha256
            FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::bytea[])
                AS applied (topic, partition, next_offset, last_timestamp, last_sha256)
            WHERE stored.consumer_group = $1 AND stored.topic = applied.topic
              AND stored.partition = applied.partition
            """,
            self._group,
            [tp.topic for tp in last],
            [tp.partition for tp in last],
            [record.offset + 1 for record in last.values()],
            [record.timestamp for record in last.values()],
            [record_digest(record) for record in last.values()],
        )

    # -- bad records

    async def _split(
        self,
        work: list[tuple[TopicPartition, _Partition[T], list[_Chunk[T]]]],
        error: Exception,
    ) -> None:
        """Bisect until the record that cannot be applied stands alone, then dead-letter it."""
        for tp, state, chunks in work:
            chunk = _joined(chunks)
            if len(work) > 1:
                await self._apply_until_done([(tp, state, [chunk])])
            elif len(chunk.records) > 1:
                middle = len(chunk.records) // 2
                for half in (_slice(chunk, 0, middle), _slice(chunk, middle, None)):
                    await self._apply_until_done([(tp, state, [half])])
            elif self._over_budget(state):
                await self._refuse(tp, "too_many_unknown_errors", repr(error))
            elif self._matches is not None:
                # The lane that applies everything will meet it too, and dead-letter it.
                logger.error("record.passed_over", partition=str(tp), error=repr(error))
                await self._apply_and_note([(tp, state, [_blank(chunk)])])
            else:
                logger.error(
                    "record.dead_lettered",
                    partition=str(tp),
                    offset=chunk.records[0].offset,
                    error=repr(error),
                )
                await self._apply_and_note([(tp, state, [chunk])], poison=error)

    def _over_budget(self, state: _Partition[T]) -> bool:
        now = time.monotonic()
        while state.unknown_errors and now - state.unknown_errors[0] > 60:
            state.unknown_errors.popleft()
        state.unknown_errors.append(now)
        return len(state.unknown_errors) > UNKNOWN_ERRORS_PER_MINUTE

    def _dead_letter(self, record: Any, why: Rejected) -> OutboxMessage:
        value = record.value or b""
        headers = {
            "dl_reason": why.code,
            "dl_detail": why.detail[:500],
            "dl_service": self._service,
            "dl_group": self._group,
            "dl_topic": record.topic,
            "dl_partition": str(record.partition),
            "dl_offset": str(record.offset),
            "dl_timestamp": str(record.timestamp),
            "dl_key": (record.key or b"").hex(),
            "dl_sha256": hashlib.sha256(value).hexdigest(),
            "dl_value_is_null": str(record.value is None).lower(),
        }
        for name, content in record.headers:
            if content is not None:
                headers[f"dl_header_{name[:60]}".replace("\x00", "")] = content[:400].hex()
        return OutboxMessage(
            DEAD_LETTERS.name, f"{record.topic}/{record.partition}", headers, value
        )

    # -- refusal

    async def _refuse(self, tp: TopicPartition, reason: str, detail: str) -> None:
        """Stop a partition, loudly, until an operator has looked; the others go on."""
        logger.error("partition.refused", partition=str(tp), reason=reason, detail=detail)
        state = self._partitions.get(tp)
        if state is not None:
            state.refused = True
            state.expect = None
            state.queue.clear()
        with suppress(IllegalStateError):
            self._consumer.pause(tp)
        async with self._pool.acquire() as conn:
            await conn.execute(
                """
                INSERT INTO refused_partition (consumer_group, topic, partition, reason, detail)
                VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
                """,
                self._group,
                tp.topic,
                tp.partition,
                reason,
                detail,
            )

    async def _watch_refusals(self) -> None:
        """Go on with a refused partition once an operator has accepted the gap."""
        while True:
            await asyncio.sleep(REFUSAL_POLL_SECONDS)
            refused = [tp for tp, state in self._partitions.items() if state.refused]
            if not refused:
                continue
            with suppress(asyncpg.PostgresError, OSError):
                still = {(row["topic"], row["partition"]) for row in await self.refusals()}
                for tp in refused:
                    if (tp.topic, tp.partition) not in still and tp in self._partitions:
                        self._resume_later(tp)

    async def refusals(self) -> list[Any]:
        """Refused partitions of this group with reason, detail and since when."""
        async with self._pool.acquire() as conn:
            rows: list[Any] = await conn.fetch(
                "SELECT topic, partition, reason, detail, refused_at FROM refused_partition"
                " WHERE consumer_group = $1 ORDER BY topic, partition",
                self._group,
            )
            return rows

    async def accept_gap(
        self,
        topic: str,
        partition: int,
        record_fact: Callable[[Connection, Gap, str], Awaitable[None]],
    ) -> Gap:
        """Let a refused partition continue; `record_fact` writes who accepted what was lost.

        Raises:
            LookupError: the partition is not refused.
        """
        tp = TopicPartition(topic, partition)
        log_start = (await self._consumer.beginning_offsets([tp]))[tp]
        log_end = (await self._consumer.end_offsets([tp]))[tp]

        async def accept(conn: Connection) -> Gap:
            row = (await self._lock_offsets(conn, [tp])).get(tp)
            reason = await conn.fetchval(
                "DELETE FROM refused_partition"
                " WHERE consumer_group = $1 AND topic = $2 AND partition = $3 RETURNING reason",
                self._group,
                topic,
                partition,
            )
            if row is None or reason is None:
                raise LookupError(f"{topic}/{partition} is not refused")
            stored = row["next_offset"]
            another_log = reason in ("offset_beyond_end", "another_log") or stored > log_end
            await conn.execute(
                """
                UPDATE source_offset
                SET next_offset = $4, accepted_until = $5, last_timestamp = NULL, last_sha256 = NULL
                WHERE consumer_group = $1 AND topic = $2 AND partition = $3
                """,
                self._group,
                topic,
                partition,
                log_start if another_log else stored,
                log_start,
            )
            gap = Gap(topic, partition, stored, max(stored, log_start) - 1)
            await record_fact(conn, gap, reason)
            return gap

        return await in_transaction(self._pool, accept)

    # -- lag

    async def _commit_forever(self) -> None:
        """Tell Kafka where we are, for lag monitors only."""
        while True:
            await asyncio.sleep(COMMIT_INTERVAL_SECONDS)
            offsets = {
                tp: state.applied
                for tp, state in self._partitions.items()
                if state.applied is not None and not state.refused
            }
            if offsets:
                with suppress(KafkaError, IllegalStateError):
                    await self._consumer.commit(offsets)

    async def status(self) -> dict[str, Any]:
        """Per partition: the next offset to apply, how many records wait, and refusals."""
        partitions = sorted(self._partitions)
        ends = await self._consumer.end_offsets(partitions) if partitions else {}
        refused = {(row["topic"], row["partition"]): row for row in await self.refusals()}
        report = []
        for tp in partitions:
            state = self._partitions.get(tp)
            applied = state.applied if state is not None else None
            row = refused.get((tp.topic, tp.partition))
            report.append(
                {
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "next_offset": applied,
                    "lag": None if applied is None else max(0, ends[tp] - applied),
                    "refused": None if row is None else f"{row['reason']}: {row['detail']}",
                }
            )
        return {"group": self._group, "assigned": len(partitions), "partitions": report}


@dataclass(slots=True)
class _Outcome:
    applied: dict[TopicPartition, int] = field(default_factory=dict)
    set_aside: list[TopicPartition] = field(default_factory=list)
    records: int = 0
    dead_letters: int = 0


def _check_same(tp: TopicPartition, record: Any, row: Any) -> None:
    if row["last_sha256"] is None:
        return
    if record.timestamp != row["last_timestamp"] or record_digest(record) != row["last_sha256"]:
        raise _NotOurLog(
            tp,
            "another_log",
            f"the record at offset {record.offset} is not the one that was applied",
        )


def _joined(chunks: list[_Chunk[T]]) -> _Chunk[T]:
    return _Chunk(
        chunks[0].follows,
        [record for chunk in chunks for record in chunk.records],
        [parsed for chunk in chunks for parsed in chunk.parsed],
    )


def _slice(chunk: _Chunk[T], start: int, stop: int | None) -> _Chunk[T]:
    follows = chunk.follows if start == 0 else chunk.records[start - 1].offset + 1
    return _Chunk(follows, chunk.records[start:stop], chunk.parsed[start:stop])


def _blank(chunk: _Chunk[T]) -> _Chunk[T]:
    passed_over: list[T | Rejected] = [NOT_MATCHED for _ in chunk.records]
    return _Chunk(chunk.follows, chunk.records, passed_over)


def _retry_pause(attempt: int) -> float:
    return RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: BatchConsumer[Any]) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._consumer.revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._consumer.assigned(assigned)


async def _keep_raw(records: Any) -> KafkaMessage:
    return KafkaMessage(body=records, raw_message=records, consumer=_NO_CONSUMER)


async def _keep_body(message: Any) -> Any:
    return message.body


class _NoConsumer:
    """Offsets are committed from what was applied, never through FastStream's message."""

    async def commit(self) -> None:
        raise AssertionError("not used")

    def seek(self, partition: TopicPartition, offset: int) -> None:
        raise AssertionError("not used")


_NO_CONSUMER = _NoConsumer()
