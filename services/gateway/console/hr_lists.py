"""HR's lists, what they ask, and how the sources fare: for people in HR and administrators."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from services.gateway import store
from services.gateway.console.commands import form_text, fresh_key
from services.gateway.console.pages import Text
from services.gateway.console.view import with_query
from services.gateway.console.visitor import Console, Visitor
from services.gateway.handlers.deliveries import Deliveries
from services.gateway.handlers.ingress import Unacknowledged, unacknowledged_problem
from services.gateway.handlers.questions import Answered, Questions
from services.gateway.handlers.rejected import RejectedEvents
from services.gateway.handlers.rosters import LATER_BYTES, Rosters, Upload
from services.gateway.handlers.source_health import SourceHealth
from services.gateway.presets import presets
from services.gateway.rules.roster_changes import Asked
from services.gateway.rules.roster_columns import SourceMapping
from services.gateway.rules.schedule import WEEKDAYS, Expected
from services.gateway.services import ServiceDown
from services.gateway.sources import Sources
from shared.contracts.hr import describe
from shared.errors import Problem
from shared.sheets.table import MAX_FILE_BYTES
from shared.sheets.writing import csv_rows

Json = dict[str, Any]

LISTS_SHOWN = 20
REJECTIONS_SHOWN = 100

ANSWER_WORDS = {
    "left": "has left",
    "still_here": "is still here",
    "not_ours": "is none of this source's",
    "on_leave": "is still on leave",
}

ASKED_WORDS = {
    Asked.MISSING: "No longer on the list",
    Asked.ACTIVE_AGAIN: "Has left, and the list says active",
    Asked.STILL_LEAVING: "Leaving, and the list has no last day",
    Asked.STILL_ON_LEAVE: "On leave, and the list says active",
}


@dataclass(frozen=True, slots=True)
class HrDesk:
    """What the pages about HR's lists do their work with."""

    rosters: Rosters
    questions: Questions
    health: SourceHealth
    deliveries: Deliveries
    rejected: RejectedEvents


