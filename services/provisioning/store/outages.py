"""Portals that do not work, and what people reported of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from services.provisioning.rules.outages import Incident, Outage, Trouble
from shared.postgres import Connection


async def portals_down(conn: Connection, organizations: Iterable[str]) -> dict[str, frozenset[str]]:
    """Portals that do not work now, by organization."""
    rows = await conn.fetch(
        "SELECT organization, array_agg(portal) AS portals FROM outage"
        " WHERE ended_at IS NULL AND organization = ANY($1::text[]) GROUP BY organization",
        list(organizations),
    )
    return {row["organization"]: frozenset(row["portals"]) for row in rows}


async def begin_outage(conn: Connection, organization: str, outage: Outage) -> bool:
    """Store an outage; False if the portal has one already."""
    stored = await conn.fetchval(
        """
        INSERT INTO outage (organization, outage_id, portal, kind, note, started_by, started_at)
        VALUES ($1, $2::uuid, $3, $4, $5, $6, $7)
        ON CONFLICT (organization, portal) WHERE ended_at IS NULL DO NOTHING RETURNING true
        """,
        organization,
        outage.outage_id,
        outage.portal,
        outage.kind.value,
        outage.note,
        outage.started_by,
        outage.started_at,
    )
    return bool(stored)


async def find_outage(conn: Connection, organization: str, outage_id: str) -> Outage | None:
    """One outage, locked."""
    row = await conn.fetchrow(
        "SELECT *, outage_id::text AS outage_id FROM outage"
        " WHERE organization = $1 AND outage_id = $2::uuid FOR UPDATE",
        organization,
        outage_id,
    )
    if row is None:
        return None
    said = {field.name: row[field.name] for field in fields(Outage)}
    return Outage(**{**said, "outage_id": str(row["outage_id"]), "kind": Trouble(row["kind"])})


async def end_outage(
    conn: Connection, organization: str, outage_id: str, by: str, at: datetime
) -> None:
    """The portal works again."""
    await conn.execute(
        "UPDATE outage SET ended_by = $3, ended_at = $4"
        " WHERE organization = $1 AND outage_id = $2::uuid",
        organization,
        outage_id,
        by,
        at,
    )


async def workers_waiting(conn: Connection, organization: str, portal: str) -> list[str]:
    """Whom open work on a portal is about."""
    rows = await conn.fetch(
        "SELECT DISTINCT worker FROM operation WHERE organization = $1 AND portal = $2"
        " AND status IN ('requested', 'claimed', 'superseded')",
        organization,
        portal,
    )
    return [row["worker"] for row in rows]


async def postpone(conn: Connection, organization: str, deadlines: dict[str, datetime]) -> None:
    """Give open operations of locked workers a later deadline."""
    await conn.execute(
        """
        UPDATE operation SET deadline = later.deadline
        FROM unnest($2::uuid[], $3::timestamptz[]) AS later (operation_id, deadline)
        WHERE operation.organization = $1 AND operation.operation_id = later.operation_id
        """,
        organization,
        list(deadlines),
        list(deadlines.values()),
    )


async def outages(conn: Connection, organization: str, *, open_only: bool, limit: int) -> list[Any]:
    """Outages, those that go on first, then the latest; `waiting` counts open work from then."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT outage_id::text AS outage_id, portal, kind, note, started_by, started_at, ended_by,
               ended_at, (SELECT count(*) FROM operation
                          WHERE operation.organization = outage.organization
                            AND operation.portal = outage.portal
                            AND (outage.ended_at IS NULL OR requested_at <= outage.ended_at)
                            AND status IN ('requested', 'claimed', 'superseded')) AS waiting
        FROM outage WHERE organization = $1 AND ($2 = false OR ended_at IS NULL)
        ORDER BY ended_at IS NOT NULL, started_at DESC LIMIT $3
        """,
        organization,
        open_only,
        limit,
    )
    return rows


async def save_incident(conn: Connection, organization: str, incident: Incident) -> None:
    """Keep what somebody reported."""
    await conn.execute(
        "INSERT INTO incident VALUES ($1, $2::uuid, $3, $4, $5, $6, $7, $8)",
        organization,
        incident.incident_id,
        incident.portal,
        incident.worker,
        incident.kind.value,
        incident.note,
        incident.reported_by,
        incident.reported_at,
    )


async def incidents(
    conn: Connection, organization: str, *, portal: str | None, limit: int
) -> list[Any]:
    """What people reported, the latest first."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT incident_id::text AS incident_id, portal, incident.worker, worker.name, kind, note,
               reported_by, reported_at
        FROM incident LEFT JOIN worker USING (organization, worker)
        WHERE incident.organization = $1 AND ($2::text IS NULL OR portal = $2)
        ORDER BY reported_at DESC LIMIT $3
        """,
        organization,
        portal,
        limit,
    )
    return rows


async def lapsing(
    conn: Connection,
    organization: str,
    until: datetime,
    *,
    after: Sequence[Any] | None,
    limit: int,
) -> list[Any]:
    """Logins that a portal will disable by an instant for want of use, the soonest first.

    Args:
        after: `lapses_at`, worker and portal of the one before.
    """
    rows: list[Any] = await conn.fetch(
        """
        SELECT account.worker, worker.name, worker.status, account.portal, account.login_id,
               account.last_login_at, account.lapses_at, keeping.operation_id::text AS operation_id
        FROM (
            SELECT * FROM account
            WHERE organization = $1 AND lapses_at <= $2
              AND ($3::timestamptz IS NULL OR (lapses_at, worker, portal) > ($3, $4, $5))
            ORDER BY lapses_at, worker, portal LIMIT $6
        ) AS account
        JOIN worker USING (organization, worker)
        LEFT JOIN operation AS keeping
            ON keeping.organization = account.organization AND keeping.worker = account.worker
           AND keeping.portal = account.portal AND keeping.kind = 'keep_alive'
           AND keeping.status IN ('requested', 'claimed', 'superseded')
        ORDER BY account.lapses_at, account.worker, account.portal
        """,
        organization,
        until,
        *(after or (None, "", "")),
        limit,
    )
    return rows


async def lapses_by_week(
    conn: Connection, organization: str, now: datetime, until: datetime, limit: int
) -> list[Any]:
    """How many of the `limit` logins that lapse the soonest do so on which portal in which week.

    Week 0 begins now; what has lapsed already is of week -1.
    """
    rows: list[Any] = await conn.fetch(
        """
        SELECT greatest(-1, floor(extract(epoch FROM lapses_at - $2) / 604800))::int AS week,
               portal, count(*) AS logins
        FROM (
            SELECT portal, lapses_at FROM account
            WHERE organization = $1 AND lapses_at <= $3 ORDER BY lapses_at LIMIT $4
        ) AS soonest
        GROUP BY week, portal ORDER BY week, portal
        """,
        organization,
        now,
        until,
        limit,
    )
    return rows
