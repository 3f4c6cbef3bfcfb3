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

PAUSED_SINCE = """(
        SELECT outage.started_at FROM outage WHERE outage.organization = operation.organization
           AND outage.portal = operation.portal AND outage.ended_at IS NULL
    )"""
"""Since when the portal of an operation is down, and the deadline of open work stands still."""

OPERATION_COLUMNS = f"""
    operation.operation_id::text AS operation_id, operation.kind, operation.worker,
    worker.name AS worker_name, operation.portal, operation.tin, operation.function,
    operation.rights, operation.status, operation.generation, operation.rule, operation.events,
    operation.steps, operation.steps_done, operation.requested_at, operation.deadline,
    operation.rank, operation.claimed_by, operation.overdue, operation.evidence,
    operation.outcome, operation.ended_at, operation.authorized_by,
    CASE WHEN operation.ended_at IS NULL THEN {PAUSED_SINCE} END AS paused_since
"""


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


OPEN = "operation.status IN ('requested', 'claimed', 'superseded')"


def overdue_at(instant: str) -> str:
    """The condition that an open operation is overdue at an SQL instant."""
    return (
        f"operation.deadline <= {instant}"
        f" AND operation.deadline <= coalesce({PAUSED_SINCE}, {instant})"
    )


async def work(
    conn: Connection,
    organization: str,
    *,
    ended: bool,
    portal: str | None,
    worker: str | None,
    overdue: datetime | None,
    after: Sequence[Any] | None,
    limit: int,
) -> list[Any]:
    """Operations: the open ones by deadline, then by harm, or the ended ones, the latest first.

    Args:
        overdue: only what is overdue then.
        after: deadline, rank and id of the one before, or `ended_at` and id of an ended one.
    """
    if ended:
        which, before, way = "operation.ended_at IS NOT NULL", "<", "DESC"
        key = {"ended_at": "timestamptz", "operation_id": "uuid"}
    else:
        which, before, way = OPEN, ">", ""
        key = {"deadline": "timestamptz", "rank": "int", "operation_id": "uuid"}
    columns = [f"operation.{name}" for name in key]
    places = ", ".join(f"${number}::{type_}" for number, type_ in enumerate(key.values(), 6))
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT {OPERATION_COLUMNS} FROM operation
        LEFT JOIN worker USING (organization, worker)
        WHERE operation.organization = $1 AND {which}
          AND ($2::text IS NULL OR operation.portal = $2)
          AND ($3::text IS NULL OR operation.worker = $3)
          AND ($4::timestamptz IS NULL OR ({overdue_at("$4")}))
          AND ($6::timestamptz IS NULL OR ({", ".join(columns)}) {before} ({places}))
        ORDER BY {", ".join(f"{column} {way}" for column in columns)} LIMIT $5
        """,
        organization,
        portal,
        worker,
        overdue,
        limit,
        *(after or [None] * len(key)),
    )
    return rows


COUNTED_UP_TO = 1_000
"""Of what waits for somebody, more than so many are told as such, and not counted on."""


def bounded_count(of: str) -> str:
    """A subquery that counts what `of`, a FROM clause with its conditions, has in it.

    It stops one beyond `COUNTED_UP_TO`.
    """
    return f"(SELECT count(*) FROM (SELECT FROM {of} LIMIT {COUNTED_UP_TO + 1}) AS counted)"


async def attention(
    conn: Connection,
    organization: str,
    *,
    now: datetime,
    lapses_until: datetime,
    left_since: datetime,
    notice_hours: int,
) -> Any:
    """How much waits for somebody, each counted as far as `COUNTED_UP_TO`."""
    return await conn.fetchrow(
        f"""
        SELECT
            {bounded_count(f"operation WHERE organization = $1 AND {OPEN}")} AS operations_open,
            {bounded_count("chore WHERE organization = $1 AND ended_at IS NULL")} AS chores_open,
            {
            bounded_count(
                f"operation WHERE organization = $1 AND {OPEN} AND {overdue_at('$2::timestamptz')}"
            )
        } AS operations_overdue,
            {
            bounded_count("chore WHERE organization = $1 AND ended_at IS NULL AND deadline <= $2")
        } AS chores_overdue,
            {bounded_count("account WHERE organization = $1 AND exposed_since IS NOT NULL")}
                AS exposed,
            {bounded_count("worker_event WHERE organization = $1")} AS events,
            {bounded_count("brake_cause WHERE organization = $1 AND status = 'engaged'")}
                AS brake_held,
            {bounded_count("portal_finding WHERE organization = $1 AND resolved_at IS NULL")}
                AS portal_findings,
            {bounded_count("outage WHERE organization = $1 AND ended_at IS NULL")} AS outages,
            {bounded_count("account WHERE organization = $1 AND lapses_at <= $3")} AS lapsing,
            {
            bounded_count(
                "exception WHERE organization = $1 AND (status = 'requested'"
                " OR (kind = 'break_glass' AND reviewed_by IS NULL))"
            )
        } AS exceptions_waiting,
            (SELECT count(DISTINCT (worker, portal)) FROM (
                SELECT worker, portal FROM operation
                WHERE organization = $1 AND rule = 'employment_ended'
                  AND requested_at >= $4
                  AND requested_at < $2::timestamptz - make_interval(hours => $5)
                  AND kind IN ('suspend', 'revoke', 'rotate') AND status <> 'cancelled'
                  AND NOT EXISTS (
                      SELECT FROM notice
                      WHERE notice.organization = operation.organization
                        AND notice.worker = operation.worker AND notice.portal = operation.portal
                        AND notice.sent_at >= operation.requested_at)
                LIMIT {COUNTED_UP_TO + 1}
             ) AS untold) AS notices_overdue
        """,
        organization,
        now,
        lapses_until,
        left_since,
        notice_hours,
    )


async def exposures(
    conn: Connection,
    organization: str,
    *,
    after: Sequence[Any] | None = None,
    limit: int | None = None,
) -> list[Any]:
    """Access that must be gone and is not confirmed gone, the longest first.

    Args:
        after: since when, worker and portal of the one before.
    """
    since, worker, portal = after or (None, "", "")
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT account.worker, worker.name, account.portal, account.exposed_since, account.rights,
               removal.operation_id::text AS operation_id, removal.deadline, removal.claimed_by
        FROM (
            SELECT * FROM account
            WHERE organization = $1 AND exposed_since IS NOT NULL
              AND ($2::timestamptz IS NULL OR (exposed_since, worker, portal) > ($2, $3, $4))
            ORDER BY exposed_since, worker, portal LIMIT $5
        ) AS account
        JOIN worker USING (organization, worker)
        LEFT JOIN LATERAL (
            SELECT operation_id, deadline, claimed_by FROM operation
            WHERE operation.organization = account.organization
              AND operation.worker = account.worker AND operation.portal = account.portal
              AND kind IN ('suspend', 'revoke', 'rotate', 'close') AND {OPEN}
            ORDER BY deadline LIMIT 1
        ) AS removal ON true
        ORDER BY account.exposed_since, account.worker, account.portal
        """,
        organization,
        since,
        worker,
        portal,
        limit,
    )
    return rows


