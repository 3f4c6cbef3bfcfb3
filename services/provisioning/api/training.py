"""Who still has to be trained before they may use something, and who signs that off."""

from datetime import datetime
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Depends

from services.provisioning.api.paging import MAX_PAGE, Limit, cursor_of, cursor_parts
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.store import listed as listed_store
from shared.auth import Authenticator, Principal


def training_router(
    pool: "asyncpg.Pool[Any]", authenticator: Authenticator, recompute: Recompute
) -> APIRouter:
    """The routes under `/access/v1/training`."""
    router = APIRouter(prefix="/access/v1/training", tags=["training"])
    reads = authenticator.requires("access:read", "access:admin", "hr:enter")
    everybody = authenticator.requires("directory:read", "access:read", "access:admin")

    async def due(
        who: Principal, worker: str | None, limit: int, cursor: str | None = None
    ) -> dict[str, Any]:
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            now = await recompute.clock.now(conn)
            rows = await listed_store.training_due(
                conn,
                who.organization,
                worker=worker,
                after=(datetime.fromisoformat(after[0]), after[1]) if after else None,
                limit=limit,
            )
            found = await recompute.directories.current(conn, {who.organization})
        modules = {}
        if who.organization in found:
            modules = {m.id: m for m in found[who.organization].directory.training_modules}
        return {
            "as_of": now,
            "due": [
                {
                    **{name: value for name, value in row.items() if name != "first_due_at"},
                    "late": row["due_at"] < now,
                    "name": modules[row["module"]].name if row["module"] in modules else None,
                    "owner": modules[row["module"]].owner if row["module"] in modules else None,
                    "version": modules[row["module"]].version if row["module"] in modules else "1",
                    "link": modules[row["module"]].link if row["module"] in modules else None,
                }
                for row in rows
            ],
            "next_cursor": (
                cursor_of(rows[-1]["first_due_at"], rows[-1]["worker"])
                if len({row["worker"] for row in rows}) == limit
                else None
            ),
        }

    @router.get("")
    async def everybodys(
        who: Annotated[Principal, Depends(reads)],
        worker: str | None = None,
        cursor: str | None = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        return await due(who, worker, limit, cursor)

    @router.get("/own")
    async def own(who: Annotated[Principal, Depends(everybody)]) -> dict[str, Any]:
        if who.worker is None:
            return {"as_of": None, "due": [], "next_cursor": None}
        return await due(who, who.worker, MAX_PAGE)

    return router
