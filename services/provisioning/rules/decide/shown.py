"""What a decision came to, as everybody else sees it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from services.provisioning.rules.brake import Parked
from services.provisioning.rules.decide.course import Course
from services.provisioning.rules.decide.reviews import applied
from services.provisioning.rules.desired.rights import Desired
from services.provisioning.rules.erasing import may_forget, without_names
from services.provisioning.rules.operations import Account, Held, Operation
from services.provisioning.rules.timeline import Folded
from shared.contracts.state import (
    AuthorizedBy,
    Entitlement,
    ExceptionInForce,
    ExceptionStatus,
    OpenOperation,
    ParkedRemoval,
    PortalAccess,
    WorkerState,
    WorkerStatus,
)

UNSET = datetime.fromtimestamp(0, UTC)


def shown(
    course: Course,
    account: Account,
    wanted: Mapping[Held, AuthorizedBy],
    held: Iterable[Any],
    parked: Iterable[Parked],
) -> PortalAccess:
    """What is so of one login. `held` and `parked` are withheld from it, and wait to be removed."""
    return PortalAccess(
        portal=account.portal,
        status=account.status,
        grade=account.grade,
        login_id=account.login_id,
        desired=tuple(
            Entitlement(tin, function, wanted[tin, function]) for tin, function in sorted(wanted)
        ),
        effective=tuple(own for _, own in sorted(account.effective.items())),
        held=tuple(held),
        operations=tuple(
            OpenOperation(
                op.operation_id,
                op.kind,
                op.tin,
                op.function,
                op.generation,
                op.status,
                op.requested_at,
                op.deadline,
                op.claimed_by,
            )
            for op in sorted(course.open_operations(account), key=_since_when)
        ),
        exposed_since=account.exposed_since,
        last_login_at=account.last_login_at,
        last_login_grade=account.last_login_grade,
        last_login_source=account.last_login_source,
        lapses_at=account.lapses_at,
        parked=tuple(
            ParkedRemoval(one.tin, one.function, one.cause_id, one.parked_at, one.verdict.value)
            for one in parked
        ),
        findings=course.facts.portal_findings.get(account.portal, ()),
    )


def shown_state(
    course: Course,
    folded: Folded | None,
    desired: Desired | None,
    portals: Sequence[PortalAccess],
) -> WorkerState:
    """What is so of the person, without the marks of when it was decided."""
    person = course.facts.person
    erased = folded is not None and folded.status is WorkerStatus.ERASED
    if folded is not None and may_forget(folded.status, portals):
        portals = [without_names(access) for access in portals]
    return WorkerState(
        organization=course.facts.organization,
        worker=person.worker,
        epoch=0,
        version=0,
        as_of=UNSET,
        status=folded.status if folded else WorkerStatus.UNKNOWN,
        blocked=desired is None,
        aliases=folded.aliases if folded else (),
        name=folded.name if folded else None,
        email=folded.email if folded else None,
        npi=folded.npi if folded else None,
        employments=folded.employments if folded else (),
        duties=desired.duties if desired else (),
        training=folded.training if folded else (),
        training_due=desired.training_due if desired else (),
        portals=tuple(
            access
            for access in portals
            if access.desired
            or access.effective
            or access.held
            or access.operations
            or access.status != "none"
        ),
        findings=() if erased else tuple(course.findings),
        decisions=tuple(applied(review, portals) for review in course.reviews),
        exceptions=()
        if erased
        else tuple(
            ExceptionInForce(
                one.exception_id,
                one.kind,
                one.portal,
                one.tin,
                one.function,
                one.starts_at,
                one.ends_at,
                one.approved_by,
            )
            for one in course.facts.exceptions
            if one.status is ExceptionStatus.APPROVED and one.ends_at > course.as_of
        ),
    )


def _since_when(operation: Operation) -> tuple[datetime, str]:
    """An order of operations that does not depend on how they were read."""
    return (operation.requested_at, operation.operation_id)
