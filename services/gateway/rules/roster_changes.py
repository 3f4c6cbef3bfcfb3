"""What one line of HR's list comes to, by what is known: changes, or a question to a person."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from services.gateway.rules.roster_columns import Standing, plain
from services.gateway.rules.roster_reading import Line, LineError
from shared.contracts.state import Employment, WorkerStatus

DATED_KINDS = frozenset({"contractor", "student", "vendor_staff"})
"""Their last day is usually in the contract, and not in a column for departures."""


class Asked(StrEnum):
    """What HR is asked about a worker.

    `missing`: the list no longer names them. `active_again`: they have left, and the list says
    active. `still_leaving`: a last day is known, and the list no longer has it. `still_on_leave`:
    a leave that the source never reported, and the list says active.
    """

    MISSING = "missing"
    ACTIVE_AGAIN = "active_again"
    STILL_LEAVING = "still_leaving"
    STILL_ON_LEAVE = "still_on_leave"


class Kind(StrEnum):
    """What a line of the plan comes to."""

    HIRE = "hire"
    CHANGE = "change"
    LEAVE = "leave"
    RETURN = "return"
    DEPARTURE = "departure"


@dataclass(frozen=True, slots=True)
class Known:
    """A worker as provisioning published them; `worker` is the id in use, after merges."""

    worker: str
    status: WorkerStatus
    name: str | None = None
    email: str | None = None
    npi: str | None = None
    employments: tuple[Employment, ...] = ()

    @property
    def employment(self) -> Employment | None:
        """The one that counts: open or to come, else the last."""
        return max(
            self.employments,
            key=lambda each: (each.open, each.starts_at),
            default=None,
        )

    def is_employed(self, now: datetime) -> bool:
        """Whether an employment is open or to come."""
        return any(each.ends_at is None or each.ends_at > now for each in self.employments)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a plan depends on beside the list itself.

    `said` is what the source's last applied list said of each worker, for those it ever named;
    `answered` the questions that HR has answered; `titles` those that have duties, None where the
    directory is not known. `now` is the instant and `day` the organization's day of the upload.
    """

    now: datetime
    day: date
    zone: ZoneInfo
    known: Mapping[str, Known]
    said: Mapping[str, Standing | None]
    answered: Collection[tuple[str, Asked]]
    titles: Collection[str] | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a line changes: the events that say so, and the reason, which a person can read."""

    kind: Kind
    line: int
    worker: str
    name: str | None
    reason: str
    events: tuple[tuple[str, dict[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Something that only a person can tell. `line` is None where the list lacks the worker."""

    kind: Asked
    worker: str
    name: str | None
    line: int | None
    detail: str


class Names:
    """Finds the supervisor whom a list calls by name instead of id."""

    def __init__(self, lines: Sequence[Line], known: Mapping[str, Known]) -> None:
        self._ids = {line.worker for line in lines} | known.keys()
        self._by_name: dict[str, set[str]] = {}
        for worker, name in (
            *((line.worker, line.name) for line in lines),
            *((worker, each.name) for worker, each in known.items()),
        ):
            if name:
                self._by_name.setdefault(plain(name), set()).add(worker)
        self._unknown: Counter[str] = Counter()

    def supervisor(self, line: Line) -> str | None:
        """Their id; None where nobody, or more than one, is called so."""
        said = line.supervisor
        if said is None:
            return None
        if said in self._ids:
            return said
        parts = [part.strip() for part in said.split(",")]
        name = f"{parts[1]} {parts[0]}" if len(parts) == 2 else said
        found = self._by_name.get(plain(name), set())
        if len(found) != 1:
            self._unknown[said] += 1
            return None
        return next(iter(found))

    def notes(self) -> list[str]:
        """Whom nobody could tell, said once each."""
        return [
            f"{count} {'line names' if count == 1 else 'lines name'} {name!r} as supervisor, who is"
            " nobody here, or several people: left as it was."
            for name, count in sorted(self._unknown.items())
        ]


def standing_of(line: Line, day: date) -> Standing:
    """Where the line says that the worker stands on `day`; days say it where no status does."""
    if line.standing is not None:
        return line.standing
    started = line.rehired_on or line.hired_on
    ended = line.terminated_on
    if ended is not None and ended < day and (started is None or started <= ended):
        return Standing.LEFT
    away = line.leave_from is not None and line.leave_from <= day
    if away and (line.leave_until is None or line.leave_until > day):
        return Standing.LEAVE
    return Standing.ACTIVE


