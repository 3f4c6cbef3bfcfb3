"""Who may decide on a line, and until when."""

from collections.abc import Collection
from enum import StrEnum

from services.review_scheduler.rules.lines import LINE_MOVES, LineMove, LineStatus
from shared.contracts.review import Decision, Risk
from shared.contracts.review_policy import KeepReasons


class RefusalRule(StrEnum):
    """The named rules by which a decision is refused."""

    REVIEWER_UNKNOWN = "reviewer_unknown"
    SELF_REVIEW = "self_review"
    NOT_REVIEWER = "not_reviewer"
    AUTHORIZER = "authorizer"
    LINE_UNKNOWN = "line_unknown"
    LINE_MOOT = "line_moot"
    REMOVAL_CONFIRMED = "removal_confirmed"
    HELD_NO_MORE = "held_no_more"
    REASON_MISSING = "reason_missing"
    ASKED_ABSENT = "asked_absent"
    NOT_ASKED = "not_asked"
    ANSWERED = "answered"
    LINE_DECIDED = "line_decided"
    NOTHING_LEFT = "nothing_left"
    COUNT_DIFFERS = "count_differs"
    TOO_MANY = "too_many"


REFUSAL_IN_WORDS: dict[RefusalRule, str] = {
    RefusalRule.REVIEWER_UNKNOWN: "Your sign-in names no worker, so nobody can tell that the access"
    " is not your own; ask for a sign-in that does.",
    RefusalRule.SELF_REVIEW: "This is your own access; nobody reviews their own.",
    RefusalRule.NOT_REVIEWER: "Somebody else was asked to review this; a review:admin may step in.",
    RefusalRule.AUTHORIZER: "You authorized this access yourself, and policy wants somebody else to"
    " look at it; pass the review on.",
    RefusalRule.LINE_UNKNOWN: "The review has no such line; read the review again.",
    RefusalRule.LINE_MOOT: "The line is moot and needs no decision; read the review again.",
    RefusalRule.REMOVAL_CONFIRMED: "The access is already gone; to have it back, ask for it anew.",
    RefusalRule.HELD_NO_MORE: "The review is closed, and the access is not what it was then; a"
    " later review asks about what is held now.",
    RefusalRule.REASON_MISSING: "Policy asks for a reason to keep access like this; say what it is"
    " needed for.",
    RefusalRule.ASKED_ABSENT: "Whoever you ask must be here: choose somebody who works now.",
    RefusalRule.NOT_ASKED: "Somebody else was asked; sign in as the person who was.",
    RefusalRule.ANSWERED: "This question has been answered already.",
    RefusalRule.LINE_DECIDED: "This has been decided already; nothing is left to ask.",
    RefusalRule.NOTHING_LEFT: "Everything in this review is decided; correct a decision instead.",
    RefusalRule.COUNT_DIFFERS: "There are not as many lines as you saw, so nothing was decided;"
    " look at them again, then confirm the new number.",
    RefusalRule.TOO_MANY: "So many lines cannot be answered for at once; narrow them down.",
}


def refuse_reviewer(
    person: str | None, holder: str, asked: Collection[str | None], *, is_admin: bool
) -> RefusalRule | None:
    """Why a person may not decide on `holder`'s access, or None: they may.

    Args:
        person: the worker id in use of whoever is signed in, if they are a worker.
        asked: the reviewer, and who covers for them today.
        is_admin: they hold review:admin, which stands in for any reviewer but the holder.
    """
    if person is None:
        return RefusalRule.REVIEWER_UNKNOWN
    if person == holder:
        return RefusalRule.SELF_REVIEW
    if is_admin or person in asked:
        return None
    return RefusalRule.NOT_REVIEWER


def needs_reason(risks: Collection[Risk], asks: KeepReasons) -> bool:
    """Whether policy wants a reason to keep what has these risks."""
    return (
        (asks.financial and "financial" in risks)
        or (asks.user_administration and "administrator" in risks)
        or (asks.dormant and "dormant" in risks)
        or (asks.beyond_policy and "beyond_policy" in risks)
    )


def refuse_decision(
    line: LineStatus | None,
    decision: Decision,
    reason: str | None,
    risks: Collection[Risk],
    asks: KeepReasons,
    *,
    is_closed: bool,
    is_held: bool,
) -> RefusalRule | None:
    """Why a line cannot be decided on like this, or None: it can.

    Args:
        asks: for what policy wants a reason to keep.
        is_closed: the review is; what it kept can then be decided on in a new one.
        is_held: the access is still there as it was when the line was opened.
    """
    if line is None:
        return RefusalRule.LINE_UNKNOWN
    if line is LineStatus.MOOT:
        return RefusalRule.LINE_MOOT
    if LineMove(decision) not in LINE_MOVES[line]:
        return RefusalRule.REMOVAL_CONFIRMED
    if is_closed and not is_held:
        return RefusalRule.HELD_NO_MORE
    if decision == "keep" and not reason and needs_reason(risks, asks):
        return RefusalRule.REASON_MISSING
    return None


def refuse_asking(
    lines: Collection[LineStatus | None], asked: str, holder: str, *, is_present: bool
) -> RefusalRule | None:
    """Why somebody cannot be asked about lines of `holder`'s access, or None: they can."""
    if asked == holder:
        return RefusalRule.SELF_REVIEW
    if not is_present:
        return RefusalRule.ASKED_ABSENT
    if None in lines:
        return RefusalRule.LINE_UNKNOWN
    if any(line is not LineStatus.UNDECIDED for line in lines):
        return RefusalRule.LINE_DECIDED
    return None
