"""What reviews decided to remove: whether it stands, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from services.provisioning.rules.brake import MAY_GO_ON, CauseStatus
from services.provisioning.rules.desired.rights import REVIEW_REMOVED, Right
from services.provisioning.rules.facts import Facts, ReviewRemoval, Unanswered
from services.provisioning.rules.operations import Account, Held
from shared.contracts.state import AuthorizedBy, DecisionApplied, PortalAccess


def judge_reviews(facts: Facts) -> list[ReviewRemoval]:
    """A decision counts if what it was about is still there; later changes cannot revive it."""
    held = {
        (account.portal, *held): own.operation_id
        for account in facts.accounts
        for held, own in account.rights.items()
    }
    judged = []
    for review in facts.reviews:
        if review.status == "new":
            granted_by = {op for right, op in held.items() if review.removal.covers(right)}
            if not granted_by:
                judged.append(replace(review, status="moot", detail="was gone already"))
            elif review.operation_id is not None and review.operation_id not in granted_by:
                judged.append(replace(review, status="moot", detail="was granted anew since"))
            else:
                judged.append(replace(review, status="standing"))
        else:
            judged.append(review)
        one = judged[-1]
        if (
            one.status == "standing"
            and one.unanswered is not None
            and one.unanswered.verdict is CauseStatus.REJECTED
        ):
            detail = f"{one.unanswered.judged_by} decided that what nobody answered stays"
            judged[-1] = replace(one, status="rejected", detail=detail)
    return judged


def unanswered_removals(
    reviews: Sequence[ReviewRemoval], account: Account, reasons: Mapping[Held, str | AuthorizedBy]
) -> dict[Held, Unanswered]:
    """What of an account goes for no other reason than that nobody answered a review."""
    found: dict[Held, Unanswered] = {}
    for held in account.effective:
        if reasons.get(held) != REVIEW_REMOVED:
            continue
        standing = [
            review
            for review in reviews
            if review.status == "standing" and review.removal.covers((account.portal, *held))
        ]
        last = [review.unanswered for review in standing if review.unanswered is not None]
        if last and len(last) == len(standing):
            found[held] = last[-1]
    return found


def suspends_unanswered(reviews: Sequence[ReviewRemoval], portal: str) -> bool:
    """Whether what is left of a login went unanswered, and policy suspends it for that."""
    return any(
        review.status == "standing"
        and review.unanswered is not None
        and review.unanswered.suspends
        and review.unanswered.verdict in MAY_GO_ON
        and review.removal.portal == portal
        for review in reviews
    )


def applied(review: ReviewRemoval, portals: Sequence[PortalAccess]) -> DecisionApplied:
    """What has become of a review's decision, for whoever decided."""
    removal = review.removal
    if review.status in ("moot", "rejected"):
        return DecisionApplied(removal.review_id, removal.line_id, review.status, review.detail)
    waiting = {
        (access.portal, one.tin, one.function) for access in portals for one in access.parked
    }
    if any(None not in right and removal.covers(cast("Right", right)) for right in waiting):
        detail = "waits for the brake's verdict"
        return DecisionApplied(removal.review_id, removal.line_id, "parked", detail)
    still = any(
        removal.covers((access.portal, own.tin, own.function))
        for access in portals
        for own in access.effective
    )
    status, detail = ("ordered", "removal ordered") if still else ("confirmed", "no longer held")
    return DecisionApplied(removal.review_id, removal.line_id, status, detail)
