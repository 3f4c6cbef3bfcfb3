"""Building the events that leave through an outbox: deterministic ids, binary mode."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel

from shared.contracts.envelope import binary_headers, event_id, event_key
from shared.contracts.topics import Topic
from shared.outbox import OutboxMessage


def fact(
    topic: Topic,
    type: str,
    *,
    source: str,
    organization: str,
    subject: str,
    cause: tuple[str, ...],
    time: datetime,
    data: object,
    key: str | None = None,
    extensions: Mapping[str, str] | None = None,
) -> OutboxMessage:
    """An event for the outbox.

    Args:
        cause: what makes the event this one and no other; equal causes give equal ids, so that
            consumers can ignore one they have seen.
        data: a dataclass, pydantic model or mapping; instants must be UTC.
        key: of the record, where it is not organization/subject.
    """
    return OutboxMessage(
        topic.name,
        key or event_key(organization, subject),
        binary_headers(
            id=event_id(type, organization, *cause),
            type=type,
            source=source,
            subject=subject,
            time=time,
            organization=organization,
            extensions=extensions,
        ),
        to_json(data),
    )


def to_json(data: object) -> bytes:
    """JSON with instants as RFC 3339 with Z; bytes are taken as JSON already."""
    if isinstance(data, bytes):
        return data
    return orjson.dumps(data, default=_dump, option=orjson.OPT_UTC_Z)


def join_objects(*parts: bytes) -> bytes:
    """One JSON object with the members of several, none of which is empty."""
    return b"{" + b",".join([part[1:-1] for part in parts]) + b"}"


def _dump(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
