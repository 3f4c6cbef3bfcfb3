"""The audit log in the console: list, live tail, one entry, and its proof for the page to check."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import httpx
import orjson
import structlog
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from services.gateway.console.commands import fresh_key
from services.gateway.console.pages import PAGE_ROWS, Text
from services.gateway.console.view import with_query
from services.gateway.console.visitor import Console, Visitor
from services.gateway.services import ServiceDown, Services
from shared.contracts.topics import AUDITED_TOPICS
from shared.errors import Problem
from shared.problems import problem_response

logger = structlog.get_logger(__name__)

TAIL_RECONNECT_MILLISECONDS = 3000
TAIL_SECONDS = 300
"""Then the browser resumes by itself, and whether the session is still open is asked anew."""

TABS = (
    ("/audit", "Entries"),
    ("/audit/exports", "Exports"),
    ("/audit/checkpoints", "Checkpoints"),
    ("/audit/holds", "Holds and erasure"),
)

ASKED = (
    "worker", "actor", "portal", "carrier", "type", "topic", "rule", "outcome", "review", "text",
    "since", "until",
)  # fmt: skip
"""What a search, a tail and an export take alike."""

Index = Annotated[int, Path(ge=0, le=2**53)]


def routes(console: Console) -> APIRouter:
    """The audit pages."""
    router = APIRouter(prefix="/audit")
    services = console.services

    @router.get("")
    async def entries(request: Request, cursor: Text = "") -> Response:
        """Entries that match everything asked for, newest first."""
        visitor = await console.visitor(request, "audit:read")
        asked = read_asked(request.query_params, visitor.zone)
        page = {**asked, "cursor": cursor, "limit": PAGE_ROWS}
        found, log = await asyncio.gather(
            services.get(visitor.principal, "audit", "/audit/v1/entries", page),
            services.get(visitor.principal, "audit", "/audit/v1/log"),
        )
        followed = {name: text for name, text in asked.items() if name not in ("since", "until")}
        return await console.page(
            request,
            "audit.html",
            found=found,
            log=log,
            asked=asked,
            shown={name: request.query_params.get(name, "") for name in ASKED},
            stream=with_query("/audit/stream", **followed),
            topics=[topic.name for topic in AUDITED_TOPICS],
            tabs=TABS,
            fresh_key=fresh_key,
        )

    @router.get("/stream")
    async def tail(request: Request, after: Annotated[int | None, Query(ge=0)] = None) -> Response:
        """New entries as server-sent events; the browser resumes by Last-Event-ID."""
        visitor = await console.visitor(request, "audit:read")
        last = request.headers.get("last-event-id") or (None if after is None else str(after))
        headers = {"Last-Event-ID": last} if last else {}
        asked = read_asked(request.query_params, visitor.zone)
        route = with_query("/audit/v1/stream", **asked)

        async def pass_on() -> AsyncIterator[bytes]:
            yield f"retry: {TAIL_RECONNECT_MILLISECONDS}\n\n".encode()
            try:
                async with (
                    asyncio.timeout(TAIL_SECONDS),
                    services.stream(visitor.principal, "audit", route, headers) as response,
                ):
                    async for chunk in response.aiter_bytes():
                        yield chunk
            except (ServiceDown, TimeoutError, httpx.HTTPError) as error:
                # The browser asks again by itself; the page shows that the tail is interrupted.
                logger.info("tail.interrupted", error=repr(error))

        return StreamingResponse(
            pass_on(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @router.get("/before")
    async def before(request: Request, log: Text, cursor: Text = "") -> Response:
        """A log that this one follows: how it ended, and its entries, newest first."""
        visitor = await console.visitor(request, "audit:read")
        page = {"log": log, "cursor": cursor, "limit": PAGE_ROWS}
        found, ended, present = await asyncio.gather(
            services.get(visitor.principal, "audit", "/audit/v1/entries", page),
            services.get(visitor.principal, "audit", "/audit/v1/log", {"log": log}),
            services.get(visitor.principal, "audit", "/audit/v1/log"),
        )
        last = next((each for each in present["predecessors"] if each["origin"] == log), None)
        if last is None:
            raise Problem(404, "no_such_log", "This log follows no log of that name.")
        return await console.page(
            request,
            "audit_before.html",
            found=found,
            log=ended,
            last=last,
            signed=int(last["checkpoint"].split("\n")[1]),
            tabs=TABS,
            fresh_key=fresh_key,
        )

    @router.get("/{index}")
    async def entry(request: Request, index: Index, log: Text = "") -> Response:
        """One entry with its payload, of this log or of the one before it that is named."""
        visitor = await console.visitor(request, "audit:read")
        of = {"log": log}
        found = await services.get(visitor.principal, "audit", f"/audit/v1/entries/{index}", of)
        payload = found.get("payload") or {}
        return await console.page(
            request,
            "entry.html",
            entry=found,
            log=log,
            tabs=TABS,
            payload_text=_indented(payload.get("value", payload.get("value_base64"))),
            headers_text=_indented(
                {"key": payload.get("key"), "headers": payload.get("headers", {})}
            ),
        )

    @router.get("/{index}/proof")
    async def proof(request: Request, index: Index, log: Text = "") -> Response:
        """The inclusion proof as JSON, for the page's own arithmetic."""
        visitor = await console.visitor(request, "audit:read")
        try:
            found: Any = await services.get(
                visitor.principal, "audit", f"/audit/v1/entries/{index}/proof", {"log": log}
            )
        except Problem as problem:
            return problem_response(problem.status, problem.code, problem.detail)
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    @router.get("/{index}/tlog-proof")
    async def tlog_proof(request: Request, index: Index, log: Text = "") -> Response:
        """The proof as a file that verifies offline."""
        visitor = await console.visitor(request, "audit:read")
        route = with_query(f"/audit/v1/entries/{index}/tlog-proof", log=log)
        return await download(services, visitor, route)

    return router


async def download(services: Services, visitor: Visitor, route: str) -> Response:
    """A file of the audit log, passed on as it comes.

    Raises:
        ServiceDown: it cannot be had now.
    """
    opened = AsyncExitStack()
    response = await opened.enter_async_context(
        services.stream(visitor.principal, "audit", route, {})
    )

    async def pass_on() -> AsyncIterator[bytes]:
        async with opened:
            async for chunk in response.aiter_bytes():
                yield chunk

    kept = ("content-disposition", "content-length", "content-type")
    headers = {name: response.headers[name] for name in kept if name in response.headers}
    return StreamingResponse(pass_on(), headers={**headers, "Cache-Control": "no-store"})


def read_asked(given: Mapping[str, Any], zone: ZoneInfo) -> dict[str, str]:
    """What a form or an address asks of the log, its instants in the organization's zone.

    Raises:
        Problem: 422 for what is no date and time.
    """
    asked = {name: str(given.get(name) or "").strip() for name in ASKED}
    for name in ("since", "until"):
        if asked[name]:
            try:
                at = datetime.fromisoformat(asked[name])
            except ValueError as error:
                raise Problem(
                    422, "invalid_instant", "Give a date and time, such as 2026-03-14T09:00."
                ) from error
            asked[name] = (at if at.tzinfo else at.replace(tzinfo=zone)).isoformat()
    return {name: text for name, text in asked.items() if text}


def _indented(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
