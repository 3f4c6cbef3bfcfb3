"""Who reviews a worker's access: never the holder, never nobody."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from shared.contracts.directory import Administrator
from shared.contracts.review import ReviewerRule


@dataclass(frozen=True, slots=True)
class Person:
    """What choosing a reviewer needs to know of a worker.

    `present` is false for those who could not decide now: on leave, gone, or not begun.
    `merged_into` is the worker id in use, for an id that no longer is.
    """

    supervisor: str | None
    present: bool
    merged_into: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A reviewer and the rule that named them; None is whoever holds review:admin."""

    reviewer: str | None
    rule: ReviewerRule


def identify(worker: str, people: Mapping[str, Person]) -> str:
    """The worker id in use for a person who may have had others.

    Ids that point at each other, as states of different age may, still name one person: the least.
    """
    path = [worker]
    while (person := people.get(path[-1])) and person.merged_into:
        if person.merged_into in path:
            return min(path[path.index(person.merged_into) :])
        path.append(person.merged_into)
    return path[-1]


def choose_reviewer(
    holder: str,
    portal: str,
    people: Mapping[str, Person],
    administrators: Iterable[Administrator],
    today: date,
) -> Choice:
    """Who reviews `holder`'s access to `portal`: never the holder, never nobody.

    In this order, the first who is present: the supervisor, those above, the portal's
    administrators and their deputies, those of other portals, the queue of review:admin.

    Args:
        today: the calendar day in the organization's zone, for who is appointed.
    """
    myself = identify(holder, people)

    def can_review(worker: str) -> bool:
        return worker != myself and worker in people and people[worker].present

    rule: ReviewerRule = "supervisor"
    for above in _line_of_command(myself, people):
        if can_review(above):
            return Choice(above, rule)
        rule = "next_above"
    appointed = in_force(administrators, today)
    for rule, own in (("portal_administrator", True), ("organization_administrator", False)):
        for appointment in appointed:
            if (appointment.portal == portal) is own:
                for worker in (appointment.worker, appointment.deputy):
                    if worker and can_review(candidate := identify(worker, people)):
                        return Choice(candidate, rule)
    return Choice(None, "review_admin_queue")


def _line_of_command(worker: str, people: Mapping[str, Person]) -> Iterator[str]:
    """The supervisor, theirs, and so on; HR data may go round in circles."""
    seen = {worker}
    while (person := people.get(worker)) and person.supervisor:
        worker = identify(person.supervisor, people)
        if worker in seen:
            return
        seen.add(worker)
        yield worker


def in_force(administrators: Iterable[Administrator], today: date) -> list[Administrator]:
    """The appointments that count on a day, the longest standing first."""
    return sorted(
        (
            each
            for each in administrators
            if each.since <= today and (each.until is None or today <= each.until)
        ),
        key=lambda each: (each.since, each.id),
    )
