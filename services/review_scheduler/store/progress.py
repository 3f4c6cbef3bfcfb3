"""How far campaigns are; nothing here locks."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from shared.postgres import Connection


async def opened_and_due(
    conn: Connection, organization: str, campaign_id: UUID
) -> tuple[datetime, datetime] | None:
    """When a campaign of the organization was opened and when it is due; None: there is none."""
    row = await conn.fetchrow(
        "SELECT opened_at, due_at FROM campaign WHERE organization = $1 AND campaign_id = $2",
        organization,
        campaign_id,
    )
    return row and (row["opened_at"], row["due_at"])


async def decided_by_day(conn: Connection, campaign_id: UUID, zone: str) -> list[tuple[date, int]]:
    """Lines that people decided on, by the calendar day in `zone`."""
    rows = await conn.fetch(
        """
        SELECT (quarter AT TIME ZONE $2)::date AS day, sum(lines) AS lines
        FROM (
            SELECT quarter, sum(lines)::bigint AS lines FROM pace WHERE campaign_id = $1
            GROUP BY quarter
        ) AS decided
        GROUP BY day ORDER BY day
        """,
        campaign_id,
        zone,
    )
    return [(row["day"], int(row["lines"])) for row in rows]


async def reviewers_of(conn: Connection, campaign_id: UUID, now: datetime) -> list[dict[str, Any]]:
    """Who is asked in a campaign and how far they are, those with most left first."""
    rows = await conn.fetch(
        """
        SELECT asked.reviewer, worker.name AS reviewer_name, asked.reviews, asked.lines,
            asked.undecided, asked.moot, asked.overdue, coalesce(late.lines, 0) AS delayed
        FROM (
            SELECT organization, reviewer, count(*) AS reviews, sum(lines) AS lines,
                sum(undecided) AS undecided, sum(moot) AS moot,
                count(*) FILTER (WHERE undecided > 0 AND due_at < $2) AS overdue
            FROM review WHERE campaign_id = $1 GROUP BY organization, reviewer
        ) AS asked
            LEFT JOIN worker ON worker.organization = asked.organization
                AND worker.worker = asked.reviewer
            LEFT JOIN (
                SELECT reviewer, count(*) AS lines FROM line JOIN review USING (review_id)
                WHERE campaign_id = $1 AND overdue_at IS NOT NULL
                    AND line.status IN ('removal_decided', 'removal_ordered')
                GROUP BY reviewer
            ) AS late ON late.reviewer IS NOT DISTINCT FROM asked.reviewer
        ORDER BY asked.undecided DESC, asked.reviewer
        """,
        campaign_id,
        now,
    )
    return [dict(row) for row in rows]
