"""Which operations are needed: what is desired of a portal compared with what it holds."""

from collections.abc import Iterable, Mapping, Sequence

from services.provisioning.rules.operations import (
    BESIDE,
    GIVES,
    REMOVES,
    TAKES,
    Account,
    Held,
    Operation,
    Transition,
)
from shared.contracts.directory import OperationKind
from shared.contracts.state import AccountStatus, AuthorizedBy, OperationStatus
from shared.values import value_class


@value_class(frozen=True, slots=True)
class Order:
    """A new operation that is needed."""

    kind: OperationKind
    held: Held | None
    rights: tuple[Held, ...]
    rule: str


@value_class(frozen=True, slots=True)
class Move:
    """A transition of an existing operation that the change of desire calls for."""

    operation: Operation
    transition: Transition


def needed(
    account: Account,
    operations: Sequence[Operation],
    desired: Mapping[Held, AuthorizedBy],
    *,
    cut: bool,
    cut_kind: OperationKind,
    rule_of: Mapping[Held, str],
    why_cut: str,
    reopens: bool = False,
) -> tuple[list[Order], list[Move]]:
    """What must be ordered and withdrawn so that the portal comes to hold what is desired.

    Args:
        operations: the account's open operations.
        cut: the person must have nothing at all here now (departure, leave, a second account).
        cut_kind: how this portal takes everything from somebody.
        rule_of: why an entitlement is no longer desired, where a named rule holds it back.
        why_cut: the rule behind `cut`.
        reopens: a login that was closed here can be opened again as the same one.
    """
    planner = _Planner(account, operations, desired, cut_kind, rule_of, why_cut, reopens)
    if cut:
        planner.cut_everything()
    elif account.status is AccountStatus.ACTIVE:
        planner.adjust_active()
    else:
        planner.bring_up()
    return planner.orders, planner.moves


