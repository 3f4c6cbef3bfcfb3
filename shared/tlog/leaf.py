"""What an entry of the audit log says in public, and how the secret part is bound to it.

A leaf is canonical JSON (RFC 8785) with string values only, at most `MAX_LEAF_BYTES` long. It
names a Kafka record (topic, partition, offset, timestamp in milliseconds since 1970 UTC,
organization and event type) and commits to the record's key, headers and value without showing
them: each commitment is the base64 of SHA-256 over a label, a nonce of 16 random bytes and the
part's encoding. The nonces and the parts together are the opening, which only readers of payloads
get to see; any one part can be shown with its own nonce alone. A gap says that the offsets from
`offset` to `last` hold no record.

None of this can change once a log exists.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import orjson

MAX_LEAF_BYTES = 4096
NONCE_BYTES = 16
OPENING_VERSION = b"\x01"
KEY_LABEL = b"portalkeeper/audit/v1/key\n"
HEADERS_LABEL = b"portalkeeper/audit/v1/headers\n"
VALUE_LABEL = b"portalkeeper/audit/v1/value\n"
STRUCTURED_MODE = b"application/cloudevents+json"

_TOKEN = re.compile(r"[a-z0-9._-]{1,100}")
_ORIGIN = re.compile(r"[a-z0-9._:/-]{1,200}")
_NULL_LENGTH = b"\xff\xff\xff\xff"
_NONCES = slice(1, 1 + 3 * NONCE_BYTES)

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
        # Every string here is made of characters that JSON does not escape.
        return (
            f'{{"headers":"{self.headers}","key":"{self.key}","kind":"record",'
            f'"offset":"{self.offset}","organization":"{self.organization}",'
            f'"origin":"{self.origin}","partition":"{self.partition}",'
            f'"timestamp":"{self.timestamp}","topic":"{self.topic}","type":"{self.type}",'
            f'"value":"{self.value}"}}'
        ).encode()


@dataclass(frozen=True, slots=True)
class GapLeaf:
    """The offsets `offset` to `last` (inclusive) of a partition hold no record."""

    origin: str
    topic: str
    partition: int
    offset: int
    last: int

    def encode(self) -> bytes:
        """The leaf's bytes. Timestamp, organization and type are empty: nobody knows them."""
        return (
            f'{{"kind":"gap","last":"{self.last}","offset":"{self.offset}","organization":"",'
            f'"origin":"{self.origin}","partition":"{self.partition}","timestamp":"",'
            f'"topic":"{self.topic}","type":""}}'
        ).encode()


Leaf = RecordLeaf | GapLeaf


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
    where = (
        fields["origin"],
        fields["topic"],
        int(fields["partition"]),
        int(fields["offset"]),
    )
    if fields["kind"] == "gap":
        return GapLeaf(*where, int(fields["last"]))
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


def encode_headers(headers: Iterable[tuple[str, bytes | None]]) -> bytes:
    """Headers in their order: each name and value behind its length; a null value has length -1."""
    parts: list[bytes] = []
    for name, value in headers:
        raw = name.encode()
        parts += (len(raw).to_bytes(4, "big"), raw)
        if value is None:
            parts.append(_NULL_LENGTH)
        else:
            parts += (len(value).to_bytes(4, "big"), value)
    return b"".join(parts)


def commitment(label: bytes, nonce: bytes, encoded: bytes) -> str:
    """The base64 of SHA-256 over label, nonce and the part's encoding."""
    return base64.b64encode(hashlib.sha256(label + nonce + encoded).digest()).decode()


@lru_cache(maxsize=4096)
def _token(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return ""
    return text if _TOKEN.fullmatch(text) else ""


def claims(headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> tuple[str, str]:
    """Organization and event type as a leaf shows them; empty unless a plain token.

    They come from the headers `ce_organization` and `ce_type` (the last of each name), or, in
    CloudEvents' structured mode, from the value's JSON object.
    """
    found = dict(headers)
    if (found.get("content-type") or b"").startswith(STRUCTURED_MODE):
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
    return _token(found.get("ce_organization") or b""), _token(found.get("ce_type") or b"")


@dataclass(frozen=True, slots=True)
class Opening:
    """What a record leaf commits to: the record's parts, each with its nonce."""

    key_nonce: bytes
    headers_nonce: bytes
    value_nonce: bytes
    key: bytes | None
    headers: Headers
    value: bytes | None

    @classmethod
    def decode(cls, raw: bytes) -> "Opening":
        """Read the bytes that `commit` made.

        Raises:
            LeafError: they are cut off or of an unknown version.
        """
        nonces = raw[_NONCES]
        if raw[:1] != OPENING_VERSION or len(nonces) != 3 * NONCE_BYTES:
            raise LeafError("the opening is of an unknown version or cut off")
        key, rest = _take(raw, _NONCES.stop)
        headers, rest = _take(raw, rest)
        if key is None or headers is None:
            raise LeafError("the opening lacks a part")
        return cls(
            nonces[:NONCE_BYTES],
            nonces[NONCE_BYTES : 2 * NONCE_BYTES],
            nonces[2 * NONCE_BYTES :],
            _optional(key),
            _decode_headers(headers),
            _optional(raw[rest:]),
        )

    def check(self, leaf: RecordLeaf) -> None:
        """Check that this is what the leaf commits to and that its claims follow from it.

        Raises:
            LeafError: a part differs; the message names it.
        """
        for name, label, nonce, encoded, committed in (
            ("key", KEY_LABEL, self.key_nonce, encode_optional(self.key), leaf.key),
            (
                "headers",
                HEADERS_LABEL,
                self.headers_nonce,
                encode_headers(self.headers),
                leaf.headers,
            ),
            ("value", VALUE_LABEL, self.value_nonce, encode_optional(self.value), leaf.value),
        ):
            if commitment(label, nonce, encoded) != committed:
                raise LeafError(f"the payload's {name} is not what the leaf commits to")
        if claims(self.headers, self.value) != (leaf.organization, leaf.type):
            raise LeafError("the leaf's organization or type is not the payload's")


def commit(
    nonces: bytes,
    key: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    value: bytes | None,
) -> tuple[str, str, str, bytes]:
    """Commitments of key, headers and value, and the opening to keep secret.

    Args:
        nonces: three times 16 random bytes, never used before.
    """
    key_part = encode_optional(key)
    headers_part = encode_headers(headers)
    value_part = encode_optional(value)
    opening = b"".join(
        (
            OPENING_VERSION,
            nonces,
            len(key_part).to_bytes(4, "big"),
            key_part,
            len(headers_part).to_bytes(4, "big"),
            headers_part,
            value_part,
        )
    )
    return (
        commitment(KEY_LABEL, nonces[:NONCE_BYTES], key_part),
        commitment(HEADERS_LABEL, nonces[NONCE_BYTES : 2 * NONCE_BYTES], headers_part),
        commitment(VALUE_LABEL, nonces[2 * NONCE_BYTES :], value_part),
        opening,
    )


def _take(raw: bytes, position: int) -> tuple[bytes | None, int]:
    """The length-prefixed bytes at a position, and where they end."""
    length = raw[position : position + 4]
    position += 4
    if length == _NULL_LENGTH:
        return None, position
    end = position + int.from_bytes(length, "big")
    if len(length) != 4 or end > len(raw):
        raise LeafError("the opening is cut off")
    return raw[position:end], end


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
        value, position = _take(encoded, position)
        try:
            headers.append(((name or b"").decode(), value))
        except UnicodeDecodeError as error:
            raise LeafError("a header's name is not UTF-8") from error
    return tuple(headers)
