"""Departures over HTTP: the sheet of what is left to do, notices to portals, receipts for HR."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import asyncpg
import orjson
from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel, Field

from services.provisioning.api.paging import Key, Limit, cursor_of, cursor_parts
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.recompute import Recompute, access_fact
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.leavers import (
    Notice,
    PortalAfterDeparture,
    draft_notice,
    receipt,
    sheet,
)
from services.provisioning.store import leavers as leavers_store
from services.provisioning.store import views
from services.provisioning.store import workers as workers_store
from shared.auth import Authenticator, Principal
from shared.contracts.access.portals import NoticeSent
from shared.contracts.facts import to_json
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection


class Sent(BaseModel):
    """That a portal was told. `proof`: a message id, a case number, or whom one spoke to."""

    portal: str = Field(min_length=1, max_length=63)
    channel: Literal["email", "phone", "portal", "letter"]
    proof: str = Field(min_length=1, max_length=500)


def leavers_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    recompute: Recompute,
    operations: OperationCommands,
) -> APIRouter:
    """The routes under `/access/v1/leavers`."""
    router = APIRouter(prefix="/access/v1/leavers", tags=["leavers"])
    reads = authenticator.requires("access:read", "access:admin")
    receives = authenticator.requires("hr:enter", "access:read", "access:admin")
    works = authenticator.requires("work:do", "access:admin")

    async def compiled_for(conn: Connection, who: Principal) -> CompiledDirectory:
        found = await recompute.directories.current(conn, {who.organization})
        if who.organization not in found:
            raise Problem(404, "no_directory", "Apply one: portalkeeper directory apply FILE.")
        return found[who.organization]

    async def sheet_of(
        conn: Connection, who: Principal, worker: str, compiled: CompiledDirectory
    ) -> tuple[Any, datetime, list[PortalAfterDeparture]]:
        state = await views.worker_state(conn, who.organization, worker)
        if state is None:
            raise Problem(404, "no_such_worker", f"HR has sent nothing about {worker}.")
        left_at = _left_at(state)
        if left_at is None:
            raise Problem(409, "works_here", f"{worker} has not left.")
        ids = [worker, *state["aliases"]]
        rows = await views.worker_operations(conn, who.organization, ids)
        told = await leavers_store.notices(conn, who.organization, worker)
        portals = sheet(
            rows,
            told,
            [access["portal"] for access in state["portals"] if access["exposed_since"]],
            {access["portal"]: access["grade"] for access in state["portals"]},
            left_at=left_at,
            notice_hours=compiled.directory.organization.deadlines.notice_hours,
        )
        return state, left_at, portals

    @router.get("")
    async def listed(
        who: Annotated[Principal, Depends(reads)],
        days: Annotated[int, Query(ge=1, le=3660)] = 90,
        cursor: str | None = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            compiled = await compiled_for(conn, who)
            now = await recompute.clock.now(conn)
            hours = compiled.directory.organization.deadlines.notice_hours
            rows = await leavers_store.departures(
                conn,
                who.organization,
                now - timedelta(days=days),
                hours,
                after=(datetime.fromisoformat(after[0]), after[1]) if after else None,
                limit=limit,
            )
        last = rows[-1] if len(rows) == limit else None
        return {
            "as_of": now,
            "leavers": [dict(row) for row in rows],
            "next_cursor": cursor_of(last["last_ordered_at"], last["worker"]) if last else None,
        }

    @router.get("/{worker}")
    async def one(worker: str, who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            compiled = await compiled_for(conn, who)
            state, left_at, portals = await sheet_of(conn, who, worker, compiled)
            now = await recompute.clock.now(conn)
        last_day = (left_at - timedelta(seconds=1)).astimezone(compiled.zone).date().isoformat()
        logins = {access["portal"]: access["login_id"] for access in state["portals"]}
        return {
            "worker": worker,
            "name": state["name"],
            "left_at": left_at,
            "as_of": now,
            "reachable": sum(one.reachable for one in portals),
            "portals": [
                {
                    **orjson.loads(to_json(one)),
                    "name": compiled.portal(one.portal).name,
                    "notices_to": compiled.portal(one.portal).notices_to,
                    "notice_overdue": one.notice is None and one.notice_due_at < now,
                    "draft": draft_notice(
                        compiled.portal(one.portal),
                        organization=compiled.directory.organization.name,
                        name=state["name"] or worker,
                        login_id=logins.get(one.portal),
                        last_day=last_day,
                    ),
                }
                for one in portals
            ],
        }

    @router.get("/{worker}/receipt")
    async def receipt_of(
        worker: str, who: Annotated[Principal, Depends(receives)]
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            compiled = await compiled_for(conn, who)
            state, left_at, portals = await sheet_of(conn, who, worker, compiled)
        names = {one.portal: compiled.portal(one.portal).name for one in portals}
        removed = [one.removed_at for one in portals if one.removed_at is not None]
        return {
            "worker": worker,
            "name": state["name"],
            "left_at": left_at,
            "complete": len(removed) == len(portals),
            "removed": len(removed),
            "of": len(portals),
            "last_removed_at": max(removed, default=None),
            "lines": receipt(portals, names, compiled.zone),
        }

    @router.post("/{worker}/notices")
    async def told(
        worker: str,
        body: Annotated[Sent, Body()],
        who: Annotated[Principal, Depends(works)],
        key: Key = None,
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            await workers_store.lock_workers(conn, [(who.organization, worker)])
            compiled = await compiled_for(conn, who)
            _, left_at, portals = await sheet_of(conn, who, worker, compiled)
            if body.portal not in {one.portal for one in portals}:
                raise Problem(404, "not_on_the_sheet", f"{worker} had nothing on {body.portal}.")
            now = await recompute.clock.now(conn)
            by = who.worker or who.subject
            notice = Notice(worker, body.portal, left_at, body.channel, body.proof, by, now)
            if not await leavers_store.save_notice(conn, who.organization, notice):
                raise Problem(409, "told_already", "The portal was told of this departure before.")
            said = NoticeSent(worker, body.portal, left_at, body.channel, body.proof, by, now)
            cause = (worker, body.portal, str(left_at))
            await enqueue(
                conn,
                [access_fact("notice.sent", who.organization, worker, cause, now, said)],
                held=True,
            )
            return {"worker": worker, "portal": body.portal, "sent_at": now.isoformat()}

        return await operations.command(
            who, f"leavers/{worker}/notices", key, body.model_dump_json().encode(), do
        )

    return router


def _left_at(state: Any) -> datetime | None:
    """When the last employment ended; None for somebody who works here."""
    if any(employment["open"] for employment in state["employments"]):
        return None
    ended = [employment["ends_at"] for employment in state["employments"] if employment["ends_at"]]
    return datetime.fromisoformat(max(ended)) if ended else None
