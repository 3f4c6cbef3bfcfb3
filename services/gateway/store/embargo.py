"""Sealed entries: an id, an organization, and bytes that say nothing."""

from dataclasses import dataclass
from uuid import UUID

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class SealedRow:
    """One sealed entry."""

    id: UUID
    organization: str
    nonce: bytes
    sealed: bytes


async def keep_sealed(conn: Connection, row: SealedRow) -> bool:
    """Keep an entry; false if it is kept already."""
    return bool(
        await conn.fetchval(
            """
            INSERT INTO sealed_entry (id, organization, nonce, sealed) VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING RETURNING true
            """,
            row.id,
            row.organization,
            row.nonce,
            row.sealed,
        )
    )


async def sealed_of(conn: Connection, organization: str) -> list[SealedRow]:
    """An organization's sealed entries."""
    rows = await conn.fetch(
        "SELECT id, organization, nonce, sealed FROM sealed_entry WHERE organization = $1",
        organization,
    )
    return [SealedRow(**row) for row in rows]


async def find_sealed(conn: Connection, id_: UUID) -> SealedRow | None:
    """One sealed entry."""
    row = await conn.fetchrow(
        "SELECT id, organization, nonce, sealed FROM sealed_entry WHERE id = $1", id_
    )
    return None if row is None else SealedRow(**row)


async def stuck_entries(conn: Connection, organization: str) -> list[str]:
    """Ids of entries that could not be opened when their time had come."""
    rows = await conn.fetch(
        "SELECT id::text FROM sealed_entry JOIN timer ON kind = 'embargo' AND key = id::text"
        " WHERE organization = $1 AND payload ? 'stuck' ORDER BY id",
        organization,
    )
    return [row["id"] for row in rows]


async def forget_sealed(conn: Connection, id_: UUID) -> bool:
    """Delete an entry; false if somebody else did."""
    return bool(await conn.fetchval("DELETE FROM sealed_entry WHERE id = $1 RETURNING true", id_))
