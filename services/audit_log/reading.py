"""What readers see of entries: decrypted where they may, labelled, and put into JSON.

Labels are recomputed whenever an entry is shown, because they are no part of it: `unparseable` is a
record that is no event, `duplicate` repeats an older entry's event, `conflict` has the identity
(organization, source, id) of an older entry's event but says something else.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from services.audit_log import store
from services.audit_log.crypto import KeyStore, KeyUnavailable, PayloadAltered
from services.audit_log.rules.chain import event_names
from services.audit_log.store import search
from shared.auth import Principal
from shared.contracts.envelope import Envelope, read_event, rfc3339
from shared.errors import Rejected
from shared.postgres import Connection
from shared.tlog.leaf import (
    GapLeaf,
    Leaf,
    LeafError,
    Opening,
    RecordLeaf,
    SuccessionLeaf,
    parse_leaf,
)
from shared.tlog.merkle import leaf_hash

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """The part of a Kafka record that an opening holds."""

    key: bytes | None
    value: bytes | None
    headers: Iterable[tuple[str, bytes]]


def may_open(who: Principal, organization: str) -> bool:
    """Whether a reader may see payloads of an organization.

    What names no organization (an unreadable record, a dead letter) may hold anybody's data: only
    those who handle dead letters see it.
    """
    if organization:
        return organization == who.organization
    return who.may("ops:admin")


def organization_of(leaf: Leaf) -> str:
    """The organization that a leaf names; empty if none, as in gaps."""
    return leaf.organization if isinstance(leaf, RecordLeaf) else ""


def unseal(keys: KeyStore, leaf: bytes, key_slot: int, payload: bytes) -> bytes:
    """An entry's opening.

    Raises:
        KeyUnavailable: the key was destroyed or lost.
        PayloadAltered: the payload is not what was encrypted for this entry.
        LeafError: the leaf is damaged.
    """
    parsed = parse_leaf(leaf)
    if isinstance(parsed, SuccessionLeaf):
        raise LeafError("the first entry of a successor has no payload")
    context = f"{parsed.topic}/{parsed.partition}/{parsed.offset}".encode()
    return keys.key(key_slot).unseal(context, payload)


def open_for(
    keys: KeyStore, who: Principal, entry: store.SealedEntry
) -> tuple[str | None, str | None]:
    """An entry's opening in base64, or why its reader does not get it; neither where none is."""
    if entry.key_slot is None or entry.payload is None:
        return None, None
    leaf = read_leaf(entry.leaf)
    if leaf is not None and not may_open(who, organization_of(leaf)):
        return None, "not_yours"
    try:
        raw = unseal(keys, entry.leaf, entry.key_slot, entry.payload)
    except KeyUnavailable:
        return None, "key_unavailable"
    except (PayloadAltered, LeafError):
        return None, "altered"
    return base64.b64encode(raw).decode(), None


