"""Departures, what was ordered for them, and the notices that were sent."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from services.provisioning.rules.leavers import Notice
from shared.postgres import Connection

PORTALS_EACH = 40
"""As many removals of one departure are reckoned with in looking for the latest departures."""


def _removes(operation: str) -> str:
    """The condition that an operation takes access from somebody because they left."""
    return (
        f"{operation}.rule = 'employment_ended' AND {operation}.status <> 'cancelled'"
        f" AND {operation}.kind IN ('suspend', 'revoke', 'rotate', 'close')"
    )


async def departures(
    conn: Connection,
    organization: str,
    since: datetime,
    notice_hours: int,
    *,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Any]:
    """Who left and had access since an instant, with what is open.

    Whose last removal was ordered the latest comes first. The list stops early only where people
    have more than `PORTALS_EACH` portals.

    Args:
        after: `last_ordered_at` and worker of the one before.
    """
    before, worker = after or (None, "")
    rows: list[Any] = await conn.fetch(
        f"""
        WITH leaver AS (
            SELECT worker, max(requested_at) AS last_ordered_at FROM (
                SELECT worker, requested_at FROM operation AS removal
                WHERE organization = $1 AND requested_at >= $2 AND {_removes("removal")}
                  AND ($5::timestamptz IS NULL OR (
                      requested_at <= $5 AND (requested_at < $5 OR worker > $6) AND NOT EXISTS (
                          -- Whose later removals put them on a page before.
                          SELECT FROM operation AS later
                          WHERE later.organization = removal.organization
                            AND later.worker = removal.worker AND {_removes("later")}
                            AND (later.requested_at > $5
                                 OR later.requested_at = $5 AND later.worker <= $6))))
                ORDER BY requested_at DESC, worker LIMIT $4::int * $7::int
            ) AS recent
            GROUP BY worker ORDER BY last_ordered_at DESC, worker LIMIT $4
        )
        SELECT operation.worker, worker.name, leaver.last_ordered_at,
               min(operation.requested_at) AS ordered_at, count(*) AS portals,
               count(*) FILTER (WHERE operation.status = 'done') AS removed,
               count(*) FILTER (WHERE account.exposed_since IS NOT NULL) AS reachable,
               max(operation.ended_at) FILTER (WHERE operation.status = 'done') AS last_removed_at,
               count(*) FILTER (WHERE notice.portal IS NULL) AS notices_open,
               count(*) FILTER (
                   WHERE notice.portal IS NULL AND operation.requested_at
                       + make_interval(hours => $3) < clock_timestamp()) AS notices_overdue
        FROM leaver
        JOIN worker ON worker.organization = $1 AND worker.worker = leaver.worker
        CROSS JOIN LATERAL (
            SELECT DISTINCT ON (portal) * FROM operation
            WHERE organization = $1 AND worker = leaver.worker AND requested_at >= $2
              AND {_removes("operation")}
            -- Where only closing is offered it is the removal; elsewhere it comes afterwards.
            ORDER BY portal, kind = 'close', requested_at DESC
        ) AS operation
        LEFT JOIN account ON account.organization = $1 AND account.worker = operation.worker
                         AND account.portal = operation.portal
        LEFT JOIN notice ON notice.organization = $1 AND notice.worker = operation.worker
                        AND notice.portal = operation.portal
                        AND notice.sent_at >= operation.requested_at
        GROUP BY operation.worker, worker.name, leaver.last_ordered_at
        ORDER BY leaver.last_ordered_at DESC, operation.worker
        """,
        organization,
        since,
        notice_hours,
        limit,
        before,
        worker,
        PORTALS_EACH,
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
