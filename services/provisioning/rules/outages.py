"""Portals that do not work, and what people report of them. Deadlines there stand still."""

from datetime import datetime
from enum import StrEnum

from services.provisioning.rules.operations import Operation
from shared.values import value_class


class Trouble(StrEnum):
    """What is wrong with a portal, or with one person's way in."""

    DOWN = "down"
    LOGIN_LOOP = "login_loop"
    CREDENTIAL_EXPIRED = "credential_expired"
    LOCKED_OUT = "locked_out"
    FUNCTION_MISSING = "function_missing"
    OTHER = "other"


@value_class(frozen=True, slots=True)
class Outage:
    """A portal that does not work, from when until when (UTC); one at a time per portal."""

    outage_id: str
    portal: str
    kind: Trouble
    note: str
    started_by: str
    started_at: datetime
    ended_by: str | None = None
    ended_at: datetime | None = None


@value_class(frozen=True, slots=True)
class Incident:
    """That somebody could not work on a portal. `worker` is whose login it is about."""

    incident_id: str
    portal: str
    worker: str | None
    kind: Trouble
    note: str
    reported_by: str
    reported_at: datetime


def postponed(operation: Operation, started_at: datetime, ended_at: datetime) -> datetime:
    """The deadline of work on a portal after an outage: later by as long as it stood still.

    What was overdue before stays so, and what was ordered meanwhile lost less time.
    """
    if operation.overdue or operation.deadline <= started_at:
        return operation.deadline
    return operation.deadline + (ended_at - max(started_at, operation.requested_at))
