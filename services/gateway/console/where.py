"""Where do I go? One box for every worker, and what to do when the way is barred."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.console.commands import form_text, fresh_key
from services.gateway.console.pages import Text
from services.gateway.console.view import with_query
from services.gateway.console.visitor import Console, Visitor
from shared.errors import Problem

ANSWERS = "8"
ASKED_DAYS = 30
"""Access that somebody asks for here ends by itself; policy is what lasts."""


def routes(console: Console) -> APIRouter:
    """The page, and asking for access from it."""
    router = APIRouter()
    services = console.services

    @router.get("/where")
    async def where(request: Request, q: Text = "", did: Text = "") -> Response:
        """The portal and screen for some words, and the ladder for when it fails."""
        visitor = await console.visitor(request, "directory:read", "access:read", "access:admin")
        return await _show(request, visitor, q.strip(), did=did)

    async def _show(
        request: Request,
        visitor: Visitor,
        question: str,
        *,
        did: str = "",
        problem: Problem | None = None,
    ) -> Response:
        answers: list[Any] = []
        if question:
            try:
                found = await services.get(
                    visitor.principal,
                    "provisioning",
                    "/access/v1/guide",
                    {"q": question, "limit": ANSWERS},
                )
                answers = found["answers"]
            except Problem as refusal:
                problem = refusal
        waiting = 0
        if visitor.principal.worker is not None:
            own = await services.get(visitor.principal, "provisioning", "/access/v1/own/work")
            waiting = len(own["items"])
        return await console.page(
            request,
            "where.html",
            status=problem.status if problem else 200,
            question=question,
            answers=answers,
            waiting=waiting,
            did=did,
            worker=visitor.principal.worker,
            problem=problem,
            fresh_key=fresh_key,
        )

    @router.post("/where/ask")
    async def ask(request: Request) -> Response:
        """Ask for a function on a portal that one has no access to; somebody else decides."""
        visitor = await console.visitor(request, "directory:read", "access:admin")
        form = await console.form(request, visitor, "exception.ask")
        question = form_text(form, "q")
        ends = datetime.now(UTC) + timedelta(days=ASKED_DAYS)
        body = {
            "worker": visitor.principal.worker or "",
            **{name: form_text(form, name) for name in ("portal", "tin", "function", "reason")},
            "ends_at": ends.isoformat(),
        }
        try:
            await services.post(
                visitor.principal,
                "provisioning",
                "/access/v1/exceptions",
                body,
                form_text(form, "key") or fresh_key(),
            )
        except Problem as problem:
            await console.doorkeeper.record_command(
                visitor.session, "exception.ask", body["portal"], problem
            )
            return await _show(request, visitor, question, problem=problem)
        await console.doorkeeper.record_command(visitor.session, "exception.ask", body["portal"])
        return RedirectResponse(with_query("/where", q=question, did="asked"), status_code=303)

    return router
