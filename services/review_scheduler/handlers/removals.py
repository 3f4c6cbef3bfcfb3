"""Removals that were decided and must be seen through: overdue ones are said, once."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg

from services.review_scheduler import events
from services.review_scheduler.rules.lines import LineStatus
from services.review_scheduler.store.reviews import (
    LineDecision,
    LineUpdate,
    holders_of,
    load_lines_by_id,
    mark_overdue,
)
from services.review_scheduler.store.workers import lock_workers
from shared.clock import Clock
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction
from shared.timers import Timer, cancel, due_keys, set_timers, take

REMOVAL_TIMER = "removal"
"""The kind of the timer, keyed by line, at which a removal should be gone from the portal."""

REMOVAL_DUE_DAYS = 3
"""By when a removal must be gone while no order with a deadline of its own is known."""

UNDER_WAY = (LineStatus.REMOVAL_DECIDED, LineStatus.REMOVAL_ORDERED)


def removal_due(decided_at: datetime) -> datetime:
    """By when (UTC) a removal decided now must be gone, before its order says otherwise."""
    return decided_at + timedelta(days=REMOVAL_DUE_DAYS)


async def watch_removals(
    conn: Connection, lines: Iterable[LineUpdate] | Iterable[LineDecision]
) -> None:
    """Set the timers of removals that begin or move, forget those of what is no removal now.

    The caller holds the locks of their holders.
    """
    watched, over = [], []
    for line in lines:
        if line.status not in UNDER_WAY:
            over.append(str(line.line_id))
        elif line.removal_due_at is not None:
            watched.append(Timer(REMOVAL_TIMER, str(line.line_id), line.removal_due_at, {}))
    await set_timers(conn, watched)
    if over:
        await cancel(conn, REMOVAL_TIMER, over)


async def say_overdue_removals(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Say of removals past their due date that they are overdue; how many were due."""
    async with pool.acquire() as conn:
        keys = await due_keys(conn, REMOVAL_TIMER, await clock.now(conn))
    if keys:
        await in_transaction(pool, partial(_say_overdue, clock, [UUID(key) for key in keys]))
    return len(keys)


async def _say_overdue(clock: Clock, line_ids: list[UUID], conn: Connection) -> None:
    await lock_workers(conn, await holders_of(conn, line_ids))
    now = await clock.now(conn)
    due = await take(conn, REMOVAL_TIMER, [str(each) for each in line_ids], now)
    reviewers = await mark_overdue(conn, [UUID(timer.key) for timer in due], now)
    lines = await load_lines_by_id(conn, reviewers)
    said = [events.removal_overdue(line, reviewers[line.line_id], now) for line in lines.values()]
    await enqueue(conn, said, held=True)
