"""Reviews and their lines, written only under the lock of the worker they are about."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.review_scheduler.rules.lines import Line, LineStatus, ReviewStatus
from services.review_scheduler.rules.opening import NewReview
from services.review_scheduler.store.workers import WorkerKey, to_text
from shared.contracts.directory import (
    Function,
)
from shared.contracts.review import Decision
from shared.postgres import Connection


async def add_reviews(conn: Connection, reviews: Sequence[NewReview]) -> None:
    """Store reviews with their lines."""
    await conn.execute(
        """
        INSERT INTO review (review_id, organization, campaign_id, worker, reviewer, reviewer_rule,
            rule, no_answer, reason, opened_at, due_at, lines, undecided, status)
        SELECT review_id, organization, campaign_id, worker, reviewer, reviewer_rule, rule,
            no_answer, reason, opened_at, due_at, lines, lines, 'open'
        FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[],
            $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::int[])
            AS new (review_id, organization, campaign_id, worker, reviewer, reviewer_rule, rule,
                no_answer, reason, opened_at, due_at, lines)
        """,
        [each.review_id for each in reviews],
        [each.organization for each in reviews],
        [each.occasion.campaign_id for each in reviews],
        [each.worker for each in reviews],
        [each.reviewer for each in reviews],
        [each.reviewer_rule for each in reviews],
        [each.occasion.rule for each in reviews],
        [each.occasion.no_answer for each in reviews],
        [each.occasion.reason for each in reviews],
        [each.occasion.opened_at for each in reviews],
        [each.occasion.due_at for each in reviews],
        [len(each.lines) for each in reviews],
    )
    lines = [(review.review_id, line) for review in reviews for line in review.lines]
    held = [line.holding.entitlement for _, line in lines]
    await conn.execute(
        """
        INSERT INTO line (line_id, review_id, portal, tin, function, operation_id, grade, since,
            authorized_by, duties, status)
        SELECT line_id, review_id, portal, tin, function, operation_id, grade, since,
            authorized_by, duties::jsonb, 'undecided'
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::text[], $8::timestamptz[], $9::jsonb[], $10::text[])
            AS new (line_id, review_id, portal, tin, function, operation_id, grade, since,
                authorized_by, duties)
        """,
        [line.line_id for _, line in lines],
        [review_id for review_id, _ in lines],
        [line.holding.portal for _, line in lines],
        [each.tin for each in held],
        [each.function for each in held],
        [each.operation_id for each in held],
        [each.grade for each in held],
        [each.since for each in held],
        [each.authorized_by for each in held],
        [to_text(line.duties) for _, line in lines],
    )


_LINE_COLUMNS = """
    line.line_id, line.review_id, review.campaign_id, review.organization, review.worker,
    line.portal, line.tin, line.function, line.operation_id, line.status, line.detail,
    line.decision, line.reason, line.revision
"""


def _line(row: Any) -> Line:
    return Line(
        **{
            **dict(row),
            "function": Function(row["function"]),
            "status": LineStatus(row["status"]),
        }
    )


async def load_unsettled_lines(
    conn: Connection, keys: Collection[WorkerKey]
) -> dict[WorkerKey, list[Line]]:
    """Lines, by worker, of reviews that are not closed."""
    rows = await conn.fetch(
        f"""
        SELECT {_LINE_COLUMNS} FROM review JOIN line USING (review_id)
        WHERE (review.organization, review.worker)
                IN (SELECT * FROM unnest($1::text[], $2::text[]))
            AND review.status <> 'closed'
        ORDER BY line.line_id
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    lines: dict[WorkerKey, list[Line]] = {}
    for row in rows:
        lines.setdefault((row["organization"], row["worker"]), []).append(_line(row))
    return lines


async def load_lines(conn: Connection, review_id: UUID) -> dict[UUID, Line]:
    """All lines of a review."""
    rows = await conn.fetch(
        f"SELECT {_LINE_COLUMNS} FROM review JOIN line USING (review_id) WHERE review_id = $1",
        review_id,
    )
    return {row["line_id"]: _line(row) for row in rows}


@dataclass(frozen=True, slots=True)
class LineUpdate:
    """Where a line has got to."""

    line_id: UUID
    status: LineStatus
    detail: str | None


