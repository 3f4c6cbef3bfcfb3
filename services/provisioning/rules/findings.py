"""What a sheet or a portal's user list shows that somebody should look at, and what to do next."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from services.provisioning.rules.operations import Held
from shared.contracts.directory import Function, Portal, RuleName
from shared.contracts.state import AccountStatus
from shared.values import value_class

DORMANT_DAYS = 90
"""Where a portal's own rule is not known."""

RULE_MARGIN_DAYS = 1
"""Portals count days in zones of their own."""

_GENERIC = re.compile(
    r"(front[ ._-]?desk|billing|biller|office|reception(ist)?|admin(istrator)?|clinic|staff|user"
    r"|test|temp|shared|referrals?|auths?|authorizations?|scheduling|scheduler|nurses?|info"
    r"|records?|coding|claims?|payments?|insurance|eligibility|frontoffice|backoffice|portal"
    r"|department|team|desk|mailbox|everyone|generic|guest|trainee|training)[ ._-]*\d*"
)


class FindingRule(StrEnum):
    """What can be the matter with a login, or with a portal's rule."""

    ORPHAN = "orphan"
    STILL_ACTIVE = "still_active"
    DORMANT = "dormant"
    SHARED = "shared"
    GENERIC = "generic"
    DRIFT = "drift"
    SECOND_LOGIN = "second_login"
    RULE_CONTRADICTED = "rule_contradicted"


@value_class(frozen=True, slots=True)
class PortalFinding:
    """Something to look at. `subject` is portal/login (portal/rule where a rule is doubtful)."""

    subject: str
    rule: FindingRule
    detail: str
    next_step: str
    worker: str | None = None


@value_class(frozen=True, slots=True)
class LoginSeen:
    """One login as a sheet or list shows it. `rights` is None where it names no functions."""

    login_id: str
    name: str
    workers: tuple[str, ...]
    status: AccountStatus
    rights: Collection[Held] | None = None
    last_login_at: datetime | None = None
    last_login_told: bool = False
    since: datetime | None = None
    """From when it is known to have been there: a new login need not have been used."""


@value_class(frozen=True, slots=True)
class Standing:
    """What is known of a worker whom a login belongs to: `desired` is None while on leave."""

    name: str
    employed: bool
    desired: Collection[Held] | None


def findings_of(
    portal: Portal,
    seen: Sequence[LoginSeen],
    standings: Mapping[str, Standing],
    as_of: datetime,
    zone: ZoneInfo,
) -> list[PortalFinding]:
    """Everything amiss among the logins of one portal."""
    day = as_of.astimezone(zone).date()
    found = [
        finding for login in seen for finding in _of_login(portal, login, standings, day, zone)
    ]
    found += _shared(portal, seen, standings, day)
    found += _second_logins(portal, seen, standings)
    found += _contradictions(portal, seen, day, zone)
    return found


def subject_of(portal: str, login_id: str) -> str:
    """What findings about a login are called by."""
    return f"{portal}/{login_id.casefold()}"


def _of_login(
    portal: Portal,
    login: LoginSeen,
    standings: Mapping[str, Standing],
    day: date,
    zone: ZoneInfo,
) -> Iterable[PortalFinding]:
    if login.status is not AccountStatus.ACTIVE:
        return
    subject = subject_of(portal.id, login.login_id)
    if is_generic(login.login_id) or is_generic(login.name):
        yield PortalFinding(
            subject,
            FindingRule.GENERIC,
            f"{login.login_id!r} on {portal.name} is named after no person.",
            "Ask who uses it, order a login for each of them, then remove this one.",
        )
    elif not login.workers:
        yield PortalFinding(
            subject,
            FindingRule.ORPHAN,
            f"{login.login_id!r}{f' ({login.name})' if login.name else ''} on {portal.name} is"
            " nobody's whom HR knows.",
            "Ask who uses it. If nobody here does, remove it at the portal; if somebody does, HR"
            " enters them. Then import the list again.",
        )
    for worker in login.workers:
        yield from _of_holder(portal, login, worker, standings[worker], day, zone)


def _of_holder(
    portal: Portal, login: LoginSeen, worker: str, standing: Standing, day: date, zone: ZoneInfo
) -> Iterable[PortalFinding]:
    subject = subject_of(portal.id, login.login_id)
    if not standing.employed:
        if login.rights is not None and not login.rights:
            # A login that outlives the employer, and can do nothing here any more.
            return
        yield PortalFinding(
            subject,
            FindingRule.STILL_ACTIVE,
            f"{standing.name} has left, and {login.login_id!r} on {portal.name} still works.",
            "The removal order is in the work list: carry it out, then import the list again.",
            worker,
        )
        return
    if login.last_login_told:
        yield from _dormant(portal, login, worker, standing, day, zone)
    if login.rights is not None and standing.desired is not None and len(login.workers) == 1:
        beyond = _functions(set(login.rights) - set(standing.desired))
        missing = _functions(set(standing.desired) - set(login.rights))
        if beyond or missing:
            parts = [f"beyond policy: {beyond}"] * bool(beyond) + [f"missing: {missing}"] * bool(
                missing
            )
            yield PortalFinding(
                subject,
                FindingRule.DRIFT,
                f"{standing.name} on {portal.name}, {'; '.join(parts)}.",
                "Orders for it are in the work list. If the person needs it, change the policy or"
                " approve an exception.",
                worker,
            )


