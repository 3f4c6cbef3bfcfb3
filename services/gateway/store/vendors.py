"""What vendors' webhooks brought, and how each employee stood when last asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook's body, sealed. Instants are UTC."""

    id: UUID
    source: str
    vendor: str
    nonce: bytes
    sealed: bytes
    received_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class DeliveryShown:
    """What people are shown of a delivery: never its content.

    `due_at` is when it is looked into (again), None once nothing is left to do; `events` is how
    many HR events it came to, once it is `done_at`. `replayed_by` had it looked into again.
    """

    id: UUID
    source: str
    vendor: str
    received_at: datetime
    attempts: int
    failure: str | None
    due_at: datetime | None
    done_at: datetime | None
    events: int | None
    replayed_by: str | None


async def keep_delivery(
    conn: Connection, delivery: Delivery, expires_at: datetime, failure: str | None
) -> None:
    """Keep a delivery, to be looked at unless it failed already; one that is kept stays so."""
    await conn.execute(
        """
        INSERT INTO vendor_delivery
            (id, source, vendor, nonce, sealed, received_at, expires_at, due_at, failure)
        VALUES ($1, $2, $3, $4, $5, $6, $7,
                CASE WHEN $8::text IS NULL THEN $6::timestamptz END, $8)
        ON CONFLICT DO NOTHING
        """,
        delivery.id,
        delivery.source,
        delivery.vendor,
        delivery.nonce,
        delivery.sealed,
        delivery.received_at,
        expires_at,
        failure,
    )


async def claim_next(conn: Connection, now: datetime, until: datetime) -> Delivery | None:
    """The delivery that has been due longest; nobody else is given it before `until`."""
    row = await conn.fetchrow(
        """
        UPDATE vendor_delivery SET due_at = $2, attempts = attempts + 1
        WHERE id = (
            SELECT id FROM vendor_delivery WHERE due_at <= $1
            ORDER BY due_at, received_at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING id, source, vendor, nonce, sealed, received_at, attempts
        """,
        now,
        until,
    )
    return None if row is None else Delivery(**row)


async def finish(
    conn: Connection,
    id_: UUID,
    *,
    failure: str | None,
    due_at: datetime | None,
    done_at: datetime | None,
    events: int | None,
) -> None:
    """What came of looking at a delivery, and when to look again."""
    await conn.execute(
        "UPDATE vendor_delivery SET failure = $2, due_at = $3, done_at = $4, events = $5"
        " WHERE id = $1",
        id_,
        failure,
        due_at,
        done_at,
        events,
    )


async def look_again(
    conn: Connection, id_: UUID, sources: Sequence[str], by: str, now: datetime
) -> bool:
    """Have a delivery of one of these sources looked into anew; false for none of theirs."""
    found = await conn.fetchval(
        "UPDATE vendor_delivery SET due_at = $4, attempts = 0, failure = NULL, done_at = NULL,"
        " events = NULL, replayed_by = $3 WHERE id = $1 AND source = ANY($2::text[]) RETURNING 1",
        id_,
        list(sources),
        by,
        now,
    )
    return found is not None


async def given_up(conn: Connection, sources: Sequence[str]) -> dict[str, datetime]:
    """By source, when the latest delivery came that is not looked into any more, in vain."""
    rows = await conn.fetch(
        "SELECT source, max(received_at) AS received_at FROM vendor_delivery"
        " WHERE source = ANY($1::text[]) AND failure IS NOT NULL AND due_at IS NULL"
        " GROUP BY source",
        list(sources),
    )
    return {row["source"]: row["received_at"] for row in rows}


async def deliveries(conn: Connection, sources: Sequence[str], limit: int) -> list[DeliveryShown]:
    """The latest deliveries of these sources."""
    rows = await conn.fetch(
        """
        SELECT id, source, vendor, received_at, attempts, failure, due_at, done_at, events,
            replayed_by FROM vendor_delivery
        WHERE source = ANY($1::text[]) ORDER BY received_at DESC, id LIMIT $2
        """,
        list(sources),
        limit,
    )
    return [DeliveryShown(**row) for row in rows]


async def last_said(conn: Connection, source: str, employee: str) -> tuple[bytes, bytes] | None:
    """Nonce and seal of what a source said last of an employee."""
    row = await conn.fetchrow(
        "SELECT nonce, sealed FROM vendor_employee WHERE source = $1 AND employee = $2",
        source,
        employee,
    )
    return None if row is None else (row["nonce"], row["sealed"])


async def keep_said(
    conn: Connection, source: str, employee: str, nonce: bytes, sealed: bytes
) -> None:
    """Keep what a source said last of an employee."""
    await conn.execute(
        """
        INSERT INTO vendor_employee (source, employee, nonce, sealed) VALUES ($1, $2, $3, $4)
        ON CONFLICT (source, employee) DO UPDATE
            SET nonce = excluded.nonce, sealed = excluded.sealed
        """,
        source,
        employee,
        nonce,
        sealed,
    )


async def lock_tokens(conn: Connection, source: str) -> None:
    """One at a time replaces a source's tokens; until the transaction ends."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 34))", source)


async def find_token(conn: Connection, source: str, kind: str) -> tuple[bytes, bytes] | None:
    """Nonce and seal of what a vendor gave a source."""
    row = await conn.fetchrow(
        "SELECT nonce, sealed FROM vendor_token WHERE source = $1 AND kind = $2", source, kind
    )
    return None if row is None else (row["nonce"], row["sealed"])


async def keep_token(conn: Connection, source: str, kind: str, nonce: bytes, sealed: bytes) -> None:
    """Keep what a vendor gave a source, in place of what it gave before."""
    await conn.execute(
        """
        INSERT INTO vendor_token (source, kind, nonce, sealed) VALUES ($1, $2, $3, $4)
        ON CONFLICT (source, kind) DO UPDATE
            SET nonce = excluded.nonce, sealed = excluded.sealed
        """,
        source,
        kind,
        nonce,
        sealed,
    )
