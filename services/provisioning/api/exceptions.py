"""Exceptions and break-glass over HTTP."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import APIRouter, Body, Depends, Query
from pydantic import AwareDatetime, BaseModel, Field

from services.provisioning.api.paging import MAX_PAGE, Key, Limit
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.exceptions import ExceptionCommands, Wish
from services.provisioning.rules.exceptions import AccessException
from services.provisioning.store import exceptions as exceptions_store
from shared.auth import Authenticator, Principal
from shared.contracts.directory import Function
from shared.contracts.facts import to_json
from shared.errors import Problem
from shared.postgres import Connection


class AccessWish(BaseModel):
    """Access beyond policy that somebody asks for. `reason` says what the work is."""

    worker: str = Field(min_length=1, max_length=200)
    portal: str = Field(min_length=1, max_length=63)
    tin: str = Field(min_length=1, max_length=20)
    function: Function
    reason: str = Field(min_length=3, max_length=500)
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime

    def wish(self) -> Wish:
        """What the rules are asked."""
        return Wish(
            self.worker,
            self.portal,
            self.tin,
            self.function,
            self.reason,
            self.starts_at,
            self.ends_at,
        )


class Looked(BaseModel):
    """What a second person says of a use of break-glass."""

    finding: str = Field(min_length=3, max_length=500)


def exceptions_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    operations: OperationCommands,
    exceptions: ExceptionCommands,
) -> APIRouter:
    """The routes under `/access/v1/exceptions` and `/access/v1/break-glass`."""
    router = APIRouter(prefix="/access/v1", tags=["exceptions"])
    reads = authenticator.requires("access:read", "access:admin")
    asks = authenticator.requires("directory:read", "access:admin")
    administers = authenticator.requires("access:admin")
    reviews = authenticator.requires("access:admin", "review:admin", "policy:approve")

    async def run(
        who: Principal,
        route: str,
        key: str | None,
        body: bytes,
        work: Callable[[Connection], Awaitable[AccessException]],
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            return shown(await work(conn))

        return await operations.command(who, route, key, body, do)

    @router.get("/exceptions")
    async def listed(
        who: Annotated[Principal, Depends(reads)],
        status: Annotated[str, Query(pattern="^(live|all)$")] = "live",
        worker: str | None = None,
        limit: Limit = MAX_PAGE,
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await exceptions_store.exceptions(
                conn,
                who.organization,
                live=True if status == "live" else None,
                worker=worker,
                limit=limit,
            )
        return {"exceptions": [dict(row) for row in rows]}

    @router.post("/exceptions")
    async def request(
        body: Annotated[AccessWish, Body()],
        who: Annotated[Principal, Depends(asks)],
        key: Key = None,
    ) -> dict[str, Any]:
        _for_oneself_or_as_administrator(who, body.worker)
        wish = body.wish()
        return await run(
            who, "exceptions", key, _bytes(body), lambda conn: exceptions.request(conn, who, wish)
        )

    @router.post("/break-glass")
    async def open_break_glass(
        body: Annotated[AccessWish, Body()],
        who: Annotated[Principal, Depends(asks)],
        key: Key = None,
    ) -> dict[str, Any]:
        _for_oneself_or_as_administrator(who, body.worker)
        wish = body.wish()
        return await run(
            who,
            "break-glass",
            key,
            _bytes(body),
            lambda conn: exceptions.open_break_glass(conn, who, wish),
        )

    @router.post("/exceptions/{exception_id}/approve")
    async def approve(
        exception_id: str, who: Annotated[Principal, Depends(administers)], key: Key = None
    ) -> dict[str, Any]:
        return await run(
            who,
            f"exceptions/{exception_id}/approve",
            key,
            b"",
            lambda conn: exceptions.approve(conn, who, exception_id),
        )

    @router.post("/exceptions/{exception_id}/end")
    async def end(
        exception_id: str, who: Annotated[Principal, Depends(administers)], key: Key = None
    ) -> dict[str, Any]:
        return await run(
            who,
            f"exceptions/{exception_id}/end",
            key,
            b"",
            lambda conn: exceptions.end(conn, who, exception_id),
        )

    @router.post("/break-glass/{exception_id}/review")
    async def review(
        exception_id: str,
        body: Annotated[Looked, Body()],
        who: Annotated[Principal, Depends(reviews)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await run(
            who,
            f"break-glass/{exception_id}/review",
            key,
            _bytes(body),
            lambda conn: exceptions.review(conn, who, exception_id, body.finding),
        )

    return router


def _for_oneself_or_as_administrator(who: Principal, worker: str) -> None:
    if worker != who.worker and not who.may("access:admin"):
        raise Problem(
            403, "only_for_oneself", "Ask for your own access, or have an administrator ask."
        )


def _bytes(body: BaseModel) -> bytes:
    return body.model_dump_json().encode()


def shown(exception: AccessException) -> dict[str, Any]:
    """An exception as the API answers it."""
    answer: dict[str, Any] = orjson.loads(to_json(exception))
    return answer
