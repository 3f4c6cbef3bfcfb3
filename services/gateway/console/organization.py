"""Carriers, sites, clinicians and the guide: looked at together, and changed one at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.commands import form_text
from services.gateway.console.planned import Json, in_force, many, planned, put
from services.gateway.console.visitor import Console, Visitor
from shared.contracts.consistency import LISTS
from shared.contracts.directory import Function
from shared.errors import Problem

PTAN = ("ptan", "carrier", "tin", "since", "until")
RECOGNIZED = ("carrier", "tin", "effective_on", "until")
CARRIER_KINDS = (
    "commercial",
    "medicare",
    "medicare_advantage",
    "medicaid",
    "managed_medicaid",
    "workers_comp",
)


def routes(console: Console) -> APIRouter:
    """The pages and their forms."""
    router = APIRouter()

    @router.get("/directory/organization")
    async def organization(request: Request) -> Response:
        """Tax ids, NPIs, PTANs, sites, clinicians, carriers and the guide."""
        visitor = await console.visitor(request, "directory:read", "access:read")
        found = await in_force(console, visitor)
        if found is None:
            return RedirectResponse("/directory", status_code=303)
        return console.page(request, "organization.html", found=found)

    @router.get("/directory/entries/{kind}")
    async def entry(request: Request, kind: str, id: str = "") -> Response:
        """The form for one of them; an empty one without an id."""
        visitor = await console.visitor(request, "access:admin")
        return await _show(request, visitor, kind, id)

    async def _show(
        request: Request,
        visitor: Visitor,
        kind: str,
        id_: str,
        *,
        problem: Problem | None = None,
        typed: Json | None = None,
    ) -> Response:
        _reader(kind)
        found = await in_force(console, visitor)
        if found is None:
            return RedirectResponse("/directory", status_code=303)
        known = next(
            (one for one in found["directory"].get(LISTS[kind], []) if one["id"] == id_), None
        )
        if id_ and known is None and typed is None:
            raise Problem(404, "no_such_object", f"The directory has no {kind} {id_}.")
        return console.page(
            request,
            "entry_form.html",
            status=problem.status if problem else 200,
            kind=kind,
            called="entry of the guide" if kind == "guide" else kind,
            known=known,
            e=typed or known or {},
            d=found["directory"],
            lines=_lines,
            ptan=PTAN,
            recognized=RECOGNIZED,
            carrier_kinds=CARRIER_KINDS,
            tins=[(tin, tin) for tin in found["directory"]["organization"]["tins"]],
            sites=[(site["id"], site["name"]) for site in found["directory"]["sites"]],
            carriers=[(one["id"], one["name"]) for one in found["directory"]["carriers"]],
            functions=[
                (each.value, each.value.replace("_", " "))
                for each in Function
                if each is not Function.SIGN_ON
            ],
            problem=problem,
        )

    @router.post("/directory/entries/{kind}")
    async def change(request: Request, kind: str) -> Response:
        """Plan one of them as the form has it, or its going."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, f"directory.{kind}")
        read, id_ = _reader(kind), form_text(form, "id")
        value: Json = {}
        try:
            if form_text(form, "go"):
                edits: Json = {"remove": [{"kind": kind, "id": id_}]}
            else:
                value = {name: told for name, told in read(form).items() if told not in ("", None)}
                edits = put(kind, id_, value)
            return await planned(console, visitor, kind, edits)
        except Problem as problem:
            typed = {"id": id_, **value} if value else None
            return await _show(request, visitor, kind, id_, problem=problem, typed=typed)

    return router


def _reader(kind: str) -> Callable[[FormData], Json]:
    if kind not in READERS:
        raise Problem(404, "no_such_form", "There is no such form.")
    return READERS[kind]


def _carrier(form: FormData) -> Json:
    return {
        **_texts(form, "name", "kind", "phone", "clearinghouse_id"),
        "aliases": _words(form, "aliases"),
    }


def _site(form: FormData) -> Json:
    return {
        **_texts(form, "name", "state"),
        "tins": many(form, "tins"),
        "ptans": _rows(form, "ptans", PTAN),
    }


def _clinician(form: FormData) -> Json:
    return {
        **_texts(form, "name", "npi", "worker"),
        "sites": many(form, "sites"),
        "ptans": _rows(form, "ptans", PTAN),
        "carriers": _rows(form, "recognized", RECOGNIZED),
    }


def _guide(form: FormData) -> Json:
    return {
        **_texts(
            form, "work", "portal", "screen", "link", "clearinghouse", "portal_shows", "phone"
        ),
        "words": _words(form, "words"),
        "functions": many(form, "functions"),
        "carriers": many(form, "carriers"),
    }


READERS: Mapping[str, Callable[[FormData], Json]] = {
    "carrier": _carrier,
    "site": _site,
    "clinician": _clinician,
    "guide": _guide,
}


def _texts(form: FormData, *names: str) -> Json:
    return {name: form_text(form, name) for name in names}


def _words(form: FormData, name: str) -> list[str]:
    return [word.strip() for word in form_text(form, name).split(",") if word.strip()]


def _rows(form: FormData, name: str, columns: Sequence[str]) -> list[Json]:
    """What is typed a line each, its parts parted by commas; those at the end may be left out.

    Raises:
        Problem: 422 for a line with more parts than there are.
    """
    rows = []
    for line in form_text(form, name).splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) > len(columns):
            raise Problem(
                422, "too_many_parts", f"{line!r} has more parts than {', '.join(columns)}."
            )
        if any(parts):
            row = dict(zip(columns, parts, strict=False))
            rows.append({column: part for column, part in row.items() if part})
    return rows


def _lines(rows: Sequence[Mapping[str, Any]] | None, columns: Sequence[str]) -> str:
    """Rows as they are typed."""
    return "\n".join(
        ", ".join(str(row.get(column) or "") for column in columns).rstrip(", ")
        for row in rows or ()
    )
