"""Why somebody can, or cannot, use a portal: the chain behind each function, one link at a time.

HR event, rule, authorization, operation, evidence: each link says in words what it is, and names
the published event that is its record, so that the audit entry of it can be found.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.operations import GIVES, REMOVES
from shared.contracts.directory import Function, OperationKind, Portal
from shared.contracts.envelope import event_id
from shared.values import value_class

SOURCE = "/portalkeeper/provisioning"
HR_EVENTS_SHOWN = 5
OPEN = ("requested", "claimed", "superseded")

NEXT_STEPS: Mapping[str, str] = {
    "training_missing": "Record the training as completed: by HR, or where it is signed off.",
    "review_removed": "Ask for an exception, which a second person approves.",
    "observe_only": "Import the portal's first list of users.",
    "separation": "Let another person do one of the two, or change the policy.",
    "not_in_duties": "Change the job duty in the policy, or ask for an exception.",
    "no_duty": "Map the title to a job duty, if this work needs portals.",
    "unmapped_title": "Map the title to job duties in the directory.",
    "no_site": "HR names the sites somebody works at.",
    "no_contract": "Enter the contract with the carrier, if there is one.",
    "registration_pending": "Finish the organization's registration on the portal.",
    "not_employed": "Nothing: without an employment nobody has access.",
    "on_leave": "Nothing: access comes back with the return from leave.",
    "expected": "Nothing: access is ordered when the employment begins.",
    "blocked": "Look at the findings about this worker first.",
}
"""What to do next, by the rule that stands in the way."""

EVIDENCE: Mapping[str | None, str] = {
    "roster": "It is on the portal's own list.",
    "api": "The portal's own answer says so.",
    "person": "A person says so.",
    "assumed": "It is assumed; nothing has shown it yet.",
}
"""How it is known that a portal holds something, by grade."""


@value_class(frozen=True, slots=True)
class Link:
    """One link of a chain.

    `step` is hr_event, rule, authorization, operation, evidence or adoption; `event` is (source,
    id) of its record. Instants are UTC.
    """

    step: str
    text: str
    at: datetime | None = None
    by: str | None = None
    reference: str | None = None
    event: tuple[str, str] | None = None


@value_class(frozen=True, slots=True)
class Line:
    """One function under one TIN: how it stands, by which rule, what to do next, and the chain.

    `state`: effective, exposed (effective and wanted gone), requested, held, denied or ended. A
    denied function has no TIN.
    """

    tin: str | None
    function: str
    state: str
    rule: str
    detail: str
    next_step: str | None
    chain: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What an explanation rests on: the published state, and rows as they are stored.

    `events` are HR events with whether they are withdrawn, oldest first; `operations` newest first;
    `holdings` all that was ever known, in recorded order.
    """

    organization: str
    portal: str
    state: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    operations: Sequence[Mapping[str, Any]]
    holdings: Sequence[Mapping[str, Any]]
    compiled: CompiledDirectory
    as_of: datetime


def explain(known: Known) -> list[Line]:
    """Every function that somebody has, waits for, is refused or had on a portal."""
    return _Explanation(known).lines()


