"""Portals that do not work, not getting in, logins about to lapse, and each visitor's own work."""

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from services.gateway.console.charts import lapses_by_portal, lapses_by_week, week_name
from services.gateway.console.commands import Order, carry_out, form_text, fresh_key, show
from services.gateway.console.pages import Text
from services.gateway.console.view import path
from services.gateway.console.visitor import Console

READS = ("access:read", "access:admin")
EVERYBODY = ("directory:read", *READS)
SAID = {
    "begin": "Deadlines on that portal stand still until the outage is ended.",
    "over": "The portal works again. Its open work got the time back.",
    "report": "Thank you. An administrator sees it; what to do meanwhile is below.",
    "step": "Thank you.",
    "signed-in": "Thank you. The portal's clock begins anew.",
}


def routes(console: Console) -> APIRouter:
    """The pages and the commands on them."""
    router = APIRouter()
    services = console.services

    @router.get("/outages")
    async def outages(request: Request) -> Response:
        """Portals that do not work, and saying that one cannot get in."""
        visitor = await console.visitor(request, *EVERYBODY)
        directory = await services.get(visitor.principal, "provisioning", "/access/v1/directory")
        reported: dict[str, Any] = {"incidents": []}
        if visitor.principal.may(*READS):
            reported = await services.get(
                visitor.principal, "provisioning", "/access/v1/incidents", {"limit": "20"}
            )
        return await show(
            console,
            request,
            EVERYBODY,
            "outages.html",
            "/access/v1/outages",
            parameters={"status": "all", "limit": "30"},
            said=SAID,
            portals=directory["directory"]["portals"],
            incidents=reported["incidents"],
        )

    @router.post("/outages")
    async def begin(request: Request) -> Response:
        """Declare an outage."""
        return await carry_out(
            console, request, ("access:admin",), "outage.begin", _report("outages", "begin")
        )

    @router.post("/outages/{outage_id}/end")
    async def end(request: Request, outage_id: str) -> Response:
        """The portal works again."""

        def read(_form: FormData, _zone: ZoneInfo) -> Order:
            route = f"/access/v1/outages/{path(outage_id)}/end"
            return Order(route, {}, outage_id, "/outages?did=over")

        return await carry_out(console, request, ("access:admin",), "outage.end", read)

    @router.post("/incidents")
    async def report(request: Request) -> Response:
        """Somebody cannot get in."""
        return await carry_out(
            console, request, EVERYBODY, "incident.report", _report("incidents", "report")
        )

    @router.get("/clocks")
    async def clocks(
        request: Request,
        days: Annotated[int, Query(ge=1, le=365)] = 60,
        cursor: Text = "",
    ) -> Response:
        """Logins about to lapse, the soonest first, and how many each week."""
        visitor = await console.visitor(request, *READS)
        asked = {"days": str(days), "cursor": cursor}
        found = await services.get(visitor.principal, "provisioning", "/access/v1/clocks", asked)
        weeks, portals = lapses_by_portal(found["by_week"])
        return await console.page(
            request,
            "clocks.html",
            found=found,
            weeks=weeks,
            portals=portals,
            days=days,
            chart=lapses_by_week(found["by_week"], days),
            week_name=week_name,
        )

    @router.get("/mine")
    async def mine(request: Request) -> Response:
        """What waits for the visitor alone."""
        visitor = await console.visitor(request, "directory:read")
        if visitor.principal.worker is None:
            nothing: dict[str, Any] = {"items": []}
            return await console.page(
                request, "mine.html", found=nothing, training=[], said=None, fresh_key=fresh_key
            )
        training = await services.get(visitor.principal, "provisioning", "/access/v1/training/own")
        return await show(
            console,
            request,
            ("directory:read",),
            "mine.html",
            "/access/v1/own/work",
            said=SAID,
            training=training["due"],
        )

    @router.post("/mine/{operation_id}/{what}")
    async def did(
        request: Request, operation_id: str, what: Literal["step", "signed-in"]
    ) -> Response:
        """A step was taken, or the login was used."""

        def read(form: FormData, _zone: ZoneInfo) -> Order:
            base = f"/access/v1/own/work/{path(operation_id)}"
            route = f"{base}/signed-in"
            if what == "step":
                route = f"{base}/steps/{path(form_text(form, 'index'))}"
            return Order(route, {}, operation_id, f"/mine?did={what}")

        return await carry_out(console, request, ("directory:read",), "own.step", read)

    return router


def _report(route: str, did: str) -> Any:
    def read(form: FormData, _zone: ZoneInfo) -> Order:
        body = {name: form_text(form, name) for name in ("portal", "kind", "note")}
        return Order(f"/access/v1/{route}", body, body["portal"], f"/outages?did={did}")

    return read
