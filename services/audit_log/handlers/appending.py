"""Records in, entries out: all that can be computed is computed before the head is locked.

A record is never refused: what cannot be read is an entry like any other. Only the log itself can
stop (its disk, its keys, its tables), and then it stops as a whole, because a record that were put
aside as a dead letter would be missing from the log.
"""

import asyncio
import base64
from dataclasses import dataclass

import structlog
from aiokafka import ConsumerRecord

from services.audit_log import store
from services.audit_log.crypto import NONCE_BYTES, Holder, Key, KeyStore, RandomBytes
from services.audit_log.rules import chain
from services.audit_log.store.succession import read_predecessors
from shared.clock import Clock
from shared.kafka import Batch, Gap
from shared.postgres import Connection, is_transient
from shared.tlog.leaf import SEED_BYTES, GapLeaf, SuccessionLeaf, claims, commit, encode_record
from shared.tlog.merkle import leaf_hash

logger = structlog.get_logger(__name__)


class LogStopped(OSError):
    """Nothing can be appended, whatever the record: the consumer tries again, and again."""


@dataclass(slots=True)
class Draft:
    """A record as an entry, all but encrypted. `context` tells the cipher which record it is."""

    entry: store.NewEntry
    opening: bytes
    context: bytes
    holder: Holder | None


class AuditHandler:
    """Appends batches to the log of one origin."""

    def __init__(self, origin: str, keys: KeyStore, clock: Clock) -> None:
        self._origin = origin
        self._keys = keys
        self._clock = clock
        self._random = RandomBytes()

    def parse(self, record: ConsumerRecord[bytes | None, bytes | None]) -> Draft:
        """The entry of a record; every record has one."""
        topic, partition, offset = record.topic, record.partition, record.offset
        commitments, opening = commit(
            self._random.take(SEED_BYTES), record.key, record.headers, record.value
        )
        headers = dict(record.headers)
        claimed = claims(headers, record.value)
        leaf = encode_record(
            self._origin, topic, partition, offset, record.timestamp, claimed, commitments
        )
        return Draft(
            store.NewEntry(leaf, leaf_hash(leaf), None, None),
            opening,
            f"{topic}/{partition}/{offset}".encode(),
            chain.keyholder(topic, claimed[1], record.key),
        )

    async def apply(self, conn: Connection, batch: Batch[Draft]) -> None:
        """Append one entry for each record and each gap.

        Raises:
            LogStopped: for whatever reason; the whole batch is tried again.
        """
        try:
            await self._append(conn, batch)
        except Exception as error:
            if is_transient(error):
                raise
            logger.exception("log.stopped")
            raise LogStopped(f"the log cannot be written: {error!r}") from error

    async def mark_restart(self, conn: Connection, gap: Gap) -> None:
        """Append that a partition begins anew, where an operator accepted another topic's log.

        The mark is a gap without offsets, which ends before it begins: the next record of the
        partition has the offset at which it begins, whatever came before. A gap with offsets gets
        its entry when the next record is appended.
        """
        if gap.last < gap.first:
            await self._append_entries(conn, [self._gap_entry(gap)])

    async def begin_successor(self, conn: Connection) -> None:
        """Append a successor's first entry, which carries the last checkpoint of the log before.

        Beside it is the note by which that log's key names this one's, unless the key was lost.
        """
        before = await read_predecessors(conn)
        if before and await store.lock_head(conn) == 0:
            note, statement = (
                base64.b64encode((each or "").encode()).decode()
                for each in (before[-1].note, before[-1].statement)
            )
            leaf = SuccessionLeaf(self._origin, note, statement).encode()
            await self._append_entries(conn, [store.NewEntry(leaf, leaf_hash(leaf), None, None)])

    async def _append(self, conn: Connection, batch: Batch[Draft]) -> None:
        await self._append_entries(conn, await self._entries(batch))

    async def _append_entries(self, conn: Connection, entries: list[store.NewEntry]) -> None:
        recorded_at = await self._clock.now(conn)
        size = await store.lock_head(conn)
        edges = await store.read_edges(conn)
        growth = chain.grow(size, edges, [entry.leaf_hash for entry in entries])
        await store.append(conn, size, entries, growth, recorded_at)

    async def _entries(self, batch: Batch[Draft]) -> list[store.NewEntry]:
        """The batch's entries in an order that keeps each partition's."""
        drafts = [item.parsed for item in batch.items]
        for draft, key in zip(drafts, await self._keys_for(drafts), strict=True):
            draft.entry.key_slot = key.slot
            nonce = self._random.take(NONCE_BYTES)
            draft.entry.payload = key.seal(draft.context, draft.opening, nonce)
        if not batch.gaps:
            return [draft.entry for draft in drafts]
        placed = [
            ((item.record.topic, item.record.partition, item.record.offset), item.parsed.entry)
            for item in batch.items
        ]
        placed += [
            ((gap.topic, gap.partition, gap.first), self._gap_entry(gap)) for gap in batch.gaps
        ]
        placed.sort(key=lambda entry: entry[0])
        return [entry for _, entry in placed]

    async def _keys_for(self, drafts: list[Draft]) -> list[Key]:
        self._keys.notice_destroyed()
        held = {
            holder: self._keys.held(holder)
            for holder in {draft.holder for draft in drafts}
            if holder is not None
        }
        missing = [holder for holder, key in held.items() if key is None]
        nobodys = sum(draft.holder is None for draft in drafts)
        made: list[Key] = []
        if missing or nobodys:
            provided, made = await asyncio.to_thread(self._keys.provide, missing, nobodys)
            held.update(provided)
        single = iter(made)
        keys = []
        for draft in drafts:
            key = next(single) if draft.holder is None else held[draft.holder]
            assert key is not None
            keys.append(key)
        return keys

    def _gap_entry(self, gap: Gap) -> store.NewEntry:
        leaf = GapLeaf(self._origin, gap.topic, gap.partition, gap.first, gap.last).encode()
        return store.NewEntry(leaf, leaf_hash(leaf), None, None)