def routes(
    console: Console, desk: HrDesk, pool: "asyncpg.Pool[Any]", sources: Sources
) -> APIRouter:
    """The pages and their forms."""
    router = APIRouter(prefix="/hr")

    @router.get("")
    async def hr(request: Request) -> Response:
        """How the sources fare, what waits for a person, and what was rejected."""
        visitor = await console.visitor(request, "hr:enter", "access:admin", "ops:admin")
        return await _hr_page(request, visitor)

    async def _hr_page(
        request: Request, visitor: Visitor, problem: Problem | None = None
    ) -> Response:
        organization = visitor.principal.organization
        async with pool.acquire() as conn:
            rejected = await store.recent_rejections(
                conn, organization, sources.names(organization), REJECTIONS_SHOWN
            )
        health, titles = await asyncio.gather(
            desk.health.listed(visitor.principal), _unmapped_titles(visitor)
        )
        return await console.page(
            request,
            "hr.html",
            status=problem.status if problem else 200,
            problem=problem,
            fresh_key=fresh_key,
            health=health,
            titles=titles,
            rejected=rejected,
        )

    @router.post("/rejected")
    async def replay_rejected(request: Request) -> Response:
        """Have a rejected event judged again, after a fix."""
        visitor = await console.visitor(request, "hr:enter", "access:admin")
        form = await console.form(request, visitor, "hr.rejected.replay")
        try:
            await desk.rejected.replay(visitor.principal, _uuid(form, "reference"))
        except Problem as problem:
            return await _hr_page(request, visitor, problem)
        except Unacknowledged:
            return await _hr_page(request, visitor, unacknowledged_problem())
        return RedirectResponse(with_query("/hr", did="replayed"), status_code=303)

    async def _unmapped_titles(visitor: Visitor) -> list[Json]:
        """Titles that have no duty; a service that is down must not hide HR's page."""
        if not visitor.principal.may("access:read"):
            return []
        try:
            found = await console.services.get(
                visitor.principal, "provisioning", "/access/v1/questions"
            )
        except ServiceDown:
            return []
        asked: list[Json] = found["questions"]
        return asked

    # -- lists

    @router.get("/lists")
    async def lists(request: Request) -> Response:
        """The lists received, and one to send."""
        visitor = await console.visitor(request, "hr:enter", "access:admin")
        return await _lists_page(request, visitor)

    async def _lists_page(
        request: Request, visitor: Visitor, problem: Problem | None = None
    ) -> Response:
        return await console.page(
            request,
            "hr_lists.html",
            status=problem.status if problem else 200,
            lists=await desk.rosters.listed(visitor.principal, LISTS_SHOWN),
            sources=sources.names(visitor.principal.organization),
            presets=presets(),
            problem=problem,
            fresh_key=fresh_key,
        )

    @router.post("/lists")
    async def send(request: Request) -> Response:
        """Look at what a list comes to."""
        visitor = await console.visitor(request, "hr:enter")
        form = await console.form(request, visitor, "hr.roster", files=1)
        who = visitor.principal
        try:
            upload = await _upload(form)
            source = desk.rosters.source_of(who, form_text(form, "source") or None)
            plan = await desk.rosters.begin(who, source, upload, form_text(form, "key"))
        except Problem as problem:
            return await _lists_page(request, visitor, problem)
        page = f"/hr/lists/{plan}"
        if len(upload.content) > LATER_BYTES:
            page = with_query(page, did="sent")
        return RedirectResponse(page, status_code=303)

    @router.get("/lists/{plan}")
    async def look(request: Request, plan: UUID, format: Text = "") -> Response:
        """What one list comes to, or came to."""
        visitor = await console.visitor(request, "hr:enter", "access:admin")
        if format == "csv":
            found = await desk.rosters.show(visitor.principal, plan)
            return _csv(f"{found['file']}.plan.csv", _plan_rows(found))
        return await _plan_page(request, visitor, plan)

    async def _plan_page(
        request: Request, visitor: Visitor, plan: UUID, problem: Problem | None = None
    ) -> Response:
        return await console.page(
            request,
            "hr_list.html",
            status=problem.status if problem else 200,
            plan=await desk.rosters.show(visitor.principal, plan),
            asked_words=ASKED_WORDS,
            problem=problem,
            fresh_key=fresh_key,
        )

    @router.post("/lists/{plan}/apply")
    async def apply(request: Request, plan: UUID) -> Response:
        """Apply exactly what the page said."""
        visitor = await console.visitor(request, "hr:enter")
        form = await console.form(request, visitor, "hr.roster.apply")
        try:
            await desk.rosters.apply(
                visitor.principal, plan, form_text(form, "hash"), form_text(form, "key")
            )
        except Problem as problem:
            return await _plan_page(request, visitor, plan, problem)
        return RedirectResponse(with_query(f"/hr/lists/{plan}", did="applied"), status_code=303)

    @router.post("/lists/{plan}/reject")
    async def reject(request: Request, plan: UUID) -> Response:
        """Throw the list away."""
        visitor = await console.visitor(request, "hr:enter")
        form = await console.form(request, visitor, "hr.roster.reject")
        try:
            await desk.rosters.reject(visitor.principal, plan, form_text(form, "key"))
        except Problem as problem:
            return await _plan_page(request, visitor, plan, problem)
        return RedirectResponse(with_query(f"/hr/lists/{plan}", did="rejected"), status_code=303)

    # -- questions

    @router.get("/questions")
    async def questions(request: Request, source: Text = "") -> Response:
        """What HR is asked, each with its answers."""
        visitor = await console.visitor(request, "hr:enter", "access:admin")
        return await _questions_page(request, visitor, source)

    async def _questions_page(
        request: Request,
        visitor: Visitor,
        source: str,
        problem: Problem | None = None,
    ) -> Response:
        found = await desk.questions.listed(visitor.principal)
        shown = [each for each in found if source in ("", each["source"])]
        return await console.page(
            request,
            "hr_questions.html",
            status=problem.status if problem else 200,
            questions=shown,
            asked_words=ASKED_WORDS,
            answer_words=ANSWER_WORDS,
            problem=problem,
            fresh_key=fresh_key,
        )

    @router.post("/questions")
    async def answer(request: Request) -> Response:
        """Answer about one person, or about everybody whom a list lacks."""
        visitor = await console.visitor(request, "hr:enter")
        form = await console.form(request, visitor, "hr.answer")
        plan = _plan_in(form)
        try:
            said = _answered(form)
            await desk.questions.answer(visitor.principal, said, form_text(form, "key"))
        except Problem as problem:
            if plan is not None:
                return await _plan_page(request, visitor, plan, problem)
            return await _questions_page(request, visitor, "", problem)
        back = "/hr/questions" if plan is None else f"/hr/lists/{plan}"
        return RedirectResponse(with_query(back, did="answered"), status_code=303)

    # -- sources

    @router.get("/source")
    async def source(request: Request, name: Text, did: Text = "") -> Response:
        """How one source's lists are read, and when one is expected."""
        visitor = await console.visitor(request, "hr:enter", "access:admin")
        return await _source_page(request, visitor, name)

    async def _source_page(
        request: Request, visitor: Visitor, name: str, problem: Problem | None = None
    ) -> Response:
        health = await desk.health.listed(visitor.principal)
        found = next((each for each in health["sources"] if each["source"] == name), None)
        if found is None:
            raise Problem(404, "no_such_source", f"No source {name!r:.80} speaks for you.")
        return await console.page(
            request,
            "hr_source.html",
            status=problem.status if problem else 200,
            source=found,
            deliveries=[
                each
                for each in await desk.deliveries.listed(visitor.principal)
                if each["source"] == name
            ],
            presets=presets(),
            weekdays=WEEKDAYS,
            problem=problem,
            fresh_key=fresh_key,
        )

    @router.post("/source")
    async def keep(request: Request) -> Response:
        """Keep how a source's lists are read."""
        visitor = await console.visitor(request, "hr:enter", "access:admin")
        form = await console.form(request, visitor, "hr.source")
        name = form_text(form, "name")
        try:
            await desk.health.keep(
                visitor.principal, name, _mapping(form), _expected(form), form_text(form, "key")
            )
        except Problem as problem:
            return await _source_page(request, visitor, name, problem)
        return RedirectResponse(with_query("/hr/source", name=name, did="kept"), status_code=303)

    @router.post("/source/replay")
    async def replay_delivery(request: Request) -> Response:
        """Have a vendor's delivery looked into again, after a fix."""
        visitor = await console.visitor(request, "hr:enter", "access:admin")
        form = await console.form(request, visitor, "hr.delivery.replay")
        name = form_text(form, "name")
        try:
            await desk.deliveries.replay(
                visitor.principal, _uuid(form, "delivery"), form_text(form, "key")
            )
        except Problem as problem:
            return await _source_page(request, visitor, name, problem)
        return RedirectResponse(
            with_query("/hr/source", name=name, did="replayed"), status_code=303
        )

    return router


