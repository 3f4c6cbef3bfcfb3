"""The live tail as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header
from fastapi.responses import StreamingResponse

from services.audit_log import store
from services.audit_log.context import MAX_INDEX, Reading
from services.audit_log.reading import Showing
from shared.auth import Authenticator, Principal

TAIL_POLL_SECONDS = 0.2
TAIL_ENTRIES_PER_READ = 200
TAIL_KEEPALIVE_SECONDS = 15.0
"""Proxies close what is silent for longer; a comment line keeps them from it."""


def stream_router(reading: Reading, authenticator: Authenticator) -> APIRouter:
    """The route that follows the log."""
    router = APIRouter(prefix="/audit/v1", tags=["audit"])
    Reader = Annotated[Principal, Depends(authenticator.requires("audit:read"))]

    @router.get("/stream")
    async def stream(
        who: Reader,
        last_event_id: Annotated[int | None, Header(ge=0, le=MAX_INDEX)] = None,
    ) -> StreamingResponse:
        """New entries as server-sent events; the id of an event is its entry's index."""
        await reading.record_alone(who, "stream", {"after": last_event_id})
        return StreamingResponse(
            _tail(reading, who, last_event_id),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return router


async def _tail(reading: Reading, who: Principal, after: int | None) -> AsyncIterator[bytes]:
    showing = Showing(reading.keys, who)
    loop = asyncio.get_running_loop()
    spoke_at = loop.time()
    yield b": the id of each event is the index of its entry\n\n"
    position = None if after is None else after + 1
    while True:
        async with reading.pool.acquire() as conn:
            head = await store.read_head(conn)
            size = head[1] if head else 0
            position = size if position is None else min(position, size)
            until = min(size, position + TAIL_ENTRIES_PER_READ)
            found = await store.read_range(conn, position, until)
            shown = await showing.show(conn, found, payloads=False)
        visible = [one for one in shown if one["organization"] in ("", None, who.organization)]
        position = until
        if visible:
            spoke_at = loop.time()
            yield b"".join(_event(one) for one in visible)
        elif loop.time() - spoke_at > TAIL_KEEPALIVE_SECONDS:
            spoke_at = loop.time()
            yield b": nothing new\n\n"
        if position >= size:
            await asyncio.sleep(TAIL_POLL_SECONDS)


def _event(shown: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (shown["index"], orjson.dumps(shown))
