"""Training that access waits for, and signing it off under one's name."""

from datetime import date
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.console.commands import form_text, fresh_key, show
from services.gateway.console.pages import Text
from services.gateway.console.visitor import Console
from services.gateway.handlers.entries import Entries
from services.gateway.handlers.ingress import Unacknowledged, unacknowledged_problem

READS = ("access:read", "access:admin", "hr:enter")
SAID = {"signed": "Signed off. Access that waited for it is ordered as soon as the record arrives."}


def routes(console: Console, entries: Entries) -> APIRouter:
    """Who still has to be trained, and the sign-off."""
    router = APIRouter(prefix="/training")

    @router.get("")
    async def due(request: Request, cursor: Text = "") -> Response:
        """Modules that somebody's access waits for, the earliest due first."""
        return await show(
            console,
            request,
            READS,
            "training.html",
            "/access/v1/training",
            parameters={"cursor": cursor},
            said=SAID,
            today=date.today().isoformat(),
        )

    @router.post("/sign-off")
    async def sign_off(request: Request) -> Response:
        """Say that somebody completed a module."""
        visitor = await console.visitor(request, "hr:enter", "access:admin")
        form = await console.form(request, visitor, "training.sign_off")
        worker = form_text(form, "worker")
        data: dict[str, Any] = {
            name: form_text(form, name) for name in ("module", "version", "completed_on")
        }
        try:
            await entries.enter(
                visitor.principal,
                "worker.training_completed",
                worker,
                data,
                form_text(form, "key") or fresh_key(),
            )
        except Unacknowledged as unknown:
            raise unacknowledged_problem() from unknown
        await console.doorkeeper.record_command(visitor.session, "training.sign_off", worker)
        return RedirectResponse("/training?did=signed", status_code=303)

    return router
