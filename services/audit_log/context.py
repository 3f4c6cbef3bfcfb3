"""What everything that reads the log shares."""

import base64
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import uuid4

import asyncpg
from fastapi import Query

from services.audit_log import store
from services.audit_log.crypto import KeyStore
from services.audit_log.rules.chain import subtree_hash, tiles_for
from services.audit_log.rules.terms import Terms
from services.audit_log.store import succession
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import AuditRead
from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction
from shared.tlog.merkle import Subtree, fold_path, fold_right, inclusion_path, subtrees

MAX_INDEX = 2**62

LogName = Annotated[
    str | None,
    Query(max_length=200, description="A log that this one follows, by its origin; else this one."),
]


@dataclass(frozen=True, slots=True)
class Reading:
    """What readers share: database, keys, whose clock dates a read, and terms to search by."""

    pool: "asyncpg.Pool[Any]"
    keys: KeyStore
    clock: Clock
    origin: str
    terms: Terms

    @asynccontextmanager
    async def log(self, origin: str | None) -> AsyncIterator[Connection]:
        """A connection that reads this log, or one that it follows.

        Raises:
            Problem: 404 when there is no such log here.
        """
        async with self.pool.acquire() as conn:
            if self._is_this(origin):
                yield conn
                return
            async with conn.transaction(readonly=True), self.turned_to(conn, origin):
                yield conn

    @asynccontextmanager
    async def turned_to(self, conn: Connection, origin: str | None) -> AsyncIterator[None]:
        """Let a transaction read the log called `origin` within the block, or this one for None.

        Raises:
            Problem: 404 when there is no such log here.
        """
        if self._is_this(origin):
            yield
            return
        before = await succession.read_predecessors(conn)
        schema = next((each.schema for each in before if each.origin == origin), None)
        if schema is None:
            raise Problem(404, "no_such_log", f"This is the log {self.origin}.")
        async with succession.turned_to(conn, schema):
            yield

    def _is_this(self, origin: str | None) -> bool:
        return origin is None or origin == self.origin

    async def record(
        self, conn: Connection, who: Principal, what: str, filters: dict[str, Any]
    ) -> None:
        """Write down that somebody reads; the event commits before they see anything."""
        asked = {name: str(value) for name, value in filters.items() if value is not None}
        await enqueue(
            conn,
            [
                fact(
                    ADMIN_EVENTS,
                    "audit.read",
                    source="/portalkeeper/audit_log",
                    organization=who.organization,
                    subject=who.subject,
                    cause=(str(uuid4()),),
                    time=await self.clock.now(conn),
                    data=AuditRead(what, asked),
                )
            ],
        )

    async def record_alone(self, who: Principal, what: str, filters: dict[str, Any]) -> None:
        """The same in a transaction of its own, before a stream begins."""
        await in_transaction(self.pool, lambda conn: self.record(conn, who, what, filters))

    async def checkpoint(self, conn: Connection) -> store.SignedCheckpoint:
        """The latest checkpoint of which every entry is there: a frozen log may have later ones.

        Raises:
            Problem: 409 when nothing is signed yet.
        """
        signed = await store.provable_checkpoint(conn)
        if signed is None:
            raise Problem(409, "not_yet_signed", "No checkpoint is signed yet; ask again soon.")
        return signed

    async def fold(self, conn: Connection, path: Iterable[list[Subtree]]) -> list[bytes]:
        """The hashes of a proof.

        Raises:
            Problem: 500 when tiles are missing.
        """
        parts = list(path)
        tiles = await store.read_tiles(conn, tiles_for(parts))
        try:
            return fold_path(parts, lambda subtree: subtree_hash(subtree, tiles))
        except (KeyError, ValueError) as error:
            raise Problem(
                500, "log_damaged", f"Tiles are missing; verify the log. ({error})"
            ) from error

    async def root(self, conn: Connection, size: int) -> bytes:
        """The root of the first `size` entries, from the tiles."""
        whole = [[subtree] for subtree in subtrees(0, size)]
        return fold_right(await self.fold(conn, whole))

    async def paths(
        self, conn: Connection, indexes: Iterable[int], size: int
    ) -> dict[int, list[bytes]]:
        """The hashes of the inclusion proofs of entries in the tree of `size`.

        Raises:
            Problem: 500 when tiles are missing.
        """
        wanted = {index: inclusion_path(index, size) for index in indexes}
        parts = [part for path in wanted.values() for part in path]
        tiles = await store.read_tiles(conn, tiles_for(parts))
        try:
            return {
                index: fold_path(path, lambda subtree: subtree_hash(subtree, tiles))
                for index, path in wanted.items()
            }
        except (KeyError, ValueError) as error:
            raise Problem(
                500, "log_damaged", f"Tiles are missing; verify the log. ({error})"
            ) from error


def not_searchable() -> Problem:
    """The refusal to search a log before this one."""
    return Problem(
        422, "not_searchable", "Search knows this log only: ask for the other without filters."
    )


def b64(raw: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(raw).decode()


def all_b64(hashes: Iterable[bytes]) -> list[str]:
    """Standard base64 of each."""
    return [b64(hashed) for hashed in hashes]
