"""Work over HTTP, under `/access/v1/work`: operations and chores, in one list and by one word."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel, Field

from services.provisioning.api.paging import Key, Limit, cursor_of, cursor_parts
from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.handlers.commands import (
    Evidence,
    OperationCommands,
    Said,
)
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.chores import ChoreMove
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.operations import REMOVES, Transition
from services.provisioning.store import chores as chores_store
from services.provisioning.store import views
from shared.auth import Authenticator, Principal
from shared.contracts.state import ChoreKind, Grade
from shared.errors import Problem
from shared.postgres import Connection


class Done(BaseModel):
    """That an operation was carried out at the portal, and what shows it."""

    evidence: Evidence
    login_id: str | None = Field(default=None, max_length=200)


class Reason(BaseModel):
    """Why an operation was not carried out; never why somebody left or is away."""

    reason: str = Field(min_length=1, max_length=500)


class Portals:
    """What the directory in force says about portals, for showing."""

    def __init__(self, compiled: CompiledDirectory | None) -> None:
        self._compiled = compiled

    def name(self, portal: str) -> str:
        """The portal's name, or its id while the directory lacks it."""
        known = self._compiled.portals.get(portal) if self._compiled else None
        return known.name if known else portal

    def url(self, portal: str) -> str | None:
        """Where the portal is."""
        known = self._compiled.portals.get(portal) if self._compiled else None
        return known.url if known else None

    def connector(self, portal: str) -> str:
        """How operations there are fulfilled."""
        known = self._compiled.portals.get(portal) if self._compiled else None
        return known.connector if known else "manual"

    def administrator(self, portal: str, as_of: datetime, besides: set[str]) -> str | None:
        """Who sees to the portal's work now, by the directory, other than these workers."""
        return self._compiled.administrator(portal, as_of, besides) if self._compiled else None


def work_item(row: Any, portals: Portals, now: datetime) -> dict[str, Any]:
    """An operation as people and the command line see it."""
    steps = []
    for index, step in enumerate(row["steps"]):
        done = row["steps_done"].get(str(index), {})
        steps.append(
            {
                "index": index,
                "actor": step["actor"],
                "text": step["text"],
                "done_at": done.get("done_at"),
                "done_by": done.get("done_by"),
            }
        )
    functions = [function for _, function in row["rights"]]
    if row["function"] and not functions:
        functions = [row["function"]]
    return {
        "operation_id": row["operation_id"],
        "kind": row["kind"],
        "worker": row["worker"],
        "worker_name": row["worker_name"],
        "portal": row["portal"],
        "portal_name": portals.name(row["portal"]),
        "portal_url": portals.url(row["portal"]),
        "connector": portals.connector(row["portal"]),
        "tin": row["tin"],
        "function": row["function"],
        "functions": sorted(set(functions)),
        "rights": row["rights"],
        "status": row["status"],
        "generation": row["generation"],
        "reason": {"rule": row["rule"], "events": list(row["events"])},
        "authorized_by": row["authorized_by"],
        "requested_at": row["requested_at"],
        "deadline": row["deadline"],
        "overdue": row["ended_at"] is None and row["deadline"] <= (row["paused_since"] or now),
        "paused_since": row["paused_since"],
        "urgent": row["kind"] in {kind.value for kind in REMOVES},
        "claimed_by": row["claimed_by"],
        "steps": steps,
        "evidence": row["evidence"],
        "outcome": row["outcome"],
        "ended_at": row["ended_at"],
    }


async def all_work(
    conn: Connection,
    organization: str,
    *,
    ended: bool,
    portal: str | None,
    worker: str | None,
    after: Sequence[Any] | None,
    limit: int,
    overdue: datetime | None = None,
) -> list[Any]:
    """One page of everything people have to do, operations and chores.

    What is open comes by deadline and harm, what ended the latest first.
    """
    asked: dict[str, Any] = {
        "ended": ended,
        "portal": portal,
        "worker": worker,
        "overdue": overdue,
        "after": after,
        "limit": limit,
    }
    rows = await views.work(conn, organization, **asked)
    rows += await chores_store.work(conn, organization, **asked)
    rows.sort(key=lambda row: _position(row, ended=ended), reverse=ended)
    return rows[:limit]


def _position(row: Any, *, ended: bool) -> tuple[Any, ...]:
    if ended:
        return (row["ended_at"], row["operation_id"])
    return (row["deadline"], row["rank"], row["operation_id"])


def _chore_move(transition: Transition) -> ChoreMove:
    """What a word about work means for a chore, which is not tried again by itself."""
    said = ChoreMove.DECLINE if transition is Transition.FAIL else transition.value
    return ChoreMove(said)


