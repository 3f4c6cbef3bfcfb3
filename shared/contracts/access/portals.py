"""What happens with portals as a whole: outages, enrolments, and work that changes no access."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Literal

from shared.contracts.access.evidence import Evidence
from shared.contracts.state import ChoreKind, ChoreStatus
from shared.values import value_class


@value_class(frozen=True, slots=True)
class NoticeSent:
    """A portal was told that somebody has left; `proof` is what shows it. Never says why."""

    worker: str
    portal: str
    left_at: datetime
    channel: Literal["email", "phone", "portal", "letter"]
    proof: str
    sent_by: str
    sent_at: datetime


@value_class(frozen=True, slots=True)
class OutageStarted:
    """Somebody declared that a portal does not work; deadlines of work there stand still."""

    outage_id: str
    portal: str
    kind: str
    note: str
    started_by: str
    started_at: datetime


@value_class(frozen=True, slots=True)
class OutageEnded:
    """The portal works again. `catch_up` are the operations whose deadlines got the time back.

    `deadlines` says of each until when it now has time.
    """

    outage_id: str
    portal: str
    started_at: datetime
    ended_at: datetime
    ended_by: str
    catch_up: tuple[str, ...]
    deadlines: Mapping[str, datetime] = field(default_factory=dict)


@value_class(frozen=True, slots=True)
class IncidentReported:
    """Somebody cannot work on a portal: down, login loop, credential expired, locked out, ..."""

    incident_id: str
    portal: str
    kind: str
    worker: str | None
    note: str
    reported_by: str


EnrolmentPhase = Literal["registration", "carrier_mapping", "user_provisioning", "training"]
EnrolmentStatus = Literal["waiting", "working", "submitted", "returned", "cleared"]


@value_class(frozen=True, slots=True)
class EnrolmentMoved:
    """A phase of the organization's own enrolment on a portal was taken on; `note` in words.

    The key is organization/portal.
    """

    enrolment: str
    portal: str
    tin: str
    phase: EnrolmentPhase
    previous_status: EnrolmentStatus
    status: EnrolmentStatus
    move: Literal["begin", "submit", "return", "clear", "reopen"]
    by: str
    at: datetime
    note: str | None


@value_class(frozen=True, slots=True)
class EnrolmentItemTicked:
    """An item of a phase's checklist was ticked, or its tick was taken away.

    The key is organization/portal.
    """

    enrolment: str
    portal: str
    tin: str
    phase: EnrolmentPhase
    item: str
    done: bool
    by: str
    at: datetime


@value_class(frozen=True, slots=True)
class EnrolmentAssigned:
    """Somebody sees a phase of an enrolment through from now on; without `owner`, nobody named.

    The key is organization/portal.
    """

    enrolment: str
    portal: str
    tin: str
    phase: EnrolmentPhase
    owner: str | None
    by: str
    at: datetime


@value_class(frozen=True, slots=True)
class ChoreData:
    """A chore as it is after what the event says: work that changes nobody's access.

    `worker` is whom it concerns, if anybody; `details` says the same as `text` for programs.
    """

    chore_id: str
    kind: ChoreKind
    portal: str
    worker: str | None
    text: str
    details: Mapping[str, str]
    addressed_to: str | None
    status: ChoreStatus
    requested_by: str
    requested_at: datetime
    deadline: datetime
    claimed_by: str | None


@value_class(frozen=True, slots=True)
class ChoreRequested(ChoreData):
    """Somebody, or a recurring need, asked for it."""


@value_class(frozen=True, slots=True)
class ChoreSaid(ChoreData):
    """What somebody said about a chore."""

    by: str
    evidence: Evidence | None
    reason_given: str | None


@value_class(frozen=True, slots=True)
class ChoreClaimed(ChoreSaid):
    """Somebody took it on."""


@value_class(frozen=True, slots=True)
class ChoreReleased(ChoreSaid):
    """Whoever had claimed it gave it back."""


@value_class(frozen=True, slots=True)
class ChoreDone(ChoreSaid):
    """It was done; `evidence` shows it."""


@value_class(frozen=True, slots=True)
class ChoreDeclined(ChoreSaid):
    """It will not be done; `reason_given` says why."""
