"""CloudEvents 1.0 on Kafka: both content modes are read, binary mode is written."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Protocol
from urllib.parse import quote
from uuid import UUID

import orjson

from shared.errors import Rejected
from shared.values import value_class

ORGANIZATION = re.compile(r"[a-z0-9-]{1,63}")
EVENT_NAMESPACE = UUID("6f1c7bb4-6a0e-5b63-9f0a-2f6d5f0e7c11")
"""Namespace of every deterministic event id (uuid5 of cause, transition and version)."""

MAX_ID_LENGTH = 200
LOOKS_LIKE_PERSONAL_ID = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|\d{3}-\d{2}-\d{4}")
EARLIEST_YEAR, LATEST_YEAR = 1900, 2200
"""Dates outside are mistakes (year 0 and 9999 stand for "unknown" in HR exports)."""


class KafkaRecord(Protocol):
    """The part of aiokafka's ConsumerRecord that parsing needs."""

    @property
    def key(self) -> bytes | None:
        """The record's key."""

    @property
    def value(self) -> bytes | None:
        """The record's value; None is a tombstone."""

    @property
    def headers(self) -> Iterable[tuple[str, bytes]]:
        """The record's headers; a name may occur twice."""
        ...


@value_class(frozen=True, slots=True)
class Envelope:
    """One CloudEvent's attributes and its data as JSON bytes.

    `time` is when the source recorded the fact, in UTC. `extensions` holds the remaining `ce_`
    attributes by name, without the prefix.
    """

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    organization: str
    data: bytes
    extensions: Mapping[str, str]

    @property
    def key(self) -> str:
        """The Kafka key of an event about a worker: organization/subject, percent-encoded."""
        return event_key(self.organization, self.subject)


@lru_cache(maxsize=50_000)
def event_key(organization: str, *parts: str) -> str:
    """A Kafka key: the organization and percent-encoded ids, joined by slashes."""
    return "/".join((organization, *(quote(part, safe="") for part in parts)))


def event_id(*cause: str) -> str:
    """The deterministic id of an event that leaves through an outbox: equal cause, equal id."""
    return name_uuid(EVENT_NAMESPACE, "\x1f".join(cause))


def name_uuid(namespace: UUID, name: str) -> str:
    """`str(uuid.uuid5(namespace, name))` (RFC 9562, version 5), an order of magnitude sooner.

    Every event and operation gets such an id, so the standard library's objects would show.
    """
    digest = hashlib.sha1(_bytes_of(namespace) + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


@cache
def _bytes_of(namespace: UUID) -> bytes:
    return namespace.bytes


def rfc3339(instant: datetime) -> str:
    """The instant in UTC with a Z, at microsecond precision when it has any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


_time_of_many = lru_cache(maxsize=100)(rfc3339)
"""A transaction's events share its instant."""


def check_id(value: str, what: str) -> str:
    """`value` if it may serve as an id.

    Raises:
        Rejected: it is empty, too long, holds control characters, or looks like an e-mail
            address or a social security number, which must never become a key.
    """
    if not value or len(value) > MAX_ID_LENGTH:
        raise Rejected("invalid_id", f"{what} must have 1 to {MAX_ID_LENGTH} characters")
    if not value.isprintable():
        raise Rejected("invalid_id", f"{what} holds control characters")
    if LOOKS_LIKE_PERSONAL_ID.fullmatch(value):
        raise Rejected(
            "personal_id", f"{what} looks like an e-mail address or social security number"
        )
    return value


def check_instant(value: datetime, what: str) -> datetime:
    """`value` in UTC.

    Raises:
        Rejected: it has no offset, or its year is beyond any employment.
    """
    if value.tzinfo is None:
        raise Rejected("invalid_time", f"{what} must carry a UTC offset")
    if not EARLIEST_YEAR <= value.year <= LATEST_YEAR:
        raise Rejected("invalid_time", f"{what} must lie between {EARLIEST_YEAR} and {LATEST_YEAR}")
    return value.astimezone(UTC)


def _instant(text: str) -> datetime:
    try:
        return check_instant(datetime.fromisoformat(text), "time")
    except ValueError as error:
        raise Rejected("invalid_time", "time is not an RFC 3339 instant") from error


_KNOWN = frozenset(
    {"id", "type", "source", "subject", "time", "organization", "specversion", "datacontenttype"}
)


def _envelope(attributes: Mapping[str, str], data: bytes) -> Envelope:
    for name in ("id", "type", "source", "subject", "time", "organization", "specversion"):
        if not attributes.get(name):
            raise Rejected("missing_attribute", f"the CloudEvents attribute {name} is missing")
    if attributes["specversion"] != "1.0":
        raise Rejected("unsupported_version", "only CloudEvents 1.0 is understood")
    organization = attributes["organization"]
    if not ORGANIZATION.fullmatch(organization):
        raise Rejected("invalid_organization", "organization must match [a-z0-9-]{1,63}")
    for name in ("id", "source", "type"):
        value = attributes[name]
        if len(value) > MAX_ID_LENGTH or not value.isprintable():
            raise Rejected("invalid_id", f"{name} is too long or holds control characters")
    return Envelope(
        attributes["id"],
        attributes["type"],
        attributes["source"],
        check_id(attributes["subject"], "subject"),
        _instant(attributes["time"]),
        organization,
        data,
        {name: value for name, value in attributes.items() if name not in _KNOWN},
    )


def read_structured(body: bytes | Mapping[str, Any]) -> Envelope:
    """An event whose attributes and data share one JSON object.

    Raises:
        Rejected: it is not JSON, not an object, or lacks an attribute.
    """
    if isinstance(body, bytes):
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Rejected("invalid_json", "the event is not JSON") from error
    else:
        document = body
    if not isinstance(document, dict):
        raise Rejected("invalid_json", "the event must be a JSON object")
    attributes = {
        name: value for name, value in document.items() if isinstance(value, str) and name != "data"
    }
    if "data" not in document:
        raise Rejected("missing_data", "the event carries no data")
    return _envelope(attributes, orjson.dumps(document["data"]))


def read_event(record: KafkaRecord) -> Envelope:
    """The CloudEvent in a Kafka record, in either content mode.

    Raises:
        Rejected: the record is empty, its headers are not UTF-8, or an attribute is missing.
    """
    if record.value is None:
        raise Rejected("empty_record", "the record has no value")
    try:
        headers = {name: value.decode() for name, value in record.headers}
    except (UnicodeDecodeError, AttributeError) as error:
        raise Rejected("invalid_header", "a header is not UTF-8 text") from error
    if headers.get("content-type", "").startswith("application/cloudevents+json"):
        return read_structured(record.value)
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce_")}
    return _envelope(attributes, record.value)


def binary_headers(
    *,
    id: str,
    type: str,
    source: str,
    subject: str,
    time: datetime,
    organization: str,
    extensions: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The Kafka headers of an event in binary mode; its data is the record's value."""
    return {
        "ce_id": id,
        "ce_type": type,
        "ce_source": source,
        "ce_subject": subject,
        "ce_time": _time_of_many(time),
        "ce_specversion": "1.0",
        "ce_organization": organization,
        "content-type": "application/json",
        **{f"ce_{name}": value for name, value in (extensions or {}).items()},
    }


def fingerprint(*parts: bytes) -> bytes:
    """128 bits that tell two events with the same id apart when their content differs."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()[:16]
