"""Whether the parts of a directory fit each other; each misfit says where it is, and in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.contracts.directory import Directory, TinPtan

INCONSISTENT = "directory_inconsistent"
"""The type of the error that carries every `Inconsistency` in its context, as `problems`."""


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """What does not fit within a directory: where (keys and positions), and in words."""

    at: tuple[str | int, ...]
    message: str


def inconsistencies(directory: Directory, financial: Collection[str]) -> Iterator[Inconsistency]:
    """Everything in a directory that does not fit the rest of it.

    Args:
        financial: the functions that front office must not hold.
    """
    yield from _given_twice(directory)
    yield from _naming_nothing(directory)
    yield from _front_office_with_money(directory, financial)
    yield from _impossible(directory)


LISTS: Mapping[str, str] = MappingProxyType(
    {
        "source": "sources",
        "site": "sites",
        "clinician": "clinicians",
        "carrier": "carriers",
        "contract": "contracts",
        "portal": "portals",
        "enrolment": "enrolments",
        "enrolment_document": "documents",
        "administrator": "administrators",
        "training_module": "training_modules",
        "title": "titles",
        "job_duty": "job_duties",
        "guide": "guide",
    }
)
"""The list of a file that holds the objects of a kind."""


def _given_twice(directory: Directory) -> Iterator[Inconsistency]:
    for kind, name in LISTS.items():
        seen: set[str] = set()
        for number, member in enumerate(getattr(directory, name)):
            id_ = member.id.casefold() if kind == "title" else member.id
            if id_ in seen:
                yield Inconsistency(
                    (name, number, "id"), f"{_spoken(kind)} {member.id!r} is given twice"
                )
            seen.add(id_)
    enrolled: set[tuple[str, str]] = set()
    for number, enrolment in enumerate(directory.enrolments):
        if (enrolment.portal, enrolment.tin) in enrolled:
            yield Inconsistency(
                ("enrolments", number),
                f"portal {enrolment.portal!r} is enrolled twice for tax id {enrolment.tin}",
            )
        enrolled.add((enrolment.portal, enrolment.tin))
    rules: set[str] = set()
    for number, rule in enumerate(directory.policy.separation):
        if rule.id in rules:
            yield Inconsistency(
                ("policy", "separation", number, "id"), f"separation {rule.id!r} is given twice"
            )
        rules.add(rule.id)


def _naming_nothing(directory: Directory) -> Iterator[Inconsistency]:
    known = {
        kind: {member.id for member in getattr(directory, name)} for kind, name in LISTS.items()
    }
    tins = set(directory.organization.tins)
    for at, kind, named in _references(directory):
        if kind == "tin":
            if named not in tins:
                yield Inconsistency(at, f"names tax id {named}, which the organization lacks")
        elif named not in known[kind]:
            yield Inconsistency(
                at, f"names {_spoken(kind)} {named!r}, which is not in the directory"
            )


Reference = tuple[tuple[str | int, ...], str, str]
"""Where something is named, the kind of what is named (or "tin"), and its id."""


def _references(directory: Directory) -> Iterator[Reference]:
    for s, site in enumerate(directory.sites):
        yield from _all("tin", site.tins, "sites", s, "tins")
        yield from _ptans(site.ptans, "sites", s)
    for c, clinician in enumerate(directory.clinicians):
        yield from _all("site", clinician.sites, "clinicians", c, "sites")
        yield from _ptans(clinician.ptans, "clinicians", c)
        for n, effective in enumerate(clinician.carriers):
            yield ("clinicians", c, "carriers", n, "carrier"), "carrier", effective.carrier
            yield ("clinicians", c, "carriers", n, "tin"), "tin", effective.tin
    for c, contract in enumerate(directory.contracts):
        yield ("contracts", c, "carrier"), "carrier", contract.carrier
        yield from _all("tin", contract.tins, "contracts", c, "tins")
        yield from _all("site", contract.sites, "contracts", c, "sites")
    for p, portal in enumerate(directory.portals):
        if portal.requires_sign_on is not None:
            yield ("portals", p, "requires_sign_on"), "portal", portal.requires_sign_on
        for r, reach in enumerate(portal.reaches):
            yield ("portals", p, "reaches", r, "carrier"), "carrier", reach.carrier
    for e, enrolment in enumerate(directory.enrolments):
        yield ("enrolments", e, "portal"), "portal", enrolment.portal
        yield ("enrolments", e, "tin"), "tin", enrolment.tin
        yield from _all("enrolment_document", enrolment.documents, "enrolments", e, "documents")
    for d, document in enumerate(directory.documents):
        yield from _all("tin", document.tins, "documents", d, "tins")
    for a, administrator in enumerate(directory.administrators):
        yield ("administrators", a, "portal"), "portal", administrator.portal
        yield from _all("tin", administrator.tins, "administrators", a, "tins")
    for m, module in enumerate(directory.training_modules):
        yield from _all("portal", module.portals, "training_modules", m, "portals")
    for t, title in enumerate(directory.titles):
        yield from _all("job_duty", title.duties, "titles", t, "duties")
    for n, rule in enumerate(directory.policy.separation):
        for side in ("holders", "never"):
            duties = getattr(rule, side).duties
            yield from _all("job_duty", duties, "policy", "separation", n, side, "duties")
    for n, calendar in enumerate(directory.reviews.calendars if directory.reviews else ()):
        for kind, field in (
            ("site", "sites"),
            ("tin", "tins"),
            ("carrier", "carriers"),
            ("portal", "portals"),
        ):
            named = getattr(calendar.scope, field)
            yield from _all(kind, named, "reviews", "calendars", n, "scope", field)
    for g, entry in enumerate(directory.guide):
        yield from _all("carrier", entry.carriers, "guide", g, "carriers")
        if entry.portal is not None:
            yield ("guide", g, "portal"), "portal", entry.portal


def _all(kind: str, named: tuple[str, ...], *at: str | int) -> Iterator[Reference]:
    for number, id_ in enumerate(named):
        yield (*at, number), kind, id_


def _ptans(ptans: tuple[TinPtan, ...], *at: str | int) -> Iterator[Reference]:
    for number, ptan in enumerate(ptans):
        yield (*at, "ptans", number, "carrier"), "carrier", ptan.carrier
        yield (*at, "ptans", number, "tin"), "tin", ptan.tin


def _front_office_with_money(
    directory: Directory, financial: Collection[str]
) -> Iterator[Inconsistency]:
    """Front office holds no financial function, unless a separation says what is to be."""
    for number, duty in enumerate(directory.job_duties):
        if not duty.front_office:
            continue
        spoken_of = {
            function
            for rule in directory.policy.separation
            if duty.id in rule.holders.duties
            for function in rule.never.functions
        }
        for position, function in enumerate(duty.functions):
            if function in financial and function not in spoken_of:
                yield Inconsistency(
                    ("job_duties", number, "functions", position),
                    f"gives {function.value} to the front office ({duty.id}); take it out, or say"
                    " in policy.separation that the organization decided otherwise, and why",
                )


def _impossible(directory: Directory) -> Iterator[Inconsistency]:
    for number, portal in enumerate(directory.portals):
        if portal.requires_sign_on == portal.id:
            yield Inconsistency(
                ("portals", number, "requires_sign_on"), "cannot be reached through itself"
            )
        if portal.closes_only and portal.revoke_instead_of_suspend:
            yield Inconsistency(
                ("portals", number, "closes_only"),
                "contradicts revoke_instead_of_suspend: say which of them the portal offers",
            )
    for name in ("contracts", "administrators"):
        for number, span in enumerate(getattr(directory, name)):
            if span.until is not None and span.until < span.since:
                yield Inconsistency((name, number, "until"), "lies before since")


def _spoken(kind: str) -> str:
    return kind.replace("_", " ")
