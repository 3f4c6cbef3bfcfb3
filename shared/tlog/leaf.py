"""What an entry of the audit log says in public, and how the secret part is bound to it.

A leaf is canonical JSON (RFC 8785) with string values only, at most `MAX_LEAF_BYTES` long. It
names a Kafka record (topic, partition, offset, timestamp in milliseconds since 1970 UTC,
organization and event type) and commits to the record's key, headers and value without showing
them: each commitment is the base64 of SHA-256 over a label, a nonce and the part's encoding. The
three nonces are 16 bytes each of SHA-512 over a label and a random seed; seed and parts together
are the opening, which only readers of payloads get to see, and any one part can be shown with its
own nonce alone. Lengths are written as little-endian base-128 varints. A gap says that the offsets
from `offset` to `last` hold no record.

None of this can change once a log exists.
"""

import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import orjson

MAX_LEAF_BYTES = 4096
SEED_BYTES = 16
NONCE_BYTES = 16
OPENING_VERSION = b"\x01"
NONCES_LABEL = b"portalkeeper/audit/v1/nonces\n"
KEY_LABEL = b"portalkeeper/audit/v1/key\n"
HEADERS_LABEL = b"portalkeeper/audit/v1/headers\n"
VALUE_LABEL = b"portalkeeper/audit/v1/value\n"
STRUCTURED_MODE = b"application/cloudevents+json"

_TOKEN = re.compile(r"[a-z0-9._-]{1,100}")
_ORIGIN = re.compile(r"[a-z0-9._:/-]{1,200}")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SHORT = 4096
_VARINTS = [_varint(number) for number in range(_SHORT)]
"""Nearly every length, looked up: appending encodes a dozen of them per record."""

Headers = tuple[tuple[str, bytes | None], ...]


class LeafError(Exception):
    """Bytes that are not a leaf or an opening, or an opening that does not fit its leaf."""


@dataclass(frozen=True, slots=True)
class RecordLeaf:
    """One Kafka record. `organization` and `type` are empty unless plain tokens."""

    origin: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    organization: str
    type: str
    key: str
    headers: str
    value: str

    def encode(self) -> bytes:
        """The leaf's bytes."""
        return encode_record(
            self.origin,
            self.topic,
            self.partition,
            self.offset,
            self.timestamp,
            (self.organization, self.type),
            (self.key.encode(), self.headers.encode(), self.value.encode()),
        )


@dataclass(frozen=True, slots=True)
class GapLeaf:
    """The offsets `offset` to `last` (inclusive) of a partition hold no record.

    A gap that ends before it begins (`last` is `offset - 1`) says that the partition begins anew at
    `offset`: an operator accepted that another topic took the place of the one before.
    """

    origin: str
    topic: str
    partition: int
    offset: int
    last: int

    @property
    def is_restart(self) -> bool:
        """Whether the partition begins anew here."""
        return self.last < self.offset

    def encode(self) -> bytes:
        """The leaf's bytes. Timestamp, organization and type are empty: nobody knows them."""
        return (
            f'{{"kind":"gap","last":"{self.last}","offset":"{self.offset}","organization":"",'
            f'"origin":"{self.origin}","partition":"{self.partition}","timestamp":"",'
            f'"topic":"{self.topic}","type":""}}'
        ).encode()


@dataclass(frozen=True, slots=True)
class SuccessionLeaf:
    """This log goes on where another ended: the first entry of a successor.

    `checkpoint` is the last signed note of the log before, in base64: what it held is proved by
    that log's tiles, and whatever was lost after that note is not. `statement` is the note, in
    base64, by which that log's key names this log's (`note.name_next_log`); empty, and then not in
    the leaf, where that key was lost.
    """

    origin: str
    checkpoint: str
    statement: str = ""

    def encode(self) -> bytes:
        """The leaf's bytes. It is about no record, so the record's names are empty."""
        statement = f'"statement":"{self.statement}",' if self.statement else ""
        return (
            f'{{"checkpoint":"{self.checkpoint}","kind":"succession","offset":"","organization":"",'
            f'"origin":"{self.origin}","partition":"",{statement}"timestamp":"","topic":"",'
            '"type":""}'
        ).encode()


