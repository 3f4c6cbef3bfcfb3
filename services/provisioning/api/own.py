"""What waits for whoever asks: their own steps, and logins and passwords only they may renew."""

from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, Field

from services.provisioning.api.paging import MAX_PAGE, Key
from services.provisioning.api.work import Portals, all_work, work_item
from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.handlers.commands import Evidence, OperationCommands, Said
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.chores import ChoreMove
from services.provisioning.rules.operations import Transition
from shared.auth import Authenticator, Principal
from shared.contracts.directory import OperationKind
from shared.contracts.state import ChoreKind, Grade
from shared.errors import Problem
from shared.postgres import Connection


class SignedIn(BaseModel):
    """That the holder has used their own login, or changed its password."""

    note: str = Field(default="signed in", min_length=1, max_length=200)


def own_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    recompute: Recompute,
    operations: OperationCommands,
    chores: ChoreCommands,
) -> APIRouter:
    """The routes under `/access/v1/own`, for every worker about themselves alone."""
    router = APIRouter(prefix="/access/v1/own", tags=["own"])
    everybody = authenticator.requires("directory:read", "work:do", "access:admin")

    async def items(conn: Connection, who: Principal) -> list[dict[str, Any]]:
        now = await recompute.clock.now(conn)
        portals = Portals(await recompute.directories.of(conn, who.organization))
        rows = await all_work(
            conn,
            who.organization,
            ended=False,
            portal=None,
            worker=_worker(who),
            after=None,
            limit=MAX_PAGE,
        )
        shown = [work_item(row, portals, now) for row in rows]
        return [
            item
            for item in shown
            if any(step["actor"] == "worker" and not step["done_at"] for step in item["steps"])
        ]

    async def one(conn: Connection, who: Principal, operation_id: str) -> dict[str, Any]:
        for item in await items(conn, who):
            if item["operation_id"] == operation_id:
                return item
        raise Problem(404, "not_your_work", "Nothing with this id waits for you.")

    @router.get("/work")
    async def work(who: Annotated[Principal, Depends(everybody)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            return {"items": await items(conn, who)}

    @router.post("/work/{operation_id}/steps/{index}")
    async def step(
        operation_id: str,
        index: int,
        who: Annotated[Principal, Depends(everybody)],
        key: Key = None,
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            item = await one(conn, who, operation_id)
            if not any(
                step["index"] == index and step["actor"] == "worker" for step in item["steps"]
            ):
                raise Problem(403, "not_your_step", "This step is somebody else's.")
            await operations.take_step(conn, who.organization, operation_id, index, _worker(who))
            return {"operation_id": operation_id, "step": index}

        return await operations.command(who, f"own/{operation_id}/{index}", key, b"", do)

    @router.post("/work/{operation_id}/signed-in")
    async def signed_in(
        operation_id: str,
        body: Annotated[SignedIn, Body()],
        who: Annotated[Principal, Depends(everybody)],
        key: Key = None,
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            item = await one(conn, who, operation_id)
            evidence = Evidence(kind="note", text=body.note)
            if item["kind"] == ChoreKind.CHANGE_PASSWORD:
                word = ChoreWord(ChoreMove.DONE, _worker(who), evidence)
                await chores.say(conn, who.organization, operation_id, word)
                return {"operation_id": operation_id, "status": "done"}
            if item["kind"] != OperationKind.KEEP_ALIVE:
                raise Problem(
                    403, "not_yours_to_end", "Take your steps; the administrator ends this work."
                )
            said = Said(
                operation_id,
                Transition.DONE,
                _worker(who),
                Grade.PERSON,
                evidence,
            )
            await operations.say(conn, who.organization, [said])
            return {"operation_id": operation_id, "status": "done"}

        return await operations.command(
            who, f"own/{operation_id}/signed-in", key, orjson.dumps(body.note), do
        )

    return router


def _worker(who: Principal) -> str:
    if who.worker is None:
        raise Problem(403, "no_worker", "This sign-in belongs to no worker HR knows.")
    return who.worker
