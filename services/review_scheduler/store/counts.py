"""Counts of lines, kept with their reviews and campaigns: pages count over these instead."""

from collections.abc import Collection
from uuid import UUID

from shared.postgres import Connection

CAMPAIGN_COUNTS = """
    SELECT jsonb_build_object(
        'reviews', coalesce(sum(reviews), 0), 'reviews_closed', coalesce(sum(closed), 0),
        'reviewers', count(*), 'lines', coalesce(sum(lines), 0),
        'undecided', coalesce(sum(undecided), 0), 'kept', coalesce(sum(kept), 0),
        'removal_decided', coalesce(sum(removal_decided), 0),
        'removal_ordered', coalesce(sum(removal_ordered), 0),
        'removal_confirmed', coalesce(sum(removal_confirmed), 0),
        'moot', coalesce(sum(moot), 0))
    FROM (
        SELECT count(*) AS reviews, count(*) FILTER (WHERE review.status = 'closed') AS closed,
            sum(lines) AS lines, sum(undecided) AS undecided, sum(kept) AS kept,
            sum(removal_decided) AS removal_decided, sum(removal_ordered) AS removal_ordered,
            sum(removal_confirmed) AS removal_confirmed, sum(moot) AS moot
        FROM review WHERE review.campaign_id = campaign.campaign_id GROUP BY reviewer
    ) AS by_reviewer
"""
"""How the lines of a row of `campaign` stand now, as one object."""


async def count_lines(conn: Connection, review_ids: Collection[UUID]) -> None:
    """Have reviews tell how many of their lines stand where, and campaigns when it came to that."""
    await conn.execute(
        """
        UPDATE review SET undecided = counted.undecided, kept = counted.kept,
            removal_decided = counted.removal_decided, removal_ordered = counted.removal_ordered,
            removal_confirmed = counted.removal_confirmed, moot = counted.moot,
            worked_lines = counted.worked_lines, worked_kept = counted.worked_kept,
            worked_until = counted.worked_until
        FROM (
            SELECT review_id,
                count(*) FILTER (WHERE line.status = 'undecided') AS undecided,
                count(*) FILTER (WHERE line.status = 'kept') AS kept,
                count(*) FILTER (WHERE line.status = 'removal_decided') AS removal_decided,
                count(*) FILTER (WHERE line.status = 'removal_ordered') AS removal_ordered,
                count(*) FILTER (WHERE line.status = 'removal_confirmed') AS removal_confirmed,
                count(*) FILTER (WHERE line.status = 'moot') AS moot,
                count(*) FILTER (WHERE decided_by = reviewer) AS worked_lines,
                count(*) FILTER (WHERE decided_by = reviewer AND decision = 'keep')
                    AS worked_kept,
                max(decided_at) FILTER (WHERE decided_by = reviewer) AS worked_until
            FROM line JOIN review USING (review_id)
            WHERE review_id = ANY($1::uuid[]) GROUP BY review_id
        ) AS counted
        WHERE review.review_id = counted.review_id
        """,
        list(review_ids),
    )
    await conn.execute(
        """
        WITH decided AS (
            SELECT campaign_id, review_id, date_bin('15 minutes', decided_at, 'epoch') AS quarter,
                count(*) AS lines
            FROM line JOIN review USING (review_id)
            WHERE review_id = ANY($1::uuid[]) AND campaign_id IS NOT NULL
                AND decided_at IS NOT NULL AND line.status <> 'moot'
            GROUP BY campaign_id, review_id, quarter
        ), gone AS (
            DELETE FROM pace USING review
            WHERE review.review_id = ANY($1::uuid[])
                AND (pace.campaign_id, pace.review_id) = (review.campaign_id, review.review_id)
                AND (pace.campaign_id, pace.review_id, quarter)
                    NOT IN (SELECT campaign_id, review_id, quarter FROM decided)
        )
        INSERT INTO pace SELECT * FROM decided
        ON CONFLICT (campaign_id, review_id, quarter) DO UPDATE SET lines = excluded.lines
        """,
        list(review_ids),
    )


async def keep_counts(conn: Connection) -> None:
    """Keep how the lines of closed campaigns stand, of which none moves any more."""
    await conn.execute(
        f"UPDATE campaign SET counted = ({CAMPAIGN_COUNTS})"
        " WHERE status = 'closed' AND counted IS NULL"
    )
