"""The events that leave: what happened here, as `shared.contracts.review` spells it."""

from collections.abc import Collection
from datetime import datetime

from services.review_scheduler.rules.deciding import RefusalRule
from services.review_scheduler.rules.lines import Line, LineStatus, Outcome
from services.review_scheduler.rules.opening import NewReview
from services.review_scheduler.store.campaigns import Campaign, ClosedCampaign
from services.review_scheduler.store.reviews import LineDecision, ReviewRow
from shared.auth import Principal
from shared.contracts.admin import CommandRefused
from shared.contracts.envelope import event_key, rfc3339
from shared.contracts.facts import fact
from shared.contracts.review import (
    CampaignClosed,
    CampaignOpened,
    LineOpened,
    MootReason,
    ReviewClosed,
    ReviewCorrected,
    ReviewData,
    ReviewDecided,
    ReviewMoot,
    ReviewOpened,
    ReviewRead,
    ReviewRemovalOverdue,
    ReviewRemoved,
)
from shared.contracts.topics import ADMIN_EVENTS, REVIEW_EVENTS
from shared.outbox import OutboxMessage

SOURCE = "/portalkeeper/review_scheduler"


def _review_event(
    type: str,
    organization: str,
    subject: str,
    cause: tuple[str, ...],
    time: datetime,
    data: ReviewData,
) -> OutboxMessage:
    return fact(
        REVIEW_EVENTS,
        type,
        source=SOURCE,
        organization=organization,
        key=event_key(organization, subject),
        subject=subject,
        cause=cause,
        time=time,
        data=data,
    )


def review_opened(review: NewReview) -> OutboxMessage:
    """A reviewer is asked."""
    occasion = review.occasion
    return _review_event(
        "review.opened",
        review.organization,
        review.worker,
        (str(review.review_id),),
        occasion.opened_at,
        ReviewOpened(
            review_id=str(review.review_id),
            campaign_id=_text(occasion.campaign_id),
            kind="campaign" if occasion.campaign_id else "micro",
            worker=review.worker,
            reviewer=review.reviewer,
            reviewer_rule=review.reviewer_rule,
            reason=occasion.reason,
            opened_at=occasion.opened_at,
            due_at=occasion.due_at,
            lines=tuple(
                LineOpened(
                    line_id=str(line.line_id),
                    portal=line.holding.portal,
                    tin=line.holding.entitlement.tin,
                    function=line.holding.entitlement.function,
                    operation_id=line.holding.entitlement.operation_id,
                    duties=line.duties,
                )
                for line in review.lines
            ),
            rule=occasion.rule,
        ),
    )


def line_decided(line: Line, decided: LineDecision, by: str, now: datetime) -> OutboxMessage:
    """A person decided on a line, for the first time (`review.decided`) or again (`corrected`)."""
    data = ReviewDecided(
        review_id=str(line.review_id),
        line_id=str(line.line_id),
        campaign_id=_text(line.campaign_id),
        worker=line.worker,
        portal=line.portal,
        tin=line.tin,
        function=line.function,
        decision=decided.decision,
        operation_id=line.operation_id,
        decided_by=by,
        decided_at=now,
        reason=decided.reason,
        risks=decided.risks,
        advice=decided.advice,
    )
    cause = (str(line.line_id), str(line.revision + 1))
    if line.decision is None:
        return _review_event("review.decided", line.organization, line.worker, cause, now, data)
    return _review_event(
        "review.corrected",
        line.organization,
        line.worker,
        cause,
        now,
        ReviewCorrected(**data.model_dump(), previous_decision=line.decision),
    )


def line_moot(line: Line, reason: MootReason, detail: str | None, now: datetime) -> OutboxMessage:
    """A line needs no decision any more, or its decision can have no effect."""
    return _review_event(
        "review.moot",
        line.organization,
        line.worker,
        (str(line.line_id), str(line.revision)),
        now,
        ReviewMoot(
            review_id=str(line.review_id),
            line_id=str(line.line_id),
            campaign_id=_text(line.campaign_id),
            worker=line.worker,
            portal=line.portal,
            tin=line.tin,
            function=line.function,
            operation_id=line.operation_id,
            moot_at=now,
            reason=reason,
            detail=detail,
        ),
    )


