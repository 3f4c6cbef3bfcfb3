"""One version of an organization's directory, arranged for deciding about many workers."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from services.provisioning.rules.desired.rights import Right
from shared.contracts.directory import (
    Contract,
    Directory,
    Function,
    Portal,
    RuleName,
    TrainingModule,
)
from shared.contracts.hr import end_of_day, start_of_day
from shared.values import value_class


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

    def tins_served(self, portal: str) -> tuple[str, ...]:
        """TINs that whoever administers a portal for all serves: those with an enrolment there.

        Where none is recorded, as for a vault, all of the organization.
        """
        enrolled = {one.tin for one in self.directory.enrolments if one.portal == portal}
        return tuple(sorted(enrolled)) or self.directory.organization.tins

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
