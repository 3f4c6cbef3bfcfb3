"""`portal.worker-state.v1`: what provisioning knows of one worker, whole, after each change.

Nobody else folds HR events; other services and subscribers keep their picture from this and apply a
record only when its (`epoch`, `version`) is higher than what they have. Instants are UTC.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from shared.contracts.directory import Function, OperationKind
from shared.values import value_class


class WorkerStatus(StrEnum):
    """Where a worker stands. `expected`: hired, but not yet begun."""

    UNKNOWN = "unknown"
    EXPECTED = "expected"
    ACTIVE = "active"
    ON_LEAVE = "on_leave"
    TERMINATED = "terminated"
    ERASED = "erased"


class Grade(StrEnum):
    """How a fact about a portal is known, best first."""

    ROSTER = "roster"
    API = "api"
    PERSON = "person"
    ASSUMED = "assumed"


class AccountStatus(StrEnum):
    """What evidence tells of an account; what was merely asked for is an operation."""

    NONE = "none"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class OperationStatus(StrEnum):
    """The life of an operation; `superseded`: overtaken after being claimed, but still to end."""

    REQUESTED = "requested"
    CLAIMED = "claimed"
    SUPERSEDED = "superseded"
    DONE = "done"
    FAILED = "failed"
    DECLINED = "declined"
    CANCELLED = "cancelled"


class ExceptionKind(StrEnum):
    """Access beyond policy: approved by a second person, or opened at once and reviewed after."""

    EXCEPTION = "exception"
    BREAK_GLASS = "break_glass"


class ExceptionStatus(StrEnum):
    """The life of an exception; `refused` is also one that nobody approved in time."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REFUSED = "refused"
    ENDED = "ended"


class ChoreKind(StrEnum):
    """Work on a portal that changes nobody's access.

    `activity_log`: ask the portal for its own record of what somebody did there. `enrolment`: take
    on a phase of the organization's enrolment that is stuck. `document`: renew what expires.
    `fetch_roster`: fetch the portal's list of its users and import it. `recertify`: confirm the
    portal's users there by its own date. `profile_check`: confirm the organization's profile there.
    `finding`: look into what the portal's list shows amiss. `change_password`: the holder changes
    the password before the portal has it expire.
    """

    ACTIVITY_LOG = "activity_log"
    ENROLMENT = "enrolment"
    DOCUMENT = "document"
    FETCH_ROSTER = "fetch_roster"
    RECERTIFY = "recertify"
    PROFILE_CHECK = "profile_check"
    FINDING = "finding"
    CHANGE_PASSWORD = "change_password"


class ChoreStatus(StrEnum):
    """The life of a chore."""

    REQUESTED = "requested"
    CLAIMED = "claimed"
    DONE = "done"
    DECLINED = "declined"


@value_class(frozen=True, slots=True)
class Employment:
    """One span of work. `ends_at` is the instant from which it is over, if that is known.

    `leave_since` is the first instant of a leave that is in effect. `moved_at` is when title or
    sites last changed, if they ever did, and `previous_*` what they were before.
    """

    employment_id: str
    title: str | None
    department: str | None
    sites: tuple[str, ...]
    supervisor: str | None
    kind: str
    starts_at: datetime
    ends_at: datetime | None
    open: bool
    on_leave: bool
    leave_since: datetime | None = None
    moved_at: datetime | None = None
    previous_title: str | None = None
    previous_sites: tuple[str, ...] = ()


@value_class(frozen=True, slots=True)
class AuthorizedBy:
    """Who answers for an entitlement.

    `kind` is `policy` (a version, its signatory), `mover_grace` (the same, for what the former job
    gave), `exception` (its id, its approver), `break_glass` (its id, whoever opened it) or
    `brake_rejection` (the rejected cause, whoever rejected it).
    """

    kind: str
    reference: str
    by: str


@value_class(frozen=True, slots=True)
class Entitlement:
    """One function within an affiliation (a TIN), as desired or as effective.

    `grade`, `since` and `operation_id` are known for effective ones: how and since when it is
    confirmed, and the operation that granted it (a review decision names that).
    """

    tin: str
    function: Function
    authorized_by: AuthorizedBy | None
    grade: Grade | None = None
    since: datetime | None = None
    operation_id: str | None = None


