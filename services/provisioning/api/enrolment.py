"""The organization's own enrolments over HTTP: phases, checklists, the document pack."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, Field

from services.provisioning.api.paging import Key
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.enrolment import EnrolmentCommands
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.enrolment import (
    CHECKLISTS,
    PHASE_LIFE,
    PHASES,
    Phase,
    PhaseMove,
    PhaseState,
    PhaseStatus,
    begin_enrolment,
    documents_of,
    expiring,
    particulars,
)
from services.provisioning.store import enrolment as enrolment_store
from shared.auth import Authenticator, Principal
from shared.contracts.directory import Enrolment, EnrolmentDocument
from shared.errors import Problem
from shared.postgres import Connection


class Moving(BaseModel):
    """What goes with a move: the day of the portal's confirmation, and a note."""

    on: date | None = None
    note: str | None = Field(default=None, max_length=500)


class Ticking(BaseModel):
    """Whether an item of the checklist is done."""

    done: bool = True


class Owning(BaseModel):
    """Who sees a phase through; nobody in particular, if none is given."""

    owner: str | None = Field(default=None, max_length=200)


def enrolment_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    recompute: Recompute,
    operations: OperationCommands,
    enrolments: EnrolmentCommands,
) -> APIRouter:
    """The routes under `/access/v1/enrolments`."""
    router = APIRouter(prefix="/access/v1", tags=["enrolments"])
    looks_up = authenticator.requires("directory:read", "access:read", "access:admin")
    administers = authenticator.requires("access:admin")
    works = authenticator.requires("work:do", "access:admin")

    async def everything(conn: Connection, who: Principal) -> dict[str, Any]:
        compiled = await recompute.directories.of(conn, who.organization)
        if compiled is None:
            raise Problem(404, "no_directory", "Apply one: portalkeeper directory apply FILE.")
        now = await recompute.clock.now(conn)
        known: dict[str, list[PhaseState]] = {}
        for state in await enrolment_store.phases(conn, who.organization):
            known.setdefault(state.enrolment, []).append(state)
        directory = compiled.directory
        today = now.astimezone(compiled.zone).date()
        days = directory.organization.enrolment_days
        return {
            "enrolments": [
                _shown(
                    enrolment,
                    known.get(enrolment.id) or begin_enrolment(enrolment, days, now),
                    compiled,
                    now,
                )
                for enrolment in directory.enrolments
            ],
            "documents": [_document(each, today) for each in directory.documents],
            "expiring": [each.id for each in expiring(directory, today)],
        }

    async def one(conn: Connection, who: Principal, enrolment_id: str) -> dict[str, Any]:
        found: dict[str, Any]
        for found in (await everything(conn, who))["enrolments"]:
            if found["enrolment"] == enrolment_id:
                answer: dict[str, Any] = orjson.loads(orjson.dumps(found))
                return answer
        raise Problem(404, "no_such_enrolment", "The directory has no such enrolment.")

    @router.get("/enrolments")
    async def listed(who: Annotated[Principal, Depends(looks_up)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            return await everything(conn, who)

    @router.get("/enrolments/{enrolment}")
    async def shown(enrolment: str, who: Annotated[Principal, Depends(looks_up)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            return await one(conn, who, enrolment)

    async def run(
        who: Principal,
        enrolment: str,
        route: str,
        key: str | None,
        body: BaseModel,
        work: Callable[[Connection], Awaitable[PhaseState]],
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            await work(conn)
            return await one(conn, who, enrolment)

        return await operations.command(
            who, f"enrolments/{enrolment}/{route}", key, body.model_dump_json().encode(), do
        )

    @router.post("/enrolments/{enrolment}/{phase}/owner")
    async def own(
        enrolment: str,
        phase: Phase,
        body: Annotated[Owning, Body()],
        who: Annotated[Principal, Depends(administers)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await run(
            who,
            enrolment,
            f"{phase}/owner",
            key,
            body,
            lambda conn: enrolments.assign(conn, who, enrolment, phase, body.owner),
        )

    @router.post("/enrolments/{enrolment}/{phase}/items/{item}")
    async def tick(
        enrolment: str,
        phase: Phase,
        item: str,
        body: Annotated[Ticking, Body()],
        who: Annotated[Principal, Depends(works)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await run(
            who,
            enrolment,
            f"{phase}/items/{item}",
            key,
            body,
            lambda conn: enrolments.tick(conn, who, enrolment, phase, item, done=body.done),
        )

    @router.post("/enrolments/{enrolment}/{phase}/{move}")
    async def take_on(
        enrolment: str,
        phase: Phase,
        move: PhaseMove,
        body: Annotated[Moving, Body()],
        who: Annotated[Principal, Depends(administers)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await run(
            who,
            enrolment,
            f"{phase}/{move}",
            key,
            body,
            lambda conn: enrolments.move(
                conn, who, enrolment, phase, move, on=body.on, note=body.note
            ),
        )

    return router


def _shown(
    enrolment: Enrolment, states: list[PhaseState], compiled: CompiledDirectory, now: datetime
) -> dict[str, Any]:
    today = now.astimezone(compiled.zone).date()
    phases = sorted(states, key=lambda state: PHASES.index(state.phase))
    current = next((each for each in phases if each.status is not PhaseStatus.CLEARED), None)
    return {
        "enrolment": enrolment.id,
        "portal": enrolment.portal,
        "portal_name": compiled.portals[enrolment.portal].name,
        "tin": enrolment.tin,
        "registered_on": enrolment.registered_on,
        "owner": enrolment.owner,
        "particulars": particulars(compiled.directory, enrolment),
        "phase": current.phase if current is not None else None,
        "stalled": any(each.stalled(now) for each in phases),
        "phases": [_phase(each, current, enrolment.owner, now) for each in phases],
        "documents": [
            _document(each, today) for each in documents_of(compiled.directory, enrolment)
        ],
    }


def _phase(
    state: PhaseState, current: PhaseState | None, owner: str | None, now: datetime
) -> dict[str, Any]:
    # What nobody here did item by item was established before.
    established = state.status is PhaseStatus.CLEARED and not state.ticked
    return {
        "phase": state.phase,
        "status": state.status,
        "owner": state.owner or owner,
        "since": state.since,
        "due_at": state.due_at,
        "stalled": state.stalled(now) and state is current,
        "established": established,
        "note": state.note,
        "moves": [
            move
            for status, move in PHASE_LIFE
            if status is state.status
            and (state is current or move is PhaseMove.REOPEN)
            and not (state.phase is Phase.REGISTRATION and move is PhaseMove.REOPEN)
        ],
        "checklist": [
            {
                "id": item.id,
                "text": item.text,
                "done_by": state.ticked.get(item.id, {}).get("by"),
                "done_at": state.ticked.get(item.id, {}).get("at"),
            }
            for item in (() if established else CHECKLISTS[state.phase])
        ],
    }


def _document(document: EnrolmentDocument, today: date) -> dict[str, Any]:
    left = (document.expires_on - today).days if document.expires_on is not None else None
    return {
        **document.model_dump(mode="json"),
        "days_left": left,
        "expired": left is not None and left < 0,
    }
