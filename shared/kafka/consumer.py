"""Assignment, delivery, queues and refusals of one consumer group's member."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Generic

import asyncpg
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from shared.errors import Rejected
from shared.kafka.applying import Applier
from shared.kafka.ends import LogEnds
from shared.kafka.offsets import Offsets
from shared.kafka.reading import EMPTY_READ_PAUSE_MS, Listener, Reader, keep_body, keep_raw
from shared.kafka.records import (
    NOT_MATCHED,
    Chunk,
    Gap,
    Handler,
    NotOurLog,
    Partition,
    Record,
    T,
    UnknownError,
    Work,
    joined,
)
from shared.postgres import Connection, TryAgain, in_transaction, is_transient

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

logger = structlog.get_logger(__name__)

BATCH_MAX_RECORDS = 500
"""More gains little; a termination that needs a worker of a batch waits for the whole of it."""

BATCH_MAX_BYTES = 8 * 1024 * 1024
"""A batch of the largest records there are is a few, not 500 of 1 MiB."""

CONCURRENT_BATCHES = 2
"""Python decides for one batch while PostgreSQL works for the other; they share no partition."""

QUEUE_MAX_BATCHES = 4
"""Beyond this the consumer stops polling: back-pressure instead of memory."""

METADATA_MAX_AGE_MS = 30_000
"""How soon a topic that was made again is looked for; aiokafka would take five minutes."""

FETCH_WAIT_MS = 100
"""How long Kafka keeps a fetch that finds nothing; a record that arrives ends it at once.

