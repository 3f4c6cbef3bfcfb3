"""Read-only questions of people and programs. Lists are paged by key, never by offset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shared.postgres import Connection

STATE = """
    CASE WHEN state IS NOT NULL
         THEN state::jsonb || jsonb_build_object('portals', portals::jsonb) END AS state
"""
"""The published state, whole."""

OPERATION_COLUMNS = """
    operation.operation_id::text AS operation_id, operation.kind, operation.worker,
    worker.name AS worker_name, operation.portal, operation.tin, operation.function,
    operation.rights, operation.status, operation.generation, operation.rule, operation.events,
    operation.steps, operation.steps_done, operation.requested_at, operation.deadline,
    operation.rank, operation.claimed_by, operation.overdue, operation.evidence,
    operation.outcome, operation.ended_at, operation.authorized_by
"""


async def workers(
    conn: Connection,
    organization: str,
    *,
    query: str | None,
    status: str | None,
    after: str,
    limit: int,
) -> list[Any]:
    """Published states of workers whose id or name contains `query`, by worker id."""
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT worker, {STATE} FROM worker
        WHERE organization = $1 AND worker > $2 AND state IS NOT NULL AND merged_into IS NULL
          AND ($3::text IS NULL OR worker ILIKE '%' || $3 || '%' OR name ILIKE '%' || $3 || '%')
          AND ($4::text IS NULL OR status = $4)
        ORDER BY worker LIMIT $5
        """,
        organization,
        after,
        _like(query),
        status,
        limit,
    )
    return rows


def _like(query: str | None) -> str | None:
    if query is None:
        return None
    return query.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


async def worker_state(conn: Connection, organization: str, worker: str) -> Any | None:
    """One worker's published state."""
    return await conn.fetchval(
        f"SELECT {STATE} FROM worker WHERE organization = $1 AND worker = $2", organization, worker
    )


async def worker_events(conn: Connection, organization: str, workers: Sequence[str]) -> list[Any]:
    """The timeline of these worker ids as it was recorded."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT id, type, source, worker, fingerprint, time, effective_at, recorded_at, data,
               entered_by, conflicting, lane
        FROM worker_event WHERE organization = $1 AND worker = ANY($2::text[])
        ORDER BY time, source, id, fingerprint
        """,
        organization,
        list(workers),
    )
    return rows


async def worker_operations(
    conn: Connection, organization: str, workers: Sequence[str]
) -> list[Any]:
    """Every operation of these worker ids, newest first."""
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT {OPERATION_COLUMNS} FROM operation
        LEFT JOIN worker USING (organization, worker)
        WHERE operation.organization = $1 AND operation.worker = ANY($2::text[])
        ORDER BY operation.requested_at DESC, operation.operation_id
        """,
        organization,
        list(workers),
    )
    return rows


async def operation(conn: Connection, organization: str, operation_id: str) -> Any | None:
    """One operation."""
    return await conn.fetchrow(
        f"""
        SELECT {OPERATION_COLUMNS} FROM operation
        LEFT JOIN worker USING (organization, worker)
        WHERE operation.organization = $1 AND operation.operation_id = $2::uuid
        """,
        organization,
        operation_id,
    )


async def work(
    conn: Connection,
    organization: str,
    *,
    ended: bool,
    portal: str | None,
    worker: str | None,
    overdue: bool | None,
    after: tuple[datetime, int, str] | None,
    limit: int,
) -> list[Any]:
    """Operations by deadline, then by harm; the open ones or the ended ones."""
    deadline, rank, operation_id = after or (None, None, None)
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT {OPERATION_COLUMNS} FROM operation
        LEFT JOIN worker USING (organization, worker)
        WHERE operation.organization = $1
          AND (operation.status IN ('requested', 'claimed', 'superseded')) <> $2
          AND ($3::text IS NULL OR operation.portal = $3)
          AND ($4::text IS NULL OR operation.worker = $4)
          AND ($5::timestamptz IS NULL
               OR (operation.deadline, operation.rank, operation.operation_id)
                  > ($5, $6::int, $7::uuid))
          AND ($9::boolean IS NULL OR operation.overdue = $9)
        ORDER BY operation.deadline, operation.rank, operation.operation_id LIMIT $8
        """,
        organization,
        ended,
        portal,
        worker,
        deadline,
        rank,
        operation_id,
        limit,
        overdue,
    )
    return rows


