"""Who had access then: one screen to print and hand to an auditor, and asking portals who did."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.console.commands import fresh_key
from services.gateway.console.pages import Text
from services.gateway.console.proof import Audited, look_up
from services.gateway.console.timeline import instant
from services.gateway.console.view import with_query
from services.gateway.console.visitor import Console, Visitor
from services.gateway.services import Services
from shared.errors import Problem

PAGE_PEOPLE = "100"
SOURCE = "/portalkeeper/provisioning"


def routes(console: Console) -> APIRouter:
    """The pages."""
    router = APIRouter()
    services = console.services

    @router.get("/who-had-access")
    async def who_had_access(
        request: Request,
        portal: Text = "",
        at: Text = "",
        known_at: Text = "",
        function: Text = "",
        cursor: Text = "",
        asked: Text = "",
    ) -> Response:
        """The question, and its answer once portal and moment are given."""
        visitor = await console.visitor(request, "access:read", "access:admin", "audit:read")
        directory = await _directory(services, visitor)
        found, problem, audited = None, None, Audited()
        if portal:
            at = at or datetime.now(visitor.zone).strftime("%Y-%m-%dT%H:%M:%S")
            try:
                found = await services.get(
                    visitor.principal,
                    "provisioning",
                    "/access/v1/who-had-access",
                    {
                        "portal": portal,
                        "at": at,
                        "known_at": known_at,
                        "function": function,
                        "cursor": cursor,
                        "limit": PAGE_PEOPLE,
                    },
                )
                audited = await look_up(services, visitor, events_of(found["people"]))
            except Problem as refusal:
                problem = refusal
        return await console.page(
            request,
            "who_had_access.html",
            found=found,
            problem=problem,
            at=at,
            audited=audited,
            portals=directory["portals"] if directory else [],
            functions=_functions(directory),
            day_of=day_around,
            fresh_key=fresh_key,
            asked=asked,
        )

    @router.get("/explain")
    async def explain(request: Request, worker: Text, portal: Text) -> Response:
        """Why somebody can, or cannot, use a portal: each link with its audit entry."""
        visitor = await console.visitor(request, "access:read", "access:admin", "audit:read")
        found = await services.get(
            visitor.principal,
            "provisioning",
            "/access/v1/explain",
            {"worker": worker, "portal": portal},
        )
        events = [
            (link["event"][0], link["event"][1])
            for line in found["lines"]
            for link in line["chain"]
            if link["event"]
        ]
        return await console.page(
            request,
            "explain.html",
            found=found,
            audited=await look_up(services, visitor, events),
        )

    @router.get("/chores")
    async def chores(
        request: Request, status: Annotated[str, Query(pattern="^(open|ended)$")] = "open"
    ) -> Response:
        """Work that changes nobody's access."""
        visitor = await console.visitor(request, "work:do", "access:read", "audit:read")
        found = await services.get(
            visitor.principal, "provisioning", "/access/v1/chores", {"status": status}
        )
        return await console.page(
            request,
            "chores.html",
            chores=found["chores"],
            status_shown=status,
            problem=None,
            fresh_key=fresh_key,
        )

    @router.post("/chores/activity-log")
    async def activity_log(request: Request) -> Response:
        """Have the portal's administrator ask it what somebody did there."""
        visitor = await console.visitor(request, "access:admin", "audit:read")
        form = await console.form(request, visitor, "chore.activity_log")
        wish = {name: str(form.get(name, "")) for name in ("portal", "worker", "since", "until")}
        back = {name: str(form.get(name, "")) for name in ("portal", "at", "known_at", "function")}
        await _command(visitor, form.get("key"), wish)
        return RedirectResponse(
            with_query("/who-had-access", **back, asked=wish["worker"]), status_code=303
        )

    @router.post("/chores/{chore_id}/{command}")
    async def carry_out(request: Request, chore_id: str, command: str) -> Response:
        """A command on a chore."""
        visitor = await console.visitor(request, "work:do", "access:admin")
        if command not in ("claim", "release", "done", "decline"):
            raise Problem(404, "no_such_command", "There is no such command.")
        form = await console.form(request, visitor, f"chore.{command}")
        words = str(form.get("text", "")).strip()
        body: dict[str, Any] = {}
        if command == "done":
            body = {"evidence": {"kind": "note", "text": words}}
        elif command == "decline":
            body = {"reason": words}
        await _command(visitor, form.get("key"), body, f"{chore_id}/{command}")
        return RedirectResponse("/chores", status_code=303)

    async def _command(
        visitor: Visitor, key: object, body: dict[str, Any], path: str = "activity-log"
    ) -> None:
        await services.post(
            visitor.principal,
            "provisioning",
            f"/access/v1/chores/{path}",
            body,
            str(key or fresh_key()),
        )

    return router


async def _directory(services: Services, visitor: Visitor) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = await services.get(
            visitor.principal, "provisioning", "/access/v1/directory"
        )
    except Problem:
        return None
    document: dict[str, Any] = found["directory"]
    return document


def _functions(directory: dict[str, Any] | None) -> list[str]:
    """The functions that any portal of the directory serves, and those every portal may have."""
    served = {
        function
        for portal in (directory or {}).get("portals", ())
        for reach in portal.get("reaches", ())
        for function in reach["functions"]
    }
    return sorted({*served, "user_administration"})


def day_around(at: str, zone: ZoneInfo) -> tuple[str, str]:
    """The beginning and end of the day in the organization's zone that holds an instant."""
    known = instant(at)
    assert known is not None
    begins = known.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    ends: datetime = begins + timedelta(days=1)
    return begins.isoformat(), ends.isoformat()


def events_of(people: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """(source, id) of the events that say what people held, and how it ended."""
    return [
        (SOURCE, source["event_id"])
        for person in people
        for holding in person["holdings"]
        for source in (holding["known_by"], holding["ended_by"])
        if source
    ]