aiokafka has one fetch under way to a broker, and Kafka answers a connection in order: what is not
in that fetch waits for its end, as a partition that was just assigned or emptied. This long goes
unnoticed behind the batches in hand; whoever looks at a page asks elsewhere (`LogEnds`).
"""

PARSE_SLICE_RECORDS = 100
TICK_SECONDS = 1.0
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
FAILURE_PAUSE_SECONDS = 1.0
REFUSAL_POLL_SECONDS = 2.0
SCAN_STORE_SECONDS = 3.0
PROBE_SECONDS = 1.0
"""How long each partition is read alone, record by record, after a read of all of them failed."""

UNKNOWN_ERRORS_PER_MINUTE = 20
"""A handler that fails on everything is our fault, not that of the records: stop."""


class BatchConsumer(Generic[T]):
    """Consumes topics in one group and applies batches transactionally.

    Args:
        group: consumer group and name of its offset rows.
        matches: for a scanning lane: only matching records are parsed and applied, the position is
            kept in memory and stored every few seconds, and nothing is dead-lettered (the lane
            that applies everything does that).
        service: source of the dead letters it writes.
        applied: called whenever a batch has been committed, e.g. to wake who works on from there.
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
        applied: Callable[[], None] | None = None,
    ) -> None:
        self._group = group
        self._pool = pool
        self._handler = handler
        self._matches = matches
        self._batch_max = batch_max_records
        self._concurrent = concurrent_batches
        self._applied = applied
        self._offsets = Offsets(group)
        self._applier = Applier(
            handler, self._offsets, service=service, group=group, scanning=matches is not None
        )
        self._partitions: dict[TopicPartition, Partition[T]] = {}
        self._work = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resuming: dict[TopicPartition, asyncio.Task[None]] = {}
        self._probes: deque[TopicPartition] = deque()
        self._probe_until = 0.0
        self._in_hand = False
        self._joined = False
        self._joining: asyncio.Task[None] | None = None
        self._stopping = False
        self._turn = 0
        self._ends = LogEnds(bootstrap, metadata_max_age_ms=METADATA_MAX_AGE_MS)
        self._broker = KafkaBroker(
            bootstrap,
            logger=None,
            apply_types=False,
            graceful_timeout=10.0,
            client_id=group,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            # Neither a producer nor an administrator: FastStream would create a topic that is
            # gone, with one partition and without our settings.
            consumer_only=True,
            allow_auto_create_topics=False,
        )
        self._subscriber = self._broker.subscriber(
            *topics,
            batch=True,
            group_id=group,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_records=batch_max_records,
            batch_timeout_ms=EMPTY_READ_PAUSE_MS,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=1024 * 1024,
            listener=Listener(self),
            parser=keep_raw,
            decoder=keep_body,
        )
        self._subscriber(self._on_delivery)

    # -- life cycle

    async def start(self) -> None:
        """Join the group and begin applying; where Kafka does not answer, keep trying."""
        for number in range(self._concurrent):
            self._spawn(self._apply_forever(), f"apply-{number}")
        self._spawn(self._forever(TICK_SECONDS, self._tick), "tick")
        self._spawn(self._forever(REFUSAL_POLL_SECONDS, self._look_at_refusals), "refusals")
        if not await self._join():
            self._joining = self._spawn(self._join_later(), "join")

    async def stop(self) -> None:
        """Leave the group; what was not committed is applied by whoever takes over."""
        self._stopping = True
        async with self._work:
            self._work.notify_all()
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.gather(self._joining, return_exceptions=True)
        await self._broker.stop()
        await self._ends.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"{self._group}-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _join(self) -> bool:
        try:
            await self._broker.connect()
            config = self._broker.config.broker_config
            build: Any = config.builder
            config.builder = partial(Reader, self, **build.keywords)
            await self._broker.start()
        except (KafkaError, OSError) as error:
            logger.warning("kafka.no_answer", group=self._group, error=repr(error))
            await self._broker.stop()
            return False
        self._joined = True
        return True

    async def _join_later(self) -> None:
        attempt = 0
        while not self._stopping:
            await asyncio.sleep(_retry_pause(attempt))
            attempt += 1
            if await self._join():
                return

    async def _forever(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception as error:
                # It is tried again; a loop that ended would leave a partition stopped for good.
                logger.warning("consumer.loop_failed", group=self._group, error=repr(error))

    @property
    def _consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        if consumer is None or not self._joined:
            raise IllegalStateError("the consumer has not joined its group")
        return consumer

    # -- assignment

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Kafka gave us partitions: find out where each must go on."""
        self._joined = True
        for tp in partitions:
            self._partitions[tp] = Partition()
            self._resume_later(tp)

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Kafka took partitions away: forget what is queued; the stored offsets stand."""
        for tp in partitions:
            self._partitions.pop(tp, None)
            task = self._resuming.pop(tp, None)
            if task is not None:
                task.cancel()

    def _resume_later(self, tp: TopicPartition) -> None:
        state = self._partitions.get(tp)
        if state is None or self._stopping:
            return
        state.forget_queued()
        previous = self._resuming.pop(tp, None)
        if previous is not None:
            previous.cancel()
        self._resuming[tp] = self._spawn(self._resume(tp, state), f"resume-{tp}")

    async def _resume(self, tp: TopicPartition, state: Partition[T]) -> None:
        """Seek to the stored offset once the log has been shown to be the one we read before."""
        attempt = 0
        while self._partitions.get(tp) is state and not self._stopping:
            try:
                await self._check_and_seek(tp, state)
                return
            except NotOurLog as refusal:
                await self._refuse(refusal.tp, refusal.reason, refusal.detail)
                return
            except Exception as error:
                # Whatever it was: a partition that is never resumed would stop silently.
                logger.warning("partition.resume_failed", partition=str(tp), error=repr(error))
                await asyncio.sleep(_retry_pause(attempt))
                attempt += 1

    async def _check_and_seek(self, tp: TopicPartition, state: Partition[T]) -> None:
        consumer = self._consumer
        log_start = (await consumer.beginning_offsets([tp]))[tp]
        log_end = (await consumer.end_offsets([tp]))[tp]
        async with self._pool.acquire() as conn:
            row = await self._offsets.open(conn, tp, log_start)
        stored, accepted = row["next_offset"], row["accepted_until"]
        state.applied = stored
        if row["refused"]:
            state.refused = True
            consumer.pause(tp)
            return
        if stored > log_end:
            raise NotOurLog(
                tp, "offset_beyond_end", f"applied up to {stored}, but the log ends at {log_end}"
            )
        if log_start > max(stored, accepted):
            raise NotOurLog(
                tp,
                "records_lost",
                f"the log starts at {log_start}; offsets {stored} to {log_start - 1} were not read",
            )
        if state.refused:
            state.refused = False
            state.unknown_errors.clear()
        # One record earlier, if it is still there, to compare it with what we applied.
        target = stored - 1 if stored > log_start else max(stored, log_start)
        state.scan_stored_at = 0.0
        consumer.seek(tp, target)
        consumer.resume(tp)
        state.expect = target

    # -- delivery

    async def _on_delivery(self, records: Sequence[Any]) -> None:
        """FastStream's handler: queue what was delivered, then wait while too much is queued."""
        try:
            accepted = []
            for (topic, number), part in groupby(records, lambda r: (r.topic, r.partition)):
                tp = TopicPartition(topic, number)
                delivered = list(part)
                follows = await self._accept_delivery(tp, delivered)
                if follows is not None:
                    state = self._partitions[tp]
                    accepted.append((state, state.epoch, follows, delivered))
            self._in_hand = False
            for state, epoch, follows, delivered in accepted:
                chunk = await self._parse(follows, delivered)
                # A seek in the meantime fetches these records again.
                if state.epoch == epoch:
                    state.queue.append(chunk)
            async with self._work:
                self._work.notify_all()
                await self._work.wait_for(lambda: self._stopping or not self._is_full())
        except Exception:
            # FastStream would swallow it. Delivered records that were not queued are fetched again.
            logger.exception("delivery.failed", group=self._group)
            self._in_hand = False
            for tp in list(self._partitions):
                self._resume_later(tp)
            await asyncio.sleep(FAILURE_PAUSE_SECONDS)

    async def _accept_delivery(self, tp: TopicPartition, records: list[Any]) -> int | None:
        """The position these records follow; None if a seek has made them worthless."""
        state = self._partitions.get(tp)
        if state is None or state.expect is None or state.refused:
            return None
        epoch, expect = state.epoch, state.expect
        first, last = records[0].offset, records[-1].offset
        try:
            position = await self._consumer.position(tp)
            if first > expect and last < position and await self._was_cut(tp, expect):
                self._resume_later(tp)
        except IllegalStateError:
            return None
        if state.epoch != epoch or position <= last:
            # Fetched before a seek.
            return None
        if first < expect and position != expect:
            # aiokafka went back by itself: the log ended before our position.
            self._resume_later(tp)
            return None
        state.expect = max(expect, last + 1)
        return expect

    async def _was_cut(self, tp: TopicPartition, position: int) -> bool:
        """Whether the log now begins above a position: then a hole behind it proves nothing.

        aiokafka moves to the log's start when what it wanted to read next is gone.
        """
        log_start: int = (await self._consumer.beginning_offsets([tp]))[tp]
        return log_start > position

    async def _parse(self, follows: int, records: list[Any]) -> Chunk[T]:
        parse, matches = self._parse_one, self._matches
        kept: list[Any] = records
        parsed: list[T | Rejected] = []
        if matches is not None:
            # The first and last record show where the scan stands; the rest is passed over.
            ends = (records[0].offset, records[-1].offset)
            kept = []
            for record in records:
                matched = matches(record)
                if matched or record.offset in ends:
                    kept.append(record)
                    parsed.append(parse(record) if matched else NOT_MATCHED)
        else:
            for start in range(0, len(records), PARSE_SLICE_RECORDS):
                parsed.extend(map(parse, records[start : start + PARSE_SLICE_RECORDS]))
                await asyncio.sleep(0)
        size = sum(len(record.value) for record in kept if record.value is not None)
        return Chunk(follows, records[-1].offset + 1, kept, parsed, size)

    def _parse_one(self, record: Any) -> T | Rejected:
        try:
            return self._handler.parse(record)
        except Rejected as error:
            return error
        except Exception as error:
            logger.exception("record.unreadable", topic=record.topic, offset=record.offset)
            return UnknownError(f"reading it raised {type(error).__name__}")

    def _is_full(self) -> bool:
        records = size = 0
        for state in self._partitions.values():
            for chunk in state.queue:
                records += len(chunk.records)
                size += chunk.size_bytes
        return (
            records >= QUEUE_MAX_BATCHES * self._batch_max
            or size >= QUEUE_MAX_BATCHES * BATCH_MAX_BYTES
        )

    # -- reads that fail

    def records_in_hand(self) -> None:
        """Records are between aiokafka and our handler: positions are ahead of `expect`."""
        self._in_hand = True

    def next_probe(self) -> TopicPartition | None:
        """After a failed read, the partition to read alone until it fails or its time is over."""
        now = time.monotonic()
        while self._probes:
            state = self._partitions.get(self._probes[0])
            if (
                state is not None
                and not state.refused
                and (now < self._probe_until or state.expect is None)
            ):
                return self._probes[0]
            self._probes.popleft()
            self._probe_until = now + PROBE_SECONDS
        return None

    async def reading_failed(self, probed: TopicPartition | None, error: Exception) -> None:
        """Find the partition that cannot be read, and refuse it; no other loses a record."""
        logger.error("reading.failed", group=self._group, partition=str(probed), error=repr(error))
        if probed is None:
            self._probes = deque(self._partitions)
            self._probe_until = time.monotonic() + PROBE_SECONDS
            for tp, state in list(self._partitions.items()):
                if not state.refused:
                    self._resume_later(tp)
        elif not (isinstance(error, KafkaError) and error.retriable):
            # A read of one record loses none; those before it are applied first.
            at = self._partitions.get(probed)
            if at is not None and at.expect is not None and at.applied is not None:
                if at.expect <= at.applied:
                    await self._refuse(probed, "unreadable_record", repr(error))
                else:
                    self._probe_until = time.monotonic() + PROBE_SECONDS
        await asyncio.sleep(RETRY_SECONDS[0])

    # -- applying

    async def _apply_forever(self) -> None:
        while True:
            work = await self._take()
            if work is None:
                return
            try:
                await self._apply_until_done(work)
            except Exception:
                logger.exception("batch.failed", group=self._group)
                await asyncio.sleep(FAILURE_PAUSE_SECONDS)
                for each in work:
                    if self._partitions.get(each.tp) is each.state:
                        self._resume_later(each.tp)
            finally:
                async with self._work:
                    for each in work:
                        each.state.busy = False
                    self._work.notify_all()

    def _ready(self) -> list[TopicPartition]:
        """Partitions with something to apply, the one that waited longest first."""
        ready = [(s.turn, tp) for tp, s in self._partitions.items() if s.queue and not s.busy]
        return [tp for _, tp in sorted(ready)]

    async def _take(self) -> list[Work[T]] | None:
        """Whole chunks of partitions nobody else is applying, up to a batch."""
        async with self._work:
            await self._work.wait_for(lambda: self._stopping or bool(self._ready()))
            if self._stopping:
                return None
            work: list[Work[T]] = []
            records, size = self._batch_max, BATCH_MAX_BYTES
            for tp in self._ready():
                state = self._partitions[tp]
                chunks: list[Chunk[T]] = []
                while state.queue:
                    chunk = state.queue[0]
                    fits = len(chunk.records) <= records and chunk.size_bytes <= size
                    if not fits and (work or chunks):
                        break
                    records -= len(chunk.records)
                    size -= chunk.size_bytes
                    chunks.append(state.queue.popleft())
                if chunks:
                    state.busy = True
                    self._turn += 1
                    state.turn = self._turn
                    work.append(Work(tp, state, chunks))
                if records <= 0 or size <= 0:
                    break
            self._work.notify_all()
            return work

    async def _apply_until_done(self, work: list[Work[T]]) -> None:
        if self._matches is not None and self._only_scanned(work):
            return
        attempt = 0
        while True:
            live = [
                each
                for each in work
                if self._partitions.get(each.tp) is each.state and not each.state.refused
            ]
            if not live or self._stopping:
                return
            if any(self._is_over_budget(each) for each in live):
                await self._split(live, RuntimeError("too many unknown errors"))
                return
            try:
                await self._apply_and_note(live)
                return
            except NotOurLog as refusal:
                await self._refuse(refusal.tp, refusal.reason, refusal.detail)
            except Exception as error:
                if not _may_heal(error):
                    logger.warning("batch.split", group=self._group, error=repr(error))
                    await self._split(live, error)
                    return
                logger.warning("batch.again", group=self._group, error=repr(error))
                await asyncio.sleep(_retry_pause(attempt))
                attempt += 1

    def _only_scanned(self, work: list[Work[T]]) -> bool:
        """Whether a scanning lane may just remember its position instead of storing it."""
        now = time.monotonic()
        for _, state, chunks in work:
            if state.applied is None or chunks[0].follows > state.applied:
                return False
            if any(parsed is not NOT_MATCHED for chunk in chunks for parsed in chunk.parsed):
                return False
            if now - state.scan_stored_at > SCAN_STORE_SECONDS:
                return False
        for _, state, chunks in work:
            state.applied = max(state.applied or 0, chunks[-1].until)
        return True

    async def _apply_and_note(self, work: list[Work[T]]) -> None:
        started = time.monotonic()
        outcome = await in_transaction(self._pool, lambda conn: self._applier.apply(conn, work))
        now = time.monotonic()
        for tp, state, _ in work:
            reached = outcome.reached.get(tp)
            if reached is not None:
                state.applied = reached.next_offset
                state.scan_stored_at = now
            state.unknown_errors.extend([now] * outcome.unknown_errors.get(tp, 0))
            if tp in outcome.set_aside and self._partitions.get(tp) is state:
                logger.warning("partition.set_aside", partition=str(tp), group=self._group)
                self._resume_later(tp)
        if outcome.records:
            if self._applied is not None:
                self._applied()
            logger.info(
                "batch.applied",
                group=self._group,
                records=outcome.records,
                partitions=len(work),
                dead_letters=outcome.dead_letters,
                ms=round((now - started) * 1000, 1),
            )

    # -- bad records

    async def _split(self, work: list[Work[T]], error: Exception) -> None:
        """Bisect until the record that cannot be applied stands alone, then dead-letter it."""
        for tp, state, chunks in work:
            chunk = joined(chunks)
            if len(work) > 1:
                await self._apply_until_done([Work(tp, state, [chunk])])
            elif len(chunk.records) > 1:
                for half in chunk.halves():
                    await self._apply_until_done([Work(tp, state, [half])])
            elif any(isinstance(verdict, Rejected) for verdict in chunk.parsed) or not chunk.parsed:
                # It was not the record: a gap, or the dead letter itself, cannot be stored.
                if self._is_over_budget(Work(tp, state, [chunk])):
                    await self._refuse(tp, "too_many_unknown_errors", str(chunk.parsed[0]))
                else:
                    await self._refuse(tp, "not_applicable", repr(error))
            else:
                verdict = (
                    error
                    if isinstance(error, Rejected)
                    else UnknownError(f"raised {type(error).__name__}")
                )
                logger.error(
                    # A scanning lane leaves the letter to the lane that applies everything.
                    "record.dead_lettered" if self._matches is None else "record.passed_over",
                    partition=str(tp),
                    offset=chunk.records[0].offset,
                    error=repr(error),
                )
                await self._apply_until_done([Work(tp, state, [chunk.judged(verdict)])])

    def _is_over_budget(self, work: Work[T]) -> bool:
        coming = sum(chunk.unknown_errors() for chunk in work.chunks)
        if not coming:
            return False
        past = work.state.unknown_errors
        now = time.monotonic()
        while past and now - past[0] > 60:
            past.popleft()
        return len(past) + coming > UNKNOWN_ERRORS_PER_MINUTE

    # -- refusal

    async def _refuse(self, tp: TopicPartition, reason: str, detail: str) -> None:
        """Stop a partition, loudly, until an operator has looked; the others go on."""
        logger.error("partition.refused", partition=str(tp), reason=reason, detail=detail)
        state = self._partitions.get(tp)
        if state is not None:
            state.refused = True
            state.forget_queued()
        with suppress(IllegalStateError):
            self._consumer.pause(tp)
        await self._offsets.refuse(self._pool, tp, reason, detail)

    async def _look_at_refusals(self) -> None:
        """Go on with a refused partition once an operator has accepted the gap."""
        refused = [tp for tp, state in self._partitions.items() if state.refused]
        if refused:
            still = {(row["topic"], row["partition"]) for row in await self.refusals()}
            for tp in refused:
                if (tp.topic, tp.partition) not in still:
                    self._resume_later(tp)

    async def refusals(self) -> list[Any]:
        """Refused partitions of this group with reason, detail and since when."""
        async with self._pool.acquire() as conn:
            return await self._offsets.refusals(conn)

    async def accept_gap(
        self,
        topic: str,
        partition: int,
        record_fact: Callable[[Connection, Gap, str], Awaitable[None]],
    ) -> Gap:
        """Let a refused partition continue; `record_fact` writes who accepted what was lost.

        Where another log took the place of ours, nothing of it was lost: the gap is empty and
        ends before the new log's first offset.

        Raises:
            LookupError: the partition is not refused.
            KafkaError: Kafka does not answer.
        """
        tp = TopicPartition(topic, partition)
        log_start = (await self._consumer.beginning_offsets([tp]))[tp]
        log_end = (await self._consumer.end_offsets([tp]))[tp]

        async def accept(conn: Connection) -> Gap:
            gap, reason = await self._offsets.accept_gap(conn, tp, log_start, log_end)
            await record_fact(conn, gap, reason)
            return gap

        return await in_transaction(self._pool, accept)

    # -- idle times and lag

    async def _tick(self) -> None:
        for tp, state in list(self._partitions.items()):
            await self._follow_to_the_end(tp, state)
        await self._commit()

    async def _follow_to_the_end(self, tp: TopicPartition, state: Partition[T]) -> None:
        """Move past what the log's end holds for nobody, and notice a log that is gone.

        Control records and aborted transactions move aiokafka's position and are never delivered;
        without this the partition would look as if it lagged until the next record.
        """
        epoch, expect = state.epoch, state.expect
        if expect is None or state.applied is None or expect > state.applied:
            return
        if state.queue or state.busy or self._in_hand:
            return
        with suppress(IllegalStateError, TimeoutError):
            async with asyncio.timeout(TICK_SECONDS):
                position = await self._consumer.position(tp)
                if position == expect or self._in_hand or state.expect != expect:
                    return
                cut = position < expect or await self._was_cut(tp, expect)
            if (state.epoch, state.expect) != (epoch, expect) or self._in_hand:
                return
            if cut:
                self._resume_later(tp)
                return
            state.expect = position
            state.queue.append(Chunk(expect, position, [], []))
            async with self._work:
                self._work.notify_all()

    async def _commit(self) -> None:
        """Tell Kafka where we are, for lag monitors only."""
        offsets = {
            tp: state.applied
            for tp, state in self._partitions.items()
            if state.applied not in (None, state.committed) and not state.refused
        }
        if offsets:
            with suppress(KafkaError):
                await self._consumer.commit(offsets)
                for tp, applied in offsets.items():
                    if tp in self._partitions:
                        self._partitions[tp].committed = applied

    async def status(self) -> dict[str, Any]:
        """Per partition: the next offset to apply, how many records wait, and refusals."""
        if not self._joined:
            raise IllegalStateError("the consumer has not joined its group")
        partitions = sorted(self._partitions)
        ends = await self._ends.of(partitions)
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


def _may_heal(error: Exception) -> bool:
    # A handler that asked for another attempt too often met contention, not a bad record.
    return isinstance(error, TryAgain) or is_transient(error)


def _retry_pause(attempt: int) -> float:
    return RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
