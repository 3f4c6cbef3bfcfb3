"""Removals that wait for the brake, and the causes that are judged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.provisioning.rules.brake import CauseStatus, Parked
from services.provisioning.store.workers import LockedWorker, WorkerKey
from shared.contracts.directory import Function
from shared.postgres import Connection


async def parked(
    conn: Connection, workers: Sequence[LockedWorker]
) -> dict[WorkerKey, list[Parked]]:
    """What waits of these workers, with the verdict on its cause so far."""
    rows = await conn.fetch(
        """
        SELECT waiting.*, cause.status, cause.decided_by
        FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker),
            LATERAL (
                SELECT * FROM parked_removal AS waiting
                WHERE waiting.organization = wanted.organization
                  AND waiting.worker = wanted.worker
                OFFSET 0
            ) AS waiting
        JOIN brake_cause AS cause USING (organization, cause_id)
        """,
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[Parked]] = {}
    for row in rows:
        found.setdefault((row["organization"], row["worker"]), []).append(
            Parked(
                row["worker"],
                row["portal"],
                row["tin"] or None,
                Function(row["function"]) if row["function"] else None,
                row["cause_id"],
                row["parked_at"],
                CauseStatus(row["status"]),
                row["decided_by"],
            )
        )
    return found


async def park(conn: Connection, waiting: Sequence[tuple[str, Parked]]) -> None:
    """Keep (organization, removal) waiting, under a cause that is opened if it is new."""
    if not waiting:
        return
    await conn.execute(
        """
        INSERT INTO brake_cause (organization, cause_id, kind, opened_at, status)
        SELECT organization, cause_id, split_part(cause_id, '-', 1), min(at), 'gathering'
        FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS new (organization, cause_id, at)
        GROUP BY organization, cause_id ORDER BY organization, cause_id
        ON CONFLICT DO NOTHING
        """,
        [organization for organization, _ in waiting],
        [one.cause_id for _, one in waiting],
        [one.parked_at for _, one in waiting],
    )
    await conn.execute(
        """
        INSERT INTO parked_removal
            (organization, worker, portal, tin, function, cause_id, parked_at)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                             $6::text[], $7::timestamptz[])
        """,
        *_targets(waiting),
        [one.cause_id for _, one in waiting],
        [one.parked_at for _, one in waiting],
    )


async def unpark(conn: Connection, waiting: Sequence[tuple[str, Parked]]) -> None:
    """These wait no longer: they were ordered, or are wanted again, or gone."""
    if waiting:
        await conn.execute(
            """
            DELETE FROM parked_removal
            WHERE (organization, worker, portal, tin, function) IN (
                SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]))
            """,
            *_targets(waiting),
        )


def _targets(waiting: Sequence[tuple[str, Parked]]) -> list[list[str]]:
    return [
        [organization for organization, _ in waiting],
        [one.worker for _, one in waiting],
        [one.portal for _, one in waiting],
        [one.tin or "" for _, one in waiting],
        [one.function.value if one.function else "" for _, one in waiting],
    ]


async def lock_complete_causes(conn: Connection) -> list[Any]:
    """Causes whose recompute has finished and that nobody has judged, locked, with their counts."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT cause.organization, cause.cause_id, cause.kind
        FROM brake_cause AS cause
        JOIN directory_head USING (organization)
        WHERE cause.status = 'gathering'
          AND NOT EXISTS (
              SELECT FROM worker WHERE worker.organization = cause.organization
                AND worker.directory_version < directory_head.version)
          AND (cause.kind NOT IN ('campaign', 'review') OR cause.lines <= (
              SELECT count(*) FROM review_decision AS expired
              WHERE expired.organization = cause.organization
                AND expired.cause_id = cause.cause_id))
        ORDER BY cause.organization, cause.cause_id
        FOR UPDATE OF cause SKIP LOCKED
        """
    )
    return rows


async def note_cause(
    conn: Connection, organization: str, cause_id: str, at: datetime, lines: int | None
) -> None:
    """Open the cause of what nobody answered in time; with how many lines it is whole, if known."""
    await conn.execute(
        """
        INSERT INTO brake_cause (organization, cause_id, kind, opened_at, status, lines)
        VALUES ($1, $2, split_part($2, '-', 1), $3, 'gathering', $4)
        ON CONFLICT (organization, cause_id)
            DO UPDATE SET lines = coalesce(excluded.lines, brake_cause.lines)
        """,
        organization,
        cause_id,
        at,
        lines,
    )


async def applied_offsets(conn: Connection, group: str, topic: str) -> dict[int, int]:
    """The next offset a consumer group will apply, by partition."""
    rows = await conn.fetch(
        "SELECT partition, next_offset FROM source_offset WHERE consumer_group = $1 AND topic = $2",
        group,
        topic,
    )
    return {row["partition"]: row["next_offset"] for row in rows}


async def cause_counts(
    conn: Connection, organization: str, cause_id: str, since: datetime
) -> tuple[int, int, int]:
    """(parked by the cause, let pass by others since, held altogether)."""
    (row,) = await conn.fetch(
        """
        SELECT
            (SELECT count(*) FROM parked_removal
             WHERE organization = $1 AND cause_id = $2) AS parked,
            (SELECT coalesce(sum(parked), 0) FROM brake_cause
             WHERE organization = $1 AND status = 'passed' AND judged_at >= $3) AS recent,
            (SELECT coalesce(sum(jsonb_array_length(rights)), 0) FROM account
             WHERE organization = $1 AND status = 'active') AS held
        """,
        organization,
        cause_id,
        since,
    )
    return row["parked"], row["recent"], row["held"]


async def cause(conn: Connection, organization: str, cause_id: str) -> Any | None:
    """One cause, locked."""
    return await conn.fetchrow(
        "SELECT * FROM brake_cause WHERE organization = $1 AND cause_id = $2 FOR UPDATE",
        organization,
        cause_id,
    )


async def save_verdict(
    conn: Connection,
    organization: str,
    cause_id: str,
    *,
    status: CauseStatus,
    at: datetime,
    by: str,
    reason: str | None = None,
    counts: tuple[int, int] | None = None,
) -> None:
    """Keep what was decided about a locked cause; `counts` are (parked, held) when it was."""
    await conn.execute(
        """
        UPDATE brake_cause SET status = $3, judged_at = $4, decided_by = $5, reason = $6,
            parked = coalesce($7, parked), held = coalesce($8, held)
        WHERE organization = $1 AND cause_id = $2
        """,
        organization,
        cause_id,
        status.value,
        at,
        by,
        reason,
        counts[0] if counts else None,
        counts[1] if counts else None,
    )


async def workers_parked(conn: Connection, organization: str, cause_id: str) -> list[WorkerKey]:
    """Whom a cause touches."""
    rows = await conn.fetch(
        "SELECT DISTINCT organization, worker FROM parked_removal"
        " WHERE organization = $1 AND cause_id = $2",
        organization,
        cause_id,
    )
    return [(row["organization"], row["worker"]) for row in rows]


async def causes(conn: Connection, organization: str, *, waiting: bool) -> list[Any]:
    """Causes, the latest first; those that wait for a person, or all that ever parked anything."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT cause_id, kind, opened_at, status, parked, held, judged_at, decided_by, reason
        FROM brake_cause
        WHERE organization = $1 AND ($2 = false OR status IN ('gathering', 'engaged'))
        ORDER BY opened_at DESC, cause_id LIMIT 200
        """,
        organization,
        waiting,
    )
    return rows


async def parked_by(conn: Connection, organization: str, cause_id: str, limit: int) -> list[Any]:
    """What a cause would remove, by worker."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT parked_removal.worker, worker.name, portal, tin, function, parked_at
        FROM parked_removal JOIN worker USING (organization, worker)
        WHERE organization = $1 AND cause_id = $2
        ORDER BY parked_removal.worker, portal, tin, function LIMIT $3
        """,
        organization,
        cause_id,
        limit,
    )
    return rows
