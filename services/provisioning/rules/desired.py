"""Desired access: who must have what on which portal, from job duties, contracts and training."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from services.provisioning.rules.exceptions import AccessException
from services.provisioning.rules.timeline import Folded
from shared.contracts.directory import (
    Contract,
    Directory,
    Function,
    Portal,
    RuleName,
    Separation,
    Side,
    TrainingModule,
)
from shared.contracts.hr import end_of_day, start_of_day
from shared.contracts.state import (
    AuthorizedBy,
    Employment,
    ExceptionKind,
    Finding,
    Held,
    TrainingDue,
)
from shared.values import value_class

Right = tuple[str, str, Function]
"""(portal, TIN, function): what an entitlement is, whoever holds it."""


REVIEW_REMOVED = "review_removed"
"""The rule that holds back what a review decided to remove."""


@value_class(frozen=True, slots=True)
class Removal:
    """A review decision to remove, as an input of desired access; None stands for all of them."""

    review_id: str
    line_id: str
    portal: str
    tin: str | None
    function: str | None
    decided_by: str
    decided_at: datetime

    def covers(self, right: Right) -> bool:
        """Whether the decision names this right."""
        portal, tin, function = right
        return (
            self.portal == portal
            and self.tin in (None, tin)
            and self.function in (None, function.value)
        )


@value_class(frozen=True, slots=True)
class Desired:
    """What a worker must have at an instant.

    `suspended` says that nothing may be usable now although the employment may go on (leave).
    """

    rights: Mapping[Right, AuthorizedBy]
    held: Mapping[str, tuple[Held, ...]]
    duties: tuple[str, ...]
    findings: tuple[Finding, ...]
    cut: bool
    next_change_at: datetime | None
    training_due: tuple[TrainingDue, ...] = ()


NOTHING = Desired({}, {}, (), (), True, None)
"""Desired access of someone who must have none."""


@value_class(frozen=True, slots=True)
class PortalKnowledge:
    """Since when a portal's users are heard of, and as of when its first roster told them all."""

    since: datetime
    adopted: bool = False
    reconciled_as_of: datetime | None = None


NEVER_HEARD_OF = PortalKnowledge(datetime.max.replace(tzinfo=UTC))


class Appointment(NamedTuple):
    """That a worker administers a portal from an instant until another (UTC), and their deputy.

    Without `tins` it is for all that are registered there.
    """

    portal: str
    tins: tuple[str, ...]
    since: datetime
    until: datetime | None
    deputy: str | None

    def holds_at(self, as_of: datetime) -> bool:
        """Whether it is in force at `as_of`."""
        return self.since <= as_of and (self.until is None or as_of < self.until)


Billed = tuple[str, str]
"""(carrier, TIN): under whose contract something is billed."""


@value_class(frozen=True, slots=True)
class Recognition:
    """That a carrier takes a clinician's work under a TIN in a span of time (UTC)."""

    carrier: str
    tin: str
    since: datetime
    until: datetime | None

    def holds(self, as_of: datetime) -> bool:
        """Whether it does at an instant."""
        return self.since <= as_of and (self.until is None or as_of < self.until)


