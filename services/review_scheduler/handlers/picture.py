"""Keeping the picture of who has what, and drawing the consequences for reviews."""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

import structlog

from services.review_scheduler import events
from services.review_scheduler.handlers.removals import watch_removals
from services.review_scheduler.handlers.settling import settle_reviews
from services.review_scheduler.rules.calendar import micro_review_due, next_quarter_start
from services.review_scheduler.rules.lines import LINE_MOVES, Line, LineMove, Outcome, follow
from services.review_scheduler.rules.live import logins_in
from services.review_scheduler.rules.opening import Holder, NewReview, Occasion, build_reviews
from services.review_scheduler.rules.roles import (
    explain_role_change,
    holdings_in,
    role_in,
    supervisor_in,
)
from services.review_scheduler.store.directory import (
    CALENDAR_TIMER,
    calendar_due_at,
    load_directory,
    store_directory,
)
from services.review_scheduler.store.reviews import (
    LineUpdate,
    add_reviews,
    load_unsettled_lines,
    store_progress,
)
from services.review_scheduler.store.workers import (
    WorkerKey,
    WorkerPicture,
    WorkerRow,
    load_people_around,
    lock_workers,
    store_pictures,
)
from shared.clock import Clock
from shared.contracts.directory import Organization
from shared.contracts.state import WorkerState, WorkerStatus
from shared.contracts.topics import DIRECTORY_EVENTS
from shared.kafka import Batch, Record
from shared.kafka.compacted import (
    DirectoryChange,
    newest,
    read_directory_object,
    read_worker_state,
)
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection
from shared.timers import Timer, set_timers

logger = structlog.get_logger(__name__)

Change: TypeAlias = "WorkerState | DirectoryChange | None"
"""What a record tells; None for kinds of directory objects that reviews do not depend on."""

KINDS = frozenset({"organization", "policy", "review_policy", "administrator", "job_duty"})
"""The kinds of directory objects that reviews depend on."""

UNKNOWN_ZONE = ZoneInfo("UTC")
"""For due dates while the organization's own zone has not arrived."""


