"""People and what they have where, over HTTP, under `/access/v1`."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Depends

from services.provisioning.api.paging import Limit, cursor_of, cursor_parts
from services.provisioning.api.work import Portals, work_item
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.timeline import TimelineEvent, in_force
from services.provisioning.store import listed as listed_store
from services.provisioning.store import views
from services.provisioning.store import workers as workers_store
from shared.auth import Authenticator, Principal
from shared.errors import Problem
from shared.postgres import Connection


def cell_state(access: Mapping[str, Any]) -> str:
    """One word for a worker on a portal, the most urgent first."""
    if access["exposed_since"]:
        return "exposed"
    if access["effective"]:
        return "effective"
    if access["operations"]:
        return "requested"
    if access["held"]:
        return "held"
    return "suspended" if access["status"] == "suspended" else "login_only"


def _cell(access: Mapping[str, Any]) -> dict[str, Any]:
    effective = {(own["tin"], own["function"]) for own in access["effective"]}
    desired = {(own["tin"], own["function"]) for own in access["desired"]}
    shown = effective or desired
    return {
        "state": cell_state(access),
        "functions": sorted({function for _, function in shown}),
        "differs": effective != desired,
    }


def with_rescinds(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """HR events with whether something in force withdraws them."""
    events = [
        TimelineEvent(
            row["worker"],
            row["source"],
            row["id"],
            row["fingerprint"],
            row["type"],
            row["time"],
            row["effective_at"],
            row["data"],
            row["entered_by"],
            row["conflicting"],
        )
        for row in rows
    ]
    standing, _ = in_force(events)
    return [
        {
            "id": row["id"],
            "type": row["type"],
            "source": row["source"],
            "worker": row["worker"],
            "time": row["time"],
            "effective_at": row["effective_at"],
            "recorded_at": row["recorded_at"],
            "data": row["data"],
            "lane": row["lane"],
            "entered_by": row["entered_by"],
            "rescinded": number not in standing,
        }
        for number, row in enumerate(rows)
    ]


def access_router(
    pool: "asyncpg.Pool[Any]", authenticator: Authenticator, recompute: Recompute
) -> APIRouter:
    """Workers, and everybody on every portal."""
    router = APIRouter(prefix="/access/v1", tags=["access"])
    reads = authenticator.requires("access:read", "access:admin")

    async def compiled_for(conn: Connection, who: Principal) -> CompiledDirectory | None:
        return await recompute.directories.of(conn, who.organization)

    @router.get("/workers")
    async def workers(
        who: Annotated[Principal, Depends(reads)],
        query: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            rows = await listed_store.workers(
                conn,
                who.organization,
                query=query,
                status=status,
                after=str(after[0]) if after else "",
                limit=limit,
            )
        return {
            "workers": [dict(row) for row in rows],
            "next_cursor": cursor_of(rows[-1]["worker"]) if len(rows) == limit else None,
        }

    @router.get("/workers/{worker:path}")
    async def worker(worker: str, who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            state = await views.worker_state(conn, who.organization, worker)
            if state is None:
                raise Problem(404, "no_such_worker", f"HR has sent nothing about {worker}.")
            now = await recompute.clock.now(conn)
            portals = Portals(await compiled_for(conn, who))
            ids = [worker, *state["aliases"]]
            events = await views.worker_events(conn, who.organization, ids)
            history = await views.worker_operations(conn, who.organization, ids)
            asked = {each["supervisor"] for each in state["employments"] if each["supervisor"]}
            supervisors = await views.names(conn, who.organization, sorted(asked))
        return {
            "state": state,
            "supervisors": supervisors,
            "events": with_rescinds(events),
            "operations": [work_item(row, portals, now) for row in history],
        }

    @router.get("/matrix")
    async def matrix(
        who: Annotated[Principal, Depends(reads)],
        site: str | None = None,
        duty: str | None = None,
        carrier: str | None = None,
        cursor: str | None = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            compiled = await compiled_for(conn, who)
            rows = await listed_store.on_portals(
                conn,
                who.organization,
                site=site,
                duty=duty,
                after=str(after[0]) if after else "",
                limit=limit,
            )
        shown = [
            portal
            for portal in (compiled.directory.portals if compiled else ())
            if carrier is None or any(reach.carrier == carrier for reach in portal.reaches)
        ]
        wanted = {portal.id for portal in shown}
        return {
            "portals": [
                {"portal": portal.id, "name": portal.name, "kind": portal.kind} for portal in shown
            ],
            "rows": [
                {
                    "worker": row["worker"],
                    "name": row["name"],
                    "cells": {
                        access["portal"]: _cell(access)
                        for access in row["portals"]
                        if access["portal"] in wanted
                    },
                }
                for row in rows
            ],
            "next_cursor": cursor_of(rows[-1]["worker"]) if len(rows) == limit else None,
        }

    @router.get("/sweep")
    async def sweep(_who: Annotated[Principal, Depends(reads)]) -> dict[str, int]:
        async with pool.acquire() as conn:
            return {"behind": await workers_store.count_behind(conn)}

    return router
