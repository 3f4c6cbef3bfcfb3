"""What provisioning says on `portal.access-events.v1`: orders, confirmed facts, and what is amiss.

The key is organization/worker and the subject is the worker id in use; `worker` in the data is the
id whose account it is, which differs after a merge. `gap.accepted` is about the organization and
has its key. An order is no fact about a portal: only `operation.confirmed` and what follows from it
(`account.*`, `entitlement.*`) say that a portal has changed. Instants are UTC.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.contracts.directory import Function, OperationKind, Step
from shared.contracts.state import (
    AccountKnown,
    AccountStatus,
    AuthorizedBy,
    ChoreKind,
    ChoreStatus,
    ExceptionStatus,
    Grade,
    OperationStatus,
)
from shared.values import value_class

Right = tuple[str, Function]
"""(TIN, function) on the portal that the event names."""


class Evidence(BaseModel):
    """What shows that work was done: a confirmation number, a roster line, or a note in words."""

    model_config = ConfigDict(frozen=True)

    kind: str
    text: str


@value_class(frozen=True, slots=True)
class Reason:
    """Why an operation was ordered: the named rule, and ids of the events that brought it about."""

    rule: str
    events: tuple[str, ...]


@value_class(frozen=True, slots=True)
class OperationData:
    """An operation as it is after what the event says.

    `tin` and `function` name one entitlement; without a `tin` it is about the whole account.
    `rights` are what an open, resume or grant will give, and `authorized_by` answers for them.
    `generation` counts the operations on the same target.
    """

    operation_id: str
    worker: str
    portal: str
    kind: OperationKind
    tin: str | None
    function: Function | None
    generation: int
    status: OperationStatus
    rights: tuple[Right, ...]
    authorized_by: AuthorizedBy | None
    reason: Reason
    requested_at: datetime
    deadline: datetime
    claimed_by: str | None


@value_class(frozen=True, slots=True)
class OperationRequested(OperationData):
    """A change of a portal was ordered: by which steps, and how it ranks by harm (lowest first)."""

    steps: tuple[Step, ...] = ()
    rank: int = 50


@value_class(frozen=True, slots=True)
class OperationOverdue(OperationData):
    """The deadline passed and the operation has not ended; said once."""


@value_class(frozen=True, slots=True)
class OperationCancelled(OperationData):
    """It is not wanted any more and was withdrawn: unclaimed, or superseded until its deadline."""

    previous_status: OperationStatus
    transition: Literal["cancel"]


@value_class(frozen=True, slots=True)
class OperationSuperseded(OperationData):
    """It is not wanted any more, but somebody had claimed it: it still has to end."""

    previous_status: OperationStatus
    transition: Literal["supersede"]


@value_class(frozen=True, slots=True)
class OperationClaimed(OperationData):
    """Somebody took it on (`claim`), or it is wanted again before it ended (`reinstate`).

    `by`, a person's id or a connector's name, and `grade` are absent for `reinstate`: nobody said
    anything; `claimed_by` has whoever had claimed it.
    """

    previous_status: OperationStatus
    transition: Literal["claim", "reinstate"]
    by: str | None = None
    grade: Grade | None = None
    evidence: Evidence | None = None
    reason_given: str | None = None


@value_class(frozen=True, slots=True)
class OperationSaid(OperationData):
    """What somebody said about an operation.

    `by` is a person's id or a connector's name, `grade` how good their word is; `reason_given` are
    their words, where they gave any.
    """

    previous_status: OperationStatus
    transition: str
    by: str
    grade: Grade
    evidence: Evidence | None
    reason_given: str | None


@value_class(frozen=True, slots=True)
class OperationReleased(OperationSaid):
    """Whoever had claimed it gave it back."""

    transition: Literal["release"]


@value_class(frozen=True, slots=True)
class OperationConfirmed(OperationSaid):
    """It was done at the portal; also said of one that was cancelled, failed or declined before.

    `account` is all that is known of the account from here on. `so_since` is since when it is so,
    where a list shows it that is older than what is said here. `retry_at` is set where the same
    may be asked again after all: when a successor was named and the directory still lacks one.
    """

    transition: Literal["done"]
    account: AccountKnown | None = None
    retry_at: datetime | None = None
    so_since: datetime | None = None


@value_class(frozen=True, slots=True)
class OperationFailed(OperationSaid):
    """It could not be done. A removal is ordered again at once, anything else at `retry_at`."""

    transition: Literal["fail"]
    retry_at: datetime | None = None


@value_class(frozen=True, slots=True)
class OperationDeclined(OperationSaid):
    """Somebody will not do it. A removal is ordered again at once, anything else at `retry_at`."""

    transition: Literal["decline"]
    retry_at: datetime | None = None


@value_class(frozen=True, slots=True)
class OperationStepDone:
    """One step was ticked. `step` counts from 0; `actor` is whose step it was, `by` who did it."""

    operation_id: str
    portal: str
    step: int
    actor: Literal["worker", "administrator", "portal"]
    by: str


@value_class(frozen=True, slots=True)
class AccountFact:
    """A confirmed fact about an account. `login_id` is absent while nobody has told it."""

    worker: str
    portal: str
    operation_id: str
    grade: Grade
    confirmed_by: str
    confirmed_at: datetime
    login_id: str | None


@value_class(frozen=True, slots=True)
class AccountOpened(AccountFact):
    """The account exists and works."""


@value_class(frozen=True, slots=True)
class AccountSuspended(AccountFact):
    """The account does not work any more, and could be resumed."""


@value_class(frozen=True, slots=True)
class AccountResumed(AccountFact):
    """The account works again."""


@value_class(frozen=True, slots=True)
class AccountClosed(AccountFact):
    """The account was ended for good at the portal: done so, or no list of its has it any more."""


@value_class(frozen=True, slots=True)
class AccountRotated(AccountFact):
    """What a login that several people know is opened with was changed: `worker` lost it."""


@value_class(frozen=True, slots=True)
class AccountLapsed(AccountFact):
    """The portal itself switched it off; `operation_id` is the roster that shows it."""


@value_class(frozen=True, slots=True)
class AccountAdopted:
    """A login that existed before, taken over from a sheet: nobody has verified it.

    `as_of` is when the sheet was right, `valid_from` and `valid_until` what it says of the login's
    own time. `account` is what is known of it now; it is absent where something better was known.
    """

    worker: str
    portal: str
    adoption_id: str
    login_id: str | None
    status: AccountStatus
    rights: tuple[Right, ...]
    authorized_by: AuthorizedBy
    as_of: datetime
    valid_from: datetime | None
    valid_until: datetime | None
    file_sha256: str
    line: int
    matched_by: str
    account: AccountKnown | None


@value_class(frozen=True, slots=True)
class AccountSeen:
    """What a portal's user list shows of a login, where that is news.

    `line` is absent where the list lacks the login.

    `account` is what is known now, by the list and by what was known better.
    """

    worker: str
    portal: str
    roster_id: str
    line: int | None
    as_of: datetime
    imported_by: str
    account: AccountKnown


@value_class(frozen=True, slots=True)
class RosterImported:
    """A portal's user list was compared with what was known; `counts` says what came of it."""

    portal: str
    roster_id: str
    plan: str
    as_of: datetime
    complete: bool
    file_sha256: str
    file_name: str
    imported_by: str
    counts: Mapping[str, int]


