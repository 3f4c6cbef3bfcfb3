"""Review decisions as inputs of desired access."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.provisioning.rules.brake import CauseStatus
from services.provisioning.rules.desired.rights import Removal
from services.provisioning.rules.facts import ReviewRemoval, Unanswered
from services.provisioning.store.workers import LockedWorker, WorkerKey
from shared.postgres import Connection


async def save_review_decision(
    conn: Connection,
    organization: str,
    *,
    review_id: str,
    line_id: str,
    worker: str,
    portal: str,
    tin: str | None,
    function: str | None,
    operation_id: str | None,
    decided_by: str,
    decided_at: datetime,
    decision: str,
    cause_id: str | None = None,
    consequence: str | None = None,
) -> bool:
    """Keep the latest decision per line; whether this one is news.

    Args:
        cause_id: what the brake judges, where nobody decided and `consequence` follows.
    """
    stored = await conn.fetchval(
        """
        INSERT INTO review_decision (organization, review_id, line_id, worker, portal, tin,
            function, operation_id, decided_by, decided_at, cause_id, consequence, status)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12, $13,
                CASE WHEN $11 = 'remove' THEN 'new' ELSE 'kept' END)
        ON CONFLICT (organization, review_id, line_id) DO UPDATE SET
            decided_by = excluded.decided_by, decided_at = excluded.decided_at,
            status = excluded.status, operation_id = excluded.operation_id, detail = '',
            cause_id = coalesce(excluded.cause_id, review_decision.cause_id),
            consequence = excluded.consequence
        WHERE review_decision.decided_at < excluded.decided_at
        RETURNING true
        """,
        organization,
        review_id,
        line_id,
        worker,
        portal,
        tin,
        function,
        operation_id,
        decided_by,
        decided_at,
        decision,
        cause_id,
        consequence,
    )
    return bool(stored)


async def review_removals(
    conn: Connection, workers: Sequence[LockedWorker]
) -> dict[WorkerKey, list[ReviewRemoval]]:
    """Review decisions to remove something from these workers."""
    rows = await conn.fetch(
        """
        SELECT decision.*, cause.status AS verdict, cause.decided_by AS judged_by
        FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker),
            LATERAL (
                SELECT * FROM review_decision AS decision
                WHERE decision.organization = wanted.organization
                  AND decision.worker = wanted.worker
                OFFSET 0
            ) AS decision
        LEFT JOIN brake_cause AS cause
            ON cause.organization = decision.organization AND cause.cause_id = decision.cause_id
        WHERE decision.status <> 'kept'
        ORDER BY review_id, line_id
        """,
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[ReviewRemoval]] = {}
    for row in rows:
        found.setdefault((row["organization"], row["worker"]), []).append(
            ReviewRemoval(
                Removal(
                    row["review_id"],
                    row["line_id"],
                    row["portal"],
                    row["tin"],
                    row["function"],
                    row["decided_by"],
                    row["decided_at"],
                ),
                row["operation_id"],
                row["status"],
                row["detail"],
                _unanswered(row),
            )
        )
    return found


def _unanswered(row: Any) -> Unanswered | None:
    if row["consequence"] is None:
        return None
    verdict = CauseStatus(row["verdict"]) if row["verdict"] else CauseStatus.GATHERING
    return Unanswered(row["cause_id"], row["consequence"] == "suspend", verdict, row["judged_by"])


async def settle_reviews(conn: Connection, judged: Sequence[tuple[str, ReviewRemoval]]) -> None:
    """Remember whether review decisions stand or are moot."""
    if judged:
        await conn.execute(
            """
            UPDATE review_decision AS decision SET status = new.status, detail = new.detail
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                AS new (organization, review_id, line_id, status, detail)
            WHERE decision.organization = new.organization
              AND decision.review_id = new.review_id AND decision.line_id = new.line_id
            """,
            [organization for organization, _ in judged],
            [review.removal.review_id for _, review in judged],
            [review.removal.line_id for _, review in judged],
            [review.status for _, review in judged],
            [review.detail for _, review in judged],
        )
