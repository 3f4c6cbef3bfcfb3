"""Exceptions and break-glass as they were asked for, approved and ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from services.provisioning.rules.exceptions import AccessException
from services.provisioning.store.encoding import json_text
from services.provisioning.store.workers import LockedWorker, WorkerKey
from shared.contracts.directory import Function
from shared.contracts.state import ExceptionKind, ExceptionStatus
from shared.postgres import Connection

COLUMNS = ", ".join(
    f"exception.{field.name}" + ("::text AS exception_id" if field.name == "exception_id" else "")
    for field in fields(AccessException)
)


def _exception(row: Any) -> AccessException:
    said = {field.name: row[field.name] for field in fields(AccessException)}
    return AccessException(
        **{
            **said,
            "kind": ExceptionKind(said["kind"]),
            "function": Function(said["function"]),
            "status": ExceptionStatus(said["status"]),
        }
    )


async def live_exceptions(
    conn: Connection, workers: Sequence[LockedWorker]
) -> dict[WorkerKey, list[AccessException]]:
    """Exceptions of these workers that are asked for or approved and have not ended."""
    rows = await conn.fetch(
        f"""
        SELECT live.*
        FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker),
            LATERAL (
                SELECT organization, {COLUMNS} FROM exception
                WHERE exception.organization = wanted.organization
                  AND exception.worker = wanted.worker AND status IN ('requested', 'approved')
                OFFSET 0
            ) AS live
        ORDER BY requested_at, exception_id
        """,
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[AccessException]] = {}
    for row in rows:
        found.setdefault((row["organization"], row["worker"]), []).append(_exception(row))
    return found


async def save_exceptions(conn: Connection, changed: Sequence[tuple[str, AccessException]]) -> None:
    """Store (organization, exception), new or moved on."""
    if changed:
        await conn.execute(
            """
            INSERT INTO exception
            SELECT new.* FROM json_populate_recordset(NULL::exception, $1::text::json) AS new
            ON CONFLICT (organization, exception_id) DO UPDATE SET
                status = excluded.status, ends_at = excluded.ends_at,
                approved_by = excluded.approved_by, approved_at = excluded.approved_at,
                reviewed_by = excluded.reviewed_by
            """,
            json_text(
                [
                    {
                        "organization": organization,
                        **{field.name: getattr(one, field.name) for field in fields(one)},
                    }
                    for organization, one in changed
                ]
            ),
        )


async def find_exception(
    conn: Connection, organization: str, exception_id: str
) -> AccessException | None:
    """One exception, unlocked: its worker must be locked before anything is decided."""
    row = await conn.fetchrow(
        f"SELECT {COLUMNS} FROM exception WHERE organization = $1 AND exception_id = $2::uuid",
        organization,
        exception_id,
    )
    return None if row is None else _exception(row)


async def exceptions_of(
    conn: Connection, organization: str, workers: Sequence[str]
) -> list[AccessException]:
    """Every exception of these workers, whatever became of it."""
    rows = await conn.fetch(
        f"SELECT {COLUMNS} FROM exception WHERE organization = $1 AND worker = ANY($2::text[])",
        organization,
        list(workers),
    )
    return [_exception(row) for row in rows]


async def exceptions(
    conn: Connection, organization: str, *, live: bool | None, worker: str | None, limit: int
) -> list[Any]:
    """Exceptions with the worker's name, those that wait for somebody first."""
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT {COLUMNS}, worker.name
        FROM exception LEFT JOIN worker USING (organization, worker)
        WHERE exception.organization = $1
          AND ($2::boolean IS NULL OR (exception.status IN ('requested', 'approved')) = $2)
          AND ($3::text IS NULL OR exception.worker = $3)
        ORDER BY exception.status <> 'requested', ends_at DESC, exception_id LIMIT $4
        """,
        organization,
        live,
        worker,
        limit,
    )
    return rows
