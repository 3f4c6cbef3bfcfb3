"""Ending a login for good: after a wait, with the brake's leave."""

from dataclasses import replace
from datetime import timedelta

from services.provisioning.rules.brake import CLOSE_WAIT_DAYS, MAY_GO_ON, Parked
from services.provisioning.rules.decide.course import Course
from services.provisioning.rules.operations import Account, Target, target_key
from shared.contracts.directory import OperationKind, Portal
from shared.contracts.state import AccountStatus

CLOSING = target_key(OperationKind.CLOSE, None, None)


def close_for_good(
    course: Course, account: Account, portal: Portal, why_cut: str | None
) -> tuple[Account, list[Parked]]:
    """Ending a login for good: where the portal can, after a wait, with the brake's leave."""
    if portal.closes_only:
        return account, []
    closing = [op for op in course.open_operations(account) if op.kind is OperationKind.CLOSE]
    over = (
        why_cut == "employment_ended"
        and OperationKind.CLOSE in portal.steps
        and account.status in (AccountStatus.SUSPENDED, AccountStatus.ACTIVE)
        and not account.effective
        and not any(op.kind is not OperationKind.CLOSE for op in course.open_operations(account))
    )
    known = account.targets.get(CLOSING)
    if not over:
        course.withdraw_all(closing)
        if known is not None and known.retry_at is not None:
            account = replace(
                account, targets={**account.targets, CLOSING: Target(known.generation)}
            )
        return account, []
    if closing:
        return account, []
    if known is None or known.retry_at is None:
        known = Target(
            known.generation if known else 0,
            OperationKind.CLOSE,
            course.as_of + timedelta(days=CLOSE_WAIT_DAYS),
        )
        account = replace(account, targets={**account.targets, CLOSING: known})
    if known.retry_at is not None and known.retry_at > course.as_of:
        course.note(known.retry_at)
        return account, []
    waits = closing_waits(course, account)
    if waits is not None:
        return account, [waits]
    steps = portal.steps[OperationKind.CLOSE]
    account, _ = course.request(
        account, portal, OperationKind.CLOSE, None, None, (), "employment_ended", steps, {}
    )
    return account, []


def closing_waits(course: Course, account: Account) -> Parked | None:
    """The brake's row while ending a login for good waits for its verdict; None once it may.

    What is decided together is judged together: who comes later is another cause, for one that
    was judged is not looked at again.
    """
    target = (account.worker, account.portal, None, None)
    cause = f"closings-{course.as_of:%Y%m%dT%H%M%S%fZ}"
    one = course.waiting.get(target) or Parked(*target, cause, course.as_of)
    if one.verdict in MAY_GO_ON:
        return None
    course.still_parked[target] = one
    return one
