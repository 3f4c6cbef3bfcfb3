"""How far campaigns are; nothing here locks."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from shared.postgres import Connection


async def decided_by_day(conn: Connection, campaign_id: UUID, zone: str) -> list[tuple[date, int]]:
    """Lines that people decided on, by the calendar day in `zone`."""
    rows = await conn.fetch(
        """
        SELECT (decided_at AT TIME ZONE $2)::date AS day, count(*) AS lines
        FROM review JOIN line USING (review_id)
        WHERE campaign_id = $1 AND review.lines > review.undecided + review.moot
            AND decided_at IS NOT NULL AND line.status <> 'moot'
        GROUP BY day ORDER BY day
        """,
        campaign_id,
        zone,
    )
    return [(row["day"], row["lines"]) for row in rows]


async def reviewers_of(conn: Connection, campaign_id: UUID, now: datetime) -> list[dict[str, Any]]:
    """Who is asked in a campaign and how far they are, those with most left first."""
    rows = await conn.fetch(
        """
        SELECT review.reviewer, worker.name AS reviewer_name, count(*) AS reviews,
            sum(review.lines) AS lines, sum(review.undecided) AS undecided,
            count(*) FILTER (WHERE review.undecided > 0 AND review.due_at < $2) AS overdue,
            coalesce(sum(late.lines), 0)::bigint AS delayed
        FROM review
            LEFT JOIN worker ON worker.organization = review.organization
                AND worker.worker = review.reviewer
            LEFT JOIN (
                SELECT review_id, count(*) AS lines FROM line
                WHERE overdue_at IS NOT NULL AND status IN ('removal_decided', 'removal_ordered')
                GROUP BY review_id
            ) AS late USING (review_id)
        WHERE campaign_id = $1
        GROUP BY review.reviewer, worker.name
        ORDER BY undecided DESC, review.reviewer
        """,
        campaign_id,
        now,
    )
    return [dict(row) for row in rows]
