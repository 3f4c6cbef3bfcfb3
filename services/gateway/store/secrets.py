"""Webhook secrets of HR sources: those made here, sealed, and the ends of those they replace."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class SourceSecret:
    """One secret. `sealed` is None for one of the sources file; instants are UTC."""

    source: str
    sha256: bytes
    nonce: bytes | None
    sealed: bytes | None
    made_by: str | None
    created_at: datetime
    ends_at: datetime | None


async def all_secrets(conn: Connection) -> list[SourceSecret]:
    """Every secret that is kept or ended here, by source, the newest first."""
    rows = await conn.fetch(
        """
        SELECT source, sha256, nonce, sealed, made_by, created_at, ends_at
        FROM source_secret ORDER BY source, created_at DESC, sha256
        """
    )
    return [SourceSecret(**row) for row in rows]


async def lock_source(conn: Connection, source: str) -> None:
    """Have rotations of one source follow one another."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('source_secret ' || $1, 0))", source
    )


async def replace_secrets(
    conn: Connection, new: SourceSecret, from_file: Sequence[bytes], ends_at: datetime
) -> None:
    """Add a secret, and have every other one of its source end by `ends_at`.

    Args:
        from_file: SHA-256 of the source's secrets in the sources file.
    """
    await conn.execute(
        """
        INSERT INTO source_secret (source, sha256, created_at)
        SELECT $1, sha256, $3 FROM unnest($2::bytea[]) AS of_file (sha256)
        ON CONFLICT DO NOTHING
        """,
        new.source,
        list(from_file),
        new.created_at,
    )
    await conn.execute(
        "UPDATE source_secret SET ends_at = least(ends_at, $2) WHERE source = $1",
        new.source,
        ends_at,
    )
    await conn.execute(
        """
        INSERT INTO source_secret (source, sha256, nonce, sealed, made_by, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        new.source,
        new.sha256,
        new.nonce,
        new.sealed,
        new.made_by,
        new.created_at,
    )
