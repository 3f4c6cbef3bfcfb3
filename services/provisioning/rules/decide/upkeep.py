"""Keeping a login usable, and a portal administered: work that changes no access."""

from dataclasses import replace
from datetime import timedelta

from services.provisioning.rules.clocks import KEEP_ALIVE_AHEAD_DAYS, keep_alive_steps, lapse
from services.provisioning.rules.decide.course import Course
from services.provisioning.rules.guards import LAST_ADMINISTRATOR
from services.provisioning.rules.operations import DEFAULT_STEPS, Account
from services.provisioning.rules.timeline import Folded
from shared.contracts.directory import Function, OperationKind, Portal, RuleName
from shared.contracts.state import Finding, OperationStatus, WorkerStatus


def keep_alive(
    course: Course, account: Account, portal: Portal, folded: Folded | None, *, needed: bool
) -> Account:
    """Work for the holder before the portal disables a login for want of use.

    On leave the clock runs on and the work does not: the login lapses, and is brought back by
    the same work after the return.
    """
    days = _idle_days(course, portal)
    asked = [op for op in course.open_operations(account) if op.kind is OperationKind.KEEP_ALIVE]
    lapses = lapse(account, days)
    if lapses != account.lapses_at:
        account = replace(account, lapses_at=lapses)
    away = folded is None or folded.status is not WorkerStatus.ACTIVE
    if lapses is None or away or not needed:
        course.withdraw_all(asked)
        return account
    due = lapses - timedelta(days=KEEP_ALIVE_AHEAD_DAYS)
    if lapses <= course.as_of:
        detail = f"the login on {portal.name} was last used more than {days} days ago"
        course.findings[Finding("login_lapsed", detail)] = None
    course.note(lapses)
    if course.as_of < due:
        course.note(due)
        course.withdraw_all(asked)
        return account
    too_late = [
        op
        for op in asked
        if op.status is OperationStatus.REQUESTED and op.requested_at < lapses <= course.as_of
    ]
    course.withdraw_all(too_late)
    if len(too_late) == len(asked):
        account, _ = course.request(
            account,
            portal,
            OperationKind.KEEP_ALIVE,
            None,
            None,
            (),
            "inactivity",
            keep_alive_steps(portal, lapses, course.as_of),
            {},
            deadline=lapses if lapses > course.as_of else None,
        )
    return account


def _idle_days(course: Course, portal: Portal) -> int | None:
    """How long a login may rest before it, or its password, has to be brought back there."""
    known = [
        days
        for rule in (RuleName.INACTIVITY_DAYS, RuleName.PASSWORD_IDLE_DAYS)
        if (days := course.compiled.number(portal, rule, course.as_of)) is not None
    ]
    return min(known, default=None)


def successor(course: Course, account: Account, portal: Portal, folded: Folded | None) -> Account:
    """The only administrator's dated exit first needs somebody to hand over to."""
    asked = [
        op for op in course.open_operations(account) if op.kind is OperationKind.APPOINT_SUCCESSOR
    ]
    if not asked and not course.facts.sole_administrator_of:
        return account
    leaves_at = folded.leaves_at if folded else None
    alone = course.facts.sole_administrator_of.get(portal.id)
    if alone is None or leaves_at is None:
        course.withdraw_all(asked)
        return account
    of = portal.name
    if not alone.issuperset(course.compiled.tins_served(portal.id)):
        of += f" for {', '.join(sorted(alone))}"
    detail = f"the only administrator of {of} leaves on {leaves_at.date()}"
    course.findings[Finding(LAST_ADMINISTRATOR, detail)] = None
    if asked:
        return account
    account, _ = course.request(
        account,
        portal,
        OperationKind.APPOINT_SUCCESSOR,
        None,
        Function.USER_ADMINISTRATION,
        (),
        LAST_ADMINISTRATOR,
        portal.steps.get(OperationKind.APPOINT_SUCCESSOR)
        or DEFAULT_STEPS[OperationKind.APPOINT_SUCCESSOR],
        {},
        deadline=max(leaves_at, course.as_of + timedelta(hours=1)),
    )
    return account
