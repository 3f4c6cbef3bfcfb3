"""Climbing the ladder: reminders, telling others, and what follows when nobody answers in time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg

from services.review_scheduler import events
from services.review_scheduler.handlers.removals import removal_due, watch_removals
from services.review_scheduler.handlers.settling import settle_reviews
from services.review_scheduler.rules.ladder import (
    ESCALATIONS_MAX,
    Pending,
    campaign_of,
    cause_of,
    current_rung,
    never_asked,
    next_step_at,
    passed_rung,
    recipients,
)
from services.review_scheduler.rules.lines import LINE_MOVES, LineMove, LineStatus
from services.review_scheduler.rules.reviewers import Choice, Person, next_reviewer
from services.review_scheduler.store.coverage import note_decided
from services.review_scheduler.store.delegations import delegates_of
from services.review_scheduler.store.directory import DirectoryView, load_directory
from services.review_scheduler.store.waiting import (
    EXPIRED_TIMER,
    LADDER_TIMER,
    Asked,
    count_expired,
    expire_lines,
    expire_reviews,
    holders_of,
    load_pending,
    lock_campaign,
    store_asked,
    store_rungs,
    undecided_lines,
)
from services.review_scheduler.store.workers import load_people_around, lock_workers
from shared.clock import Clock
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection, in_transaction
from shared.timers import Timer, due_keys, set_timers, take

NO_ANSWER = "nobody answered by the due date"


@dataclass(slots=True)
class _Steps:
    """What has become due of the reviews of one organization."""

    directory: DirectoryView
    people: Mapping[str, Person]
    delegates: Mapping[str, tuple[str, ...]]
    now: datetime
    told: list[tuple[UUID, int]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    overdue: list[Pending] = field(default_factory=list)
    unanswered: list[Pending] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    messages: list[OutboxMessage] = field(default_factory=list)

    def take(self, review: Pending) -> None:
        """Take the step that is due now; of several that were missed, only the last."""
        if review.due_at <= self.now and review.expired_at is None:
            if review.no_answer == "escalate":
                self.overdue.append(review)
                self._ask_the_next(review)
            else:
                self.unanswered.append(review)
            return
        policy, calendar = self.directory.reviews, self.directory.calendar
        rung = current_rung(review, policy, calendar, self.now)
        if rung is not None:
            to = recipients(
                rung,
                review,
                self.people,
                self.directory.administrators,
                self.delegates.get(review.reviewer or "", ()),
                calendar.day(self.now),
            )
            self.told.append((review.review_id, rung.days))
            self.messages.append(events.rung_told(review, rung, to, self.now))
        self._set_timer(review.review_id, review.due_at, expired=review.expired_at is not None)

    def _ask_the_next(self, review: Pending) -> None:
        choice = Choice(None, "review_admin_queue")
        if review.escalations < ESCALATIONS_MAX:
            choice = next_reviewer(
                review.worker,
                review.reviewer,
                review.portals[0],
                self.people,
                self.directory.administrators,
                self.directory.calendar.day(self.now),
                never_asked(review, self.directory.reviews),
            )
        policy, calendar = self.directory.reviews, self.directory.calendar
        if review.reviewer is None:
            # Nobody is left to ask: it stays with holders of review:admin, overdue.
            self._set_timer(review.review_id, review.due_at, expired=True)
            return
        due_at = calendar.due_after_business_days(self.now, policy.escalated_days)
        asked = Asked(
            review.review_id,
            choice.reviewer,
            choice.rule,
            due_at,
            passed_rung(due_at, policy, calendar, self.now),
            review.escalations + 1,
        )
        self.asked.append(asked)
        self.messages.append(events.review_reassigned(review, asked, "no_answer", None, self.now))
        self._set_timer(review.review_id, due_at, expired=False)

    def _set_timer(self, review_id: UUID, due_at: datetime, *, expired: bool) -> None:
        at = next_step_at(
            due_at,
            expired=expired,
            policy=self.directory.reviews,
            calendar=self.directory.calendar,
            now=self.now,
        )
        if at is not None:
            self.timers.append(Timer(LADDER_TIMER, str(review_id), at, {}))


async def climb(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Take the steps of the next reviews for which an instant has come; how many were due."""
    async with pool.acquire() as conn:
        keys = await due_keys(conn, LADDER_TIMER, await clock.now(conn))
    if keys:
        await in_transaction(pool, partial(_climb, clock, keys))
    return len(keys)


