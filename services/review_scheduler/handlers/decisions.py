"""Deciding on the lines of a review: by a person, explicitly, and never on their own access."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.review_scheduler import events
from services.review_scheduler.handlers.settling import settle_reviews
from services.review_scheduler.rules.deciding import (
    RefusalRule,
    refuse_decision,
    refuse_reviewer,
)
from services.review_scheduler.rules.lines import LINE_MOVES, Line, LineMove
from services.review_scheduler.rules.reviewers import identify
from services.review_scheduler.store.reviews import (
    LineDecision,
    ReviewRow,
    load_lines,
    load_review,
    store_decisions,
)
from services.review_scheduler.store.workers import load_people, lock_workers
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.review import Decision
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection

REFUSAL_STATUS: Mapping[RefusalRule, int] = {
    RefusalRule.REVIEWER_UNKNOWN: 403,
    RefusalRule.SELF_REVIEW: 403,
    RefusalRule.NOT_REVIEWER: 403,
    RefusalRule.LINE_UNKNOWN: 422,
    RefusalRule.REVIEW_CLOSED: 409,
    RefusalRule.LINE_MOOT: 409,
    RefusalRule.REMOVAL_CONFIRMED: 409,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to decide on one line."""

    line_id: UUID
    decision: Decision
    reason: str | None


async def decide_lines(
    conn: Connection, clock: Clock, who: Principal, review_id: UUID, wishes: Sequence[Wish]
) -> RefusalRule | None:
    """Decide on lines of one review, all or none.

    Returns:
        The rule that refuses it; the refusal is then written as a fact and nothing is decided.

    Raises:
        Problem: 404 when the organization has no such review.
    """
    review = await load_review(conn, who.organization, review_id)
    if review is None:
        raise Problem(404, "no_such_review", "There is no such review; list the reviews again.")
    await lock_workers(conn, [(review.organization, review.worker)])
    # Read again, because its lines may have moved before the lock was had.
    review = await load_review(conn, who.organization, review_id) or review
    lines = await load_lines(conn, review_id)
    now = await clock.now(conn)
    refusal = await _refuse(conn, who, review, lines, wishes)
    if refusal is not None:
        status = REFUSAL_STATUS[refusal]
        await enqueue(conn, [events.decision_refused(who, str(review_id), refusal, status, now)])
        return refusal
    assert who.worker is not None, "the rule refuses those without"
    decided = {
        lines[wish.line_id]: LineDecision(
            wish.line_id,
            LINE_MOVES[lines[wish.line_id].status][LineMove(wish.decision)],
            wish.decision,
            wish.reason,
        )
        for wish in wishes
        if _says_something_new(lines[wish.line_id], wish)
    }
    if decided:
        await store_decisions(conn, list(decided.values()), who.worker, now)
        await enqueue(
            conn,
            [events.line_decided(line, new, who.worker, now) for line, new in decided.items()],
            held=True,
        )
        await settle_reviews(conn, [review_id], now)
    return None


async def _refuse(
    conn: Connection,
    who: Principal,
    review: ReviewRow,
    lines: Mapping[UUID, Line],
    wishes: Sequence[Wish],
) -> RefusalRule | None:
    named = [each for each in (who.worker, review.worker, review.reviewer) if each is not None]
    people = await load_people(conn, review.organization, named)
    refusal = refuse_reviewer(
        identify(who.worker, people) if who.worker else None,
        identify(review.worker, people),
        identify(review.reviewer, people) if review.reviewer else None,
        is_admin=who.may("review:admin"),
    )
    if refusal is not None:
        return refusal
    for wish in wishes:
        line = lines.get(wish.line_id)
        refusal = refuse_decision(review.status, line.status if line else None, wish.decision)
        if refusal is not None:
            return refusal
    return None


def _says_something_new(line: Line, wish: Wish) -> bool:
    return (line.decision, line.reason) != (wish.decision, wish.reason)