async def removal_times(conn: Connection, organization: str, since: datetime, latest: int) -> Any:
    """Of the latest removals that departures ordered: how soon they were ordered and confirmed."""
    return await conn.fetchrow(
        """
        WITH removal AS (
            SELECT operation.worker, operation.requested_at, operation.status,
                   extract(epoch FROM operation.requested_at - heard.recorded_at) AS to_order,
                   extract(epoch FROM operation.ended_at - operation.requested_at) / 60
                       AS to_confirm
            FROM (
                SELECT * FROM operation
                WHERE organization = $1 AND requested_at >= $2 AND rule = 'employment_ended'
                  AND kind IN ('suspend', 'revoke', 'rotate')
                ORDER BY requested_at DESC LIMIT $3
            ) AS operation
            LEFT JOIN LATERAL (
                SELECT min(recorded_at) AS recorded_at FROM worker_event AS event
                WHERE event.organization = operation.organization
                  AND event.worker = operation.worker AND event.id = ANY(operation.events)
            ) AS heard ON true
        )
        SELECT min(requested_at) AS since, count(DISTINCT worker) AS leavers, count(*) AS ordered,
               count(*) FILTER (WHERE status = 'done') AS confirmed,
               count(*) FILTER (WHERE status IN ('requested', 'claimed', 'superseded')) AS open,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY to_order) AS ordered_seconds_median,
               percentile_cont(0.99) WITHIN GROUP (ORDER BY to_order) AS ordered_seconds_p99,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY to_confirm)
                   FILTER (WHERE status = 'done') AS confirmed_minutes_median,
               percentile_cont(0.99) WITHIN GROUP (ORDER BY to_confirm)
                   FILTER (WHERE status = 'done') AS confirmed_minutes_p99,
               array_agg(to_confirm::float8) FILTER (WHERE status = 'done') AS confirmed_minutes
        FROM removal
        """,
        organization,
        since,
        latest,
    )


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
