"""For people in HR: who leaves, comes, changes; at once or sealed; and what became of it."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.commands import form_text, fresh_key
from services.gateway.console.view import path
from services.gateway.console.visitor import Console, Visitor
from services.gateway.handlers.entries import Entries
from services.gateway.handlers.ingress import Unacknowledged, unacknowledged_problem
from services.gateway.rules.embargo import ids_of
from services.gateway.services import ServiceDown
from shared.contracts.hr import CONSOLE_SOURCE
from shared.errors import Problem

FOUND_MAX = "20"
ENTERS = "hr:enter"

SAID = {
    "sealed": "Sealed. Nobody else sees it until it takes effect.",
    "withdrawn": "Withdrawn. Nothing will happen, and nothing says what it was.",
    "taken_back": "Taken back. What it changed is decided anew now.",
    "entered": "Entered. It takes effect as dated.",
}

KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "hire": (
        "worker.hired",
        ("effective_on", "name", "title", "department", "sites", "supervisor", "kind", "ends_on"),
    ),
    "change": (
        "worker.changed",
        ("effective_on", "title", "department", "sites", "supervisor", "ends_on"),
    ),
    "leave": ("worker.leave_started", ("effective_on",)),
    "return": ("worker.leave_ended", ("effective_on",)),
}
"""What else than a departure is entered here, and with which fields."""


def routes(console: Console, entries: Entries) -> APIRouter:
    """The pages under `/hr` on which people enter something."""
    router = APIRouter(prefix="/hr")
    services = console.services

    @router.get("/enter")
    async def search(
        request: Request, query: Annotated[str, Query(max_length=200)] = ""
    ) -> Response:
        """Find the person; one who alone is meant is shown at once."""
        visitor = await console.visitor(request, ENTERS)
        found: list[Any] = []
        if query.strip():
            asked = {"query": query.strip(), "limit": FOUND_MAX}
            answer = await services.get(
                visitor.principal, "provisioning", "/access/v1/workers", asked
            )
            found = answer["workers"]
        if len(found) == 1:
            return RedirectResponse(f"/hr/enter/{path(found[0]['worker'])}", status_code=303)
        return await console.page(
            request, "hr_search.html", found=found, said=_said(request), fresh_key=fresh_key
        )

    @router.get("/enter/{worker:path}")
    async def person(
        request: Request, worker: str, replaces: Annotated[UUID | None, Query()] = None
    ) -> Response:
        """One person: what would end where, and the forms."""
        visitor = await console.visitor(request, ENTERS)
        return await _person_page(request, visitor, worker, replaces)

    async def _person_page(
        request: Request,
        visitor: Visitor,
        worker: str,
        replaces: UUID | None = None,
        problem: Problem | None = None,
    ) -> Response:
        found = await services.get(
            visitor.principal, "provisioning", f"/access/v1/workers/{path(worker)}"
        )
        own = ids_of(visitor.principal)
        before = [
            one for one in await entries.visible(visitor.principal) if one.id == str(replaces)
        ]
        return await console.page(
            request,
            "hr_person.html",
            status=problem.status if problem else 200,
            person=found["state"],
            reachable=await _reachable(visitor, found["state"]),
            mine=[event for event in reversed(found["events"]) if _may_take_back(event, own)],
            oneself=not own.isdisjoint({worker, *found["state"]["aliases"]}),
            replaced=before[0] if before else None,
            today=datetime.now(visitor.zone).date().isoformat(),
            problem=problem,
            said=_said(request),
            fresh_key=fresh_key,
        )

    async def _reachable(visitor: Visitor, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The portals that a departure ends access to, in the order of harm."""
        try:
            found = await services.get(visitor.principal, "provisioning", "/access/v1/directory")
            portals = {each["id"]: each for each in found["directory"]["portals"]}
        except (Problem, ServiceDown):
            portals = {}
        return [
            {
                "name": portals.get(access["portal"], {}).get("name", access["portal"]),
                "login_id": access["login_id"],
                "functions": sorted({own["function"] for own in access["effective"]}),
                "asked_for": bool(access["operations"]) and not access["effective"],
            }
            for access in state["portals"]
            if access["effective"] or access["operations"]
        ]

    @router.post("/leaving")
    async def leaving(request: Request) -> Response:
        """Say that somebody leaves: now, on a day, or sealed until then."""
        visitor = await console.visitor(request, ENTERS)
        form = await console.form(request, visitor, "hr.leaving")
        worker = form_text(form, "worker")
        try:
            data = departure(form, visitor.zone, datetime.now(UTC))
            sealed = form_text(form, "sealed") == "yes"
            for number, employment in enumerate(form.getlist("employment")):
                whole = {**data, "employment_id": str(employment)}
                key = f"{form_text(form, 'key') or fresh_key()}-{number}"
                await _send(visitor, "worker.terminated", worker, whole, key, form, sealed)
        except Problem as problem:
            return await _person_page(request, visitor, worker, problem=problem)
        if sealed:
            return RedirectResponse("/hr/sealed?did=sealed", status_code=303)
        if data.get("immediate"):
            return RedirectResponse(f"/leavers/{path(worker)}/receipt", status_code=303)
        return RedirectResponse(f"/hr/enter/{path(worker)}?did=entered", status_code=303)

    async def _send(
        visitor: Visitor,
        type_: str,
        worker: str,
        data: Mapping[str, Any],
        key: str,
        form: FormData,
        sealed: bool,
    ) -> None:
        who = visitor.principal
        if not sealed:
            try:
                await entries.enter(who, type_, worker, data, key)
            except Unacknowledged as unknown:
                raise unacknowledged_problem() from unknown
            return
        replaces = form_text(form, "replaces")
        await entries.seal(
            who,
            type_,
            worker,
            data,
            key,
            readers=form_text(form, "readers").replace(",", " ").split(),
            replaces=_entry_id(replaces) if replaces else None,
        )

    @router.post("/entries")
    async def enter(request: Request) -> Response:
        """Enter a hire, a change, a leave or a return."""
        visitor = await console.visitor(request, ENTERS)
        form = await console.form(request, visitor, "hr.enter")
        worker = form_text(form, "worker")
        known = KINDS.get(form_text(form, "kind_of_entry"))
        if known is None:
            raise Problem(422, "no_such_entry", f"There are: {', '.join(KINDS)}, and leaving.")
        type_, fields = known
        data = entered(form, fields)
        key = form_text(form, "key") or fresh_key()
        try:
            await _send(visitor, type_, worker, data, key, form, sealed=False)
        except Problem as problem:
            if type_ == "worker.hired":
                return await console.page(
                    request,
                    "hr_search.html",
                    status=problem.status,
                    found=[],
                    said=None,
                    problem=problem,
                    fresh_key=fresh_key,
                )
            return await _person_page(request, visitor, worker, problem=problem)
        base = "/hr/enter" if type_ == "worker.hired" else f"/hr/enter/{path(worker)}"
        return RedirectResponse(f"{base}?did=entered", status_code=303)

    @router.post("/take-back")
    async def take_back(request: Request) -> Response:
        """Withdraw what one has entered oneself."""
        visitor = await console.visitor(request, ENTERS)
        form = await console.form(request, visitor, "hr.take_back")
        worker, event = form_text(form, "worker"), form_text(form, "event")
        found = await services.get(
            visitor.principal, "provisioning", f"/access/v1/workers/{path(worker)}"
        )
        own = ids_of(visitor.principal)
        if all(each["id"] != event for each in found["events"] if _may_take_back(each, own)):
            raise Problem(
                403, "not_your_entry", "You can take back only what you have entered yourself."
            )
        key = form_text(form, "key") or fresh_key()
        await _send(visitor, "worker.rescinded", worker, {"rescinds": event}, key, form, False)
        return RedirectResponse(f"/hr/enter/{path(worker)}?did=taken_back", status_code=303)

    @router.get("/sealed")
    async def sealed(request: Request) -> Response:
        """What is sealed and this person may see."""
        visitor = await console.visitor(request)
        return await console.page(
            request,
            "hr_sealed.html",
            sealed=await entries.visible(visitor.principal),
            said=_said(request),
            fresh_key=fresh_key,
        )

    @router.post("/sealed/withdraw")
    async def withdraw(request: Request) -> Response:
        """Forget a sealed entry before it takes effect."""
        visitor = await console.visitor(request, ENTERS)
        form = await console.form(request, visitor, "hr.sealed.withdraw")
        await entries.withdraw(visitor.principal, _entry_id(form_text(form, "entry")))
        return RedirectResponse("/hr/sealed?did=withdrawn", status_code=303)

    return router


