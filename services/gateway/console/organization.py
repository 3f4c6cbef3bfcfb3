"""The organization's page, and the forms of a directory's sections: one object at a time."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.console.commands import form_text
from services.gateway.console.forms import (
    BLANK_ROWS,
    OPTIONS,
    fields_of,
    identified,
    lead,
    read,
    started,
)
from services.gateway.console.planned import Json, in_force, planned, put
from services.gateway.console.view import words
from services.gateway.console.visitor import Console, Visitor
from shared.contracts.consistency import LISTS
from shared.contracts.directory import DIRECTORY_MODELS
from shared.contracts.objects import DirectoryObject
from shared.errors import Problem

FORMS = {kind: model for kind, model in DIRECTORY_MODELS.items() if kind != "title"}
"""The kinds with a form of their own; titles are mapped where they are shown."""

SINGLE = {"organization": "organization", "policy": "policy", "review_policy": "reviews"}
"""The kinds of which there is one, by the part of the file that holds it."""

CALLED = {"guide": "entry of the guide", "enrolment_document": "document"}
"""What a kind is called, where that is not its own name."""

SHOWN = {
    "policy": ("/policy", "Policy"),
    "review_policy": ("/policy#reviews", "Policy"),
    "training_module": ("/policy#training", "Policy"),
    "job_duty": ("/policy#duties", "Policy"),
    "contract": ("/directory#contracts", "Portals"),
    "portal": ("/directory", "Portals"),
    "administrator": ("/directory", "Portals"),
    "enrolment": ("/enrolments", "Enrolments"),
    "enrolment_document": ("/enrolments#documents", "Enrolments"),
}
"""The page on which a kind is shown; the others are on the organization's."""


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
        return await console.page(request, "organization.html", found=found)

    @router.get("/directory/entries/{kind}")
    async def entry(request: Request, kind: str, id: str = "") -> Response:
        """The form for one of them; without an id one to add, begun as the address says."""
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
        model = _model(kind)
        found = await in_force(console, visitor)
        if found is None:
            return RedirectResponse("/directory", status_code=303)
        known = _known(found, kind, id_)
        if id_ and known is None and typed is None:
            raise Problem(404, "no_such_object", f"The directory has no {words(kind)} {id_}.")
        fields = fields_of(model)
        begun = {**started(fields), **request.query_params}
        # What is left unsaid in force has its default, as a form shows it.
        shown = model.model_validate(known).model_dump(mode="json") if known else begun
        return await console.page(
            request,
            "entry_form.html",
            status=problem.status if problem else 200,
            kind=kind,
            called=CALLED.get(kind, words(kind)),
            about=lead(model),
            fields=fields,
            value=typed or shown,
            known=known,
            single=kind in SINGLE,
            shown_at=SHOWN.get(kind, ("/directory/organization", "Organization")),
            found=found,
            choices=choices_in(found["directory"]),
            started=started,
            BLANK_ROWS=BLANK_ROWS,
            OPTIONS=OPTIONS,
            problem=problem,
        )

    @router.post("/directory/entries/{kind}")
    async def change(request: Request, kind: str) -> Response:
        """Plan one of them as the form has it, or its going."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, f"directory.{kind}")
        fields, id_ = fields_of(_model(kind)), form_text(form, "id")
        value: Json | None = None
        try:
            if form_text(form, "go"):
                edits: Json = {"remove": [{"kind": kind, "id": id_}]}
            else:
                found = await in_force(console, visitor)
                known = _known(found, kind, id_) if found is not None else None
                value = {**(known or {}), **read(fields, form)}
                if found is not None and form_text(form, "made_from") != str(found["version"]):
                    raise Problem(
                        409,
                        "directory_changed",
                        "Another version was put in force while this form was open. Compare what "
                        "stands here with what is shown now, and send it again.",
                    )
                named = identified(fields, value, _ids(found, kind))
                edits = put(kind, kind if kind in SINGLE else named["id"], named)
            return await planned(console, visitor, kind, edits)
        except Problem as problem:
            return await _show(request, visitor, kind, id_, problem=problem, typed=value)

    return router


def _model(kind: str) -> type[DirectoryObject]:
    if kind not in FORMS:
        raise Problem(404, "no_such_form", "There is no such form.")
    return FORMS[kind]


def _known(found: Json, kind: str, id_: str) -> Json | None:
    """A section as it is in force; the one of its kind, where there is only one."""
    if kind in SINGLE:
        single: Json = found["directory"].get(SINGLE[kind]) or {}
        return single
    members: list[Json] = found["directory"].get(LISTS[kind], [])
    return next((one for one in members if one["id"] == id_), None)


def _ids(found: Json | None, kind: str) -> set[str]:
    members = found["directory"].get(LISTS.get(kind, ""), []) if found else []
    return {one["id"] for one in members}


def choices_in(directory: Json) -> dict[str, list[tuple[str, str]]]:
    """What may be chosen from each list, as (id, name)."""
    found = {
        part: [(one["id"], one["name"]) for one in directory.get(part) or []]
        for part in ("carriers", "documents", "job_duties", "portals", "sites")
    }
    return {**found, "tins": [(tin, tin) for tin in directory["organization"]["tins"]]}
