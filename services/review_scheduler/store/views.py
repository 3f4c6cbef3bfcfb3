"""What the API and the status page show; nothing here locks."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from services.review_scheduler.store.counts import CAMPAIGN_COUNTS
from shared.postgres import Connection

_REVIEW_COLUMNS = """
    review.review_id::text, review.campaign_id::text,
    CASE WHEN review.campaign_id IS NULL THEN 'micro' ELSE 'campaign' END AS kind,
    review.worker, worker.name AS worker_name, review.reviewer, asked.name AS reviewer_name,
    review.reviewer_rule,
    review.status, review.opened_at, review.due_at, review.closed_at, review.read_at, review.reason,
    review.rule, review.no_answer, review.expired_at, review.escalations, review.lines,
    review.undecided
"""
_REVIEW_SOURCES = """
    review
    LEFT JOIN worker ON worker.organization = review.organization AND worker.worker = review.worker
    LEFT JOIN worker AS asked
        ON asked.organization = review.organization AND asked.worker = review.reviewer
"""


_LINE_COLUMNS = """
    line.line_id::text, line.portal, line.tin, line.function, line.grade, line.since,
    line.authorized_by, line.duties, line.operation_id, line.status, line.decision,
    line.decided_by, line.decided_at, line.reason, line.detail, line.ordered_at,
    line.removal_due_at, line.overdue_at, line.removed_at, line.removed_grade, line.risks,
    line.advice, line.expired_at
"""


async def list_reviews(
    conn: Connection,
    organization: str,
    *,
    status: str | None,
    reviewer: str | None,
    worker: str | None,
    campaign_id: UUID | None,
    only_for: Collection[str] | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Reviews by due date; `only_for` narrows them to those of one reviewer, by all their ids."""
    due_at, review_id = after or (None, None)
    rows = await conn.fetch(
        f"""
        SELECT {_REVIEW_COLUMNS} FROM {_REVIEW_SOURCES}
        WHERE review.organization = $1
            AND ($2::text IS NULL OR review.status = $2)
            AND ($3::text IS NULL OR review.reviewer = $3)
            AND ($4::text IS NULL OR review.worker = $4)
            AND ($5::uuid IS NULL OR review.campaign_id = $5)
            AND ($6::text[] IS NULL OR review.reviewer = ANY($6))
            AND ($7::timestamptz IS NULL OR (review.due_at, review.review_id) > ($7, $8::uuid))
        ORDER BY review.due_at, review.review_id LIMIT $9
        """,
        organization,
        status,
        reviewer,
        worker,
        campaign_id,
        None if only_for is None else list(only_for),
        due_at,
        review_id,
        limit,
    )
    return [dict(row) for row in rows]


async def read_review(
    conn: Connection, organization: str, review_id: UUID
) -> dict[str, Any] | None:
    """One review with its lines, by portal, TIN and function."""
    row = await conn.fetchrow(
        f"SELECT {_REVIEW_COLUMNS} FROM {_REVIEW_SOURCES}"
        " WHERE review.organization = $1 AND review.review_id = $2",
        organization,
        review_id,
    )
    if row is None:
        return None
    lines = await conn.fetch(
        f"""
        SELECT {_LINE_COLUMNS}
        FROM line WHERE review_id = $1 ORDER BY portal, tin, function
        """,
        review_id,
    )
    return {**dict(row), "lines": [dict(line) for line in lines]}


async def list_undecided(
    conn: Connection,
    organization: str,
    *,
    only_for: Collection[str] | None,
    not_about: Collection[str],
    campaign_id: UUID | None,
    review_id: UUID | None,
    worker: str | None,
    portal: str | None,
    function: str | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Undecided lines that fit, the most urgent reviews first."""
    # Reviews are put in order first, so that reading their lines ends at the limit.
    rows = await conn.fetch(
        """
        WITH asked AS MATERIALIZED (
            SELECT review_id, worker, opened_at, due_at, campaign_id FROM review
            WHERE organization = $1 AND status = 'open'
                AND ($2::text[] IS NULL OR reviewer = ANY($2))
                AND NOT worker = ANY($3::text[])
                AND ($4::uuid IS NULL OR campaign_id = $4)
                AND ($5::uuid IS NULL OR review_id = $5)
                AND ($6::text IS NULL OR worker = $6)
            ORDER BY due_at, worker, review_id
        )
        SELECT line.line_id::text, line.portal, line.tin, line.function, line.grade, line.since,
            line.authorized_by, line.duties, line.operation_id, line.status,
            asked.review_id::text, asked.worker, worker.name AS worker_name, asked.opened_at,
            asked.due_at, asked.campaign_id::text
        FROM asked JOIN line USING (review_id)
            LEFT JOIN worker ON worker.organization = $1 AND worker.worker = asked.worker
        WHERE line.status = 'undecided'
            AND ($7::text IS NULL OR line.portal = $7)
            AND ($8::text IS NULL OR line.function = $8)
        ORDER BY asked.due_at, asked.worker, asked.review_id, line.portal, line.tin, line.function
        LIMIT $9
        """,
        organization,
        None if only_for is None else list(only_for),
        list(not_about),
        campaign_id,
        review_id,
        worker,
        portal,
        function,
        limit,
    )
    return [dict(row) for row in rows]


async def list_campaigns(
    conn: Connection,
    organization: str,
    *,
    campaign_id: UUID | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Campaigns, newest first, with how far they are."""
    opened_at, last_id = before or (None, None)
    rows = await conn.fetch(
        f"""
        SELECT campaign.campaign_id::text, title, campaign.status, opened_by, campaign.opened_at,
            campaign.due_at, campaign.closed_at, policy_version, calendar, scope,
            campaign.no_answer, population, seen, elsewhere,
            coalesce(counted, ({CAMPAIGN_COUNTS})) AS counted
        FROM campaign
        WHERE organization = $1
            AND ($2::uuid IS NULL OR campaign.campaign_id = $2)
            AND ($3::timestamptz IS NULL
                OR (campaign.opened_at, campaign.campaign_id) < ($3, $4::uuid))
        ORDER BY campaign.opened_at DESC, campaign.campaign_id DESC LIMIT $5
        """,
        organization,
        campaign_id,
        opened_at,
        last_id,
        limit,
    )
    return [{**fields, **fields.pop("counted")} for fields in map(dict, rows)]


async def count_open(conn: Connection) -> dict[str, int]:
    """How many campaigns and reviews are not closed, for the status page."""
    row = await conn.fetchrow(
        """
        SELECT (SELECT count(*) FROM campaign WHERE status <> 'closed') AS campaigns,
            (SELECT count(*) FROM review WHERE status <> 'closed') AS reviews
        """
    )
    assert row is not None
    return dict(row)