def departure(form: FormData, zone: ZoneInfo, now: datetime) -> dict[str, Any]:
    """What the form says of a departure, without the employment.

    Now, or at an hour of a day, is immediate; a day alone is the last day, worked to its end.

    Raises:
        Problem: 422 when a day is missing or is none.
    """
    voluntary = form_text(form, "voluntary") == "yes"
    if form_text(form, "when") == "now":
        return {"effective_at": now.isoformat(), "immediate": True, "voluntary": voluntary}
    try:
        day = date.fromisoformat(form_text(form, "effective_on"))
        hour = form_text(form, "at")
        if not hour:
            return {"effective_on": day.isoformat(), "voluntary": voluntary}
        at = datetime.combine(day, time.fromisoformat(hour), tzinfo=zone)
    except ValueError:
        raise Problem(
            422, "no_date", "Give the last day, such as 2026-11-27, or choose that they leave now."
        ) from None
    return {"effective_at": at.isoformat(), "immediate": True, "voluntary": voluntary}


def entered(form: FormData, fields: tuple[str, ...]) -> dict[str, Any]:
    """The fields of an entry that were filled in; sites are separated by commas."""
    data: dict[str, Any] = {
        name: value for name in ("employment_id", *fields) if (value := form_text(form, name))
    }
    if "sites" in data:
        data["sites"] = [site for each in data["sites"].split(",") if (site := each.strip())]
    return data


def _entry_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Problem(404, "no_such_sealed_entry", "There is no such sealed entry.") from None


def _may_take_back(event: Mapping[str, Any], own: set[str]) -> bool:
    return (
        event["source"] == CONSOLE_SOURCE
        and event["entered_by"] in own
        and event["type"] != "worker.rescinded"
        and not event["rescinded"]
    )


def _said(request: Request) -> str | None:
    return SAID.get(request.query_params.get("did", ""))
