"""What provisioning says on `portal.access-events.v1`: orders, confirmed facts, and what is amiss.

The key is organization/worker and the subject is the worker id in use; `worker` in the data is the
id whose account it is, which differs after a merge. `gap.accepted` is about the organization and
has its key. An order is no fact about a portal: only `operation.confirmed` and what follows from it
(`account.*`, `entitlement.*`) say that a portal has changed. Instants are UTC.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from shared.contracts.access.accounts import (
    AccountAdopted,
    AccountClosed,
    AccountLapsed,
    AccountOpened,
    AccountResumed,
    AccountRotated,
    AccountSeen,
    AccountSuspended,
    EntitlementGranted,
    EntitlementRevoked,
    ExposureEnded,
    ExposureStarted,
    PortalReconciled,
    RosterImported,
)
from shared.contracts.access.decisions import (
    BrakeEngaged,
    BrakeRejected,
    BrakeReleased,
    BreakGlassEnded,
    BreakGlassOpened,
    BreakGlassReviewed,
    ExceptionApproved,
    ExceptionEnded,
    ExceptionRequested,
    FindingRaised,
    FindingResolved,
    GuardRefused,
)
from shared.contracts.access.operations import (
    OperationCancelled,
    OperationClaimed,
    OperationConfirmed,
    OperationDeclined,
    OperationFailed,
    OperationOverdue,
    OperationReleased,
    OperationRequested,
    OperationStepDone,
    OperationSuperseded,
)
from shared.contracts.access.portals import (
    ChoreClaimed,
    ChoreDeclined,
    ChoreDone,
    ChoreReleased,
    ChoreRequested,
    EnrolmentAssigned,
    EnrolmentItemTicked,
    EnrolmentMoved,
    IncidentReported,
    NoticeSent,
    OutageEnded,
    OutageStarted,
)
from shared.values import value_class


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