@dataclass(slots=True)
class CompiledDirectory:
    """One version of an organization's directory, arranged for deciding about many workers."""

    directory: Directory
    version: int
    knowledge: Mapping[str, PortalKnowledge] = field(default_factory=dict)
    zone: ZoneInfo = field(init=False)
    sources: frozenset[str] = field(init=False)
    portals: dict[str, Portal] = field(init=False)
    common: tuple[str, ...] = field(init=False)
    """Portals that come with any other: vaults and work accounts."""
    administrators: dict[str, list[Appointment]] = field(init=False)
    observed_since: dict[str, datetime] = field(init=False)
    """Portals that are observe-only: what was there before the instant may not be known."""

    recognitions: dict[str, list["Recognition"]] = field(init=False)
    """By worker: the dates at which carriers recognize them as a clinician."""

    _titles: dict[str, tuple[str, ...]] = field(init=False)
    _functions: dict[str, tuple[Function, ...]] = field(init=False)
    _site_tins: dict[str, tuple[str, ...]] = field(init=False)
    _boundaries: list[datetime] = field(init=False)
    _window: tuple[datetime, datetime | None] | None = field(init=False, default=None)
    _rights_at: dict[tuple[str, Function, frozenset[Billed]], tuple[Right, ...]] = field(init=False)
    _gates: dict[tuple[str, Function], tuple[TrainingModule, ...]] = field(init=False)
    _rules: dict[tuple[str, RuleName, date], int | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        directory = self.directory
        self.zone = ZoneInfo(directory.organization.zone)
        self.sources = frozenset(source.id for source in directory.sources)
        self.portals = {portal.id: portal for portal in directory.portals}
        self.common = tuple(
            portal.id for portal in directory.portals if portal.kind in ("vault", "work_account")
        )
        self._titles = {title.id.casefold(): title.duties for title in directory.titles}
        self._functions = {duty.id: duty.functions for duty in directory.job_duties}
        self._site_tins = {site.id: site.tins for site in directory.sites}
        self._rights_at = {}
        self._gates = {}
        self.administrators = {}
        for appointed in directory.administrators:
            until = None if appointed.until is None else end_of_day(appointed.until, self.zone)
            self.administrators.setdefault(appointed.worker, []).append(
                Appointment(
                    appointed.portal,
                    appointed.tins,
                    start_of_day(appointed.since, self.zone),
                    until,
                    appointed.deputy,
                )
            )
        self.recognitions = {}
        for clinician in directory.clinicians:
            for dated in clinician.carriers:
                until = None if dated.until is None else end_of_day(dated.until, self.zone)
                since = start_of_day(dated.effective_on, self.zone)
                self.recognitions.setdefault(clinician.worker or "", []).append(
                    Recognition(dated.carrier, dated.tin, since, until)
                )
        self.observed_since = {
            portal.id: known.since
            for portal in directory.portals
            if (known := self.had_users_before(portal.id)) and known.reconciled_as_of is None
        }
        self._boundaries = sorted(set(self._dates()))

    def _dates(self) -> Iterable[datetime]:
        """Every instant at which the directory itself changes what is desired."""
        for contract in self.directory.contracts:
            yield start_of_day(contract.since, self.zone)
            if contract.until is not None:
                grace = timedelta(days=contract.grace_days)
                yield end_of_day(contract.until + grace, self.zone)
        for enrolment in self.directory.enrolments:
            if enrolment.registered_on is not None:
                yield start_of_day(enrolment.registered_on, self.zone)
        for module in self.directory.training_modules:
            if module.grandfathered_until is not None:
                yield end_of_day(module.grandfathered_until, self.zone)
        for spans in self.administrators.values():
            for appointed in spans:
                yield appointed.since
                if appointed.until is not None:
                    yield appointed.until
        for dates in self.recognitions.values():
            for dated in dates:
                yield dated.since
                if dated.until is not None:
                    yield dated.until

    def next_boundary(self, as_of: datetime) -> datetime | None:
        """The first dated change of the directory strictly after `as_of`."""
        return next((instant for instant in self._boundaries if instant > as_of), None)

    def had_users_before(self, portal: str) -> PortalKnowledge | None:
        """What is known of a portal that had users before it was recorded here; else None."""
        known = self.knowledge.get(portal, NEVER_HEARD_OF)
        place = self.portals.get(portal)
        return known if place and (known.adopted or place.starts == "existing") else None

    def administrator(
        self, portal: str, as_of: datetime, besides: Collection[str] = ()
    ) -> str | None:
        """Who sees to a portal's work at `as_of`: an administrator of it, else a deputy of one.

        The first by id if there are several.

        Args:
            besides: workers who are not to: they have left, or the work is about them.
        """
        here = [
            (worker, one.deputy)
            for worker, appointments in self.administrators.items()
            for one in appointments
            if one.portal == portal and one.holds_at(as_of)
        ]
        appointed = {worker for worker, _ in here} - set(besides)
        deputies = {deputy for _, deputy in here if deputy is not None} - set(besides)
        return min(appointed or deputies, default=None)

    def appointed(self, portal: str, as_of: datetime, tin: str | None = None) -> list[str]:
        """Workers appointed to administer a portal at `as_of`, the longest appointed first.

        Args:
            tin: count only those appointed for it.
        """
        return [
            worker
            for _, worker in sorted(
                (one.since, worker)
                for worker, appointments in self.administrators.items()
                for one in appointments
                if one.portal == portal
                and one.holds_at(as_of)
                and (tin is None or not one.tins or tin in one.tins)
            )
        ]

    def unrecognized(self, workers: Iterable[str], as_of: datetime) -> dict[Billed, str]:
        """What a clinician is dated for and not recognized under at `as_of`, with why in words.

        A carrier of which no date is told is taken to recognize them.
        """
        dated: dict[Billed, list[Recognition]] = {}
        for worker in workers:
            for one in self.recognitions.get(worker, ()):
                dated.setdefault((one.carrier, one.tin), []).append(one)
        missing = {}
        for (carrier, tin), spans in dated.items():
            if any(one.holds(as_of) for one in spans):
                continue
            name = next(one.name for one in self.directory.carriers if one.id == carrier)
            coming = [one.since for one in spans if one.since > as_of]
            when = (
                f"only from {min(coming).astimezone(self.zone).date()} on"
                if coming
                else "no longer"
            )
            missing[carrier, tin] = f"{name} recognizes this clinician under {tin} {when}"
        return missing

    def duties_of(self, title: str) -> tuple[str, ...] | None:
        """Job duties of a title (compared without case), or None when nobody mapped it."""
        return self._titles.get(title.strip().casefold())

    def functions_of(self, duty: str) -> tuple[Function, ...]:
        """The portal functions that a job duty needs."""
        return self._functions[duty]

    def knows_site(self, site: str) -> bool:
        """Whether the site is in the directory."""
        return site in self._site_tins

    def rights_for(
        self,
        site: str,
        function: Function,
        as_of: datetime,
        without: frozenset[Billed] = frozenset(),
    ) -> tuple[Right, ...]:
        """Where `function` is done at `site`: per carrier and TIN the best portal."""
        self._enter_window(as_of)
        found = self._rights_at.get((site, function, without))
        if found is None:
            day = as_of.astimezone(self.zone).date()
            found = tuple(self._find_rights(site, function, day, without))
            self._rights_at[site, function, without] = found
        return found

    def _enter_window(self, as_of: datetime) -> None:
        """Forget what was worked out for another stretch between two dated changes."""
        if self._window is not None:
            since, until = self._window
            if since <= as_of and (until is None or as_of < until):
                return
        past = [instant for instant in self._boundaries if instant <= as_of]
        since = past[-1] if past else datetime.min.replace(tzinfo=as_of.tzinfo)
        self._window = (since, self.next_boundary(as_of))
        self._rights_at = {}

    def _find_rights(
        self, site: str, function: Function, day: date, without: frozenset[Billed]
    ) -> list[Right]:
        rights: dict[Right, None] = {}
        for contract, tin in self.contracts_at(site, day):
            if (contract.carrier, tin) in without:
                continue
            portal = self.best_portal(contract.carrier, tin, function, site, day)
            if portal is not None:
                rights[portal.id, tin, function] = None
        return list(rights)

    def contracts_at(self, site: str, day: date) -> Iterable[tuple[Contract, str]]:
        """Contracts in force or in grace that count at a known site, with each TIN they are for."""
        for contract in self.directory.contracts:
            if contract.sites and site not in contract.sites:
                continue
            over = None
            if contract.until is not None:
                over = contract.until + timedelta(days=contract.grace_days)
            if day < contract.since or (over is not None and day > over):
                continue
            for tin in self._site_tins[site]:
                if tin in contract.tins:
                    yield contract, tin

    def best_portal(
        self, carrier: str, tin: str, function: Function, site: str, day: date
    ) -> Portal | None:
        """The portal on which `function` is done for a carrier at a site, if there is one."""
        state = next(place.state for place in self.directory.sites if place.id == site)
        registered = {
            enrolment.portal
            for enrolment in self.directory.enrolments
            if enrolment.tin == tin
            and enrolment.registered_on is not None
            and enrolment.registered_on <= day
        }
        candidates = [
            (reach.rank, portal.kind != "hub", portal.id, portal)
            for portal in self.directory.portals
            if portal.id in registered and (not portal.states or state in portal.states)
            for reach in portal.reaches
            if reach.carrier == carrier and function in reach.functions
        ]
        return min(candidates, key=lambda found: found[:3])[3] if candidates else None

    def enrolled_tins(self, portal: str, as_of: datetime) -> tuple[str, ...]:
        """TINs under which the organization's registration on a portal has cleared."""
        day = as_of.astimezone(self.zone).date()
        return tuple(
            enrolment.tin
            for enrolment in self.directory.enrolments
            if enrolment.portal == portal
            and enrolment.registered_on is not None
            and enrolment.registered_on <= day
        )

    def portal(self, portal_id: str) -> Portal:
        """A portal; a stand-in for one that was taken out just as somebody came to use it."""
        known = self.portals.get(portal_id)
        if known is None:
            known = Portal(
                id=portal_id, name=portal_id, kind="standalone", url="https://unknown.invalid"
            )
        return known

    def holds(self, portal: Portal, rule: RuleName, as_of: datetime) -> bool:
        """Whether a yes-or-no rule of a portal holds; what is not known does not."""
        return bool(self.number(portal, rule, as_of))

    def number(self, portal: Portal, rule: RuleName, as_of: datetime) -> int | None:
        """A rule's value on the day, remembered: it is asked for each account decided about."""
        key = (portal.id, rule, as_of.astimezone(self.zone).date())
        if key not in self._rules:
            row = portal.rule_in_force(rule, key[2])
            self._rules[key] = row.value if row and isinstance(row.value, int) else None
        return self._rules[key]

    def modules_for(self, portal: str, function: Function) -> tuple[TrainingModule, ...]:
        """The training modules that gate a function on a portal."""
        gates = self._gates.get((portal, function))
        if gates is None:
            gates = tuple(
                module
                for module in self.directory.training_modules
                if function in module.functions and (not module.portals or portal in module.portals)
            )
            self._gates[portal, function] = gates
        return gates


def desire(
    worker: Folded,
    compiled: CompiledDirectory,
    removals: Sequence[Removal],
    as_of: datetime,
    exceptions: Sequence[AccessException] = (),
) -> Desired:
    """What `worker` must have at `as_of` (UTC) under one version of directory and policy.

    Args:
        removals: review decisions that stand.
        exceptions: access beyond policy that somebody approved or opened, whenever it counts.

    Raises:
        Exception: an input contradicts the directory; the caller decides what that means for the
            worker, and nobody else is affected.
    """
    changes = [compiled.next_boundary(as_of)]
    working, away_changes = _working(worker, compiled, as_of)
    changes.extend(away_changes)
    if not working:
        return Desired({}, {}, (), (), True, _earliest(changes))
    policy = compiled.directory.policy
    authorized = AuthorizedBy("policy", policy.version, policy.signatory)
    findings: list[Finding] = []
    duties: dict[str, None] = {}
    because: dict[Right, set[str]] = {}
    recognized: dict[Right, set[str]] = {}
    unrecognized = compiled.unrecognized((worker.worker, *worker.aliases), as_of)
    for employment in working:
        sites = _sites(employment.sites, compiled, findings)
        for duty in _duties(employment, compiled, findings):
            duties[duty] = None
            _give(because, duty, sites, compiled, as_of)
            if unrecognized:
                _give(recognized, duty, sites, compiled, as_of, frozenset(unrecognized))
    wanted: dict[Right, AuthorizedBy] = dict.fromkeys(because, authorized)
    kept, ends = _kept_after_moving(working, compiled, because, duties, as_of)
    changes.extend(ends)
    still = AuthorizedBy("mover_grace", policy.version, policy.signatory)
    wanted |= {right: still for right in kept if right not in wanted}
    for appointed in _appointments(worker, compiled, as_of):
        for tin in compiled.enrolled_tins(appointed.portal, as_of):
            if not appointed.tins or tin in appointed.tins:
                wanted[appointed.portal, tin, Function.USER_ADMINISTRATION] = authorized
    for exception in exceptions:
        changes.extend(at for at in (exception.starts_at, exception.ends_at) if at > as_of)
        if exception.counts(as_of):
            wanted.setdefault(exception.right, _beyond_policy(exception))
    held: dict[str, list[Held]] = {}
    allowed: dict[Right, AuthorizedBy] = {}
    hired = min(employment.starts_at for employment in working)
    holding = _Holding(frozenset(duties), frozenset(right[2] for right in wanted))
    administered: dict[str, list[str]] = {}
    for portal, tin, function in sorted(wanted):
        if function is Function.USER_ADMINISTRATION:
            administered.setdefault(portal, []).append(tin)
    for right, authorization in wanted.items():
        standing = _not_approved_anew(removals, right, exceptions, as_of)
        reason = (
            _separation(right, because, holding, policy.separation)
            or _portals_rule(right, administered, worker, working, compiled, as_of)
            or _not_recognized(right, because, recognized, unrecognized, compiled)
            or _held_back(
                worker,
                compiled,
                right,
                hired,
                standing,
                as_of,
                trained_later=authorization.kind == ExceptionKind.BREAK_GLASS,
            )
        )
        if reason is None:
            allowed[right] = authorization
        else:
            rule, detail = reason
            held.setdefault(right[0], []).append(Held(right[1], right[2], rule, detail))
    _add_sign_on(compiled, allowed, authorized, removals, as_of)
    changes.extend(_expiries(worker, compiled, as_of))
    return Desired(
        allowed,
        {portal: tuple(reasons) for portal, reasons in held.items()},
        tuple(duties),
        tuple(dict.fromkeys(findings)),
        False,
        _earliest(changes),
        _training_due(worker, compiled, wanted, hired, as_of),
    )


def _training_due(
    worker: Folded,
    compiled: CompiledDirectory,
    wanted: Iterable[Right],
    hired: datetime,
    as_of: datetime,
) -> tuple[TrainingDue, ...]:
    """Modules without a valid sign-off that something this worker needs waits for."""
    missing: dict[str, TrainingDue] = {}
    for portal, _, function in wanted:
        for module in compiled.modules_for(portal, function):
            if module.id not in missing and not _trained(worker, module, hired, compiled, as_of):
                due = hired + timedelta(days=TRAINING_DAYS)
                missing[module.id] = TrainingDue(module.id, due)
    return tuple(missing[name] for name in sorted(missing))


TRAINING_DAYS = 14
"""From the first day of work to when a joiner's training is late: this product's default."""


STAFF = frozenset({"employee", "clinician"})
"""Kinds of employment that portals call staff, as opposed to contractors, students and vendors."""


def _portals_rule(
    right: Right,
    administered: Mapping[str, Sequence[str]],
    worker: Folded,
    working: Sequence[Employment],
    compiled: CompiledDirectory,
    as_of: datetime,
) -> tuple[str, str] | None:
    """The portal's own rule about who may hold what there, if one withholds the right.

    Args:
        administered: the tax ids that the worker is to administer on each portal, sorted.
    """
    portal, tin, function = compiled.portal(right[0]), right[1], right[2]
    if function is Function.USER_ADMINISTRATION:
        most = compiled.number(portal, RuleName.MAX_ADMINISTRATORS, as_of)
        if most is not None and not set(compiled.appointed(portal.id, as_of, tin)[:most]) & {
            worker.worker,
            *worker.aliases,
        }:
            return (
                "max_administrators",
                f"{portal.name} takes {most} administrators per tax id, and as many were appointed"
                " before; end the appointment of one of them in the directory first",
            )
        most = compiled.number(portal, RuleName.MAX_TINS_PER_ADMINISTRATOR, as_of)
        if most is not None and tin in administered[portal.id][most:]:
            return (
                "max_tins_per_administrator",
                f"{portal.name} lets one administrator serve {most} tax ids, and this one serves as"
                f" many already; appoint somebody else there with tins: [{tin}], and name in this"
                " appointment the tax ids that stay",
            )
        if compiled.holds(portal, RuleName.ADMINISTRATOR_MUST_BE_STAFF, as_of) and not any(
            employment.kind in STAFF for employment in working
        ):
            return (
                "administrator_must_be_staff",
                f"{portal.name} takes only staff as administrators; appoint somebody else",
            )
    elif portal.id in administered and compiled.holds(portal, RuleName.ONE_ROLE_PER_PERSON, as_of):
        return (
            "one_role_per_person",
            f"administers {portal.name}, which gives each person one role: have somebody else"
            " administer it, or somebody else do this work there",
        )
    return None


def _not_recognized(
    right: Right,
    because: Mapping[Right, set[str]],
    recognized: Collection[Right],
    unrecognized: Mapping[Billed, str],
    compiled: CompiledDirectory,
) -> tuple[str, str] | None:
    """Whether only carriers that do not recognize the clinician yet, or any more, give a right."""
    if not unrecognized or right not in because or right in recognized:
        return None
    portal, tin, _ = right
    reached = {reach.carrier for reach in compiled.portal(portal).reaches}
    reasons = [
        why for (carrier, under), why in unrecognized.items() if under == tin and carrier in reached
    ]
    return "carrier_not_effective", "; ".join(reasons)


def _beyond_policy(exception: AccessException) -> AuthorizedBy:
    by = exception.approved_by or exception.requested_by
    return AuthorizedBy(exception.kind.value, exception.exception_id, by)


def _not_approved_anew(
    removals: Sequence[Removal],
    right: Right,
    exceptions: Sequence[AccessException],
    as_of: datetime,
) -> Sequence[Removal]:
    """The review removals that stand against a right: a later approval of it outweighs them."""
    approvals = [
        exception.approved_at
        for exception in exceptions
        if exception.right == right and exception.counts(as_of) and exception.approved_at
    ]
    if not approvals:
        return removals
    latest = max(approvals)
    return [removal for removal in removals if removal.decided_at > latest]


def _earliest(instants: Iterable[datetime | None]) -> datetime | None:
    return min((instant for instant in instants if instant is not None), default=None)


def _working(
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


def _give(
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


def _kept_after_moving(
    working: Sequence[Employment],
    compiled: CompiledDirectory,
    now: Mapping[Right, set[str]],
    duties: Iterable[str],
    as_of: datetime,
) -> tuple[list[Right], list[datetime]]:
    """What the former job gave and the grace still leaves, and when that is over.

    Nothing of it is kept across a separation of duties with what the new job gives.
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
            sites = _sites(employment.previous_sites or employment.sites, compiled, [])
            for duty in (compiled.duties_of(title) if title else None) or ():
                _give(before, duty, sites, compiled, as_of)
    current = _Holding(frozenset(duties), frozenset(right[2] for right in now))
    return [
        right
        for right, old_duties in before.items()
        if not any(
            separated(rule, current, _Holding(frozenset(old_duties), frozenset({right[2]})))
            or separated(rule, _Holding(frozenset(old_duties), frozenset({right[2]})), current)
            for rule in compiled.directory.policy.separation
        )
    ], ends


@value_class(frozen=True, slots=True)
class _Holding:
    """Duties and functions, as the sides of a separation name them."""

    duties: frozenset[str]
    functions: frozenset[Function]

    def touches(self, side: Side) -> bool:
        """Whether any of it is named."""
        return not (
            self.duties.isdisjoint(side.duties) and self.functions.isdisjoint(side.functions)
        )


def separated(rule: Separation, holder: _Holding, other: _Holding) -> bool:
    """Whether whoever has `holder` must not have `other`."""
    return rule.enforced and holder.touches(rule.holders) and other.touches(rule.never)


def _separation(
    right: Right,
    because: Mapping[Right, set[str]],
    held: _Holding,
    rules: Sequence[Separation],
) -> tuple[str, str] | None:
    """The separation that withholds a right from somebody who holds `held`.

    A side that names duties withholds what nothing but those duties would give.
    """
    for rule in rules:
        if not rule.enforced or not held.touches(rule.holders):
            continue
        duties = because.get(right, set())
        if right[2] in rule.never.functions or (
            duties and duties <= set(rule.never.duties) and not duties & set(rule.holders.duties)
        ):
            return "separation_of_duties", f"{rule.id}: {rule.reason}"
    return None


def _sites(sites: Iterable[str], compiled: CompiledDirectory, findings: list[Finding]) -> list[str]:
    known = []
    for site in sites:
        if compiled.knows_site(site):
            known.append(site)
        else:
            findings.append(Finding("unknown_site", f"site {site!r} is not in the directory"))
    return known


def _duties(
    employment: Employment, compiled: CompiledDirectory, findings: list[Finding]
) -> tuple[str, ...]:
    duties = compiled.duties_of(employment.title) if employment.title else None
    if duties is None:
        findings.append(
            Finding("unmapped_title", f"title {employment.title!r} has no job duty: map it")
        )
        return ()
    if duties and not employment.sites:
        findings.append(Finding("no_site", "works at no site, so no portal can be chosen"))
    return duties


def _appointments(
    worker: Folded, compiled: CompiledDirectory, as_of: datetime
) -> Iterable[Appointment]:
    for alias in (worker.worker, *worker.aliases):
        for appointed in compiled.administrators.get(alias, ()):
            if appointed.holds_at(as_of):
                yield appointed


def _held_back(
    worker: Folded,
    compiled: CompiledDirectory,
    right: Right,
    hired: datetime,
    removals: Sequence[Removal],
    as_of: datetime,
    *,
    trained_later: bool,
) -> tuple[str, str] | None:
    """The rule that keeps a right from being desired, if one does."""
    for removal in removals:
        if removal.covers(right):
            return (
                REVIEW_REMOVED,
                f"removed by review {removal.review_id}; stays so until approved anew",
            )
    if trained_later:
        return None
    portal, _, function = right
    for module in compiled.modules_for(portal, function):
        if not _trained(worker, module, hired, compiled, as_of):
            return "training_missing", f"needs {module.name} ({module.id})"
    return None


def _trained(
    worker: Folded,
    module: TrainingModule,
    hired: datetime,
    compiled: CompiledDirectory,
    as_of: datetime,
) -> bool:
    for sign_off in worker.training:
        if sign_off.module == module.id:
            if not sign_off.valid:
                return False
            if module.valid_days is None or sign_off.completed_on is None:
                return True
            last_day = sign_off.completed_on + timedelta(days=module.valid_days)
            return as_of < end_of_day(last_day, compiled.zone)
    if module.grandfathers_hired_before is None or module.grandfathered_until is None:
        return False
    return hired < start_of_day(
        module.grandfathers_hired_before, compiled.zone
    ) and as_of < end_of_day(module.grandfathered_until, compiled.zone)


def _expiries(
    worker: Folded, compiled: CompiledDirectory, as_of: datetime
) -> Iterable[datetime | None]:
    """When sign-offs stop counting because a module is valid for a number of days."""
    completed = {sign_off.module: sign_off.completed_on for sign_off in worker.training}
    for module in compiled.directory.training_modules:
        done = completed.get(module.id)
        if done is not None and module.valid_days is not None:
            over = end_of_day(done + timedelta(days=module.valid_days), compiled.zone)
            if over > as_of:
                yield over


def _add_sign_on(
    compiled: CompiledDirectory,
    allowed: dict[Right, AuthorizedBy],
    authorized: AuthorizedBy,
    removals: Sequence[Removal],
    as_of: datetime,
) -> None:
    """What comes with any portal: its sign-on service, a vault seat and the work account."""
    needed: dict[Right, None] = {}
    for portal_id, tin, _ in allowed:
        service = compiled.portals[portal_id].requires_sign_on
        if service is not None:
            needed[service, tin, Function.SIGN_ON] = None
    for portal in compiled.common if allowed else ():
        for tin in compiled.enrolled_tins(portal, as_of)[:1]:
            needed[portal, tin, Function.SIGN_ON] = None
    for right in needed:
        if not any(removal.covers(right) for removal in removals):
            allowed[right] = authorized
