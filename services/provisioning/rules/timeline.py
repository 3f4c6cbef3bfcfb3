"""The fold: from the set of a worker's events and an instant to the worker's state.

State depends on the set of events and the instant, never on arrival order: events are compared by
what they say and when their source recorded it. The fold is total: whatever looks odd is a finding.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from shared.contracts.hr import end_of_day, start_of_day
from shared.contracts.state import Employment, Finding, Training, WorkerStatus
from shared.values import value_class

JOB_FIELDS = ("title", "department", "sites", "supervisor", "kind", "ends_on")
PLACE_FIELDS = ("title", "sites")
"""What decides about job duties and where they are done: who changes these has moved."""

PERSON_FIELDS = ("name", "email", "npi")


@value_class(frozen=True, slots=True)
class TimelineEvent:
    """A stored HR event. `effective_at` was resolved in the organization's zone when it arrived.

    `data` is the canonical JSON body. `conflicting`: another event has the same source and id.
    """

    worker: str
    source: str
    id: str
    fingerprint: bytes
    type: str
    time: datetime
    effective_at: datetime | None
    data: dict[str, Any]
    entered_by: str | None = None
    conflicting: bool = False

    @property
    def order(self) -> tuple[datetime, str, str, bytes]:
        """The total order of events; "latest recorded" means greatest by this."""
        return (self.time, self.source, self.id, self.fingerprint)


@value_class(frozen=True, slots=True)
class Person:
    """The worker ids that in-force merges make one person. `worker` is the id in use."""

    worker: str
    aliases: tuple[str, ...]
    events: tuple[TimelineEvent, ...]


@value_class(frozen=True, slots=True)
class Folded:
    """A worker's state at an instant.

    `ended_at` is when the last employment ended; `leaves_at` when all known employment will have
    ended, if that is dated, with whether that exit was voluntary. `next_change_at` is the earliest
    dated input strictly after the instant.
    """

    worker: str
    aliases: tuple[str, ...]
    status: WorkerStatus
    name: str | None
    email: str | None
    npi: str | None
    employments: tuple[Employment, ...]
    training: tuple[Training, ...]
    findings: tuple[Finding, ...]
    termination_in_effect: bool
    ended_at: datetime | None
    leaves_at: datetime | None
    leaves_voluntarily: bool
    next_change_at: datetime | None

    @property
    def open_employments(self) -> tuple[Employment, ...]:
        """The employments that are going on, including those on leave."""
        return tuple(employment for employment in self.employments if employment.open)


def in_force(events: Sequence[TimelineEvent]) -> tuple[set[int], list[Finding]]:
    """Positions of the events that no rescind in force cancels, and what is odd about rescinds.

    A rescind counts for the same worker id, from the same source or entered by a person who is not
    the worker. Rescinds of rescinds form a graph; the members of a cycle are void.
    """
    rescinds = [n for n, event in enumerate(events) if event.type == "worker.rescinded"]
    if not rescinds:
        return set(range(len(events))), []
    findings = []
    by_name: dict[tuple[str, str], list[int]] = {}
    for number, event in enumerate(events):
        by_name.setdefault((event.worker, event.id), []).append(number)
    cancels: dict[int, list[int]] = {}
    cancelled_by: dict[int, list[int]] = {}
    for number in rescinds:
        rescind = events[number]
        by_hand = rescind.entered_by is not None and rescind.entered_by != rescind.worker
        targets = [
            other
            for other in by_name.get((rescind.worker, str(rescind.data["rescinds"])), [])
            if by_hand or events[other].source == rescind.source
        ]
        if not targets:
            findings.append(
                Finding("rescinds_nothing", f"{rescind.id} withdraws an event nobody sent (yet)")
            )
        cancels[number] = targets
        for other in targets:
            cancelled_by.setdefault(other, []).append(number)
    void = {number for number in rescinds if _reaches(number, number, cancels)}
    for number in sorted(void):
        findings.append(
            Finding("rescind_cycle", f"{events[number].id} is part of a circle of withdrawals")
        )
    verdict: dict[int, bool] = dict.fromkeys(void, False)
    for number in range(len(events)):
        _settle(number, cancelled_by, verdict)
    return {number for number, stands in verdict.items() if stands}, findings


def _reaches(start: int, goal: int, cancels: dict[int, list[int]]) -> bool:
    seen: set[int] = set()
    stack = list(cancels[start])
    while stack:
        number = stack.pop()
        if number == goal:
            return True
        if number not in seen:
            seen.add(number)
            stack.extend(cancels.get(number, ()))
    return False


def _settle(number: int, cancelled_by: dict[int, list[int]], verdict: dict[int, bool]) -> None:
    """Decide one event after everything that may cancel it; iterative, chains may be long."""
    stack = [number]
    while stack:
        current = stack[-1]
        if current in verdict:
            stack.pop()
            continue
        waiting = [other for other in cancelled_by.get(current, ()) if other not in verdict]
        if waiting:
            stack.extend(waiting)
            continue
        verdict[current] = not any(verdict[other] for other in cancelled_by.get(current, ()))
        stack.pop()


def people(workers: Iterable[str], events: Sequence[TimelineEvent]) -> list[Person]:
    """Group worker ids, with their events, into persons by the merges in force."""
    ids = set(workers) | {event.worker for event in events}
    merges: list[tuple[str, str]] = []
    if any(event.type == "worker.merged" for event in events):
        standing, _ = in_force(events)
        merges = [
            (str(events[n].data["previous_worker_id"]), events[n].worker)
            for n in sorted(standing)
            if events[n].type == "worker.merged"
        ]
        ids.update(previous for previous, _ in merges)
    group = {worker: worker for worker in ids}

    def find(worker: str) -> str:
        while group[worker] != worker:
            group[worker] = group[group[worker]]
            worker = group[worker]
        return worker

    for previous, current in merges:
        group[find(previous)] = find(current)
    replaced = {previous for previous, _ in merges}
    members: dict[str, list[str]] = {}
    for worker in sorted(ids):
        members.setdefault(find(worker), []).append(worker)
    by_worker: dict[str, list[TimelineEvent]] = {}
    for event in events:
        by_worker.setdefault(event.worker, []).append(event)
    result = []
    for aliases in members.values():
        in_use = [worker for worker in aliases if worker not in replaced] or aliases
        own = sorted(
            (event for worker in aliases for event in by_worker.get(worker, ())),
            key=lambda event: event.order,
        )
        result.append(Person(in_use[0], tuple(aliases), tuple(own)))
    return sorted(result, key=lambda person: person.worker)


def fold(person: Person, as_of: datetime, zone: ZoneInfo) -> Folded:
    """The state of a person at `as_of` (UTC). Never raises for stored events."""
    standing, findings = in_force(person.events)
    events = [event for number, event in enumerate(person.events) if number in standing]
    for event in person.events:
        if event.conflicting:
            findings.append(
                Finding("conflicting_event", f"{event.source} sent {event.id} with other content")
            )
    later = _Later(as_of)
    for event in events:
        later.note(event.effective_at)
    attributes = _person_attributes(events, as_of)
    employments, exits, odd = _employments(events, as_of, zone, later)
    findings.extend(odd)
    training = _training(events, as_of, zone, later)
    terminations = [leaves for leaves, _ in exits.values() if leaves is not None]
    ended = [leaves for leaves in terminations if leaves <= as_of]
    erased = any(event.type == "worker.erased" for event in person.events)
    leaves_at, voluntary = None, True
    if exits and all(leaves is not None for leaves, _ in exits.values()):
        leaves_at, voluntary = max((leaves, wish) for leaves, wish in exits.values() if leaves)
    return Folded(
        worker=person.worker,
        aliases=tuple(alias for alias in person.aliases if alias != person.worker),
        status=_status(employments, as_of, erased=erased),
        name=None if erased else attributes.get("name"),
        email=None if erased else attributes.get("email"),
        npi=None if erased else attributes.get("npi"),
        employments=() if erased else tuple(employments),
        training=() if erased else tuple(training),
        findings=tuple(dict.fromkeys(findings)),
        termination_in_effect=any(
            event.type == "worker.terminated"
            and event.effective_at is not None
            and event.effective_at <= as_of
            for event in events
        ),
        ended_at=max(ended, default=None),
        leaves_at=leaves_at,
        leaves_voluntarily=voluntary,
        next_change_at=later.earliest,
    )


class _Later:
    """Remembers the earliest instant strictly after the one folded for."""

    def __init__(self, as_of: datetime) -> None:
        self._as_of = as_of
        self.earliest: datetime | None = None

    def note(self, instant: datetime | None) -> None:
        if (
            instant is not None
            and instant > self._as_of
            and (self.earliest is None or instant < self.earliest)
        ):
            self.earliest = instant


def _value_in_force(statements: Iterable[tuple[datetime, Any]], as_of: datetime) -> Any | None:
    """Of (effective, value) in order of recording: the latest date not after `as_of` wins."""
    best: tuple[datetime, Any] | None = None
    for effective, value in statements:
        if effective <= as_of and (best is None or effective >= best[0]):
            best = (effective, value)
    return None if best is None else best[1]


def _value_before(statements: Iterable[tuple[datetime, Any]], instant: datetime) -> Any | None:
    """The value in force just before `instant`."""
    return _value_in_force([said for said in statements if said[0] < instant], instant)


def _moved_at(
    attributes: Mapping[str, Sequence[tuple[datetime, Any]]], as_of: datetime
) -> datetime | None:
    """The latest instant not after `as_of` at which title or sites became something else."""
    instants = {
        effective
        for name in PLACE_FIELDS
        if len(attributes.get(name, ())) > 1
        for effective, _ in attributes[name]
        if effective <= as_of
    }
    for instant in sorted(instants, reverse=True):
        for name in PLACE_FIELDS:
            own = attributes.get(name, ())
            before = _value_before(own, instant)
            if before is not None and before != _value_in_force(own, instant):
                return instant
    return None


def _person_attributes(events: Sequence[TimelineEvent], as_of: datetime) -> dict[str, Any]:
    statements: dict[str, list[tuple[datetime, Any]]] = {}
    for event in events:
        if event.type in ("worker.hired", "worker.identity_corrected") and event.effective_at:
            for name in PERSON_FIELDS:
                if name in event.data:
                    statements.setdefault(name, []).append((event.effective_at, event.data[name]))
    # Who a person is does not wait for the first day of work.
    return {
        name: _value_in_force(said, max(as_of, min(effective for effective, _ in said)))
        for name, said in statements.items()
    }


def _employments(
    events: Sequence[TimelineEvent], as_of: datetime, zone: ZoneInfo, later: _Later
) -> tuple[list[Employment], dict[str, tuple[datetime | None, bool]], list[Finding]]:
    """Employments, each one's (end, voluntary), and oddities; events are in order of recording."""
    hires: dict[str, TimelineEvent] = {}
    exits: dict[str, TimelineEvent] = {}
    attributes: dict[str, dict[str, list[tuple[datetime, Any]]]] = {}
    leaves: dict[str, list[tuple[datetime, bool]]] = {}
    for event in events:
        employment_id = event.data.get("employment_id")
        if employment_id is None or event.effective_at is None:
            continue
        if event.type == "worker.hired":
            hires[employment_id] = event
        elif event.type == "worker.terminated":
            exits[employment_id] = event
        elif event.type == "worker.leave_started":
            leaves.setdefault(employment_id, []).append((event.effective_at, True))
        elif event.type == "worker.leave_ended":
            leaves.setdefault(employment_id, []).append((event.effective_at, False))
        if event.type in ("worker.hired", "worker.changed"):
            own = attributes.setdefault(employment_id, {})
            for name in JOB_FIELDS:
                if name in event.data:
                    own.setdefault(name, []).append((event.effective_at, event.data[name]))
    findings = [
        Finding("termination_without_hire", f"employment {employment_id} was never begun here")
        for employment_id in sorted(exits.keys() - hires.keys())
    ]
    result = []
    ends: dict[str, tuple[datetime | None, bool]] = {}
    for employment_id, hire in sorted(hires.items()):
        starts_at = hire.effective_at
        assert starts_at is not None
        own = attributes[employment_id]
        values = {
            name: _value_in_force(own.get(name, ()), max(as_of, starts_at)) for name in JOB_FIELDS
        }
        ends_at, voluntary = _end(exits.get(employment_id), values["ends_on"], zone)
        later.note(ends_at)
        ends[employment_id] = (ends_at, voluntary)
        if ends_at is not None and ends_at <= starts_at:
            findings.append(
                Finding("employment_never_began", f"employment {employment_id} ends as it starts")
            )
        leave_since = _leave_since(leaves.get(employment_id, ()), as_of)
        is_open = starts_at <= as_of and (ends_at is None or as_of < ends_at)
        moved_at = _moved_at(own, as_of) if is_open else None
        before = (
            {}
            if moved_at is None
            else {name: _value_before(own.get(name, ()), moved_at) for name in PLACE_FIELDS}
        )
        result.append(
            Employment(
                employment_id=employment_id,
                title=values["title"],
                department=values["department"],
                sites=tuple(values["sites"] or ()),
                supervisor=values["supervisor"],
                kind=values["kind"] or "employee",
                starts_at=starts_at,
                ends_at=ends_at,
                open=is_open,
                on_leave=is_open and leave_since is not None,
                leave_since=leave_since if is_open else None,
                moved_at=moved_at,
                previous_title=before.get("title"),
                previous_sites=tuple(before.get("sites") or ()),
            )
        )
    return result, ends, findings


