"""A person's logins compared with what is desired of them, the portal that cuts most first."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from services.provisioning.rules.brake import Parked
from services.provisioning.rules.decide.closing import close_for_good, closing_waits
from services.provisioning.rules.decide.course import Course
from services.provisioning.rules.decide.orders import place_order, with_retries
from services.provisioning.rules.decide.reviews import suspends_unanswered
from services.provisioning.rules.decide.shown import shown
from services.provisioning.rules.decide.upkeep import keep_alive, successor
from services.provisioning.rules.decide.waiting import brake
from services.provisioning.rules.desired.rights import MOVER_GRACE, Desired
from services.provisioning.rules.needed import needed
from services.provisioning.rules.observing import Observed, observe
from services.provisioning.rules.operations import TAKES, Account, Held, rights_of
from services.provisioning.rules.timeline import Folded
from shared.contracts.access.accounts import ExposureEnded, ExposureStarted
from shared.contracts.directory import OperationKind, Portal, RuleName
from shared.contracts.state import AccountStatus, AuthorizedBy, Finding, PortalAccess, WorkerStatus
from shared.contracts.state import Held as HeldBack

UNKNOWN_PORTAL = "unknown_portal"

UNANSWERED = AuthorizedBy("brake", "", "")
"""Stands for whoever answers for a parked entitlement: nobody does, it only is not removed yet."""

TEMPORARY = frozenset({"exception", "break_glass", MOVER_GRACE})
"""Kinds of authorization that end by themselves."""


def on_portals(course: Course, folded: Folded | None, desired: Desired) -> list[PortalAccess]:
    """What follows on each portal that a person uses or is to use."""
    wanted: dict[str, dict[Held, AuthorizedBy]] = {}
    for (portal, tin, function), authorization in desired.rights.items():
        wanted.setdefault(portal, {})[tin, function] = authorization
    accounts: dict[str, list[Account]] = {}
    for account in course.facts.accounts:
        accounts.setdefault(account.portal, []).append(account)
    names = {*wanted, *accounts, *desired.held, *course.facts.sole_administrator_of}
    why = why_cut(folded) if desired.cut else None
    result = []
    for name in sorted(names, key=lambda name: (course.compiled.portal(name).removal_rank, name)):
        own = sorted(
            accounts.get(name, [Account(course.facts.person.worker, name)]),
            key=lambda account: (not account.rights, account.worker),
        )
        for account in own[1:]:
            # One person, one login: merged ids may have brought a second one along.
            twice = f"two logins on {course.compiled.portal(name).name}"
            course.findings[Finding("second_account", twice)] = None
            result.append(_on_portal(course, account, folded, desired, {}, "second_account"))
        result.append(_on_portal(course, own[0], folded, desired, wanted.get(name, {}), why))
    return result


def _on_portal(
    course: Course,
    account: Account,
    folded: Folded | None,
    desired: Desired,
    wanted: Mapping[Held, AuthorizedBy],
    why_cut: str | None,
) -> PortalAccess:
    portal = course.compiled.portal(account.portal)
    held = desired.held.get(account.portal, ())
    wanted = {
        own: authorization
        for own, authorization in wanted.items()
        if authorization.kind != MOVER_GRACE or own in account.rights
    }
    spared: Mapping[Held, AuthorizedBy] = {}
    if why_cut == "on_leave" and portal.closes_only:
        # What could not be given back after the return is left alone.
        why_cut = None
        wanted = {
            own: entitlement.authorized_by or UNANSWERED
            for own, entitlement in account.effective.items()
        }
    if why_cut is None and portal.id in course.compiled.observed_since:
        observed = _observe(course, account, wanted, held)
        wanted, held = observed.wanted, (*held, *observed.held)
        spared = observed.spared
    operations = course.open_operations(account)
    rule_of = _why_too_much(account, held)
    parked: list[Parked] = []
    if why_cut is None:
        wanted, parked = brake(course, account, wanted, {**spared, **rule_of}, operations)
    kept = {**spared, **{_held(one): UNANSWERED for one in parked}, **wanted}
    if why_cut is None and not kept and suspends_unanswered(course.reviews, account.portal):
        why_cut = "review_unanswered"
    if why_cut is None and not kept and _is_all_or_nothing(course, portal):
        why_cut = "no_longer_needed"
    orders, moves = needed(
        account,
        operations,
        kept,
        cut=why_cut is not None,
        cut_kind=_cut_kind(course, portal),
        rule_of=rule_of,
        why_cut=why_cut or "",
        reopens=course.holds(portal, RuleName.ENDED_CAN_BE_REOPENED),
    )
    for move in moves:
        course.move(move)
    account = with_retries(course, account, orders)
    for order in orders:
        if order.kind is OperationKind.CLOSE and (waits := closing_waits(course, account)):
            parked.append(waits)
            continue
        account = place_order(course, account, portal, order, wanted, folded)
    account = successor(course, account, portal, folded)
    account = keep_alive(course, account, portal, folded, needed=bool(wanted))
    account, closings = close_for_good(course, account, portal, why_cut)
    account = _exposure(course, account, kept, folded)
    if portal.id not in course.compiled.portals and (
        account.status is not AccountStatus.NONE or course.open_operations(account)
    ):
        detail = f"has a login on {portal.id}, which is not in the directory"
        course.findings[Finding(UNKNOWN_PORTAL, detail)] = None
    if account not in course.facts.accounts and (account.targets or account.rights):
        course.changed_accounts[account.worker, account.portal] = account
    return shown(course, account, wanted, held, (*parked, *closings))


def _observe(
    course: Course, account: Account, wanted: Mapping[Held, AuthorizedBy], held: Iterable[HeldBack]
) -> Observed:
    """Keep to what is known on a portal whose first roster is not reconciled yet."""
    before = course.desired_at(course.compiled.observed_since[account.portal])
    removed = {(reason.tin, reason.function) for reason in held}
    for review in course.facts.reviews:
        removed |= {
            right for right in account.rights if review.removal.covers((account.portal, *right))
        }
    observed = observe(account, wanted, rights_of(before, account.portal), removed)
    if observed.held or observed.spared:
        course.observed_on[course.compiled.portal(account.portal).name] = None
    return observed


def _exposure(
    course: Course, account: Account, wanted: Mapping[Held, AuthorizedBy], folded: Folded | None
) -> Account:
    effective = account.effective
    if not effective and account.exposed_since is None:
        return account
    exposed = sorted(held for held in effective if held not in wanted)
    if exposed and account.exposed_since is None:
        since = course.as_of
        if folded is not None and folded.ended_at is not None and not wanted:
            since = folded.ended_at
        removal = next(
            (op.operation_id for op in course.open_operations(account) if op.kind in TAKES),
            None,
        )
        course.say(
            "exposure.started",
            (account.worker, account.portal, str(since), removal or ""),
            ExposureStarted(account.worker, account.portal, since, tuple(exposed), removal),
        )
        return replace(account, exposed_since=since)
    if not exposed and account.exposed_since is not None:
        course.say(
            "exposure.ended",
            (account.worker, account.portal, str(account.exposed_since), str(course.as_of)),
            ExposureEnded(account.worker, account.portal, account.exposed_since, course.as_of),
        )
        return replace(account, exposed_since=None)
    return account


def as_it_stands(course: Course) -> list[PortalAccess]:
    """A blocked worker's portals: shown as known, nothing ordered and nothing withdrawn."""
    return [shown(course, account, {}, (), ()) for account in course.facts.accounts]


