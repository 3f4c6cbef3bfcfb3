"""What is done with the audit log: exports, checkpoints to keep, legal holds, erasure."""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.console.audit import TABS, download, read_asked
from services.gateway.console.commands import form_text, fresh_key
from services.gateway.console.view import path
from services.gateway.console.visitor import Console
from services.gateway.handlers.entries import Entries
from services.gateway.handlers.ingress import Unacknowledged, unacknowledged_problem
from shared.errors import Problem

HANDOUT = ("verify_audit_log.py", "WHAT-IT-PROVES.md")
REFRESH_SECONDS = 2
"""How soon the list of exports looks again while one is being made."""

SAID: Mapping[str, str] = {
    "export": "The export is ordered. Once made, it is kept for seven days.",
    "hold": "Held: nothing about it is erased or pruned until the hold is released.",
    "release": "The hold is released. It stays on record.",
    "erase": "Erased. Every proof still holds; the other services forget them as they hear of it.",
}


def routes(console: Console, entries: Entries) -> APIRouter:
    """The pages beside the entries."""
    router = APIRouter(prefix="/audit")
    services = console.services

    @router.get("/exports")
    async def exports(request: Request, did: str = "") -> Response:
        """Exports, newest first."""
        visitor = await console.visitor(request, "audit:read")
        found = await services.get(visitor.principal, "audit", "/audit/v1/exports")
        unfinished = any(each["status"] in ("waiting", "running") for each in found["exports"])
        shown = await console.page(
            request, "audit_exports.html", found=found, tabs=TABS, said=SAID.get(did)
        )
        if unfinished:
            shown.headers["Refresh"] = str(REFRESH_SECONDS)
        return shown

    @router.post("/exports")
    async def order(request: Request) -> Response:
        """Ask for an export of what a search finds, or of all of a log before this one."""
        visitor = await console.visitor(request, "audit:read")
        form = await console.form(request, visitor, "audit.export")
        asked = read_asked({name: form_text(form, name) for name in form}, visitor.zone)
        body = {
            "form": form_text(form, "form"),
            "asked": asked,
            "log": form_text(form, "log") or None,
        }
        key = form_text(form, "key") or fresh_key()
        await services.post(visitor.principal, "audit", "/audit/v1/exports", body, key)
        return RedirectResponse("/audit/exports?did=export", status_code=303)

    @router.get("/exports/{export_id}/file")
    async def file(request: Request, export_id: UUID) -> Response:
        """A finished export."""
        visitor = await console.visitor(request, "audit:read")
        return await download(services, visitor, f"/audit/v1/exports/{export_id}/file")

    @router.get("/checkpoints")
    async def checkpoints(request: Request) -> Response:
        """The latest checkpoint, the keys that signed, and how an outsider checks them."""
        visitor = await console.visitor(request, "audit:read")
        log = await services.get(visitor.principal, "audit", "/audit/v1/log")
        return await console.page(
            request, "audit_checkpoints.html", log=log, tabs=TABS, handout=HANDOUT
        )

    @router.get("/handout/{name}")
    async def handout(request: Request, name: str) -> Response:
        """The verifier for auditors and the page about it."""
        visitor = await console.visitor(request, "audit:read")
        if name not in HANDOUT:
            raise Problem(404, "not_found", "There is no such file.")
        return await download(services, visitor, f"/audit/v1/handout/{name}")

    @router.get("/holds")
    async def holds(request: Request, did: str = "") -> Response:
        """Legal holds and erasures."""
        return await _show_holds(request, said=SAID.get(did))

    async def _show_holds(
        request: Request,
        *,
        said: str | None = None,
        problem: Problem | None = None,
        typed: Mapping[str, Any] | None = None,
    ) -> Response:
        visitor = await console.visitor(request, "audit:read", "audit:admin")
        found, erased = await asyncio.gather(
            services.get(visitor.principal, "audit", "/audit/v1/holds"),
            services.get(visitor.principal, "audit", "/audit/v1/erasures"),
        )
        return await console.page(
            request,
            "audit_holds.html",
            status=problem.status if problem else 200,
            holds=found["holds"],
            erasures=erased["erasures"],
            tabs=TABS,
            said=said,
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
        )

    @router.post("/holds")
    async def set_hold(request: Request) -> Response:
        """Set a hold."""
        return await _carry_out(request, "hold", "/audit/v1/holds", ("kind", "subject", "reason"))

    @router.post("/holds/{hold_id}/release")
    async def release(request: Request, hold_id: UUID) -> Response:
        """Release a hold."""
        return await _carry_out(
            request, "release", f"/audit/v1/holds/{path(str(hold_id))}/release", ("reason",)
        )

    @router.post("/erasures")
    async def erase(request: Request) -> Response:
        """Erase a worker, once the form repeats whom."""
        return await _carry_out(request, "erase", "/audit/v1/erasures", ("worker", "reason"))

    async def _carry_out(
        request: Request,
        did: Literal["hold", "release", "erase"],
        route: str,
        names: tuple[str, ...],
    ) -> Response:
        """A command; a refusal is shown on the page with what was typed."""
        visitor = await console.visitor(request, "audit:admin")
        form = await console.form(request, visitor, f"audit.{did}")
        body = {name: form_text(form, name) for name in names}
        key = form_text(form, "key") or fresh_key()
        try:
            if did == "erase" and form_text(form, "again") != body["worker"]:
                raise Problem(
                    422, "not_repeated", "Type the worker id twice: an erasure cannot be undone."
                )
            await services.post(visitor.principal, "audit", route, body, key)
            if did == "erase":
                # Only now: the log refuses while access is open, under a hold, inside retention.
                await entries.enter(visitor.principal, "worker.erased", body["worker"], {}, key)
        except Unacknowledged as unknown:
            raise unacknowledged_problem() from unknown
        except Problem as problem:
            # The audit log itself keeps that it was refused, and by which rule.
            return await _show_holds(request, problem=problem, typed=body)
        return RedirectResponse(f"/audit/holds?did={did}", status_code=303)

    return router
