"""What holds access back or gives it beyond policy, and what a person should look at."""

from datetime import datetime

from shared.contracts.directory import Function
from shared.contracts.state import ExceptionStatus
from shared.values import value_class


@value_class(frozen=True, slots=True)
class GuardRefused:
    """A named rule changed how an operation may be carried out; `effect` says how, in words."""

    rule: str
    operation_id: str
    portal: str
    worker: str
    effect: str


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
