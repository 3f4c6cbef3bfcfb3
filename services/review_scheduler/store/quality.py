"""What the compliance officer asks of past reviews; nothing here locks."""

from datetime import datetime
from typing import Any
from uuid import UUID

from services.review_scheduler.rules.quality import (
    RUBBER_STAMP_LINES_MIN,
    RUBBER_STAMP_SECONDS_PER_LINE,
)
from shared.postgres import Connection


async def reviewers_year(
    conn: Connection,
    organization: str,
    since: datetime,
    campaign_id: UUID | None,
    now: datetime,
) -> list[dict[str, Any]]:
    """Each reviewer of reviews opened since then, and how they worked through them.

    Lines count as decided by whoever is the reviewer now; `seconds_per_line` is the median of the
    reviews of which it is known, from the first look at one to the last decision.
    """
    rows = await conn.fetch(
        """
        SELECT year.reviewer, worker.name AS reviewer_name, year.reviews, year.late, year.lines,
            year.open_lines, year.decided, year.kept, year.rubber_stamped,
            round(year.seconds_per_line::numeric, 1)::float8 AS seconds_per_line
        FROM (
            SELECT reviewer, count(*) AS reviews,
                count(*) FILTER (
                    WHERE CASE WHEN undecided > 0 THEN $4 ELSE worked_until END > due_at) AS late,
                sum(lines) AS lines, sum(undecided) AS open_lines, sum(worked_lines) AS decided,
                sum(worked_kept) AS kept,
                count(*) FILTER (
                    WHERE worked_lines >= $5 AND worked_kept = worked_lines
                        AND coalesce(seconds < $6, true)) AS rubber_stamped,
                percentile_disc(0.5) WITHIN GROUP (ORDER BY seconds) AS seconds_per_line
            FROM review CROSS JOIN LATERAL (
                SELECT CASE WHEN worked_until < read_at THEN 0
                    ELSE extract(epoch FROM worked_until - read_at)::float8 / worked_lines
                END AS seconds
            ) AS worked
            WHERE organization = $1 AND opened_at >= $2 AND reviewer IS NOT NULL
                AND ($3::uuid IS NULL OR campaign_id = $3)
            GROUP BY reviewer
        ) AS year
            LEFT JOIN worker ON worker.organization = $1 AND worker.worker = year.reviewer
        ORDER BY year.open_lines DESC, year.reviewer
        """,
        organization,
        since,
        campaign_id,
        now,
        RUBBER_STAMP_LINES_MIN,
        RUBBER_STAMP_SECONDS_PER_LINE,
    )
    return [dict(row) for row in rows]


async def dormant_keeps(
    conn: Connection, organization: str, since: datetime, at_least: int
) -> list[dict[str, Any]]:
    """Access that was kept again and again although its login was dormant each time."""
    rows = await conn.fetch(
        """
        SELECT review.worker, worker.name AS worker_name, line.portal, line.function,
            count(DISTINCT review.review_id) AS keeps, max(line.decided_at) AS last_kept_at,
            (array_agg(line.decided_by ORDER BY line.decided_at DESC))[1] AS last_kept_by,
            (array_agg(line.reason ORDER BY line.decided_at DESC))[1] AS last_reason
        FROM line JOIN review USING (review_id)
            LEFT JOIN worker ON worker.organization = review.organization
                AND worker.worker = review.worker
        WHERE review.organization = $1 AND line.decided_at >= $2 AND line.decision = 'keep'
            AND 'dormant' = ANY(line.risks)
        GROUP BY review.worker, worker.name, line.portal, line.tin, line.function
        HAVING count(DISTINCT review.review_id) >= $3
        ORDER BY keeps DESC, review.worker, line.portal, line.function LIMIT 200
        """,
        organization,
        since,
        at_least,
    )
    return [dict(row) for row in rows]
