"""Forms made from models of the directory: what a section may say is said once, in its model.

A form has a field for whatever the model's schema can hold, but for maps; its help is the model's
own documentation. What is read from it is the section as a document, for provisioning to judge.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import BaseModel
from starlette.datastructures import FormData

from services.gateway.console.commands import form_text
from services.gateway.console.planned import Json, many
from services.gateway.console.view import words

LABELS: Mapping[str, str] = {
    "aliases": "What people call it",
    "brake": "Brake on removals",
    "clearinghouse_id": "Payer id at the clearinghouse",
    "covers": "Days on which the deputy stands in",
    "grandfathered_until": "Existing staff count as trained until",
    "grandfathers_hired_before": "Existing staff are those hired before",
    "holders": "Who holds any of these",
    "every": "Begins with every",
    "held_at": "Kept at",
    "hr": "People in HR",
    "identity": "What its login is called",
    "micro_days_to_decide": "Days to decide after a change of work",
    "micro_no_answer": "If nobody decides then",
    "no_answer": "If nobody decides",
    "notices_to": "Notices go to",
    "npi": "NPI",
    "npis": "Group NPIs",
    "ptan": "PTAN",
    "ptans": "Medicare numbers (PTANs)",
    "reaches": "Carriers that it reaches",
    "requires_sign_on": "Sign-on service",
    "roster_interval_days": "Days between user lists",
    "starts": "Its users when it is taken up",
    "sponsor_left_no_answer": "If nobody decides after a sponsor left",
    "tin": "Tax id",
    "tins": "Tax ids",
    "never": "Never holds any of these",
    "url": "Web address",
    "words": "Words people search with",
    "zone": "Time zone",
}
"""Labels that are not the field's name as words."""

OPTIONS: Mapping[str, str] = {
    "above_reviewer": "the next above whoever is asked",
    "existing": "there may be some already",
    "escalate": "it stays, and the next above is asked",
    "mac": "Medicare contractor",
    "new": "there are none yet",
    "npi_letter": "NPI letter",
    "portal_administrator": "the portal's administrators",
    "remove": "it is ordered away",
    "review_admin": "whoever administers reviews",
    "reviewer": "whoever is asked",
    "suspend": "the login is suspended",
    "w9": "W-9",
}
"""What may be chosen, where that is not told by its name as words."""

REFERENCES: Mapping[str, str] = {
    "carrier": "carriers",
    "carriers": "carriers",
    "documents": "documents",
    "duties": "job_duties",
    "portal": "portals",
    "portals": "portals",
    "requires_sign_on": "portals",
    "sites": "sites",
    "tin": "tins",
    "tins": "tins",
}
"""The list of the directory from which a field of that name chooses."""

ELSEWHERE = frozenset({("Portal", "rules")})
"""Fields that no form asks for: a portal's rules are corrected one by one."""

OWN = frozenset({("Organization", "tins")})
"""What a section says itself, for the others to choose from."""

PEOPLE = frozenset({"worker", "owner", "deputy", "on_call", "hr"})
"""Fields that name workers, by HR's ids."""

NAMING = ("name", "work", "portal", "carrier")
"""What an id of ours is made from, where nobody gives one."""

