"""How every route answers: documents, pages of lists, and commands that take effect once."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import orjson
from fastapi import Header, Query, Response
from pydantic import BaseModel

from services.review_scheduler.events import SOURCE
from services.review_scheduler.handlers.refusing import REFUSAL_STATUS
from services.review_scheduler.rules.deciding import REFUSAL_IN_WORDS, RefusalRule
from shared import idempotency
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.facts import to_json
from shared.contracts.review import Decision
from shared.errors import Problem
from shared.postgres import Connection

PAGE_DEFAULT, PAGE_MAX = 50, 200

Cursor = Annotated[str | None, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class Commands:
    """Carries commands out, each in a transaction that also says what was asked."""

    pool: "asyncpg.Pool[Any]"
    clock: Clock

    async def carry_out(
        self,
        who: Principal,
        route: str,
        key: str | None,
        order: BaseModel,
        work: Callable[[Connection], Awaitable[dict[str, Any] | RefusalRule]],
        *,
        status: int = 200,
    ) -> Response:
        """Carry a command out, once per idempotency key, and answer what it answered then.

        Raises:
            Problem: the command is refused; 409 while the same key is at work, 422 when it was used
                for another body.
        """
        body = order.model_dump_json().encode()

        async def as_read_back(conn: Connection) -> dict[str, Any] | RefusalRule:
            result = await work(conn)
            # As it will be read back, so that both answers are the same.
            return result if isinstance(result, RefusalRule) else orjson.loads(to_json(result))

        result = await idempotency.carry_out(
            self.pool, who, route, key, body, as_read_back, source=SOURCE, clock=self.clock
        )
        if isinstance(result, RefusalRule):
            # Only now: the transaction that wrote the refusal down had to commit.
            raise Problem(REFUSAL_STATUS[result], result, REFUSAL_IN_WORDS[result])
        return answer(result, status)


def answer(document: object, status: int = 200) -> Response:
    """A document as JSON."""
    return Response(to_json(document), status_code=status, media_type="application/json")


def page(name: str, found: list[dict[str, Any]], limit: int, *order: str) -> Response:
    """A page of at most `limit` rows, and where the next begins if one more was found."""
    rows = found[:limit]
    cursor = None
    if len(found) > limit:
        cursor = urlsafe_b64encode(to_json([rows[-1][each] for each in order])).decode()
    return answer({name: rows, "next_cursor": cursor})


def read_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Where a page begins.

    Raises:
        Problem: 422 for a cursor that no list gave.
    """
    if cursor is None:
        return None
    try:
        instant, id = orjson.loads(urlsafe_b64decode(cursor))
        return datetime.fromisoformat(instant), UUID(id)
    except (ValueError, TypeError, AttributeError) as error:
        raise Problem(
            422, "invalid_cursor", "This is no cursor of this list; begin without one."
        ) from error


def check_reason(decision: Decision, reason: str | None) -> None:
    """A removal must say why.

    Raises:
        ValueError: it does not.
    """
    if decision == "remove" and reason is None:
        raise ValueError("a removal needs a reason")
