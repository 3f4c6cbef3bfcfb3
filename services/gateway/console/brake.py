"""What the brake holds, and what people decide about it."""

from typing import Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from services.gateway.console.commands import Order, carry_out, form_text, show
from services.gateway.console.view import path
from services.gateway.console.visitor import Console

READS = ("access:read", "access:admin")
SAID = {
    "release": "Released. Each removal is being ordered now.",
    "reject": "Rejected. The access stays, and carries your name.",
}


def routes(console: Console) -> APIRouter:
    """The causes, one of them, and deciding it."""
    router = APIRouter(prefix="/brake")

    @router.get("")
    async def causes(request: Request) -> Response:
        """Causes, the latest first."""
        return await show(
            console,
            request,
            READS,
            "brake.html",
            "/access/v1/brake",
            parameters={"status": "all"},
        )

    @router.get("/{cause_id}")
    async def cause(request: Request, cause_id: str) -> Response:
        """Whose access one cause would remove."""
        route = f"/access/v1/brake/{path(cause_id)}"
        return await show(console, request, READS, "brake_cause.html", route, said=SAID)

    @router.post("/{cause_id}/{move}")
    async def decide(
        request: Request, cause_id: str, move: Literal["release", "reject"]
    ) -> Response:
        """Release or reject."""

        def read(form: FormData, _zone: ZoneInfo) -> Order:
            base = f"/brake/{path(cause_id)}"
            body = {"reason": form_text(form, "reason")}
            return Order(f"/access/v1{base}/{move}", body, cause_id, f"{base}?did={move}")

        return await carry_out(console, request, ("access:admin",), f"brake.{move}", read)

    return router
