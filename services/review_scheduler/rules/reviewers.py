"""Who reviews a worker's access: never the holder, never nobody."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from shared.contracts.directory import Administrator
from shared.contracts.review import ReviewerRule

PORTAL: ReviewerRule = "portal_administrator"
ORGANIZATION: ReviewerRule = "organization_administrator"


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
    barred: Collection[str] = (),
) -> Choice:
    """Who reviews `holder`'s access to `portal`: never the holder, never nobody.

    In this order, the first who is present: the supervisor, those above, the portal's
    administrators and their deputies, those of other portals, the queue of review:admin.

    Args:
        today: the calendar day in the organization's zone, for who is appointed.
        barred: worker ids of others who may not, such as whoever authorized the access.
    """
    chain = _line_of_command(identify(holder, people), people)
    named = zip(chain, _chain_rules("supervisor"), strict=False)
    return _first_present(holder, named, portal, people, administrators, today, barred)


def next_reviewer(
    holder: str,
    reviewer: str | None,
    portal: str,
    people: Mapping[str, Person],
    administrators: Iterable[Administrator],
    today: date,
    barred: Collection[str] = (),
) -> Choice:
    """Who is asked after `reviewer` did not answer: those above them, and then as at first."""
    if reviewer is None:
        return Choice(None, "review_admin_queue")
    above = _line_of_command(identify(reviewer, people), people)
    return _first_present(
        holder,
        zip(above, _chain_rules("next_above"), strict=False),
        portal,
        people,
        administrators,
        today,
        {*barred, reviewer},
    )


def above(reviewer: str, holder: str, people: Mapping[str, Person]) -> str | None:
    """The first present person above a reviewer who is not the holder."""
    myself = identify(holder, people)
    for worker in _line_of_command(identify(reviewer, people), people):
        if worker != myself and worker in people and people[worker].present:
            return worker
    return None


def administrators_of(
    portals: Collection[str],
    holder: str,
    people: Mapping[str, Person],
    administrators: Iterable[Administrator],
    today: date,
) -> tuple[str, ...]:
    """Who administers any of the portals and is present, but for the holder; by id."""
    myself = identify(holder, people)
    appointed = {
        identify(each.worker, people)
        for each in in_force(administrators, today)
        if each.portal in portals
    }
    return tuple(sorted(each for each in appointed if each != myself and _is_present(each, people)))


def _chain_rules(first: ReviewerRule) -> Iterator[ReviewerRule]:
    """The rule that names each of a line of command."""
    yield first
    while True:
        yield "next_above"


def _is_present(worker: str, people: Mapping[str, Person]) -> bool:
    return worker in people and people[worker].present


def _first_present(
    holder: str,
    chain: Iterable[tuple[str, ReviewerRule]],
    portal: str,
    people: Mapping[str, Person],
    administrators: Iterable[Administrator],
    today: date,
    barred: Collection[str],
) -> Choice:
    never = {identify(holder, people), *(identify(each, people) for each in barred)}

    def can_review(worker: str) -> bool:
        return worker not in never and _is_present(worker, people)

    for worker, rule in chain:
        if can_review(worker):
            return Choice(worker, rule)
    appointed = in_force(administrators, today)
    for own, rule in ((True, PORTAL), (False, ORGANIZATION)):
        for appointment in appointed:
            if (appointment.portal == portal) is own:
                for each in (appointment.worker, appointment.deputy):
                    if each and can_review(candidate := identify(each, people)):
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
