"""Reviews and their lines, written only under the lock of the worker they are about."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.review_scheduler.rules.lines import Line, LineStatus, ReviewStatus
from services.review_scheduler.rules.live import Opened
from services.review_scheduler.rules.opening import NewReview
from services.review_scheduler.rules.reviewers import Choice
from services.review_scheduler.store.counts import count_lines
from services.review_scheduler.store.workers import WorkerKey, to_text
from shared.contracts.directory import Function
from shared.contracts.review import Advice, Decision, ReviewerRule, Risk
from shared.contracts.state import AuthorizedBy, Grade
from shared.postgres import Connection


async def lines_known(conn: Connection, line_ids: Collection[UUID]) -> set[UUID]:
    """Which of these lines were opened before."""
    rows = await conn.fetch(
        "SELECT line_id FROM line WHERE line_id = ANY($1::uuid[])", list(line_ids)
    )
    return {row["line_id"] for row in rows}


async def reviews_known(conn: Connection, review_ids: Collection[UUID]) -> set[UUID]:
    """Which of these reviews were opened before."""
    rows = await conn.fetch(
        "SELECT review_id FROM review WHERE review_id = ANY($1::uuid[])", list(review_ids)
    )
    return {row["review_id"] for row in rows}


async def add_reviews(
    conn: Connection, reviews: Sequence[NewReview], passed: Sequence[int | None]
) -> None:
    """Store reviews with their lines; of each, the last rung of the ladder that lies behind."""
    await conn.execute(
        """
        INSERT INTO review (review_id, organization, campaign_id, worker, reviewer, reviewer_rule,
            rule, no_answer, reason, opened_at, due_at, lines, undecided, rung, status)
        SELECT review_id, organization, campaign_id, worker, reviewer, reviewer_rule, rule,
            no_answer, reason, opened_at, due_at, lines, lines, rung, 'open'
        FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[],
            $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::int[],
            $13::int[])
            AS new (review_id, organization, campaign_id, worker, reviewer, reviewer_rule, rule,
                no_answer, reason, opened_at, due_at, lines, rung)
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
        list(passed),
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
    line.decision, line.reason, line.revision, line.decided_by, line.decided_at, line.ordered_at,
    line.removal_due_at
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


async def load_lines_by_id(conn: Connection, line_ids: Collection[UUID]) -> dict[UUID, Line]:
    """Lines of whichever reviews, in a fixed order."""
    rows = await conn.fetch(
        f"""
        SELECT {_LINE_COLUMNS} FROM review JOIN line USING (review_id)
        WHERE line_id = ANY($1::uuid[]) ORDER BY line_id
        """,
        list(line_ids),
    )
    return {row["line_id"]: _line(row) for row in rows}


async def holders_of(conn: Connection, line_ids: Collection[UUID]) -> list[WorkerKey]:
    """The workers whose access lines are about; nothing is locked."""
    rows = await conn.fetch(
        "SELECT DISTINCT organization, worker FROM review JOIN line USING (review_id)"
        " WHERE line_id = ANY($1::uuid[])",
        list(line_ids),
    )
    return [(row["organization"], row["worker"]) for row in rows]


@dataclass(frozen=True, slots=True)
class OpenedLine:
    """Whose access a line is about, and what it said when it was opened."""

    holder: str
    opened: Opened


async def load_opened(conn: Connection, line_ids: Collection[UUID]) -> dict[UUID, OpenedLine]:
    """What lines said when they were opened."""
    rows = await conn.fetch(
        """
        SELECT line_id::text, worker, portal, tin, function, opened_at, grade, since, authorized_by,
            duties
        FROM line JOIN review USING (review_id) WHERE line_id = ANY($1::uuid[])
        """,
        list(line_ids),
    )
    return opened_lines(rows)


def opened_lines(rows: Iterable[Mapping[str, Any]]) -> dict[UUID, OpenedLine]:
    """What lines, read with the worker and the opening of their reviews, said when opened."""
    return {
        UUID(row["line_id"]): OpenedLine(
            row["worker"],
            Opened(
                row["portal"],
                row["tin"],
                Function(row["function"]),
                row["opened_at"],
                None if row["grade"] is None else Grade(row["grade"]),
                row["since"],
                None if row["authorized_by"] is None else AuthorizedBy(**row["authorized_by"]),
                tuple(row["duties"]),
            ),
        )
        for row in rows
    }


@dataclass(frozen=True, slots=True)
class LineUpdate:
    """Where a line has got to, with the instants (UTC) of the removal if it is one."""

    line_id: UUID
    status: LineStatus
    detail: str | None
    ordered_at: datetime | None = None
    removal_due_at: datetime | None = None
    removed_at: datetime | None = None
    removed_grade: Grade | None = None


