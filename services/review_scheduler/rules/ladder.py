"""Who is told of a review that waits for an answer, and what follows when none comes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from services.review_scheduler.rules.calendar import BusinessCalendar
from services.review_scheduler.rules.reviewers import Person, above, administrators_of
from shared.contracts.directory import Administrator
from shared.contracts.review_policy import NoAnswer, ReviewPolicy, Rung

ESCALATIONS_MAX = 5
"""Whoever is asked after so many is holders of review:admin: HR data may go round in circles."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A review that waits for an answer.

    `rung` is the one that was told last; `portals` are those of its undecided lines, `barred` who
    authorized the access they are about, and `declined` who said that it is not theirs.
    """

    review_id: UUID
    organization: str
    worker: str
    campaign_id: UUID | None
    reviewer: str | None
    due_at: datetime
    no_answer: NoAnswer
    rung: int | None
    escalations: int
    expired_at: datetime | None
    undecided: int
    portals: tuple[str, ...]
    barred: tuple[str, ...]
    declined: tuple[str, ...] = ()


def passed_rung(
    due_at: datetime, policy: ReviewPolicy, calendar: BusinessCalendar, now: datetime
) -> int | None:
    """The last rung that lies behind already: nobody is told of it when a review begins late."""
    behind = [each.days for each in policy.ladder if calendar.rung_at(due_at, each.days) <= now]
    return max(behind, default=None)


def current_rung(
    review: Pending, policy: ReviewPolicy, calendar: BusinessCalendar, now: datetime
) -> Rung | None:
    """The rung to tell now; of several that have come, only the last."""
    come = [
        each
        for each in policy.ladder
        if (review.rung is None or each.days > review.rung)
        and calendar.rung_at(review.due_at, each.days) <= now
    ]
    return come[-1] if come else None


def next_step_at(
    due_at: datetime,
    *,
    expired: bool,
    policy: ReviewPolicy,
    calendar: BusinessCalendar,
    now: datetime,
) -> datetime | None:
    """The first instant after `now` at which something follows by itself; None if nothing does."""
    instants = [calendar.rung_at(due_at, each.days) for each in policy.ladder]
    if not expired:
        instants.append(due_at)
    return min((each for each in instants if each > now), default=None)


def recipients(
    rung: Rung,
    review: Pending,
    people: Mapping[str, Person],
    administrators: tuple[Administrator, ...],
    delegates: tuple[str, ...],
    today: date,
) -> tuple[str, ...]:
    """The worker ids to tell; nobody named means whoever holds review:admin.

    Args:
        delegates: who may decide in the reviewer's place today.
    """
    if rung.tell == "reviewer" and review.reviewer is not None:
        return (review.reviewer, *delegates)
    if rung.tell == "above_reviewer" and review.reviewer is not None:
        higher = above(review.reviewer, review.worker, people)
        return () if higher is None else (higher,)
    if rung.tell == "portal_administrator":
        return administrators_of(review.portals, review.worker, people, administrators, today)
    return ()


def cause_of(review: Pending, calendar: BusinessCalendar) -> str:
    """The cause under which what expires is judged by the brake: a campaign's day, or a review."""
    if review.campaign_id is None:
        return f"review-{review.review_id}"
    return f"campaign-{review.campaign_id}-{calendar.due_day(review.due_at)}"


def campaign_of(cause: str) -> UUID:
    """The campaign of a cause that names one."""
    kind = "campaign-"
    return UUID(cause.removeprefix(kind)[: len(str(UUID(int=0)))])


def never_asked(review: Pending, policy: ReviewPolicy) -> tuple[str, ...]:
    """Who is not asked about a review, besides its holder."""
    barred = () if policy.authorizer_may_review else review.barred
    return (*barred, *review.declined)
