"""Chores: work for people that changes nobody's access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.provisioning.rules.chores import Chore, FindingKey, FindingWork
from services.provisioning.rules.findings import FindingRule
from services.provisioning.rules.recurring import PasswordAge
from shared.contracts.state import ChoreKind, ChoreStatus
from shared.postgres import Connection

COLUMNS = """
    chore.chore_id::text AS chore_id, chore.kind, chore.portal, chore.worker,
    worker.name AS worker_name, chore.text, chore.details, chore.addressed_to,
    chore.requested_by, chore.requested_at, chore.deadline, chore.status, chore.claimed_by,
    chore.evidence, chore.outcome, chore.ended_by, chore.ended_at
"""


WORK_COLUMNS = """
    chore.chore_id::text AS operation_id, chore.kind,
    coalesce(chore.worker, chore.addressed_to, '') AS worker,
    coalesce(worker.name, chore.addressed_to, 'nobody in particular') AS worker_name,
    chore.portal, NULL::text AS tin, NULL::text AS function, '[]'::jsonb AS rights, chore.status,
    1 AS generation, chore.kind AS rule, '{}'::text[] AS events,
    jsonb_build_array(jsonb_build_object(
        'actor', CASE chore.kind WHEN 'change_password' THEN 'worker' ELSE 'administrator' END,
        'text', chore.text)) AS steps,
    '{}'::jsonb AS steps_done, chore.requested_at, chore.deadline, 90 AS rank, chore.claimed_by,
    false AS overdue, chore.evidence, chore.outcome, chore.ended_at,
    NULL::jsonb AS authorized_by, NULL::timestamptz AS paused_since
"""
"""A chore as operations are shown."""


def chore_from(row: Any) -> Chore:
    """The chore in a row of the table."""
    return Chore(
        str(row["chore_id"]),
        ChoreKind(row["kind"]),
        row["portal"],
        row["worker"],
        row["text"],
        row["details"],
        row["addressed_to"],
        row["requested_by"],
        row["requested_at"],
        row["deadline"],
        ChoreStatus(row["status"]),
        row["claimed_by"],
    )


async def add_chore(conn: Connection, organization: str, chore: Chore) -> bool:
    """Store a new chore; False if the same was asked for before."""
    stored = await conn.fetchval(
        """
        INSERT INTO chore (chore_id, organization, kind, portal, worker, text, details,
            addressed_to, requested_by, requested_at, deadline, status)
        VALUES ($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT DO NOTHING RETURNING true
        """,
        chore.chore_id,
        organization,
        chore.kind,
        chore.portal,
        chore.worker,
        chore.text,
        dict(chore.details),
        chore.addressed_to,
        chore.requested_by,
        chore.requested_at,
        chore.deadline,
        chore.status,
    )
    return bool(stored)


async def lock_chore(conn: Connection, organization: str, chore_id: str) -> Chore | None:
    """One chore, locked for this transaction."""
    row = await conn.fetchrow(
        "SELECT * FROM chore WHERE organization = $1 AND chore_id = $2::uuid FOR UPDATE",
        organization,
        chore_id,
    )
    return chore_from(row) if row else None


async def open_chores_about(
    conn: Connection, organization: str, kind: ChoreKind, enrolment: str, phase: str
) -> list[str]:
    """Ids of the open chores about a phase of an enrolment."""
    rows = await conn.fetch(
        "SELECT chore_id::text AS chore_id FROM chore WHERE organization = $1 AND kind = $2"
        " AND ended_at IS NULL AND details ->> 'enrolment' = $3 AND details ->> 'phase' = $4"
        " ORDER BY chore_id",
        organization,
        kind,
        enrolment,
        phase,
    )
    return [row["chore_id"] for row in rows]


async def save_chore(
    conn: Connection,
    chore: Chore,
    *,
    evidence: Mapping[str, str] | None,
    outcome: str | None,
    ended_by: str | None,
    ended_at: datetime | None,
) -> None:
    """Write where a locked chore stands, and how it ended if it did."""
    await conn.execute(
        """
        UPDATE chore SET status = $2, claimed_by = $3, evidence = $4, outcome = $5,
            ended_by = $6, ended_at = $7
        WHERE chore_id = $1::uuid
        """,
        chore.chore_id,
        chore.status,
        chore.claimed_by,
        evidence,
        outcome,
        ended_by,
        ended_at,
    )


async def find_chore(conn: Connection, organization: str, chore_id: str) -> Any | None:
    """One chore as it is shown."""
    return await conn.fetchrow(
        f"""
        SELECT {COLUMNS} FROM chore LEFT JOIN worker USING (organization, worker)
        WHERE chore.organization = $1 AND chore.chore_id = $2::uuid
        """,
        organization,
        chore_id,
    )


async def chores(
    conn: Connection,
    organization: str,
    *,
    ended: bool,
    portal: str | None,
    worker: str | None,
    limit: int,
) -> list[Any]:
    """Chores by deadline; the open ones, or those that ended, the latest first."""
    order = "chore.ended_at DESC" if ended else "chore.deadline"
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT {COLUMNS} FROM chore LEFT JOIN worker USING (organization, worker)
        WHERE chore.organization = $1 AND (chore.ended_at IS NOT NULL) = $2
          AND ($3::text IS NULL OR chore.portal = $3) AND ($4::text IS NULL OR chore.worker = $4)
        ORDER BY {order}, chore.chore_id LIMIT $5
        """,
        organization,
        ended,
        portal,
        worker,
        limit,
    )
    return rows