def consequences(
    line: Line, known: Known | None, at: Circumstances, names: Names
) -> Iterator[Change | Question | LineError]:
    """Everything that a line comes to; nothing for who is unchanged, or left before being known."""
    standing = standing_of(line, at.day)
    started = line.rehired_on or line.hired_on
    ended = line.terminated_on
    is_past = ended is not None and ended < at.day and (started is None or started <= ended)
    if is_past and standing is not Standing.LEFT:
        yield LineError(
            line.line,
            None,
            "contradiction",
            f"Line {line.line}: {line.worker} is {line.status or standing}, and their last day"
            f" {ended} is past. Put right whichever is wrong.",
        )
        return
    if known is None or not known.employments:
        if standing is not Standing.LEFT:
            yield from _hire(line, standing, 1, at, names)
        return
    current = known.employment
    assert current is not None
    if not known.is_employed(at.now):
        if standing is not Standing.LEFT:
            yield from _after_departure(line, known, current, standing, at, names)
        return
    if standing is Standing.LEFT:
        yield from _departure(line, current, at)
        return
    yield from _changes(line, known, current, at, names)
    yield from _last_day(line, current, at)
    yield from _leave(line, current, standing, at)


def _hire(
    line: Line, standing: Standing, number: int, at: Circumstances, names: Names
) -> Iterator[Change | LineError]:
    if line.title is None:
        yield LineError(
            line.line,
            None,
            "title_missing",
            f"Line {line.line}: {line.worker} is new and has no title, so no duty can be told.",
        )
        return
    begins = line.rehired_on or line.hired_on or at.day
    employment = f"{line.worker}-{number}"
    hired = _present(
        effective_on=begins,
        employment_id=employment,
        title=line.title,
        department=line.department,
        sites=list(line.sites) or None,
        supervisor=names.supervisor(line),
        kind=line.kind,
        npi=line.npi,
        ends_on=line.ends_on,
        name=line.name,
        email=line.email,
    )
    events = [("worker.hired", hired)]
    if standing is Standing.LEAVE:
        started = _present(effective_on=line.leave_from or at.day, employment_id=employment)
        events.append(("worker.leave_started", started))
    if line.terminated_on is not None and line.terminated_on >= begins:
        ended = _present(effective_on=line.terminated_on, employment_id=employment)
        events.append(("worker.terminated", ended))
    reason = "not known so far" if number == 1 else "back after an earlier employment"
    if not (line.rehired_on or line.hired_on):
        reason += "; the list has no first day, so today's"
    yield Change(Kind.HIRE, line.line, line.worker, line.name, reason, tuple(events))


def _after_departure(
    line: Line,
    known: Known,
    current: Employment,
    standing: Standing,
    at: Circumstances,
    names: Names,
) -> Iterator[Change | Question | LineError]:
    left = _last_day_of(current, at.zone)
    begins = line.rehired_on or line.hired_on
    if left is not None and begins is not None and begins > left:
        yield from _hire(line, standing, len(known.employments) + 1, at, names)
        return
    yield Question(
        Asked.ACTIVE_AGAIN,
        line.worker,
        line.name or known.name,
        line.line,
        f"They left on {left}, and the list says {line.status or standing}. Were they wrongly"
        " entered as gone, or is the list behind?",
    )


def _departure(line: Line, current: Employment, at: Circumstances) -> Iterator[Change]:
    if line.terminated_on is not None and line.terminated_on == _last_day_of(current, at.zone):
        return
    reason = f"status {line.status!r}" if line.status else "a last day that is past"
    ended = _present(
        effective_on=line.terminated_on or at.day,
        employment_id=current.employment_id,
        # A status without a day says that they are gone already.
        immediate=True if line.terminated_on is None else None,
    )
    if line.terminated_on is not None:
        reason += f", last day {line.terminated_on}"
    yield Change(
        Kind.DEPARTURE,
        line.line,
        line.worker,
        line.name,
        reason,
        (("worker.terminated", ended),),
    )