class _Planner:
    """One account's reconciliation; fills `orders` and `moves`."""

    def __init__(
        self,
        account: Account,
        operations: Sequence[Operation],
        desired: Mapping[Held, AuthorizedBy],
        cut_kind: OperationKind,
        rule_of: Mapping[Held, str],
        why_cut: str,
        reopens: bool,
    ) -> None:
        self._account = account
        self._desired = desired
        self._rule_of = rule_of
        self._why_cut = why_cut
        self._cut_kind = cut_kind
        self._reopens = reopens
        self._whole = [
            operation
            for operation in operations
            if operation.tin is None and operation.kind not in BESIDE
        ]
        self._single: dict[Held, list[Operation]] = {}
        for operation in operations:
            if operation.tin is not None and operation.function is not None:
                self._single.setdefault((operation.tin, operation.function), []).append(operation)
        self.orders: list[Order] = []
        self.moves: list[Move] = []

    # -- the three situations

    def cut_everything(self) -> None:
        """Nothing may be usable: withdraw what gives, order one removal of the whole account."""
        giving = [op for op in self._all() if op.kind in GIVES]
        for operation in giving:
            self._withdraw(operation)
        for operations in self._single.values():
            for operation in operations:
                if operation.kind in REMOVES and operation.status is OperationStatus.REQUESTED:
                    self.moves.append(Move(operation, Transition.CANCEL))
        usable = self._account.status is AccountStatus.ACTIVE and (
            bool(self._account.rights)
            or self._cut_kind in (OperationKind.SUSPEND, OperationKind.CLOSE)
        )
        under_way = any(op.status is not OperationStatus.REQUESTED for op in giving)
        kinds = REMOVES | {self._cut_kind}
        removing = [op for op in self._whole if op.kind in kinds]
        if usable or under_way:
            self._ensure(removing, Order(self._cut_kind, None, (), self._why_cut))
        else:
            for operation in removing:
                self._withdraw(operation)

    def bring_up(self) -> None:
        """Nothing is usable: open or reactivate with what is desired, once removals have ended."""
        kind = (
            OperationKind.RESUME
            if self._account.status is AccountStatus.SUSPENDED
            or (self._account.status is AccountStatus.CLOSED and self._reopens)
            else OperationKind.OPEN
        )
        rights = self._first_rights()
        opening = [op for op in self._whole if op.kind in GIVES]
        for operations in self._single.values():
            for operation in operations:
                self._withdraw(operation)
        removing = [op for op in self._whole if op.kind in TAKES]
        if not rights:
            for operation in opening:
                self._withdraw(operation)
            if any(op.status is not OperationStatus.REQUESTED for op in opening):
                self._ensure(removing, Order(self._cut_kind, None, (), "no_longer_needed"))
            else:
                for operation in removing:
                    self._withdraw(operation)
            return
        blocked = self._withdraw_all(removing)
        stale = [
            op
            for op in opening
            if op.status is OperationStatus.REQUESTED and (op.rights != rights or op.kind != kind)
        ]
        for operation in stale:
            self._withdraw(operation)
        if not blocked:
            current = [op for op in opening if op not in stale]
            self._ensure(current, Order(kind, None, rights, "job_duty"))

    def adjust_active(self) -> None:
        """The account works: grant what is missing, revoke what is too much."""
        removing = [op for op in self._whole if op.kind in TAKES]
        blocked = self._withdraw_all(removing)
        for operation in self._whole:
            if operation.kind in GIVES:
                self._withdraw(operation)
        for held in sorted({*self._desired, *self._account.rights, *self._single}):
            own = self._single.get(held, [])
            granting = [op for op in own if op.kind in GIVES]
            revoking = [op for op in own if op.kind in REMOVES]
            if held in self._desired and held in self._account.rights:
                self._withdraw_all(revoking)
                self._withdraw_all(granting)
            elif held in self._desired:
                revoke_under_way = self._withdraw_all(revoking)
                if not blocked and not revoke_under_way:
                    self._ensure(granting, Order(OperationKind.GRANT, held, (held,), "job_duty"))
            else:
                grant_under_way = self._withdraw_all(granting)
                if held in self._account.rights or grant_under_way:
                    rule = self._rule_of.get(held, "no_longer_needed")
                    self._ensure(revoking, Order(OperationKind.REVOKE, held, (), rule))
                else:
                    self._withdraw_all(revoking)

    def _first_rights(self) -> tuple[Held, ...]:
        """What to begin with: an operation gives only what one authorization answers for."""
        first = min(
            self._desired.values(),
            key=lambda by: (by.kind != "policy", by.kind, by.reference),
            default=None,
        )
        return tuple(sorted(held for held, by in self._desired.items() if by == first))

    # -- how an operation comes and goes

    def _all(self) -> Iterable[Operation]:
        yield from self._whole
        for operations in self._single.values():
            yield from operations

    def _withdraw(self, operation: Operation) -> None:
        """Cancel what nobody took on; what somebody took on is superseded and still has to end."""
        if operation.status is OperationStatus.REQUESTED:
            self.moves.append(Move(operation, Transition.CANCEL))
        elif operation.status is OperationStatus.CLAIMED:
            self.moves.append(Move(operation, Transition.SUPERSEDE))

    def _withdraw_all(self, operations: Sequence[Operation]) -> bool:
        """Withdraw; whether one of them is under way, so that the opposite has to wait for it."""
        for operation in operations:
            self._withdraw(operation)
        return any(op.status is not OperationStatus.REQUESTED for op in operations)

    def _ensure(self, existing: Sequence[Operation], order: Order) -> None:
        """One operation in this direction: keep it, take a superseded one up again, or order it."""
        if any(
            op.status in (OperationStatus.REQUESTED, OperationStatus.CLAIMED) for op in existing
        ):
            return
        superseded = [op for op in existing if op.status is OperationStatus.SUPERSEDED]
        if superseded:
            self.moves.append(Move(superseded[0], Transition.REINSTATE))
            return
        self.orders.append(order)