Leaf = RecordLeaf | GapLeaf | SuccessionLeaf


def encode_record(
    origin: str,
    topic: str,
    partition: int,
    offset: int,
    timestamp: int,
    claimed: tuple[str, str],
    commitments: tuple[bytes, bytes, bytes],
) -> bytes:
    """The bytes of a record's leaf, from what `claims` and `commit` gave."""
    key, headers, value = commitments
    begin, middle, end = _around(origin, topic, partition, *claimed)
    return begin % (headers, key, offset) + middle % timestamp + end % value


@lru_cache(maxsize=4096)
def _around(
    origin: str, topic: str, partition: int, organization: str, type_: str
) -> tuple[bytes, bytes, bytes]:
    """What the leaves of one kind of record have in common, with places for what differs."""
    # Every string here is made of characters that JSON does not escape. A percent sign would be
    # taken for a place.
    origin, topic = origin.replace("%", "%%"), topic.replace("%", "%%")
    return (
        b'{"headers":"%b","key":"%b","kind":"record","offset":"%d",',
        f'"organization":"{organization}","origin":"{origin}","partition":"{partition}",'
        f'"timestamp":"%d","topic":"{topic}","type":"{type_}",'.encode(),
        b'"value":"%b"}',
    )


def check_origin(origin: str) -> str:
    """`origin` if it can name a log: a URL without scheme, lower case.

    Raises:
        LeafError: it holds other characters or begins or ends with a slash.
    """
    if not _ORIGIN.fullmatch(origin) or origin != origin.strip("/"):
        raise LeafError(f"{origin!r} must match {_ORIGIN.pattern} without slashes at its ends")
    return origin


def parse_leaf(raw: bytes) -> Leaf:
    """Read a leaf, accepting exactly what `encode` writes.

    Raises:
        LeafError: it is too long, not JSON, or not in canonical form.
    """
    if len(raw) > MAX_LEAF_BYTES:
        raise LeafError(f"the leaf is longer than {MAX_LEAF_BYTES} bytes")
    try:
        fields = orjson.loads(raw)
        leaf = _leaf(fields)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise LeafError("the leaf does not have the fields of a leaf") from error
    if leaf.encode() != raw:
        raise LeafError("the leaf is not in canonical form")
    return leaf


def _leaf(fields: dict[str, str]) -> Leaf:
    if fields["kind"] == "succession":
        statement = fields.get("statement", "")
        for note in (fields["checkpoint"], statement):
            binascii.a2b_base64(note, strict_mode=True)
        return SuccessionLeaf(fields["origin"], fields["checkpoint"], statement)
    where = (
        fields["origin"],
        fields["topic"],
        int(fields["partition"]),
        int(fields["offset"]),
    )
    if fields["kind"] == "gap":
        gap = GapLeaf(*where, int(fields["last"]))
        if gap.last < gap.offset - 1:
            raise ValueError("a gap ends too early")
        return gap
    return RecordLeaf(
        *where,
        int(fields["timestamp"]),
        fields["organization"],
        fields["type"],
        fields["key"],
        fields["headers"],
        fields["value"],
    )


def encode_optional(part: bytes | None) -> bytes:
    """A key or value that may be null, so that null and empty differ."""
    return b"\x00" if part is None else b"\x01" + part


def _length_of(number: int) -> bytes:
    return _VARINTS[number] if number < _SHORT else _varint(number)


@lru_cache(maxsize=4096)
def _header_name(name: str) -> bytes:
    raw = name.encode()
    return _varint(len(raw)) + raw


def encode_headers(headers: Iterable[tuple[str, bytes | None]]) -> bytes:
    """Headers in their order: the name behind its length, the value behind its length plus one.

    A null value is a length of zero alone.
    """
    known = _encoded_headers
    return b"".join([known.get(header) or _encode_header(header) for header in headers])


_encoded_headers: dict[tuple[str, bytes | None], bytes] = {}
"""Encoded headers: most of an event's repeat those of the one before."""

CACHED_HEADERS = 20_000
CACHED_HEADER_BYTES = 100


