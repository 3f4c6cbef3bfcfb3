"""Looking at workers again when time has brought something: idle logins, access that came back."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import asyncpg

from services.review_scheduler.handlers.opening import open_micro_reviews
from services.review_scheduler.rules.lines import Line, LineStatus
from services.review_scheduler.rules.occasions import Trigger, due
from services.review_scheduler.rules.opening import Holder
from services.review_scheduler.store.directory import load_directory
from services.review_scheduler.store.reviews import load_unsettled_lines
from services.review_scheduler.store.workers import (
    WorkerKey,
    load_holders,
    lock_workers,
    store_waiting,
)
from shared.clock import Clock
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction
from shared.timers import Timer, due_keys, set_timers, take

LOOK_TIMER = "look"
"""Keyed organization/worker: the next instant at which time alone may open a review."""


def look_key(key: WorkerKey) -> str:
    """The key of a worker's timer; an organization's id has no slash."""
    return "/".join(key)


def asked_about(
    holder: Holder, trigger: Trigger, lines: Collection[Line]
) -> tuple[Holder, Trigger] | None:
    """What a trigger asks of a holder; what another micro-review asks already is left to it.

    None: nothing is left to ask.
    """
    asking = {
        line.target
        for line in lines
        if line.campaign_id is None and line.status is LineStatus.UNDECIDED
    }
    holdings = tuple(
        held for held in holder.holdings if trigger.asks(held) and held.target not in asking
    )
    return (replace(holder, holdings=holdings), trigger) if holdings else None


async def look_again(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Open what has become due about the next workers; how many were looked at."""
    async with pool.acquire() as conn:
        keys = await due_keys(conn, LOOK_TIMER, await clock.now(conn))
    if keys:
        await in_transaction(pool, partial(_look, clock, keys))
    return len(keys)


async def _look(clock: Clock, keys: Sequence[str], conn: Connection) -> None:
    wanted = [(key.partition("/")[0], key.partition("/")[2]) for key in keys]
    rows = await lock_workers(conn, wanted)
    now = await clock.now(conn)
    taken = {timer.key for timer in await take(conn, LOOK_TIMER, keys, now)}
    mine = [key for key in wanted if look_key(key) in taken]
    holders = {(each.organization, each.worker): each for each in await load_holders(conn, mine)}
    lines = await load_unsettled_lines(conn, mine)
    for organization in sorted({key[0] for key in mine}):
        directory = await load_directory(conn, organization)
        found: list[tuple[Holder, Trigger]] = []
        timers: list[Timer] = []
        for key in mine:
            known = rows[key].known
            if key[0] != organization or known is None:
                continue
            holder = holders.get(key)
            what = due(
                known,
                holder.holdings if holder else (),
                (),
                rows[key].waiting,
                directory.reviews,
                directory.calendar,
                now,
            )
            asked = [
                asked_about(holder, trigger, lines.get(key, ())) if holder else None
                for trigger in what.triggers
            ]
            found += [each for each in asked if each is not None]
            if what.waiting != rows[key].waiting:
                await store_waiting(conn, key, what.waiting)
            if what.look_at is not None:
                timers.append(look_timer(key, what.look_at))
        await enqueue(conn, await open_micro_reviews(conn, found, directory, now), held=True)
        await set_timers(conn, timers)


def look_timer(key: WorkerKey, at: datetime) -> Timer:
    """Have a worker looked at again."""
    return Timer(LOOK_TIMER, look_key(key), at, {})
