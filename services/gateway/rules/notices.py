"""What people are told of: from an event to a matter, from a matter to those who are told."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from pydantic import TypeAdapter

from shared.contracts.access.decisions import BrakeEngaged, FindingRaised
from shared.contracts.access.operations import OperationOverdue, OperationRequested
from shared.contracts.access.portals import ChoreRequested
from shared.contracts.directory import Administrator, OperationKind
from shared.contracts.review import (
    ReviewAnswered,
    ReviewAsked,
    ReviewEscalated,
    ReviewOpened,
    ReviewReassigned,
    ReviewReminded,
    ReviewRemovalOverdue,
)

URGENT_WITHIN = timedelta(hours=24)
"""A removal with less time than this is somebody who left: it cannot wait for a digest."""

STALE_AFTER = timedelta(days=7)
"""What an event of longer ago asks for has been seen, or is said as overdue."""

TAKES_ACCESS = frozenset(
    {OperationKind.REVOKE, OperationKind.SUSPEND, OperationKind.CLOSE, OperationKind.ROTATE}
)


class Kind(StrEnum):
    """What a matter is. Urgent ones are told until somebody has them, the others at most once."""

    REMOVAL = "removal"
    OVERDUE = "overdue"
    BRAKE = "brake"
    SEALED = "sealed"
    HR_LATE = "hr_late"
    HR_HELD = "hr_held"
    HR_SILENT = "hr_silent"
    HR_SIGNATURES = "hr_signatures"
    HR_DELIVERIES = "hr_deliveries"
    REVIEW_LATE = "review_late"
    REMOVAL_LATE = "removal_late"
    QUESTION = "question"
    ANSWER = "answer"
    OWN_STEP = "own_step"
    REVIEW_REMINDER = "review_reminder"
    HR_QUESTIONS = "hr_questions"
    TITLE = "title"
    WORK = "work"
    REVIEW = "review"


URGENT = frozenset({Kind.REMOVAL, Kind.OVERDUE, Kind.BRAKE, Kind.SEALED})
DIGESTED = frozenset({Kind.HR_QUESTIONS, Kind.TITLE, Kind.WORK, Kind.REVIEW})
"""These wait for the day's digest; the rest is gathered for some minutes."""

SUBJECTS: Mapping[Kind, tuple[str, str]] = {
    Kind.REMOVAL: ("access to remove", "accesses to remove"),
    Kind.OVERDUE: ("task overdue", "tasks overdue"),
    Kind.BRAKE: ("hold to decide on", "holds to decide on"),
    Kind.SEALED: ("sealed entry that cannot be opened", "sealed entries that cannot be opened"),
    Kind.HR_LATE: ("HR list late", "HR lists late"),
    Kind.HR_HELD: ("HR list held until looked at", "HR lists held until looked at"),
    Kind.HR_SILENT: ("HR source silent", "HR sources silent"),
    Kind.HR_SIGNATURES: ("alarm about HR signatures", "alarms about HR signatures"),
    Kind.HR_DELIVERIES: ("HR source with failed deliveries", "HR sources with failed deliveries"),
    Kind.REVIEW_LATE: ("review unanswered", "reviews unanswered"),
    Kind.REMOVAL_LATE: ("reviewed access not gone in time", "reviewed accesses not gone in time"),
    Kind.QUESTION: ("question for you", "questions for you"),
    Kind.ANSWER: ("answer for you", "answers for you"),
    Kind.OWN_STEP: ("step for you", "steps for you"),
    Kind.REVIEW_REMINDER: ("review waiting", "reviews waiting"),
    Kind.HR_QUESTIONS: ("HR source with questions", "HR sources with questions"),
    Kind.TITLE: ("title without a duty", "titles without a duty"),
    Kind.WORK: ("new task", "new tasks"),
    Kind.REVIEW: ("new review", "new reviews"),
}
"""One, and several; a subject line says no more than this, and no name."""