def _encode_header(header: tuple[str, bytes | None]) -> bytes:
    name, value = header
    if value is None:
        return _header_name(name) + b"\x00"
    encoded = _header_name(name) + _length_of(len(value) + 1) + value
    if name in REPEATED_HEADERS and len(value) <= CACHED_HEADER_BYTES:
        if len(_encoded_headers) >= CACHED_HEADERS:
            _encoded_headers.clear()
        _encoded_headers[header] = encoded
    return encoded


REPEATED_HEADERS = frozenset(
    {
        "ce_type",
        "ce_source",
        "ce_subject",
        "ce_specversion",
        "ce_organization",
        "content-type",
        "ce_epoch",
    }
)
"""Headers whose values recur; to keep the others would only push these out."""


def nonces(seed: bytes) -> tuple[bytes, bytes, bytes]:
    """The nonces for key, headers and value."""
    digest = hashlib.sha512(NONCES_LABEL + seed).digest()
    return (
        digest[:NONCE_BYTES],
        digest[NONCE_BYTES : 2 * NONCE_BYTES],
        digest[2 * NONCE_BYTES : 3 * NONCE_BYTES],
    )


def commitment(label: bytes, nonce: bytes, encoded: bytes) -> bytes:
    """The base64 of SHA-256 over label, nonce and the part's encoding."""
    return binascii.b2a_base64(
        hashlib.sha256(b"%b%b%b" % (label, nonce, encoded)).digest(), newline=False
    )


