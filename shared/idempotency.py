"""The same command sent again gets its first answer and changes nothing.

A command runs once per (organization, principal, route, key); its answer is kept in the transaction
that made it true. The lock comes first in every service's lock order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar

import asyncpg
import orjson

from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import CommandAccepted, CommandRefused
from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

Refusal = TypeVar("Refusal")

PAYLOAD_MAX_BYTES = 64 * 1024
"""What is larger is a file: its hash says which one it was."""

KEPT_DAYS = 7
"""How long a command may be sent again without being carried out again."""


async def once(
    conn: Connection,
    principal: Principal,
    route: str,
    key: str | None,
    body: bytes,
    work: Callable[[Connection], Awaitable[dict[str, Any] | Refusal]],
) -> dict[str, Any] | Refusal:
    """Run `work` in the caller's transaction, or answer what it answered before.

    Args:
        key: the client's Idempotency-Key; without one nothing is remembered.
        work: its answer must be what JSON can say. A refusal is not remembered, whether it is
            raised or, where the transaction must commit, returned as something else than a dict.

    Raises:
        Problem: 409 while the same command runs elsewhere, 422 for a key that was used with another
            body, and whatever `work` raises.
    """
    if key is None:
        return await work(conn)
    command = (principal.organization, principal.subject, route, key)
    # As JSON: no two commands are written the same, whatever characters their parts hold.
    name = orjson.dumps(command).decode()
    if not await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 33))", name):
        raise Problem(409, "command_in_progress", "The same command is running; ask again shortly.")
    digest = sha256(body).digest()
    known = await conn.fetchrow(
        "SELECT body_sha256, response FROM idempotency"
        " WHERE organization = $1 AND principal = $2 AND route = $3 AND key = $4",
        *command,
    )
    if known is not None:
        if known["body_sha256"] != digest:
            raise Problem(
                422,
                "idempotency_key_reused",
                "This Idempotency-Key was used for another body; take a new one.",
            )
        answer: dict[str, Any] = known["response"]
        return answer
    response = await work(conn)
    if not isinstance(response, dict):
        return response
    await conn.execute(
        "INSERT INTO idempotency (organization, principal, route, key, body_sha256, response)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        *command,
        digest,
        response,
    )
    return response


async def carry_out(
    pool: asyncpg.Pool[Any],
    principal: Principal,
    route: str,
    key: str | None,
    body: bytes,
    work: Callable[[Connection], Awaitable[dict[str, Any] | Refusal]],
    *,
    source: str,
    clock: Clock,
) -> dict[str, Any] | Refusal:
    """Run a command `once`, in a transaction that also says that it was accepted, and what it was.

    One that is sent again says nothing again. A refusal that is raised undoes its transaction and
    is said in the next; one that is returned is for `work` to say.

    Args:
        route: what the command is and what it is about, e.g. `work/<operation>/done`.
        source: who says it, as a CloudEvents source.

    Raises:
        Problem: as `once`.
    """

    async def work_and_say(conn: Connection) -> dict[str, Any] | Refusal:
        answer = await work(conn)
        if isinstance(answer, dict):
            await say(conn, "command.accepted", CommandAccepted(route, "", None, payload, digest))
        return answer

    async def say(conn: Connection, type_: str, data: object) -> None:
        now = await clock.now(conn)
        said = fact(
            ADMIN_EVENTS,
            type_,
            source=source,
            organization=principal.organization,
            subject=principal.subject,
            cause=(principal.subject, route, key or "", digest, str(now)),
            time=now,
            data=data,
        )
        await enqueue(conn, [said])

    digest, payload = sha256(body).hexdigest(), _payload(body)
    try:
        return await in_transaction(
            pool, lambda conn: once(conn, principal, route, key, body, work_and_say)
        )
    except Problem as problem:
        refused = CommandRefused(route, "", problem.code, problem.status, None, payload, digest)
        await in_transaction(pool, lambda conn: say(conn, "command.refused", refused))
        problem.said = True
        raise


def _payload(body: bytes) -> Any:
    """What was asked, if an event can carry it."""
    if len(body) > PAYLOAD_MAX_BYTES:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


async def forget(conn: Connection, now: datetime) -> int:
    """Drop the answers that nobody will ask for again; how many those were."""
    done: str = await conn.execute(
        "DELETE FROM idempotency WHERE created_at < $1", now - timedelta(days=KEPT_DAYS)
    )
    return int(done.rpartition(" ")[2])