async def store_progress(conn: Connection, updates: Sequence[LineUpdate]) -> None:
    """Move lines that provisioning reported on, or that need no decision any more."""
    await conn.execute(
        """
        UPDATE line SET status = new.status, detail = new.detail,
            ordered_at = coalesce(line.ordered_at, new.ordered_at),
            removal_due_at = coalesce(new.removal_due_at, line.removal_due_at),
            removed_at = new.removed_at, removed_grade = new.removed_grade
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[],
            $6::timestamptz[], $7::text[])
            AS new (line_id, status, detail, ordered_at, removal_due_at, removed_at, removed_grade)
        WHERE line.line_id = new.line_id
        """,
        [each.line_id for each in updates],
        [each.status for each in updates],
        [each.detail for each in updates],
        [each.ordered_at for each in updates],
        [each.removal_due_at for each in updates],
        [each.removed_at for each in updates],
        [each.removed_grade for each in updates],
    )


async def mark_overdue(
    conn: Connection, line_ids: Collection[UUID], now: datetime
) -> dict[UUID, str | None]:
    """Note that removals are overdue since `now`; those for which that is news, with reviewers."""
    rows = await conn.fetch(
        """
        UPDATE line SET overdue_at = $2 FROM review
        WHERE line_id = ANY($1::uuid[]) AND review.review_id = line.review_id
            AND line.status IN ('removal_decided', 'removal_ordered') AND overdue_at IS NULL
        RETURNING line_id, reviewer
        """,
        list(line_ids),
        now,
    )
    return {row["line_id"]: row["reviewer"] for row in rows}


async def mark_read(conn: Connection, review_id: UUID, now: datetime) -> bool:
    """Note that its reviewer looks at a review; whether it is for the first time."""
    marked = await conn.fetchval(
        "UPDATE review SET read_at = $2 WHERE review_id = $1 AND read_at IS NULL RETURNING true",
        review_id,
        now,
    )
    return marked is True


@dataclass(frozen=True, slots=True)
class LineDecision:
    """What somebody decided on a line being shown what, and where that takes it.

    `removal_due_at` is by when a removal must be gone from the portal (UTC).
    """

    line_id: UUID
    status: LineStatus
    decision: Decision
    reason: str | None
    risks: tuple[Risk, ...] = ()
    advice: Advice | None = None
    removal_due_at: datetime | None = None


async def store_decisions(
    conn: Connection, decisions: Sequence[LineDecision], decided_by: str, decided_at: datetime
) -> None:
    """Record one person's decisions on lines."""
    await conn.execute(
        """
        UPDATE line SET status = new.status, decision = new.decision, reason = new.reason,
            risks = ARRAY(SELECT jsonb_array_elements_text(new.risks::jsonb)), advice = new.advice,
            removal_due_at = coalesce(
                CASE WHEN new.status = 'removal_ordered' THEN line.removal_due_at END,
                new.removal_due_at),
            ordered_at = CASE WHEN new.status = 'removal_ordered' THEN ordered_at END,
            overdue_at = CASE WHEN new.status = 'removal_ordered' THEN overdue_at END,
            decided_by = $8, decided_at = $9, revision = revision + 1, detail = NULL
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::timestamptz[])
            AS new (line_id, status, decision, reason, risks, advice, removal_due_at)
        WHERE line.line_id = new.line_id
        """,
        [each.line_id for each in decisions],
        [each.status for each in decisions],
        [each.decision for each in decisions],
        [each.reason for each in decisions],
        [to_text(each.risks) for each in decisions],
        [each.advice for each in decisions],
        [each.removal_due_at for each in decisions],
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
    reviewer_rule: ReviewerRule
    status: ReviewStatus
    due_at: datetime
    declined: tuple[str, ...]


async def load_review(conn: Connection, organization: str, review_id: UUID) -> ReviewRow | None:
    """One review of the organization."""
    row = await conn.fetchrow(
        """
        SELECT review_id, organization, campaign_id, worker, reviewer, reviewer_rule, status,
            due_at, declined
        FROM review WHERE organization = $1 AND review_id = $2
        """,
        organization,
        review_id,
    )
    if row is None:
        return None
    return _review(row)


def _review(row: Any) -> ReviewRow:
    return ReviewRow(
        row["review_id"],
        row["organization"],
        row["campaign_id"],
        row["worker"],
        row["reviewer"],
        row["reviewer_rule"],
        ReviewStatus(row["status"]),
        row["due_at"],
        tuple(row["declined"]),
    )


async def reassign_review(
    conn: Connection, review_id: UUID, choice: Choice, declined: Sequence[str]
) -> None:
    """Have somebody else asked, who has not looked yet."""
    await conn.execute(
        """
        UPDATE review SET reviewer = $2, reviewer_rule = $3, declined = $4, read_at = NULL
        WHERE review_id = $1
        """,
        review_id,
        choice.reviewer,
        choice.rule,
        list(declined),
    )
    await count_lines(conn, [review_id])


async def load_standing(
    conn: Connection, review_ids: Collection[UUID]
) -> list[tuple[ReviewRow, list[LineStatus]]]:
    """Reviews with the statuses of their lines."""
    rows = await conn.fetch(
        """
        SELECT review_id, organization, campaign_id, worker, reviewer, reviewer_rule,
            review.status, due_at, declined, array_agg(line.status) AS lines
        FROM review JOIN line USING (review_id)
        WHERE review_id = ANY($1::uuid[])
        GROUP BY review_id ORDER BY review_id
        """,
        list(review_ids),
    )
    return [(_review(row), [LineStatus(each) for each in row["lines"]]) for row in rows]


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
