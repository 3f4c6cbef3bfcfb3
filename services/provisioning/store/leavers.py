"""Departures, what was ordered for them, and the notices that were sent."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from services.provisioning.rules.leavers import Notice
from shared.postgres import Connection


async def departures(
    conn: Connection, organization: str, since: datetime, notice_hours: int, limit: int
) -> list[Any]:
    """Who left and had access since an instant, with what is open, the latest first."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT operation.worker, worker.name, min(operation.requested_at) AS ordered_at,
               count(*) AS portals,
               count(*) FILTER (WHERE operation.status = 'done') AS removed,
               count(*) FILTER (WHERE account.exposed_since IS NOT NULL) AS reachable,
               max(operation.ended_at) FILTER (WHERE operation.status = 'done') AS last_removed_at,
               count(*) FILTER (WHERE notice.portal IS NULL) AS notices_open,
               count(*) FILTER (
                   WHERE notice.portal IS NULL AND operation.requested_at
                       + make_interval(hours => $3) < clock_timestamp()) AS notices_overdue
        FROM (
            SELECT DISTINCT ON (worker, portal) * FROM operation
            WHERE organization = $1 AND rule = 'employment_ended' AND requested_at >= $2
              AND kind IN ('suspend', 'revoke', 'rotate', 'close') AND status <> 'cancelled'
            -- Where only closing is offered it is the removal; elsewhere it comes afterwards.
            ORDER BY worker, portal, kind = 'close', requested_at DESC
        ) AS operation
        JOIN worker ON worker.organization = $1 AND worker.worker = operation.worker
        LEFT JOIN account ON account.organization = $1 AND account.worker = operation.worker
                         AND account.portal = operation.portal
        LEFT JOIN notice ON notice.organization = $1 AND notice.worker = operation.worker
                        AND notice.portal = operation.portal
                        AND notice.sent_at >= operation.requested_at
        GROUP BY operation.worker, worker.name
        ORDER BY ordered_at DESC, operation.worker LIMIT $4
        """,
        organization,
        since,
        notice_hours,
        limit,
    )
    return rows


async def notices(conn: Connection, organization: str, worker: str) -> list[Notice]:
    """What portals were told of a worker's departures."""
    rows = await conn.fetch(
        "SELECT * FROM notice WHERE organization = $1 AND worker = $2 ORDER BY sent_at",
        organization,
        worker,
    )
    return [Notice(**{field.name: row[field.name] for field in fields(Notice)}) for row in rows]


async def save_notice(conn: Connection, organization: str, notice: Notice) -> bool:
    """Keep that a portal was told; False if it had been told of this departure before."""
    stored = await conn.fetchval(
        """
        INSERT INTO notice (organization, worker, portal, left_at, channel, proof, sent_by, sent_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING true
        """,
        organization,
        notice.worker,
        notice.portal,
        notice.left_at,
        notice.channel,
        notice.proof,
        notice.sent_by,
        notice.sent_at,
    )
    return bool(stored)
