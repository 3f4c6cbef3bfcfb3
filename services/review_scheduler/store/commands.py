"""Commands sent again: their first answers."""

from datetime import datetime
from typing import Any

from shared.postgres import Connection


async def lock_command(
    conn: Connection, organization: str, principal: str, route: str, key: str
) -> bool:
    """Take the lock of an idempotency key until the transaction ends; false if it is taken."""
    taken: bool = await conn.fetchval(
        "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))",
        "\x1f".join((organization, principal, route, key)),
    )
    return taken


async def recall_command(
    conn: Connection, organization: str, principal: str, route: str, key: str
) -> tuple[bytes, Any] | None:
    """The body's SHA-256 and the response of a command that was carried out before."""
    row = await conn.fetchrow(
        "SELECT body_sha256, response FROM idempotency"
        " WHERE organization = $1 AND principal = $2 AND route = $3 AND key = $4",
        organization,
        principal,
        route,
        key,
    )
    return None if row is None else (row["body_sha256"], row["response"])


async def remember_command(
    conn: Connection,
    organization: str,
    principal: str,
    route: str,
    key: str,
    body_sha256: bytes,
    response: Any,
) -> None:
    """Keep the response of a command that this transaction carried out."""
    await conn.execute(
        "INSERT INTO idempotency (organization, principal, route, key, body_sha256, response)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        organization,
        principal,
        route,
        key,
        body_sha256,
        response,
    )


async def forget_commands(conn: Connection, before: datetime) -> int:
    """Delete responses kept since before an instant; how many those were."""
    result: str = await conn.execute("DELETE FROM idempotency WHERE created_at < $1", before)
    return int(result.rpartition(" ")[2])