def _changes(
    line: Line, known: Known, current: Employment, at: Circumstances, names: Names
) -> Iterator[Change]:
    events: list[tuple[str, dict[str, Any]]] = []
    told: list[str] = []
    new: dict[str, Any] = {}
    supervisor = names.supervisor(line)
    for what, was, says in (
        ("title", current.title, line.title),
        ("department", current.department, line.department),
        ("sites", sorted(current.sites), sorted(line.sites) or None),
        ("supervisor", current.supervisor, supervisor),
        ("kind", current.kind, line.kind),
    ):
        if says is not None and says != was:
            new[what] = says
            told.append(f"{what} {_shown(was)} to {_shown(says)}")
    if line.ends_on is not None and line.ends_on != _last_day_of(current, at.zone):
        new["ends_on"] = line.ends_on
        told.append(f"ends on {line.ends_on}")
    if new:
        changed = _present(effective_on=at.day, employment_id=current.employment_id, **new)
        events.append(("worker.changed", changed))
    person = {
        what: says
        for what, was, says in (
            ("name", known.name, line.name),
            ("email", known.email, line.email),
            ("npi", known.npi, line.npi),
        )
        if says is not None and says != was
    }
    if person:
        told += [f"{what} corrected" for what in person]
        corrected = _present(effective_on=at.day, **person)
        events.append(("worker.identity_corrected", corrected))
    if events:
        yield Change(Kind.CHANGE, line.line, line.worker, line.name, "; ".join(told), tuple(events))


def _last_day(line: Line, current: Employment, at: Circumstances) -> Iterator[Change]:
    """A dated departure to come: new, or moved."""
    known = _last_day_of(current, at.zone)
    started = line.rehired_on or line.hired_on
    says = line.terminated_on
    if says is not None and started is not None and says < started:
        says = None  # The day belongs to an employment before this one.
    if says is not None and says != known:
        ended = _present(effective_on=says, employment_id=current.employment_id)
        yield Change(
            Kind.DEPARTURE,
            line.line,
            line.worker,
            line.name,
            f"last day {says}" + (f" instead of {known}" if known else ""),
            (("worker.terminated", ended),),
        )


def no_longer_leaving(line: Line, known: Known, at: Circumstances) -> Iterator[Question]:
    """A last day that is known, and that the list does not mention although it could."""
    current = known.employment
    if current is None or not known.is_employed(at.now) or current.kind in DATED_KINDS:
        return
    last = _last_day_of(current, at.zone)
    if last is not None and line.terminated_on is None and line.ends_on is None:
        yield Question(
            Asked.STILL_LEAVING,
            line.worker,
            line.name or known.name,
            line.line,
            f"Their last day is known to be {last}; the list has none. Do they leave?",
        )


def _leave(
    line: Line, current: Employment, standing: Standing, at: Circumstances
) -> Iterator[Change | Question]:
    if standing is Standing.LEAVE and not current.on_leave:
        begins = line.leave_from or at.day
        started = _present(effective_on=begins, employment_id=current.employment_id)
        yield Change(
            Kind.LEAVE,
            line.line,
            line.worker,
            line.name,
            f"on leave from {begins}",
            (("worker.leave_started", started),),
        )
    elif standing is Standing.ACTIVE and current.on_leave:
        if at.said.get(line.worker) is Standing.LEAVE:
            back = line.leave_until or at.day
            ended = _present(effective_on=min(back, at.day), employment_id=current.employment_id)
            yield Change(
                Kind.RETURN,
                line.line,
                line.worker,
                line.name,
                "no longer on leave",
                (("worker.leave_ended", ended),),
            )
        else:
            yield Question(
                Asked.STILL_ON_LEAVE,
                line.worker,
                line.name,
                line.line,
                "They are on leave, which this source never reported; the list says active. Are"
                " they back?",
            )


def _last_day_of(employment: Employment, zone: ZoneInfo) -> date | None:
    """The last day of work, in `zone`; an employment is over at the end of it."""
    if employment.ends_at is None:
        return None
    return (employment.ends_at - timedelta(seconds=1)).astimezone(zone).date()


def _present(**values: Any) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in values.items()
        if value is not None
    }


def _shown(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(value)
    return str(value) if value else "nothing"
