"""Making reviews out of what workers hold: one per reviewer and worker, a line per entitlement."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID, uuid5

from services.review_scheduler.rules.reviewers import Choice, Person, choose_reviewer
from services.review_scheduler.rules.roles import Holding
from shared.contracts.directory import Administrator, Function, JobDuty
from shared.contracts.review import OpeningRule, ReviewerRule
from shared.contracts.review_policy import NoAnswer

REVIEW_NAMESPACE = UUID("0b1d4a3e-3f0c-5f44-9d53-6a5e7c0f2b90")
"""Namespace of the ids of campaigns, reviews and lines: equal cause, equal id on every replica."""


def derive_id(*cause: str) -> UUID:
    """The deterministic id of what `cause` names."""
    return uuid5(REVIEW_NAMESPACE, "\x1f".join(cause))


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why reviews are opened, when, and by when they are due (both UTC); what follows no answer.

    `cause` makes their ids: equal causes, equal ids, so that opening again opens nothing new.
    """

    cause: tuple[str, ...]
    campaign_id: UUID | None
    rule: OpeningRule
    reason: str
    opened_at: datetime
    due_at: datetime
    no_answer: NoAnswer


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker and everything effective that they hold; sites as last known, kinds as HR's."""

    organization: str
    worker: str
    duties: tuple[str, ...]
    holdings: tuple[Holding, ...]
    sites: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line as it is opened; `duties` are those of the holder's that call for the function."""

    line_id: UUID
    holding: Holding
    duties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewReview:
    """A review as it is opened; it has at least one line."""

    review_id: UUID
    organization: str
    worker: str
    reviewer: str | None
    reviewer_rule: ReviewerRule
    occasion: Occasion
    lines: tuple[NewLine, ...]


def build_reviews(
    occasion: Occasion,
    holder: Holder,
    people: Mapping[str, Person],
    administrators: Sequence[Administrator],
    job_duties: Sequence[JobDuty],
    today: date,
    *,
    authorizer_may_review: bool,
) -> list[NewReview]:
    """One review per reviewer of what `holder` holds; nothing for somebody who holds nothing.

    Args:
        today: the calendar day in the organization's zone.
        authorizer_may_review: whether whoever authorized access beyond policy may review it.
    """
    barred = {
        held.target: () if authorizer_may_review else authorizers(held) for held in holder.holdings
    }
    asked = sorted({(held.portal, barred[held.target]) for held in holder.holdings})
    choices = {
        (portal, never): choose_reviewer(
            holder.worker, portal, people, administrators, today, never
        )
        for portal, never in asked
    }
    first_choice: dict[str | None, Choice] = {}
    lines: dict[str | None, list[NewLine]] = {}
    for held in holder.holdings:
        choice = choices[held.portal, barred[held.target]]
        first_choice.setdefault(choice.reviewer, choice)
        lines.setdefault(choice.reviewer, []).append(
            NewLine(
                derive_id(
                    "line", *occasion.cause, holder.organization, holder.worker, *held.target
                ),
                held,
                duties_behind(held.entitlement.function, holder.duties, job_duties),
            )
        )
    return [
        NewReview(
            derive_id(
                "review", *occasion.cause, holder.organization, holder.worker, reviewer or ""
            ),
            holder.organization,
            holder.worker,
            reviewer,
            first_choice[reviewer].rule,
            occasion,
            tuple(lines[reviewer]),
        )
        for reviewer in lines
    ]


BY_A_PERSON = frozenset({"exception", "break_glass", "brake_rejection"})
"""Authorizations of one person for one worker; a policy's signatory answers for everybody's."""


def authorizers(holding: Holding) -> tuple[str, ...]:
    """Who authorized an entitlement beyond policy."""
    by = holding.entitlement.authorized_by
    return (by.by,) if by is not None and by.kind in BY_A_PERSON else ()


def duties_behind(
    function: Function, held: Collection[str], job_duties: Iterable[JobDuty]
) -> tuple[str, ...]:
    """Which of the duties `held` call for a function: why a worker has it, or nothing."""
    return tuple(
        sorted(each.id for each in job_duties if each.id in held and function in each.functions)
    )
