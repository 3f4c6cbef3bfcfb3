"""Keeping the picture of who has what, and drawing the consequences for reviews."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import structlog

from services.review_scheduler import events
from services.review_scheduler.handlers.calendars import set_calendars
from services.review_scheduler.handlers.looking import asked_about, look_key, look_timer
from services.review_scheduler.handlers.opening import open_micro_reviews
from services.review_scheduler.handlers.removals import watch_removals
from services.review_scheduler.handlers.settling import settle_reviews
from services.review_scheduler.rules.lines import LINE_MOVES, Line, LineMove, Outcome, follow
from services.review_scheduler.rules.live import logins_in
from services.review_scheduler.rules.occasions import Due, Waiting, changes, due, known_in
from services.review_scheduler.rules.opening import Holder
from services.review_scheduler.rules.roles import holdings_in, role_in, supervisor_in
from services.review_scheduler.store.coverage import store_holdings
from services.review_scheduler.store.directory import (
    DirectoryView,
    load_directory,
    store_directory,
)
from services.review_scheduler.store.reviews import (
    LineUpdate,
    load_unsettled_lines,
    store_progress,
)
from services.review_scheduler.store.waiting import REASSIGN_TIMER
from services.review_scheduler.store.workers import (
    WorkerKey,
    WorkerPicture,
    WorkerRow,
    lock_workers,
    store_pictures,
)
from shared.clock import Clock
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

CALENDAR_KINDS = frozenset({"organization", "review_policy", "portal_clock"})
"""What decides when campaigns begin."""

KINDS = CALENDAR_KINDS | {"policy", "portal", "administrator", "job_duty"}
"""The kinds of directory objects that reviews depend on."""


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
        changed = await store_directory(conn, list(objects.values()))
        for organization in sorted({key[0] for key in changed if key[1] in CALENDAR_KINDS}):
            await set_calendars(self._clock, organization, conn)

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
        directories = {
            each: await load_directory(conn, each) for each in sorted({key[0] for key in newer})
        }
        lines = await load_unsettled_lines(conn, {each for key in newer for each in ids[key]})
        dues = {
            key: _due(known[key], state, directories[key[0]], now) for key, state in newer.items()
        }
        pictures = [_picture(state, known[key], dues[key].waiting) for key, state in newer.items()]
        await store_pictures(conn, pictures)
        await store_holdings(conn, pictures)
        moved = {key for key, what in dues.items() if any(each.whole for each in what.triggers)}
        outcomes = {
            line: outcome
            for key, state in newer.items()
            for own in ids[key]
            for line in lines.get(own, ())
            if (outcome := follow(line, state, holdings_in(state), moved=key in moved))
        }
        outgoing = await _store_outcomes(conn, outcomes, now)
        for organization, directory in directories.items():
            found = [
                asked
                for key, what in dues.items()
                if key[0] == organization
                for trigger in what.triggers
                if (asked := asked_about(_holder(newer[key]), trigger, _left(lines, key, outcomes)))
            ]
            outgoing += await open_micro_reviews(conn, found, directory, now)
        await enqueue(conn, outgoing, held=True)
        await settle_reviews(conn, {line.review_id for line in outcomes}, now)
        await set_timers(conn, list(_timers(newer, dues, known, now)))
        return len(newer)


def _all_ids(state: WorkerState) -> list[WorkerKey]:
    """The worker, and the ids that were merged into theirs: reviews may be about any of them."""
    return [(state.organization, worker) for worker in (state.worker, *state.aliases)]


def _picture(state: WorkerState, known: WorkerRow, waiting: tuple[Waiting, ...]) -> WorkerPicture:
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
        known_in(state),
        waiting,
    )


def _due(known: WorkerRow, state: WorkerState, directory: DirectoryView, now: datetime) -> Due:
    """What a newer state asks for now, later, or once access has come back."""
    policy = directory.reviews
    found = changes(known.known, known.role, state, role_in(state), policy)
    return due(
        known_in(state),
        holdings_in(state),
        found,
        known.waiting,
        policy,
        directory.calendar,
        now,
    )


def _holder(state: WorkerState) -> Holder:
    return Holder(state.organization, state.worker, state.duties, holdings_in(state))


def _left(
    lines: Mapping[WorkerKey, Sequence[Line]], key: WorkerKey, outcomes: Collection[Line]
) -> list[Line]:
    """A worker's lines that nothing has just moved."""
    return [line for line in lines.get(key, ()) if line not in outcomes]


def _timers(
    states: Mapping[WorkerKey, WorkerState],
    dues: Mapping[WorkerKey, Due],
    known: Mapping[WorkerKey, WorkerRow],
    now: datetime,
) -> Iterable[Timer]:
    """When to look at workers again, and at the reviews of those who cannot answer any more."""
    for key, what in dues.items():
        if what.look_at is not None:
            yield look_timer(key, what.look_at)
        before = known[key].known
        was_here = before is not None and before.status is WorkerStatus.ACTIVE
        if was_here and states[key].status is not WorkerStatus.ACTIVE:
            yield Timer(REASSIGN_TIMER, look_key(key), now, {})


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
