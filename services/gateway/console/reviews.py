"""A reviewer's list, and one review to decide on."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.commands import fresh_key
from services.gateway.console.pages import PAGE_ROWS, Text
from services.gateway.console.view import path
from services.gateway.console.visitor import Console, Visitor
from shared.errors import Problem

DECISION = "decision:"
"""Radio buttons are called this and the line's id."""


def routes(console: Console) -> APIRouter:
    """The reviews."""
    router = APIRouter()
    services = console.services

    @router.get("/reviews")
    async def reviews(
        request: Request, status: Text = "open", worker: Text = "", cursor: Text = ""
    ) -> Response:
        """The reviews that the visitor may decide on."""
        visitor = await console.visitor(request, "review:decide", "review:admin")
        found = await services.get(
            visitor.principal,
            "review",
            "/review/v1/reviews",
            {"status": status, "worker": worker, "cursor": cursor, "limit": PAGE_ROWS},
        )
        return console.page(request, "reviews.html", found=found, status_shown=status)

    @router.get("/reviews/{review_id}")
    async def review(request: Request, review_id: str, did: Text = "") -> Response:
        """One review with its lines."""
        visitor = await console.visitor(request, "review:decide", "review:admin")
        return await _show(request, visitor, review_id, did=bool(did))

    async def _show(
        request: Request,
        visitor: Visitor,
        review_id: str,
        *,
        did: bool = False,
        problem: Problem | None = None,
        typed: dict[str, Any] | None = None,
    ) -> Response:
        found = await services.get(
            visitor.principal, "review", f"/review/v1/reviews/{path(review_id)}"
        )
        return console.page(
            request,
            "review.html",
            status=problem.status if problem else 200,
            review=found,
            did=did,
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
        )

    @router.post("/reviews/{review_id}")
    async def decide(request: Request, review_id: str) -> Response:
        """Decide on the lines that were ticked, all or none."""
        visitor = await console.visitor(request, "review:decide", "review:admin")
        form = await console.form(request, visitor, "review.decide")
        decisions = _decisions(form)
        try:
            if not decisions:
                raise Problem(
                    422, "nothing_decided", "Choose keep or remove on at least one line first."
                )
            await services.post(
                visitor.principal,
                "review",
                f"/review/v1/reviews/{path(review_id)}/decisions",
                {"decisions": decisions},
                str(form.get("key") or fresh_key()),
            )
        except Problem as problem:
            if problem.status == 404:
                raise
            return await _show(request, visitor, review_id, problem=problem, typed=dict(form))
        return RedirectResponse(f"/reviews/{path(review_id)}?did=1", status_code=303)

    return router


def _decisions(form: FormData) -> list[dict[str, Any]]:
    decisions = []
    for name, value in form.items():
        if name.startswith(DECISION) and value in ("keep", "remove"):
            line = name.removeprefix(DECISION)
            reason = str(form.get(f"reason:{line}") or "").strip() or None
            decisions.append({"line_id": line, "decision": value, "reason": reason})
    return decisions