def _end(
    termination: TimelineEvent | None, ends_on: str | None, zone: ZoneInfo
) -> tuple[datetime | None, bool]:
    """The instant from which an employment is over, and whether the exit was voluntary."""
    ends_at, voluntary = None, True
    if ends_on is not None:
        ends_at = end_of_day(date.fromisoformat(ends_on), zone)
    if termination is not None and termination.effective_at is not None:
        if ends_at is None or termination.effective_at <= ends_at:
            voluntary = bool(termination.data.get("voluntary", True)) and not termination.data.get(
                "immediate", False
            )
        ends_at = (
            termination.effective_at if ends_at is None else min(ends_at, termination.effective_at)
        )
    return ends_at, voluntary


def _leave_since(marks: Iterable[tuple[datetime, bool]], as_of: datetime) -> datetime | None:
    """When the leave in effect began; of marks with one date the latest recorded counts."""
    last: tuple[datetime, bool] | None = None
    for effective, starts in marks:
        if effective <= as_of and (last is None or effective >= last[0]):
            last = (effective, starts)
    return last[0] if last is not None and last[1] else None


def _training(
    events: Sequence[TimelineEvent], as_of: datetime, zone: ZoneInfo, later: _Later
) -> list[Training]:
    """Each module's latest-dated statement that has come into effect."""
    latest: dict[str, tuple[datetime, TimelineEvent]] = {}
    for event in events:
        if event.type == "worker.training_completed":
            day = event.data["completed_on"]
        elif event.type == "worker.training_expired":
            day = event.data["expired_on"]
        else:
            continue
        at = start_of_day(date.fromisoformat(day), zone)
        later.note(at)
        module = event.data["module"]
        if at <= as_of and (module not in latest or at >= latest[module][0]):
            latest[module] = (at, event)
    result = []
    for module, (_, event) in sorted(latest.items()):
        if event.type == "worker.training_expired":
            result.append(
                Training(module, "", None, date.fromisoformat(event.data["expired_on"]), False)
            )
            continue
        expires_on = (
            date.fromisoformat(event.data["expires_on"]) if "expires_on" in event.data else None
        )
        over = None if expires_on is None else end_of_day(expires_on, zone)
        later.note(over)
        result.append(
            Training(
                module,
                event.data.get("version", "1"),
                date.fromisoformat(event.data["completed_on"]),
                expires_on,
                over is None or as_of < over,
            )
        )
    return result


def _status(employments: Sequence[Employment], as_of: datetime, *, erased: bool) -> WorkerStatus:
    if erased:
        return WorkerStatus.ERASED
    going_on = [employment for employment in employments if employment.open]
    if going_on:
        away = all(employment.on_leave for employment in going_on)
        return WorkerStatus.ON_LEAVE if away else WorkerStatus.ACTIVE
    if any(employment.starts_at <= as_of for employment in employments):
        return WorkerStatus.TERMINATED
    if any(
        employment.ends_at is None or employment.starts_at < employment.ends_at
        for employment in employments
    ):
        return WorkerStatus.EXPECTED
    return WorkerStatus.TERMINATED if employments else WorkerStatus.UNKNOWN
