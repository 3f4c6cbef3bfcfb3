"""The audit log in the console: list, live tail, one entry, and its proof for the page to check."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import orjson
import structlog
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from services.gateway.console.pages import PAGE_ROWS, Text
from services.gateway.console.services import ServiceDown
from services.gateway.console.visitor import Console
from shared.contracts.topics import AUDITED_TOPICS
from shared.errors import Problem
from shared.problems import problem_response

logger = structlog.get_logger(__name__)

TAIL_RECONNECT_MILLISECONDS = 3000
TAIL_SECONDS = 300
"""Then the browser resumes by itself, and whether the session is still open is asked anew."""

Index = Annotated[int, Path(ge=0, le=2**53)]


def routes(console: Console) -> APIRouter:
    """The audit pages."""
    router = APIRouter(prefix="/audit")
    services = console.services

    @router.get("")
    async def entries(
        request: Request,
        worker: Text = "",
        type_: Annotated[str, Query(alias="type", max_length=200)] = "",
        topic: Text = "",
        cursor: Text = "",
    ) -> Response:
        """Entries, newest first."""
        visitor = await console.visitor(request, "audit:read")
        found = await services.get(
            visitor.principal,
            "audit",
            "/audit/v1/entries",
            {
                "worker": worker.strip(),
                "type": type_.strip(),
                "topic": topic,
                "cursor": cursor,
                "limit": PAGE_ROWS,
            },
        )
        log = await services.get(visitor.principal, "audit", "/audit/v1/log")
        return console.page(
            request,
            "audit.html",
            found=found,
            log=log,
            topics=[topic.name for topic in AUDITED_TOPICS],
        )

    @router.get("/stream")
    async def tail(request: Request, after: Annotated[int | None, Query(ge=0)] = None) -> Response:
        """New entries as server-sent events; the browser resumes by Last-Event-ID."""
        visitor = await console.visitor(request, "audit:read")
        last = request.headers.get("last-event-id") or (None if after is None else str(after))
        headers = {"Last-Event-ID": last} if last else {}

        async def pass_on() -> AsyncIterator[bytes]:
            yield f"retry: {TAIL_RECONNECT_MILLISECONDS}\n\n".encode()
            try:
                async with (
                    asyncio.timeout(TAIL_SECONDS),
                    services.stream(
                        visitor.principal, "audit", "/audit/v1/stream", headers
                    ) as response,
                ):
                    async for chunk in response.aiter_bytes():
                        yield chunk
            except (ServiceDown, TimeoutError, httpx.HTTPError) as error:
                # The browser asks again by itself; the page shows that the tail is interrupted.
                logger.info("tail.interrupted", error=repr(error))

        return StreamingResponse(
            pass_on(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @router.get("/{index}")
    async def entry(request: Request, index: Index) -> Response:
        """One entry with its payload."""
        visitor = await console.visitor(request, "audit:read")
        found = await services.get(visitor.principal, "audit", f"/audit/v1/entries/{index}")
        payload = found.get("payload") or {}
        return console.page(
            request,
            "entry.html",
            entry=found,
            payload_text=_indented(payload.get("value", payload.get("value_base64"))),
            headers_text=_indented(
                {"key": payload.get("key"), "headers": payload.get("headers", {})}
            ),
        )

    @router.get("/{index}/proof")
    async def proof(request: Request, index: Index) -> Response:
        """The inclusion proof as JSON, for the page's own arithmetic."""
        visitor = await console.visitor(request, "audit:read")
        try:
            found: Any = await services.get(
                visitor.principal, "audit", f"/audit/v1/entries/{index}/proof"
            )
        except Problem as problem:
            return problem_response(problem.status, problem.code, problem.detail)
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    return router


def _indented(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
