"""What lists show of workers: written with the published state, read instead of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from services.provisioning.rules.listed import Listed
from services.provisioning.store.encoding import json_text
from services.provisioning.store.workers import WorkerKey
from shared.postgres import Connection

_COLUMNS = tuple(field.name for field in fields(Listed))
_SHOWN = ", ".join(column for column in _COLUMNS if not column.startswith("portals_"))


def _of(table: str) -> str:
    return ", ".join(f"{table}.{column}" for column in _SHOWN.split(", "))


async def save_listed(conn: Connection, changed: Mapping[WorkerKey, Listed | None]) -> None:
    """Write how lists show locked workers; None for one that another id stands for."""
    gone = [key for key, one in changed.items() if one is None]
    if gone:
        await conn.execute(
            "DELETE FROM listed_worker"
            " WHERE (organization, worker) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
            [key[0] for key in gone],
            [key[1] for key in gone],
        )
    rows = [
        {
            "organization": key[0],
            "worker": key[1],
            **{column: getattr(one, column) for column in _COLUMNS},
        }
        for key, one in changed.items()
        if one is not None
    ]
    if rows:
        await conn.execute(
            f"""
            INSERT INTO listed_worker AS known (organization, worker, {", ".join(_COLUMNS)})
            SELECT organization, worker, {", ".join(_COLUMNS)}
            FROM json_populate_recordset(NULL::listed_worker, $1::text::json)
            ON CONFLICT (organization, worker) DO UPDATE SET
                ({_SHOWN}) = ROW ({_of("excluded")}),
                portals_known = coalesce(excluded.portals_known, known.portals_known),
                portals_usable = coalesce(excluded.portals_usable, known.portals_usable),
                portals_exposed = coalesce(excluded.portals_exposed, known.portals_exposed)
            WHERE excluded.portals_known IS NOT NULL
               OR ({_of("known")}) IS DISTINCT FROM ({_of("excluded")})
            """,
            json_text(rows),
        )


async def workers(
    conn: Connection,
    organization: str,
    *,
    query: str | None,
    status: str | None,
    after: str,
    limit: int,
) -> list[Any]:
    """Workers whose id, name or title has every word of `query` in it, by worker id."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT worker, name, status, title, duties, sites, portals_usable AS portals,
               portals_exposed AS exposed, blocked, findings
        FROM listed_worker
        WHERE organization = $1 AND worker > $2 AND words LIKE ALL ($3::text[])
          AND ($4::text IS NULL OR status = $4)
        ORDER BY worker LIMIT $5
        """,
        organization,
        after,
        [f"%{_literally(word)}%" for word in (query or "").lower().split()],
        status,
        limit,
    )
    return rows


def _literally(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


async def counts(conn: Connection, organization: str) -> Any:
    """How many work here or are expected, can use a portal, and what is found about people."""
    return await conn.fetchrow(
        """
        SELECT count(*) FILTER (WHERE status IN ('active', 'on_leave', 'expected')) AS workers,
               count(*) FILTER (WHERE portals_usable > 0) AS portal_users,
               coalesce(sum(findings), 0)::int AS findings
        FROM listed_worker WHERE organization = $1
        """,
        organization,
    )


async def on_portals(
    conn: Connection,
    organization: str,
    *,
    site: str | None,
    duty: str | None,
    after: str,
    limit: int,
) -> list[Any]:
    """What is so on portals for workers who have anything to do with one, by worker id."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT shown.worker, shown.name, worker.portals
        FROM (
            SELECT organization, worker, name FROM listed_worker
            WHERE organization = $1 AND worker > $2 AND portals_known > 0
              AND ($3::text IS NULL OR $3 = ANY (sites))
              AND ($4::text IS NULL OR duties @> ARRAY[$4::text])
            ORDER BY worker LIMIT $5
        ) AS shown
        JOIN worker USING (organization, worker)
        ORDER BY shown.worker
        """,
        organization,
        after,
        site,
        duty,
        limit,
    )
    return rows


async def findings(conn: Connection, organization: str, *, after: str, limit: int) -> list[Any]:
    """What a person should look at about the next `limit` workers of whom there is anything."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT shown.worker, shown.name, finding ->> 0 AS rule, finding ->> 1 AS detail,
               worker.as_of AS since
        FROM (
            SELECT organization, worker, name FROM listed_worker
            WHERE organization = $1 AND worker > $2 AND findings > 0
            ORDER BY worker LIMIT $3
        ) AS shown
        JOIN worker USING (organization, worker), jsonb_array_elements(worker.findings) AS finding
        ORDER BY shown.worker, rule, detail
        """,
        organization,
        after,
        limit,
    )
    return rows


async def unmapped_titles(conn: Connection, organization: str, limit: int) -> list[Any]:
    """What is found about titles of the first `limit` workers of whom anything is, with titles."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT finding ->> 1 AS detail, worker.state -> 'employments' AS employments
        FROM (
            SELECT organization, worker FROM listed_worker
            WHERE organization = $1 AND findings > 0 ORDER BY worker LIMIT $2
        ) AS shown
        JOIN worker USING (organization, worker), jsonb_array_elements(worker.findings) AS finding
        WHERE finding ->> 0 = 'unmapped_title'
        """,
        organization,
        limit,
    )
    return rows


async def training_due(
    conn: Connection,
    organization: str,
    *,
    worker: str | None,
    after: tuple[Any, str] | None,
    limit: int,
) -> list[Any]:
    """Modules that access waits for, of the next `limit` workers by whose is due first."""
    due_at, last = after or (None, "")
    rows: list[Any] = await conn.fetch(
        """
        SELECT shown.worker, shown.name AS worker_name, shown.training_due_at AS first_due_at,
               due ->> 'module' AS module, (due ->> 'due_at')::timestamptz AS due_at
        FROM (
            SELECT organization, worker, name, training_due_at FROM listed_worker
            WHERE organization = $1 AND training_due_at IS NOT NULL
              AND ($2::text IS NULL OR worker = $2)
              AND ($3::timestamptz IS NULL OR (training_due_at, worker) > ($3, $4))
            ORDER BY training_due_at, worker LIMIT $5
        ) AS shown
        JOIN worker USING (organization, worker),
            json_array_elements(worker.state -> 'training_due') AS due
        ORDER BY shown.training_due_at, shown.worker, due_at, module
        """,
        organization,
        worker,
        due_at,
        last,
        limit,
    )
    return rows
