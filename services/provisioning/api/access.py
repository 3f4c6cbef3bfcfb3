"""Provisioning over HTTP, under `/access/v1`: questions and work."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel, Field

from services.provisioning.api.paging import MAX_PAGE, Key, Limit, cursor_of, cursor_parts
from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.handlers.commands import (
    Evidence,
    OperationCommands,
    Said,
)
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.chores import ChoreMove
from services.provisioning.rules.desired import CompiledDirectory
from services.provisioning.rules.guards import without_administrator
from services.provisioning.rules.operations import REMOVES, Transition
from services.provisioning.rules.timeline import TimelineEvent, in_force
from services.provisioning.store import chores as chores_store
from services.provisioning.store import directories as directories_store
from services.provisioning.store import views
from services.provisioning.store import workers as workers_store
from shared.auth import Authenticator, Principal
from shared.contracts.state import ChoreKind, Grade
from shared.errors import Problem
from shared.postgres import Connection

REMOVALS_WINDOW_DAYS = 365
LAPSES_AHEAD_DAYS = 7


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
        "overdue": row["ended_at"] is None and row["deadline"] <= now,
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
    overdue: bool | None,
    after: tuple[datetime, int, str] | None,
    limit: int,
    now: datetime,
) -> list[Any]:
    """One page of everything people have to do, operations and chores, by deadline and harm."""
    asked: dict[str, Any] = {
        "ended": ended,
        "portal": portal,
        "worker": worker,
        "overdue": overdue,
        "after": after,
        "limit": limit,
    }
    rows = await views.work(conn, organization, **asked)
    rows += await chores_store.work(conn, organization, **asked, now=now)
    rows.sort(key=lambda row: (row["deadline"], row["rank"], row["operation_id"]))
    return rows[:limit]


def _chore_move(transition: Transition) -> ChoreMove:
    """What a word about work means for a chore, which is not tried again by itself."""
    said = ChoreMove.DECLINE if transition is Transition.FAIL else transition.value
    return ChoreMove(said)


def _worker_line(state: Mapping[str, Any]) -> dict[str, Any]:
    going_on = [employment for employment in state["employments"] if employment["open"]]
    current = going_on or state["employments"][-1:]
    return {
        "worker": state["worker"],
        "name": state["name"],
        "status": state["status"],
        "title": current[0]["title"] if current else None,
        "duties": state["duties"],
        "sites": sorted({site for employment in current for site in employment["sites"]}),
        "portals": sum(1 for access in state["portals"] if access["effective"]),
        "exposed": sum(1 for access in state["portals"] if access["exposed_since"]),
        "blocked": state["blocked"],
        "findings": len(state["findings"]),
    }


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
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    recompute: Recompute,
    operations: OperationCommands,
    chores: ChoreCommands,
) -> APIRouter:
    """The routes under `/access/v1`."""
    router = APIRouter(prefix="/access/v1", tags=["access"])
    reads = authenticator.requires("access:read", "access:admin")
    works = authenticator.requires("work:do", "access:admin")
    sees_work = authenticator.requires("work:do", "access:read", "access:admin")

    async def compiled_for(conn: Connection, who: Principal) -> CompiledDirectory | None:
        found = await recompute.directories.current(conn, {who.organization})
        return found.get(who.organization)

    @router.get("/overview")
    async def overview(who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            now = await recompute.clock.now(conn)
            compiled = await compiled_for(conn, who)
            portals = Portals(compiled)
            counts = await views.counts(conn, who.organization)
            exposed = await views.exposures(conn, who.organization)
            overdue = await all_work(
                conn,
                who.organization,
                ended=False,
                portal=None,
                worker=None,
                overdue=True,
                after=None,
                limit=MAX_PAGE,
                now=now,
            )
            findings = await views.findings(conn, who.organization)
            removals = await views.removal_times(
                conn, who.organization, now - timedelta(days=REMOVALS_WINDOW_DAYS)
            )
            standings = await directories_store.standings(conn, who.organization)
            left = {
                standing.worker
                for standing in standings
                if standing.leaves_at is not None and standing.leaves_at <= now
            }
            owners = [_owner(row, portals, left, now) for row in exposed]
            names = await views.names(conn, who.organization, [own for own in owners if own])
            open_work = await views.count_open_work(conn, who.organization)
            open_work += await chores_store.count_open(conn, who.organization)
            attention = await views.attention(
                conn,
                who.organization,
                lapses_until=now + timedelta(days=LAPSES_AHEAD_DAYS),
                left_since=now - timedelta(days=REMOVALS_WINDOW_DAYS),
                notice_hours=(
                    compiled.directory.organization.deadlines.notice_hours if compiled else 24
                ),
            )
        directory = compiled.directory if compiled else None
        return {
            "organization": (
                {
                    "id": directory.organization.id,
                    "name": directory.organization.name,
                    "zone": directory.organization.zone,
                }
                if directory
                else None
            ),
            "counts": {
                "workers": counts["workers"],
                "portal_users": counts["portal_users"],
                "events": counts["events"],
                "portals": len(directory.portals) if directory else 0,
                "carriers": len(directory.carriers) if directory else 0,
            },
            "exposures": [
                _exposure(row, portals, owner, names)
                for row, owner in zip(exposed, owners, strict=True)
            ],
            "overdue": [work_item(row, portals, now) for row in overdue],
            "work_open": open_work,
            "attention": dict(attention),
            "portals_without_administrator": [
                {"portal": portal, "name": portals.name(portal)}
                for portal in without_administrator(
                    standings, compiled.portals if compiled else (), now
                )
            ],
            "questions": _questions(findings),
            "findings": [
                {
                    "subject": row["worker"],
                    "name": row["name"],
                    "rule": row["rule"],
                    "detail": row["detail"],
                    "since": row["since"],
                }
                for row in findings
            ],
            "removals": dict(removals),
            "as_of": now,
        }

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
            rows = await views.workers(
                conn,
                who.organization,
                query=query,
                status=status,
                after=str(after[0]) if after else "",
                limit=limit,
            )
        return {
            "workers": [_worker_line(row["state"]) for row in rows],
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
        return {
            "state": state,
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
            rows = await views.matrix(
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
                        for access in row["state"]["portals"]
                        if access["portal"] in wanted
                    },
                }
                for row in rows
            ],
            "next_cursor": cursor_of(rows[-1]["worker"]) if len(rows) == limit else None,
        }

    @router.get("/work")
    async def work(
        who: Annotated[Principal, Depends(sees_work)],
        status: Annotated[str, Query(pattern="^(open|ended)$")] = "open",
        portal: str | None = None,
        worker: str | None = None,
        overdue: bool | None = None,
        cursor: str | None = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        after = cursor_parts(cursor)
        position = None
        if after is not None:
            position = (datetime.fromisoformat(after[0]), int(after[1]), str(after[2]))
        async with pool.acquire() as conn:
            now = await recompute.clock.now(conn)
            portals = Portals(await compiled_for(conn, who))
            rows = await all_work(
                conn,
                who.organization,
                ended=status == "ended",
                portal=portal,
                worker=worker,
                overdue=overdue,
                after=position,
                limit=limit,
                now=now,
            )
        last = rows[-1] if len(rows) == limit else None
        return {
            "items": [work_item(row, portals, now) for row in rows],
            "next_cursor": (
                cursor_of(last["deadline"], last["rank"], last["operation_id"]) if last else None
            ),
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

    @router.get("/findings")
    async def findings(who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await views.findings(conn, who.organization)
        return {
            "findings": [
                {
                    "subject": row["worker"],
                    "name": row["name"],
                    "rule": row["rule"],
                    "detail": row["detail"],
                    "since": row["since"],
                }
                for row in rows
            ]
        }

    @router.get("/sweep")
    async def sweep(_who: Annotated[Principal, Depends(reads)]) -> dict[str, int]:
        async with pool.acquire() as conn:
            return {"behind": await workers_store.count_behind(conn)}

    return router


def _owner(row: Any, portals: Portals, left: set[str], now: datetime) -> str | None:
    """Who sees to an exposure: whoever claimed it or runs the portal, and is not who left."""
    gone = left | {row["worker"]}
    if row["claimed_by"] is not None and row["claimed_by"] not in gone:
        claimed: str = row["claimed_by"]
        return claimed
    return portals.administrator(row["portal"], now, gone)


def _exposure(
    row: Any, portals: Portals, owner: str | None, names: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "worker": row["worker"],
        "name": row["name"],
        "portal": row["portal"],
        "portal_name": portals.name(row["portal"]),
        "since": row["exposed_since"],
        "owner": owner,
        "owner_name": names.get(owner or "", owner),
        "functions": sorted({own["function"] for own in row["rights"]}),
        "operation_id": row["operation_id"],
        "deadline": row["deadline"],
    }


def _questions(findings: Iterable[Any]) -> list[dict[str, Any]]:
    """Titles that nobody has mapped to job duties, with how many workers have them."""
    counted: dict[str, int] = {}
    for row in findings:
        if row["rule"] == "unmapped_title":
            for employment in row["state"]["employments"]:
                if employment["open"] and repr(employment["title"]) in row["detail"]:
                    title = str(employment["title"])
                    counted[title] = counted.get(title, 0) + 1
    return [{"title": title, "workers": number} for title, number in sorted(counted.items())]
