"""Access beyond policy: asking, approving, ending, and reviewing what was taken at once."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from services.gateway.console.commands import Order, carry_out, form_text, show
from services.gateway.console.pages import Text
from services.gateway.console.view import path, with_query
from services.gateway.console.visitor import Console
from shared.errors import Problem

READS = ("access:read", "access:admin")
SAID = {
    "request": "Asked. It gives nothing before a second person approves.",
    "approve": "Approved. The access is being ordered now.",
    "end": "Ended. What it gave is being ordered away.",
    "open": "Ordered now. A second person has to review it afterwards.",
    "review": "Reviewed.",
}


def routes(console: Console) -> APIRouter:
    """The list with its forms, and the commands on it."""
    router = APIRouter(prefix="/exceptions")

    @router.get("")
    async def exceptions(
        request: Request,
        status: Annotated[str, Query(pattern="^(live|all)$")] = "live",
        worker: Text = "",
    ) -> Response:
        """What waits for approval first, then what is in force."""
        visitor = await console.visitor(request, *READS)
        found = await console.services.get(
            visitor.principal, "provisioning", "/access/v1/directory"
        )
        return await show(
            console,
            request,
            READS,
            "exceptions.html",
            "/access/v1/exceptions",
            parameters={"status": status, "worker": worker},
            said=SAID,
            status_shown=status,
            directory=found["directory"],
        )

    @router.post("")
    async def ask(request: Request) -> Response:
        """Ask for access beyond policy, or take it at once."""

        def read(form: FormData, zone: ZoneInfo) -> Order:
            names = ("worker", "portal", "tin", "function", "reason")
            body = {name: form_text(form, name) for name in names}
            if form_text(form, "how") == "break_glass":
                body["ends_at"] = _hours_from_now(form_text(form, "hours"))
                route, did = "/access/v1/break-glass", "open"
            else:
                body["ends_at"] = _end_of(form_text(form, "until"), zone)
                route, did = "/access/v1/exceptions", "request"
            return Order(route, body, body["worker"], f"/exceptions?did={did}")

        return await carry_out(
            console, request, ("directory:read", "access:admin"), "exception.ask", read
        )

    @router.post("/{exception_id}/{move}")
    async def answer(
        request: Request, exception_id: str, move: Literal["approve", "end", "review"]
    ) -> Response:
        """Approve, end, or review a use of break-glass."""

        def read(form: FormData, _zone: ZoneInfo) -> Order:
            kind = "break-glass" if move == "review" else "exceptions"
            body = {"finding": form_text(form, "finding")} if move == "review" else {}
            route = f"/access/v1/{kind}/{path(exception_id)}/{move}"
            back = with_query("/exceptions", did=move, status="all")
            return Order(route, body, exception_id, back)

        scopes = ("access:admin", "review:admin", "policy:approve")
        return await carry_out(console, request, scopes, f"exception.{move}", read)

    return router


def _end_of(day: str, zone: ZoneInfo) -> str:
    """The end of a day in the organization's zone, as an instant."""
    try:
        after = date.fromisoformat(day) + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise Problem(422, "invalid_day", "Give the last day, such as 2027-01-31.") from error
    return datetime.combine(after, time.min, zone).isoformat()


def _hours_from_now(hours: str) -> str:
    if not hours.isdigit() or not 1 <= int(hours) <= 24:
        raise Problem(422, "invalid_hours", "Break-glass lasts from 1 to 24 hours.")
    return (datetime.now(UTC) + timedelta(hours=int(hours))).isoformat()