async def _climb(clock: Clock, keys: Sequence[str], conn: Connection) -> None:
    await lock_workers(conn, await holders_of(conn, [UUID(key) for key in keys]))
    now = await clock.now(conn)
    taken = [UUID(timer.key) for timer in await take(conn, LADDER_TIMER, keys, now)]
    pending = await load_pending(conn, taken)
    for organization in sorted({each.organization for each in pending}):
        own = [each for each in pending if each.organization == organization]
        steps = await _steps(conn, organization, own, now)
        for review in own:
            steps.take(review)
        await _store(conn, steps)


async def _steps(
    conn: Connection, organization: str, reviews: Sequence[Pending], now: datetime
) -> _Steps:
    directory = await load_directory(conn, organization)
    reviewers = {each.reviewer for each in reviews if each.reviewer is not None}
    around = reviewers | {each.worker for each in reviews}
    people = await load_people_around(
        conn, organization, [(organization, each) for each in around], directory
    )
    today = directory.calendar.day(now)
    delegates = await delegates_of(conn, organization, reviewers, today)
    return _Steps(directory, people, delegates, now)


async def _store(conn: Connection, steps: _Steps) -> None:
    now, calendar = steps.now, steps.directory.calendar
    expired = [each.review_id for each in (*steps.overdue, *steps.unanswered)]
    lines = await undecided_lines(conn, expired) if expired else {}
    said = [
        events.review_expired(each, lines[each.review_id], cause_of(each, calendar), now)
        for each in (*steps.overdue, *steps.unanswered)
    ]
    if steps.told:
        await store_rungs(conn, steps.told)
    if steps.asked:
        await store_asked(conn, steps.asked)
    final = [each.review_id for each in steps.overdue if each.reviewer is None]
    final += [each.review_id for each in steps.unanswered]
    if final:
        await expire_reviews(conn, final, now)
    gone = [each.review_id for each in steps.unanswered]
    if gone:
        status = LINE_MOVES[LineStatus.UNDECIDED][LineMove.EXPIRE]
        due_at = removal_due(now)
        updates = await expire_lines(conn, gone, status, NO_ANSWER, now, due_at)
        await note_decided(conn, [each.line_id for each in updates], now)
        await watch_removals(conn, updates)
    await enqueue(conn, [*said, *steps.messages], held=True)
    if gone:
        await settle_reviews(conn, gone, now)
    await set_timers(conn, [*steps.timers, *_causes(steps.unanswered, steps)])


def _causes(unanswered: Iterable[Pending], steps: _Steps) -> Iterable[Timer]:
    """To say, once all of it has been said, what expired of a campaign."""
    for review in unanswered:
        if review.campaign_id is not None:
            yield Timer(
                EXPIRED_TIMER,
                cause_of(review, steps.directory.calendar),
                steps.now,
                {"due_at": review.due_at.isoformat()},
            )


async def say_what_expired(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Say of campaigns of which everything due has expired that it has; how many were."""
    async with pool.acquire() as conn:
        causes = await due_keys(conn, EXPIRED_TIMER, await clock.now(conn))
    said = 0
    for cause in causes:
        said += await in_transaction(pool, partial(_say_expired, clock, cause))
    return said


async def _say_expired(clock: Clock, cause: str, conn: Connection) -> int:
    campaign_id = campaign_of(cause)
    organization = await lock_campaign(conn, campaign_id)
    now = await clock.now(conn)
    timers = await take(conn, EXPIRED_TIMER, [cause], now)
    if not timers:
        return 0
    due_at = datetime.fromisoformat(timers[0].payload["due_at"])
    lines, complete = await count_expired(conn, campaign_id, due_at)
    if not complete or organization is None:
        # The rest is being said; each of it sets this timer again.
        return 0
    message = events.campaign_expired(organization, campaign_id, cause, due_at, lines, now)
    await enqueue(conn, [message], held=True)
    return 1
