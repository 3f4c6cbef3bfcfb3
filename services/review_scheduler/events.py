"""The events that leave: what happened here, as `shared.contracts.review` spells it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from services.review_scheduler.rules.deciding import RefusalRule
from services.review_scheduler.rules.ladder import Pending
from services.review_scheduler.rules.lines import Line, LineStatus, Outcome
from services.review_scheduler.rules.opening import NewReview
from services.review_scheduler.rules.reviewers import Choice
from services.review_scheduler.store.campaigns import Campaign, ClosedCampaign
from services.review_scheduler.store.delegations import Delegation
from services.review_scheduler.store.questions import Question
from services.review_scheduler.store.reviews import LineDecision, ReviewRow
from services.review_scheduler.store.waiting import Asked
from shared.auth import Principal
from shared.contracts.admin import CommandRefused
from shared.contracts.envelope import rfc3339
from shared.contracts.facts import fact
from shared.contracts.review import (
    Advice,
    CampaignClosed,
    CampaignExpired,
    CampaignOpened,
    LineExpired,
    LineOpened,
    MootReason,
    ReassignReason,
    ReviewAnswered,
    ReviewAsked,
    ReviewClosed,
    ReviewCorrected,
    ReviewData,
    ReviewDecided,
    ReviewDelegated,
    ReviewEscalated,
    ReviewExpired,
    ReviewMoot,
    ReviewOpened,
    ReviewRead,
    ReviewReassigned,
    ReviewReminded,
    ReviewRemovalOverdue,
    ReviewRemoved,
)
from shared.contracts.review_policy import Rung
from shared.contracts.state import AuthorizedBy
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
        subject=subject,
        cause=cause,
        time=time,
        data=data,
    )


class _AboutWorker(Protocol):
    """A review or a line: it belongs to an organization and is about one worker."""

    @property
    def organization(self) -> str: ...

    @property
    def worker(self) -> str: ...


def _worker_event(
    type: str, about: _AboutWorker, cause: tuple[str, ...], time: datetime, data: ReviewData
) -> OutboxMessage:
    return _review_event(type, about.organization, about.worker, cause, time, data)


def review_opened(review: NewReview) -> OutboxMessage:
    """A reviewer is asked."""
    occasion = review.occasion
    return _worker_event(
        "review.opened",
        review,
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
                    grade=line.holding.entitlement.grade,
                    since=line.holding.entitlement.since,
                    authorized_by=_authorized(line.holding.entitlement.authorized_by),
                )
                for line in review.lines
            ),
            rule=occasion.rule,
            no_answer=occasion.no_answer,
        ),
    )


def _about(line: Line) -> dict[str, Any]:
    """What every event about one line says."""
    return {
        "review_id": str(line.review_id),
        "line_id": str(line.line_id),
        "campaign_id": _text(line.campaign_id),
        "worker": line.worker,
        "portal": line.portal,
        "tin": line.tin,
        "function": line.function,
    }


def line_decided(line: Line, decided: LineDecision, by: str, now: datetime) -> OutboxMessage:
    """A person decided on a line, for the first time (`review.decided`) or again (`corrected`)."""
    data = ReviewDecided(
        **_about(line),
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
        return _worker_event("review.decided", line, cause, now, data)
    return _worker_event(
        "review.corrected",
        line,
        cause,
        now,
        ReviewCorrected(**data.model_dump(), previous_decision=line.decision),
    )


def line_moot(line: Line, reason: MootReason, detail: str | None, now: datetime) -> OutboxMessage:
    """A line needs no decision any more, or its decision can have no effect."""
    return _worker_event(
        "review.moot",
        line,
        (str(line.line_id), str(line.revision)),
        now,
        ReviewMoot(
            **_about(line),
            operation_id=line.operation_id,
            moot_at=now,
            reason=reason,
            detail=detail,
        ),
    )


def line_removed(line: Line, outcome: Outcome, now: datetime) -> OutboxMessage:
    """What was to be removed is gone from the portal."""
    return _worker_event(
        "review.removed",
        line,
        (str(line.line_id), str(line.revision)),
        now,
        ReviewRemoved(
            **_about(line),
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
    return _worker_event(
        "review.removal_overdue",
        line,
        (str(line.line_id), str(line.revision)),
        now,
        ReviewRemovalOverdue(
            **_about(line),
            reviewer=reviewer,
            decided_by=line.decided_by,
            decided_at=line.decided_at,
            due_at=line.removal_due_at,
            overdue_at=now,
        ),
    )


def review_read(review: ReviewRow, by: str, now: datetime) -> OutboxMessage:
    """The reviewer looks at a review for the first time."""
    return _worker_event(
        "review.read",
        review,
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
    return _worker_event(
        "review.closed",
        review,
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
    plan = campaign.plan
    return _review_event(
        "campaign.opened",
        plan.organization,
        str(campaign.campaign_id),
        (str(campaign.campaign_id),),
        campaign.opened_at,
        CampaignOpened(
            campaign_id=str(campaign.campaign_id),
            title=plan.title,
            opened_by=campaign.opened_by,
            opened_at=campaign.opened_at,
            due_at=plan.due_at,
            policy_version=campaign.policy_version,
            calendar=plan.calendar,
            scope=plan.scope,
            no_answer=plan.no_answer,
        ),
    )


def _to_tell(review: Pending, rung: Rung, to: tuple[str, ...]) -> dict[str, Any]:
    return {
        "review_id": str(review.review_id),
        "campaign_id": _text(review.campaign_id),
        "worker": review.worker,
        "reviewer": review.reviewer,
        "tell": rung.tell,
        "recipients": to,
        "days": rung.days,
        "undecided": review.undecided,
        "due_at": review.due_at,
    }


def rung_told(review: Pending, rung: Rung, to: tuple[str, ...], now: datetime) -> OutboxMessage:
    """A rung of the ladder has come: the reviewer is reminded, or others are told."""
    # A rung is told once per due instant: equal causes, equal ids.
    cause = (str(review.review_id), rfc3339(review.due_at), str(rung.days))
    said = _to_tell(review, rung, to)
    if rung.tell == "reviewer":
        data: ReviewData = ReviewReminded(**said, reminded_at=now)
        type = "review.reminded"
    else:
        data, type = ReviewEscalated(**said, escalated_at=now), "review.escalated"
    return _worker_event(type, review, (type, *cause), now, data)


def review_reassigned(
    review: Pending, asked: Asked, reason: ReassignReason, by: str | None, now: datetime
) -> OutboxMessage:
    """Somebody else is asked from now on."""
    return _worker_event(
        "review.reassigned",
        review,
        (str(review.review_id), rfc3339(now)),
        now,
        ReviewReassigned(
            review_id=str(review.review_id),
            campaign_id=_text(review.campaign_id),
            worker=review.worker,
            previous_reviewer=review.reviewer,
            reviewer=asked.reviewer,
            reviewer_rule=asked.rule,
            reason=reason,
            reassigned_by=by,
            reassigned_at=now,
            due_at=asked.due_at,
            undecided=review.undecided,
        ),
    )


def review_expired(
    review: Pending,
    lines: tuple[LineExpired, ...],
    cause_id: str,
    now: datetime,
) -> OutboxMessage:
    """Nobody answered in time, and what policy says follows."""
    return _worker_event(
        "review.expired",
        review,
        (str(review.review_id), rfc3339(review.due_at)),
        now,
        ReviewExpired(
            review_id=str(review.review_id),
            campaign_id=_text(review.campaign_id),
            worker=review.worker,
            reviewer=review.reviewer,
            consequence=review.no_answer,
            due_at=review.due_at,
            expired_at=now,
            cause_id=cause_id,
            cause_lines=None if review.campaign_id else len(lines),
            lines=lines,
        ),
    )


def campaign_expired(
    organization: str,
    campaign_id: UUID,
    cause_id: str,
    due_at: datetime,
    lines: int,
    now: datetime,
) -> OutboxMessage:
    """Everything that expired of a campaign at an instant has been said."""
    return _review_event(
        "campaign.expired",
        organization,
        str(campaign_id),
        (cause_id,),
        now,
        CampaignExpired(
            campaign_id=str(campaign_id),
            cause_id=cause_id,
            due_at=due_at,
            expired_at=now,
            lines=lines,
        ),
    )


def review_delegated(delegation: Delegation, by: str, now: datetime) -> OutboxMessage:
    """Somebody covers for a reviewer, or does no longer."""
    ended = delegation.ended_at is not None
    return _review_event(
        "review.delegated",
        delegation.organization,
        delegation.reviewer,
        (str(delegation.delegation_id), "ended" if ended else "begun"),
        now,
        ReviewDelegated(
            delegation_id=str(delegation.delegation_id),
            reviewer=delegation.reviewer,
            delegate=delegation.delegate,
            since=delegation.since,
            until=delegation.until,
            delegated_by=delegation.delegated_by,
            delegated_at=delegation.delegated_at,
            ended_at=delegation.ended_at,
            ended_by=by if ended else None,
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
            population=campaign.population,
            seen=campaign.seen,
            elsewhere=campaign.elsewhere,
        ),
    )


def line_asked(line: Line, question: Question) -> OutboxMessage:
    """The reviewer asks somebody who knows more."""
    return _worker_event(
        "review.asked",
        line,
        (str(question.question_id),),
        question.asked_at,
        ReviewAsked(
            question_id=str(question.question_id),
            **_about(line),
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
    return _worker_event(
        "review.answered",
        line,
        (str(question.question_id),),
        now,
        ReviewAnswered(
            question_id=str(question.question_id),
            **_about(line),
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
    return _worker_event(
        "review.reassigned",
        review,
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
        subject=who.subject,
        cause=(who.subject, target, rule, rfc3339(now)),
        time=now,
        data=CommandRefused(command, target, rule, status),
    )


def _authorized(by: AuthorizedBy | None) -> dict[str, str] | None:
    return None if by is None else {"kind": by.kind, "reference": by.reference, "by": by.by}


def _text(id: object | None) -> str | None:
    return None if id is None else str(id)
