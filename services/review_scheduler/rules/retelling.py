"""Campaigns, reviews and lines as the service's own events tell them, for a database that is empty.

What events do not tell (when a removal was ordered, how far a campaign had opened) is left as it is
at the beginning: the next states and the next chunk bring it again, and nothing is asked twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.review_scheduler.rules.lines import LineStatus, review_status
from shared.contracts.review import (
    CampaignClosed,
    CampaignOpened,
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

Row = dict[str, Any]
COUNTED = (*(status.value for status in LineStatus), "worked_lines", "worked_kept")


@dataclass(slots=True)
class Retold:
    """Rows by their ids, as they are to be stored."""

    campaigns: dict[str, Row] = field(default_factory=dict)
    reviews: dict[str, Row] = field(default_factory=dict)
    lines: dict[str, Row] = field(default_factory=dict)
    delegations: dict[str, Row] = field(default_factory=dict)
    questions: dict[str, Row] = field(default_factory=dict)

    def tell(self, organization: str, said: ReviewData) -> None:
        """Go on with the next event; those of one key come in their order, and maybe twice."""
        telling = _TELLINGS.get(type(said))
        if telling is not None:
            telling(self, organization, said)

    def stand(self) -> None:
        """Have reviews stand as their lines do, which are still to be counted."""
        standing: dict[str, list[LineStatus]] = {}
        for line in self.lines.values():
            standing.setdefault(line["review_id"], []).append(LineStatus(line["status"]))
        for review_id, review in self.reviews.items():
            lines = standing[review_id]
            review |= dict.fromkeys(COUNTED, 0)
            review |= {"lines": len(lines), "status": review_status(lines).value}


def _campaign_opened(told: Retold, organization: str, said: CampaignOpened) -> None:
    told.campaigns.setdefault(
        said.campaign_id,
        {
            "campaign_id": said.campaign_id,
            "organization": organization,
            "title": said.title,
            "opened_by": said.opened_by,
            "opened_at": said.opened_at,
            "due_at": said.due_at,
            "policy_version": said.policy_version,
            "calendar": said.calendar,
            "scope": said.scope.model_dump(mode="json", exclude_defaults=True),
            "no_answer": said.no_answer,
            "days_to_decide": (said.due_at - said.opened_at).days or 1,
            "waves": 1,
            "wave": 0,
            "wave_opens_at": said.opened_at,
            "population": 0,
            "seen": 0,
            "elsewhere": 0,
            "status": "opening",
            "opened_through": "",
        },
    )


def _campaign_closed(told: Retold, _organization: str, said: CampaignClosed) -> None:
    told.campaigns[said.campaign_id] |= {
        "status": "closed",
        "closed_at": said.closed_at,
        "population": said.population or 0,
        "seen": said.seen or 0,
        "elsewhere": said.elsewhere,
    }


def _opened(told: Retold, organization: str, said: ReviewOpened) -> None:
    if said.review_id in told.reviews:
        return
    told.reviews[said.review_id] = {
        "review_id": said.review_id,
        "organization": organization,
        "campaign_id": said.campaign_id,
        "worker": said.worker,
        "reviewer": said.reviewer,
        "reviewer_rule": said.reviewer_rule,
        "reason": said.reason,
        "opened_at": said.opened_at,
        "due_at": said.due_at,
        "rule": said.rule or ("campaign" if said.campaign_id else "role_changed"),
        "no_answer": said.no_answer,
        "escalations": 0,
        "declined": [],
    }
    for line in said.lines:
        told.lines[line.line_id] = {
            "line_id": line.line_id,
            "review_id": said.review_id,
            "portal": line.portal,
            "tin": line.tin,
            "function": line.function,
            "operation_id": line.operation_id,
            "grade": line.grade,
            "since": line.since,
            "authorized_by": line.authorized_by,
            "duties": line.duties,
            "status": LineStatus.UNDECIDED.value,
            "revision": 0,
            "risks": [],
        }


def _decided(told: Retold, _organization: str, said: ReviewDecided) -> None:
    line = told.lines[said.line_id]
    kept = said.decision == "keep"
    line |= {
        "status": (LineStatus.KEPT if kept else LineStatus.REMOVAL_DECIDED).value,
        "decision": said.decision,
        "decided_by": said.decided_by,
        "decided_at": said.decided_at,
        "reason": said.reason,
        "risks": said.risks,
        "advice": said.advice,
        "revision": line["revision"] + 1,
        "detail": None,
    }


def _moot(told: Retold, _organization: str, said: ReviewMoot) -> None:
    told.lines[said.line_id] |= {"status": LineStatus.MOOT.value, "detail": said.detail}


def _removed(told: Retold, _organization: str, said: ReviewRemoved) -> None:
    told.lines[said.line_id] |= {
        "status": LineStatus.REMOVAL_CONFIRMED.value,
        "ordered_at": said.ordered_at,
        "removed_at": said.removed_at,
        "removed_grade": said.grade,
        "detail": said.detail,
    }


def _overdue(told: Retold, _organization: str, said: ReviewRemovalOverdue) -> None:
    told.lines[said.line_id] |= {"overdue_at": said.overdue_at, "removal_due_at": said.due_at}


def _expired(told: Retold, _organization: str, said: ReviewExpired) -> None:
    if said.consequence == "escalate":
        if said.reviewer is None:
            told.reviews[said.review_id]["expired_at"] = said.expired_at
        return
    told.reviews[said.review_id]["expired_at"] = said.expired_at
    for line in said.lines:
        told.lines[line.line_id] |= {
            "status": LineStatus.REMOVAL_DECIDED.value,
            "decision": "remove",
            "decided_at": said.expired_at,
            "expired_at": said.expired_at,
            "reason": "nobody answered by the due date",
        }


def _reassigned(told: Retold, _organization: str, said: ReviewReassigned) -> None:
    review = told.reviews[said.review_id]
    review |= {
        "reviewer": said.reviewer,
        "reviewer_rule": said.reviewer_rule,
        "due_at": said.due_at,
        "read_at": None,
    }
    if said.reason == "no_answer":
        review |= {"escalations": review["escalations"] + 1, "rung": None}
    if said.reason == "not_mine" and said.previous_reviewer is not None:
        review["declined"] = [*review["declined"], said.previous_reviewer]


def _told(told: Retold, _organization: str, said: ReviewReminded | ReviewEscalated) -> None:
    told.reviews[said.review_id]["rung"] = said.days


def _read(told: Retold, _organization: str, said: ReviewRead) -> None:
    told.reviews[said.review_id]["read_at"] = said.read_at


def _closed(told: Retold, _organization: str, said: ReviewClosed) -> None:
    told.reviews[said.review_id]["closed_at"] = said.closed_at


def _delegated(told: Retold, organization: str, said: ReviewDelegated) -> None:
    told.delegations[said.delegation_id] = {
        **said.model_dump(mode="json", exclude={"ended_by"}),
        "organization": organization,
    }


def _asked(told: Retold, organization: str, said: ReviewAsked) -> None:
    told.questions[said.question_id] = {
        "question_id": said.question_id,
        "organization": organization,
        "line_id": said.line_id,
        "asked": said.asked,
        "asked_by": said.asked_by,
        "asked_at": said.asked_at,
        "words": said.question,
    }


def _answered(told: Retold, _organization: str, said: ReviewAnswered) -> None:
    told.questions[said.question_id] |= {
        "advice": said.advice,
        "answer": said.answer,
        "answered_by": said.answered_by,
        "answered_at": said.answered_at,
    }


_TELLINGS: Mapping[type[ReviewData], Callable[[Retold, str, Any], None]] = {
    CampaignOpened: _campaign_opened,
    CampaignClosed: _campaign_closed,
    ReviewOpened: _opened,
    ReviewDecided: _decided,
    ReviewCorrected: _decided,
    ReviewMoot: _moot,
    ReviewRemoved: _removed,
    ReviewRemovalOverdue: _overdue,
    ReviewExpired: _expired,
    ReviewReassigned: _reassigned,
    ReviewReminded: _told,
    ReviewEscalated: _told,
    ReviewRead: _read,
    ReviewClosed: _closed,
    ReviewDelegated: _delegated,
    ReviewAsked: _asked,
    ReviewAnswered: _answered,
}