@value_class(frozen=True, slots=True)
class PortalReconciled:
    """Its first whole user list was compared: the portal is not observe-only any more."""

    portal: str
    roster_id: str
    as_of: datetime
    reconciled_by: str


@value_class(frozen=True, slots=True)
class EntitlementFact:
    """A confirmed fact about one function on one account, and who answers for having it."""

    worker: str
    portal: str
    operation_id: str
    grade: Grade
    confirmed_by: str
    confirmed_at: datetime
    tin: str
    function: Function
    authorized_by: AuthorizedBy | None


@value_class(frozen=True, slots=True)
class EntitlementGranted(EntitlementFact):
    """The function can be used now."""


@value_class(frozen=True, slots=True)
class EntitlementRevoked(EntitlementFact):
    """The function cannot be used any more, by itself or because the whole account is suspended."""


@value_class(frozen=True, slots=True)
class ExposureStarted:
    """Access that must be gone is still effective. `operation_id` is its removal order."""

    worker: str
    portal: str
    since: datetime
    rights: tuple[Right, ...]
    operation_id: str | None


@value_class(frozen=True, slots=True)
class ExposureEnded:
    """The access is confirmed gone, or may be there again."""

    worker: str
    portal: str
    since: datetime
    until: datetime


@value_class(frozen=True, slots=True)
class GuardRefused:
    """A named rule changed how an operation may be carried out; `effect` says how, in words."""

    rule: str
    operation_id: str
    portal: str
    worker: str
    effect: str


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


@value_class(frozen=True, slots=True)
class BrakeData:
    """A cause of removals and what the brake did: `parked` of `held` entitlements would go.

    `by` is whoever decided, or `brake` where the limits did.
    """

    cause_id: str
    kind: str
    parked: int
    held: int
    by: str
    reason: str | None


@value_class(frozen=True, slots=True)
class BrakeEngaged(BrakeData):
    """Too much would be removed at once: it waits for a person."""


@value_class(frozen=True, slots=True)
class BrakeReleased(BrakeData):
    """A person let the removals go on; each is ordered now."""


