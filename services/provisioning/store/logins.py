"""Logins as sheets and user lists show them, and which of those were imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.provisioning.rules.matching import KnownPerson
from services.provisioning.rules.operations import Account
from services.provisioning.store.accounts import account_from
from services.provisioning.store.encoding import json_text
from services.provisioning.store.workers import LockedWorker
from shared.contracts.state import AccountStatus
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A login as the latest list or sheet that speaks of it shows it."""

    login_id: str
    name: str
    email: str
    worker: str | None
    status: AccountStatus
    last_login_at: datetime | None
    as_of: datetime
    source_id: str


async def known_people(conn: Connection, organization: str) -> list[KnownPerson]:
    """Every worker of the organization under the id in use."""
    rows = await conn.fetch(
        """
        SELECT worker, name, state ->> 'email' AS email,
               status NOT IN ('terminated', 'erased') AS employed
        FROM worker
        WHERE organization = $1 AND merged_into IS NULL AND status <> 'erased'
          AND state IS NOT NULL
        ORDER BY worker
        """,
        organization,
    )
    return [KnownPerson(row["worker"], row["name"], row["email"], row["employed"]) for row in rows]


async def ids_in_use(conn: Connection, organization: str) -> dict[str, str]:
    """The id in use of every id that was merged into another."""
    rows = await conn.fetch(
        "SELECT worker, merged_into FROM worker"
        " WHERE organization = $1 AND merged_into IS NOT NULL",
        organization,
    )
    return {row["worker"]: row["merged_into"] for row in rows}


async def accounts_on(conn: Connection, organization: str, portals: Sequence[str]) -> list[Account]:
    """Every account on these portals."""
    rows = await conn.fetch(
        "SELECT * FROM account WHERE organization = $1 AND portal = ANY($2::text[])"
        " ORDER BY worker, portal",
        organization,
        list(portals),
    )
    return [account_from(row) for row in rows]


async def workers_on(conn: Connection, organization: str, portal: str) -> list[str]:
    """Workers with an account or open work on a portal."""
    rows = await conn.fetch(
        """
        SELECT worker FROM account WHERE organization = $1 AND portal = $2
        UNION
        SELECT worker FROM operation WHERE organization = $1 AND portal = $2
          AND status IN ('requested', 'claimed', 'superseded')
        """,
        organization,
        portal,
    )
    return [row["worker"] for row in rows]


async def open_work_on(conn: Connection, organization: str, portal: str) -> list[Any]:
    """Rows of the operations on a portal that have not ended."""
    rows: list[Any] = await conn.fetch(
        "SELECT * FROM operation WHERE organization = $1 AND portal = $2"
        " AND status IN ('requested', 'claimed', 'superseded')"
        " ORDER BY requested_at, operation_id",
        organization,
        portal,
    )
    return rows


async def published(conn: Connection, organization: str, workers: Sequence[str]) -> dict[str, Any]:
    """Of each worker: name, status, and what the published state says of portals."""
    rows = await conn.fetch(
        "SELECT worker, name, status, portals::jsonb AS portals FROM worker"
        " WHERE organization = $1 AND worker = ANY($2::text[])",
        organization,
        list(workers),
    )
    return {row["worker"]: row for row in rows}