@value_class(frozen=True, slots=True)
class AccountKnown:
    """All that evidence tells of one account; a suspended one keeps the rights it had.

    `known_as_of` is the instant that the latest evidence speaks of; `last_login_source` names the
    roster that told the last login.
    """

    status: AccountStatus
    grade: Grade | None
    login_id: str | None
    rights: tuple[Entitlement, ...]
    known_as_of: datetime | None = None
    last_login_at: datetime | None = None
    last_login_source: str | None = None


@value_class(frozen=True, slots=True)
class Held:
    """An entitlement that job duty would give but a named rule holds back."""

    tin: str
    function: Function
    rule: str
    detail: str


@value_class(frozen=True, slots=True)
class ParkedRemoval:
    """An entitlement that policy no longer gives and the brake holds back from being removed.

    `verdict` is `gathering`, `engaged` or `rejected`; without `tin` and `function` what waits is
    the closing of the login for good.
    """

    tin: str | None
    function: Function | None
    cause_id: str
    parked_at: datetime
    verdict: str


@value_class(frozen=True, slots=True)
class OpenOperation:
    """An operation that has not ended."""

    operation_id: str
    kind: OperationKind
    tin: str | None
    function: Function | None
    generation: int
    status: OperationStatus
    requested_at: datetime
    deadline: datetime
    claimed_by: str | None


@value_class(frozen=True, slots=True)
class Finding:
    """Something about a worker, or a login of theirs, that a person should look at."""

    rule: str
    detail: str


@value_class(frozen=True, slots=True)
class PortalAccess:
    """The four kinds of truth about one worker on one portal.

    `desired` is what policy says, `operations` what has been requested, `status`/`grade` and
    `effective` what evidence tells. `exposed_since` runs while something effective must be gone.
    `last_login_at` is the last known login, as `last_login_source` (roster or operation) tells, and
    `lapses_at` when the portal disables the login unless it is used before, where that is known.
    `parked` is what would be removed if the brake did not hold it. `findings` are what sheets and
    user lists showed about the login and nobody has put right yet.
    """

    portal: str
    status: AccountStatus
    grade: Grade | None
    login_id: str | None
    desired: tuple[Entitlement, ...]
    effective: tuple[Entitlement, ...]
    held: tuple[Held, ...]
    operations: tuple[OpenOperation, ...]
    exposed_since: datetime | None
    last_login_at: datetime | None = None
    last_login_grade: Grade | None = None
    last_login_source: str | None = None
    lapses_at: datetime | None = None
    parked: tuple[ParkedRemoval, ...] = ()
    findings: tuple[Finding, ...] = ()


@value_class(frozen=True, slots=True)
class Training:
    """A module's sign-off as it stands; `valid` at the state's `as_of`."""

    module: str
    version: str
    completed_on: date | None
    expires_on: date | None
    valid: bool


@value_class(frozen=True, slots=True)
class TrainingDue:
    """A module that access waits for, and by when its sign-off is expected."""

    module: str
    due_at: datetime


@value_class(frozen=True, slots=True)
class DecisionApplied:
    """What became of a review decision here, and why: `ordered`, `confirmed` or `moot`.

    Where nobody decided in time also `parked`, while the brake holds it, or `rejected`.
    """

    review_id: str
    line_id: str
    status: str
    detail: str


@value_class(frozen=True, slots=True)
class ExceptionInForce:
    """Access beyond policy that somebody approved (or opened) and that has not ended."""

    exception_id: str
    kind: ExceptionKind
    portal: str
    tin: str
    function: Function
    starts_at: datetime
    ends_at: datetime
    approved_by: str | None


@dataclass(slots=True)
class WorkerState:
    """One worker, whole. `merged_into` points from a previous worker id to the one in use.

    Not frozen: whoever publishes it sets `as_of`, `epoch` and `version` last.
    """

    organization: str
    worker: str
    epoch: int
    version: int
    as_of: datetime
    status: WorkerStatus
    blocked: bool = False
    merged_into: str | None = None
    aliases: tuple[str, ...] = ()
    name: str | None = None
    email: str | None = None
    npi: str | None = None
    employments: tuple[Employment, ...] = ()
    duties: tuple[str, ...] = ()
    training: tuple[Training, ...] = ()
    portals: tuple[PortalAccess, ...] = ()
    findings: tuple[Finding, ...] = ()
    decisions: tuple[DecisionApplied, ...] = ()
    exceptions: tuple[ExceptionInForce, ...] = ()
    training_due: tuple[TrainingDue, ...] = ()
    directory_version: int = 0
    next_change_at: datetime | None = None
