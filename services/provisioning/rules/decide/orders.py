"""Ordering what is needed on a portal, with the guards that come before it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.provisioning.rules.decide.closing import CLOSING
from services.provisioning.rules.decide.course import Course
from services.provisioning.rules.guards import (
    CASCADING_ADMINISTRATOR,
    LAST_ADMINISTRATOR,
    LAST_ADMINISTRATOR_KEPT,
    asked_first,
    cascade_preamble,
    kept_preamble,
    removal_preamble,
)
from services.provisioning.rules.needed import Order
from services.provisioning.rules.operations import (
    BESIDE,
    DEFAULT_STEPS,
    TAKES,
    Account,
    Held,
    Target,
    target_key,
)
from services.provisioning.rules.timeline import Folded
from shared.contracts.access.decisions import GuardRefused
from shared.contracts.directory import Function, OperationKind, Portal, RuleName
from shared.contracts.state import AuthorizedBy

ASIDE = frozenset(target_key(kind, None, None) for kind in BESIDE) | {CLOSING}
"""Targets whose retries are looked after where they are asked for."""


def with_retries(course: Course, account: Account, orders: Sequence[Order]) -> Account:
    """What is no longer wanted the same way is forgotten; what failed lately has to wait."""
    if not any(target.retry_kind for target in account.targets.values()):
        return account
    asked = {target_key(order.kind, *(order.held or (None, None))): order.kind for order in orders}
    targets = dict(account.targets)
    for key, target in account.targets.items():
        if key not in ASIDE and target.retry_kind and asked.get(key) != target.retry_kind:
            targets[key] = Target(target.generation)
    return account if targets == account.targets else replace(account, targets=targets)


def place_order(
    course: Course,
    account: Account,
    portal: Portal,
    order: Order,
    wanted: Mapping[Held, AuthorizedBy],
    folded: Folded | None,
) -> Account:
    """Ask for what is needed; a guard puts its step first and is said by name."""
    tin, function = order.held or (None, None)
    steps = portal.steps.get(order.kind) or DEFAULT_STEPS[order.kind]
    if order.kind is OperationKind.OPEN and account.login_id is None:
        steps = (*asked_first(portal, course.holds(portal, RuleName.IDENTITY_SURVIVES)), *steps)
    guards = []
    if order.kind in TAKES and function in (None, Function.USER_ADMINISTRATION):
        alone = course.facts.sole_administrator_of.get(portal.id, frozenset())
        if alone and (tin is None or tin in alone):
            voluntary = folded is not None and (
                bool(folded.open_employments) or folded.leaves_voluntarily
            )
            guards.append(
                (LAST_ADMINISTRATOR_KEPT, kept_preamble(portal))
                if course.holds(portal, RuleName.LAST_ADMINISTRATOR_KEPT)
                else (LAST_ADMINISTRATOR, removal_preamble(portal, voluntary=voluntary))
            )
        elif _administers(account) and course.holds(
            portal, RuleName.TERMINATING_ADMIN_ENDS_ASSIGNED
        ):
            guards.append((CASCADING_ADMINISTRATOR, cascade_preamble(portal)))
    steps = (*(step for _, step in guards), *steps)
    account, operation = course.request(
        account, portal, order.kind, tin, function, order.rights, order.rule, steps, wanted
    )
    if operation is None:
        return account
    for rule, _ in guards:
        course.say(
            "guard.refused",
            (operation.operation_id,),
            GuardRefused(
                rule=rule,
                operation_id=operation.operation_id,
                portal=portal.id,
                worker=account.worker,
                effect="a step comes before the removal",
            ),
        )
    return account


def _administers(account: Account) -> bool:
    return any(function is Function.USER_ADMINISTRATION for _, function in account.rights)
