"""The SQL of exports: what was asked for, and how far it is made."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Export:
    """One export. `done` of `total` entries are in the file, which is `bytes` long so far.

    `status` is `waiting`, `running`, `done` or `failed`; `size`, `note` and `verifier_key` are the
    checkpoint that it is proved with.
    """

    id: UUID
    organization: str
    requested_by: str
    form: str
    asked: dict[str, Any]
    size: int
    note: str
    verifier_key: str
    status: str
    total: int | None
    done: int
    bytes: int
    sha256: str | None
    error: str | None
    requested_at: datetime
    finished_at: datetime | None


_COLUMNS = (
    "id, organization, requested_by, form, asked, size, note, verifier_key, status, total, done,"
    " bytes, sha256, error, requested_at, finished_at"
)


async def add(
    conn: Connection,
    organization: str,
    requested_by: str,
    form: str,
    asked: dict[str, Any],
    checkpoint: tuple[int, str, str],
    now: datetime,
) -> Export:
    """Ask for an export of what the checkpoint (size, note, key) covers."""
    row = await conn.fetchrow(
        f"""
        INSERT INTO export (organization, requested_by, form, asked, size, note, verifier_key,
            requested_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {_COLUMNS}
        """,
        organization,
        requested_by,
        form,
        asked,
        *checkpoint,
        now,
    )
    assert row is not None
    return Export(*row.values())


async def next_to_make(conn: Connection, projected: int) -> Export | None:
    """The export to go on with: the oldest unfinished one that search can answer whole.

    Args:
        projected: how many entries search knows. What is signed but not projected yet would be
            missing; a log before this one is read without search.
    """
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM export WHERE status IN ('waiting', 'running')"
        " AND (size <= $1 OR asked ? 'log') ORDER BY requested_at LIMIT 1",
        projected,
    )
    return None if row is None else Export(*row.values())


async def read(conn: Connection, organization: str, id: UUID) -> Export | None:
    """One export of an organization."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM export WHERE organization = $1 AND id = $2", organization, id
    )
    return None if row is None else Export(*row.values())


async def read_all(conn: Connection, organization: str, limit: int) -> list[Export]:
    """An organization's exports, newest first."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM export WHERE organization = $1"
        " ORDER BY requested_at DESC LIMIT $2",
        organization,
        limit,
    )
    return [Export(*row.values()) for row in rows]


async def note_total(conn: Connection, id: UUID, total: int) -> bool:
    """How many entries there are to export; whether it was not forgotten meanwhile."""
    noted = await conn.execute(
        "UPDATE export SET status = 'running', total = $2 WHERE id = $1", id, total
    )
    return bool(noted != "UPDATE 0")


async def note_progress(conn: Connection, id: UUID, done: int, bytes_: int) -> bool:
    """So many entries are in the file, and on the disk; whether it was not forgotten meanwhile."""
    noted = await conn.execute(
        "UPDATE export SET done = $2, bytes = $3 WHERE id = $1", id, done, bytes_
    )
    return bool(noted != "UPDATE 0")


async def finish(
    conn: Connection, id: UUID, now: datetime, *, sha256: str | None, error: str | None
) -> bool:
    """The file is whole, or will never be; whether the export was not forgotten meanwhile."""
    done = await conn.execute(
        "UPDATE export SET status = CASE WHEN $3::text IS NULL THEN 'done' ELSE 'failed' END,"
        " sha256 = $4, error = $3, finished_at = $2 WHERE id = $1",
        id,
        now,
        error,
        sha256,
    )
    return bool(done != "UPDATE 0")


async def forget(conn: Connection, before: datetime) -> None:
    """Forget exports that ended before an instant."""
    await conn.execute("DELETE FROM export WHERE finished_at < $1", before)


async def forget_all(conn: Connection, organization: str) -> None:
    """Forget every export of an organization, also those that are being made."""
    await conn.execute("DELETE FROM export WHERE organization = $1", organization)


async def known(conn: Connection) -> set[str]:
    """The exports that are not forgotten."""
    return {str(row["id"]) for row in await conn.fetch("SELECT id FROM export")}
