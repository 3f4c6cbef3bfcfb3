"""Sheets and user lists: uploaded, looked at, questions answered, applied; and what they showed."""

import asyncio
import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData, UploadFile

from services.gateway.console.commands import form_text, fresh_key
from services.gateway.console.pages import Text
from services.gateway.console.view import path, with_query
from services.gateway.console.visitor import Console, Visitor
from shared.errors import Problem

Json = dict[str, Any]

ANSWER = "answer:"
COLUMN = "column:"
KINDS = {"adoptions": "adopt", "rosters": "roster"}

RULES = {
    "orphan": "Nobody's",
    "still_active": "Left, and still active",
    "dormant": "Dormant",
    "shared": "Shared",
    "generic": "Named after no person",
    "second_login": "A second login",
    "drift": "Not what policy says",
    "rule_contradicted": "A rule that is doubtful",
}
"""Kinds of findings on portals' lists, as people call them."""


def routes(console: Console) -> APIRouter:
    """The pages and their forms."""
    router = APIRouter()
    services = console.services

    async def ask(visitor: Visitor, where: str, asked: Mapping[str, str] | None = None) -> Json:
        found: Json = await services.get(
            visitor.principal, "provisioning", f"/access/v1/{where}", asked
        )
        return found

    async def tell(visitor: Visitor, where: str, body: Json, key: str) -> Json:
        answer: Json = await services.post(
            visitor.principal, "provisioning", f"/access/v1/{where}", body, key
        )
        return answer

    # -- the administrator's own sheet

    @router.get("/adopt")
    async def adopt(request: Request) -> Response:
        """What was adopted, and a sheet to adopt."""
        visitor = await console.visitor(request, "access:read", "access:admin")
        return await _adopt_page(request, visitor)

    async def _adopt_page(
        request: Request,
        visitor: Visitor,
        *,
        preview: Json | None = None,
        problem: Problem | None = None,
        typed: Mapping[str, Any] | None = None,
    ) -> Response:
        return await console.page(
            request,
            "adopt.html",
            status=problem.status if problem else 200,
            adoptions=(await ask(visitor, "adoptions"))["adoptions"],
            preview=preview,
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
            RULES=RULES,
        )

    @router.post("/adopt")
    async def preview_sheet(request: Request) -> Response:
        """What adopting a sheet would do."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, "adopt.preview", files=1)
        try:
            body = {**await _file(form), "as_of": form_text(form, "as_of")}
            preview = await tell(visitor, "adoptions", body, fresh_key())
        except Problem as problem:
            return await _adopt_page(request, visitor, problem=problem, typed=_typed(form))
        return await _adopt_page(request, visitor, preview=preview)

    # -- a portal's list

    @router.get("/rosters/{portal}")
    async def roster(request: Request, portal: str, did: Text = "") -> Response:
        """A portal's lists, and one to import."""
        visitor = await console.visitor(request, "access:read", "access:admin")
        return await _roster_page(request, visitor, portal, did=did)

    async def _roster_page(
        request: Request,
        visitor: Visitor,
        portal: str,
        *,
        did: str = "",
        preview: Json | None = None,
        problem: Problem | None = None,
        typed: Mapping[str, Any] | None = None,
    ) -> Response:
        asked = {"portal": portal}
        return await console.page(
            request,
            "roster.html",
            status=problem.status if problem else 200,
            standing=await ask(visitor, f"portals/{path(portal)}/standing"),
            rosters=(await ask(visitor, "rosters", asked))["rosters"],
            found=await ask(visitor, "portal-findings", asked),
            did=did,
            preview=preview,
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
            RULES=RULES,
        )

    @router.post("/rosters/{portal}")
    async def preview_roster(request: Request, portal: str) -> Response:
        """What importing a list would do."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, "roster.preview", files=1)
        try:
            body = {
                **await _file(form),
                "portal": portal,
                "as_of": _instant(form, visitor),
                "complete": form_text(form, "part") != "yes",
            }
            preview = await tell(visitor, "rosters", body, fresh_key())
        except Problem as problem:
            return await _roster_page(request, visitor, portal, problem=problem, typed=_typed(form))
        return await _roster_page(request, visitor, portal, preview=preview)

    # -- previews of both kinds

    @router.post("/imports/{kind}/{plan}/answers")
    async def answer(request: Request, kind: str, plan: str) -> Response:
        """The preview again, with questions answered and columns explained."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, f"{_known(kind)}.preview")
        body = {"answers": _named(form, ANSWER), "columns": _named(form, COLUMN)}
        preview = await tell(visitor, f"{kind}/{path(plan)}/answers", body, fresh_key())
        if kind == "adoptions":
            return await _adopt_page(request, visitor, preview=preview)
        return await _roster_page(request, visitor, preview["portal"], preview=preview)

    @router.post("/imports/{kind}/{plan}/apply")
    async def apply(request: Request, kind: str, plan: str) -> Response:
        """Do what the preview said."""
        visitor = await console.visitor(request, "access:admin")
        command = f"{_known(kind)}.apply"
        form = await console.form(request, visitor, command)
        portal = form_text(form, "portal")
        try:
            await tell(visitor, f"{kind}/{path(plan)}/apply", {}, form_text(form, "key"))
        except Problem as problem:
            await console.doorkeeper.record_command(visitor.session, command, plan, problem)
            if kind == "adoptions":
                return await _adopt_page(request, visitor, problem=problem)
            return await _roster_page(request, visitor, portal, problem=problem)
        await console.doorkeeper.record_command(visitor.session, command, plan)
        where = "/adopt" if kind == "adoptions" else f"/rosters/{path(portal)}"
        return RedirectResponse(with_query(where, did="applied"), status_code=303)

    @router.get("/adopt/sheet")
    async def sheet(request: Request, shape: Text = "wide", format: Text = "csv") -> Response:
        """Who has which login where, as a file that can be adopted again."""
        visitor = await console.visitor(request, "access:read", "access:admin")
        where = with_query("/access/v1/sheet", shape=shape, format=format)
        async with services.stream(visitor.principal, "provisioning", where, {}) as answer:
            content = await answer.aread()
            headers = {
                name: answer.headers[name] for name in ("content-type", "content-disposition")
            }
        return Response(content, headers={**headers, "Cache-Control": "no-store"})

    # -- what they showed

    @router.get("/findings")
    async def findings(
        request: Request,
        portal: Text = "",
        rule: Text = "",
        status: Text = "open",
        on_portals: Text = "",
        cursor: Text = "",
    ) -> Response:
        """What a person should look at, by portal and kind, each with what to do next.

        `on_portals` is the cursor of what is on portals, `cursor` that of what is about people.
        """
        visitor = await console.visitor(request, "access:read")
        asked = {"status": status, "portal": portal, "rule": rule, "cursor": on_portals}
        found, about, observed = await asyncio.gather(
            ask(visitor, "portal-findings", asked),
            ask(visitor, "findings", {"cursor": cursor}),
            ask(visitor, "observed"),
        )
        return await console.page(
            request,
            "findings.html",
            found=found,
            findings=about["findings"],
            next_cursor=about["next_cursor"],
            observed=observed["portals"],
            portal=portal,
            rule=rule,
            status_shown=status,
            RULES=RULES,
        )

    return router


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise Problem(404, "no_such_import", "There is no such import.")
    return KINDS[kind]


async def _file(form: FormData) -> Json:
    """The uploaded file, or what was pasted."""
    file, pasted = form.get("file"), form_text(form, "pasted")
    if isinstance(file, UploadFile) and file.filename:
        name, content = file.filename, await file.read()
    elif pasted:
        name, content = "pasted.txt", pasted.encode()
    else:
        raise Problem(422, "no_file", "Choose a file, or paste what the screen shows.")
    return {"name": name[-200:], "content": base64.b64encode(content).decode()}


def _instant(form: FormData, visitor: Visitor) -> str:
    """When the list was right, entered on the organization's wall clock."""
    try:
        at = datetime.fromisoformat(form_text(form, "as_of"))
    except ValueError as error:
        raise Problem(422, "no_as_of", "Say when the list was right: day and time.") from error
    return at.replace(tzinfo=visitor.zone).isoformat()


def _named(form: FormData, prefix: str) -> dict[str, str]:
    return {
        key.removeprefix(prefix): value
        for key, value in form.items()
        if key.startswith(prefix) and isinstance(value, str) and value
    }


def _typed(form: FormData) -> dict[str, str]:
    return {key: value for key, value in form.items() if isinstance(value, str)}