class Showing:
    """Turns stored entries into what one reader sees of them.

    Args:
        projected: whether search knows their log; repeated events are labelled only then.
    """

    def __init__(self, keys: KeyStore, who: Principal, *, projected: bool = True) -> None:
        self._keys = keys
        self._who = who
        self._projected = projected

    async def show(
        self, conn: Connection, entries: Sequence[store.StoredEntry], *, payloads: bool
    ) -> list[dict[str, Any]]:
        """Entries as JSON documents, with their payloads if asked for and allowed."""
        opened = [self._opened(entry) for entry in entries]
        same = await self._same_events(conn, entries, opened)
        older = await store.read_sealed(
            conn, {index for indexes in same.values() for index in indexes}
        )
        events = {row.index: self._event(row) for row in older}
        return [
            self._show(entry, found, same.get(entry.index, []), events, payloads=payloads)
            for entry, found in zip(entries, opened, strict=True)
        ]

    def _opened(self, entry: store.StoredEntry) -> tuple[Opening | None, str | None]:
        leaf = read_leaf(entry.leaf)
        allowed = leaf is not None and may_open(self._who, organization_of(leaf))
        return self._open(entry.sealed) if allowed else (None, "not_yours")

    async def _same_events(
        self,
        conn: Connection,
        entries: Sequence[store.StoredEntry],
        opened: Sequence[tuple[Opening | None, str | None]],
    ) -> dict[int, list[int]]:
        """Older entries of the same event, as far as they are projected."""
        identities = {
            entry.index: identity
            for entry, (opening, _) in zip(entries, opened, strict=True)
            if opening is not None
            and (identity := event_names(dict(opening.headers), opening.value)[1]) is not None
        }
        if not self._projected or not identities or not await search.is_there(conn):
            return {}
        return await search.same_events(conn, identities)

    def _show(
        self,
        entry: store.StoredEntry,
        opened: tuple[Opening | None, str | None],
        same_event: Sequence[int],
        older: dict[int, Envelope | None],
        *,
        payloads: bool,
    ) -> dict[str, Any]:
        leaf = read_leaf(entry.leaf)
        opening, missing = opened
        event = None if opening is None else event_of(opening)
        return {
            "index": entry.index,
            "timestamp": _timestamp(leaf),
            "recorded_at": rfc3339(entry.recorded_at),
            **_place(leaf),
            "subject": None if opening is None else _subject(opening),
            "label": None if opening is None else _label(event, same_event, older),
            "leaf": entry.leaf.decode(errors="replace"),
            "leaf_hash": base64.b64encode(leaf_hash(entry.leaf)).decode(),
            "payload": _payload(opening) if payloads and opening is not None else None,
            "payload_missing": missing if payloads and entry.payload is not None else None,
        }

    def _event(self, sealed: store.SealedEntry) -> Envelope | None:
        opening, _ = self._open(sealed)
        return None if opening is None else event_of(opening)

    def _open(self, sealed: store.SealedEntry) -> tuple[Opening | None, str | None]:
        """The opening, or why there is none."""
        if sealed.key_slot is None or sealed.payload is None:
            return None, None
        try:
            raw = unseal(self._keys, sealed.leaf, sealed.key_slot, sealed.payload)
            return Opening.decode(raw), None
        except KeyUnavailable:
            return None, "key_unavailable"
        except (PayloadAltered, LeafError):
            return None, "altered"


def read_leaf(raw: bytes) -> Leaf | None:
    """The leaf; None if somebody damaged it, which must not hide the entry."""
    try:
        return parse_leaf(raw)
    except LeafError:
        return None


def _timestamp(leaf: Leaf | None) -> str | None:
    if not isinstance(leaf, RecordLeaf) or leaf.timestamp < 0:
        return None
    try:
        return rfc3339(EPOCH + timedelta(milliseconds=leaf.timestamp))
    except OverflowError:
        return None


def _place(leaf: Leaf | None) -> dict[str, Any]:
    if leaf is None or isinstance(leaf, SuccessionLeaf):
        names = ("kind", "topic", "partition", "offset", "last", "organization", "type")
        return dict.fromkeys(names) | ({"kind": "succession"} if leaf is not None else {})
    is_record = isinstance(leaf, RecordLeaf)
    return {
        "kind": "record" if is_record else "gap",
        "topic": leaf.topic,
        "partition": leaf.partition,
        "offset": leaf.offset,
        "last": leaf.last if isinstance(leaf, GapLeaf) else leaf.offset,
        "organization": organization_of(leaf),
        "type": leaf.type if isinstance(leaf, RecordLeaf) else "",
    }


def event_of(opening: Opening) -> Envelope | None:
    """The event in a record; None if it is no event that can be read."""
    headers = tuple((name, value) for name, value in opening.headers if value is not None)
    if len(headers) < len(opening.headers):
        return None
    try:
        return read_event(OpenedRecord(opening.key, opening.value, headers))
    except Rejected:
        return None


def _subject(opening: Opening) -> str | None:
    return event_names(dict(opening.headers), opening.value)[0] or None


def _label(
    event: Envelope | None, same_event: Sequence[int], older: dict[int, Envelope | None]
) -> str | None:
    if event is None:
        return "unparseable"
    before = [older[index] for index in same_event if older.get(index) is not None]
    if any(_says(earlier) == _says(event) for earlier in before if earlier is not None):
        return "duplicate"
    return "conflict" if before else None


def _says(event: Envelope) -> tuple[object, ...]:
    return event.type, event.subject, event.time, event.data


def _payload(opening: Opening) -> dict[str, Any]:
    return {
        "key": _text(opening.key),
        "headers": {name: _text(value) for name, value in opening.headers},
        **_value(opening.value),
    }


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="replace")


def _value(raw: bytes | None) -> dict[str, Any]:
    if raw is None:
        return {"value": None}
    try:
        return {"value": orjson.loads(raw)}
    except orjson.JSONDecodeError:
        return {"value": None, "value_base64": base64.b64encode(raw).decode()}
