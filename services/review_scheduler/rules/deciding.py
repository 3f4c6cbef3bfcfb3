"""Who may decide on a line, and until when."""

from enum import StrEnum

from services.review_scheduler.rules.lines import LINE_MOVES, LineMove, LineStatus, ReviewStatus
from shared.contracts.review import Decision


class RefusalRule(StrEnum):
    """The named rules by which a decision is refused."""

    REVIEWER_UNKNOWN = "reviewer_unknown"
    SELF_REVIEW = "self_review"
    NOT_REVIEWER = "not_reviewer"
    REVIEW_CLOSED = "review_closed"
    LINE_UNKNOWN = "line_unknown"
    LINE_MOOT = "line_moot"
    REMOVAL_CONFIRMED = "removal_confirmed"


REFUSAL_IN_WORDS: dict[RefusalRule, str] = {
    RefusalRule.REVIEWER_UNKNOWN: "Your sign-in names no worker, so nobody can tell that the access"
    " is not your own; ask for a sign-in that does.",
    RefusalRule.SELF_REVIEW: "This is your own access; nobody reviews their own.",
    RefusalRule.NOT_REVIEWER: "Somebody else was asked to review this; a review:admin may step in.",
    RefusalRule.REVIEW_CLOSED: "The review is closed; changes to the access need a new one.",
    RefusalRule.LINE_UNKNOWN: "The review has no such line; read the review again.",
    RefusalRule.LINE_MOOT: "The line is moot and needs no decision; read the review again.",
    RefusalRule.REMOVAL_CONFIRMED: "The access is already gone; to have it back, ask for it anew.",
}


def refuse_reviewer(
    person: str | None, holder: str, reviewer: str | None, *, is_admin: bool
) -> RefusalRule | None:
    """Why a person may not decide on `holder`'s access, or None: they may.

    Args:
        person: the worker id in use of whoever is signed in, if they are a worker.
        is_admin: they hold review:admin, which stands in for any reviewer but the holder.
    """
    if person is None:
        return RefusalRule.REVIEWER_UNKNOWN
    if person == holder:
        return RefusalRule.SELF_REVIEW
    if is_admin or person == reviewer:
        return None
    return RefusalRule.NOT_REVIEWER


def refuse_decision(
    review: ReviewStatus, line: LineStatus | None, decision: Decision
) -> RefusalRule | None:
    """Why a line cannot be decided on any more, or None: it can."""
    if line is None:
        return RefusalRule.LINE_UNKNOWN
    if review is ReviewStatus.CLOSED:
        return RefusalRule.REVIEW_CLOSED
    if LineMove(decision) in LINE_MOVES[line]:
        return None
    if line is LineStatus.MOOT:
        return RefusalRule.LINE_MOOT
    return RefusalRule.REMOVAL_CONFIRMED
