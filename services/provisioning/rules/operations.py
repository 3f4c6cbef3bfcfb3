"""Operations: the changes portals must undergo, their life cycle, and what they bring about.

An operation is deterministic: its id follows from target, kind and generation. What a portal holds
changes only by confirmation, so an order never counts as done because it was given.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.provisioning.rules.desired.rights import Right
from shared.contracts.access import ACCESS_EVENT_MODELS
from shared.contracts.access.accounts import (
    AccountFact,
    EntitlementFact,
    EntitlementGranted,
    EntitlementRevoked,
)
from shared.contracts.access.operations import Reason
from shared.contracts.directory import Function, OperationKind, Step
from shared.contracts.envelope import name_uuid
from shared.contracts.state import (
    AccountKnown,
    AccountStatus,
    AuthorizedBy,
    Entitlement,
    Grade,
    OperationStatus,
)
from shared.values import value_class

OPERATION_NAMESPACE = UUID("0c8f6a0e-3f58-5d2c-8f4b-9b6b7d0e5a21")

Held = tuple[str, Function]
"""(TIN, function) on one portal."""


class Transition(StrEnum):
    """What can happen to an operation."""

    CLAIM = "claim"
    RELEASE = "release"
    DONE = "done"
    FAIL = "fail"
    DECLINE = "decline"
    CANCEL = "cancel"
    SUPERSEDE = "supersede"
    REINSTATE = "reinstate"


_S, _T = OperationStatus, Transition

OPERATION_LIFE: Mapping[tuple[OperationStatus, Transition], OperationStatus] = {
    (_S.REQUESTED, _T.CLAIM): _S.CLAIMED,
    (_S.REQUESTED, _T.DONE): _S.DONE,
    (_S.REQUESTED, _T.FAIL): _S.FAILED,
    (_S.REQUESTED, _T.DECLINE): _S.DECLINED,
    (_S.REQUESTED, _T.CANCEL): _S.CANCELLED,
    (_S.CLAIMED, _T.RELEASE): _S.REQUESTED,
    (_S.CLAIMED, _T.DONE): _S.DONE,
    (_S.CLAIMED, _T.FAIL): _S.FAILED,
    (_S.CLAIMED, _T.DECLINE): _S.DECLINED,
    (_S.CLAIMED, _T.SUPERSEDE): _S.SUPERSEDED,
    (_S.SUPERSEDED, _T.DONE): _S.DONE,
    (_S.SUPERSEDED, _T.FAIL): _S.FAILED,
    (_S.SUPERSEDED, _T.DECLINE): _S.DECLINED,
    (_S.SUPERSEDED, _T.CANCEL): _S.CANCELLED,
    (_S.SUPERSEDED, _T.REINSTATE): _S.CLAIMED,
    # What somebody did at the portal is a fact, even when nobody wants it any more.
    (_S.CANCELLED, _T.DONE): _S.DONE,
    (_S.FAILED, _T.DONE): _S.DONE,
    (_S.DECLINED, _T.DONE): _S.DONE,
}
"""The life of an operation; a pair that is absent is refused."""

OPEN_STATUSES = frozenset({_S.REQUESTED, _S.CLAIMED, _S.SUPERSEDED})
SAID = "operation:"
SUCCESSOR_RETRY_HOURS = 24
GIVES = frozenset({OperationKind.OPEN, OperationKind.GRANT, OperationKind.RESUME})
REMOVES = frozenset({OperationKind.REVOKE, OperationKind.SUSPEND, OperationKind.ROTATE})
"""What takes usable access away. Closing ends a login that nobody can use any more, except where a
portal offers nothing else."""

BESIDE = frozenset({OperationKind.APPOINT_SUCCESSOR, OperationKind.KEEP_ALIVE})
"""What goes on beside giving and taking, and changes nobody's access."""

TAKES = REMOVES | {OperationKind.CLOSE}
"""What must have ended before anything is given again."""

EVENT_OF: Mapping[Transition, str] = {
    _T.CLAIM: "operation.claimed",
    _T.RELEASE: "operation.released",
    _T.DONE: "operation.confirmed",
    _T.FAIL: "operation.failed",
    _T.DECLINE: "operation.declined",
    _T.CANCEL: "operation.cancelled",
    _T.SUPERSEDE: "operation.superseded",
    _T.REINSTATE: "operation.claimed",
}

