"""Who covers for which reviewer on which days."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Delegation:
    """Somebody decides in a reviewer's place, from the first day to the last in their zone."""

    delegation_id: UUID
    organization: str
    reviewer: str
    delegate: str
    since: date
    until: date
    delegated_by: str
    delegated_at: datetime
    ended_at: datetime | None = None


_COLUMNS = """
    delegation_id, organization, reviewer, delegate, since, until, delegated_by, delegated_at,
    ended_at
"""


async def add_delegation(conn: Connection, delegation: Delegation) -> None:
    """Store a new one."""
    await conn.execute(
        f"INSERT INTO delegation ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        delegation.delegation_id,
        delegation.organization,
        delegation.reviewer,
        delegation.delegate,
        delegation.since,
        delegation.until,
        delegation.delegated_by,
        delegation.delegated_at,
        delegation.ended_at,
    )


async def lock_delegation(
    conn: Connection, organization: str, delegation_id: UUID
) -> Delegation | None:
    """One of the organization's, locked."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM delegation WHERE organization = $1 AND delegation_id = $2"
        " FOR UPDATE",
        organization,
        delegation_id,
    )
    return Delegation(**dict(row)) if row else None


async def end_delegation(conn: Connection, delegation_id: UUID, now: datetime) -> None:
    """It counts no more."""
    await conn.execute(
        "UPDATE delegation SET ended_at = $2 WHERE delegation_id = $1", delegation_id, now
    )


async def delegates_of(
    conn: Connection, organization: str, reviewers: Collection[str], today: date
) -> dict[str, tuple[str, ...]]:
    """Who may decide in reviewers' places on a day, by reviewer."""
    rows = await conn.fetch(
        """
        SELECT reviewer, array_agg(DISTINCT delegate ORDER BY delegate) AS delegates
        FROM delegation
        WHERE organization = $1 AND reviewer = ANY($2::text[]) AND ended_at IS NULL
            AND $3 BETWEEN since AND until
        GROUP BY reviewer
        """,
        organization,
        list(reviewers),
        today,
    )
    return {row["reviewer"]: tuple(row["delegates"]) for row in rows}


async def covered_by(
    conn: Connection, organization: str, delegates: Collection[str], today: date
) -> set[str]:
    """The reviewers for whom any of these may decide on a day."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT reviewer FROM delegation
        WHERE organization = $1 AND delegate = ANY($2::text[]) AND ended_at IS NULL
            AND $3 BETWEEN since AND until
        """,
        organization,
        list(delegates),
        today,
    )
    return {row["reviewer"] for row in rows}


async def list_delegations(
    conn: Connection, organization: str, of: Collection[str] | None, today: date
) -> list[dict[str, Any]]:
    """Those that are not over, by first day; `of` narrows them to whom they concern."""
    rows = await conn.fetch(
        """
        SELECT delegation_id::text, reviewer, delegate, since, until, delegated_by, delegated_at,
            named.name AS reviewer_name, other.name AS delegate_name
        FROM delegation
        LEFT JOIN worker AS named
            ON named.organization = delegation.organization AND named.worker = reviewer
        LEFT JOIN worker AS other
            ON other.organization = delegation.organization AND other.worker = delegate
        WHERE delegation.organization = $1 AND ended_at IS NULL AND until >= $2
            AND ($3::text[] IS NULL OR reviewer = ANY($3) OR delegate = ANY($3))
        ORDER BY since, delegation_id
        """,
        organization,
        today,
        None if of is None else list(of),
    )
    return [dict(row) for row in rows]
