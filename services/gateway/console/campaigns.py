"""Campaigns and compliance: how far reviews are, whom a campaign would ask, how well it is done."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.charts import burn_down
from services.gateway.console.commands import Order, carry_out, form_text, fresh_key
from services.gateway.console.pages import PAGE_ROWS, Text
from services.gateway.console.view import path
from services.gateway.console.visitor import Console
from shared.errors import Problem

SEES = ("review:admin", "access:read", "audit:read")
JUDGES = ("review:admin", "audit:read")
UNREVIEWED_SHOWN = "200"
SCOPE = ("sites", "portals", "functions")


def routes(console: Console) -> APIRouter:
    """The pages beside a reviewer's own."""
    router = APIRouter(prefix="/reviews")
    services = console.services

    @router.get("/campaigns")
    async def campaigns(request: Request, cursor: Text = "") -> Response:
        """Campaigns, newest first."""
        visitor = await console.visitor(request, *SEES)
        asked = {"cursor": cursor, "limit": PAGE_ROWS}
        found = await services.get(visitor.principal, "review", "/review/v1/campaigns", asked)
        return await console.page(request, "campaigns.html", found=found)

    @router.get("/campaigns/open")
    async def prepare(request: Request) -> Response:
        """A campaign to be opened: a form, and whom it would ask about what."""
        visitor = await console.visitor(request, "review:admin")
        who = visitor.principal
        given = request.query_params
        order = _order(
            given.get("title", ""),
            given.get("days_to_decide", ""),
            {name: given.getlist(name) for name in SCOPE},
        )
        preview: dict[str, Any] | None = None
        problem: Problem | None = None
        if "preview" in given:
            try:
                preview = await services.post(
                    who, "review", "/review/v1/campaigns/preview", order, fresh_key()
                )
            except Problem as refused:
                problem = refused
        directory = await services.get(who, "provisioning", "/access/v1/directory")
        return await console.page(
            request,
            "campaign_open.html",
            status=problem.status if problem else 200,
            directory=directory["directory"],
            order=order,
            preview=preview,
            problem=problem,
            fresh_key=fresh_key,
        )

    @router.post("/campaigns/open")
    async def begin(request: Request) -> Response:
        """Open a campaign as previewed."""
        visitor = await console.visitor(request, "review:admin")
        form = await console.form(request, visitor, "campaign.open")
        scope = {name: [str(each) for each in form.getlist(name)] for name in SCOPE}
        order = _order(form_text(form, "title"), form_text(form, "days_to_decide"), scope)
        opened = await services.post(
            visitor.principal,
            "review",
            "/review/v1/campaigns",
            order,
            form_text(form, "key") or fresh_key(),
        )
        return RedirectResponse(
            f"/reviews/campaigns/{path(opened['campaign_id'])}?did=open", status_code=303
        )

    @router.get("/campaigns/{campaign_id}")
    async def campaign(request: Request, campaign_id: str, did: Text = "") -> Response:
        """One campaign: how far, at what pace, who is how far."""
        visitor = await console.visitor(request, *SEES)
        route = f"/review/v1/campaigns/{path(campaign_id)}"
        found, progress = await asyncio.gather(
            services.get(visitor.principal, "review", route),
            services.get(visitor.principal, "review", f"{route}/progress"),
        )
        return await console.page(
            request,
            "campaign.html",
            campaign=found,
            progress=progress,
            chart=burn_down(found, progress, datetime.now(UTC), visitor.zone),
            opened=did == "open",
            fresh_key=fresh_key,
        )

    @router.post("/campaigns/{campaign_id}/evidence")
    async def evidence(request: Request, campaign_id: str) -> Response:
        """Order the evidence package; it waits among the exports once it is made."""

        def read(_form: FormData, _zone: ZoneInfo) -> Order:
            body = {"form": "evidence", "asked": {"review": campaign_id}}
            back = "/audit/exports?did=export"
            return Order("/audit/v1/exports", body, campaign_id, back, "audit")

        return await carry_out(console, request, ("audit:read",), "audit.export", read)

    @router.get("/compliance")
    async def compliance(request: Request) -> Response:
        """How well reviews are done, and what nobody looked at within a year."""
        visitor = await console.visitor(request, *JUDGES)
        who = visitor.principal
        limit = {"limit": UNREVIEWED_SHOWN}
        quality, coverage = await asyncio.gather(
            services.get(who, "review", "/review/v1/quality"),
            services.get(who, "review", "/review/v1/coverage", limit),
        )
        return await console.page(request, "compliance.html", quality=quality, coverage=coverage)

    return router


def _order(title: str, days: str, scope: dict[str, list[str]]) -> dict[str, Any]:
    """A campaign as the form says it; what is left empty is left to the policy."""
    if days and not days.isdigit():
        raise Problem(422, "invalid_days", "Give the days to decide as a number, such as 14.")
    return {
        "title": title or None,
        "days_to_decide": int(days) if days else None,
        "scope": scope if any(scope.values()) else None,
    }
