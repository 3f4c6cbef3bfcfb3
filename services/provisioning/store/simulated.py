"""The portal simulator's own truth, which no decision reads."""

from __future__ import annotations

from collections.abc import Sequence
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
