"""What the compliance officer asks of past reviews; nothing here locks."""

from datetime import datetime
from typing import Any
from uuid import UUID

from shared.postgres import Connection


async def reviews_worked(
    conn: Connection, organization: str, since: datetime, campaign_id: UUID | None
) -> list[dict[str, Any]]:
    """Each review opened since then with a reviewer, and how its reviewer worked through it."""
    rows = await conn.fetch(
        """
        SELECT review.review_id::text, review.reviewer, worker.name AS reviewer_name,
            review.worker, review.campaign_id::text, review.due_at, review.read_at,
            review.lines, review.undecided, worked.*
        FROM review
            LEFT JOIN worker ON worker.organization = review.organization
                AND worker.worker = review.reviewer
            CROSS JOIN LATERAL (
                SELECT count(*) AS decided, count(*) FILTER (WHERE decision = 'keep') AS kept,
                    max(decided_at) AS last_decided_at
                FROM line
                WHERE line.review_id = review.review_id AND line.decided_by = review.reviewer
                    AND review.undecided < review.lines
            ) AS worked
        WHERE review.organization = $1 AND review.opened_at >= $2 AND review.reviewer IS NOT NULL
            AND ($3::uuid IS NULL OR review.campaign_id = $3)
        ORDER BY review.reviewer, review.opened_at, review.review_id
        """,
        organization,
        since,
        campaign_id,
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


_HELD = """
    SELECT worker.worker, worker.name, held->>'portal' AS portal,
        held->'entitlement'->>'tin' AS tin, held->'entitlement'->>'function' AS function,
        (held->'entitlement'->>'since')::timestamptz AS since
    FROM worker, jsonb_array_elements(worker.effective) AS held
    WHERE worker.organization = $1 AND worker.effective <> '[]'
"""
_DECIDED = """
    SELECT review.worker, line.portal, line.tin, line.function, max(line.decided_at) AS decided_at
    FROM line JOIN review USING (review_id)
    WHERE review.organization = $1 AND line.decided_at >= $2
    GROUP BY review.worker, line.portal, line.tin, line.function
"""


async def coverage_by_portal(
    conn: Connection, organization: str, since: datetime
) -> list[dict[str, Any]]:
    """Per portal: entitlements held now, and those decided on since then."""
    rows = await conn.fetch(
        f"""
        WITH held AS ({_HELD}), decided AS ({_DECIDED})
        SELECT held.portal, count(*) AS held, count(decided.decided_at) AS reviewed
        FROM held LEFT JOIN decided USING (worker, portal, tin, function)
        GROUP BY held.portal ORDER BY held.portal
        """,
        organization,
        since,
    )
    return [dict(row) for row in rows]


async def unreviewed(
    conn: Connection, organization: str, since: datetime, limit: int
) -> list[dict[str, Any]]:
    """Entitlements held now that nobody decided on since then, those held longest first.

    `asked` tells whether an open review asks about it now.
    """
    rows = await conn.fetch(
        f"""
        WITH held AS ({_HELD}), decided AS ({_DECIDED})
        SELECT held.worker, held.name AS worker_name, held.portal, held.tin, held.function,
            held.since,
            EXISTS (
                SELECT FROM review JOIN line USING (review_id)
                WHERE review.organization = $1 AND review.worker = held.worker
                    AND review.status = 'open' AND line.status = 'undecided'
                    AND (line.portal, line.tin, line.function)
                        = (held.portal, held.tin, held.function)
            ) AS asked
        FROM held LEFT JOIN decided USING (worker, portal, tin, function)
        WHERE decided.decided_at IS NULL
        ORDER BY held.since NULLS FIRST, held.worker, held.portal, held.function LIMIT $3
        """,
        organization,
        since,
        limit,
    )
    return [dict(row) for row in rows]
