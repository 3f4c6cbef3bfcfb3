"""The portal simulator's own truth, which no decision reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.postgres import Connection


async def set_simulated_login(
    conn: Connection,
    organization: str,
    portal: str,
    worker: str,
    *,
    login_id: str,
    active: bool,
    functions: Sequence[tuple[str, str]],
    at: datetime,
) -> None:
    """What the make-believe portal holds from now on."""
    await conn.execute(
        """
        INSERT INTO simulated_login (organization, portal, login_id, worker, active, functions,
            changed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (organization, portal, worker) DO UPDATE SET active = excluded.active,
            functions = excluded.functions, changed_at = excluded.changed_at
        """,
        organization,
        portal,
        login_id,
        worker,
        active,
        [list(function) for function in functions],
        at,
    )


async def simulated_login(
    conn: Connection, organization: str, portal: str, worker: str
) -> Any | None:
    """What the make-believe portal holds for a worker."""
    return await conn.fetchrow(
        "SELECT login_id, active, functions FROM simulated_login"
        " WHERE organization = $1 AND portal = $2 AND worker = $3",
        organization,
        portal,
        worker,
    )


@dataclass(frozen=True, slots=True)
class SimulatedLogin:
    """A login of a make-believe portal; `worker` is empty where it is nobody's."""

    login_id: str
    worker: str
    name: str
    email: str
    active: bool
    functions: Sequence[tuple[str, str]]
    last_login_at: datetime | None


async def put_logins(
    conn: Connection,
    organization: str,
    portal: str,
    logins: Sequence[SimulatedLogin],
    at: datetime,
) -> None:
    """Make these logins exist as they are, whatever was there before."""
    await conn.executemany(
        """
        INSERT INTO simulated_login (organization, portal, login_id, worker, active, functions,
            changed_at, name, email, last_login_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (organization, portal, worker) DO UPDATE SET login_id = excluded.login_id,
            active = excluded.active, functions = excluded.functions,
            changed_at = excluded.changed_at, name = excluded.name, email = excluded.email,
            last_login_at = excluded.last_login_at
        """,
        [
            (
                organization,
                portal,
                login.login_id,
                login.worker or f"nobody:{login.login_id}",
                login.active,
                [list(function) for function in login.functions],
                at,
                login.name,
                login.email,
                login.last_login_at,
            )
            for login in logins
        ],
    )


async def logins(conn: Connection, organization: str, portal: str) -> list[SimulatedLogin]:
    """Every login of a make-believe portal, with the name that HR told where it knows none."""
    rows = await conn.fetch(
        """
        SELECT login.*, coalesce(nullif(login.name, ''), worker.name, '') AS shown_name
        FROM simulated_login AS login LEFT JOIN worker USING (organization, worker)
        WHERE login.organization = $1 AND login.portal = $2 ORDER BY login.login_id
        """,
        organization,
        portal,
    )
    return [
        SimulatedLogin(
            row["login_id"],
            "" if row["worker"].startswith("nobody:") else row["worker"],
            row["shown_name"],
            row["email"],
            row["active"],
            [tuple(function) for function in row["functions"]],
            row["last_login_at"],
        )
        for row in rows
    ]


async def purge(
    conn: Connection,
    organization: str,
    portal: str,
    *,
    idle_since: datetime,
    deleted_since: datetime | None,
) -> tuple[int, int]:
    """Switch off logins unused since one instant, delete those unused since another; how many."""
    deleted: str = await conn.execute(
        "DELETE FROM simulated_login WHERE organization = $1 AND portal = $2"
        " AND coalesce(last_login_at, changed_at) < $3::timestamptz",
        organization,
        portal,
        deleted_since,
    )
    disabled: str = await conn.execute(
        "UPDATE simulated_login SET active = false WHERE organization = $1 AND portal = $2"
        " AND active AND coalesce(last_login_at, changed_at) < $3",
        organization,
        portal,
        idle_since,
    )
    return int(disabled.rpartition(" ")[2]), int(deleted.rpartition(" ")[2])


async def set_behaviour(
    conn: Connection, organization: str, portal: str, *, delay_seconds: int, reject_next: int
) -> None:
    """How a make-believe portal behaves from now on."""
    await conn.execute(
        "INSERT INTO simulated_portal (organization, portal, delay_seconds, reject_next)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT (organization, portal) DO UPDATE SET"
        " delay_seconds = excluded.delay_seconds, reject_next = excluded.reject_next",
        organization,
        portal,
        delay_seconds,
        reject_next,
    )


async def delays(conn: Connection) -> dict[tuple[str, str], int]:
    """Seconds that portals take, where they take any."""
    rows = await conn.fetch(
        "SELECT organization, portal, delay_seconds FROM simulated_portal WHERE delay_seconds > 0"
    )
    return {(row["organization"], row["portal"]): row["delay_seconds"] for row in rows}


async def take_rejection(conn: Connection, organization: str, portal: str) -> bool:
    """Whether the portal rejects the operation at hand; one rejection fewer is left then."""
    left = await conn.fetchval(
        "UPDATE simulated_portal SET reject_next = reject_next - 1"
        " WHERE organization = $1 AND portal = $2 AND reject_next > 0 RETURNING reject_next",
        organization,
        portal,
    )
    return left is not None