async def open_chores(
    conn: Connection, organization: str, kind: ChoreKind, portal: str
) -> list[str]:
    """Ids of the chores of a kind on a portal that have not ended."""
    rows = await conn.fetch(
        "SELECT chore_id::text AS chore_id FROM chore"
        " WHERE organization = $1 AND kind = $2 AND portal = $3 AND ended_at IS NULL",
        organization,
        kind,
        portal,
    )
    return [row["chore_id"] for row in rows]


async def work_on_findings(
    conn: Connection, organization: str, portal: str
) -> dict[FindingKey, FindingWork]:
    """The latest work on each finding on a portal."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT ON (details ->> 'subject', details ->> 'rule')
            details, chore_id::text AS chore_id, status, ended_at
        FROM chore WHERE organization = $1 AND kind = $2 AND portal = $3
        ORDER BY details ->> 'subject', details ->> 'rule', requested_at DESC
        """,
        organization,
        ChoreKind.FINDING,
        portal,
    )
    return {
        (row["details"]["subject"], FindingRule(row["details"]["rule"])): FindingWork(
            row["chore_id"], ChoreStatus(row["status"]), row["ended_at"]
        )
        for row in rows
    }


async def waiting_on(conn: Connection, organization: str, kind: ChoreKind) -> set[str]:
    """Portals on which a chore of a kind has not ended."""
    rows = await conn.fetch(
        "SELECT DISTINCT portal FROM chore"
        " WHERE organization = $1 AND kind = $2 AND ended_at IS NULL",
        organization,
        kind,
    )
    return {row["portal"] for row in rows}


async def last_done(conn: Connection, organization: str, kind: ChoreKind) -> dict[str, datetime]:
    """When a chore of a kind was last done, by portal."""
    rows = await conn.fetch(
        "SELECT portal, max(ended_at) AS done_at FROM chore"
        " WHERE organization = $1 AND kind = $2 AND status = 'done' GROUP BY portal",
        organization,
        kind,
    )
    return {row["portal"]: row["done_at"] for row in rows}


HOLDS_A_PASSWORD = """
    worker.status = 'active' AND account.status = 'active' AND account.rights <> '[]'
"""


