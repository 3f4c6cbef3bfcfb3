"""The pages that only show: overview, people, access matrix."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.console.charts import removal_spread
from services.gateway.console.commands import show
from services.gateway.console.planned import in_force
from services.gateway.console.timeline import bundle, lay_out
from services.gateway.console.view import path
from services.gateway.console.visitor import Console, Visitor
from services.gateway.handlers.source_health import SourceHealth
from services.gateway.services import ServiceDown

PAGE_ROWS = "50"
MATRIX_ROWS = "50"
STALE_RECORDS = 1
"""Records that wait in Kafka before a page says that it is behind."""

Text = Annotated[str, Query(max_length=200)]


def routes(console: Console, health: SourceHealth) -> APIRouter:
    """The pages."""
    router = APIRouter()
    services = console.services

    @router.get("/")
    async def overview(request: Request) -> Response:
        """What needs me now."""
        visitor = await console.visitor(request)
        if not visitor.principal.may("access:read"):
            return RedirectResponse(_first_page(visitor), status_code=303)
        found, reviews, hr, behind = await asyncio.gather(
            services.get(visitor.principal, "provisioning", "/access/v1/overview"),
            _open_reviews(visitor),
            _hr_alerts(visitor),
            _records_behind(visitor),
        )
        return await console.page(
            request,
            "overview.html",
            overview=found,
            removal_chart=removal_spread(found["removals"]),
            reviews=reviews,
            hr=hr,
            behind=behind,
        )

    @router.get("/exposed")
    async def exposed(request: Request, cursor: Text = "") -> Response:
        """Access that must be gone and is not confirmed gone."""
        return await show(
            console,
            request,
            ("access:read",),
            "exposed.html",
            "/access/v1/exposures",
            parameters={"cursor": cursor, "limit": PAGE_ROWS},
        )

    async def _open_reviews(visitor: Visitor) -> dict[str, Any]:
        """The campaigns with their progress; a review service that is down must not hide work."""
        try:
            found = await services.get(visitor.principal, "review", "/review/v1/campaigns")
        except ServiceDown:
            return {"down": True, "campaigns": []}
        return {"down": False, "campaigns": found["campaigns"]}

    async def _hr_alerts(visitor: Visitor) -> list[dict[str, Any]]:
        """Sources whose list is held or late, or that ask something."""
        found = await health.listed(visitor.principal)
        return [
            each
            for each in found["sources"]
            if each["late_since"] or each["questions"] or each["silent"]
        ]

    async def _records_behind(visitor: Visitor) -> int:
        """How many records provisioning has yet to apply."""
        try:
            status = await services.get(visitor.principal, "provisioning", "/ops/v1/status")
        except ServiceDown:
            return 0
        waiting = [
            partition.get("lag") or 0
            for consumer in status.get("consumers", [])
            for partition in consumer.get("partitions", [])
        ]
        behind = sum(waiting)
        return behind if behind > STALE_RECORDS else 0

    @router.get("/people")
    async def people(
        request: Request, query: Text = "", status: Text = "", cursor: Text = ""
    ) -> Response:
        """Search."""
        visitor = await console.visitor(request, "access:read")
        asked = {"query": query.strip(), "status": status, "cursor": cursor, "limit": PAGE_ROWS}
        found = await services.get(visitor.principal, "provisioning", "/access/v1/workers", asked)
        return await console.page(request, "people.html", found=found)

    @router.get("/people/{worker:path}")
    async def worker(request: Request, worker: str) -> Response:
        """One worker: timeline, and what they have where and why."""
        visitor = await console.visitor(request, "access:read")
        found = await services.get(
            visitor.principal, "provisioning", f"/access/v1/workers/{path(worker)}"
        )
        ahead, past = lay_out(found["events"], found["operations"], datetime.now(UTC))
        return await console.page(
            request,
            "worker.html",
            person=found["state"],
            supervisors=found["supervisors"],
            ahead=ahead,
            past=bundle(past),
        )

    @router.get("/matrix")
    async def matrix(
        request: Request, site: Text = "", duty: Text = "", carrier: Text = "", cursor: Text = ""
    ) -> Response:
        """Workers by portals."""
        visitor = await console.visitor(request, "access:read")
        asked = {
            "site": site,
            "duty": duty,
            "carrier": carrier,
            "cursor": cursor,
            "limit": MATRIX_ROWS,
        }
        found, directory = await asyncio.gather(
            services.get(visitor.principal, "provisioning", "/access/v1/matrix", asked),
            in_force(console, visitor),
        )
        return await console.page(request, "matrix.html", found=found, directory=directory)

    return router


def _first_page(visitor: Visitor) -> str:
    """Where somebody begins who may not see the overview."""
    if visitor.principal.may("review:decide"):
        return "/reviews"
    return "/work" if visitor.principal.may("work:do") else "/where"
