"""Orders, and what people and connectors say of them."""

from datetime import datetime
from typing import Literal

from shared.contracts.access.evidence import Evidence, Right
from shared.contracts.directory import Function, OperationKind, Step
from shared.contracts.state import AccountKnown, AuthorizedBy, Grade, OperationStatus
from shared.values import value_class


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
