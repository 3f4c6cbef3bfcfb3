from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.provisioning.rules.needed import Move, Order, needed
from services.provisioning.rules.operations import (
    OPERATION_LIFE,
    REMOVES,
    Account,
    Held,
    Operation,
    Target,
    Transition,
    confirm,
    operation_id,
    target_key,
)
from shared.contracts.directory import Function, OperationKind, Portal
from shared.contracts.state import AccountStatus, AuthorizedBy, Grade, OperationStatus
from tests.provisioning.worlds import NOW, TIN, compiled

WHO = AuthorizedBy("policy", "v1", "Dr. Ada Fox")
ELIGIBILITY, BENEFITS, CLAIMS = (
    (TIN, Function.ELIGIBILITY),
    (TIN, Function.BENEFITS),
    (TIN, Function.CLAIM_STATUS),
)
HUB, REVOKE_ONLY = compiled().portals["hub"], compiled().portals["old"]


class Desk:
    """One account with everything that was ever ordered for it."""

    def __init__(self, portal: Portal = HUB) -> None:
        self.portal = portal
        self.account = Account("w1", portal.id)
        self.operations: dict[str, Operation] = {}

    @property
    def open(self) -> list[Operation]:
        return [operation for operation in self.operations.values() if operation.open]

    def kinds(self, *statuses: OperationStatus) -> list[OperationKind]:
        wanted = statuses or tuple(OperationStatus)
        return [one.kind for one in self.operations.values() if one.status in wanted]

    def want(self, *held: Held, cut: bool = False) -> tuple[list[Order], list[Move]]:
        desired: Mapping[Held, AuthorizedBy] = dict.fromkeys(held, WHO)
        orders, moves = needed(
            self.account,
            self.open,
            desired,
            cut=cut,
            cut_kind=(
                OperationKind.REVOKE
                if self.portal.revoke_instead_of_suspend
                else OperationKind.SUSPEND
            ),
            rule_of={},
            why_cut="employment_ended",
        )
        for move in moves:
            self.say(move.operation, move.transition)
        for order in orders:
            self._request(order)
        return orders, moves

    def _request(self, order: Order) -> None:
        tin, function = order.held or (None, None)
        key = target_key(order.kind, tin, function)
        generation = self.account.targets.get(key, Target()).generation + 1
        id_ = operation_id("org", "w1", self.portal.id, key, order.kind, generation)
        assert id_ not in self.operations
        self.operations[id_] = Operation(
            id_, "w1", self.portal.id, order.kind, tin, function, generation,
            OperationStatus.REQUESTED, order.rights, WHO, order.rule, (), (), NOW,
            NOW + timedelta(hours=1),
        )  # fmt: skip
        self.account = replace(
            self.account, targets={**self.account.targets, key: Target(generation)}
        )

    def say(self, operation: Operation, transition: Transition, at: datetime = NOW) -> None:
        operation = self.operations[operation.operation_id]
        after = replace(operation, status=OPERATION_LIFE[operation.status, transition])
        self.operations[operation.operation_id] = after
        if transition is Transition.DONE:
            self.account = confirm(self.account, after, grade=Grade.PERSON, at=at)

    def only_open(self) -> Operation:
        (operation,) = self.open
        return operation

    def finish(self, *held: Held, cut: bool = False) -> None:
        """Keep doing whatever is open until nothing more is needed."""
        for _ in range(20):
            self.want(*held, cut=cut)
            if not self.open:
                return
            for operation in self.open:
                self.say(operation, Transition.DONE)
        raise AssertionError(f"it never comes to rest: {self.open}")


def test_a_new_account_is_opened_with_all_its_functions_at_once() -> None:
    desk = Desk()
    desk.want(ELIGIBILITY, BENEFITS)
    assert desk.only_open().kind is OperationKind.OPEN
    assert set(desk.only_open().rights) == {ELIGIBILITY, BENEFITS}
    assert not desk.account.effective


def test_an_unclaimed_opening_is_replaced_when_other_functions_are_needed() -> None:
    desk = Desk()
    desk.want(ELIGIBILITY)
    desk.want(BENEFITS)
    assert desk.only_open().rights == (BENEFITS,)
    assert desk.only_open().generation == 2
    assert desk.kinds(OperationStatus.CANCELLED) == [OperationKind.OPEN]


def test_asking_again_for_the_same_changes_nothing() -> None:
    desk = Desk()
    desk.want(ELIGIBILITY)
    assert desk.want(ELIGIBILITY) == ([], [])


def test_a_mover_loses_and_gains_single_functions() -> None:
    desk = Desk()
    desk.finish(ELIGIBILITY, BENEFITS)
    desk.want(BENEFITS, CLAIMS)
    assert sorted(desk.kinds(OperationStatus.REQUESTED)) == [
        OperationKind.GRANT,
        OperationKind.REVOKE,
    ]


def test_a_departure_orders_one_removal_of_the_whole_account() -> None:
    desk = Desk()
    desk.finish(ELIGIBILITY, BENEFITS)
    desk.want(cut=True)
    assert desk.only_open().kind is OperationKind.SUSPEND
    assert desk.account.effective, "nothing is called removed before it is confirmed"
    desk.say(desk.only_open(), Transition.DONE)
    assert not desk.account.effective


def test_a_portal_without_a_suspend_button_gets_a_revocation() -> None:
    desk = Desk(REVOKE_ONLY)
    desk.finish(ELIGIBILITY)
    desk.want(cut=True)
    assert desk.only_open().kind is OperationKind.REVOKE
    desk.say(desk.only_open(), Transition.DONE)
    assert not desk.account.effective
    assert desk.want(cut=True) == ([], [])


