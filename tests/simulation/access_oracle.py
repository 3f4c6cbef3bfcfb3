"""Who should have what, told a second time: one person, one instant, plain loops over the facts.

It is written from what the documents promise and shares no rule with the product: only the models
of the directory and of HR's events. Slow on purpose, and short enough to be believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shared.contracts.directory import Directory, Function, Portal, RuleName
from shared.contracts.hr import end_of_day, start_of_day
from tests.simulation.oracle import Heard, begins, hired_at, last_said, open_employments

Right = tuple[str, str, str]
"""(portal, TIN, function)."""

STAFF = ("employee", "clinician")
PLACE = ("title", "sites")
"""What somebody changes who moves."""


@dataclass(frozen=True, slots=True)
class Removed:
    """That a review decided to remove something, and it stands; None stands for all."""

    portal: str
    tin: str | None
    function: str | None
    decided_at: datetime

    def names(self, right: Right) -> bool:
        return (
            right[0] == self.portal
            and self.tin in (None, right[1])
            and self.function in (None, right[2])
        )


@dataclass(frozen=True, slots=True)
class Beyond:
    """Access beyond policy that was approved, or taken in an emergency."""

    kind: str
    right: Right
    starts_at: datetime
    ends_at: datetime
    approved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Told:
    """All that is known of one person. `events` are those that nobody withdrew, as recorded."""

    ids: frozenset[str]
    events: Sequence[Heard]
    removed: Sequence[Removed] = ()
    beyond: Sequence[Beyond] = ()
    held: frozenset[Right] = frozenset()
    """What evidence says they can use."""


def should_have(directory: Directory, told: Told, now: datetime) -> dict[Right, str]:
    """What the person must be able to use at `now` (UTC), each with the kind of who answers."""
    return _Answer(directory, told, now).rights()


class _Answer:
    def __init__(self, directory: Directory, told: Told, now: datetime) -> None:
        self.directory, self.told, self.now = directory, told, now
        self.zone = ZoneInfo(directory.organization.zone)
        self.today = now.astimezone(self.zone).date()
        self.working = [
            events for events in open_employments(told.events, now) if not self._is_away(events)
        ]

    def rights(self) -> dict[Right, str]:
        if not self.working:
            return {}
        called_for = self._called_for()
        allowed = {
            right: kind
            for right, kind in called_for.items()
            if not self._separated(right, called_for)
            and self._portal_permits(right, called_for)
            and not self._was_removed(right)
            and (kind == "break_glass" or self._is_trained_for(right))
            and (kind != "mover_grace" or right in self.told.held)
        }
        return {**allowed, **self._comes_along(allowed)}

    def _comes_along(self, allowed: dict[Right, str]) -> dict[Right, str]:
        """Sign-on services that portals need, the vault and the work account."""
        needed: dict[Right, set[str]] = {}
        for (portal, tin, _), kind in allowed.items():
            service = self._portal(portal).requires_sign_on
            if service is not None:
                needed.setdefault((service, tin, "sign_on"), set()).add(kind)
            for other in self.directory.portals:
                if other.kind in ("vault", "work_account"):
                    for first in self._registered(other.id)[:1]:
                        needed.setdefault((other.id, first, "sign_on"), set()).add(kind)
        kinds = {
            right: "mover_grace" if because == {"mover_grace"} else "policy"
            for right, because in needed.items()
            if not any(one.names(right) for one in self.told.removed)
        }
        return {
            right: kind
            for right, kind in kinds.items()
            if kind != "mover_grace" or right in self.told.held
        }

    def _called_for(self) -> dict[Right, str]:
        """Work, appointments and approvals, before anything is withheld."""
        found: dict[Right, str] = {}
        for right in self._administers():
            found[right] = "policy"
        for employment in self.working:
            for duty in self._duties(self._at(employment, "title")):
                for right in self._needs(duty, self._at(employment, "sites"), recognized=True):
                    found[right] = "policy"
        for one in self.told.beyond:
            is_there = one.right[0] in {portal.id for portal in self.directory.portals}
            if is_there and one.starts_at <= self.now < one.ends_at:
                found.setdefault(one.right, one.kind)
        for right in self._left_after_a_move():
            found.setdefault(right, "mover_grace")
        return found

    # -- work

    def _at(self, employment: Sequence[Heard], field: str) -> Any:
        return last_said(employment, field, max(self.now, hired_at(employment)))

    def _is_away(self, employment: Sequence[Heard]) -> bool:
        organization = self.directory.organization
        marks = [
            (begins(event.data), number, event)
            for number, event in enumerate(employment)
            if event.type in ("worker.leave_started", "worker.leave_ended")
            and begins(event.data) <= self.now
        ]
        if not marks or max(marks)[2].type == "worker.leave_ended":
            return False
        lasts_too_long = max(marks)[0] + timedelta(days=organization.leave_suspends_after_days)
        return organization.leave_suspends and self.now >= lasts_too_long

    def _duties(self, title: str | None) -> Iterable[str]:
        for one in self.directory.titles:
            if title is not None and one.id.casefold() == title.strip().casefold():
                yield from one.duties

    def _needs(
        self, duty: str, sites: Sequence[str] | None, *, recognized: bool
    ) -> Iterable[Right]:
        """What a duty needs at these sites, carrier by carrier."""
        functions = next(one.functions for one in self.directory.job_duties if one.id == duty)
        for site in self.directory.sites:
            if site.id not in (sites or ()):
                continue
            for contract in self.directory.contracts:
                if contract.sites and site.id not in contract.sites:
                    continue
                for tin in contract.tins:
                    if tin not in site.tins or not self._counts(contract):
                        continue
                    if recognized and self._waits_for_recognition(contract.carrier, tin):
                        continue
                    for function in functions:
                        portal = self._best(contract.carrier, tin, function, site.state)
                        if portal is not None:
                            yield (portal, tin, function.value)

    def _counts(self, contract: Any) -> bool:
        """Whether a contract is in force today, or in its grace."""
        if self.today < contract.since:
            return False
        if contract.until is None:
            return True
        last: date = contract.until + timedelta(days=contract.grace_days)
        return self.today <= last

    def _best(self, carrier: str, tin: str, function: Function, state: str) -> str | None:
        offers = [
            (reach.rank, portal.kind != "hub", portal.id)
            for portal in self.directory.portals
            for reach in portal.reaches
            if reach.carrier == carrier
            and function in reach.functions
            and tin in self._registered(portal.id)
            and (not portal.states or state in portal.states)
        ]
        return min(offers)[2] if offers else None

    def _registered(self, portal: str) -> list[str]:
        return [
            one.tin
            for one in self.directory.enrolments
            if one.portal == portal
            and one.registered_on is not None
            and one.registered_on <= self.today
        ]

    def _waits_for_recognition(self, carrier: str, tin: str) -> bool:
        """Whether the person is a clinician whom the carrier does not take under the tax id."""
        spans = [
            dated
            for clinician in self.directory.clinicians
            if clinician.worker in self.told.ids
            for dated in clinician.carriers
            if (dated.carrier, dated.tin) == (carrier, tin)
        ]
        return bool(spans) and not any(
            dated.effective_on <= self.today and (dated.until is None or self.today <= dated.until)
            for dated in spans
        )

    def _left_after_a_move(self) -> Iterable[Right]:
        """What the job before the last move gave, while its grace runs."""
        policy = self.directory.policy
        for employment in self.working:
            moved_at, before = self._last_move(employment)
            if moved_at is None or self.now >= moved_at + timedelta(days=policy.mover_grace_days):
                continue
            title = before["title"] or self._at(employment, "title")
            sites = before["sites"] or self._at(employment, "sites")
            given: dict[Right, set[str]] = {}
            for duty in self._duties(title):
                for right in self._needs(duty, sites, recognized=True):
                    given.setdefault(right, set()).add(duty)
            yield from (right for right, duties in given.items() if self._fits(right, duties))

    def _last_move(self, employment: Sequence[Heard]) -> tuple[datetime | None, dict[str, Any]]:
        """When title or sites last became something else, and what both were just before."""
        for instant in sorted({begins(event.data) for event in employment}, reverse=True):
            just_before = instant - timedelta(microseconds=1)
            before = {field: last_said(employment, field, just_before) for field in PLACE}
            after = {field: last_said(employment, field, instant) for field in PLACE}
            if instant <= self.now and any(
                before[field] is not None and before[field] != after[field] for field in PLACE
            ):
                return instant, before
        return None, {}

    def _fits(self, right: Right, old_duties: set[str]) -> bool:
        """Whether something of the former job is on no other side of a separation than the new."""
        duties, functions = self._own_duties(), {right[2] for right in self._by_work()}
        return not any(
            rule.enforced
            and (
                (_on(rule.holders, duties, functions) and _on(rule.never, old_duties, {right[2]}))
                or (
                    _on(rule.holders, old_duties, {right[2]}) and _on(rule.never, duties, functions)
                )
            )
            for rule in self.directory.policy.separation
        )

    def _own_duties(self) -> set[str]:
        return {
            duty
            for employment in self.working
            for duty in self._duties(self._at(employment, "title"))
        }

    def _by_work(self) -> dict[Right, set[str]]:
        """What each right is needed for, whether a carrier recognizes the clinician or not."""
        given: dict[Right, set[str]] = {}
        for employment in self.working:
            for duty in self._duties(self._at(employment, "title")):
                for right in self._needs(duty, self._at(employment, "sites"), recognized=False):
                    given.setdefault(right, set()).add(duty)
        return given

    # -- what is withheld

    def _separated(self, right: Right, called_for: Iterable[Right]) -> bool:
        duties = self._own_duties()
        functions = {function for _, _, function in (*called_for, *self._by_work())}
        because = self._by_work().get(right, set())
        return any(
            rule.enforced
            and _on(rule.holders, duties, functions)
            and (
                right[2] in {function.value for function in rule.never.functions}
                or (
                    bool(because)
                    and because <= set(rule.never.duties)
                    and not because & set(rule.holders.duties)
                )
            )
            for rule in self.directory.policy.separation
        )

    def _administers(self) -> list[Right]:
        return [
            (one.portal, tin, "user_administration")
            for one in self.directory.administrators
            if one.worker in self.told.ids and self._is_appointed(one)
            for tin in self._registered(one.portal)
            if not one.tins or tin in one.tins
        ]

    def _is_appointed(self, one: Any) -> bool:
        return bool(one.since <= self.today and (one.until is None or self.today <= one.until))

    def _portal_permits(self, right: Right, called_for: Iterable[Right]) -> bool:
        portal, tin, function = self._portal(right[0]), right[1], right[2]
        served = sorted(
            {own[1] for own in called_for if own[0] == right[0] and own[2] == "user_administration"}
        )
        if function != "user_administration":
            return not (served and self._rule(portal, RuleName.ONE_ROLE_PER_PERSON))
        most = self._rule(portal, RuleName.MAX_ADMINISTRATORS)
        if most is not None:
            here = sorted(
                (one.since, one.worker)
                for one in self.directory.administrators
                if one.portal == portal.id
                and self._is_appointed(one)
                and (not one.tins or tin in one.tins)
            )
            if not self.told.ids & {worker for _, worker in here[:most]}:
                return False
        most = self._rule(portal, RuleName.MAX_TINS_PER_ADMINISTRATOR)
        if most is not None and tin not in served[:most]:
            return False
        kinds = [self._at(employment, "kind") or "employee" for employment in self.working]
        return not self._rule(portal, RuleName.ADMINISTRATOR_MUST_BE_STAFF) or any(
            kind in STAFF for kind in kinds
        )

    def _portal(self, id_: str) -> Portal:
        return next(portal for portal in self.directory.portals if portal.id == id_)

    def _rule(self, portal: Portal, name: RuleName) -> Any:
        dated = [
            (rule.effective_from or date.min, rule.value)
            for rule in portal.rules
            if rule.rule == name and (rule.effective_from or date.min) <= self.today
        ]
        return max(dated)[1] if dated else None

    def _was_removed(self, right: Right) -> bool:
        approvals = [
            one.approved_at
            for one in self.told.beyond
            if one.right == right and one.starts_at <= self.now < one.ends_at and one.approved_at
        ]
        return any(
            one.names(right) and not any(one.decided_at <= at for at in approvals)
            for one in self.told.removed
        )

    def _is_trained_for(self, right: Right) -> bool:
        return all(
            self._is_trained(module)
            for module in self.directory.training_modules
            if right[2] in {function.value for function in module.functions}
            and (not module.portals or right[0] in module.portals)
        )

    def _is_trained(self, module: Any) -> bool:
        said = [
            (_day(event), number, event)
            for number, event in enumerate(self.told.events)
            if event.type in ("worker.training_completed", "worker.training_expired")
            and event.data["module"] == module.id
            and _day(event) <= self.today
        ]
        if said:
            done, _, last = max(said)
            if last.type == "worker.training_expired":
                return False
            until = [date.max]
            if "expires_on" in last.data:
                until.append(date.fromisoformat(last.data["expires_on"]))
            if module.valid_days is not None:
                until.append(done + timedelta(days=module.valid_days))
            return self.today <= min(until)
        hired = min(hired_at(employment) for employment in self.working)
        return (
            module.grandfathers_hired_before is not None
            and module.grandfathered_until is not None
            and hired < start_of_day(module.grandfathers_hired_before, self.zone)
            and self.now < end_of_day(module.grandfathered_until, self.zone)
        )


def _on(side: Any, duties: set[str], functions: set[str]) -> bool:
    """Whether any of these is named by a side of a separation."""
    return bool(
        duties & set(side.duties) or functions & {function.value for function in side.functions}
    )


def _day(event: Heard) -> date:
    said = event.data.get("completed_on") or event.data["expired_on"]
    return date.fromisoformat(said)
