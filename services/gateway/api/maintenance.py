"""Maintenance of the audit log that cannot be undone: who does it says so here first."""

from typing import Annotated, Any, Literal

import asyncpg
from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, Field

from services.gateway.handlers.commands import command
from shared.auth import Authenticator, Principal
from shared.clock import Clock
from shared.postgres import Connection


class Maintenance(BaseModel):
    """What is about to be done where the audit log is installed; `target` is what it is done to."""

    command: Literal["prune", "restore", "rotate_master", "rotate_signing", "succeed"]
    target: str = Field(default="", max_length=200)


def maintenance_router(
    pool: "asyncpg.Pool[Any]", clock: Clock, authenticator: Authenticator
) -> APIRouter:
    """Where whoever maintains the audit log is asked who they are."""
    router = APIRouter(tags=["operations"])
    maintains = authenticator.requires("ops:admin", "audit:admin", fresh=True)

    @router.post("/ops/v1/maintenance")
    async def announce(
        body: Annotated[Maintenance, Body()], who: Annotated[Principal, Depends(maintains)]
    ) -> dict[str, Any]:
        """Record under the caller's name what they are about to do with the roles they hold."""

        async def work(_conn: Connection) -> dict[str, Any]:
            return {"command": body.command, "by": who.subject}

        content = body.model_dump_json().encode()
        return await command(pool, clock, who, f"audit.{body.command}", None, content, work)

    return router
