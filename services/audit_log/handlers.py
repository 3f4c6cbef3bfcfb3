"""Records in, entries out: all that can be computed is computed before the head is locked.

A record is never refused: what cannot be read is an entry like any other. Only the log itself can
stop (its disk, its keys, its tables), and then it stops as a whole, because a record that were put
aside as a dead letter would be missing from the log.
"""

import asyncio
import hashlib
import os
from dataclasses import dataclass

import structlog
from aiokafka import ConsumerRecord

from services.audit_log import chain, store
from services.audit_log.crypto import Holder, Key, KeyStore
from shared.clock import Clock
from shared.contracts.envelope import Envelope, read_event, rfc3339
from shared.errors import Rejected
from shared.kafka import Batch, Gap
from shared.postgres import Connection, is_transient
from shared.tlog.leaf import NONCE_BYTES, GapLeaf
from shared.tlog.merkle import leaf_hash

logger = structlog.get_logger(__name__)

NONCES_BYTES = 3 * NONCE_BYTES


class LogStopped(OSError):
    """Nothing can be appended, whatever the record: the consumer tries again, and again."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A record as an entry, all but encrypted."""

    leaf: bytes
    leaf_hash: bytes
    context: bytes
    opening: bytes
    holder: Holder | None
    found: store.Found


class AuditHandler:
    """Appends batches to the log of one origin."""

    def __init__(self, origin: str, keys: KeyStore, clock: Clock) -> None:
        self._origin = origin
        self._keys = keys
        self._clock = clock

    def parse(self, record: ConsumerRecord[bytes | None, bytes | None]) -> Draft:
        """The entry of a record; every record has one."""
        headers = tuple(record.headers)
        leaf, opening = chain.commit_record(
            self._origin,
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            headers,
            record.value,
            os.urandom(NONCES_BYTES),
        )
        encoded = leaf.encode()
        return Draft(
            encoded,
            leaf_hash(encoded),
            f"{record.topic}/{record.partition}/{record.offset}".encode(),
            opening,
            chain.keyholder(record.topic, record.key),
            _found(record, leaf.organization, leaf.type),
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

    async def _append(self, conn: Connection, batch: Batch[Draft]) -> None:
        entries = await self._encrypt(batch)
        hashes = [hashed for _, hashed in entries]
        recorded_at = await self._clock.now(conn)
        size = await store.lock_head(conn)
        growth = chain.grow(size, await store.read_edges(conn), hashes)
        await store.append(conn, size, [entry for entry, _ in entries], growth, recorded_at)

    async def _encrypt(self, batch: Batch[Draft]) -> list[tuple[store.NewEntry, bytes]]:
        """Entries with their leaf hashes, in the order of the log: by partition and offset."""
        keys = await self._keys_for([item.parsed for item in batch.items])
        entries: list[tuple[tuple[str, int, int], store.NewEntry, bytes]] = []
        for item, key in zip(batch.items, keys, strict=True):
            record, draft = item.record, item.parsed
            entry = store.NewEntry(
                draft.leaf, key.slot, key.seal(draft.context, draft.opening), draft.found
            )
            place = (record.topic, record.partition, record.offset)
            entries.append((place, entry, draft.leaf_hash))
        for gap in batch.gaps:
            entry = self._gap_entry(gap)
            entries.append(((gap.topic, gap.partition, gap.first), entry, leaf_hash(entry.leaf)))
        entries.sort(key=lambda placed: placed[0])
        return [(entry, hashed) for _, entry, hashed in entries]

    async def _keys_for(self, drafts: list[Draft]) -> list[Key]:
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
        leaf = GapLeaf(self._origin, gap.topic, gap.partition, gap.first, gap.last)
        found = store.Found("", "", gap.topic, "", None, None)
        return store.NewEntry(leaf.encode(), None, None, found)


def _found(
    record: ConsumerRecord[bytes | None, bytes | None], organization: str, type_: str
) -> store.Found:
    try:
        event = read_event(record)
    except Rejected:
        return store.Found(organization, type_, record.topic, "", None, None)
    return store.Found(
        organization, type_, record.topic, event.subject, _identity(event), _content(event)
    )


def _identity(event: Envelope) -> int:
    """64 bits of what makes an event the same event again."""
    return _bits(f"{event.organization}\x00{event.source}\x00{event.id}".encode())


def _content(event: Envelope) -> int:
    """64 bits of what an event says."""
    said = f"{event.type}\x00{event.subject}\x00{rfc3339(event.time)}\x00".encode()
    return _bits(said + event.data)


def _bits(raw: bytes) -> int:
    digest = hashlib.blake2b(raw, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
