"""Reviews that wait for an answer: who is told, who is asked instead, what nobody answered."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.review_scheduler.rules.ladder import Pending
from services.review_scheduler.rules.lines import LineStatus
from services.review_scheduler.store.counts import count_lines
from services.review_scheduler.store.reviews import LineUpdate
from services.review_scheduler.store.workers import WorkerKey
from shared.contracts.directory import Function
from shared.contracts.review import LineExpired, ReviewerRule
from shared.postgres import Connection

LADDER_TIMER = "ladder"
"""Keyed by review: the next instant at which something follows by itself."""

REASSIGN_TIMER = "reassign"
"""Keyed organization/worker: a reviewer who may not be able to answer any more."""

EXPIRED_TIMER = "expired"
"""Keyed by the cause of what expired of a campaign: to say when all of it has been said."""


async def holders_of(conn: Connection, review_ids: Collection[UUID]) -> set[WorkerKey]:
    """Whose access reviews are about; nothing is locked."""
    rows = await conn.fetch(
        "SELECT organization, worker FROM review WHERE review_id = ANY($1::uuid[])",
        list(review_ids),
    )
    return {(row["organization"], row["worker"]) for row in rows}


async def load_pending(conn: Connection, review_ids: Collection[UUID]) -> list[Pending]:
    """Those of the reviews that still have undecided lines."""
    rows = await conn.fetch(
        """
        SELECT review_id, organization, worker, campaign_id, reviewer, due_at, no_answer, rung,
            escalations, review.expired_at, declined, count(*) AS undecided,
            array_agg(DISTINCT portal ORDER BY portal) AS portals,
            array_agg(DISTINCT authorized_by ->> 'by') FILTER (WHERE authorized_by ->> 'kind'
                IN ('exception', 'break_glass', 'brake_rejection')) AS barred
        FROM review JOIN line USING (review_id)
        WHERE review_id = ANY($1::uuid[]) AND line.status = 'undecided'
        GROUP BY review_id ORDER BY review_id
        """,
        list(review_ids),
    )
    return [
        Pending(
            **{
                **dict(row),
                "portals": tuple(row["portals"]),
                "barred": tuple(row["barred"] or ()),
                "declined": tuple(row["declined"]),
            }
        )
        for row in rows
    ]


async def reviews_of_reviewer(
    conn: Connection, organization: str, reviewer: str, limit: int
) -> list[UUID]:
    """Reviews with undecided lines that somebody was asked for; nothing is locked."""
    rows = await conn.fetch(
        "SELECT review_id FROM review"
        " WHERE organization = $1 AND reviewer = $2 AND status = 'open'"
        " ORDER BY due_at, review_id LIMIT $3",
        organization,
        reviewer,
        limit,
    )
    return [row["review_id"] for row in rows]


async def store_rungs(conn: Connection, told: Sequence[tuple[UUID, int]]) -> None:
    """Note the rung that was told last of each review."""
    await conn.execute(
        """
        UPDATE review SET rung = new.rung
        FROM unnest($1::uuid[], $2::int[]) AS new (review_id, rung)
        WHERE review.review_id = new.review_id
        """,
        [review_id for review_id, _ in told],
        [rung for _, rung in told],
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked from now on, until when, and which rung of the ladder lies behind then."""

    review_id: UUID
    reviewer: str | None
    rule: ReviewerRule
    due_at: datetime
    rung: int | None
    escalations: int


async def store_asked(conn: Connection, asked: Sequence[Asked]) -> None:
    """Have somebody else be asked."""
    await conn.execute(
        """
        UPDATE review SET reviewer = new.reviewer, reviewer_rule = new.rule, due_at = new.due_at,
            rung = new.rung, escalations = new.escalations, read_at = NULL
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::int[], $6::int[])
            AS new (review_id, reviewer, rule, due_at, rung, escalations)
        WHERE review.review_id = new.review_id
        """,
        [each.review_id for each in asked],
        [each.reviewer for each in asked],
        [each.rule for each in asked],
        [each.due_at for each in asked],
        [each.rung for each in asked],
        [each.escalations for each in asked],
    )
    await count_lines(conn, [each.review_id for each in asked])


async def expire_reviews(conn: Connection, review_ids: Collection[UUID], now: datetime) -> None:
    """Note that nobody answered in time."""
    await conn.execute(
        "UPDATE review SET expired_at = $2 WHERE review_id = ANY($1::uuid[])",
        list(review_ids),
        now,
    )


async def undecided_lines(
    conn: Connection, review_ids: Collection[UUID]
) -> dict[UUID, tuple[LineExpired, ...]]:
    """What nobody has decided on, by review."""
    rows = await conn.fetch(
        """
        SELECT review_id, line_id::text, portal, tin, function, operation_id FROM line
        WHERE review_id = ANY($1::uuid[]) AND status = 'undecided'
        ORDER BY review_id, portal, tin, function
        """,
        list(review_ids),
    )
    found: dict[UUID, tuple[LineExpired, ...]] = {}
    for row in rows:
        values: dict[str, Any] = dict(row)
        review_id = values.pop("review_id")
        line = LineExpired(**{**values, "function": Function(row["function"])})
        found[review_id] = (*found.get(review_id, ()), line)
    return found


async def expire_lines(
    conn: Connection,
    review_ids: Collection[UUID],
    status: LineStatus,
    reason: str,
    now: datetime,
    due_at: datetime,
) -> list[LineUpdate]:
    """Have the undecided lines of reviews be removed by `due_at`, decided by nobody."""
    rows = await conn.fetch(
        """
        UPDATE line SET status = $2, decision = 'remove', reason = $3, expired_at = $4,
            decided_at = $4, removal_due_at = $5
        WHERE review_id = ANY($1::uuid[]) AND status = 'undecided' RETURNING line_id
        """,
        list(review_ids),
        status,
        reason,
        now,
        due_at,
    )
    return [LineUpdate(row["line_id"], status, None, removal_due_at=due_at) for row in rows]


async def lock_campaign(conn: Connection, campaign_id: UUID) -> str | None:
    """Lock a campaign; its organization."""
    organization: str | None = await conn.fetchval(
        "SELECT organization FROM campaign WHERE campaign_id = $1 FOR NO KEY UPDATE", campaign_id
    )
    return organization


async def count_expired(conn: Connection, campaign_id: UUID, due_at: datetime) -> tuple[int, bool]:
    """How many lines of a campaign expired that were due at an instant, and whether that is all."""
    row = await conn.fetchrow(
        """
        SELECT (
            SELECT count(*) FROM line JOIN review USING (review_id)
            WHERE campaign_id = $1 AND due_at = $2 AND line.expired_at IS NOT NULL
        ) AS lines, NOT EXISTS (
            SELECT FROM review WHERE campaign_id = $1 AND due_at = $2 AND status = 'open'
                AND expired_at IS NULL
        ) AS complete
        """,
        campaign_id,
        due_at,
    )
    assert row is not None
    return row["lines"], row["complete"]