@dataclass(frozen=True, slots=True)
class Matter:
    """Something to tell. `key` is the operation's or review's id, with what is said of it.

    `about` is the worker concerned, who is told nothing of it unless they are in `workers`.
    `portal` stands for its administrators, `to_on_call` for whoever is on call and deputies, and
    `to_hr` for people in HR. Nobody is told before `begins_at` (UTC).
    """

    key: str
    kind: Kind
    path: str
    due_at: datetime | None
    about: str | None = None
    portal: str | None = None
    workers: tuple[str, ...] = ()
    to_on_call: bool = False
    to_hr: bool = False
    begins_at: datetime | None = None

    @property
    def subject(self) -> str:
        """What ends with the operation, review or alarm that it is about."""
        return self.key.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing is left to be told of the operation or review."""

    id: str


Word: TypeAlias = Matter | Ended

_REQUESTED = TypeAdapter(OperationRequested)
_OVERDUE = TypeAdapter(OperationOverdue)
_CHORE = TypeAdapter(ChoreRequested)
_BRAKE = TypeAdapter(BrakeEngaged)
_RAISED = TypeAdapter(FindingRaised)

UNMAPPED_TITLE = "unmapped_title"
"""The rule of provisioning's finding about a title that no duty is mapped to."""

ENDINGS: Mapping[str, str] = {
    **dict.fromkeys(
        ("operation.confirmed", "operation.cancelled", "operation.failed", "operation.declined"),
        "operation_id",
    ),
    **dict.fromkeys(("chore.done", "chore.declined"), "chore_id"),
    **dict.fromkeys(("brake.released", "brake.rejected"), "cause_id"),
    "review.closed": "review_id",
}
"""Types after which nothing is to be told of what their data name so."""


def words_of(type_: str, at: datetime, data: bytes, read: Mapping[str, Any]) -> list[Word]:
    """What an event asks to be told.

    Args:
        at: when it was said.
        data: the event's data, and `read` the same as JSON.

    Raises:
        ValueError: the data are not as the type's contract says.
    """
    if type_ in ENDINGS:
        return [Ended(str(read[ENDINGS[type_]]))]
    match type_:
        case "operation.requested":
            return _ordered(_REQUESTED.validate_json(data))
        case "operation.overdue":
            late = _OVERDUE.validate_json(data)
            return [
                Matter(
                    f"{late.operation_id}/overdue",
                    Kind.OVERDUE,
                    _work(late.operation_id),
                    late.deadline,
                    about=late.worker if late.kind in TAKES_ACCESS else None,
                    portal=late.portal,
                    to_on_call=True,
                )
            ]
        case "chore.requested":
            return _chore(_CHORE.validate_json(data))
        case "finding.raised":
            found = _RAISED.validate_json(data)
            if found.rule != UNMAPPED_TITLE:
                return []
            # Everybody with the title says the same of it, which is told once a day.
            title = f"title:{uuid5(NAMESPACE_URL, found.detail)}"
            return [Matter(f"{title}/{at:%Y-%m-%d}", Kind.TITLE, "/hr", None, to_hr=True)]
        case "brake.engaged":
            cause = _BRAKE.validate_json(data)
            path = f"/brake/{quote(cause.cause_id, safe='')}"
            return [Matter(cause.cause_id, Kind.BRAKE, path, None, to_on_call=True)]
        case _:
            return _of_review(type_, data)


def _chore(chore: ChoreRequested) -> list[Word]:
    """New work for its owner; and, should it not have ended by its deadline, overdue work."""
    owners = (chore.addressed_to,) if chore.addressed_to else ()
    new = Matter(
        chore.chore_id,
        Kind.WORK,
        "/work",
        None,
        about=chore.worker,
        portal=None if owners else chore.portal,
        workers=owners,
    )
    late = replace(
        new,
        key=f"{chore.chore_id}/overdue",
        kind=Kind.OVERDUE,
        due_at=chore.deadline,
        portal=chore.portal,
        to_on_call=True,
        begins_at=chore.deadline,
    )
    return [new, late]


def _ordered(order: OperationRequested) -> list[Word]:
    id_, path = order.operation_id, _work(order.operation_id)
    if order.kind in TAKES_ACCESS:
        urgent = order.deadline - order.requested_at <= URGENT_WITHIN
        return [
            Matter(
                id_,
                Kind.REMOVAL if urgent else Kind.WORK,
                path,
                order.deadline,
                about=order.worker,
                portal=order.portal,
                to_on_call=urgent,
            )
        ]
    found: list[Word] = []
    if any(step.actor == "worker" for step in order.steps):
        own = Matter(f"{id_}/own", Kind.OWN_STEP, "/mine", order.deadline, workers=(order.worker,))
        found.append(own)
    if any(step.actor == "administrator" for step in order.steps):
        found.append(Matter(id_, Kind.WORK, path, order.deadline, portal=order.portal))
    return found