def _dormant(
    portal: Portal, login: LoginSeen, worker: str, standing: Standing, day: date, zone: ZoneInfo
) -> Iterable[PortalFinding]:
    limit = inactivity_days(portal, day) or DORMANT_DAYS
    idle = idle_days(login.last_login_at, day, zone)
    unused = idle_days(login.since, day, zone) if idle is None and login.since else None
    if (idle is not None and idle <= limit) or (unused is not None and unused <= limit):
        return
    how = "has never been used" if idle is None else f"was last used {idle} days ago"
    yield PortalFinding(
        subject_of(portal.id, login.login_id),
        FindingRule.DORMANT,
        f"{standing.name}'s login {login.login_id!r} on {portal.name} {how}.",
        "Ask whether it is needed: the holder signs in themselves, or a review removes it.",
        worker,
    )


def _functions(held: Collection[Held]) -> str:
    names = sorted({function.value.replace("_", " ") for _, function in held})
    return ", ".join(names)


def idle_days(last_login_at: datetime | None, day: date, zone: ZoneInfo) -> int | None:
    """Whole days of the organization's calendar since a login; None if there was none."""
    return None if last_login_at is None else (day - last_login_at.astimezone(zone).date()).days


def inactivity_days(portal: Portal, day: date) -> int | None:
    """After how many idle days the portal disables a login, by its rule in force."""
    rule = portal.rule_in_force(RuleName.INACTIVITY_DAYS, day)
    if rule is None or rule.value is None or not str(rule.value).isdigit():
        return None
    return int(rule.value)


def is_generic(text: str) -> bool:
    """Whether a login or name stands for a desk and not for a person."""
    return _GENERIC.fullmatch(text.casefold().partition("@")[0].strip()) is not None


def _shared(
    portal: Portal, seen: Sequence[LoginSeen], standings: Mapping[str, Standing], day: date
) -> Iterable[PortalFinding]:
    one_login = portal.rule_in_force(RuleName.ONE_LOGIN, day)
    if one_login is not None and one_login.value is True:
        # A recorded exception: who knows it is known, and it is rotated when one of them leaves.
        return
    holders: dict[str, dict[str, None]] = {}
    for login in seen:
        if login.status is AccountStatus.ACTIVE and login.login_id:
            holders.setdefault(login.login_id.casefold(), {}).update(dict.fromkeys(login.workers))
    for login_id, workers in holders.items():
        if len(workers) > 1:
            names = " and ".join(sorted(standings[worker].name for worker in workers))
            yield PortalFinding(
                subject_of(portal.id, login_id),
                FindingRule.SHARED,
                f"{names} use one login on {portal.name}: {login_id!r}.",
                "Order a login for each, give this one to one person or remove it, and have its"
                " password changed.",
            )


def _second_logins(
    portal: Portal, seen: Sequence[LoginSeen], standings: Mapping[str, Standing]
) -> Iterable[PortalFinding]:
    first: dict[str, str] = {}
    for login in seen:
        if login.status is not AccountStatus.ACTIVE or len(login.workers) != 1:
            continue
        worker = login.workers[0]
        known = first.setdefault(worker, login.login_id)
        if known != login.login_id:
            yield PortalFinding(
                subject_of(portal.id, login.login_id),
                FindingRule.SECOND_LOGIN,
                f"{standings[worker].name} has two logins on {portal.name}: {known!r} and"
                f" {login.login_id!r}.",
                "Keep one, remove the other at the portal, then import the list again.",
                worker,
            )


def _contradictions(
    portal: Portal, seen: Sequence[LoginSeen], day: date, zone: ZoneInfo
) -> Iterable[PortalFinding]:
    limit = inactivity_days(portal, day)
    if limit is None:
        return
    idle = [
        days
        for login in seen
        if login.status is AccountStatus.ACTIVE
        and login.last_login_told
        and (days := idle_days(login.last_login_at, day, zone)) is not None
        and days > limit + RULE_MARGIN_DAYS
    ]
    if idle:
        rule = portal.rule_in_force(RuleName.INACTIVITY_DAYS, day)
        source = f" ({rule.source})" if rule else ""
        logins = "1 login is" if len(idle) == 1 else f"{len(idle)} logins are"
        yield PortalFinding(
            f"{portal.id}/rule/{RuleName.INACTIVITY_DAYS}",
            FindingRule.RULE_CONTRADICTED,
            f"{portal.name} is said to disable logins after {limit} idle days{source}, but"
            f" {logins} active after up to {max(idle)} days.",
            "Ask the portal what its rule is, and correct it in the directory with its source.",
        )


def least_function(portal: Portal) -> Function:
    """The one function that a login counts as having while nobody has told any."""
    if portal.kind == "sign_on":
        return Function.SIGN_ON
    reached = {function for reach in portal.reaches for function in reach.functions}
    return next((function for function in Function if function in reached), Function.ELIGIBILITY)
