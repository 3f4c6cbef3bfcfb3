"""Erasing a worker: the key is destroyed, search forgets the person, and every proof still holds.

Refused under a legal hold, inside retention, and while access or operations are open. What is
erased is written down before anything is destroyed, so that a crash in between leaves an erasure
that is finished on the next start, and never a destroyed key that nobody knows of.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from services.audit_log import store
from services.audit_log.asking import Asked
from services.audit_log.context import Reading
from services.audit_log.crypto import KeyUnavailable, PayloadAltered
from services.audit_log.reading import read_leaf, unseal
from services.audit_log.rules import chain
from services.audit_log.rules.terms import Query, refused_about
from services.audit_log.store import exports, keeping, search, succession
from services.audit_log.store.keeping import Erasure, Hold
from shared.auth import Principal
from shared.contracts.admin import CommandAccepted
from shared.contracts.envelope import event_key
from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS, DEAD_LETTERS
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction
from shared.tlog.leaf import Opening, RecordLeaf

RETENTION_YEARS = 6
"""Six years from creation, or from when access was last in effect (45 CFR 164.316(b)(2)(i))."""

ENTRIES_PER_READ = 2_000


class Eraser:
    """Erases workers of one installation's log.

    Args:
        years: how long entries are kept; ten by choice, never less than `RETENTION_YEARS`.
        caught_up: whether everything published about workers' access has been seen.
    """

    def __init__(
        self, reading: Reading, years: int, caught_up: Callable[[], Awaitable[bool]]
    ) -> None:
        self._reading = reading
        self._caught_up = caught_up
        self._years = max(years, RETENTION_YEARS)

    async def begin(self, conn: Connection, who: Principal, worker: str, reason: str) -> Erasure:
        """Check that a worker may be erased, and write down that they will be.

        Raises:
            Problem: 409 with the rule that forbids it.
        """
        organization = who.organization
        await keeping.lock_holds(conn)
        now = await self._reading.clock.now(conn)
        if not await search.is_there(conn) or await self._behind(conn):
            raise Problem(409, "search_behind", "Search is catching up; ask again soon.")
        if not await self._caught_up():
            raise Problem(409, "access_unknown", "Who has access is being read; ask again soon.")
        access = await keeping.read_access(conn, organization, [worker])
        if any(each.in_effect or each.open_operations for each in access):
            raise Problem(
                409,
                "access_open",
                "Access is in effect or operations are open; close them first.",
            )
        names = _names(worker, access)
        frozen = await self._frozen_entries(conn, organization, names)
        for hold in await keeping.read_holds(conn, organization, active=True):
            if await self._covers(conn, hold, names, frozen):
                raise Problem(
                    409,
                    "legal_hold",
                    f"A legal hold on {hold.kind} {hold.subject} covers what would be erased.",
                )
        newest = [each.last_in_effect for each in access if each.last_in_effect is not None]
        newest += [each.recorded_at for each in frozen]
        await self._check_retention(conn, organization, names, newest, now)
        begun = await keeping.begin_erasure(conn, organization, worker, reason, who.subject, now)
        await enqueue(
            conn,
            [
                fact(
                    ADMIN_EVENTS,
                    "command.accepted",
                    source="/portalkeeper/audit_log",
                    organization=organization,
                    subject=who.subject,
                    cause=("erasure", str(begun.id)),
                    time=now,
                    data=CommandAccepted("audit.erase", worker),
                )
            ],
        )
        return begun

    async def finish(self, erasure: Erasure) -> Erasure:
        """Destroy the keys and let search forget the person; may be repeated."""
        keys = self._reading.keys
        async with self._reading.pool.acquire() as conn:
            access = await keeping.read_access(conn, erasure.organization, [erasure.worker])
            names = _names(erasure.worker, access)
            slots = await self._slots_of_dead_letters(conn, erasure.organization, names)
        holders = [(erasure.organization, name) for name in names]
        destroyed = await asyncio.to_thread(keys.destroy, holders, slots)

        async def hide(conn: Connection) -> Erasure:
            hidden = 0
            for name in names:
                hidden += await self._hide(conn, erasure, name)
            await keeping.forget_person(conn, erasure.organization, names)
            # They hold what the person's entries say in the clear, and files are not looked into.
            await exports.forget_all(conn, erasure.organization)
            now = await self._reading.clock.now(conn)
            return await keeping.finish_erasure(conn, erasure.id, destroyed, hidden, now)

        return await in_transaction(self._reading.pool, hide)

    async def finish_all(self) -> int:
        """Finish what a crash interrupted; how many that were."""
        async with self._reading.pool.acquire() as conn:
            begun = await keeping.unfinished_erasures(conn)
        for erasure in begun:
            await self.finish(erasure)
        return len(begun)

    async def _behind(self, conn: Connection) -> bool:
        head = await store.read_head(conn)
        return head is not None and await search.position(conn) < head[1]

    async def _frozen_entries(
        self, conn: Connection, organization: str, names: list[str]
    ) -> list[store.StoredEntry]:
        """What logs before this one hold under the worker's keys; search does not know them."""
        predecessors = await succession.read_predecessors(conn)
        if not predecessors:
            return []
        holders = [(organization, name) for name in names]
        slots = await asyncio.to_thread(self._reading.keys.slots_of, holders)
        frozen: list[store.StoredEntry] = []
        for before in predecessors:
            frozen += await succession.read_keyed(conn, before.schema, slots)
        return frozen

    async def _covers(
        self, conn: Connection, hold: Hold, names: list[str], frozen: list[store.StoredEntry]
    ) -> bool:
        """Whether anything about the worker is under a hold."""
        if hold.kind == "organization":
            return True
        if hold.kind == "worker":
            return hold.subject in names
        for name in names:
            facets = (("worker", name), (hold.kind, hold.subject))
            terms = self._reading.terms.of_query(Query(hold.organization, facets))
            if await search.find(conn, terms, before=_ALL, limit=1):
                return True
        held = self._reading.terms.of_query(Query(hold.organization, ((hold.kind, hold.subject),)))
        return any(set(held) <= set(self._terms_of(each)) for each in frozen)

    def _terms_of(self, entry: store.StoredEntry) -> list[int]:
        """What search would find an entry by."""
        opened = self._opened(entry.sealed)
        if opened is None:
            return []
        leaf, opening = opened
        holder = chain.keyholder(leaf.topic, leaf.type, opening.key)
        return self._reading.terms.of_record(leaf, opening, holder)

    def _opened(self, entry: store.SealedEntry) -> tuple[RecordLeaf, Opening] | None:
        """A record with its leaf; None for one that cannot be read."""
        leaf = read_leaf(entry.leaf)
        if not isinstance(leaf, RecordLeaf) or entry.key_slot is None or entry.payload is None:
            return None
        try:
            raw = unseal(self._reading.keys, entry.leaf, entry.key_slot, entry.payload)
        except (KeyUnavailable, PayloadAltered):
            return None
        return leaf, Opening.decode(raw)

    async def _check_retention(
        self,
        conn: Connection,
        organization: str,
        names: list[str],
        newest: list[datetime],
        now: datetime,
    ) -> None:
        """Check that nothing about the worker must be kept.

        `newest` are instants at which their access was in effect, or something was recorded.
        """
        for name in names:
            terms = self._reading.terms.of_query(Asked(worker=name).query(organization))
            before = _ALL
            while found := await search.find(conn, terms, before=before, limit=200):
                entries = await store.read_entries(conn, found)
                own = [each for each in entries if self._is_keyed(each, organization, name)]
                if own:
                    newest.append(own[0].recorded_at)
                    break
                before = found[-1]
        if newest and (ends := years_later(max(newest), self._years)) > now:
            raise Problem(
                409,
                "inside_retention",
                f"What is kept about this worker must be kept until {ends:%Y-%m-%d}.",
            )

    def _is_keyed(self, entry: store.StoredEntry, organization: str, worker: str) -> bool:
        """Whether an entry is encrypted under the worker's own key, so that it would be erased."""
        leaf = read_leaf(entry.leaf)
        key = event_key(organization, worker).encode()
        return (
            isinstance(leaf, RecordLeaf)
            and entry.key_slot is not None
            and chain.keyholder(leaf.topic, leaf.type, key) == (organization, worker)
            and self._reading.keys.holds((organization, worker), entry.key_slot)
        )

    async def _slots_of_dead_letters(
        self, conn: Connection, organization: str, names: list[str]
    ) -> list[int]:
        """Keys of single records that could not be applied and were about the worker."""
        slots: list[int] = []
        for name in names:
            term = self._reading.terms.of_dead_letter(organization, name)
            found = await search.find(conn, [term], before=_ALL, limit=_ALL)
            for entry in await store.read_sealed(conn, found):
                if entry.key_slot is not None:
                    slots.append(entry.key_slot)
        for before in await succession.read_predecessors(conn):
            for entry in await succession.read_topic(conn, before.schema, DEAD_LETTERS.name):
                opened = self._opened(entry)
                if opened is None or opened[0].topic != DEAD_LETTERS.name:
                    continue
                about = refused_about(opened[1])
                if about in [(organization, name) for name in names] and entry.key_slot is not None:
                    slots.append(entry.key_slot)
        return slots

    async def _hide(self, conn: Connection, erasure: Erasure, worker: str) -> int:
        """Let what was encrypted under a destroyed key be found by its leaf alone.

        What is about a portal and names the worker stays, and is found by the rest.
        """
        organization = erasure.organization
        naming = self._reading.terms.of_worker(organization, worker)
        terms = [
            self._reading.terms.of_query(Asked(worker=worker).query(organization)),
            [self._reading.terms.of_dead_letter(organization, worker)],
        ]
        hidden = 0
        for wanted in terms:
            before = _ALL
            while found := await search.find(conn, wanted, before=before, limit=ENTRIES_PER_READ):
                plain: dict[int, list[int]] = {}
                others = []
                for entry in await store.read_entries(conn, found):
                    leaf = read_leaf(entry.leaf)
                    if isinstance(leaf, RecordLeaf) and not self._opens(entry):
                        plain[entry.index] = self._reading.terms.of_leaf(leaf, leaf.topic)
                    elif entry.recorded_at < erasure.begun_at:
                        others.append(entry.index)
                await search.remove_terms(conn, others, naming)
                await search.replace_terms(conn, plain)
                hidden += len(plain)
                before = found[-1]
        return hidden

    def _opens(self, entry: store.StoredEntry) -> bool:
        return entry.key_slot is None or self._reading.keys.is_whole(entry.key_slot)


_ALL = 2**62


def _names(worker: str, access: list[keeping.WorkerAccess]) -> list[str]:
    """All ids of a person: what happened under an id they had before is about them too."""
    named = [name for each in access for name in (each.worker, *each.aliases)]
    return list(dict.fromkeys([worker, *named]))


def years_later(instant: datetime, years: int) -> datetime:
    """The same day so many years later; the 28th of February where there is no 29th."""
    try:
        return instant.replace(year=instant.year + years)
    except ValueError:
        return instant.replace(year=instant.year + years, day=28)