def _of_review(type_: str, data: bytes) -> list[Word]:
    match type_:
        case "review.asked":
            asked = ReviewAsked.model_validate_json(data)
            key = f"{asked.review_id}/asked/{asked.question_id}"
            return [Matter(key, Kind.QUESTION, "/reviews/questions", None, workers=(asked.asked,))]
        case "review.answered":
            answered = ReviewAnswered.model_validate_json(data)
            key = f"{answered.review_id}/answered/{answered.question_id}"
            path = _review(answered.review_id)
            return [Matter(key, Kind.ANSWER, path, None, workers=(answered.asked_by,))]
        case "review.removal_overdue":
            late = ReviewRemovalOverdue.model_validate_json(data)
            asked_for = tuple(each for each in (late.reviewer, late.decided_by) if each)
            return [
                Matter(
                    f"{late.review_id}/removal/{late.line_id}",
                    Kind.REMOVAL_LATE,
                    _review(late.review_id),
                    late.due_at,
                    about=late.worker,
                    portal=late.portal,
                    workers=tuple(dict.fromkeys(asked_for)),
                )
            ]
        case _:
            return _to_answer(type_, data)


def _to_answer(type_: str, data: bytes) -> list[Word]:
    said: ReviewOpened | ReviewReassigned | ReviewReminded | ReviewEscalated
    workers: tuple[str | None, ...]
    match type_:
        case "review.opened":
            said = ReviewOpened.model_validate_json(data)
            key, kind, workers = said.review_id, Kind.REVIEW, (said.reviewer,)
        case "review.reassigned":
            said = ReviewReassigned.model_validate_json(data)
            key, kind, workers = f"{said.review_id}/{said.reviewer}", Kind.REVIEW, (said.reviewer,)
        case "review.reminded":
            said = ReviewReminded.model_validate_json(data)
            key, kind = f"{said.review_id}/reminded/{said.days}", Kind.REVIEW_REMINDER
            workers = said.recipients
        case "review.escalated":
            said = ReviewEscalated.model_validate_json(data)
            key, kind = f"{said.review_id}/escalated/{said.days}", Kind.REVIEW_LATE
            workers = said.recipients
        case _:
            return []
    named = tuple(each for each in workers if each is not None)
    path = _review(said.review_id)
    # Nobody named means whoever holds review:admin, who find it on their page of reviews.
    return [Matter(key, kind, path, said.due_at, about=said.worker, workers=named)] if named else []


def _review(review_id: str) -> str:
    return f"/reviews/{quote(review_id, safe='')}"


def _work(operation_id: str) -> str:
    return f"/work/{quote(operation_id, safe='')}"


@dataclass(frozen=True, slots=True)
class People:
    """Whom the directory appoints, and who does not work here (any more)."""

    administrators: Collection[Administrator] = ()
    on_call: tuple[str, ...] = ()
    hr: tuple[str, ...] = ()
    gone: Collection[str] = field(default_factory=frozenset)


def recipients(matter: Matter, people: People, today: Any) -> list[str]:
    """Who is told, by worker id, sorted: never who is concerned, nor who has left.

    Args:
        today: the day in the organization's zone, for appointments.
    """
    told = set(matter.workers)
    gone = set(people.gone)
    appointed = [
        each
        for each in people.administrators
        if each.since <= today and (each.until is None or today <= each.until)
    ]
    if matter.to_hr:
        told |= (set(people.hr) - gone) or {each.worker for each in appointed}
    if matter.portal is not None:
        for each in appointed:
            if each.portal == matter.portal:
                told.add(each.worker)
                if matter.to_on_call or each.worker in people.gone or each.worker == matter.about:
                    told |= {each.deputy} if each.deputy else set()
    if matter.to_on_call:
        told |= set(people.on_call)
    told -= {matter.about} if matter.about and matter.about not in matter.workers else set()
    told -= gone
    if not told and (matter.portal is not None or matter.to_hr or matter.workers):
        told = set(people.on_call) - gone - {matter.about}
    return sorted(told)


def subject_line(kinds: Iterable[Kind]) -> str:
    """What a message's subject says: how many of what, and never of whom."""
    counted: dict[Kind, int] = {}
    for kind in kinds:
        counted[kind] = counted.get(kind, 0) + 1
    parts = [
        f"{counted[kind]} {SUBJECTS[kind][counted[kind] > 1]}" for kind in Kind if kind in counted
    ]
    return f"Portalkeeper: {', '.join(parts)}"