async def count_open_work(conn: Connection, organization: str) -> int:
    """How many operations have not ended."""
    count: int = await conn.fetchval(
        "SELECT count(*) FROM operation WHERE organization = $1"
        " AND status IN ('requested', 'claimed', 'superseded')",
        organization,
    )
    return count


async def attention(
    conn: Connection,
    organization: str,
    *,
    lapses_until: datetime,
    left_since: datetime,
    notice_hours: int,
) -> Any:
    """How many things beside open work wait for somebody."""
    return await conn.fetchrow(
        """
        SELECT
            (SELECT count(*) FROM brake_cause
             WHERE organization = $1 AND status = 'engaged') AS brake_held,
            (SELECT count(*) FROM portal_finding
             WHERE organization = $1 AND resolved_at IS NULL) AS portal_findings,
            (SELECT count(*) FROM outage
             WHERE organization = $1 AND ended_at IS NULL) AS outages,
            (SELECT count(*) FROM account
             WHERE organization = $1 AND lapses_at <= $2) AS lapsing,
            (SELECT count(*) FROM exception
             WHERE organization = $1 AND (status = 'requested'
                 OR (kind = 'break_glass' AND reviewed_by IS NULL))) AS exceptions_waiting,
            (SELECT count(DISTINCT (operation.worker, operation.portal)) FROM operation
             LEFT JOIN notice ON notice.organization = operation.organization
                 AND notice.worker = operation.worker AND notice.portal = operation.portal
                 AND notice.sent_at >= operation.requested_at
             WHERE operation.organization = $1 AND operation.rule = 'employment_ended'
               AND operation.requested_at >= $3
               AND operation.requested_at + make_interval(hours => $4) < clock_timestamp()
               AND operation.kind IN ('suspend', 'revoke', 'rotate')
               AND operation.status <> 'cancelled' AND notice.portal IS NULL) AS notices_overdue
        """,
        organization,
        lapses_until,
        left_since,
        notice_hours,
    )


async def training_due(
    conn: Connection, organization: str, worker: str | None, limit: int
) -> list[Any]:
    """Modules that somebody's access waits for, the earliest due first."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT worker, worker.name AS worker_name, due ->> 'module' AS module,
               (due ->> 'due_at')::timestamptz AS due_at
        FROM worker, json_array_elements(state -> 'training_due') AS due
        WHERE organization = $1 AND state IS NOT NULL AND merged_into IS NULL
          AND ($2::text IS NULL OR worker = $2)
        ORDER BY due_at, worker, module LIMIT $3
        """,
        organization,
        worker,
        limit,
    )
    return rows


async def counts(conn: Connection, organization: str) -> Any:
    """Workers, portal users and HR events of the organization."""
    return await conn.fetchrow(
        """
        SELECT
            (SELECT count(*) FROM worker WHERE organization = $1
               AND status IN ('active', 'on_leave', 'expected')
               AND merged_into IS NULL) AS workers,
            (SELECT count(DISTINCT worker) FROM account WHERE organization = $1
               AND status = 'active' AND rights <> '[]') AS portal_users,
            (SELECT count(*) FROM worker_event WHERE organization = $1) AS events
        """,
        organization,
    )


async def exposures(conn: Connection, organization: str) -> list[Any]:
    """Access that must be gone and is not confirmed gone, the longest first."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT account.worker, worker.name, account.portal, account.exposed_since, account.rights,
               removal.operation_id::text AS operation_id, removal.deadline, removal.claimed_by,
               worker.portals
        FROM account
        JOIN worker USING (organization, worker)
        LEFT JOIN LATERAL (
            SELECT operation_id, deadline, claimed_by FROM operation
            WHERE operation.organization = account.organization
              AND operation.worker = account.worker AND operation.portal = account.portal
              AND kind IN ('suspend', 'revoke', 'rotate', 'close')
              AND operation.status IN ('requested', 'claimed', 'superseded')
            ORDER BY deadline LIMIT 1
        ) AS removal ON true
        WHERE account.organization = $1 AND account.exposed_since IS NOT NULL
        ORDER BY account.exposed_since, account.worker, account.portal
        """,
        organization,
    )
    return rows


