"""HR events and review decisions from Kafka, and work that time brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from services.provisioning.handlers.recompute import Recompute
from services.provisioning.store import brake as brake_store
from services.provisioning.store import reviews as reviews_store
from services.provisioning.store import timelines as timelines_store
from services.provisioning.store import undecided as undecided_store
from services.provisioning.store import workers as workers_store
from services.provisioning.store.workers import LockedWorker, WorkerKey
from shared.contracts.envelope import Envelope, read_event
from shared.contracts.hr import CONSOLE_SOURCE, Dated, HrEvent, WorkerMerged, read_hr_event
from shared.contracts.review import (
    CampaignExpired,
    ReviewCorrected,
    ReviewDecided,
    ReviewExpired,
)
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


Accepted = tuple[HrEvent, datetime | None, str]
"""A valid event with the instant at which it takes effect and the zone that was resolved in."""


class HrIntake:
    """The main lane: stores what is new and notes whom to decide about.

    It waits for no worker's lock (but where two ids turn out to be one person), and nobody waits
    for its big batches: deciding follows in small ones.
    """

    def __init__(self, recompute: Recompute) -> None:
        self._recompute = recompute

    def parse(self, record: Record) -> HrEvent:
        """The validated event."""
        return read_hr_event(record)

    async def apply(self, conn: Connection, batch: Batch[HrEvent]) -> None:
        """Store what is new and note the workers it concerns."""
        accepted = await _accept(conn, self._recompute, batch)
        if not accepted:
            return
        merges = merges_in(accepted)
        if merges:
            await workers_store.lock_workers(conn, (), sorted(merges))
        now = await self._recompute.clock.now(conn)
        fresh, contradicting = await _store(conn, accepted, now, lane="main")
        heard: dict[WorkerKey, list[str]] = {}
        for event in fresh:
            heard.setdefault((event.organization, event.worker), []).append(event.id)
        if contradicting:
            for key in await timelines_store.mark_conflicts(conn, contradicting):
                heard.setdefault(key, [])
        await undecided_store.add_undecided(conn, heard)


class HrExpress:
    """The express lane: stores what is new and decides about the workers at once.

    Where the main lane was first, nothing is said twice: either it is decided already, or it is
    decided now instead of in its turn.
    """

    def __init__(self, recompute: Recompute) -> None:
        self._recompute = recompute

    def parse(self, record: Record) -> HrEvent:
        """The validated event; a scanning lane never sees what does not match."""
        return read_hr_event(record)

    async def apply(self, conn: Connection, batch: Batch[HrEvent]) -> None:
        """Store what is new and decide about the workers it concerns."""
        accepted = await _accept(conn, self._recompute, batch)
        if not accepted:
            return
        keys = {(event.organization, event.worker) for event, _, _ in accepted}
        locked = await workers_store.lock_workers(conn, keys, sorted(merges_in(accepted)))
        now = await self._recompute.clock.now(conn)
        fresh, contradicting = await _store(conn, accepted, now, lane="express")
        touched = await undecided_store.undecided_among(conn, keys)
        cause: dict[WorkerKey, tuple[str, ...]] = {}
        for event in fresh:
            key = (event.organization, event.worker)
            cause[key] = (*cause.get(key, ()), event.id)
        if contradicting:
            conflicts = set(await timelines_store.mark_conflicts(conn, contradicting))
            held = {row.key for row in locked}
            await undecided_store.add_undecided(conn, dict.fromkeys(conflicts - held, ()))
            touched |= conflicts & held
        await self._recompute.run(
            conn,
            in_same_cluster(locked, touched | cause.keys()),
            cause=cause,
            only_timelines_changed=True,
        )


def merges_in(accepted: Sequence[Accepted]) -> set[tuple[str, str, str]]:
    """(organization, worker, previous worker) of the merges among these events."""
    return {
        (event.organization, event.worker, event.data.previous_worker_id)
        for event, _, _ in accepted
        if isinstance(event.data, WorkerMerged)
    }


async def _store(
    conn: Connection, accepted: Sequence[Accepted], now: datetime, *, lane: str
) -> tuple[list[HrEvent], list[HrEvent]]:
    """Store what is new; the new events, and those of them whose id said something else.

    Two transactions that cannot see each other can store one id each as the first: then the later
    one has to look again. They store in one order, so that neither waits for the other for ever.

    Raises:
        TryAgain: somebody has just stored one of these ids.
    """
    contents = await timelines_store.contents_of(conn, [event for event, _, _ in accepted])
    fresh, contradicting, variants = [], [], []
    for each in sorted(accepted, key=lambda each: (each[0].organization, *each[0].order[1:])):
        event = each[0]
        known = contents.setdefault((event.organization, event.source, event.id), set())
        if event.fingerprint in known:
            continue
        if known:
            contradicting.append(event)
        variants.append(len(known))
        known.add(event.fingerprint)
        fresh.append(each)
    await timelines_store.add_events(conn, fresh, variants, lane=lane, now=now)
    return [event for event, _, _ in fresh], contradicting


async def _accept(conn: Connection, recompute: Recompute, batch: Batch[HrEvent]) -> list[Accepted]:
    """The events whose source may speak for the organization, with their instants resolved."""
    compiled = await recompute.directories.current(
        conn, {item.parsed.organization for item in batch.items}
    )
    accepted = []
    for item in batch.items:
        event = item.parsed
        known = compiled.get(event.organization)
        if known is None:
            batch.reject(item, Rejected("unknown_organization", "it has no directory yet"))
            continue
        by_hand = event.source == CONSOLE_SOURCE and event.entered_by is not None
        if event.source not in known.sources and not by_hand:
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


ReviewFact = ReviewDecided | ReviewExpired | CampaignExpired
"""What is done about access: a person decided, or nobody did in time."""

REVIEW_FACTS: Mapping[str, type[ReviewFact]] = {
    "review.decided": ReviewDecided,
    "review.corrected": ReviewCorrected,
    "review.expired": ReviewExpired,
    "campaign.expired": CampaignExpired,
}

NO_ANSWER = "no_answer"
"""Who decided, where nobody did."""


@dataclass(frozen=True, slots=True)
class ReviewWord:
    """A review event, and what is to be done about access if it says so."""

    organization: str
    fact: ReviewFact | None


class ReviewDecisionHandler:
    """Keeps review decisions; a removal is an input of desired access until approved anew.

    What nobody answered in time is removed under the brake: it is parked under its cause, which is
    judged once all of it has been heard of.
    """

    def __init__(self, recompute: Recompute) -> None:
        self._recompute = recompute

    def parse(self, record: Record) -> ReviewWord:
        """What is to be done after a review event; others concern nobody here."""
        envelope: Envelope = read_event(record)
        model = REVIEW_FACTS.get(envelope.type)
        if model is None:
            return ReviewWord(envelope.organization, None)
        try:
            said = model.model_validate_json(envelope.data)
        except ValueError as error:
            raise Rejected("invalid_data", "the review event lacks a field") from error
        if isinstance(said, ReviewExpired) and said.consequence == "escalate":
            return ReviewWord(envelope.organization, None)
        return ReviewWord(envelope.organization, said)

    async def apply(self, conn: Connection, batch: Batch[ReviewWord]) -> None:
        """Store decisions and recompute the workers they concern."""
        words = [
            (item.parsed.organization, item.parsed.fact)
            for item in batch.items
            if item.parsed.fact is not None
        ]
        if not words:
            return
        keys = {
            (organization, fact.worker)
            for organization, fact in words
            if not isinstance(fact, CampaignExpired)
        }
        locked = await workers_store.lock_workers(conn, keys)
        cause: dict[WorkerKey, tuple[str, ...]] = {}
        for organization, fact in words:
            if isinstance(fact, CampaignExpired):
                continue
            key = (organization, fact.worker)
            if await self._save(conn, organization, fact):
                cause[key] = (*cause.get(key, ()), fact.review_id)
        await self._recompute.run(conn, in_same_cluster(locked, set(cause)), cause=cause)
        for organization, fact in sorted(words, key=lambda word: word[0]):
            if isinstance(fact, ReviewExpired):
                await brake_store.note_cause(
                    conn, organization, fact.cause_id, fact.expired_at, fact.cause_lines
                )
            elif isinstance(fact, CampaignExpired):
                await brake_store.note_cause(
                    conn, organization, fact.cause_id, fact.expired_at, fact.lines
                )

    async def _save(
        self, conn: Connection, organization: str, fact: ReviewDecided | ReviewExpired
    ) -> bool:
        """Keep a decision, or that nobody decided on some lines; whether any of it is news."""
        if isinstance(fact, ReviewDecided):
            return await reviews_store.save_review_decision(
                conn,
                organization,
                review_id=fact.review_id,
                line_id=fact.line_id,
                worker=fact.worker,
                portal=fact.portal,
                tin=fact.tin,
                function=fact.function,
                operation_id=fact.operation_id,
                decided_by=fact.decided_by,
                decided_at=fact.decided_at,
                decision=fact.decision,
            )
        news = False
        for line in fact.lines:
            news |= await reviews_store.save_review_decision(
                conn,
                organization,
                review_id=fact.review_id,
                line_id=line.line_id,
                worker=fact.worker,
                portal=line.portal,
                tin=line.tin,
                function=line.function,
                operation_id=line.operation_id,
                decided_by=NO_ANSWER,
                decided_at=fact.expired_at,
                decision="remove",
                cause_id=fact.cause_id,
                consequence=fact.consequence,
            )
        return news


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
