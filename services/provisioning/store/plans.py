"""Plans of a directory: what they change, how far their simulation is, what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.provisioning.rules.planning import Effect
from services.provisioning.store.workers import LockedWorker, worker_from
from shared.postgres import Connection

PLAN_COLUMNS = """
    plan, base_version, changes, needs_approval, applicable, status, made_by, made_at, simulated,
    total, proposed_by, proposed_at, decided_by, decided_at, reason, version
"""


async def save_plan(
    conn: Connection,
    organization: str,
    plan: str,
    *,
    base_version: int,
    document: Mapping[str, Any],
    changes: Sequence[Mapping[str, Any]],
    needs_approval: bool,
    applicable: bool,
    by: str,
    at: datetime,
) -> bool:
    """Store a plan to be simulated, anew if it was, unless it is proposed; whether it was."""
    stored = await conn.fetchval(
        """
        INSERT INTO directory_plan AS known
            (organization, plan, base_version, document, changes, needs_approval, applicable,
             status, made_by, made_at, total)
        SELECT $1, $2, $3, $4, $5, $6, $7, 'simulating', $8, $9,
            (SELECT count(*) FROM worker WHERE organization = $1)
        ON CONFLICT (organization, plan) DO UPDATE
            SET status = 'simulating', made_by = excluded.made_by, made_at = excluded.made_at,
                applicable = known.applicable OR excluded.applicable,
                simulated_to = '', simulated = 0, total = excluded.total, proposed_by = NULL,
                proposed_at = NULL, decided_by = NULL, decided_at = NULL, reason = NULL
            WHERE known.status <> 'proposed'
        RETURNING true
        """,
        organization,
        plan,
        base_version,
        document,
        changes,
        needs_approval,
        applicable,
        by,
        at,
    )
    if stored:
        await conn.execute(
            "DELETE FROM directory_plan_effect WHERE organization = $1 AND plan = $2",
            organization,
            plan,
        )
    return stored is True


async def plan_row(
    conn: Connection, organization: str, plan: str, *, lock: bool = False
) -> Any | None:
    """A plan with its document, or None."""
    return await conn.fetchrow(
        f"SELECT {PLAN_COLUMNS}, document, simulated_to FROM directory_plan"
        " WHERE organization = $1 AND plan = $2" + (" FOR UPDATE" if lock else ""),
        organization,
        plan,
    )


async def plan_rows(conn: Connection, organization: str, limit: int) -> list[Any]:
    """Plans without their documents: what waits for approval first, then the newest."""
    return await conn.fetch(
        f"SELECT {PLAN_COLUMNS} FROM directory_plan WHERE organization = $1 AND applicable"
        " ORDER BY status = 'proposed' DESC, made_at DESC LIMIT $2",
        organization,
        limit,
    )


async def counts(conn: Connection, organization: str, plan: str) -> Any:
    """How many workers gain, lose, and change in any way."""
    return await conn.fetchrow(
        """
        SELECT count(*) AS workers,
            count(*) FILTER (WHERE jsonb_array_length(gains) > 0) AS gain,
            count(*) FILTER (WHERE jsonb_array_length(loses) > 0) AS lose,
            coalesce(sum(jsonb_array_length(gains)), 0)::int AS gains,
            coalesce(sum(jsonb_array_length(loses)), 0)::int AS loses
        FROM directory_plan_effect WHERE organization = $1 AND plan = $2
        """,
        organization,
        plan,
    )


async def effects(
    conn: Connection, organization: str, plan: str, *, after: str, limit: int
) -> list[Any]:
    """Whose access changes and how, by worker id."""
    return await conn.fetch(
        "SELECT worker, name, gains, loses, more FROM directory_plan_effect"
        " WHERE organization = $1 AND plan = $2 AND worker > $3 ORDER BY worker LIMIT $4",
        organization,
        plan,
        after,
        limit,
    )


async def next_simulating(conn: Connection) -> tuple[str, str] | None:
    """The oldest plan whose simulation is not through, if nobody else works on it."""
    row = await conn.fetchrow(
        "SELECT organization, plan FROM directory_plan WHERE status = 'simulating'"
        " ORDER BY made_at LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    return (row["organization"], row["plan"]) if row else None


async def read_workers(
    conn: Connection, organization: str, after: str, clusters: int
) -> list[LockedWorker]:
    """The workers of the next clusters after `after`, whole clusters, read without any lock."""
    rows = await conn.fetch(
        """
        SELECT organization, worker, cluster, epoch, version, as_of, directory_version, findings,
               digest, portals::text, portals_basis, portals_change_at
        FROM worker
        WHERE organization = $1 AND cluster IN (
            SELECT DISTINCT cluster FROM worker WHERE organization = $1 AND cluster > $2
            ORDER BY cluster LIMIT $3
        )
        ORDER BY cluster, worker
        """,
        organization,
        after,
        clusters,
    )
    return [worker_from(row) for row in rows]


async def note_simulated(
    conn: Connection,
    organization: str,
    plan: str,
    found: Sequence[Effect],
    *,
    to: str,
    workers: int,
    over: bool,
) -> None:
    """Store what a chunk of the simulation showed, and how far it is."""
    await conn.executemany(
        """
        INSERT INTO directory_plan_effect (organization, plan, worker, name, gains, loses, more)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (organization, plan, worker) DO UPDATE
            SET name = excluded.name, gains = excluded.gains, loses = excluded.loses,
                more = excluded.more
        """,
        [
            (
                organization,
                plan,
                effect.worker,
                effect.name,
                effect.gains,
                effect.loses,
                {
                    "held": effect.held,
                    "raised": effect.raised,
                    "resolved": effect.resolved,
                    "duties": effect.duties,
                },
            )
            for effect in found
        ],
    )
    await conn.execute(
        "UPDATE directory_plan SET simulated = simulated + $3, simulated_to = $4,"
        " status = CASE WHEN $5 THEN 'ready' ELSE status END"
        " WHERE organization = $1 AND plan = $2 AND status = 'simulating'",
        organization,
        plan,
        workers,
        to,
        over,
    )


async def propose(conn: Connection, organization: str, plan: str, by: str, at: datetime) -> None:
    """Note that somebody proposes a plan, which another has to approve."""
    await conn.execute(
        "UPDATE directory_plan SET status = 'proposed', proposed_by = $3, proposed_at = $4"
        " WHERE organization = $1 AND plan = $2",
        organization,
        plan,
        by,
        at,
    )


async def decide_plan(
    conn: Connection,
    organization: str,
    plan: str,
    status: str,
    *,
    by: str,
    at: datetime,
    reason: str | None = None,
    version: int | None = None,
) -> None:
    """Note how a plan ended: applied, rejected, or stale."""
    await conn.execute(
        "UPDATE directory_plan SET status = $3, decided_by = $4, decided_at = $5, reason = $6,"
        " version = $7 WHERE organization = $1 AND plan = $2",
        organization,
        plan,
        status,
        by,
        at,
        reason,
        version,
    )


async def versions(conn: Connection, organization: str, limit: int) -> list[Any]:
    """The versions that were put in force, newest first, with who did it."""
    return await conn.fetch(
        "SELECT version, applied_at, applied_by, approved_by, plan,"
        " document #>> '{policy,version}' AS policy, document #>> '{policy,signatory}' AS signatory"
        " FROM directory_version WHERE organization = $1 ORDER BY version DESC LIMIT $2",
        organization,
        limit,
    )


async def forget_plans(conn: Connection, before: datetime) -> int:
    """Drop plans made before an instant that nobody applied or proposed; how many those were."""
    done: str = await conn.execute(
        "DELETE FROM directory_plan WHERE made_at < $1 AND status IN ('simulating', 'ready')",
        before,
    )
    return int(done.rpartition(" ")[2])
