"""Replay of what stands beside accounts and work: exceptions, and what is known of portals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from services.provisioning.rules.desired.directory import PortalKnowledge
from services.provisioning.rules.enrolment import PhaseState
from services.provisioning.rules.exceptions import AccessException, describe_exception
from services.provisioning.rules.facts import Facts, Outcome
from services.provisioning.rules.replay import Difference, Told

OF_PORTALS = frozenset(
    {
        "outage.started",
        "outage.ended",
        "incident.reported",
        "portal.reconciled",
        "enrolment.moved",
        "enrolment.item_ticked",
        "enrolment.assigned",
    }
)
"""Events about portals themselves, not about anybody's access there."""


def compare_exceptions(events: Iterable[Told], kept: Sequence[AccessException]) -> list[Difference]:
    """Access beyond policy of one worker, as its last event tells it and as it is kept."""
    told: dict[str, dict[str, Any]] = {}
    for event in events:
        kind, _, what = event.type.partition(".")
        if kind in ("exception", "break_glass"):
            one = told.setdefault(event.data["exception_id"], {"reviewed_by": None})
            one |= {name: value for name, value in event.data.items() if name != "by"}
            if what == "reviewed":
                one["reviewed_by"] = event.data["by"]
    rows = {
        one.exception_id: _as_json({**describe_exception(one), "reviewed_by": one.reviewed_by})
        for one in kept
    }
    return _compare("exception", told, rows)


@dataclass(frozen=True, slots=True)
class Portals:
    """What is kept of an organization's portals. `outages` are rows by id, as JSON.

    Since when a portal's users are heard of is not compared: no event says it.
    """

    outages: Mapping[str, Mapping[str, Any]]
    incidents: frozenset[str]
    phases: Sequence[PhaseState]
    observed: Mapping[str, PortalKnowledge]


@dataclass(slots=True)
class _RetoldPortals:
    outages: dict[str, dict[str, Any]] = field(default_factory=dict)
    incidents: set[str] = field(default_factory=set)
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)
    reconciled: dict[str, datetime] = field(default_factory=dict)
    first_list: dict[str, datetime] = field(default_factory=dict)


def compare_portals(
    events: Iterable[Told], adopted: Mapping[str, datetime], kept: Portals
) -> list[Difference]:
    """Outages, incidents, enrolments, and what is known of portals' users.

    Args:
        adopted: when the first login of each portal was taken over from a sheet, where one was.
    """
    told = _retell_portals(events)
    found = _compare("outage", told.outages, kept.outages)
    for id_ in sorted(told.incidents ^ kept.incidents):
        found.append(_one_sided("incident", id_, told=id_ in told.incidents))
    phases = {
        f"{state.enrolment}/{state.phase.value}": {
            "status": state.status.value,
            "ticked": sorted(state.ticked),
            "owner": state.owner,
        }
        for state in kept.phases
    }
    # Until somebody does something about a phase, it has neither ticks nor an owner.
    fresh: dict[str, Any] = {"ticked": [], "owner": None}
    retold = {name: fresh | told.phases.get(name, {}) for name in phases}
    found += _compare("enrolment", retold, phases)
    for portal, known in sorted(kept.observed.items()):
        mine = told.reconciled.get(portal)
        if mine != known.reconciled_as_of:
            found.append(
                Difference("portal", portal, "reconciled", str(mine), str(known.reconciled_as_of))
            )
        first_list = told.first_list.get(portal)
        first_login = adopted.get(portal)
        taken_over = first_login is not None and (first_list is None or first_login < first_list)
        if taken_over != known.adopted:
            found.append(
                Difference("portal", portal, "adopted", str(taken_over), str(known.adopted))
            )
    return found


def _retell_portals(events: Iterable[Told]) -> _RetoldPortals:
    told = _RetoldPortals()
    for event in events:
        data = event.data
        match event.type:
            case "outage.started":
                told.outages[data["outage_id"]] = {**data, "ended_by": None, "ended_at": None}
            case "outage.ended":
                ended = {"ended_by": data["ended_by"], "ended_at": data["ended_at"]}
                told.outages.setdefault(data["outage_id"], {}).update(ended)
            case "incident.reported":
                told.incidents.add(data["incident_id"])
            case "portal.reconciled":
                told.reconciled[data["portal"]] = datetime.fromisoformat(data["as_of"])
                told.first_list.setdefault(data["portal"], event.time)
            case "enrolment.moved" | "enrolment.item_ticked" | "enrolment.assigned":
                name = f"{data['enrolment']}/{data['phase']}"
                phase = told.phases.setdefault(name, {"ticked": []})
                if event.type == "enrolment.assigned":
                    phase["owner"] = data["owner"]
                elif event.type == "enrolment.moved":
                    phase["status"] = data["status"]
                    if data["move"] == "reopen":
                        phase["ticked"] = []
                else:
                    ticked = {*phase["ticked"]} - {data["item"]}
                    phase["ticked"] = sorted(ticked | ({data["item"]} if data["done"] else set()))
    return told


def compare_decided(facts: Facts, outcome: Outcome) -> list[Difference]:
    """What follows from everything else and is kept all the same: parked removals, and clocks."""
    found = [
        _one_sided("parked removal", "/".join(part or "*" for part in one.target), told=told)
        for parked, told in ((outcome.parked, True), (outcome.unparked, False))
        for one in parked
    ]
    kept = {(account.worker, account.portal): account for account in facts.accounts}
    for account in outcome.accounts:
        own = kept.get((account.worker, account.portal))
        if own is not None and own.lapses_at != account.lapses_at:
            name = f"{account.worker}/{account.portal}"
            found.append(
                Difference("account", name, "lapses_at", str(account.lapses_at), str(own.lapses_at))
            )
    return found


def _as_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """As events carry it."""
    plain: dict[str, Any] = orjson.loads(orjson.dumps(document, option=orjson.OPT_UTC_Z))
    return plain


def _compare(
    what: str, told: Mapping[str, Mapping[str, Any]], kept: Mapping[str, Mapping[str, Any]]
) -> list[Difference]:
    found = []
    for id_ in sorted({*told, *kept}):
        if id_ not in told or id_ not in kept:
            found.append(_one_sided(what, id_, told=id_ in told))
            continue
        found += [
            Difference(what, id_, name, str(told[id_].get(name)), str(own))
            for name, own in kept[id_].items()
            if name in told[id_] and told[id_][name] != own
        ]
    return found


def _one_sided(what: str, key: str, *, told: bool) -> Difference:
    published, kept = ("published", "missing") if told else ("never published", "there")
    return Difference(what, key, "", published, kept)