def test_a_departure_while_the_login_is_being_opened_orders_its_removal_beside_it() -> None:
    desk = Desk()
    desk.want(ELIGIBILITY)
    opening = desk.only_open()
    desk.say(opening, Transition.CLAIM)
    desk.want(cut=True)
    assert desk.operations[opening.operation_id].status is OperationStatus.SUPERSEDED
    assert OperationKind.SUSPEND in desk.kinds(OperationStatus.REQUESTED)


def test_a_late_done_on_a_cancelled_opening_is_a_fact_and_gets_removed() -> None:
    desk = Desk()
    desk.want(ELIGIBILITY)
    opening = desk.only_open()
    desk.want(cut=True)
    assert desk.operations[opening.operation_id].status is OperationStatus.CANCELLED
    desk.say(opening, Transition.DONE)
    assert desk.account.effective
    desk.want(cut=True)
    assert desk.only_open().kind is OperationKind.SUSPEND


def test_suspend_resume_suspend_takes_the_claimed_suspension_up_again() -> None:
    desk = Desk()
    desk.finish(ELIGIBILITY)
    desk.want(cut=True)
    suspension = desk.only_open()
    desk.say(suspension, Transition.CLAIM)
    desk.want(ELIGIBILITY)
    assert desk.operations[suspension.operation_id].status is OperationStatus.SUPERSEDED
    assert OperationKind.RESUME not in desk.kinds(), "a resume waits for the suspension to end"
    desk.want(cut=True)
    assert desk.only_open().operation_id == suspension.operation_id
    assert desk.only_open().status is OperationStatus.CLAIMED
    desk.say(suspension, Transition.DONE)
    assert desk.account.status is AccountStatus.SUSPENDED


def test_a_resume_follows_once_the_superseded_suspension_was_done() -> None:
    desk = Desk()
    desk.finish(ELIGIBILITY)
    desk.want(cut=True)
    suspension = desk.only_open()
    desk.say(suspension, Transition.CLAIM)
    desk.want(ELIGIBILITY)
    desk.say(suspension, Transition.DONE)
    desk.want(ELIGIBILITY)
    assert desk.only_open().kind is OperationKind.RESUME


def test_an_unclaimed_suspension_is_simply_withdrawn() -> None:
    desk = Desk()
    desk.finish(ELIGIBILITY)
    desk.want(cut=True)
    desk.want(ELIGIBILITY)
    assert not desk.open
    assert desk.account.effective


def test_a_claimed_grant_no_longer_wanted_gets_its_revocation_at_once() -> None:
    desk = Desk()
    desk.finish(ELIGIBILITY)
    desk.want(ELIGIBILITY, BENEFITS)
    granting = desk.only_open()
    desk.say(granting, Transition.CLAIM)
    desk.want(ELIGIBILITY)
    assert desk.operations[granting.operation_id].status is OperationStatus.SUPERSEDED
    assert OperationKind.REVOKE in desk.kinds(OperationStatus.REQUESTED)


ALL = (ELIGIBILITY, BENEFITS, CLAIMS)
wishes = st.one_of(
    st.just(("cut", ())),
    st.tuples(st.just("want"), st.lists(st.sampled_from(ALL), unique=True).map(tuple)),
)
acts = st.tuples(st.just("act"), st.integers(0, 50), st.sampled_from(list(Transition)))


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([HUB, REVOKE_ONLY]), st.lists(st.one_of(wishes, acts), max_size=30))
def test_whatever_people_do_in_between_the_portal_ends_with_what_is_desired(
    portal: Portal, story: list[tuple[object, ...]]
) -> None:
    desk = Desk(portal)
    wanted: tuple[Held, ...] = ()
    cut = True
    for step in story:
        if step[0] == "act":
            operations = list(desk.operations.values())
            transition = step[2]
            assert isinstance(transition, Transition)
            if operations and transition not in (
                Transition.CANCEL,
                Transition.SUPERSEDE,
                Transition.REINSTATE,
            ):
                assert isinstance(step[1], int)
                operation = operations[step[1] % len(operations)]
                if (operation.status, transition) in OPERATION_LIFE:
                    desk.say(operation, transition)
        else:
            cut = step[0] == "cut"
            wanted = () if cut else tuple(step[1])  # type: ignore[arg-type]
        desk.want(*wanted, cut=cut)
        assert desk.want(*wanted, cut=cut) == ([], []), "deciding twice must change nothing"
        exposed = set(desk.account.effective) - set(wanted)
        if exposed:
            removing = [one for one in desk.open if one.kind in REMOVES]
            assert removing, "what must be gone has an open removal order"
        per_target: dict[tuple[str, bool], int] = {}
        for one in desk.open:
            if one.status is not OperationStatus.SUPERSEDED:
                name = (one.target, one.kind in REMOVES)
                per_target[name] = per_target.get(name, 0) + 1
        assert all(count == 1 for count in per_target.values())
    desk.finish(*wanted, cut=cut)
    assert set(desk.account.effective) == set(wanted)


def test_the_id_follows_from_target_kind_and_generation() -> None:
    one = operation_id("org", "w", "hub", "", OperationKind.OPEN, 1)
    assert one == operation_id("org", "w", "hub", "", OperationKind.OPEN, 1)
    assert one != operation_id("org", "w", "hub", "", OperationKind.OPEN, 2)
    assert one != operation_id("org", "w", "hub", "", OperationKind.SUSPEND, 1)
