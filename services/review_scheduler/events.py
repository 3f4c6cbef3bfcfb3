"""The events that leave: what happened here, as `shared.contracts.review` spells it."""

from collections.abc import Collection
from datetime import datetime

from services.review_scheduler.rules.deciding import RefusalRule
from services.review_scheduler.rules.lines import Line, LineStatus, Outcome
from services.review_scheduler.rules.opening import NewReview
from services.review_scheduler.rules.reviewers import Choice
from services.review_scheduler.store.campaigns import Campaign, ClosedCampaign
from services.review_scheduler.store.questions import Question
from services.review_scheduler.store.reviews import LineDecision, ReviewRow
from shared.auth import Principal
from shared.contracts.admin import CommandRefused
from shared.contracts.envelope import event_key, rfc3339
from shared.contracts.facts import fact
from shared.contracts.review import (
    Advice,
    CampaignClosed,
    CampaignOpened,
    LineOpened,
    MootReason,
    ReviewAnswered,
    ReviewAsked,
    ReviewClosed,
    ReviewCorrected,
    ReviewData,
    ReviewDecided,
    ReviewMoot,
    ReviewOpened,
    ReviewRead,
    ReviewReassigned,
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


def line_asked(line: Line, question: Question) -> OutboxMessage:
    """The reviewer asks somebody who knows more."""
    return _review_event(
        "review.asked",
        line.organization,
        line.worker,
        (str(question.question_id),),
        question.asked_at,
        ReviewAsked(
            question_id=str(question.question_id),
            review_id=str(line.review_id),
            line_id=str(line.line_id),
            campaign_id=_text(line.campaign_id),
            worker=line.worker,
            portal=line.portal,
            tin=line.tin,
            function=line.function,
            asked=question.asked,
            asked_by=question.asked_by,
            asked_at=question.asked_at,
            question=question.words,
        ),
    )


def question_answered(
    line: Line, question: Question, advice: Advice, answer: str, by: str, now: datetime
) -> OutboxMessage:
    """Whoever was asked has answered."""
    return _review_event(
        "review.answered",
        line.organization,
        line.worker,
        (str(question.question_id),),
        now,
        ReviewAnswered(
            question_id=str(question.question_id),
            review_id=str(line.review_id),
            line_id=str(line.line_id),
            campaign_id=_text(line.campaign_id),
            worker=line.worker,
            portal=line.portal,
            tin=line.tin,
            function=line.function,
            asked_by=question.asked_by,
            answered_by=by,
            answered_at=now,
            advice=advice,
            answer=answer,
        ),
    )


def review_declined(
    review: ReviewRow, choice: Choice, who: Principal, words: str, undecided: int, now: datetime
) -> OutboxMessage:
    """Somebody said that a review is not theirs, and the next by rule is asked."""
    return _review_event(
        "review.reassigned",
        review.organization,
        review.worker,
        (str(review.review_id), who.subject, rfc3339(now)),
        now,
        ReviewReassigned(
            review_id=str(review.review_id),
            campaign_id=_text(review.campaign_id),
            worker=review.worker,
            previous_reviewer=review.reviewer,
            reviewer=choice.reviewer,
            reviewer_rule=choice.rule,
            reason="not_mine",
            reassigned_by=who.worker,
            reassigned_at=now,
            due_at=review.due_at,
            undecided=undecided,
            words=words,
        ),
    )


def command_refused(
    who: Principal, command: str, target: str, rule: RefusalRule, status: int, now: datetime
) -> OutboxMessage:
    """Somebody may not do something, or not any more: a fact with the name of its rule."""
    return fact(
        ADMIN_EVENTS,
        "command.refused",
        source=SOURCE,
        organization=who.organization,
        key=event_key(who.organization, who.subject),
        subject=who.subject,
        cause=(who.subject, target, rule, rfc3339(now)),
        time=now,
        data=CommandRefused(command, target, rule, status),
    )


def _text(id: object | None) -> str | None:
    return None if id is None else str(id)
