"""What somebody's work needs, now and for a while after a move."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from services.provisioning.rules.desired.directory import Billed, CompiledDirectory
from services.provisioning.rules.desired.rights import Right
from services.provisioning.rules.desired.separation import Holding, separated
from services.provisioning.rules.timeline import Folded
from shared.contracts.state import (
    Employment,
    Finding,
)


def working_under(
    worker: Folded, compiled: CompiledDirectory, as_of: datetime
) -> tuple[list[Employment], list[datetime]]:
    """Employments under which somebody works now, and when a leave will have lasted too long."""
    organization = compiled.directory.organization
    working, changes = [], []
    for employment in worker.open_employments:
        if employment.leave_since is None or not organization.leave_suspends:
            working.append(employment)
            continue
        limit = employment.leave_since + timedelta(days=organization.leave_suspends_after_days)
        if as_of < limit:
            working.append(employment)
            changes.append(limit)
    return working, changes


def give(
    because: dict[Right, set[str]],
    duty: str,
    sites: Iterable[str],
    compiled: CompiledDirectory,
    as_of: datetime,
    without: frozenset[Billed] = frozenset(),
) -> None:
    """Add what a job duty needs at these sites, and that it is the duty that needs it."""
    for function in compiled.functions_of(duty):
        for site in sites:
            for right in compiled.rights_for(site, function, as_of, without):
                because.setdefault(right, set()).add(duty)


def kept_after_moving(
    working: Sequence[Employment],
    compiled: CompiledDirectory,
    now: Mapping[Right, set[str]],
    duties: Iterable[str],
    as_of: datetime,
    without: frozenset[Billed],
) -> tuple[list[Right], list[datetime]]:
    """What the former job gave and the grace still leaves, and when that is over.

    Nothing of it is kept across a separation of duties with what the new job gives, or that no
    carrier recognizes the clinician for (`without`).
    """
    days = compiled.directory.policy.mover_grace_days
    before: dict[Right, set[str]] = {}
    ends = []
    for employment in working:
        if not days or employment.moved_at is None:
            continue
        over = employment.moved_at + timedelta(days=days)
        if as_of < over:
            ends.append(over)
            title = employment.previous_title or employment.title
            sites = known_sites(employment.previous_sites or employment.sites, compiled, [])
            for duty in (compiled.duties_of(title) if title else None) or ():
                give(before, duty, sites, compiled, as_of, without)
    current = Holding(frozenset(duties), frozenset(right[2] for right in now))
    return [
        right
        for right, old_duties in before.items()
        if not any(
            separated(rule, current, Holding(frozenset(old_duties), frozenset({right[2]})))
            or separated(rule, Holding(frozenset(old_duties), frozenset({right[2]})), current)
            for rule in compiled.directory.policy.separation
        )
    ], ends


def known_sites(
    sites: Iterable[str], compiled: CompiledDirectory, findings: list[Finding]
) -> list[str]:
    """The sites that the directory has; any other is a finding."""
    known = []
    for site in sites:
        if compiled.knows_site(site):
            known.append(site)
        else:
            findings.append(Finding("unknown_site", f"site {site!r} is not in the directory"))
    return known


def duties_under(
    employment: Employment, compiled: CompiledDirectory, findings: list[Finding]
) -> tuple[str, ...]:
    """Job duties of an employment\'s title; what cannot be told is a finding."""
    duties = compiled.duties_of(employment.title) if employment.title else None
    if duties is None:
        findings.append(
            Finding("unmapped_title", f"title {employment.title!r} has no job duty: map it")
        )
        return ()
    if duties and not employment.sites:
        findings.append(Finding("no_site", "works at no site, so no portal can be chosen"))
    return duties