async def findings(conn: Connection, organization: str) -> list[Any]:
    """What a person should look at, by worker."""
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT worker, name, finding ->> 0 AS rule, finding ->> 1 AS detail, as_of AS since, {STATE}
        FROM worker, jsonb_array_elements(findings) AS finding
        WHERE organization = $1 AND merged_into IS NULL
        ORDER BY rule, worker, detail
        """,
        organization,
    )
    return rows


async def removal_times(conn: Connection, organization: str, since: datetime) -> Any:
    """Of departures recorded since: how soon removals were ordered and confirmed."""
    return await conn.fetchrow(
        """
        WITH removal AS (
            SELECT operation.worker, operation.requested_at, operation.ended_at, operation.status,
                   extract(epoch FROM operation.requested_at - heard.recorded_at) AS to_order,
                   extract(epoch FROM operation.ended_at - operation.requested_at) / 60
                       AS to_confirm
            FROM operation
            LEFT JOIN LATERAL (
                SELECT min(recorded_at) AS recorded_at FROM worker_event AS event
                WHERE event.organization = operation.organization
                  AND event.worker = operation.worker AND event.id = ANY(operation.events)
            ) AS heard ON true
            WHERE operation.organization = $1 AND operation.requested_at >= $2
              AND operation.rule = 'employment_ended'
              AND operation.kind IN ('suspend', 'revoke', 'rotate')
        )
        SELECT count(DISTINCT worker) AS leavers, count(*) AS ordered,
               count(*) FILTER (WHERE status = 'done') AS confirmed,
               count(*) FILTER (WHERE status IN ('requested', 'claimed', 'superseded')) AS open,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY to_order) AS ordered_seconds_median,
               percentile_cont(0.99) WITHIN GROUP (ORDER BY to_order) AS ordered_seconds_p99,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY to_confirm)
                   FILTER (WHERE status = 'done') AS confirmed_minutes_median,
               percentile_cont(0.99) WITHIN GROUP (ORDER BY to_confirm)
                   FILTER (WHERE status = 'done') AS confirmed_minutes_p99
        FROM removal
        """,
        organization,
        since,
    )


async def matrix(
    conn: Connection,
    organization: str,
    *,
    site: str | None,
    duty: str | None,
    after: str,
    limit: int,
) -> list[Any]:
    """States of workers that have anything to do with a portal, by worker id."""
    # PostgreSQL takes a CASE to be true of every other row, and so reads in the order of ids until
    # it has enough; of the bare conditions it believes that hardly anybody fulfils them, and reads
    # and sorts everybody.
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT worker, name, {STATE} FROM worker
        WHERE organization = $1 AND worker > $2 AND portals::text <> '[]'
          AND CASE WHEN $3::text IS NULL THEN true ELSE EXISTS (
              SELECT 1 FROM jsonb_array_elements(state::jsonb -> 'employments') AS employment
              WHERE (employment ->> 'open')::boolean AND employment -> 'sites' ? $3) END
          AND CASE WHEN $4::text IS NULL THEN true ELSE state::jsonb -> 'duties' ? $4 END
        ORDER BY worker LIMIT $5
        """,
        organization,
        after,
        site,
        duty,
        limit,
    )
    return rows


async def names(conn: Connection, organization: str, workers: Sequence[str]) -> dict[str, str]:
    """Names of workers, where they are known."""
    rows = await conn.fetch(
        "SELECT worker, name FROM worker"
        " WHERE organization = $1 AND worker = ANY($2::text[]) AND name IS NOT NULL",
        organization,
        list(workers),
    )
    return {row["worker"]: row["name"] for row in rows}


async def people(conn: Connection, organization: str, workers: Sequence[str]) -> dict[str, Any]:
    """Name and state of worker ids, those of the id in use for one that was merged into it."""
    rows = await conn.fetch(
        """
        SELECT worker.worker, worker.merged_into, coalesce(kept.name, worker.name) AS name,
               coalesce(kept.status, worker.status) AS status
        FROM worker
        LEFT JOIN worker AS kept
            ON kept.organization = worker.organization AND kept.worker = worker.merged_into
        WHERE worker.organization = $1 AND worker.worker = ANY($2::text[])
        """,
        organization,
        list(workers),
    )
    return {row["worker"]: row for row in rows}
