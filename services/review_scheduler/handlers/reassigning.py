"""Asking somebody else where a reviewer left, or is away with nobody covering for them."""

from datetime import datetime
from functools import partial
from typing import Any

import asyncpg

from services.review_scheduler import events
from services.review_scheduler.rules.ladder import Pending, never_asked
from services.review_scheduler.rules.reviewers import Person, choose_reviewer
from services.review_scheduler.store.delegations import delegates_of
from services.review_scheduler.store.directory import DirectoryView, load_directory
from services.review_scheduler.store.waiting import (
    REASSIGN_TIMER,
    Asked,
    holders_of,
    load_pending,
    reviews_of_reviewer,
    store_asked,
)
from services.review_scheduler.store.workers import load_people_around, lock_workers
from shared.clock import Clock
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction
from shared.timers import DUE_BATCH, Timer, due_keys, set_timers, take


async def reassign_next(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Have reviews of the next reviewers who cannot answer asked of others; how many were due."""
    async with pool.acquire() as conn:
        keys = await due_keys(conn, REASSIGN_TIMER, await clock.now(conn))
    for key in keys:
        await in_transaction(pool, partial(_reassign, clock, key))
    return len(keys)


async def _reassign(clock: Clock, key: str, conn: Connection) -> None:
    organization, _, reviewer = key.partition("/")
    review_ids = await reviews_of_reviewer(conn, organization, reviewer, DUE_BATCH)
    await lock_workers(conn, await holders_of(conn, review_ids))
    now = await clock.now(conn)
    if not await take(conn, REASSIGN_TIMER, [key], now):
        return
    directory = await load_directory(conn, organization)
    pending = [each for each in await load_pending(conn, review_ids) if each.reviewer == reviewer]
    around = {reviewer, *(each.worker for each in pending)}
    people = await load_people_around(
        conn, organization, [(organization, each) for each in around], directory
    )
    person = people.get(reviewer)
    today = directory.calendar.day(now)
    covered = reviewer in await delegates_of(conn, organization, [reviewer], today)
    if not pending or (person is not None and person.present):
        return
    if covered:
        # Looked at again when work begins on the next business day.
        at = directory.calendar.morning(directory.calendar.count(today, 1))
        await set_timers(conn, [Timer(REASSIGN_TIMER, key, at, {})])
        return
    asked = [_ask(each, people, directory, now) for each in pending]
    await store_asked(conn, asked)
    said = [
        events.review_reassigned(review, each, "reviewer_left", None, now)
        for review, each in zip(pending, asked, strict=True)
    ]
    await enqueue(conn, said, held=True)
    if len(review_ids) == DUE_BATCH:
        await set_timers(conn, [Timer(REASSIGN_TIMER, key, now, {})])


def _ask(
    review: Pending, people: dict[str, Person], directory: DirectoryView, now: datetime
) -> Asked:
    choice = choose_reviewer(
        review.worker,
        review.portals[0],
        people,
        directory.administrators,
        directory.calendar.day(now),
        never_asked(review, directory.reviews),
    )
    return Asked(
        review.review_id,
        choice.reviewer,
        choice.rule,
        review.due_at,
        review.rung,
        review.escalations,
    )
