"""Replay over HTTP: the caller brings the records, out of the audit log or an export of it."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from services.provisioning.handlers.replay import Replay
from shared.auth import Authenticator, Principal
from shared.errors import Problem

MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_WORKERS = 1_000


def replay_router(replay: Replay, authenticator: Authenticator) -> APIRouter:
    """The route that compares."""
    router = APIRouter(prefix="/access/v1", tags=["history"])
    replays = authenticator.requires("audit:read", "ops:admin")

    @router.post("/replay")
    async def compared(
        request: Request,
        who: Annotated[Principal, Depends(replays)],
        worker: Annotated[list[str] | None, Query(max_length=MAX_WORKERS)] = None,
    ) -> dict[str, Any]:
        """Compare the tables with the records in the body, one JSON object per line."""
        only = frozenset(worker) if worker else None
        report = await replay.run(who.organization, _lines(request), only)
        return report.document()

    return router


async def _lines(request: Request) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in request.stream():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
        if len(rest) > MAX_LINE_BYTES:
            raise Problem(422, "invalid_record", "A line is longer than any record.")
    if rest:
        yield rest