async def password_ages(
    conn: Connection, organization: str, portal: str, *, apart_from: str
) -> list[PasswordAge]:
    """Of everybody at work who can use a portal and is not asked already: how old the password is.

    A password is as old as the login, or as the last word about changing it. Where nobody knows
    when a login was opened, its age is not known either.

    Args:
        apart_from: whose words do not count: the work was only withdrawn.
    """
    rows = await conn.fetch(
        f"""
        SELECT account.worker, told.asked,
               greatest(told.last_word, (
                   SELECT min((own ->> 'since')::timestamptz)
                   FROM jsonb_array_elements(account.rights) AS own
                   WHERE own ->> 'grade' <> 'assumed')) AS since
        FROM account
        JOIN worker USING (organization, worker)
        CROSS JOIN LATERAL (
            SELECT count(*) AS asked, count(*) FILTER (WHERE ended_at IS NULL) AS open,
                   max(ended_at) FILTER (WHERE ended_by <> $4) AS last_word
            FROM chore
            WHERE chore.organization = $1 AND chore.kind = $3 AND chore.portal = $2
              AND chore.worker = account.worker
        ) AS told
        WHERE account.organization = $1 AND account.portal = $2 AND {HOLDS_A_PASSWORD}
          AND told.open = 0
        ORDER BY account.worker
        """,
        organization,
        portal,
        ChoreKind.CHANGE_PASSWORD,
        apart_from,
    )
    return [PasswordAge(row["worker"], row["since"], row["asked"]) for row in rows if row["since"]]


async def passwords_without_holder(conn: Connection, organization: str) -> list[str]:
    """Ids of open chores about passwords whose holder is away or can do nothing there any more."""
    rows = await conn.fetch(
        f"""
        SELECT chore.chore_id::text AS chore_id FROM chore
        WHERE chore.organization = $1 AND chore.kind = $2 AND chore.ended_at IS NULL
          AND NOT EXISTS (
              SELECT FROM account JOIN worker USING (organization, worker)
              WHERE account.organization = chore.organization AND account.portal = chore.portal
                AND account.worker = chore.worker AND {HOLDS_A_PASSWORD})
        ORDER BY chore_id
        """,
        organization,
        ChoreKind.CHANGE_PASSWORD,
    )
    return [row["chore_id"] for row in rows]


CHORE_RANK = 90
"""Among work of one deadline, access that must go comes first."""


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
    """Chores in the shape and order of other work; their deadlines stand still for no outage.

    Args:
        worker: whom a chore is about, or whom it is for where it is a portal's.
        overdue: only what is overdue then.
    """
    if ended:
        which = "chore.ended_at IS NOT NULL"
        beyond, order = "(chore.ended_at, chore.chore_id) < ($6, $7::uuid)", "chore.ended_at DESC"
        order += ", chore.chore_id DESC"
    else:
        which = "chore.ended_at IS NULL"
        beyond = f"(chore.deadline, {CHORE_RANK}, chore.chore_id) > ($6, $7::int, $8::uuid)"
        order = "chore.deadline, chore.chore_id"
    rows: list[Any] = await conn.fetch(
        f"""
        SELECT {WORK_COLUMNS} FROM chore
        LEFT JOIN worker ON worker.organization = chore.organization
          AND worker.worker = coalesce(chore.worker, chore.addressed_to)
        WHERE chore.organization = $1 AND {which}
          AND ($2::text IS NULL OR chore.portal = $2)
          AND ($3::text IS NULL OR coalesce(chore.worker, chore.addressed_to) = $3)
          AND ($4::timestamptz IS NULL OR chore.deadline <= $4)
          AND ($6::timestamptz IS NULL OR {beyond})
        ORDER BY {order} LIMIT $5
        """,
        organization,
        portal,
        worker,
        overdue,
        limit,
        *(after or [None] * (2 if ended else 3)),
    )
    return rows


async def work_item(conn: Connection, organization: str, chore_id: str) -> Any | None:
    """One chore in the shape of other work."""
    return await conn.fetchrow(
        f"""
        SELECT {WORK_COLUMNS} FROM chore
        LEFT JOIN worker ON worker.organization = chore.organization
          AND worker.worker = coalesce(chore.worker, chore.addressed_to)
        WHERE chore.organization = $1 AND chore.chore_id = $2::uuid
        """,
        organization,
        chore_id,
    )
