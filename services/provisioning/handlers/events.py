"""HR events and review decisions from Kafka, and work that time brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from services.provisioning.handlers.recompute import Recompute
from services.provisioning.store import reviews as reviews_store
from services.provisioning.store import timelines as timelines_store
from services.provisioning.store import workers as workers_store
from services.provisioning.store.workers import LockedWorker, WorkerKey
from shared.contracts.envelope import Envelope, read_event
from shared.contracts.hr import Dated, HrEvent, WorkerMerged, read_hr_event
from shared.contracts.review import ReviewCorrected, ReviewDecided
from shared.errors import Rejected
from shared.kafka import Batch, Record
from shared.postgres import Connection, in_transaction

EXPRESS_TYPES = frozenset(
    {"worker.terminated", "worker.rescinded", "worker.merged", "worker.leave_started"}
)
"""What can take access away, or change whose access it is: these overtake a backlog."""

SWEEP_WORKERS = 50
"""At most 200 by the protocol; a termination may wait for one such transaction."""


def may_take_access(record: Record) -> bool:
    """Whether the express lane applies this record, told without parsing it."""
    for name, value in record.headers:
        if name == "ce_type":
            return value is not None and value.decode(errors="replace") in EXPRESS_TYPES
    body = record.value or b""
    return any(type_.encode() in body for type_ in EXPRESS_TYPES)


class HrEventHandler:
    """Stores new HR events and decides about the workers they concern.

    Args:
        lane: `main` or `express`; whichever is second finds the events stored and does nothing.
    """

    def __init__(self, recompute: Recompute, lane: str) -> None:
        self._recompute = recompute
        self._lane = lane

    def parse(self, record: Record) -> HrEvent:
        """The validated event; scanning lanes never see what does not match."""
        return read_hr_event(record)

    async def apply(self, conn: Connection, batch: Batch[HrEvent]) -> None:
        """Store what is new and recompute the workers it concerns."""
        accepted = await self._accept(conn, batch)
        if not accepted:
            return
        keys = {(event.organization, event.worker) for event, _, _ in accepted}
        merges = {
            (event.organization, event.worker, event.data.previous_worker_id)
            for event, _, _ in accepted
            if isinstance(event.data, WorkerMerged)
        }
        locked = await workers_store.lock_workers(conn, keys, sorted(merges))
        now = await self._recompute.clock.now(conn)
        fresh, contradicting = await self._store(conn, accepted, now)
        if not fresh:
            return
        touched = {(event.organization, event.worker) for event in fresh}
        conflicts = (
            set(await timelines_store.mark_conflicts(conn, contradicting))
            if contradicting
            else set()
        )
        held = {row.key for row in locked}
        if conflicts - held:
            await workers_store.request_recompute(conn, conflicts - held)
        cause: dict[WorkerKey, tuple[str, ...]] = {}
        for event in fresh:
            key = (event.organization, event.worker)
            cause[key] = (*cause.get(key, ()), event.id)
        await self._recompute.run(
            conn,
            in_same_cluster(locked, touched | (conflicts & held)),
            cause=cause,
            only_timelines_changed=True,
        )

    async def _store(
        self,
        conn: Connection,
        accepted: Sequence[tuple[HrEvent, datetime | None, str]],
        now: datetime,
    ) -> tuple[list[HrEvent], list[HrEvent]]:
        """Store what is new; the new events, and those of them whose id said something else.

        Equal identities name one worker, whose lock is held, so nobody stores one beside us. Of
        equal ids with other content, two transactions that cannot see each other can store one
        each as the first: then the later one has to look again.

        Raises:
            TryAgain: somebody has just stored one of these ids with other content.
        """
        contents = await timelines_store.contents_of(conn, [event for event, _, _ in accepted])
        fresh, contradicting, contradicts = [], [], []
        for each in accepted:
            event = each[0]
            known = contents.setdefault((event.organization, event.source, event.id), set())
            if event.fingerprint in known:
                continue
            if known:
                contradicting.append(event)
            contradicts.append(bool(known))
            known.add(event.fingerprint)
            fresh.append(each)
        await timelines_store.add_events(conn, fresh, contradicts, lane=self._lane, now=now)
        return [event for event, _, _ in fresh], contradicting

    async def _accept(
        self, conn: Connection, batch: Batch[HrEvent]
    ) -> list[tuple[HrEvent, datetime | None, str]]:
        """The events whose source may speak for the organization, with their instants resolved."""
        compiled = await self._recompute.directories.current(
            conn, {item.parsed.organization for item in batch.items}
        )
        accepted = []
        for item in batch.items:
            event = item.parsed
            known = compiled.get(event.organization)
            if known is None:
                batch.reject(item, Rejected("unknown_organization", "it has no directory yet"))
                continue
            if event.source not in known.sources:
                batch.reject(item, Rejected("source_not_bound", "the source may not speak for it"))
                continue
            effective_at = None
            if isinstance(event.data, Dated):
                effective_at = event.data.takes_effect(known.zone)
            accepted.append((event, effective_at, known.zone.key))
        return accepted


def in_same_cluster(locked: Sequence[LockedWorker], touched: set[WorkerKey]) -> list[LockedWorker]:
    """The locked rows that belong together with any touched worker."""
    clusters = {(row.organization, row.cluster) for row in locked if row.key in touched}
    return [row for row in locked if (row.organization, row.cluster) in clusters]


@dataclass(frozen=True, slots=True)
class ReviewWord:
    """A review event, and the decision in it if it carries one."""

    organization: str
    decided: ReviewDecided | None


class ReviewDecisionHandler:
    """Keeps review decisions; a removal is an input of desired access until approved anew."""

    def __init__(self, recompute: Recompute) -> None:
        self._recompute = recompute

    def parse(self, record: Record) -> ReviewWord:
        """The decision in a review event; other review events concern nobody here."""
        envelope: Envelope = read_event(record)
        try:
            if envelope.type == "review.decided":
                decided = ReviewDecided.model_validate_json(envelope.data)
            elif envelope.type == "review.corrected":
                decided = ReviewCorrected.model_validate_json(envelope.data)
            else:
                return ReviewWord(envelope.organization, None)
        except ValueError as error:
            raise Rejected("invalid_data", "the review decision lacks a field") from error
        return ReviewWord(envelope.organization, decided)

    async def apply(self, conn: Connection, batch: Batch[ReviewWord]) -> None:
        """Store decisions and recompute the workers they concern."""
        decisions: list[tuple[str, ReviewDecided]] = [
            (item.parsed.organization, item.parsed.decided)
            for item in batch.items
            if item.parsed.decided is not None
        ]
        if not decisions:
            return
        keys = {(organization, decided.worker) for organization, decided in decisions}
        locked = await workers_store.lock_workers(conn, keys)
        cause: dict[WorkerKey, tuple[str, ...]] = {}
        for organization, decided in decisions:
            news = await reviews_store.save_review_decision(
                conn,
                organization,
                review_id=decided.review_id,
                line_id=decided.line_id,
                worker=decided.worker,
                portal=decided.portal,
                tin=decided.tin,
                function=decided.function,
                operation_id=decided.operation_id,
                decided_by=decided.decided_by,
                decided_at=decided.decided_at,
                decision=decided.decision,
            )
            if news:
                key = (organization, decided.worker)
                cause[key] = (*cause.get(key, ()), decided.review_id)
        await self._recompute.run(conn, in_same_cluster(locked, set(cause)), cause=cause)


class TimeHandler:
    """Decides anew about workers for whom a date has come, or a newer directory."""

    def __init__(self, pool: asyncpg.Pool[Any], recompute: Recompute) -> None:
        self._pool = pool
        self._recompute = recompute

    async def due(self) -> int:
        """Recompute workers whose next dated input has come due; how many."""

        async def work(conn: Connection) -> int:
            now = await self._recompute.clock.now(conn)
            keys = await workers_store.due_workers(conn, now, SWEEP_WORKERS)
            return await self._recompute_keys(conn, keys)

        return await in_transaction(self._pool, work)

    async def sweep(self) -> int:
        """Recompute workers last decided with an older directory; how many."""

        async def work(conn: Connection) -> int:
            keys = await workers_store.workers_behind(conn, SWEEP_WORKERS)
            return await self._recompute_keys(conn, keys)

        return await in_transaction(self._pool, work)

    async def _recompute_keys(self, conn: Connection, keys: Sequence[WorkerKey]) -> int:
        if not keys:
            return 0
        locked = await workers_store.lock_workers(conn, keys)
        # Before anything is read: what somebody asks for from here on needs another look.
        await workers_store.forget_recompute_requests(conn, [row.key for row in locked])
        await self._recompute.run(conn, locked)
        return len(keys)
