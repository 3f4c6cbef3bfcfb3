"""What lists and commands of the API have in common."""

import base64
from typing import Annotated, Any

import orjson
from fastapi import Header, Query

from shared.errors import Problem

MAX_PAGE = 500

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


def cursor_of(*parts: object) -> str:
    """Where the next page begins, opaque to whoever asks."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode()


def cursor_parts(cursor: str | None) -> list[Any] | None:
    """What `cursor_of` was given.

    Raises:
        Problem: 422 when it is no cursor of ours.
    """
    if cursor is None:
        return None
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor))
    except ValueError as error:
        raise Problem(422, "invalid_cursor", "Use the next_cursor of the previous page.") from error
    if not isinstance(parts, list):
        raise Problem(422, "invalid_cursor", "Use the next_cursor of the previous page.")
    return parts