@lru_cache(maxsize=4096)
def _token(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return ""
    return text if _TOKEN.fullmatch(text) else ""


def claims(headers: Mapping[str, bytes | None], value: bytes | None) -> tuple[str, str]:
    """Organization and event type as a leaf shows them; empty unless a plain token.

    They come from the headers `ce_organization` and `ce_type` (the last of each name, as in a
    mapping), or, in CloudEvents' structured mode, from the value's JSON object.
    """
    if (headers.get("content-type") or b"").startswith(STRUCTURED_MODE):
        try:
            document = orjson.loads(value or b"")
        except orjson.JSONDecodeError:
            return "", ""
        if not isinstance(document, dict):
            return "", ""
        organization, type_ = document.get("organization"), document.get("type")
        return (
            _token(organization.encode()) if isinstance(organization, str) else "",
            _token(type_.encode()) if isinstance(type_, str) else "",
        )
    return _token(headers.get("ce_organization") or b""), _token(headers.get("ce_type") or b"")


def commit(
    seed: bytes, key: bytes | None, headers: Iterable[tuple[str, bytes | None]], value: bytes | None
) -> tuple[tuple[bytes, bytes, bytes], bytes]:
    """Commitments of key, headers and value, and the opening to keep secret.

    Args:
        seed: 16 random bytes, never used before.
    """
    key_part = encode_optional(key)
    headers_part = encode_headers(headers)
    value_part = encode_optional(value)
    opening = b"".join(
        (
            OPENING_VERSION,
            seed,
            _length_of(len(key_part)),
            key_part,
            _length_of(len(headers_part)),
            headers_part,
            value_part,
        )
    )
    key_nonce, headers_nonce, value_nonce = nonces(seed)
    return (
        commitment(KEY_LABEL, key_nonce, key_part),
        commitment(HEADERS_LABEL, headers_nonce, headers_part),
        commitment(VALUE_LABEL, value_nonce, value_part),
    ), opening


@dataclass(frozen=True, slots=True)
class Opening:
    """What a record leaf commits to: the record's key, headers and value, and the seed."""

    seed: bytes
    key: bytes | None
    headers: Headers
    value: bytes | None

    @classmethod
    def decode(cls, raw: bytes) -> "Opening":
        """Read the bytes that `commit` made.

        Raises:
            LeafError: they are cut off or of an unknown version.
        """
        start = len(OPENING_VERSION) + SEED_BYTES
        if not raw.startswith(OPENING_VERSION) or len(raw) < start:
            raise LeafError("the opening is of an unknown version or cut off")
        key, position = _take(raw, start)
        headers, position = _take(raw, position)
        return cls(
            raw[len(OPENING_VERSION) : start],
            _optional(key),
            _decode_headers(headers),
            _optional(raw[position:]),
        )

    def check(self, leaf: RecordLeaf) -> None:
        """Check that this is what the leaf commits to and that its claims follow from it.

        Raises:
            LeafError: a part differs; the message names it.
        """
        committed, _ = commit(self.seed, self.key, self.headers, self.value)
        for name, ours, theirs in zip(
            ("key", "headers", "value"),
            committed,
            (leaf.key, leaf.headers, leaf.value),
            strict=True,
        ):
            if ours != theirs.encode():
                raise LeafError(f"the payload's {name} is not what the leaf commits to")
        if claims(dict(self.headers), self.value) != (leaf.organization, leaf.type):
            raise LeafError("the leaf's organization or type is not the payload's")


_RECORD = re.compile(
    rb'\{"headers":"([A-Za-z0-9+/]{43}=)","key":"([A-Za-z0-9+/]{43}=)","kind":"record",'
    rb'"offset":"(0|[1-9]\d{0,18})","organization":"([a-z0-9._-]{0,100})","origin":"([^"\\]+)",'
    rb'"partition":"(0|[1-9]\d{0,9})","timestamp":"(-?\d{1,19})","topic":"([^"\\]+)",'
    rb'"type":"([a-z0-9._-]{0,100})","value":"([A-Za-z0-9+/]{43}=)"\}'
)


def scan_record(raw: bytes) -> tuple[bytes, ...] | None:
    """The fields of a record's leaf in their order, as bytes; None if it must be looked at closer.

    A verifier reads millions of leaves; this is several times as fast as `parse_leaf`.
    """
    found = _RECORD.fullmatch(raw)
    return None if found is None or len(raw) > MAX_LEAF_BYTES else found.groups()


def check_opening(raw: bytes, fields: tuple[bytes, ...]) -> None:
    """What `Opening.decode(raw).check(leaf)` checks, over the fields from `scan_record`.

    Raises:
        LeafError: a part differs; the message names it.
    """
    start = len(OPENING_VERSION) + SEED_BYTES
    if not raw.startswith(OPENING_VERSION) or len(raw) < start:
        raise LeafError("the opening is of an unknown version or cut off")
    key, position = _take(raw, start)
    headers, position = _take(raw, position)
    value = raw[position:]
    key_nonce, headers_nonce, value_nonce = nonces(raw[len(OPENING_VERSION) : start])
    for name, label, nonce, part, committed in (
        ("key", KEY_LABEL, key_nonce, key, fields[1]),
        ("headers", HEADERS_LABEL, headers_nonce, headers, fields[0]),
        ("value", VALUE_LABEL, value_nonce, value, fields[9]),
    ):
        digest = hashlib.sha256(label + nonce + part).digest()
        if binascii.b2a_base64(digest, newline=False) != committed:
            raise LeafError(f"the payload's {name} is not what the leaf commits to")
    _optional(key)
    claimed = claims(dict(_decode_headers(headers)), _optional(value))
    if claimed != (fields[3].decode(), fields[8].decode()):
        raise LeafError("the leaf's organization or type is not the payload's")


def _length(raw: bytes, position: int) -> tuple[int, int]:
    """The varint at a position, and where it ends."""
    number = shift = 0
    while position < len(raw):
        byte = raw[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    raise LeafError("the opening is cut off")


def _take(raw: bytes, position: int) -> tuple[bytes, int]:
    """The bytes behind their length at a position, and where they end."""
    length, position = _length(raw, position)
    if position + length > len(raw):
        raise LeafError("the opening is cut off")
    return raw[position : position + length], position + length


def _optional(encoded: bytes) -> bytes | None:
    if encoded == b"\x00":
        return None
    if encoded[:1] != b"\x01":
        raise LeafError("the opening's key or value is neither null nor present")
    return encoded[1:]


def _decode_headers(encoded: bytes) -> Headers:
    headers: list[tuple[str, bytes | None]] = []
    position = 0
    while position < len(encoded):
        name, position = _take(encoded, position)
        length, position = _length(encoded, position)
        end = position + max(0, length - 1)
        if end > len(encoded):
            raise LeafError("the opening is cut off")
        try:
            headers.append((name.decode(), encoded[position:end] if length else None))
        except UnicodeDecodeError as error:
            raise LeafError("a header's name is not UTF-8") from error
        position = end
    return tuple(headers)