def _uuid(form: FormData, field: str) -> UUID:
    try:
        return UUID(form_text(form, field))
    except ValueError as error:
        raise Problem(404, "no_such_record", "Open the page again and choose from it.") from error


async def _upload(form: FormData) -> Upload:
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise Problem(422, "no_file", "Choose the file with the list.")
    content = await file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise Problem(413, "body_too_large", f"A list may have {MAX_FILE_BYTES} bytes at most.")
    order = form_text(form, "order")
    return Upload(
        file.filename[-200:],
        content,
        form_text(form, "preset") or None,
        {"day": True, "month": False}.get(order),
    )


def _plan_in(form: FormData) -> UUID | None:
    """The list on whose page the answer was given, if on one."""
    named = form_text(form, "plan")
    try:
        return UUID(named) if named else None
    except ValueError as error:
        raise Problem(404, "no_such_list", "There is no such list.") from error


def _answered(form: FormData) -> Answered:
    worker, on = form_text(form, "worker"), form_text(form, "on")
    try:
        return Answered(
            form_text(form, "source"),
            Asked(form_text(form, "kind")),
            form_text(form, "answer"),  # type: ignore[arg-type]  # checked against the question
            (worker,) if worker else None,
            date.fromisoformat(on) if on else None,
        )
    except ValueError as error:
        raise Problem(422, "no_such_answer", "Choose an answer, and a day as on a calendar.") from (
            error
        )


def _expected(form: FormData) -> Expected | None:
    by = form_text(form, "by")
    if not by:
        return None
    days = [day for day in WEEKDAYS if form_text(form, f"day:{day}")]
    try:
        return Expected.model_validate({"by": time.fromisoformat(by), "days": days or WEEKDAYS})
    except ValueError as error:
        raise Problem(422, "invalid_time", "Give the time of day as 06:00.") from error


def _mapping(form: FormData) -> SourceMapping:
    sites = _pairs(form_text(form, "sites"))
    try:
        return SourceMapping.model_validate(
            {
                "preset": form_text(form, "preset") or None,
                "columns": _pairs(form_text(form, "columns")),
                "statuses": _pairs(form_text(form, "statuses")),
                "kinds": _pairs(form_text(form, "kinds")),
                "sites": {name: _listed(ids) for name, ids in sites.items()},
                "day_first": {"day": True, "month": False}.get(form_text(form, "order")),
                "id_digits": form_text(form, "id_digits") or None,
            }
        )
    except ValidationError as error:
        raise Problem(422, "invalid_mapping", f"{describe(error)}.") from error


def _pairs(text: str) -> dict[str, str]:
    """Lines such as `Furloughed = leave`."""
    found = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, equals, value = line.rpartition("=")
        if not equals or not name.strip():
            raise Problem(
                422, "invalid_mapping", f"{line!r:.80}: write what the file says = what it means."
            )
        found[name.strip()] = value.strip()
    return found


def _listed(text: str) -> list[str]:
    return [part for part in (part.strip() for part in text.split(",")) if part]


def _csv(name: str, rows: Sequence[Sequence[Any]]) -> Response:
    """A table as a file that a spreadsheet opens without computing anything."""
    return Response(
        csv_rows(rows, mark=True),
        media_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{_plain_name(name)}"',
            "Cache-Control": "no-store",
        },
    )


def _plain_name(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)


def _plan_rows(plan: Mapping[str, Any]) -> list[list[Any]]:
    rows: list[list[Any]] = [["kind", "line", "worker", "name", "reason"]]
    for part in ("hires", "changes", "departures"):
        for one in plan.get(part, ()):
            rows.append([one["kind"], one["line"], one["worker"], one["name"], one["reason"]])
    for one in plan.get("questions", ()):
        rows.append([one["kind"], one["line"], one["worker"], one["name"], one["detail"]])
    for one in plan.get("errors", ()):
        rows.append([one["code"], one["line"], None, None, one["detail"]])
    return rows
