"""Deciding about workers of whom something was heard, in bounded pieces, by several at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import structlog

from services.provisioning.handlers.recompute import Recompute
from services.provisioning.store import undecided as undecided_store
from services.provisioning.store import workers as workers_store
from services.provisioning.store.undecided import SHARDS, Place
from shared.postgres import Connection, TryAgain, in_transaction, is_transient
from shared.timers import Ticker

logger = structlog.get_logger(__name__)

DECIDERS = 2
"""In one process: Python decides for one while PostgreSQL reads and writes for the other."""

DECIDE_IDLE_SECONDS = 0.25
"""Whoever takes events in wakes the deciders of its process; others look for what was stored."""

DECIDE_WORKERS = 200
"""A termination may have to wait for one such transaction; more gain little."""


class Decider:
    """Goes round the undecided workers and decides about each once.

    Several may work at once, in one process or in many, each at a shard of its own. However many
    events of a worker wait, one decision takes them all: a backlog makes each event cheaper.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        recompute: Recompute,
        *,
        begin_with: int = 0,
        most: int = DECIDE_WORKERS,
    ) -> None:
        self._pool = pool
        self._recompute = recompute
        self._most = most
        self._behind: Place = (begin_with, "", "")

    async def decide_next(self) -> int:
        """Decide about the next undecided workers that nobody else is at; how many.

        Raises:
            asyncpg.PostgresError, OSError: PostgreSQL does not answer; nothing is lost.
        """
        for _ in range(SHARDS):
            places = await self._pick()
            if places is None:
                break
            if places and (done := await self._decide(places)):
                return done
        return 0

    async def _pick(self) -> list[Place] | None:
        """The next places of one shard, and the round moved behind them; None if all is decided."""
        async with self._pool.acquire() as conn:
            places = await undecided_store.next_undecided(conn, self._behind, self._most)
            if not places:
                shard = await undecided_store.next_shard(conn, self._behind[0])
                if shard is None:
                    return None
                self._behind = (shard, "", "")
                places = await undecided_store.next_undecided(conn, self._behind, self._most)
        if places:
            self._behind = places[-1]
        return places

    async def _decide(self, places: Sequence[Place]) -> int:
        try:
            return await in_transaction(self._pool, lambda conn: self._decide_in(conn, places))
        except Exception as error:
            if isinstance(error, TryAgain) or is_transient(error):
                raise
            return await self._narrow_down(places, error)

    async def _decide_in(self, conn: Connection, places: Sequence[Place]) -> int:
        if not await undecided_store.hold_shard(conn, places[0][0]):
            # Whoever holds it is most likely at these very workers.
            self._behind = ((places[0][0] + 1) % SHARDS, "", "")
            return 0
        locked = await workers_store.lock_workers(conn, [place[1:] for place in places])
        await self._recompute.run(conn, locked, only_timelines_changed=True)
        return len(places)

    async def _narrow_down(self, places: Sequence[Place], error: Exception) -> int:
        """Nobody waits behind a worker about whom deciding raises what nobody foresaw."""
        if len(places) > 1:
            middle = len(places) // 2
            return await self._decide(places[:middle]) + await self._decide(places[middle:])
        logger.error("worker.set_aside", worker=places[0][1:], error=repr(error))

        async def set_aside(conn: Connection) -> int:
            await workers_store.lock_workers(conn, [places[0][1:]])
            await undecided_store.set_aside(conn, places[0], type(error).__name__)
            return 1

        return await in_transaction(self._pool, set_aside)


def decide_tickers(
    pool: asyncpg.Pool[Any], recompute: Recompute, *, begin_with: int = 0
) -> list[Ticker]:
    """The deciders of one process; of several processes each should begin with another shard."""
    return [
        Ticker(
            f"decide-{number}",
            Decider(
                pool, recompute, begin_with=begin_with + number * SHARDS // DECIDERS
            ).decide_next,
            idle_seconds=DECIDE_IDLE_SECONDS,
        )
        for number in range(DECIDERS)
    ]
