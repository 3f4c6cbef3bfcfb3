"""Departures: what is still reachable, telling portals, and the receipt for HR."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from services.gateway.console.commands import Order, carry_out, form_text, show
from services.gateway.console.pages import Text
from services.gateway.console.view import path
from services.gateway.console.visitor import Console
from shared.errors import Problem

READS = ("access:read", "access:admin")
SAID = {"told": "Kept: the portal was told."}


def routes(console: Console) -> APIRouter:
    """The list, one departure's sheet, its receipt, and keeping that a portal was told."""
    router = APIRouter(prefix="/leavers")

    @router.get("")
    async def leavers(
        request: Request,
        days: Annotated[int, Query(ge=1, le=3660)] = 90,
        cursor: Text = "",
    ) -> Response:
        """Departures, the latest first."""
        parameters = {"days": str(days), "cursor": cursor}
        route = "/access/v1/leavers"
        return await show(
            console, request, READS, "leavers.html", route, parameters=parameters, days=days
        )

    @router.get("/{worker}")
    async def leaver(request: Request, worker: str) -> Response:
        """One departure in the order of harm."""
        route = f"/access/v1/leavers/{path(worker)}"
        return await show(console, request, READS, "leaver.html", route, said=SAID)

    @router.get("/{worker}/receipt")
    async def receipt(request: Request, worker: str) -> Response:
        """What HR gets back, fit to print; that it is on its way, until provisioning has it."""
        visitor = await console.visitor(request, "hr:enter", *READS)
        route = f"/access/v1/leavers/{path(worker)}/receipt"
        try:
            found = await console.services.get(visitor.principal, "provisioning", route)
        except Problem as problem:
            if problem.code != "works_here":
                raise
            found = None
        letter = _letter(found) if found else None
        return await console.page(
            request, "receipt.html", found=found, worker=worker, letter=letter
        )

    @router.post("/{worker}/notices")
    async def told(request: Request, worker: str) -> Response:
        """Keep that a portal was told of a departure."""

        def read(form: FormData, _zone: ZoneInfo) -> Order:
            body = {name: form_text(form, name) for name in ("portal", "channel", "proof")}
            base = f"/leavers/{path(worker)}"
            return Order(f"/access/v1{base}/notices", body, worker, f"{base}?did=told")

        return await carry_out(console, request, ("work:do", "access:admin"), "leaver.notice", read)

    return router


def _letter(receipt: Mapping[str, Any]) -> str:
    """A letter to send the receipt with; its subject names nobody."""
    body = "\n".join(
        [f"{receipt['removed']} of {receipt['of']} portals removed.", "", *receipt["lines"]]
    )
    return f"mailto:?subject={quote('Portal access: receipt')}&body={quote(body)}"