DEFAULT_STEPS: Mapping[OperationKind, tuple[Step, ...]] = {
    OperationKind.OPEN: (
        Step(actor="administrator", text="Add the person as a user, with exactly these functions."),
    ),
    OperationKind.GRANT: (
        Step(actor="administrator", text="Add the function to the person's login."),
    ),
    OperationKind.REVOKE: (
        Step(actor="administrator", text="Take the function away from the person's login."),
    ),
    OperationKind.SUSPEND: (
        Step(actor="administrator", text="Deactivate the person's login; do not delete it."),
    ),
    OperationKind.RESUME: (
        Step(actor="administrator", text="Reactivate the login, with exactly these functions."),
    ),
    OperationKind.ROTATE: (
        Step(actor="administrator", text="Change the password of the login that several know."),
        Step(
            actor="administrator", text="Put the new one where the vault item is; send it nowhere."
        ),
        Step(actor="administrator", text="Tell those who go on using it that it has changed."),
    ),
    OperationKind.CLOSE: (
        Step(actor="administrator", text="End the login for good; this cannot be undone there."),
    ),
    OperationKind.APPOINT_SUCCESSOR: (
        Step(actor="administrator", text="Make a second person administrator of this portal."),
        Step(actor="administrator", text="Enter the appointment in the directory and apply it."),
    ),
}
"""What to do where a portal's own steps are not in the directory."""


@value_class(frozen=True, slots=True)
class Operation:
    """One change that a portal must undergo for one account. Instants are UTC.

    `tin` and `function` name the entitlement; both None means the whole account. `rights` are the
    entitlements that an open, resume or grant will give.
    """

    operation_id: str
    worker: str
    portal: str
    kind: OperationKind
    tin: str | None
    function: Function | None
    generation: int
    status: OperationStatus
    rights: tuple[Held, ...]
    authorized_by: AuthorizedBy | None
    rule: str
    events: tuple[str, ...]
    steps: tuple[Step, ...]
    """What to do; `rank` orders work with one deadline by harm, lowest first."""
    requested_at: datetime
    deadline: datetime
    rank: int = 50
    claimed_by: str | None = None
    overdue: bool = False

    @property
    def target(self) -> str:
        """The target within the account: "" for all of it, else TIN and function."""
        return target_key(self.kind, self.tin, self.function)

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.status in OPEN_STATUSES


@value_class(frozen=True, slots=True)
class Target:
    """What is remembered of a target between operations."""

    generation: int = 0
    retry_kind: OperationKind | None = None
    retry_at: datetime | None = None


ACCOUNT_LIFE: Mapping[OperationKind, AccountStatus] = MappingProxyType(
    {
        OperationKind.OPEN: AccountStatus.ACTIVE,
        OperationKind.GRANT: AccountStatus.ACTIVE,
        OperationKind.RESUME: AccountStatus.ACTIVE,
        OperationKind.SUSPEND: AccountStatus.SUSPENDED,
        OperationKind.CLOSE: AccountStatus.CLOSED,
        # The login lives on, for others: this person does not know it any more.
        OperationKind.ROTATE: AccountStatus.NONE,
    }
)
"""What evidence that an operation was done makes of an account, whatever it was before: evidence
tells what is, not what should follow. Other kinds leave it as it is."""

ENTITLEMENT_LIFE: Mapping[tuple[OperationKind, bool], bool] = MappingProxyType(
    {
        (OperationKind.OPEN, True): True,
        (OperationKind.OPEN, False): False,
        (OperationKind.RESUME, True): True,
        (OperationKind.RESUME, False): False,
        (OperationKind.GRANT, True): True,
        (OperationKind.REVOKE, True): False,
        (OperationKind.ROTATE, False): False,
        (OperationKind.ROTATE, True): False,
        (OperationKind.CLOSE, False): False,
        (OperationKind.CLOSE, True): False,
    }
)
"""Whether an entitlement is held once an operation was done, by whether the operation names it.
What is not here leaves it as it is; a suspended account keeps its entitlements, unusable."""

