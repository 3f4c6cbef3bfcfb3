"""One sheet per departure: what can still be used, whom to tell, and the receipt for HR.

Nothing is called removed before the portal, or a person who looked there, says so.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.provisioning.rules.operations import REMOVES
from shared.contracts.directory import OperationKind, Portal
from shared.contracts.state import OperationStatus
from shared.values import value_class

HOW_KNOWN: Mapping[str, str] = {
    "roster": "seen on the portal's own list",
    "api": "answered by the portal's interface",
    "person": "confirmed by the person who did it",
    "assumed": "assumed, nobody has looked",
}


@value_class(frozen=True, slots=True)
class Notice:
    """That a portal was told of a departure; `proof` is a message id, case number or a name."""

    worker: str
    portal: str
    left_at: datetime
    channel: str
    proof: str
    sent_by: str
    sent_at: datetime


@value_class(frozen=True, slots=True)
class PortalAfterDeparture:
    """One portal on a leaver's sheet. `reachable` until the removal is confirmed. Instants are UTC.

    `grade` is how the removal is known, `notice_due_at` by when the portal must have been told.
    """

    portal: str
    rank: int
    kind: OperationKind
    operation_id: str
    ordered_at: datetime
    deadline: datetime
    reachable: bool
    removed_at: datetime | None
    grade: str | None
    notice_due_at: datetime
    notice: Notice | None


def sheet(
    operations: Iterable[Mapping[str, Any]],
    notices: Iterable[Notice],
    exposed: Iterable[str],
    grades: Mapping[str, str | None],
    *,
    left_at: datetime,
    notice_hours: int,
) -> list[PortalAfterDeparture]:
    """What a departure left to do, in the order of harm.

    Args:
        operations: the leaver's operations as stored, any order; those of earlier departures, and
            those that somebody withdrew, are left out.
        exposed: portals on which something can still be used.
        grades: how the state of each portal is known.
    """
    told = {notice.portal: notice for notice in notices if notice.left_at == left_at}
    still = set(exposed)
    latest: dict[str, Mapping[str, Any]] = {}
    for operation in sorted(operations, key=lambda row: row["requested_at"]):
        if (
            operation["rule"] == "employment_ended"
            and operation["requested_at"] >= left_at
            and operation["status"] != OperationStatus.CANCELLED
            and is_removal(operation["kind"], latest.get(operation["portal"]))
        ):
            latest[operation["portal"]] = operation
    result = []
    for portal, operation in latest.items():
        done = operation["status"] == OperationStatus.DONE
        result.append(
            PortalAfterDeparture(
                portal=portal,
                rank=operation["rank"],
                kind=OperationKind(operation["kind"]),
                operation_id=operation["operation_id"],
                ordered_at=operation["requested_at"],
                deadline=operation["deadline"],
                reachable=portal in still or not done,
                removed_at=operation["ended_at"] if done and portal not in still else None,
                grade=grades.get(portal) if done else None,
                notice_due_at=operation["requested_at"] + timedelta(hours=notice_hours),
                notice=told.get(portal),
            )
        )
    return sorted(result, key=lambda one: (one.rank, one.portal))


def is_removal(kind: str, before: Mapping[str, Any] | None) -> bool:
    """Whether an operation takes a leaver's access; what ends a login that is useless does not.

    Args:
        before: the latest removal that was ordered on the portal, if one was.
    """
    ends = kind == OperationKind.CLOSE
    return kind in REMOVES or (ends and (before is None or before["kind"] == kind))


def draft_notice(
    portal: Portal, *, organization: str, name: str, login_id: str | None, last_day: str
) -> str:
    """A letter to a portal's support that says what has to end; never why somebody left."""
    login = f" (login {login_id})" if login_id else ""
    return (
        f"To {portal.name} user support\n\n"
        f"{name}{login} no longer works for {organization}; the last day was {last_day}."
        " Please end every access this person has to our organization's information with you,"
        " and confirm in writing when it has ended.\n\n"
        f"{organization}, portal administration"
    )


def receipt(
    portals: Iterable[PortalAfterDeparture], names: Mapping[str, str], zone: ZoneInfo
) -> list[str]:
    """What HR is told, a line each: what is gone and how that is known, and what is not."""
    lines = []
    for one in portals:
        name = names.get(one.portal, one.portal)
        if one.removed_at is not None:
            at = one.removed_at.astimezone(zone).strftime("%-d %b %Y %H:%M")
            lines.append(f"{name}: removed {at}, {HOW_KNOWN[one.grade or 'assumed']}")
        else:
            at = one.deadline.astimezone(zone).strftime("%-d %b %Y %H:%M")
            lines.append(f"{name}: STILL OPEN, ordered, due {at}")
    return lines
