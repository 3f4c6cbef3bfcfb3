"""The shipped catalogue: well-known portals, a default policy, and a guide to where work is done.

A portal of a directory that says `catalogue: noridian-nmp` gets whatever it does not say itself
from the entry of that name: `fill_in` does that before a directory is validated. What is stored is
the filled-in portal, so that a newer catalogue changes nobody's directory behind their back;
`leave_out` is the way back, for exports.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shared.contracts.directory import GuideEntry, JobDuty, Portal, Separation

FOLDER = Path(__file__).parent

Json = dict[str, Any]

MERGED = ("steps", "chores", "screens")
"""Fields of a portal whose members are filled in one by one."""


class UnknownEntry(ValueError):
    """A portal names a catalogue entry that there is not."""


@cache
def entries() -> Mapping[str, Json]:
    """The catalogue's portals by id, as their file has them."""
    return {each["id"]: each for each in _read("portals.yaml")}


@cache
def portals() -> Mapping[str, Portal]:
    """The same, validated; without what an organization adds."""
    return {id_: Portal.model_validate(fill_in({"id": id_, "catalogue": id_})) for id_ in entries()}


@cache
def guide() -> tuple[GuideEntry, ...]:
    """Where work is done, for organizations whose directory does not say it."""
    return tuple(GuideEntry.model_validate(each) for each in _read("guide.yaml"))


@cache
def default_policy() -> tuple[tuple[JobDuty, ...], tuple[Separation, ...]]:
    """Job duties and separations to begin from."""
    read = _read("policy.yaml")
    return (
        tuple(JobDuty.model_validate(each) for each in read["job_duties"]),
        tuple(Separation.model_validate(each) for each in read["separation"]),
    )


def fill_in(portal: Json, ids: Mapping[str, str] | None = None) -> Json:
    """A portal of a file, with what its catalogue entry says where it says nothing itself.

    Args:
        ids: the directory's own ids of portals by their catalogue entry; a sign-on service that is
            not among them keeps the entry's name.

    Raises:
        UnknownEntry: there is no such entry.
    """
    name = portal.get("catalogue")
    if not isinstance(name, str):
        return portal
    entry = entries().get(name)
    if entry is None:
        raise UnknownEntry(
            f"names catalogue entry {name!r}, which there is not; see: portalkeeper directory"
            " catalogue"
        )
    filled = deepcopy({**entry, **portal})
    functions = filled.pop("functions")
    for field in MERGED:
        filled[field] = {**entry.get(field, {}), **_mapping(portal.get(field))}
    own = {row.get("rule") for row in _list(portal.get("rules")) if isinstance(row, dict)}
    kept = [row for row in entry.get("rules", []) if row["rule"] not in own]
    filled["rules"] = deepcopy(kept) + _list(portal.get("rules"))
    if "requires_sign_on" in entry and "requires_sign_on" not in portal:
        filled["requires_sign_on"] = (ids or {}).get(
            entry["requires_sign_on"], entry["requires_sign_on"]
        )
    if isinstance(portal.get("reaches"), list):
        filled["reaches"] = [
            {"functions": functions, **reach} if isinstance(reach, dict) else reach
            for reach in portal["reaches"]
        ]
    return filled


def leave_out(portal: Portal, ids: Mapping[str, str]) -> Json:
    """A portal as a file needs to say it: without defaults and what the catalogue says the same."""
    short = portal.model_dump(mode="json", exclude_defaults=True)
    if portal.catalogue is None or portal.catalogue not in entries():
        return short
    entry = entries()[portal.catalogue]
    base = Portal.model_validate(
        fill_in({"id": portal.id, "catalogue": portal.catalogue}, ids)
    ).model_dump(mode="json", exclude_defaults=True)
    said: Json = {"id": portal.id, "catalogue": portal.catalogue}
    for field, value in portal.model_dump(mode="json").items():
        if field in said:
            continue
        if field in short:
            if short[field] != base.get(field):
                said[field] = short[field]
        elif field in base and field not in (*MERGED, "rules"):
            said[field] = value
    for field in MERGED:
        if field in said:
            known = base.get(field, {})
            said[field] = {k: v for k, v in said[field].items() if known.get(k) != v}
    if "rules" in said:
        said["rules"] = _rules_to_say(said["rules"], base.get("rules", []))
    if "reaches" in said:
        said["reaches"] = [
            {k: v for k, v in reach.items() if k != "functions" or v != entry["functions"]}
            for reach in said["reaches"]
        ]
    return said


def _rules_to_say(rules: list[Json], known: list[Json]) -> list[Json]:
    def rows(of: list[Json], name: str) -> list[Json]:
        return [row for row in of if row["rule"] == name]

    return [row for row in rules if rows(rules, row["rule"]) != rows(known, row["rule"])]


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read(name: str) -> Any:
    return yaml.load((FOLDER / name).read_text(encoding="utf-8"), Loader=_PlainDates)


class _PlainDates(yaml.SafeLoader):
    """Leaves dates as the text they are written as."""


_PlainDates.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