FACT_OF: Mapping[OperationKind, str] = MappingProxyType(
    {
        OperationKind.OPEN: "account.opened",
        OperationKind.SUSPEND: "account.suspended",
        OperationKind.RESUME: "account.resumed",
        OperationKind.ROTATE: "account.rotated",
        OperationKind.CLOSE: "account.closed",
    }
)
"""What is a fact about the account once an operation on the whole of it is done."""

_A = AccountStatus

ACCOUNT_BECAME: Mapping[tuple[AccountStatus, AccountStatus], str] = MappingProxyType(
    {
        (_A.NONE, _A.ACTIVE): "account.opened",
        (_A.SUSPENDED, _A.ACTIVE): "account.resumed",
        (_A.CLOSED, _A.ACTIVE): "account.resumed",
        (_A.NONE, _A.SUSPENDED): "account.suspended",
        (_A.CLOSED, _A.SUSPENDED): "account.suspended",
        # Nobody here did it: the portal itself.
        (_A.ACTIVE, _A.SUSPENDED): "account.lapsed",
        (_A.ACTIVE, _A.NONE): "account.closed",
        (_A.ACTIVE, _A.CLOSED): "account.closed",
        (_A.SUSPENDED, _A.NONE): "account.closed",
    }
)
"""The fact that a change of an account's status is, where no operation on the whole of it made it:
a list shows it, or a function was given late, after the login had gone."""


@value_class(frozen=True, slots=True)
class Account:
    """What evidence tells of one person's identity on one portal, and the targets within it.

    `known_as_of` is the instant that the latest evidence speaks of; `last_login_source` names what
    tells the last login: a roster, or after `SAID` the operation with which a person said so.
    `lapses_at` is when the portal disables the login if nobody uses it before.
    """

    worker: str
    portal: str
    status: AccountStatus = AccountStatus.NONE
    grade: Grade | None = None
    login_id: str | None = None
    rights: Mapping[Held, Entitlement] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    exposed_since: datetime | None = None
    known_as_of: datetime | None = None
    last_login_at: datetime | None = None
    last_login_source: str | None = None
    lapses_at: datetime | None = None

    @property
    def last_login_grade(self) -> Grade | None:
        """How the last login is known."""
        if self.last_login_source is None:
            return None
        return Grade.PERSON if self.last_login_source.startswith(SAID) else Grade.ROSTER

    @property
    def effective(self) -> Mapping[Held, Entitlement]:
        """The entitlements that can be used now, as far as evidence tells."""
        return self.rights if self.status is AccountStatus.ACTIVE else {}


def target_key(kind: OperationKind, tin: str | None, function: Function | None) -> str:
    """The name of a target within an account."""
    if kind is OperationKind.APPOINT_SUCCESSOR:
        return "successor"
    if kind in (OperationKind.CLOSE, OperationKind.KEEP_ALIVE):
        return kind.value
    return "" if tin is None or function is None else f"{tin}/{function.value}"


def operation_id(
    organization: str, worker: str, portal: str, target: str, kind: OperationKind, generation: int
) -> str:
    """The id that follows from target, kind and generation."""
    name = "\x1f".join((organization, portal, worker, target, kind.value, str(generation)))
    return name_uuid(OPERATION_NAMESPACE, name)


def confirm(
    account: Account,
    operation: Operation,
    *,
    grade: Grade,
    at: datetime,
    login_id: str | None = None,
) -> Account:
    """The account as it is once somebody says at `at` that the operation was done."""
    given = {
        held: Entitlement(
            held[0], held[1], operation.authorized_by, grade, at, operation.operation_id
        )
        for held in operation.rights
    }
    known = replace(
        account,
        grade=grade,
        login_id=login_id or account.login_id,
        known_as_of=max(at, account.known_as_of or at),
    )
    match operation.kind:
        case OperationKind.KEEP_ALIVE:
            used = max(at, account.last_login_at or at)
            return replace(
                account, last_login_at=used, last_login_source=f"{SAID}{operation.operation_id}"
            )
        case OperationKind.APPOINT_SUCCESSOR:
            # Only the directory says who administers; if it still names nobody else, ask again.
            return retry_after(account, operation, at=at, hours=SUCCESSOR_RETRY_HOURS)
        case kind:
            named = _named(account, operation)
            after = {held: ENTITLEMENT_LIFE.get((kind, held in named)) for held in account.rights}
            kept = {held: own for held, own in account.rights.items() if after[held] is not False}
            held_now = given if ENTITLEMENT_LIFE.get((kind, True)) else {}
            status = ACCOUNT_LIFE.get(kind, account.status)
            return replace(known, status=status, rights={**kept, **held_now})


