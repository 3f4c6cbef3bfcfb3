"""From what a vendor holds of an employee now, and held before, to what HR says happened.

Vendors' webhooks say that something changed; what is fetched afterwards is how it stands. An event
is about what differs from what the same source said last, so that nothing is said twice and a
correction is not mistaken for history.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.contracts.hr import WorkerKind

Statement = tuple[str, Mapping[str, Any]]
"""The type and the data of an HR event."""


NO_TITLE = "No title"
"""What HR has not filled in is asked as a title that nobody mapped, and not passed over."""


class Employee(BaseModel):
    """An employee as a vendor holds them, reduced to what may travel on.

    `ends_on` is the last day worked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker: str
    employment_id: str
    hired_on: date
    ends_on: date | None = None
    on_leave: bool = False
    name: str | None = None
    email: str | None = None
    title: str = NO_TITLE
    department: str | None = None
    sites: tuple[str, ...] = ()
    supervisor: str | None = None
    kind: WorkerKind = "employee"


ATTRIBUTES = ("title", "department", "sites", "supervisor", "kind")
IDENTITY = ("name", "email")


def statements(before: Employee | None, after: Employee, today: date) -> Iterator[Statement]:
    """What to say so that what was said before and this together tell how it stands.

    Args:
        before: what the source said last of this employee; None for somebody new.
        today: the day in the organization's zone, from which changes count.
    """
    if before is None or before.employment_id != after.employment_id:
        yield "worker.hired", _hired(after)
        before = None
    else:
        yield from _changes(before, after, today)
    was_on_leave = before is not None and before.on_leave
    if after.on_leave and not was_on_leave:
        yield "worker.leave_started", _dated(after, today)
    if was_on_leave and not after.on_leave:
        yield "worker.leave_ended", _dated(after, today)
    if after.ends_on is not None and after.ends_on != (before.ends_on if before else None):
        yield "worker.terminated", _dated(after, after.ends_on)


def takes_back_departure(before: Employee | None, after: Employee) -> bool:
    """Whether a departure that was announced is off: the same employment goes on after all."""
    return (
        before is not None
        and before.employment_id == after.employment_id
        and before.ends_on is not None
        and after.ends_on is None
    )


def _hired(employee: Employee) -> dict[str, Any]:
    kept = employee.model_dump(mode="json", exclude_none=True)
    data = {name: kept[name] for name in (*IDENTITY, *ATTRIBUTES) if name in kept}
    return {**_dated(employee, employee.hired_on), **data}


def _changes(before: Employee, after: Employee, today: date) -> Iterator[Statement]:
    said, stands = before.model_dump(mode="json"), after.model_dump(mode="json")
    changed = _differing(said, stands, ATTRIBUTES)
    if changed:
        yield "worker.changed", {**_dated(after, today), **changed}
    corrected = _differing(said, stands, IDENTITY)
    if corrected:
        yield "worker.identity_corrected", {"effective_on": today.isoformat(), **corrected}


def _differing(
    said: Mapping[str, Any], stands: Mapping[str, Any], names: tuple[str, ...]
) -> dict[str, Any]:
    # What a vendor no longer tells is not a change: an API key may have lost sight of a field.
    return {name: stands[name] for name in names if stands[name] and stands[name] != said[name]}


def _dated(employee: Employee, day: date) -> dict[str, Any]:
    return {"employment_id": employee.employment_id, "effective_on": day.isoformat()}
