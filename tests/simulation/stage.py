"""One actor moves at a time: a seeded scheduler holds each at every call of the database.

Actors are asyncio tasks with a connection of their own. Before each statement, and before and after
each commit, an actor waits for its turn; with its turn it may be told to crash, or that PostgreSQL
wants the transaction again. An actor that waits for a lock in PostgreSQL is seen to wait and left
alone until somebody lets go of a lock, so a seed plays the same way every time.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from shared.postgres import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROBE_SECONDS = 0.004
STUCK_SECONDS = 20.0
TRACE_STEPS = 80


class CrashNow(BaseException):
    """The actor's process dies here; nothing it runs may catch this."""


class Stuck(AssertionError):
    """Nobody can move any more."""


class Standing(Enum):
    READY = "ready"
    RUNNING = "running"
    BLOCKED = "blocked"
    GONE = "gone"


class Fate(Enum):
    GO = "go"
    CRASH = "crash"
    AGAIN = "again"


@dataclass(eq=False, slots=True)
class Actor:
    """Somebody who uses the database."""

    name: str
    conn: Connection
    standing: Standing = Standing.READY
    turn: asyncio.Future[Fate] | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    in_call: bool = False
    in_transaction: bool = False
    let_go: bool = False


@dataclass(slots=True)
class Odds:
    """How probable each trouble is at each step of a round."""

    crash: float = 0.0
    again: float = 0.0
    crash_after_commit: float = 0.0
    stay: float = 0.5
    """That the actor who moved last moves again; low values interleave finely."""
    clock_jump: float = 0.0


_acting: ContextVar[Actor | None] = ContextVar("acting", default=None)


class SimulatedClock:
    """Moves a little with every reading, as the database's does, and by leaps between steps."""

    def __init__(self) -> None:
        self.at = datetime.min
        self.frozen = False

    async def now(self, conn: Connection) -> datetime:
        if not self.frozen:
            self.at += timedelta(milliseconds=1)
        return self.at


