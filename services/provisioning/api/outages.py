"""Outages, incidents, the clocks of logins, and each worker's own work, over HTTP."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel, Field

from services.provisioning.api.paging import Key, Limit, cursor_of, cursor_parts
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.outages import OutageCommands
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.outages import Trouble
from services.provisioning.store import outages as outages_store
from shared.auth import Authenticator, Principal
from shared.contracts.directory import OperationKind, Portal, RuleName
from shared.postgres import Connection

FORECAST_DAYS = 60
LAPSES_COUNTED = 10_000
"""So many logins are counted by week, those that lapse the soonest."""


class Report(BaseModel):
    """What is wrong, in a few words; never a password, and nothing about a patient."""

    portal: str = Field(min_length=1, max_length=63)
    kind: Trouble
    note: str = Field(min_length=1, max_length=500)


def outages_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    recompute: Recompute,
    operations: OperationCommands,
    outages: OutageCommands,
) -> APIRouter:
    """The routes about portals that do not work and logins that are about to lapse."""
    router = APIRouter(prefix="/access/v1", tags=["portals"])
    reads = authenticator.requires("access:read", "access:admin")
    looks_up = authenticator.requires("directory:read", "access:read", "access:admin")
    administers = authenticator.requires("access:admin")

    async def run(
        who: Principal,
        route: str,
        key: str | None,
        body: bytes,
        work: Callable[[Connection], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        return await operations.command(who, route, key, body, work)

    async def compiled_for(conn: Connection, who: Principal) -> CompiledDirectory | None:
        return await recompute.directories.of(conn, who.organization)

    @router.get("/outages")
    async def listed(
        who: Annotated[Principal, Depends(looks_up)],
        status: Annotated[str, Query(pattern="^(open|all)$")] = "open",
        limit: Limit = 50,
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await outages_store.outages(
                conn, who.organization, open_only=status == "open", limit=limit
            )
            compiled = await compiled_for(conn, who)
        portals = compiled.portals if compiled else {}
        return {
            "outages": [{**dict(row), **_meanwhile(portals.get(row["portal"]))} for row in rows]
        }

    @router.post("/outages")
    async def begin(
        body: Annotated[Report, Body()],
        who: Annotated[Principal, Depends(administers)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await run(
            who,
            "outages",
            key,
            body.model_dump_json().encode(),
            lambda conn: outages.begin(conn, who, body.portal, body.kind, body.note),
        )

    @router.post("/outages/{outage_id}/end")
    async def end(
        outage_id: str, who: Annotated[Principal, Depends(administers)], key: Key = None
    ) -> dict[str, Any]:
        return await run(
            who,
            f"outages/{outage_id}/end",
            key,
            b"",
            lambda conn: outages.end(conn, who, outage_id),
        )

    @router.get("/incidents")
    async def reported(
        who: Annotated[Principal, Depends(reads)], portal: str | None = None, limit: Limit = 50
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await outages_store.incidents(conn, who.organization, portal=portal, limit=limit)
        return {"incidents": [dict(row) for row in rows]}

    @router.post("/incidents")
    async def report(
        body: Annotated[Report, Body()],
        who: Annotated[Principal, Depends(looks_up)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await run(
            who,
            "incidents",
            key,
            body.model_dump_json().encode(),
            lambda conn: outages.report(conn, who, body.portal, body.kind, body.note),
        )

    @router.get("/clocks")
    async def clocks(
        who: Annotated[Principal, Depends(reads)],
        days: Annotated[int, Query(ge=1, le=365)] = FORECAST_DAYS,
        cursor: str | None = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """`by_week` counts whole weeks from now; -1 is what has lapsed already."""
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            now = await recompute.clock.now(conn)
            until = now + timedelta(days=days)
            rows = await outages_store.lapsing(
                conn,
                who.organization,
                until,
                after=[datetime.fromisoformat(after[0]), *after[1:]] if after else None,
                limit=limit,
            )
            weeks = await outages_store.lapses_by_week(
                conn, who.organization, now, until, LAPSES_COUNTED
            )
            compiled = await compiled_for(conn, who)
        portals = compiled.portals if compiled else {}
        day = now.astimezone(compiled.zone).date() if compiled else now.date()
        return {
            "as_of": now,
            "days": days,
            "lapses": [
                {
                    **dict(row),
                    "lapsed": row["lapses_at"] <= now,
                    **_cost(portals.get(row["portal"]), row["last_login_at"], day),
                }
                for row in rows
            ],
            "by_week": [
                {
                    **dict(each),
                    "portal_name": (
                        portals[each["portal"]].name if each["portal"] in portals else None
                    ),
                }
                for each in weeks
            ],
            "counted_up_to": LAPSES_COUNTED,
            "next_cursor": (
                cursor_of(rows[-1]["lapses_at"], rows[-1]["worker"], rows[-1]["portal"])
                if len(rows) == limit
                else None
            ),
        }

    return router


def _meanwhile(portal: Portal | None) -> dict[str, Any]:
    """What to do while a portal does not work, where somebody has written it down."""
    return {
        "portal_name": portal.name if portal else None,
        "downtime": portal.downtime.model_dump() if portal and portal.downtime else None,
        "support": portal.support if portal else None,
    }


def _cost(portal: Portal | None, last_login_at: datetime | None, day: date) -> dict[str, Any]:
    """What a lapse costs at the portal: work to bring the login back, or a new registration."""
    if portal is None:
        return {"portal_name": None, "deleted_after_days": None, "hours_to_return": None}
    steps = portal.steps.get(OperationKind.RESUME, ())
    return {
        "portal_name": portal.name,
        "deleted_after_days": portal.number(RuleName.DELETES_AFTER_DAYS, day),
        "hours_to_return": sum(step.hours or 0 for step in steps) or None,
    }
