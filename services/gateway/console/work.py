"""The work queue: what people do on portals, claimed, ticked off and shown done with evidence."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.commands import form_text, fresh_key
from services.gateway.console.pages import PAGE_ROWS, Text
from services.gateway.console.planned import in_force
from services.gateway.console.view import path
from services.gateway.console.visitor import Console, Visitor
from shared.errors import Problem

SAID = {
    "claim": "You claimed this. Nobody else will start on it.",
    "release": "Released: it is back in the queue for anybody.",
    "step": "Step ticked off.",
    "done": "Recorded as done, with your evidence.",
    "decline": "Declined, with your reason.",
    "fail": "Recorded as not possible for now; it will be asked again.",
}
"""What a person is told after each command."""


def routes(console: Console) -> APIRouter:
    """The queue, one work item, and the commands on it."""
    router = APIRouter()
    services = console.services

    @router.get("/work")
    async def queue(
        request: Request,
        status: Annotated[str, Query(pattern="^(open|ended)$")] = "open",
        portal: Text = "",
        worker: Text = "",
        overdue: bool = False,
        cursor: Text = "",
    ) -> Response:
        """The queue by deadline."""
        visitor = await console.visitor(request, "work:do", "access:read")
        asked = {
            "status": status,
            "portal": portal,
            "worker": worker.strip(),
            "overdue": "true" if overdue else "",
            "cursor": cursor,
            "limit": PAGE_ROWS,
        }
        found, directory = await asyncio.gather(
            services.get(visitor.principal, "provisioning", "/access/v1/work", asked),
            in_force(console, visitor),
        )
        portals = directory["directory"]["portals"] if directory else []
        return await console.page(
            request,
            "work.html",
            found=found,
            status_shown=status,
            overdue=overdue,
            portals=[(each["id"], each["name"]) for each in portals],
            fresh_key=fresh_key,
        )

    @router.get("/work/{operation_id}")
    async def item(request: Request, operation_id: str, did: Text = "") -> Response:
        """One work item."""
        visitor = await console.visitor(request, "work:do", "access:read")
        return await _show_item(request, visitor, operation_id, said=SAID.get(did))

    async def _show_item(
        request: Request,
        visitor: Visitor,
        operation_id: str,
        *,
        said: str | None = None,
        problem: Problem | None = None,
        typed: Mapping[str, Any] | None = None,
    ) -> Response:
        found = await services.get(
            visitor.principal, "provisioning", f"/access/v1/work/{path(operation_id)}"
        )
        return await console.page(
            request,
            "work_item.html",
            status=problem.status if problem else 200,
            item=found,
            said=said,
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
        )

    @router.post("/work/{operation_id}/{command}")
    async def carry_out(request: Request, operation_id: str, command: str) -> Response:
        """A command on a work item; refusals are shown on its page with what was typed."""
        visitor = await console.visitor(request, "work:do", "access:admin")
        form = await console.form(request, visitor, f"work.{command}")
        route, body = _order(operation_id, command, form)
        try:
            await services.post(
                visitor.principal,
                "provisioning",
                route,
                body,
                form_text(form, "key") or fresh_key(),
            )
        except Problem as problem:
            if problem.status == 404:
                raise
            return await _show_item(
                request, visitor, operation_id, problem=problem, typed=dict(form)
            )
        return RedirectResponse(f"/work/{path(operation_id)}?did={command}", status_code=303)

    return router


def _order(operation_id: str, command: str, form: FormData) -> tuple[str, dict[str, Any]]:
    """The service's route and body for a form."""
    base = f"/access/v1/work/{path(operation_id)}"
    match command:
        case "claim" | "release":
            return f"{base}/{command}", {}
        case "step":
            return f"{base}/steps/{path(form_text(form, 'index'))}", {}
        case "done":
            evidence = {"kind": form_text(form, "kind"), "text": form_text(form, "text")}
            return f"{base}/done", {
                "evidence": evidence,
                "login_id": form_text(form, "login_id") or None,
            }
        case "decline" | "fail":
            return f"{base}/{command}", {"reason": form_text(form, "reason")}
        case _:
            raise Problem(404, "no_such_command", "There is no such command.")
