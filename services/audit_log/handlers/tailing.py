"""The live tail: the log is read once for all who follow it, and each gets what they asked for.

A reader first catches up from the log, then joins those who hear of each new entry as it is
appended; where it joins is decided without waiting, so nothing is missed and nothing comes twice.
A reader that does not keep up is let go: it asks again with the last entry that it saw.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
import structlog

from services.audit_log import store
from services.audit_log.context import Reading
from services.audit_log.crypto import KeyUnavailable, PayloadAltered
from services.audit_log.reading import Showing, read_leaf, unseal
from services.audit_log.rules import chain
from shared.auth import Principal
from shared.tlog.leaf import LeafError, Opening, RecordLeaf

logger = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
ENTRIES_PER_READ = 200
KEEPALIVE_SECONDS = 15.0
"""Proxies close what is silent for longer; a comment line keeps them from it."""

WAITING_MAX = 1_000
"""Entries that may wait for a reader; one that lets more wait is let go."""

Group = tuple[str, bool]
"""Whose entries somebody sees, and whether those that name no organization are opened to them."""


@dataclass(frozen=True, slots=True)
class Told:
    """An entry as it is told to one group of readers, and the terms that it has."""

    index: int
    event: bytes
    terms: frozenset[int]


@dataclass(slots=True, eq=False)
class Follower:
    """One who follows from the index `since` on; `wanted` are the terms that an entry must have."""

    group: Group
    wanted: frozenset[int]
    since: int
    waiting: asyncio.Queue[Told] = field(default_factory=lambda: asyncio.Queue(WAITING_MAX))
    behind: bool = False


class Tail:
    """Reads the log for everybody who follows it; reads nothing while nobody does."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._followers: set[Follower] = set()
        self._position = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    async def follow(
        self, who: Principal, after: int | None, wanted: frozenset[int]
    ) -> AsyncIterator[bytes]:
        """Server-sent events of entries behind the index `after`, or new ones, until cancelled.

        It ends by itself only where the reader fell behind, with a last event that says so.
        """
        yield b": the id of each event is the index of its entry\n\n"
        group = (who.organization, who.may("ops:admin"))
        size = await self._size()
        position = size if after is None else min(after + 1, size)
        last = position - 1
        while (end := await self._size()) - position > ENTRIES_PER_READ:
            end = min(end, position + ENTRIES_PER_READ)
            told = await self._read(group, position, end)
            position = end
            if found := _matching(told, wanted):
                last = found[-1].index
                yield b"".join(each.event for each in found)
        follower = Follower(group, wanted, position)
        joined_at = self._join(follower, await self._size())
        try:
            if found := _matching(await self._read(group, position, joined_at), wanted):
                last = found[-1].index
                yield b"".join(each.event for each in found)
            last = max(last, joined_at - 1)
            async for chunk in _hear(follower, last):
                yield chunk
        finally:
            self._followers.discard(follower)

    def _join(self, follower: Follower, size: int) -> int:
        """Hear of every entry from the returned index on."""
        if self._task is None or self._task.done():
            self._position = size
            self._task = asyncio.create_task(self._tell_all())
        self._followers.add(follower)
        return self._position

    async def _size(self) -> int:
        async with self._reading.pool.acquire() as conn:
            head = await store.read_head(conn)
        return head[1] if head else 0

    async def _tell_all(self) -> None:
        while self._followers:
            try:
                size = await self._size()
                end = min(size, self._position + ENTRIES_PER_READ)
                for group in {follower.group for follower in self._followers}:
                    self._tell(group, await self._read(group, self._position, end))
                # Whoever joined while this was read has its own beginning.
                self._position = end
                if end == size:
                    await asyncio.sleep(POLL_SECONDS)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                logger.warning("tail.waits", error=repr(error))
                await asyncio.sleep(1)

    def _tell(self, group: Group, told: list[Told]) -> None:
        for follower in [each for each in self._followers if each.group == group]:
            for each in told:
                # A reader may have seen more of the log than what is told just now.
                if each.index >= follower.since and follower.wanted <= each.terms:
                    try:
                        follower.waiting.put_nowait(each)
                    except asyncio.QueueFull:
                        follower.behind = True
                        self._followers.discard(follower)
                        break

    async def _read(self, group: Group, start: int, end: int) -> list[Told]:
        """The entries `[start, end)` that a group sees, ready to be sent."""
        if start >= end:
            return []
        organization, opens_all = group
        scopes = frozenset({"audit:read"} | ({"ops:admin"} if opens_all else set()))
        showing = Showing(self._reading.keys, Principal(organization, "", None, scopes, ""))
        async with self._reading.pool.acquire() as conn:
            found = await store.read_range(conn, start, end)
            shown = await showing.show(conn, found, payloads=False)
        return [
            Told(entry.index, _event(one), self._terms(entry))
            for entry, one in zip(found, shown, strict=True)
            if one["organization"] in ("", None, organization)
        ]

    def _terms(self, entry: store.StoredEntry) -> frozenset[int]:
        leaf, terms = read_leaf(entry.leaf), self._reading.terms
        if not isinstance(leaf, RecordLeaf):
            return frozenset(terms.of_leaf(None, getattr(leaf, "topic", "")))
        if entry.key_slot is not None and entry.payload is not None:
            with suppress(KeyUnavailable, PayloadAltered, LeafError):
                raw = unseal(self._reading.keys, entry.leaf, entry.key_slot, entry.payload)
                opening = Opening.decode(raw)
                holder = chain.keyholder(leaf.topic, leaf.type, opening.key)
                return frozenset(terms.of_record(leaf, opening, holder))
        return frozenset(terms.of_leaf(leaf, leaf.topic))


async def _hear(follower: Follower, last: int) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(KEEPALIVE_SECONDS):
                told = [await follower.waiting.get()]
        except TimeoutError:
            # An id without data is remembered by the reader, and shows it nothing.
            yield b": nothing new\nid: %d\n\n" % last if last >= 0 else b": nothing new\n\n"
            continue
        while not follower.waiting.empty():
            told.append(follower.waiting.get_nowait())
        last = told[-1].index
        yield b"".join(each.event for each in told)
        if follower.behind and follower.waiting.empty():
            yield b"event: behind\nid: %d\ndata: {}\n\n" % last
            return


def _matching(told: list[Told], wanted: frozenset[int]) -> list[Told]:
    return [each for each in told if wanted <= each.terms]


def _event(shown: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (shown["index"], orjson.dumps(shown))