@dataclass(slots=True)
class _Explanation:
    _known: Known
    _access: Mapping[str, Any] = field(init=False)
    _day: date = field(init=False)

    def __post_init__(self) -> None:
        known = self._known
        self._access = next(
            (one for one in known.state["portals"] if one["portal"] == known.portal),
            {"desired": [], "effective": [], "held": [], "operations": []},
        )
        self._day = known.as_of.astimezone(known.compiled.zone).date()

    def lines(self) -> list[Line]:
        access = self._access
        desired = {(own["tin"], own["function"]): own for own in access["desired"]}
        effective = {(own["tin"], own["function"]): own for own in access["effective"]}
        found = [self._effective(own, wanted=right in desired) for right, own in effective.items()]
        found += [self._requested(own) for right, own in desired.items() if right not in effective]
        found += [
            self._held(own)
            for own in access["held"]
            if (own["tin"], own["function"]) not in effective
        ]
        told = {(line.tin, line.function) for line in found}
        found += self._ended(told)
        told_of = {line.function for line in found}
        found += [self._denied(function) for function in self._offered() if function not in told_of]
        return found

    # -- lines

    def _effective(self, own: Mapping[str, Any], *, wanted: bool) -> Line:
        chain = [*self._cause(own["tin"], own["function"], own["operation_id"])]
        chain += self._authorization(own["authorized_by"])
        chain += self._operation(own["operation_id"])
        chain += self._evidence(own["tin"], own["function"])
        if wanted:
            return Line(
                own["tin"],
                own["function"],
                "effective",
                "job_duty" if own["authorized_by"] else "adoption",
                "The portal holds it, as far as evidence tells.",
                None,
                tuple(chain),
            )
        removal = self._open_operation(own["tin"], own["function"], REMOVES)
        rule = removal["rule"] if removal else "no_longer_needed"
        if removal:
            chain += [*self._hr_events(removal["events"]), *self._operation(_id(removal))]
        return Line(
            own["tin"],
            own["function"],
            "exposed",
            rule,
            "It must be gone and is not confirmed gone.",
            "Confirm the removal with evidence." if removal else NEXT_STEPS.get(rule),
            tuple(chain),
        )

    def _requested(self, own: Mapping[str, Any]) -> Line:
        order = self._open_operation(own["tin"], own["function"], GIVES)
        chain = [*self._cause(own["tin"], own["function"], _id(order) if order else None)]
        chain += self._authorization(own["authorized_by"])
        if order is not None:
            chain += self._operation(_id(order))
            return Line(
                own["tin"],
                own["function"],
                "requested",
                order["rule"],
                f"Ordered, and not confirmed yet; due {order['deadline']:%Y-%m-%d %H:%M} UTC.",
                "Carry out the work item and say so with evidence.",
                tuple(chain),
            )
        last = self._last_operation(own["tin"], own["function"])
        if last is not None:
            chain += self._operation(_id(last))
        return Line(
            own["tin"],
            own["function"],
            "requested",
            "waits",
            "Wanted, but nothing is ordered: what came before failed lately or has to end first.",
            "It is ordered again by itself.",
            tuple(chain),
        )

    def _held(self, own: Mapping[str, Any]) -> Line:
        chain = [*self._hr_events(self._hiring()), Link("rule", own["detail"], None, None)]
        return Line(
            own["tin"],
            own["function"],
            "held",
            own["rule"],
            own["detail"],
            NEXT_STEPS.get(own["rule"]),
            tuple(chain),
        )

    def _ended(self, told: set[tuple[str | None, str]]) -> list[Line]:
        """What was held once and is held no more, as it is known now."""
        last: dict[tuple[str, str], Mapping[str, Any]] = {}
        for row in self._known.holdings:
            if row["ended_by"] is not None and row["known_until"].year == datetime.max.year:
                last[row["tin"], row["function"]] = row
        lines = []
        for (tin, function), row in sorted(last.items()):
            if (tin, function) in told:
                continue
            ending = self._find(row["ended_by"])
            chain = [*self._operation(row["granted_by"])]
            if ending is not None:
                chain += [*self._hr_events(ending["events"]), *self._operation(row["ended_by"])]
            chain.append(
                Link(
                    "evidence",
                    "It is gone, as far as evidence tells.",
                    row["valid_until"],
                    row["end_said_by"],
                    row["ended_by"],
                    (SOURCE, str(row["ending_event"])),
                )
            )
            rule = ending["rule"] if ending is not None else "ended"
            detail = "It was held and is not any more."
            lines.append(Line(tin, function, "ended", rule, detail, None, tuple(chain)))
        return lines

    def _denied(self, function: str) -> Line:
        rule, detail = self._why_not(Function(function))
        chain = [*self._hr_events(self._hiring()), Link("rule", detail)]
        return Line(None, function, "denied", rule, detail, NEXT_STEPS.get(rule), tuple(chain))

    # -- why not

    def _offered(self) -> list[str]:
        portal = self._known.compiled.portals.get(self._known.portal)
        offered = {f.value for reach in portal.reaches for f in reach.functions} if portal else ()
        return sorted(offered)

    def _why_not(self, function: Function) -> tuple[str, str]:
        """The first thing that stands in the way of a function that nothing desires."""
        state = self._known.state
        if state["blocked"]:
            return "blocked", "Their access cannot be computed; see the findings."
        working = [one for one in state["employments"] if one["open"]]
        if not working:
            rule = "expected" if state["status"] == "expected" else "not_employed"
            return rule, f"They are {state['status'].replace('_', ' ')}, so nothing is given."
        if not state["duties"]:
            if all(one["on_leave"] for one in working):
                return "on_leave", "They are on leave, and leave suspends access."
            return self._why_no_duty(working)
        needing = [
            duty for duty in state["duties"] if function in self._known.compiled.functions_of(duty)
        ]
        if not needing:
            duties = ", ".join(self._called("job_duties", each) for each in state["duties"])
            return "not_in_duties", f"None of their job duties ({duties}) needs {_words(function)}."
        sites = [
            site
            for one in working
            for site in one["sites"]
            if self._known.compiled.knows_site(site)
        ]
        if not sites:
            return "no_site", "They work at no site of the directory, so no carrier is theirs."
        return self._why_not_here(function, sites)

    def _why_no_duty(self, working: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        for one in working:
            if one["title"] is None or self._known.compiled.duties_of(one["title"]) is None:
                return "unmapped_title", f"The title {one['title']!r} has no job duty."
        titles = ", ".join(repr(one["title"]) for one in working)
        return "no_duty", f"The title {titles} maps to no job duty that needs portals."

    def _why_not_here(self, function: Function, sites: Sequence[str]) -> tuple[str, str]:
        """Why none of these sites does a needed function on this portal."""
        compiled, day = self._known.compiled, self._day
        portal = compiled.portals[self._known.portal]
        reached = {reach.carrier for reach in portal.reaches if function in reach.functions}
        contracts = [
            (contract.carrier, tin, site)
            for site in dict.fromkeys(sites)
            for contract, tin in compiled.contracts_at(site, day)
            if contract.carrier in reached
        ]
        if not contracts:
            carriers = ", ".join(sorted(self._called("carriers", each) for each in reached))
            return "no_contract", f"No contract with {carriers} is in force where they work."
        enrolled = compiled.enrolled_tins(portal.id, self._known.as_of)
        if not any(tin in enrolled for _, tin, _ in contracts):
            return "registration_pending", "The organization's registration has not cleared there."
        others = {
            better.name
            for carrier, tin, site in contracts
            if (better := compiled.best_portal(carrier, tin, function, site, day)) is not None
        }
        if others:
            elsewhere = ", ".join(sorted(others))
            return "better_portal", f"Their sites do {_words(function)} on {elsewhere} instead."
        return "other_state", "The portal does not serve the states of the sites they work at."

    # -- links

    def _cause(self, tin: str, function: str, operation: str | None) -> Iterable[Link]:
        """The HR events behind an operation, and the rule that makes the function theirs."""
        row = self._find(operation)
        yield from self._hr_events(row["events"] if row and row["events"] else self._hiring())
        rule = self._rule(tin, Function(function))
        if rule is not None:
            yield Link("rule", rule)

    def _rule(self, tin: str, function: Function) -> str | None:
        """How policy and directory lead to a function here, if today's still do."""
        known, compiled = self._known, self._known.compiled
        portal = compiled.portals.get(known.portal)
        if portal is None:
            return None
        if function is Function.USER_ADMINISTRATION:
            return f"The directory names them administrator of {portal.name}."
        if function is Function.SIGN_ON:
            needing = self._signed_on_from(portal)
            return f"{portal.name} is the way to sign in to {needing}." if needing else None
        for employment in known.state["employments"]:
            if not employment["open"]:
                continue
            for duty in compiled.duties_of(employment["title"] or "") or ():
                if function not in compiled.functions_of(duty):
                    continue
                for site in employment["sites"]:
                    found = self._contract_for(site, tin, function)
                    if found is not None:
                        contract, carrier = found
                        return (
                            f"Title {employment['title']!r} does"
                            f" {self._called('job_duties', duty)}, which needs {_words(function)};"
                            f" at {self._called('sites', site)} {self._called('carriers', carrier)}"
                            f" is done on {portal.name} (contract {contract})."
                        )
        return None

    def _called(self, section: Literal["carriers", "job_duties", "sites"], id: str) -> str:
        """What the directory calls a member of a section."""
        members = getattr(self._known.compiled.directory, section)
        return next((each.name for each in members if each.id == id), id)

    def _contract_for(self, site: str, tin: str, function: Function) -> tuple[str, str] | None:
        compiled, day = self._known.compiled, self._day
        if not compiled.knows_site(site):
            return None
        for contract, own_tin in compiled.contracts_at(site, day):
            if own_tin == tin:
                best = compiled.best_portal(contract.carrier, tin, function, site, day)
                if best is not None and best.id == self._known.portal:
                    return contract.id, contract.carrier
        return None

    def _signed_on_from(self, portal: Portal) -> str:
        """Portals that this person needs and that are reached through this one."""
        compiled = self._known.compiled
        names = [
            behind.name
            for access in self._known.state["portals"]
            if access["desired"]
            and (behind := compiled.portals.get(access["portal"])) is not None
            and behind.requires_sign_on == portal.id
        ]
        return ", ".join(sorted(names))

    def _hiring(self) -> list[str]:
        """Ids of the HR events in force that say who employs them as what, the latest."""
        telling = [
            event["id"]
            for event in self._known.events
            if not event["rescinded"]
            and event["type"]
            in ("worker.hired", "worker.changed", "worker.terminated", "worker.leave_started")
        ]
        return telling[-HR_EVENTS_SHOWN:]

    def _hr_events(self, ids: Iterable[str]) -> Iterable[Link]:
        wanted = set(ids)
        for event in self._known.events:
            if event["id"] in wanted:
                yield Link(
                    "hr_event",
                    event["type"].removeprefix("worker.").replace("_", " "),
                    event["effective_at"] or event["time"],
                    event["source"],
                    event["id"],
                    (event["source"], event["id"]),
                )

    def _authorization(self, by: Mapping[str, Any] | None) -> Iterable[Link]:
        if by is None:
            yield Link("authorization", "Nobody is on record as answering for it.")
            return
        kind = by["kind"].replace("_", " ")
        yield Link("authorization", f"{kind} {by['reference']}", None, by["by"], by["reference"])

    def _operation(self, operation_id: str | None) -> Iterable[Link]:
        """An operation and how it ended; what was adopted has none."""
        if operation_id is None:
            return
        row = self._find(operation_id)
        if row is None:
            yield Link(
                "adoption", "It existed before it was recorded here.", None, None, operation_id
            )
            return
        yield Link(
            "operation",
            f"{row['kind'].replace('_', ' ')} ordered because of {row['rule'].replace('_', ' ')}",
            row["requested_at"],
            None,
            operation_id,
            (SOURCE, event_id("operation.requested", self._known.organization, operation_id)),
        )
        if row["ended_at"] is not None:
            evidence = row["evidence"]
            said = f": {evidence['text']}" if evidence else ""
            what = row["status"].replace("_", " ")
            yield Link("operation", f"{what}{said}", row["ended_at"], None, operation_id)

    def _evidence(self, tin: str, function: str) -> Iterable[Link]:
        """What shows that a portal holds a function now, the latest word."""
        rows = [
            row
            for row in self._known.holdings
            if (row["tin"], row["function"]) == (tin, function)
            and row["known_until"].year == row["valid_until"].year == datetime.max.year
        ]
        for row in rows[-1:]:
            yield Link(
                "evidence",
                EVIDENCE.get(row["grade"], "How it is known is not on record."),
                row["valid_from"],
                row["said_by"],
                row["source_id"],
                (SOURCE, str(row["source_event"])),
            )

    # -- operations

    def _find(self, operation_id: str | None) -> Mapping[str, Any] | None:
        return next((row for row in self._known.operations if _id(row) == operation_id), None)

    def _open_operation(
        self, tin: str, function: str, kinds: frozenset[OperationKind]
    ) -> Mapping[str, Any] | None:
        return next(
            (
                row
                for row in self._known.operations
                if row["status"] in OPEN
                and OperationKind(row["kind"]) in kinds
                and _covers(row, tin, function)
            ),
            None,
        )

    def _last_operation(self, tin: str, function: str) -> Mapping[str, Any] | None:
        return next((row for row in self._known.operations if _covers(row, tin, function)), None)


def _covers(row: Mapping[str, Any], tin: str, function: str) -> bool:
    """Whether an operation is about a function: by name, among its rights, or all of the login."""
    if row["tin"] is not None:
        return (row["tin"], row["function"]) == (tin, function)
    return not row["rights"] or [tin, function] in row["rights"]


def _id(row: Mapping[str, Any]) -> str:
    return str(row["operation_id"])


def _words(function: Function) -> str:
    return function.value.replace("_", " ")
