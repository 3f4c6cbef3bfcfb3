"""Sign-ins through the identity provider that were begun and have not come back yet."""

from dataclasses import dataclass
from datetime import datetime

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a sign-in was begun with; `session` is the public id of the one it will replace."""

    nonce: str
    verifier: str
    fresh: bool
    return_to: str
    session: str | None
    begun_at: datetime


async def add_attempt(
    conn: Connection, state_sha256: bytes, attempt: Attempt, expires_at: datetime
) -> None:
    """Remember a sign-in until it comes back."""
    await conn.execute(
        """
        INSERT INTO sign_in_attempt
            (state_sha256, nonce, verifier, fresh, return_to, session, begun_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        state_sha256,
        attempt.nonce,
        attempt.verifier,
        attempt.fresh,
        attempt.return_to,
        attempt.session,
        attempt.begun_at,
        expires_at,
    )


async def take_attempt(conn: Connection, state_sha256: bytes, now: datetime) -> Attempt | None:
    """The sign-in that comes back, which can do so once; None if it is unknown or too late."""
    row = await conn.fetchrow(
        """
        DELETE FROM sign_in_attempt WHERE state_sha256 = $1
        RETURNING nonce, verifier, fresh, return_to, session, begun_at, expires_at > $2 AS in_time
        """,
        state_sha256,
        now,
    )
    if row is None or not row["in_time"]:
        return None
    return Attempt(**{name: row[name] for name in Attempt.__slots__})