def line_removed(line: Line, outcome: Outcome, now: datetime) -> OutboxMessage:
    """What was to be removed is gone from the portal."""
    return _review_event(
        "review.removed",
        line.organization,
        line.worker,
        (str(line.line_id), str(line.revision)),
        now,
        ReviewRemoved(
            review_id=str(line.review_id),
            line_id=str(line.line_id),
            campaign_id=_text(line.campaign_id),
            worker=line.worker,
            portal=line.portal,
            tin=line.tin,
            function=line.function,
            operation_id=line.operation_id,
            decided_at=line.decided_at,
            ordered_at=line.ordered_at,
            removed_at=now,
            grade=outcome.grade,
            detail=outcome.detail,
        ),
    )


def removal_overdue(line: Line, reviewer: str | None, now: datetime) -> OutboxMessage:
    """A removal is not gone from the portal by its due date."""
    assert line.removal_due_at is not None, "set with the decision"
    return _review_event(
        "review.removal_overdue",
        line.organization,
        line.worker,
        (str(line.line_id), str(line.revision)),
        now,
        ReviewRemovalOverdue(
            review_id=str(line.review_id),
            line_id=str(line.line_id),
            campaign_id=_text(line.campaign_id),
            worker=line.worker,
            portal=line.portal,
            tin=line.tin,
            function=line.function,
            reviewer=reviewer,
            decided_by=line.decided_by,
            decided_at=line.decided_at,
            due_at=line.removal_due_at,
            overdue_at=now,
        ),
    )


def review_read(review: ReviewRow, by: str, now: datetime) -> OutboxMessage:
    """The reviewer looks at a review for the first time."""
    return _review_event(
        "review.read",
        review.organization,
        review.worker,
        (str(review.review_id), by),
        now,
        ReviewRead(
            review_id=str(review.review_id),
            campaign_id=_text(review.campaign_id),
            worker=review.worker,
            read_by=by,
            read_at=now,
        ),
    )


def review_closed(review: ReviewRow, lines: Collection[LineStatus], now: datetime) -> OutboxMessage:
    """Nothing is left to happen in a review."""
    return _review_event(
        "review.closed",
        review.organization,
        review.worker,
        (str(review.review_id),),
        now,
        ReviewClosed(
            review_id=str(review.review_id),
            campaign_id=_text(review.campaign_id),
            worker=review.worker,
            closed_at=now,
            kept=sum(each is LineStatus.KEPT for each in lines),
            removed=sum(each is LineStatus.REMOVAL_CONFIRMED for each in lines),
            moot=sum(each is LineStatus.MOOT for each in lines),
        ),
    )


def campaign_opened(campaign: Campaign) -> OutboxMessage:
    """A campaign begins."""
    return _review_event(
        "campaign.opened",
        campaign.organization,
        str(campaign.campaign_id),
        (str(campaign.campaign_id),),
        campaign.opened_at,
        CampaignOpened(
            campaign_id=str(campaign.campaign_id),
            title=campaign.title,
            opened_by=campaign.opened_by,
            opened_at=campaign.opened_at,
            due_at=campaign.due_at,
            policy_version=campaign.policy_version,
        ),
    )


def campaign_closed(campaign: ClosedCampaign, now: datetime) -> OutboxMessage:
    """All reviews of a campaign are closed."""
    return _review_event(
        "campaign.closed",
        campaign.organization,
        str(campaign.campaign_id),
        (str(campaign.campaign_id),),
        now,
        CampaignClosed(
            campaign_id=str(campaign.campaign_id),
            closed_at=now,
            reviews=campaign.reviews,
            kept=campaign.kept,
            removed=campaign.removed,
            moot=campaign.moot,
        ),
    )


def decision_refused(
    who: Principal, target: str, rule: RefusalRule, status: int, now: datetime
) -> OutboxMessage:
    """Somebody may not decide, or not any more: a refusal is a fact with the name of its rule."""
    return fact(
        ADMIN_EVENTS,
        "command.refused",
        source=SOURCE,
        organization=who.organization,
        key=event_key(who.organization, who.subject),
        subject=who.subject,
        cause=(who.subject, target, rule, rfc3339(now)),
        time=now,
        data=CommandRefused("review.decide", target, rule, status),
    )


def _text(id: object | None) -> str | None:
    return None if id is None else str(id)