class Stage:
    """Runs actors one step at a time.

    Args:
        conns: as many connections as actors may be on stage at once, and one for asides.
        watcher: a connection that looks who waits for whom.
    """

    def __init__(
        self, conns: Sequence[Connection], watcher: Connection, clock: SimulatedClock
    ) -> None:
        self._conns = conns[1:]
        self._aside = Actor("aside", conns[0])
        self._watcher = watcher
        self._clock = clock
        self._actors: list[Actor] = []
        self.pool = cast("asyncpg.Pool[Any]", _GatedPool(self))
        self.odds = Odds()
        self.random = Random(0)
        self.trace: deque[str] = deque(maxlen=TRACE_STEPS)
        self.steps = 0
        self.digest = 0
        self.crashes = 0
        self.waits = 0

    def begin(self, random: Random) -> None:
        """Forget the last play."""
        self.random = random
        self.trace.clear()
        self.steps = self.digest = self.crashes = self.waits = 0

    async def play(self, parts: Mapping[str, Callable[[], Awaitable[None]]], odds: Odds) -> None:
        """Let all parts run to their ends, interleaved.

        Raises:
            whatever a part raises.
        """
        self.odds = odds
        self._actors = [
            Actor(name, conn) for name, conn in zip(sorted(parts), self._conns, strict=False)
        ]
        assert len(self._actors) == len(parts), "too few connections"
        tasks = [
            asyncio.create_task(self._act(actor, parts[actor.name]), name=actor.name)
            for actor in self._actors
        ]
        try:
            await self._direct(tasks)
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._actors = []

    async def _act(self, actor: Actor, part: Callable[[], Awaitable[None]]) -> None:
        _acting.set(actor)
        try:
            await self._wait_for_turn(actor)
            await part()
        finally:
            actor.standing = Standing.GONE
            actor.arrived.set()

    async def _direct(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        await asyncio.sleep(0)
        last: Actor | None = None
        idle = 0.0
        while True:
            for task in tasks:
                if task.done():
                    task.result()
            ready = [actor for actor in self._actors if actor.standing is Standing.READY]
            if not ready:
                if all(actor.standing is Standing.GONE for actor in self._actors):
                    return
                # Everybody waits for somebody: PostgreSQL will end one of them.
                idle += PROBE_SECONDS
                if idle > STUCK_SECONDS:
                    raise Stuck("nobody can move")
                await asyncio.sleep(PROBE_SECONDS)
                await self._look_after_the_blocked()
                continue
            idle = 0.0
            if last not in ready or self.random.random() >= self.odds.stay:
                last = self.random.choice(ready)
            await self._move(last)

    async def _move(self, actor: Actor) -> None:
        turn = actor.turn
        assert turn is not None
        if self.odds.clock_jump and self.random.random() < self.odds.clock_jump:
            self._clock.at += timedelta(hours=self.random.choice([0.02, 0.5, 3, 20, 60]))
        fate = Fate.GO
        if actor.in_transaction:
            chance = self.random.random()
            if chance < self.odds.crash:
                fate = Fate.CRASH
            elif chance < self.odds.crash + self.odds.again:
                fate = Fate.AGAIN
        actor.standing, actor.let_go = Standing.RUNNING, False
        actor.arrived.clear()
        turn.set_result(fate)
        await self._settle(actor)
        if actor.let_go or actor.standing is Standing.GONE:
            await self._look_after_the_blocked()

    async def _settle(self, actor: Actor) -> None:
        """Until the actor waits for its next turn, has gone, or waits in PostgreSQL."""
        started = asyncio.get_running_loop().time()
        while actor.standing is Standing.RUNNING:
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    await actor.arrived.wait()
            except TimeoutError:
                if actor.in_call and await self._waits_in_the_database(actor):
                    if actor.standing is Standing.RUNNING:
                        actor.standing = Standing.BLOCKED
                        self.waits += 1
                    return
            if asyncio.get_running_loop().time() - started > STUCK_SECONDS:
                raise Stuck(f"{actor.name} never came back")

    async def _look_after_the_blocked(self) -> None:
        for actor in self._actors:
            if actor.standing is Standing.BLOCKED and not await self._waits_in_the_database(actor):
                if actor.standing is Standing.BLOCKED:
                    actor.standing = Standing.RUNNING
                await self._settle(actor)

    async def _waits_in_the_database(self, actor: Actor) -> bool:
        waits: bool = await self._watcher.fetchval(
            "SELECT cardinality(pg_blocking_pids($1)) > 0", actor.conn.get_server_pid()
        )
        return waits

    # -- what the gated connection calls

    def acting(self) -> Actor:
        """Whose call this is; without a play, an aside that nobody holds up."""
        return _acting.get() or self._aside

    async def _wait_for_turn(self, actor: Actor) -> Fate:
        actor.turn = asyncio.get_running_loop().create_future()
        actor.standing = Standing.READY
        actor.arrived.set()
        return await actor.turn

    async def turn(self, what: str) -> Actor:
        """Wait for the turn to do something.

        Raises:
            CrashNow: the process dies instead.
            asyncpg.DeadlockDetectedError: PostgreSQL wants the transaction again.
        """
        actor = self.acting()
        if actor is self._aside:
            return actor
        fate = await self._wait_for_turn(actor)
        self.steps += 1
        self._note(f"{self._clock.at:%m-%d %H:%M:%S.%f} {actor.name}: {fate.value} {what}")
        if fate is Fate.CRASH:
            self.crashes += 1
            raise CrashNow(actor.name)
        if fate is Fate.AGAIN:
            raise asyncpg.DeadlockDetectedError("the simulation says so")
        return actor

    def dies_after_commit(self) -> bool:
        """Whether the process dies between its commit and telling anybody."""
        if self.acting() is self._aside or self.random.random() >= self.odds.crash_after_commit:
            return False
        self.crashes += 1
        self._note(f"{self.acting().name}: crash after commit")
        return True

    def _note(self, line: str) -> None:
        self.trace.append(line)
        self.digest = zlib.crc32(line.encode(), self.digest)


class _GatedPool:
    """Gives every actor its own connection."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[_GatedConnection]:
        yield _GatedConnection(self._stage)


class _GatedConnection:
    """A connection on which every call waits for its turn."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def transaction(self) -> _GatedTransaction:
        return _GatedTransaction(self._stage)

    async def fetch(self, query: str, *args: Any) -> Any:
        return await self._call("fetch", query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        return await self._call("fetchrow", query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await self._call("fetchval", query, *args)

    async def execute(self, query: str, *args: Any) -> Any:
        return await self._call("execute", query, *args)

    async def copy_records_to_table(self, table: str, **more: Any) -> Any:
        return await self._call("copy_records_to_table", table, **more)

    async def _call(self, method: str, query: str, *args: Any, **more: Any) -> Any:
        actor = await self._stage.turn(" ".join(query.split())[:60])
        actor.in_call = True
        try:
            return await getattr(actor.conn, method)(query, *args, **more)
        finally:
            actor.in_call = False


class _GatedTransaction:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def __aenter__(self) -> None:
        actor = await self._stage.turn("BEGIN")
        self._actor = actor
        self._real = actor.conn.transaction()
        await self._real.start()
        actor.in_transaction = True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            await self._end(self._real.rollback)
            return
        try:
            await self._stage.turn("COMMIT")
        except BaseException:
            await self._end(self._real.rollback)
            raise
        await self._end(self._real.commit)
        if self._stage.dies_after_commit():
            raise CrashNow(self._actor.name)

    async def _end(self, how: Callable[[], Awaitable[None]]) -> None:
        self._actor.in_transaction = False
        self._actor.let_go = True
        await how()
