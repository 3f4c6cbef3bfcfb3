"""Chores over HTTP: work for people that changes nobody's access."""

from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import APIRouter, Body, Depends, Query
from pydantic import AwareDatetime, BaseModel, Field

from services.provisioning.api.paging import MAX_PAGE, Key, Limit
from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.rules.chores import ChoreMove
from services.provisioning.store import chores as chores_store
from shared.auth import Authenticator, Principal
from shared.contracts.access.evidence import Evidence
from shared.errors import Problem
from shared.postgres import Connection


class ActivityLogWish(BaseModel):
    """Whose doings on which portal, from when until when."""

    portal: str = Field(min_length=1, max_length=63)
    worker: str = Field(min_length=1, max_length=200)
    since: AwareDatetime
    until: AwareDatetime


class ChoreDoneWith(BaseModel):
    """What shows that a chore was done."""

    evidence: Evidence


class ChoreRefusal(BaseModel):
    """Why a chore will not be done."""

    reason: str = Field(min_length=1, max_length=500)


def chores_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    operations: OperationCommands,
    chores: ChoreCommands,
) -> APIRouter:
    """The routes under `/access/v1/chores`."""
    router = APIRouter(prefix="/access/v1", tags=["chores"])
    sees = authenticator.requires("access:read", "access:admin", "work:do")
    asks = authenticator.requires("access:admin", "audit:read")
    works = authenticator.requires("work:do", "access:admin")

    async def shown(conn: Connection, who: Principal, chore_id: str) -> dict[str, Any]:
        try:
            row = await chores_store.find_chore(conn, who.organization, chore_id)
        except asyncpg.DataError:
            row = None
        if row is None:
            raise Problem(404, "no_such_chore", "No chore has this id; see the list of chores.")
        answer: dict[str, Any] = orjson.loads(orjson.dumps(dict(row), option=orjson.OPT_UTC_Z))
        return answer

    @router.get("/chores")
    async def listed(
        who: Annotated[Principal, Depends(sees)],
        status: Annotated[str, Query(pattern="^(open|ended)$")] = "open",
        portal: str | None = None,
        worker: str | None = None,
        limit: Limit = MAX_PAGE,
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await chores_store.chores(
                conn,
                who.organization,
                ended=status == "ended",
                portal=portal,
                worker=worker,
                limit=limit,
            )
        return {"chores": [dict(row) for row in rows]}

    @router.get("/chores/{chore_id}")
    async def one(chore_id: str, who: Annotated[Principal, Depends(sees)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            return await shown(conn, who, chore_id)

    @router.post("/chores/activity-log")
    async def activity_log(
        body: Annotated[ActivityLogWish, Body()],
        who: Annotated[Principal, Depends(asks)],
        key: Key = None,
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            chore = await chores.request_activity_log(
                conn,
                who,
                portal=body.portal,
                worker=body.worker,
                since=body.since,
                until=body.until,
            )
            return await shown(conn, who, chore.chore_id)

        return await operations.command(
            who, "chores/activity-log", key, body.model_dump_json().encode(), do
        )

    async def say(
        who: Principal, chore_id: str, key: str | None, word: ChoreWord
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            await chores.say(conn, who.organization, chore_id, word)
            return await shown(conn, who, chore_id)

        body = orjson.dumps([word.evidence.model_dump() if word.evidence else None, word.reason])
        return await operations.command(who, f"chores/{chore_id}/{word.move}", key, body, do)

    @router.post("/chores/{chore_id}/claim")
    async def claim(
        chore_id: str, who: Annotated[Principal, Depends(works)], key: Key = None
    ) -> dict[str, Any]:
        return await say(who, chore_id, key, ChoreWord(ChoreMove.CLAIM, _actor(who)))

    @router.post("/chores/{chore_id}/release")
    async def release(
        chore_id: str, who: Annotated[Principal, Depends(works)], key: Key = None
    ) -> dict[str, Any]:
        return await say(who, chore_id, key, ChoreWord(ChoreMove.RELEASE, _actor(who)))

    @router.post("/chores/{chore_id}/done")
    async def done(
        chore_id: str,
        body: Annotated[ChoreDoneWith, Body()],
        who: Annotated[Principal, Depends(works)],
        key: Key = None,
    ) -> dict[str, Any]:
        word = ChoreWord(ChoreMove.DONE, _actor(who), evidence=body.evidence)
        return await say(who, chore_id, key, word)

    @router.post("/chores/{chore_id}/decline")
    async def decline(
        chore_id: str,
        body: Annotated[ChoreRefusal, Body()],
        who: Annotated[Principal, Depends(works)],
        key: Key = None,
    ) -> dict[str, Any]:
        word = ChoreWord(ChoreMove.DECLINE, _actor(who), reason=body.reason)
        return await say(who, chore_id, key, word)

    return router


def _actor(who: Principal) -> str:
    return who.worker or who.subject