class PictureHandler:
    """Applies worker states and directory objects, each only when newer than what is known."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def parse(self, record: Record) -> Change:
        """The worker state or directory object in a record of either topic.

        Raises:
            Rejected: the record has another key than its content, or no version, or is malformed.
        """
        if record.topic == DIRECTORY_EVENTS.name:
            return read_directory_object(record, KINDS)
        return read_worker_state(record)

    async def apply(self, conn: Connection, batch: Batch[Change]) -> None:
        """Make the newest of everything in the batch true."""
        changes = [item.parsed for item in batch.items]
        objects = newest(
            (each for each in changes if isinstance(each, DirectoryChange)),
            lambda each: (each.organization, each.kind, each.id),
        )
        states = newest(
            (each for each in changes if isinstance(each, WorkerState)),
            lambda each: (each.organization, each.worker),
        )
        await self._apply_directory(conn, objects)
        applied = await self._apply_states(conn, states)
        logger.info("picture.applied", records=len(batch.items), workers=applied)

    async def _apply_directory(
        self, conn: Connection, objects: Mapping[tuple[str, str, str], DirectoryChange]
    ) -> None:
        if not objects:
            return
        for key in await store_directory(conn, list(objects.values())):
            value = objects[key].value
            if isinstance(value, Organization):
                await self._set_calendar(conn, value)

    async def _set_calendar(self, conn: Connection, organization: Organization) -> None:
        """Have the next quarter opened, by the organization's zone.

        One that is due already is left to be opened: a service that was down over the turn of a
        quarter must not skip it because the directory came first.
        """
        now = await self._clock.now(conn)
        due_at = await calendar_due_at(conn, organization.id)
        if due_at is None or due_at > now:
            wanted = next_quarter_start(now, ZoneInfo(organization.zone))
            await set_timers(conn, [Timer(CALENDAR_TIMER, organization.id, wanted, {})])

    async def _apply_states(self, conn: Connection, states: Mapping[WorkerKey, WorkerState]) -> int:
        if not states:
            return 0
        ids = {key: _all_ids(state) for key, state in states.items()}
        known = await lock_workers(conn, {each for own in ids.values() for each in own})
        newer = {
            key: state
            for key, state in states.items()
            if (state.epoch, state.version) > (known[key].epoch, known[key].version)
        }
        if not newer:
            return 0
        now = await self._clock.now(conn)
        lines = await load_unsettled_lines(conn, {each for key in newer for each in ids[key]})
        await store_pictures(conn, [_picture(state, known[key]) for key, state in newer.items()])
        reasons = {
            key: reason
            for key, state in newer.items()
            if (reason := explain_role_change(known[key].role, role_in(state)))
            and holdings_in(state)
        }
        outcomes = {
            line: outcome
            for key, state in newer.items()
            for own in ids[key]
            for line in lines.get(own, ())
            if (outcome := follow(line, state, holdings_in(state), moved=key in reasons))
        }
        outgoing = await _store_outcomes(conn, outcomes, now)
        reviews = await _build_micro_reviews(conn, newer, reasons, now)
        if reviews:
            await add_reviews(conn, reviews)
            outgoing += [events.review_opened(review) for review in reviews]
        await enqueue(conn, outgoing, held=True)
        await settle_reviews(conn, {line.review_id for line in outcomes}, now)
        return len(newer)


def _all_ids(state: WorkerState) -> list[WorkerKey]:
    """The worker, and the ids that were merged into theirs: reviews may be about any of them."""
    return [(state.organization, worker) for worker in (state.worker, *state.aliases)]


def _picture(state: WorkerState, known: WorkerRow) -> WorkerPicture:
    return WorkerPicture(
        state.organization,
        state.worker,
        state.epoch,
        state.version,
        state.status,
        state.name,
        state.merged_into,
        supervisor_in(state),
        None if state.status is WorkerStatus.ERASED else role_in(state) or known.role,
        holdings_in(state),
        logins_in(state),
    )


async def _store_outcomes(
    conn: Connection, outcomes: Mapping[Line, Outcome], now: datetime
) -> list[OutboxMessage]:
    """Move lines as decided; the events to publish for those that are moot or gone."""
    updates, outgoing = [], []
    for line, outcome in outcomes.items():
        status = LINE_MOVES[line.status][outcome.move]
        ordered, removed = outcome.move is LineMove.ORDER, outcome.move is LineMove.CONFIRM
        updates.append(
            LineUpdate(
                line.line_id,
                status,
                outcome.detail,
                ordered_at=now if ordered else None,
                removal_due_at=outcome.due_at,
                removed_at=now if removed else None,
                removed_grade=outcome.grade,
            )
        )
        if outcome.moot is not None:
            outgoing.append(events.line_moot(line, outcome.moot, outcome.detail, now))
        if removed:
            outgoing.append(events.line_removed(line, outcome, now))
    if updates:
        await store_progress(conn, updates)
        await watch_removals(conn, updates)
    return outgoing


async def _build_micro_reviews(
    conn: Connection,
    states: Mapping[WorkerKey, WorkerState],
    reasons: Mapping[WorkerKey, str],
    now: datetime,
) -> list[NewReview]:
    """A review for each worker whose role changed, by the people and directory as they are now."""
    reviews: list[NewReview] = []
    for organization in sorted({key[0] for key in reasons}):
        keys = [key for key in reasons if key[0] == organization]
        directory = await load_directory(conn, organization)
        zone = ZoneInfo(directory.organization.zone) if directory.organization else UNKNOWN_ZONE
        people = await load_people_around(conn, organization, keys, directory)
        for key in keys:
            state = states[key]
            occasion = Occasion(
                ("micro", str(state.epoch), str(state.version)),
                None,
                "role_changed",
                reasons[key],
                now,
                micro_review_due(now, zone),
                "escalate",
            )
            holder = Holder(organization, state.worker, state.duties, holdings_in(state))
            reviews += build_reviews(
                occasion,
                holder,
                people,
                directory.administrators,
                directory.job_duties,
                now.astimezone(zone).date(),
            )
    return reviews