def why_cut(folded: Folded | None) -> str:
    """The rule by which somebody who must have nothing has to lose everything."""
    if folded is None or folded.status is WorkerStatus.TERMINATED:
        return "employment_ended"
    if folded.status is WorkerStatus.ERASED:
        return "erased"
    if folded.status is WorkerStatus.ON_LEAVE:
        return "on_leave"
    return "not_employed"


def _is_all_or_nothing(course: Course, portal: Portal) -> bool:
    """Whether a login there that nobody needs any more has to go as a whole.

    There is no part of a login that several know: it is known or it is not.
    """
    return portal.closes_only or course.holds(portal, RuleName.ONE_LOGIN)


def _cut_kind(course: Course, portal: Portal) -> OperationKind:
    if course.holds(portal, RuleName.ONE_LOGIN):
        return OperationKind.ROTATE
    if portal.revoke_instead_of_suspend:
        return OperationKind.REVOKE
    if portal.closes_only:
        return OperationKind.CLOSE
    return OperationKind.SUSPEND


def _why_too_much(account: Account, held: Iterable[Any]) -> dict[Held, str]:
    """Why entitlements are no longer desired, where a rule by name is behind it."""
    ended: dict[Held, str] = {
        own: f"{entitlement.authorized_by.kind}_ended"
        for own, entitlement in account.rights.items()
        if entitlement.authorized_by and entitlement.authorized_by.kind in TEMPORARY
    }
    return ended | {(reason.tin, reason.function): reason.rule for reason in held}


def _held(parked: Parked) -> Held:
    assert parked.tin is not None
    assert parked.function is not None
    return (parked.tin, parked.function)
