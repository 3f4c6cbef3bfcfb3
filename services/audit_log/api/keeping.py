"""Legal holds and erasure: for those who answer for what is kept."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.audit_log.context import Reading
from services.audit_log.handlers.erasing import Eraser
from services.audit_log.store import keeping
from services.audit_log.store.keeping import Erasure, Hold
from shared.auth import Authenticator, Principal
from shared.contracts.admin import CommandRefused, HoldReleased, HoldSet
from shared.contracts.envelope import rfc3339
from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS
from shared.errors import Problem
from shared.idempotency import once
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

SOURCE = "/portalkeeper/audit_log"


def _said(text: str) -> str:
    if "\x00" in text or not text.strip():
        raise ValueError("say something, without NUL characters")
    return text.strip()


Said = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_said)]
Why = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_said)]


class HoldOrder(BaseModel):
    """What must neither be erased nor pruned, by its id, and why."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["worker", "portal", "review", "organization"]
    subject: Said
    reason: Why


class Release(BaseModel):
    """Why a hold is no longer needed."""

    model_config = ConfigDict(extra="forbid")

    reason: Why


class ErasureOrder(BaseModel):
    """Whose personal data must go, and why."""

    model_config = ConfigDict(extra="forbid")

    worker: Said
    reason: Why


def keeping_router(reading: Reading, eraser: Eraser, authenticator: Authenticator) -> APIRouter:
    """The routes of holds and erasures."""
    router = APIRouter(prefix="/audit/v1", tags=["keeping"])
    Reader = Annotated[Principal, Depends(authenticator.requires("audit:read", "audit:admin"))]
    Keeper = Annotated[Principal, Depends(authenticator.requires("audit:admin"))]
    Destroyer = Annotated[Principal, Depends(authenticator.requires("audit:admin", fresh=True))]
    Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]

    @router.get("/holds")
    async def holds(who: Reader) -> dict[str, Any]:
        """All holds, the active ones among them, newest first."""
        async with reading.pool.acquire() as conn:
            found = await keeping.read_holds(conn, who.organization)
        return {"holds": [_hold(each) for each in found]}

    @router.post("/holds", status_code=201)
    async def set_hold(who: Keeper, wanted: HoldOrder, idempotency_key: Key = None) -> Any:
        """Keep everything about a subject from being erased or pruned."""

        async def work(conn: Connection) -> dict[str, Any]:
            now = await reading.clock.now(conn)
            made = await keeping.set_hold(
                conn, who.organization, wanted.kind, wanted.subject, wanted.reason, who.subject, now
            )
            data = HoldSet(str(made.id), made.kind, made.subject, made.reason)
            await _tell(conn, who, "hold.set", str(made.id), data, reading)
            return _hold(made)

        return await _command(reading, who, "/audit/v1/holds", idempotency_key, wanted, work)

    @router.post("/holds/{hold_id}/release")
    async def release(
        who: Destroyer, hold_id: UUID, wanted: Release, idempotency_key: Key = None
    ) -> Any:
        """End a hold; it stays on record."""

        async def work(conn: Connection) -> dict[str, Any]:
            now = await reading.clock.now(conn)
            ended = await keeping.release_hold(
                conn, who.organization, hold_id, who.subject, wanted.reason, now
            )
            if ended is None:
                raise Problem(404, "no_such_hold", "There is no such active hold.")
            data = HoldReleased(str(ended.id), ended.kind, ended.subject, wanted.reason)
            await _tell(conn, who, "hold.released", str(ended.id), data, reading)
            return _hold(ended)

        route = f"/audit/v1/holds/{hold_id}/release"
        return await _command(reading, who, route, idempotency_key, wanted, work)

    @router.get("/erasures")
    async def erasures(who: Reader) -> dict[str, Any]:
        """Who was erased, newest first."""
        async with reading.pool.acquire() as conn:
            found = await keeping.read_erasures(conn, who.organization)
        return {"erasures": [_erasure(each) for each in found]}

    @router.post("/erasures", status_code=201)
    async def erase(who: Destroyer, wanted: ErasureOrder) -> dict[str, Any]:
        """Destroy the key of a worker's entries. This cannot be undone."""
        try:
            begun = await in_transaction(
                reading.pool, lambda conn: eraser.begin(conn, who, wanted.worker, wanted.reason)
            )
        except Problem as refusal:
            code, status = refusal.code, refusal.status

            async def refused(conn: Connection) -> None:
                data = CommandRefused("audit.erase", wanted.worker, code, status)
                at = str(await reading.clock.now(conn))
                await _tell(conn, who, "command.refused", f"{wanted.worker}{at}", data, reading)

            await in_transaction(reading.pool, refused)
            raise
        return _erasure(await eraser.finish(begun))

    return router


async def _command(
    reading: Reading,
    who: Principal,
    route: str,
    key: str | None,
    wanted: BaseModel,
    work: Callable[[Connection], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    body = wanted.model_dump_json().encode()
    return await in_transaction(reading.pool, lambda conn: once(conn, who, route, key, body, work))


async def _tell(
    conn: Connection, who: Principal, type_: str, cause: str, data: object, reading: Reading
) -> None:
    event = fact(
        ADMIN_EVENTS,
        type_,
        source=SOURCE,
        organization=who.organization,
        subject=who.subject,
        cause=(cause,),
        time=await reading.clock.now(conn),
        data=data,
    )
    await enqueue(conn, [event])


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "id": str(hold.id),
        "kind": hold.kind,
        "subject": hold.subject,
        "reason": hold.reason,
        "set_by": hold.set_by,
        "set_at": rfc3339(hold.set_at),
        "released_by": hold.released_by,
        "released_at": rfc3339(hold.released_at) if hold.released_at else None,
        "release_reason": hold.release_reason,
    }


def _erasure(erasure: Erasure) -> dict[str, Any]:
    return {
        "id": str(erasure.id),
        "worker": erasure.worker,
        "reason": erasure.reason,
        "requested_by": erasure.requested_by,
        "begun_at": rfc3339(erasure.begun_at),
        "finished_at": rfc3339(erasure.finished_at) if erasure.finished_at else None,
        "keys_destroyed": erasure.keys_destroyed,
        "entries_hidden": erasure.entries_hidden,
    }