def work_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    recompute: Recompute,
    operations: OperationCommands,
    chores: ChoreCommands,
) -> APIRouter:
    """What people have to do, and their word for it."""
    router = APIRouter(prefix="/access/v1", tags=["access"])
    works = authenticator.requires("work:do", "access:admin")
    sees_work = authenticator.requires("work:do", "access:read", "access:admin")

    async def compiled_for(conn: Connection, who: Principal) -> CompiledDirectory | None:
        return await recompute.directories.of(conn, who.organization)

    @router.get("/work")
    async def work(
        who: Annotated[Principal, Depends(sees_work)],
        status: Annotated[str, Query(pattern="^(open|ended)$")] = "open",
        portal: str | None = None,
        worker: str | None = None,
        overdue: bool = False,
        cursor: str | None = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        ended = status == "ended"
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            now = await recompute.clock.now(conn)
            portals = Portals(await compiled_for(conn, who))
            rows = await all_work(
                conn,
                who.organization,
                ended=ended,
                portal=portal,
                worker=worker,
                overdue=now if overdue else None,
                after=[datetime.fromisoformat(after[0]), *after[1:]] if after else None,
                limit=limit,
            )
        last = rows[-1] if len(rows) == limit else None
        return {
            "items": [work_item(row, portals, now) for row in rows],
            "next_cursor": cursor_of(*_position(last, ended=ended)) if last else None,
        }

    async def item(conn: Connection, who: Principal, operation_id: str) -> dict[str, Any]:
        try:
            row = await views.operation(
                conn, who.organization, operation_id
            ) or await chores_store.work_item(conn, who.organization, operation_id)
        except asyncpg.DataError as error:
            raise Problem(404, "no_such_operation", "An operation id is a UUID.") from error
        if row is None:
            raise Problem(404, "no_such_operation", "No operation has this id; see the work list.")
        now = await recompute.clock.now(conn)
        answer: dict[str, Any] = orjson.loads(
            orjson.dumps(work_item(row, Portals(await compiled_for(conn, who)), now))
        )
        return answer

    @router.get("/work/{operation_id}")
    async def one_item(
        operation_id: str, who: Annotated[Principal, Depends(sees_work)]
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            return await item(conn, who, operation_id)

    async def say(
        who: Principal,
        operation_id: str,
        transition: Transition,
        key: str | None,
        *,
        evidence: Evidence | None = None,
        login_id: str | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        said = Said(
            operation_id,
            transition,
            who.worker or who.subject,
            Grade.PERSON,
            evidence,
            login_id,
            reason,
        )

        async def do(conn: Connection) -> dict[str, Any]:
            if (await item(conn, who, operation_id))["kind"] in set(ChoreKind):
                word = ChoreWord(_chore_move(transition), said.by, evidence, reason)
                await chores.say(conn, who.organization, operation_id, word)
            else:
                await operations.say(conn, who.organization, [said])
            return await item(conn, who, operation_id)

        body = orjson.dumps([evidence.model_dump() if evidence else None, login_id, reason])
        return await operations.command(
            who, f"work/{operation_id}/{transition.value}", key, body, do
        )

    @router.post("/work/{operation_id}/claim")
    async def claim(
        operation_id: str, who: Annotated[Principal, Depends(works)], key: Key = None
    ) -> dict[str, Any]:
        return await say(who, operation_id, Transition.CLAIM, key)

    @router.post("/work/{operation_id}/release")
    async def release(
        operation_id: str, who: Annotated[Principal, Depends(works)], key: Key = None
    ) -> dict[str, Any]:
        return await say(who, operation_id, Transition.RELEASE, key)

    @router.post("/work/{operation_id}/steps/{index}")
    async def step(
        operation_id: str,
        index: int,
        who: Annotated[Principal, Depends(works)],
        key: Key = None,
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            await operations.take_step(
                conn, who.organization, operation_id, index, who.worker or who.subject
            )
            return await item(conn, who, operation_id)

        return await operations.command(who, f"work/{operation_id}/steps/{index}", key, b"", do)

    @router.post("/work/{operation_id}/done")
    async def done(
        operation_id: str,
        body: Annotated[Done, Body()],
        who: Annotated[Principal, Depends(works)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await say(
            who,
            operation_id,
            Transition.DONE,
            key,
            evidence=body.evidence,
            login_id=body.login_id,
        )

    @router.post("/work/{operation_id}/decline")
    async def decline(
        operation_id: str,
        body: Annotated[Reason, Body()],
        who: Annotated[Principal, Depends(works)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await say(who, operation_id, Transition.DECLINE, key, reason=body.reason)

    @router.post("/work/{operation_id}/fail")
    async def fail(
        operation_id: str,
        body: Annotated[Reason, Body()],
        who: Annotated[Principal, Depends(works)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await say(who, operation_id, Transition.FAIL, key, reason=body.reason)

    return router
