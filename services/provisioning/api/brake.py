"""What the brake holds, over HTTP."""

from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel, Field

from services.provisioning.api.paging import MAX_PAGE, Key
from services.provisioning.handlers.brake import BrakeHandler
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.rules.brake import CauseMove
from services.provisioning.store import brake as brake_store
from shared.auth import Authenticator, Principal
from shared.errors import Problem
from shared.postgres import Connection


class Decision(BaseModel):
    """Why held removals may go on, or why the access stays."""

    reason: str = Field(min_length=3, max_length=500)


def brake_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    operations: OperationCommands,
    brake: BrakeHandler,
) -> APIRouter:
    """The routes under `/access/v1/brake`."""
    router = APIRouter(prefix="/access/v1/brake", tags=["brake"])
    reads = authenticator.requires("access:read", "access:admin")
    administers = authenticator.requires("access:admin")
    releases = authenticator.requires("access:admin", fresh=True)

    @router.get("")
    async def causes(
        who: Annotated[Principal, Depends(reads)],
        status: Annotated[str, Query(pattern="^(waiting|all)$")] = "waiting",
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await brake_store.causes(conn, who.organization, waiting=status == "waiting")
        return {"causes": [dict(row) for row in rows]}

    @router.get("/{cause_id}")
    async def cause(cause_id: str, who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            row = await brake_store.cause(conn, who.organization, cause_id)
            if row is None:
                raise Problem(404, "no_such_cause", "No cause has this id; see brake list.")
            waiting = await brake_store.parked_by(conn, who.organization, cause_id, MAX_PAGE)
        return {**dict(row), "removals": [dict(one) for one in waiting]}

    async def decide(
        who: Principal, cause_id: str, move: CauseMove, body: Decision, key: str | None
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            return await brake.decide(conn, who, cause_id, move, body.reason)

        return await operations.command(
            who, f"brake/{cause_id}/{move.value}", key, body.model_dump_json().encode(), do
        )

    @router.post("/{cause_id}/release")
    async def release(
        cause_id: str,
        body: Annotated[Decision, Body()],
        who: Annotated[Principal, Depends(releases)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await decide(who, cause_id, CauseMove.RELEASE, body, key)

    @router.post("/{cause_id}/reject")
    async def reject(
        cause_id: str,
        body: Annotated[Decision, Body()],
        who: Annotated[Principal, Depends(administers)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await decide(who, cause_id, CauseMove.REJECT, body, key)

    return router
