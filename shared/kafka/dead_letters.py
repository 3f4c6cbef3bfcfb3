"""Records that could not be applied, kept whole where somebody can look at them."""

from __future__ import annotations

import hashlib
from typing import Any

from shared.contracts.topics import DEAD_LETTERS
from shared.errors import Rejected
from shared.outbox import MAX_HEADERS_BYTES, MAX_VALUE_BYTES, OutboxMessage

DETAIL_MAX_CHARACTERS = 500
KEY_MAX_BYTES = 1_000
HEADER_NAME_MAX_CHARACTERS = 60
HEADER_VALUE_MAX_BYTES = 400
SOURCE_HEADERS_MAX_BYTES = MAX_HEADERS_BYTES // 2
"""Half of what an outbox message may carry; the other half is ours."""


def dead_letter(record: Any, why: Rejected, *, service: str, group: str) -> OutboxMessage:
    """The record's bytes under headers that say what it was and why it was refused.

    Whatever would make the letter larger than its topic takes is cut and said so in a header:
    topic, partition, offset and SHA-256 still name the original.
    """
    value = record.value or b""
    key = record.key or b""
    headers = {
        "dl_reason": why.code,
        "dl_detail": _printable(why.detail)[:DETAIL_MAX_CHARACTERS],
        "dl_service": service,
        "dl_group": group,
        "dl_topic": record.topic,
        "dl_partition": str(record.partition),
        "dl_offset": str(record.offset),
        "dl_timestamp": str(record.timestamp),
        "dl_key": key[:KEY_MAX_BYTES].hex(),
        "dl_sha256": hashlib.sha256(value).hexdigest(),
        "dl_value_is_null": str(record.value is None).lower(),
    }
    if len(value) > MAX_VALUE_BYTES or len(key) > KEY_MAX_BYTES:
        headers["dl_cut"] = f"key of {len(key)} bytes, value of {len(value)} bytes"
    room = SOURCE_HEADERS_MAX_BYTES
    for name, content in record.headers:
        field = f"dl_header_{_printable(name)[:HEADER_NAME_MAX_CHARACTERS]}"
        text = (content or b"")[:HEADER_VALUE_MAX_BYTES].hex()
        room -= len(field.encode()) + len(text)
        if room < 0:
            headers["dl_headers_cut"] = f"{len(record.headers)} headers"
            break
        headers[field] = text
    return OutboxMessage(
        DEAD_LETTERS.name,
        f"{record.topic}/{record.partition}",
        headers,
        value[:MAX_VALUE_BYTES],
    )


def _printable(text: str) -> str:
    # A lone surrogate cannot be encoded, and a letter that cannot be written stops a partition.
    return text.replace("\x00", "").encode(errors="replace").decode()
