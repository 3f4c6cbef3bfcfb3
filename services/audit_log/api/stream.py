"""The live tail as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.audit_log.asking import Asked
from services.audit_log.context import MAX_INDEX, Reading
from services.audit_log.handlers.tailing import Tail
from shared.answers import answers_with
from shared.auth import Authenticator, Principal

SEND_SECONDS = 20.0
"""A reader that takes nothing for so long is let go; it resumes where it was."""


class Following(Asked):
    """What of the log to follow: entries that match everything that is given."""


class PatientResponse(StreamingResponse):
    """A stream that is ended when its reader takes nothing any more."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, and never wait longer for the reader than `SEND_SECONDS`."""

        async def send_soon(message: "dict[str, object]") -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        await super().__call__(scope, receive, send_soon)  # type: ignore[arg-type]


def stream_router(reading: Reading, authenticator: Authenticator) -> APIRouter:
    """The route that follows the log."""
    router = APIRouter(prefix="/audit/v1", tags=["audit"])
    Reader = Annotated[Principal, Depends(authenticator.requires("audit:read"))]
    tail = Tail(reading)

    @router.get("/stream", **answers_with("text/event-stream"))
    async def stream(
        who: Reader,
        asked: Annotated[Following, Query()],
        last_event_id: Annotated[int | None, Header(ge=0, le=MAX_INDEX)] = None,
    ) -> StreamingResponse:
        """New entries as server-sent events; the id of an event is its entry's index."""
        await reading.record_alone(who, "stream", {**asked.filters(), "after": last_event_id})
        query = asked.query(who.organization)
        asks = query.facets or query.text
        wanted = frozenset(reading.terms.of_query(query)) if asks else frozenset()

        async def events() -> AsyncIterator[bytes]:
            async for chunk in tail.follow(who, last_event_id, wanted):
                if authenticator.has_ended(who):
                    return
                yield chunk

        return PatientResponse(
            events(),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return router