def _named(account: Account, operation: Operation) -> Collection[Held]:
    """The entitlements an operation names; a revocation without a function names all there are."""
    if operation.kind is not OperationKind.REVOKE:
        return operation.rights
    if operation.tin is None or operation.function is None:
        return account.rights.keys()
    return [(operation.tin, operation.function)]


def ends_administration(account: Account, operation: Operation) -> bool:
    """Whether the operation takes the means to administer a portal's users from an account."""
    return (
        operation.kind in TAKES
        and operation.function in (None, Function.USER_ADMINISTRATION)
        and any(function is Function.USER_ADMINISTRATION for _, function in account.effective)
    )


def known_of(account: Account) -> AccountKnown:
    """An account as the event that changes it tells it."""
    rights = tuple(own for _, own in sorted(account.rights.items()))
    return AccountKnown(
        account.status,
        account.grade,
        account.login_id,
        rights,
        account.known_as_of,
        account.last_login_at,
        account.last_login_source,
    )


def facts_between(
    before: Account,
    after: Account,
    operation_id: str,
    *,
    kind: OperationKind | None,
    grade: Grade,
    by: str,
    at: datetime,
) -> list[tuple[str, tuple[str, ...], AccountFact | EntitlementFact]]:
    """The confirmed facts that lie between two states of an account.

    Each has its event type, what tells it from others of that type, and its data. `operation_id`
    names the operation of `kind` that made the difference, or the list that shows it.
    """
    about = (after.worker, after.portal, operation_id, grade, by, at)
    facts: list[tuple[str, tuple[str, ...], AccountFact | EntitlementFact]] = []
    done = FACT_OF.get(kind) if kind is not None else None
    type_ = done or ACCOUNT_BECAME.get((before.status, after.status))
    if type_ is not None:
        facts.append((type_, (), ACCESS_EVENT_MODELS[type_](*about, after.login_id)))
    for held in sorted(after.effective.keys() - before.effective.keys()):
        granted = EntitlementGranted(*about, *held, after.effective[held].authorized_by)
        facts.append(("entitlement.granted", (held[0], held[1].value), granted))
    for held in sorted(before.effective.keys() - after.effective.keys()):
        revoked = EntitlementRevoked(*about, *held, before.effective[held].authorized_by)
        facts.append(("entitlement.revoked", (held[0], held[1].value), revoked))
    return facts


def retry_after(account: Account, operation: Operation, *, at: datetime, hours: int) -> Account:
    """The account once an operation failed or was declined: the same is not asked again before."""
    known = account.targets.get(operation.target, Target(operation.generation))
    later = replace(known, retry_kind=operation.kind, retry_at=at + timedelta(hours=hours))
    return replace(account, targets={**account.targets, operation.target: later})


def rights_of(rights: Iterable[Right], portal: str) -> set[Held]:
    """The (TIN, function) pairs of one portal."""
    return {(tin, function) for place, tin, function in rights if place == portal}


def describe(operation: Operation) -> dict[str, Any]:
    """An operation as events about it carry it (`shared.contracts.access.operations`)."""
    return {
        "operation_id": operation.operation_id,
        "worker": operation.worker,
        "portal": operation.portal,
        "kind": operation.kind,
        "tin": operation.tin,
        "function": operation.function,
        "generation": operation.generation,
        "status": operation.status,
        "rights": operation.rights,
        "authorized_by": operation.authorized_by,
        "reason": Reason(operation.rule, operation.events),
        "requested_at": operation.requested_at,
        "deadline": operation.deadline,
        "claimed_by": operation.claimed_by,
    }
