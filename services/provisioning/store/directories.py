"""Directories as applied, the locks of portals, and who administers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.provisioning.rules.desired.directory import PortalKnowledge
from services.provisioning.rules.guards import AdministratorStanding
from shared.postgres import Connection


async def directory_versions(conn: Connection, organizations: Iterable[str]) -> dict[str, int]:
    """The directory version in force per organization."""
    rows = await conn.fetch(
        "SELECT organization, version FROM directory_head WHERE organization = ANY($1::text[])",
        sorted(set(organizations)),
    )
    return {row["organization"]: row["version"] for row in rows}


async def directory_document(conn: Connection, organization: str, version: int) -> Any:
    """One version's document with who applied it and when, or None."""
    return await conn.fetchrow(
        "SELECT document, applied_at, applied_by, approved_by, observed FROM directory_version"
        " WHERE organization = $1 AND version = $2",
        organization,
        version,
    )


async def lock_directory(conn: Connection, organization: str) -> int:
    """Lock the head for an apply; the version in force, 0 if there is none yet."""
    await conn.execute(
        "INSERT INTO directory_head (organization, version) VALUES ($1, 0) ON CONFLICT DO NOTHING",
        organization,
    )
    version: int = await conn.fetchval(
        "SELECT version FROM directory_head WHERE organization = $1 FOR UPDATE", organization
    )
    return version


async def save_directory(
    conn: Connection,
    organization: str,
    version: int,
    document: Any,
    by: str,
    at: datetime,
    *,
    plan: str | None = None,
    approved_by: str | None = None,
) -> None:
    """Store a version and put it in force; the sweep finds whoever is behind.

    What is known of a portal goes on to the next version; a new one is known from now on.
    """
    await conn.execute(
        """
        INSERT INTO directory_version
            (organization, version, document, applied_at, applied_by, plan, approved_by, observed)
        SELECT $1, $2, $3, $4, $5, $6, $7, (
            SELECT coalesce(jsonb_object_agg(portal ->> 'id', coalesce(
                (SELECT observed -> (portal ->> 'id') FROM directory_version
                 WHERE organization = $1 AND version = $2 - 1),
                jsonb_build_object('since', $4::timestamptz, 'adopted', false,
                                   'reconciled_as_of', NULL))), '{}')
            FROM jsonb_array_elements($3::jsonb -> 'portals') AS portal
        )
        """,
        organization,
        version,
        document,
        at,
        by,
        plan,
        approved_by,
    )
    await conn.execute(
        "UPDATE directory_head SET version = $2 WHERE organization = $1", organization, version
    )


async def save_observed(
    conn: Connection,
    organization: str,
    version: int,
    known: Mapping[str, PortalKnowledge],
    *,
    by: str,
    at: datetime,
) -> None:
    """Put the same directory in force anew with more known of these portals.

    Args:
        version: the version in force, whose head the caller has locked.
    """
    await conn.execute(
        """
        INSERT INTO directory_version
            (organization, version, document, applied_at, applied_by, observed)
        SELECT organization, version + 1, document, $4, $5, observed || $3::jsonb
        FROM directory_version WHERE organization = $1 AND version = $2
        """,
        organization,
        version,
        {
            portal: {
                "since": one.since.isoformat(),
                "adopted": one.adopted,
                "reconciled_as_of": one.reconciled_as_of and one.reconciled_as_of.isoformat(),
            }
            for portal, one in known.items()
        },
        at,
        by,
    )
    await conn.execute(
        "UPDATE directory_head SET version = $2 + 1 WHERE organization = $1", organization, version
    )


async def lock_portals(conn: Connection, keys: Iterable[tuple[str, str]]) -> None:
    """Lock (organization, portal) rows, in order, creating those that are missing."""
    wanted = sorted(set(keys))
    organizations, portals = [key[0] for key in wanted], [key[1] for key in wanted]
    await conn.execute(
        """
        INSERT INTO portal_lock (organization, portal)
        SELECT * FROM unnest($1::text[], $2::text[]) AS wanted (organization, portal)
        ORDER BY organization, portal ON CONFLICT DO NOTHING
        """,
        organizations,
        portals,
    )
    await conn.execute(
        """
        SELECT 1 FROM portal_lock
        WHERE (organization, portal) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        ORDER BY organization, portal FOR UPDATE
        """,
        organizations,
        portals,
    )


async def save_standings(
    conn: Connection, organization: str, standings: Sequence[AdministratorStanding]
) -> None:
    """Replace the appointments of an organization, keeping what is known of exits."""
    await conn.execute(
        """
        DELETE FROM administrator_standing
        WHERE organization = $1
          AND (portal, tin, worker, since) NOT IN (
              SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[])
          )
        """,
        organization,
        [standing.portal for standing in standings],
        [standing.tin for standing in standings],
        [standing.worker for standing in standings],
        [standing.since for standing in standings],
    )
    await conn.execute(
        """
        INSERT INTO administrator_standing (organization, portal, tin, worker, since, until)
        SELECT $1, * FROM unnest(
            $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[]
        )
        ON CONFLICT (organization, portal, tin, worker, since) DO UPDATE SET until = excluded.until
        """,
        organization,
        [standing.portal for standing in standings],
        [standing.tin for standing in standings],
        [standing.worker for standing in standings],
        [standing.since for standing in standings],
        [standing.until for standing in standings],
    )


async def note_exit(
    conn: Connection, organization: str, workers: Sequence[str], leaves_at: datetime | None
) -> bool:
    """Remember when administrators leave; whether that is news to their portals."""
    changed = await conn.fetch(
        """
        UPDATE administrator_standing SET leaves_at = $3
        WHERE organization = $1 AND worker = ANY($2::text[]) AND leaves_at IS DISTINCT FROM $3
        RETURNING 1
        """,
        organization,
        list(workers),
        leaves_at,
    )
    return bool(changed)


async def standings(
    conn: Connection, organization: str, portals: Iterable[str] | None = None
) -> list[AdministratorStanding]:
    """Appointments to these portals (to all, if None is given)."""
    rows = await conn.fetch(
        """
        SELECT portal, tin, worker, since, until, leaves_at FROM administrator_standing
        WHERE organization = $1 AND ($2::text[] IS NULL OR portal = ANY($2::text[]))
        ORDER BY portal, tin, worker, since
        """,
        organization,
        None if portals is None else sorted(set(portals)),
    )
    return [AdministratorStanding(**row) for row in rows]


async def portals_in_use(conn: Connection, organization: str) -> set[str]:
    """Portals on which somebody has an account or an open operation."""
    rows = await conn.fetch(
        """
        SELECT portal FROM account WHERE organization = $1
        UNION
        SELECT portal FROM operation WHERE organization = $1
          AND status IN ('requested', 'claimed', 'superseded')
        """,
        organization,
    )
    return {row["portal"] for row in rows}


async def organizations(conn: Connection) -> set[str]:
    """Organizations that have a directory."""
    rows = await conn.fetch("SELECT organization FROM directory_head WHERE version > 0")
    return {row["organization"] for row in rows}
