"""The page that shows who was told of what, and where one says where to be told oneself."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.console.commands import form_text
from services.gateway.console.visitor import Console
from services.gateway.handlers.notices import Notifier
from services.gateway.rules.notices import SUBJECTS
from shared.errors import Problem

TOLD_SHOWN = 200

NEXT_STEPS: Mapping[str, str] = {
    "no_address": "Have them sign in and give an address on this page, or give HR their e-mail.",
    "refused": "No channel took it. Look at the notifier's log, and at the mail server or service.",
    "no_channel": "Set up channels in the file that PORTALKEEPER_NOTIFY_FILE names.",
    "unfinished": "The notifier ended while it was sending. Tell them yourself if it matters.",
}
"""What to do about each problem."""


def routes(console: Console, notifier: Notifier) -> APIRouter:
    """The page and its form."""
    router = APIRouter()

    @router.get("/notifications")
    async def notifications(request: Request) -> Response:
        """What was told to whom: to everybody for administrators, else to oneself."""
        visitor = await console.visitor(request, "directory:read")
        who, everybody = visitor.principal, visitor.principal.may("access:read")
        shown_of = None if everybody else who.worker
        told = (
            await notifier.told(who.organization, shown_of, TOLD_SHOWN)
            if everybody or who.worker
            else []
        )
        channels = notifier.channels_of(who.organization)
        own = (
            await notifier.addresses(who.organization, who.worker)
            if who.worker and channels
            else {}
        )
        return await console.page(
            request,
            "notifications.html",
            told=told,
            everybody=everybody,
            channels=channels,
            own=own,
            kinds=SUBJECTS,
            next_steps=NEXT_STEPS,
            saved=request.query_params.get("did") == "save",
        )

    @router.post("/notifications")
    async def save(request: Request) -> Response:
        """Keep where one wants to be told oneself."""
        visitor = await console.visitor(request, "directory:read")
        form = await console.form(request, visitor, "contact.save")
        who = visitor.principal
        channels = notifier.channels_of(who.organization)
        if who.worker is None or not channels:
            raise Problem(
                422, "no_worker", "Only somebody whom HR knows is told anything; sign in as them."
            )
        given = {name: form_text(form, name) for name in channels}
        await notifier.save_addresses(who.organization, who.worker, given)
        await console.doorkeeper.record_command(visitor.session, "contact.save", who.worker)
        return RedirectResponse("/notifications?did=save", status_code=303)

    return router
