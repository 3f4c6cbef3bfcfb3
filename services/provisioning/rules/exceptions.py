"""Access beyond policy: exceptions that a second person approves, and break-glass.

Both are inputs of desired access, bound in time, and end by themselves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.contracts.directory import Function
from shared.contracts.state import ExceptionKind, ExceptionStatus
from shared.values import value_class

EXCEPTION_MAX_DAYS = 180
"""Longer than two quarterly reviews is a policy, and belongs there."""

BREAK_GLASS_MAX_HOURS = 24
"""Long enough for a night and the morning after; then somebody must have decided."""


class ExceptionMove(StrEnum):
    """What can happen to an exception."""

    APPROVE = "approve"
    REFUSE = "refuse"
    END = "end"
    EXPIRE = "expire"


_S, _M = ExceptionStatus, ExceptionMove

EXCEPTION_LIFE: Mapping[tuple[ExceptionStatus, ExceptionMove], ExceptionStatus] = {
    (_S.REQUESTED, _M.APPROVE): _S.APPROVED,
    (_S.REQUESTED, _M.REFUSE): _S.REFUSED,
    (_S.REQUESTED, _M.EXPIRE): _S.REFUSED,
    (_S.APPROVED, _M.END): _S.ENDED,
    (_S.APPROVED, _M.EXPIRE): _S.ENDED,
}
"""The life of an exception; break-glass begins approved, by whoever opened it."""


@value_class(frozen=True, slots=True)
class AccessException:
    """One function on one portal beyond policy, from `starts_at` to before `ends_at` (UTC).

    `reason` says what the work is, never anything about a person. `reviewed_by` is whoever looked
    at a use of break-glass afterwards.
    """

    exception_id: str
    kind: ExceptionKind
    worker: str
    portal: str
    tin: str
    function: Function
    reason: str
    requested_by: str
    requested_at: datetime
    starts_at: datetime
    ends_at: datetime
    status: ExceptionStatus
    approved_by: str | None = None
    approved_at: datetime | None = None
    reviewed_by: str | None = None

    @property
    def right(self) -> tuple[str, str, Function]:
        """(portal, TIN, function)."""
        return (self.portal, self.tin, self.function)

    def counts(self, as_of: datetime) -> bool:
        """Whether it gives access at `as_of`."""
        return self.status is ExceptionStatus.APPROVED and self.starts_at <= as_of < self.ends_at


def moved(exception: AccessException, move: ExceptionMove) -> AccessException | None:
    """The exception after a move, or None where its life does not allow it."""
    status = EXCEPTION_LIFE.get((exception.status, move))
    return None if status is None else replace(exception, status=status)


def refuse_request(
    exception: AccessException, *, known_rights: Iterable[tuple[str, str]], as_of: datetime
) -> str | None:
    """Why a request cannot stand, in words that say what to do; None if it can.

    Args:
        known_rights: (portal, TIN) pairs under which the organization is registered.
    """
    if (exception.portal, exception.tin) not in set(known_rights):
        return (
            f"The organization has no registration on {exception.portal} for {exception.tin};"
            " see portalkeeper directory export for what is."
        )
    if exception.ends_at <= max(exception.starts_at, as_of):
        return "It would be over before it begins; give a later end."
    if exception.kind is ExceptionKind.BREAK_GLASS:
        if exception.ends_at - exception.starts_at > timedelta(hours=BREAK_GLASS_MAX_HOURS):
            return f"Break-glass lasts {BREAK_GLASS_MAX_HOURS} hours at most; ask for an exception."
    elif exception.ends_at - exception.starts_at > timedelta(days=EXCEPTION_MAX_DAYS):
        return f"An exception lasts {EXCEPTION_MAX_DAYS} days at most; change the policy instead."
    return None


def refuse_approver(exception: AccessException, approver: str, worker: str | None) -> str | None:
    """The rule that keeps somebody from approving or reviewing, or None.

    Args:
        approver: the id of the account that acts.
        worker: the worker id of whoever acts, where they are one.
    """
    if exception.worker in (approver, worker):
        return "self_approval"
    if exception.requested_by in (approver, worker):
        return "approver_is_requester"
    return None


def expired(
    exceptions: Iterable[AccessException], as_of: datetime
) -> list[tuple[AccessException, AccessException]]:
    """(before, after) of the exceptions whose end has come."""
    over = []
    for exception in exceptions:
        if exception.ends_at <= as_of:
            after = moved(exception, ExceptionMove.EXPIRE)
            if after is not None:
                over.append((exception, after))
    return over


def describe_exception(exception: AccessException) -> dict[str, Any]:
    """An exception as events about it carry it (`shared.contracts.access.decisions`)."""
    return {
        "exception_id": exception.exception_id,
        "worker": exception.worker,
        "portal": exception.portal,
        "tin": exception.tin,
        "function": exception.function,
        "reason": exception.reason,
        "requested_by": exception.requested_by,
        "starts_at": exception.starts_at,
        "ends_at": exception.ends_at,
        "status": exception.status,
        "approved_by": exception.approved_by,
    }