async def store_progress(conn: Connection, updates: Sequence[LineUpdate]) -> None:
    """Move lines that provisioning reported on, or that need no decision any more."""
    await conn.execute(
        """
        UPDATE line SET status = new.status, detail = new.detail
        FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new (line_id, status, detail)
        WHERE line.line_id = new.line_id
        """,
        [each.line_id for each in updates],
        [each.status for each in updates],
        [each.detail for each in updates],
    )


@dataclass(frozen=True, slots=True)
class LineDecision:
    """What somebody decided on a line, and where that takes it."""

    line_id: UUID
    status: LineStatus
    decision: Decision
    reason: str | None


async def store_decisions(
    conn: Connection, decisions: Sequence[LineDecision], decided_by: str, decided_at: datetime
) -> None:
    """Record one person's decisions on lines."""
    await conn.execute(
        """
        UPDATE line SET status = new.status, decision = new.decision, reason = new.reason,
            decided_by = $5, decided_at = $6, revision = revision + 1, detail = NULL
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
            AS new (line_id, status, decision, reason)
        WHERE line.line_id = new.line_id
        """,
        [each.line_id for each in decisions],
        [each.status for each in decisions],
        [each.decision for each in decisions],
        [each.reason for each in decisions],
        decided_by,
        decided_at,
    )


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A review's standing and whom it concerns."""

    review_id: UUID
    organization: str
    campaign_id: UUID | None
    worker: str
    reviewer: str | None
    status: ReviewStatus


async def load_review(conn: Connection, organization: str, review_id: UUID) -> ReviewRow | None:
    """One review of the organization."""
    row = await conn.fetchrow(
        """
        SELECT review_id, organization, campaign_id, worker, reviewer, status FROM review
        WHERE organization = $1 AND review_id = $2
        """,
        organization,
        review_id,
    )
    if row is None:
        return None
    return ReviewRow(**{**dict(row), "status": ReviewStatus(row["status"])})


async def load_standing(
    conn: Connection, review_ids: Collection[UUID]
) -> list[tuple[ReviewRow, list[LineStatus]]]:
    """Reviews with the statuses of their lines."""
    rows = await conn.fetch(
        """
        SELECT review_id, organization, campaign_id, worker, reviewer, review.status,
            array_agg(line.status) AS lines
        FROM review JOIN line USING (review_id)
        WHERE review_id = ANY($1::uuid[])
        GROUP BY review_id ORDER BY review_id
        """,
        list(review_ids),
    )
    return [
        (
            ReviewRow(
                row["review_id"],
                row["organization"],
                row["campaign_id"],
                row["worker"],
                row["reviewer"],
                ReviewStatus(row["status"]),
            ),
            [LineStatus(each) for each in row["lines"]],
        )
        for row in rows
    ]


async def count_lines(conn: Connection, review_ids: Collection[UUID]) -> None:
    """Have reviews tell how many of their lines stand where."""
    await conn.execute(
        """
        UPDATE review SET undecided = counted.undecided, kept = counted.kept,
            removal_decided = counted.removal_decided, removal_ordered = counted.removal_ordered,
            removal_confirmed = counted.removal_confirmed, moot = counted.moot
        FROM (
            SELECT review_id,
                count(*) FILTER (WHERE status = 'undecided') AS undecided,
                count(*) FILTER (WHERE status = 'kept') AS kept,
                count(*) FILTER (WHERE status = 'removal_decided') AS removal_decided,
                count(*) FILTER (WHERE status = 'removal_ordered') AS removal_ordered,
                count(*) FILTER (WHERE status = 'removal_confirmed') AS removal_confirmed,
                count(*) FILTER (WHERE status = 'moot') AS moot
            FROM line WHERE review_id = ANY($1::uuid[]) GROUP BY review_id
        ) AS counted
        WHERE review.review_id = counted.review_id
        """,
        list(review_ids),
    )


async def store_review_statuses(
    conn: Connection, statuses: Mapping[UUID, ReviewStatus], now: datetime
) -> None:
    """Note where reviews stand; `now` is when those that close are closed."""
    await conn.execute(
        """
        UPDATE review SET status = new.status,
            closed_at = CASE WHEN new.status = 'closed' THEN $3::timestamptz END
        FROM unnest($1::uuid[], $2::text[]) AS new (review_id, status)
        WHERE review.review_id = new.review_id
        """,
        list(statuses),
        list(statuses.values()),
        now,
    )