@value_class(frozen=True, slots=True)
class BrakeRejected(BrakeData):
    """A person decided that the access stays; that decision answers for it from now on."""


@value_class(frozen=True, slots=True)
class ExceptionData:
    """Access beyond policy, as it is after what the event says; `by` is whoever acted.

    `reason` says what the work is. `by` is `time` where the end had come.
    """

    exception_id: str
    worker: str
    portal: str
    tin: str
    function: Function
    reason: str
    requested_by: str
    starts_at: datetime
    ends_at: datetime
    status: ExceptionStatus
    approved_by: str | None
    by: str


@value_class(frozen=True, slots=True)
class ExceptionRequested(ExceptionData):
    """Somebody asked for access beyond policy; nothing is given yet."""


@value_class(frozen=True, slots=True)
class ExceptionApproved(ExceptionData):
    """A second person approved it; it is an input of desired access from now on."""


@value_class(frozen=True, slots=True)
class ExceptionEnded(ExceptionData):
    """It was refused, ended early, or its end came; `status` tells which."""


@value_class(frozen=True, slots=True)
class BreakGlassOpened(ExceptionData):
    """Somebody took access at once, without a second person, to be reviewed afterwards."""


@value_class(frozen=True, slots=True)
class BreakGlassEnded(ExceptionData):
    """Its hours are over, or somebody ended it early."""


@value_class(frozen=True, slots=True)
class BreakGlassReviewed(ExceptionData):
    """A second person looked at the use of break-glass; `finding` is what they say of it."""

    finding: str


@value_class(frozen=True, slots=True)
class FindingData:
    """Something a person should look at, told by its rule and, in words, its detail.

    `subject` is a worker, or portal/login (portal/rule/name) for what a portal's user list showed;
    then `next_step` says what to do.
    """

    subject: str
    rule: str
    detail: str
    portal: str | None = None
    next_step: str | None = None


@value_class(frozen=True, slots=True)
class FindingRaised(FindingData):
    """It is so now and was not before."""


@value_class(frozen=True, slots=True)
class FindingResolved(FindingData):
    """It is so no longer."""


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


@value_class(frozen=True, slots=True)
class GapAccepted:
    """An operator let a refused partition go on; offsets `first` to `last` may never be read.

    `last` is less than `first` when nothing is missing by the offsets, but the log is another one.
    Said by the service whose consumer `group` it is.
    """

    group: str
    topic: str
    partition: int
    first: int
    last: int
    reason: str
    accepted_by: str


ACCESS_EVENT_MODELS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "operation.requested": OperationRequested,
        "operation.claimed": OperationClaimed,
        "operation.released": OperationReleased,
        "operation.step_done": OperationStepDone,
        "operation.confirmed": OperationConfirmed,
        "operation.failed": OperationFailed,
        "operation.declined": OperationDeclined,
        "operation.cancelled": OperationCancelled,
        "operation.superseded": OperationSuperseded,
        "operation.overdue": OperationOverdue,
        "account.opened": AccountOpened,
        "account.suspended": AccountSuspended,
        "account.resumed": AccountResumed,
        "account.closed": AccountClosed,
        "account.rotated": AccountRotated,
        "account.adopted": AccountAdopted,
        "account.seen": AccountSeen,
        "account.lapsed": AccountLapsed,
        "portal.reconciled": PortalReconciled,
        "roster.imported": RosterImported,
        "entitlement.granted": EntitlementGranted,
        "entitlement.revoked": EntitlementRevoked,
        "exposure.started": ExposureStarted,
        "exposure.ended": ExposureEnded,
        "guard.refused": GuardRefused,
        "notice.sent": NoticeSent,
        "outage.started": OutageStarted,
        "outage.ended": OutageEnded,
        "incident.reported": IncidentReported,
        "brake.engaged": BrakeEngaged,
        "brake.released": BrakeReleased,
        "brake.rejected": BrakeRejected,
        "exception.requested": ExceptionRequested,
        "exception.approved": ExceptionApproved,
        "exception.ended": ExceptionEnded,
        "break_glass.opened": BreakGlassOpened,
        "break_glass.ended": BreakGlassEnded,
        "break_glass.reviewed": BreakGlassReviewed,
        "finding.raised": FindingRaised,
        "finding.resolved": FindingResolved,
        "enrolment.moved": EnrolmentMoved,
        "enrolment.item_ticked": EnrolmentItemTicked,
        "enrolment.assigned": EnrolmentAssigned,
        "chore.requested": ChoreRequested,
        "chore.claimed": ChoreClaimed,
        "chore.released": ChoreReleased,
        "chore.done": ChoreDone,
        "chore.declined": ChoreDeclined,
        "gap.accepted": GapAccepted,
    }
)
"""The model of each event's data on `portal.access-events.v1`."""
