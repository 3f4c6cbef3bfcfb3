"""Named rules that refuse or delay an operation."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.contracts.directory import Portal, Step

LAST_ADMINISTRATOR = "last_administrator"
LAST_ADMINISTRATOR_KEPT = "last_administrator_kept"
CASCADING_ADMINISTRATOR = "cascading_administrator"
LOGIN_ID_IN_USE = "login_id_in_use"
LOGIN_ID_REUSED = "login_id_reused"


@dataclass(frozen=True, slots=True)
class AdministratorStanding:
    """An appointment to a portal for a tax id, and what is known of the worker's exit (UTC)."""

    portal: str
    tin: str
    worker: str
    since: datetime
    until: datetime | None
    leaves_at: datetime | None

    @property
    def ends_at(self) -> datetime | None:
        """When this worker stops administering the portal, if that is known."""
        ends = [instant for instant in (self.until, self.leaves_at) if instant is not None]
        return min(ends, default=None)


def administers_alone(
    standings: Iterable[AdministratorStanding], person: Collection[str], as_of: datetime
) -> dict[str, frozenset[str]]:
    """By portal the tax ids for which nobody else administers it once a person stops.

    Somebody with a known end stops then, anybody else could only stop at `as_of`. A successor
    covers who is there when the person goes, for the tax ids that the successor serves. When two
    go at the same instant the greater worker id counts as the last, so the answer does not depend
    on whose departure was heard of first.

    Args:
        person: every worker id of the person.
    """
    own: dict[tuple[str, str], list[AdministratorStanding]] = {}
    others: dict[tuple[str, str], list[AdministratorStanding]] = {}
    for standing in standings:
        served = (standing.portal, standing.tin)
        if standing.worker not in person:
            others.setdefault(served, []).append(standing)
        elif standing.since <= as_of:
            own.setdefault(served, []).append(standing)
    alone: dict[str, frozenset[str]] = {}
    for (portal, tin), spans in own.items():
        ends = [span.ends_at for span in spans]
        last = None if None in ends else max(end for end in ends if end is not None)
        goes = (last or as_of, max(person))
        if not any(
            other.since <= goes[0]
            and (other.ends_at is None or (other.ends_at, other.worker) > goes)
            for other in others.get((portal, tin), ())
        ):
            alone[portal] = alone.get(portal, frozenset()) | {tin}
    return alone


def without_administrator(
    standings: Iterable[AdministratorStanding],
    served: Mapping[str, Iterable[str]],
    as_of: datetime,
) -> dict[str, tuple[str, ...]]:
    """By portal the tax ids for which nobody administers it at `as_of`, both sorted.

    Args:
        served: by portal the tax ids for which it is used.
    """
    covered = {
        (standing.portal, standing.tin)
        for standing in standings
        if standing.since <= as_of and (standing.ends_at is None or as_of < standing.ends_at)
    }
    left = {
        portal: tuple(sorted(tin for tin in tins if (portal, tin) not in covered))
        for portal, tins in sorted(served.items())
    }
    return {portal: tins for portal, tins in left.items() if tins}


def removal_preamble(portal: Portal, *, voluntary: bool) -> Step:
    """The step that comes before removing a portal's only administrator."""
    if voluntary:
        return Step(
            actor="administrator",
            text=(
                f"{portal.name} would be left without an administrator:"
                " appoint a successor there first, then go on."
            ),
        )
    line = f" ({portal.support})" if portal.support else ""
    return Step(
        actor="administrator",
        text=(
            f"This was the only administrator of {portal.name}:"
            f" ask the portal's support line{line} to remove the login and name another."
        ),
    )


def kept_preamble(portal: Portal) -> Step:
    """The step before removing the only administrator where the portal itself refuses to.

    Noridian's portal does not let the only Provider Administrator be deactivated, by its help.
    """
    line = f" ({portal.support})" if portal.support else ""
    return Step(
        actor="administrator",
        text=(
            f"{portal.name} does not let its only administrator be deactivated: have a successor"
            f" open there first, or ask the support line{line} to put another in their place."
        ),
    )


def refuse_kept_administrator(portal: Portal, *, others: bool, case_number: bool) -> str | None:
    """Why a person's word that an administrator is gone cannot be so; None if it can.

    Args:
        others: whether others are known to administer the portal for each of their tax ids.
        case_number: whether the portal's own number for the removal was given.
    """
    if others or case_number:
        return None
    return (
        f"{portal.name} does not let its only administrator be deactivated, and nobody else is"
        " known to administer it. Confirm the successor's login first, or give the support line's"
        " number as a confirmation number."
    )


def asked_first(portal: Portal, identity_survives: bool) -> tuple[Step, ...]:
    """The step that comes before opening a login, where people bring their own from elsewhere.

    A second identity for one person is refused by such portals, or splits what they may see.
    """
    if not identity_survives:
        return ()
    name = portal.identity or portal.name
    return (
        Step(
            actor="worker",
            text=(
                f"Say whether you have a {name} login from earlier work. If so give its login id"
                " and keep using it; do not register again."
            ),
        ),
    )


def cascade_preamble(portal: Portal) -> Step:
    """The step before removing an administrator whose end ends every login they assigned.

    CGS myCGS does so, by its administrator help; whoever removes first locks colleagues out.
    """
    return Step(
        actor="administrator",
        text=(
            f"{portal.name} ends every login that this administrator assigned, together with"
            " theirs. First have another administrator take those logins over there."
        ),
    )


def refuse_login_id(
    others: Iterable[tuple[str | None, bool, datetime | None]],
    *,
    reuse_days: int | None,
    as_of: datetime,
) -> tuple[str, str] | None:
    """Why a login id cannot be this person's, as (rule, what to do); None if it can.

    Logins are unique and unshared: 45 CFR 164.312(a)(2)(i).

    Args:
        others: (worker, whether they hold it now, when their access last ended) of every other
            person known under this login id on the portal; None stands for one who was erased.
        reuse_days: for how long the portal's rule keeps a login id from another person.
    """
    for worker, holds_it, ended_at in others:
        if holds_it:
            return (
                LOGIN_ID_IN_USE,
                f"It is {worker}'s login id there, and logins are not shared. Look again at the"
                " portal; if one login is all it gives, say so as a rule of the portal.",
            )
        if reuse_days is not None and ended_at is not None:
            free = ended_at + timedelta(days=reuse_days)
            if as_of < free:
                return (
                    LOGIN_ID_REUSED,
                    f"It was {worker or 'somebody else'}'s; the portal's rule keeps it from anybody"
                    f" else until {free.date()}. Have another login id made.",
                )
    return None
