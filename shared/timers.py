"""Durable timers and the loops that look for work that has become due.

A due key is read without a lock, whatever it concerns is locked in the service's lock order, and
only then is the timer taken with `DELETE … RETURNING`: replicas may race for it, one takes it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from shared.postgres import Connection

logger = structlog.get_logger(__name__)

DUE_BATCH = 200
"""How many due keys one transaction takes: a termination never waits for more than these."""


@dataclass(frozen=True, slots=True)
class Timer:
    """Something to do at `due_at` (UTC); one per kind and key, setting it again moves it."""

    kind: str
    key: str
    due_at: datetime
    payload: dict[str, Any]


async def set_timers(conn: Connection, timers: Sequence[Timer]) -> None:
    """Set or move timers; of several for one kind and key the last counts."""
    # In one order, so that two transactions that move the same timers cannot deadlock.
    last = {(timer.kind, timer.key): timer for timer in timers}
    timers = [last[each] for each in sorted(last)]
    if not timers:
        return
    await conn.execute(
        """
        INSERT INTO timer (kind, key, due_at, payload)
        SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::jsonb[])
        ON CONFLICT (kind, key) DO UPDATE SET due_at = excluded.due_at, payload = excluded.payload
        """,
        [timer.kind for timer in timers],
        [timer.key for timer in timers],
        [timer.due_at for timer in timers],
        [timer.payload for timer in timers],
    )


async def due_keys(conn: Connection, kind: str, now: datetime, limit: int = DUE_BATCH) -> list[str]:
    """Keys of a kind that are due at `now`, oldest first; nothing is locked or taken."""
    rows = await conn.fetch(
        "SELECT key FROM timer WHERE kind = $1 AND due_at <= $2 ORDER BY due_at, key LIMIT $3",
        kind,
        now,
        limit,
    )
    return [row["key"] for row in rows]


async def take(conn: Connection, kind: str, keys: Sequence[str], now: datetime) -> list[Timer]:
    """Take the due ones among `keys`; what another replica took first is absent."""
    rows = await conn.fetch(
        "DELETE FROM timer WHERE kind = $1 AND key = ANY($2::text[]) AND due_at <= $3"
        " RETURNING kind, key, due_at, payload",
        kind,
        list(keys),
        now,
    )
    return [Timer(row["kind"], row["key"], row["due_at"], row["payload"]) for row in rows]


async def cancel(conn: Connection, kind: str, keys: Sequence[str]) -> None:
    """Forget timers that are no longer wanted."""
    await conn.execute("DELETE FROM timer WHERE kind = $1 AND key = ANY($2::text[])", kind, keys)


class Ticker:
    """Calls `work` again at once while it finds something, else after `idle_seconds`.

    Args:
        work: does one bounded piece and returns how much it did; 0 means nothing was due.
        rest: how long to pause after a piece, as a share of the time it took, so that work that
            can wait leaves processor and locks to work that cannot.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[int]],
        *,
        idle_seconds: float,
        rest: float = 0.0,
    ) -> None:
        self._name = name
        self._work = work
        self._idle_seconds = idle_seconds
        self._rest = rest
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    async def start(self) -> None:
        """Begin ticking in the running event loop."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    def wake(self) -> None:
        """Look for work at once instead of when the idle time is over."""
        self._woken.set()

    async def stop(self) -> None:
        """Stop; a piece of work under way is cancelled and its transaction rolled back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            self._woken.clear()
            try:
                done = await self._work()
            except Exception:
                # The next tick tries again; a ticker that ended would stop time silently.
                logger.exception("ticker.failed", ticker=self._name)
                done = 0
            took = time.monotonic() - began
            if done:
                await asyncio.sleep(took * self._rest)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self._idle_seconds)