async def is_in_history(
    conn: Connection,
    organization: str,
    worker: str,
    portal: str,
    valid_from: datetime,
    valid_until: datetime,
) -> bool:
    """Whether anything is known of what a worker held on a portal in a stretch of time."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT 1 FROM entitlement_history WHERE organization = $1 AND worker = $2"
        " AND portal = $3 AND valid_from < $5 AND valid_until > $4 AND known_until = 'infinity')",
        organization,
        worker,
        portal,
        valid_from,
        valid_until,
    )
    return found


def unlocked(organization: str, workers: Iterable[str]) -> list[LockedWorker]:
    """Rows as reading needs them, of workers that nobody has locked: for previews only."""
    return [
        LockedWorker(organization, worker, worker, 0, 0, None, 0, frozenset(), None, b"[]", None)
        for worker in workers
    ]


async def stored_logins(conn: Connection, organization: str, portal: str) -> dict[str, StoredLogin]:
    """The logins of a portal as lists have shown them, by their key."""
    rows = await conn.fetch(
        "SELECT * FROM portal_login WHERE organization = $1 AND portal = $2", organization, portal
    )
    return {
        row["login_key"]: StoredLogin(
            row["login_id"],
            row["name"],
            row["email"],
            row["worker"],
            AccountStatus(row["status"]),
            row["last_login_at"],
            row["as_of"],
            row["source_id"],
        )
        for row in rows
    }


async def save_logins(
    conn: Connection, organization: str, portal: str, logins: Mapping[str, StoredLogin]
) -> None:
    """Write logins by their key; one of which something later is stored keeps that."""
    await conn.execute(
        """
        INSERT INTO portal_login (organization, portal, login_key, login_id, name, email, worker,
            status, last_login_at, as_of, source_id)
        SELECT $1, $2, login_key, login_id, name, email, worker, status, last_login_at, as_of,
               source_id
        FROM json_to_recordset($3::text::json)
            AS new (login_key text, login_id text, name text, email text, worker text, status text,
                    last_login_at timestamptz, as_of timestamptz, source_id text)
        ON CONFLICT (organization, portal, login_key) DO UPDATE SET
            login_id = excluded.login_id, name = excluded.name, email = excluded.email,
            worker = excluded.worker, status = excluded.status,
            last_login_at = greatest(portal_login.last_login_at, excluded.last_login_at),
            as_of = excluded.as_of, source_id = excluded.source_id
        WHERE portal_login.as_of <= excluded.as_of
        """,
        organization,
        portal,
        json_text(
            [
                {
                    "login_key": key,
                    "login_id": login.login_id,
                    "name": login.name,
                    "email": login.email,
                    "worker": login.worker,
                    "status": login.status,
                    "last_login_at": login.last_login_at,
                    "as_of": login.as_of,
                    "source_id": login.source_id,
                }
                for key, login in logins.items()
            ]
        ),
    )


# -- adoptions


async def find_adoption(conn: Connection, organization: str, adoption_id: str) -> Any | None:
    """An adoption that was made."""
    return await conn.fetchrow(
        "SELECT * FROM adoption WHERE organization = $1 AND adoption_id = $2",
        organization,
        adoption_id,
    )


async def add_adoption(
    conn: Connection,
    organization: str,
    adoption_id: str,
    *,
    plan: str,
    file_sha256: str,
    file_name: str,
    as_of: datetime,
    by: str,
    now: datetime,
    counts: Mapping[str, int],
) -> None:
    """Remember an adoption; one made again keeps its first date and counts."""
    await conn.execute(
        "INSERT INTO adoption (organization, adoption_id, plan, file_sha256, file_name, as_of,"
        " adopted_by, adopted_at, counts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        " ON CONFLICT DO NOTHING",
        organization,
        adoption_id,
        plan,
        file_sha256,
        file_name,
        as_of,
        by,
        now,
        dict(counts),
    )


async def adoptions(conn: Connection, organization: str) -> list[Any]:
    """Every adoption, the latest first."""
    rows: list[Any] = await conn.fetch(
        "SELECT * FROM adoption WHERE organization = $1 ORDER BY as_of DESC, adopted_at DESC",
        organization,
    )
    return rows


async def adopted_before(
    conn: Connection, organization: str, as_of: datetime
) -> set[tuple[str, str]]:
    """(portal, worker) of which a sheet of the same moment was taken over."""
    rows = await conn.fetch(
        "SELECT portal, worker FROM adopted_login WHERE organization = $1 AND as_of = $2",
        organization,
        as_of,
    )
    return {(row["portal"], row["worker"]) for row in rows}


async def add_adopted(
    conn: Connection, organization: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Keep what a sheet said of logins."""
    await conn.execute(
        """
        INSERT INTO adopted_login (organization, portal, worker, as_of, adoption_id, line, login_id,
            status, rights, valid_from, valid_until)
        SELECT $1, portal, worker, as_of, adoption_id, line, login_id, status, rights, valid_from,
               valid_until
        FROM json_to_recordset($2::text::json)
            AS new (portal text, worker text, as_of timestamptz, adoption_id text, line int,
                    login_id text, status text, rights jsonb, valid_from timestamptz,
                    valid_until timestamptz)
        ON CONFLICT DO NOTHING
        """,
        organization,
        json_text(list(rows)),
    )


# -- rosters


async def latest_roster(conn: Connection, organization: str, portal: str) -> Any | None:
    """The imported list of a portal with the latest `as_of`."""
    return await conn.fetchrow(
        "SELECT * FROM roster WHERE organization = $1 AND portal = $2"
        " ORDER BY as_of DESC, imported_at DESC LIMIT 1",
        organization,
        portal,
    )


async def latest_whole_roster(conn: Connection, organization: str, portal: str) -> datetime | None:
    """For when the latest imported list of all of a portal's users was right."""
    as_of: datetime | None = await conn.fetchval(
        "SELECT max(as_of) FROM roster WHERE organization = $1 AND portal = $2 AND complete",
        organization,
        portal,
    )
    return as_of


async def latest_rosters(conn: Connection, organization: str) -> dict[str, datetime]:
    """For when the latest imported list of each portal was right."""
    rows = await conn.fetch(
        "SELECT portal, max(as_of) AS as_of FROM roster WHERE organization = $1 GROUP BY portal",
        organization,
    )
    return {row["portal"]: row["as_of"] for row in rows}


async def rosters(conn: Connection, organization: str, portal: str | None) -> list[Any]:
    """Imported lists, the latest first."""
    rows: list[Any] = await conn.fetch(
        "SELECT * FROM roster WHERE organization = $1 AND ($2::text IS NULL OR portal = $2)"
        " ORDER BY as_of DESC, imported_at DESC LIMIT 500",
        organization,
        portal,
    )
    return rows


async def add_roster(
    conn: Connection,
    organization: str,
    portal: str,
    roster_id: str,
    *,
    plan: str,
    file_sha256: str,
    file_name: str,
    as_of: datetime,
    complete: bool,
    by: str,
    now: datetime,
    counts: Mapping[str, int],
) -> bool:
    """Remember an imported list; False if it was imported before."""
    stored = await conn.fetchval(
        "INSERT INTO roster (organization, portal, roster_id, plan, file_sha256, file_name, as_of,"
        " complete, imported_by, imported_at, counts)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        " ON CONFLICT DO NOTHING RETURNING true",
        organization,
        portal,
        roster_id,
        plan,
        file_sha256,
        file_name,
        as_of,
        complete,
        by,
        now,
        dict(counts),
    )
    return bool(stored)
