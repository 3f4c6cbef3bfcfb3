"""Chores that come due again and again: lists to fetch, portals' own dates, passwords."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from services.provisioning.rules.chores import Chore, chore_id
from services.provisioning.rules.desired.directory import CompiledDirectory
from shared.contracts import directory as contract
from shared.contracts.directory import Portal, RuleName
from shared.contracts.state import ChoreKind
from shared.values import value_class

FETCH_DAYS = 3
"""From when a list is due until it is overdue: portals mail some lists only on workdays."""

AHEAD_DAYS = 45
"""When no window is known: Noridian opens its recertification so long before the date."""

PASSWORD_AHEAD_DAYS = 14
"""Two weeks: who works part-time or is away for a week still changes it in time."""

PORTAL_CLOCKS = (
    (
        ChoreKind.RECERTIFY,
        contract.Chore.RECERTIFY,
        RuleName.RECERTIFICATION_DAYS,
        "Confirm every user of {portal} there; whoever is not confirmed loses the login.",
    ),
    (
        ChoreKind.PROFILE_CHECK,
        contract.Chore.PROFILE_CHECK,
        RuleName.PROFILE_CHECK_DAYS,
        "Confirm the organization's profile at {portal}.",
    ),
)


@value_class(frozen=True, slots=True)
class PasswordAge:
    """Since when a holder's password on a portal is known to be in use (UTC).

    `asked` is how often they were asked to change it before.
    """

    worker: str
    since: datetime
    asked: int


def fetch_chore(
    organization: str,
    portal: Portal,
    compiled: CompiledDirectory,
    latest: datetime | None,
    *,
    requested_by: str,
    now: datetime,
) -> Chore | None:
    """The fetching of a list that is due now; None while it is not.

    Args:
        latest: the instant for which the latest imported list was right, if there is one.
    """
    days = portal.roster_interval_days or compiled.directory.organization.roster_interval_days
    interval = timedelta(days=days)
    known = compiled.knowledge.get(portal.id)
    if known is None:
        return None
    observed = portal.id in compiled.observed_since
    due = known.since if latest is None and observed else (latest or known.since) + interval
    if due > now:
        return None
    # Declined, it is asked for again once another interval is over.
    round_ = (now - due) // interval
    occasion = f"{latest.isoformat() if latest else 'first'}/{round_}"
    steps = portal.chores.get(contract.Chore.FETCH_ROSTER, ())
    how = " ".join(step.text for step in steps) or "Take the list of users from the portal."
    why = (
        "Nothing is ordered there for what may exist already before its first list is imported."
        if observed
        else f"It is fetched every {days} days."
    )
    return Chore(
        chore_id(organization, ChoreKind.FETCH_ROSTER, portal.id, None, occasion),
        ChoreKind.FETCH_ROSTER,
        portal.id,
        None,
        f"Fetch {portal.name}'s list of users and import it. {how} {why}",
        {"interval_days": str(days)},
        compiled.administrator(portal.id, now),
        requested_by,
        now,
        due + round_ * interval + timedelta(days=FETCH_DAYS),
    )


def portal_clock_chores(
    organization: str,
    portal: Portal,
    compiled: CompiledDirectory,
    done_at: Mapping[ChoreKind, datetime],
    *,
    requested_by: str,
    now: datetime,
) -> Iterable[Chore]:
    """What a portal's own dates want now, as long ahead as the portal allows.

    Args:
        done_at: when each was last done, as far as known; else the portal's first day here counts.
    """
    window = compiled.number(portal, RuleName.RECERTIFICATION_WINDOW_DAYS, now) or AHEAD_DAYS
    for kind, steps, rule, text in PORTAL_CLOCKS:
        due = clock_due(portal, rule, compiled, done_at.get(kind), now)
        if due is None or due - timedelta(days=window) > now:
            continue
        how = " ".join(step.text for step in portal.chores.get(steps, ()))
        yield Chore(
            chore_id(organization, kind, portal.id, None, due.isoformat()),
            kind,
            portal.id,
            None,
            f"{text.format(portal=portal.name)} {how}".strip(),
            {"rule": rule.value},
            compiled.administrator(portal.id, now),
            requested_by,
            now,
            due,
        )


def clock_due(
    portal: Portal,
    rule: RuleName,
    compiled: CompiledDirectory,
    done_at: datetime | None,
    now: datetime,
) -> datetime | None:
    """By when a portal's clock has to be wound again, where that is known.

    Args:
        done_at: when it was last done, as far as known; else the portal's first day here counts.
    """
    days = compiled.number(portal, rule, now)
    known = compiled.knowledge.get(portal.id)
    if days is None or known is None:
        return None
    return (done_at or known.since) + timedelta(days=days)


def password_chores(
    organization: str,
    portal: Portal,
    compiled: CompiledDirectory,
    ages: Iterable[PasswordAge],
    *,
    requested_by: str,
    now: datetime,
) -> Iterable[Chore]:
    """Passwords about to expire by the portal's rule, each for its holder, who alone may change it.

    Args:
        ages: of the passwords of whoever is at work and can use the portal.
    """
    rule = portal.rule_in_force(RuleName.PASSWORD_DAYS, now.astimezone(compiled.zone).date())
    days = compiled.number(portal, RuleName.PASSWORD_DAYS, now)
    if rule is None or days is None:
        return
    ahead = timedelta(days=PASSWORD_AHEAD_DAYS)
    for age in ages:
        due = age.since + timedelta(days=days)
        if due - ahead > now:
            continue
        occasion = f"{due.isoformat()}/{age.asked}"
        yield Chore(
            chore_id(organization, ChoreKind.CHANGE_PASSWORD, portal.id, age.worker, occasion),
            ChoreKind.CHANGE_PASSWORD,
            portal.id,
            age.worker,
            f"Change the password of your own login on {portal.name}, where it expires after"
            f" {days} days ({rule.source}). Nobody may do it for you, and nobody else learns it.",
            {"rule": RuleName.PASSWORD_DAYS.value, "days": str(days)},
            age.worker,
            requested_by,
            now,
            due if due > now else now + ahead,
        )
