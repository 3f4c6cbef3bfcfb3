"""The organization's own enrolments: phases with checklists, and the document pack."""

from datetime import date
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.console.commands import fresh_key
from services.gateway.console.pages import Text
from services.gateway.console.view import path
from services.gateway.console.visitor import Console, Visitor
from shared.errors import Problem

MOVES = frozenset({"begin", "submit", "return", "clear", "reopen"})


def routes(console: Console) -> APIRouter:
    """The list, one enrolment, and the commands on it."""
    router = APIRouter()
    services = console.services

    @router.get("/enrolments")
    async def enrolments(request: Request) -> Response:
        """Every enrolment with its phase."""
        visitor = await console.visitor(request, "directory:read", "access:read")
        found = await services.get(visitor.principal, "provisioning", "/access/v1/enrolments")
        return await console.page(request, "enrolments.html", found=found)

    @router.get("/enrolments/{enrolment}")
    async def enrolment(request: Request, enrolment: str, did: Text = "") -> Response:
        """One enrolment: what is done, what is missing, who has it."""
        visitor = await console.visitor(request, "directory:read", "access:read")
        return await _show(request, visitor, enrolment, did=did)

    async def _show(
        request: Request,
        visitor: Visitor,
        enrolment: str,
        *,
        did: str = "",
        problem: Problem | None = None,
    ) -> Response:
        found = await services.get(
            visitor.principal, "provisioning", f"/access/v1/enrolments/{path(enrolment)}"
        )
        return await console.page(
            request,
            "enrolment.html",
            status=problem.status if problem else 200,
            e=found,
            did=did,
            problem=problem,
            today=date.today().isoformat(),
            fresh_key=fresh_key,
        )

    @router.post("/enrolments/{enrolment}/{phase}/{command}")
    async def carry_out(request: Request, enrolment: str, phase: str, command: str) -> Response:
        """A move, a tick, or a new owner."""
        visitor = await console.visitor(request, "access:admin", "work:do")
        form = await console.form(request, visitor, f"enrolment.{command}")
        route, body = _order(command, {name: str(value) for name, value in form.items()})
        try:
            await services.post(
                visitor.principal,
                "provisioning",
                f"/access/v1/enrolments/{path(enrolment)}/{path(phase)}/{route}",
                body,
                str(form.get("key") or fresh_key()),
            )
        except Problem as problem:
            return await _show(request, visitor, enrolment, problem=problem)
        return RedirectResponse(f"/enrolments/{path(enrolment)}?did={command}", status_code=303)

    return router


def _order(command: str, form: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """The service's route and body for a form."""
    if command in MOVES:
        return command, {"note": form.get("note") or None, "on": form.get("on") or None}
    if command == "tick":
        return f"items/{path(form.get('item', ''))}", {"done": form.get("done") != "no"}
    if command == "owner":
        return "owner", {"owner": form.get("owner") or None}
    raise Problem(404, "no_such_command", "There is no such command.")