ROWS_MAX = 200
BLANK_ROWS = 2
_UNITS = re.compile(r"_(days|hours)$")
_WHOLE = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form.

    Args:
        control: how it is asked for: hidden, text, long, number, date, url, email, yes, choice,
            choices, lines, group (of `fields`) or rows (of groups).
        needed: whether it must be filled in.
        of: the list of the directory to choose from, by its name; "" for `options`.
    """

    name: str
    label: str
    help: str
    control: str
    needed: bool
    start: Any = ""
    of: str = ""
    options: tuple[str, ...] = ()
    fields: "tuple[Field, ...]" = ()
    low: int | None = None
    high: int | None = None

    @property
    def may_be_missing(self) -> bool:
        """Whether it is a group that a section may have or not."""
        return self.control == "group" and not self.needed and self.start is None

    @property
    def names_people(self) -> bool:
        """Whether workers are named in it."""
        return self.name in PEOPLE


@cache
def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """The fields of a model's form, in the model's order."""
    schema = model.model_json_schema()
    return tuple(_fields(schema, schema.get("$defs", {})))


def _fields(schema: Json, shared: Mapping[str, Json]) -> Iterator[Field]:
    properties: Mapping[str, Json] = schema["properties"]
    for name, said in properties.items():
        told, _ = _resolved(said, shared)
        is_map = told.get("type") == "object" and "properties" not in told
        if is_map or (schema["title"], name) in ELSEWHERE:
            continue
        of = "" if (schema["title"], name) in OWN else REFERENCES.get(name, "")
        field = _field(name, said, shared, of, needed=name in schema.get("required", ()))
        if name == "id" and "pattern" in said and any(each in properties for each in NAMING):
            field = replace(field, control="hidden", needed=False)
        yield field


def _field(name: str, said: Json, shared: Mapping[str, Json], of: str, *, needed: bool) -> Field:
    told, optional = _resolved(said, shared)
    help_ = _plain(said.get("description", ""))
    label, start = _label(name), said.get("default")
    match told.get("type"):
        case "boolean":
            return Field(name, label, help_, "yes", False, start is True)
        case "object":
            return Field(
                name,
                label,
                help_ or _plain(told.get("description", "")),
                "group",
                needed,
                start,
                fields=tuple(_fields(told, shared)),
            )
        case "array":
            item, _ = _resolved(told["items"], shared)
            some = needed and bool(told.get("minItems"))
            if "properties" in item:
                help_ = help_ or _plain(item.get("description", ""))
                inner = tuple(_fields(item, shared))
                return Field(name, label, help_, "rows", some, start or [], fields=inner)
            options = tuple(item.get("enum", ()))
            control = "choices" if of or options else "lines"
            return Field(name, label, help_, control, some, start or [], of, options)
    if of or "enum" in told:
        options = tuple(told.get("enum", ()))
        return Field(name, label, help_, "choice", not optional, start or "", of, options)
    control = "number" if told.get("type") == "integer" else told.get("format", "text")
    return Field(
        name,
        label,
        help_,
        {"uri": "url", "text": "long" if told.get("maxLength", 0) > 500 else "text"}.get(
            control, control
        ),
        not optional,
        "" if start is None else start,
        low=told.get("minimum"),
        high=told.get("maximum"),
    )


def _label(name: str) -> str:
    """What a field is called, with its unit at the end."""
    said = LABELS.get(name) or words(_UNITS.sub(r", in \1", name))
    return said[:1].upper() + said[1:]


def _resolved(said: Json, shared: Mapping[str, Json]) -> tuple[Json, bool]:
    """What a field holds when it holds something, and whether it may hold nothing."""
    branches = [each for each in said.get("anyOf", ()) if each.get("type") != "null"]
    inner = branches[0] if branches else said
    if "$ref" in inner:
        inner = shared[inner["$ref"].removeprefix("#/$defs/")]
    return inner, bool(branches)


def _plain(documentation: str) -> str:
    """The first paragraph of a documentation, for people who know no field names."""
    first = " ".join(documentation.partition("\n\n")[0].split())
    return re.sub(r"`([^`]+)`", lambda found: words(found[1]), first)


def lead(model: type[BaseModel]) -> str:
    """What a section is, in its model's words."""
    return _plain(model.__doc__ or "")


def started(fields: Sequence[Field]) -> Json:
    """The section as a form begins that nobody has filled in."""
    return {
        field.name: {**started(field.fields), **(field.start or {})}
        if field.control == "group" and not field.may_be_missing
        else field.start
        for field in fields
    }


def read(fields: Sequence[Field], form: FormData, prefix: str = "") -> Json:
    """The section that a form says. What does not fit stays as typed, for provisioning to name."""
    return {field.name: _read(field, form, prefix + field.name) for field in fields}


def _read(field: Field, form: FormData, at: str) -> Any:
    match field.control:
        case "yes":
            return form_text(form, at) == "yes"
        case "choices":
            return many(form, at)
        case "lines":
            return [line.strip() for line in form_text(form, at).splitlines() if line.strip()]
        case "group":
            said = read(field.fields, form, f"{at}.")
            return None if field.may_be_missing and said == _untouched(field.fields) else said
        case "rows":
            return list(_rows(field, form, at))
    # A browser sends lines apart by CR and LF.
    typed = form_text(form, at).replace("\r\n", "\n")
    if not typed and not field.needed:
        return None
    return int(typed) if field.control == "number" and _WHOLE.fullmatch(typed) else typed


def _rows(field: Field, form: FormData, at: str) -> Iterator[Json]:
    """The rows that somebody filled in and did not take out."""
    shown = form_text(form, at)
    untouched = _untouched(field.fields)
    taken: set[str] = set()
    for row in range(min(int(shown) if _WHOLE.fullmatch(shown) else 0, ROWS_MAX)):
        value = read(field.fields, form, f"{at}.{row}.")
        if form_text(form, f"{at}.{row}.gone") or value == untouched:
            continue
        yield identified(field.fields, value, taken)
        taken.add(value.get("id") or "")


def _untouched(fields: Sequence[Field]) -> Json:
    """What is read from a row that was left as it began."""
    return {
        field.name: _untouched(field.fields)
        if field.control == "group"
        else (field.start if field.needed or field.start not in ("", None) else None)
        for field in fields
    }


def identified(fields: Sequence[Field], value: Json, taken: Collection[str]) -> Json:
    """A section with an id: its own, or one made from its name that nothing else has."""
    if value.get("id") or all((each.name, each.control) != ("id", "hidden") for each in fields):
        return value
    said = next((str(value[each]) for each in NAMING if value.get(each)), "")
    base = re.sub(r"[^a-z0-9]+", "-", said.casefold()).strip("-")[:50] or "new"
    ids = (f"{base}-{n}" if n > 1 else base for n in range(1, len(taken) + 2))
    return {**value, "id": next(each for each in ids if each not in taken)}
