"""The portal simulator over HTTP: lists of its make-believe portals, and how they behave."""

from datetime import timedelta
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Body, Depends, Response
from pydantic import AwareDatetime, BaseModel, Field

from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.findings import inactivity_days
from services.provisioning.store import simulated as simulated_store
from services.provisioning.store.simulated import SimulatedLogin
from shared.answers import answers_with
from shared.auth import Authenticator, Principal
from shared.contracts.directory import Function, Portal, RuleName
from shared.errors import Problem
from shared.postgres import Connection, in_transaction
from shared.sheets.writing import write_csv

ROSTER_COLUMNS = ["User ID", "Name", "Email", "Status", "Last login", "TIN", "Functions"]


class LoginPut(BaseModel):
    """A login that a make-believe portal is to have; without a `worker` it is nobody's."""

    login_id: str = Field(min_length=1, max_length=200)
    worker: str = Field(default="", max_length=200)
    name: str = Field(default="", max_length=200)
    email: str = Field(default="", max_length=200)
    active: bool = True
    functions: list[tuple[str, Function]] = []
    last_login_at: AwareDatetime | None = None


class LoginsPut(BaseModel):
    """Logins that a make-believe portal is to have."""

    logins: list[LoginPut] = Field(max_length=5_000)


class Behaviour(BaseModel):
    """How long a portal takes, and how many of the next operations it rejects."""

    delay_seconds: int = Field(default=0, ge=0, le=7 * 86_400)
    reject_next: int = Field(default=0, ge=0, le=1_000)


def simulator_router(
    pool: "asyncpg.Pool[Any]", authenticator: Authenticator, recompute: Recompute
) -> APIRouter:
    """The routes under `/access/v1/simulator`; only for portals whose connector it is."""
    router = APIRouter(prefix="/access/v1/simulator", tags=["simulator"])
    reads = authenticator.requires("access:read", "access:admin")
    administers = authenticator.requires("access:admin")

    async def simulated(conn: Connection, who: Principal, portal: str) -> tuple[Portal, Any]:
        compiled = await recompute.directories.of(conn, who.organization)
        known = compiled.portals.get(portal) if compiled else None
        if compiled is None or known is None or known.connector != "simulator":
            raise Problem(
                404, "not_simulated", f"{portal} is no portal whose connector is the simulator."
            )
        return known, compiled.zone

    @router.get("/{portal}/roster", **answers_with("text/csv"))
    async def roster(portal: str, who: Annotated[Principal, Depends(reads)]) -> Response:
        """The make-believe portal's list of users, as a portal hands one out."""
        async with pool.acquire() as conn:
            _, zone = await simulated(conn, who, portal)
            logins = await simulated_store.logins(conn, who.organization, portal)
        rows = [row for login in logins for row in _rows(login, zone)]
        return Response(
            write_csv(ROSTER_COLUMNS, rows),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{portal}-users.csv"'},
        )

    @router.post("/{portal}/logins")
    async def put_logins(
        portal: str,
        body: Annotated[LoginsPut, Body()],
        who: Annotated[Principal, Depends(administers)],
    ) -> dict[str, int]:
        logins = [
            SimulatedLogin(
                one.login_id,
                one.worker,
                one.name,
                one.email,
                one.active,
                [(tin, function.value) for tin, function in one.functions],
                one.last_login_at,
            )
            for one in body.logins
        ]

        async def work(conn: Connection) -> None:
            await simulated(conn, who, portal)
            now = await recompute.clock.now(conn)
            await simulated_store.put_logins(conn, who.organization, portal, logins, now)

        await in_transaction(pool, work)
        return {"logins": len(logins)}

    @router.post("/{portal}/behaviour")
    async def behave(
        portal: str,
        body: Annotated[Behaviour, Body()],
        who: Annotated[Principal, Depends(administers)],
    ) -> dict[str, int]:
        async def work(conn: Connection) -> None:
            await simulated(conn, who, portal)
            await simulated_store.set_behaviour(
                conn,
                who.organization,
                portal,
                delay_seconds=body.delay_seconds,
                reject_next=body.reject_next,
            )

        await in_transaction(pool, work)
        return body.model_dump()

    @router.post("/{portal}/purge")
    async def purge(portal: str, who: Annotated[Principal, Depends(administers)]) -> dict[str, int]:
        """Switch off and delete what was idle for longer than the portal's rules allow."""

        async def work(conn: Connection) -> tuple[int, int]:
            known, zone = await simulated(conn, who, portal)
            now = await recompute.clock.now(conn)
            day = now.astimezone(zone).date()
            limit = inactivity_days(known, day)
            if limit is None:
                raise Problem(
                    409, "no_such_rule", f"The directory has no inactivity_days for {portal}."
                )
            deletes = known.rule_in_force(RuleName.DELETES_AFTER_DAYS, day)
            after = deletes.value if deletes and isinstance(deletes.value, int) else None
            return await simulated_store.purge(
                conn,
                who.organization,
                portal,
                idle_since=now - timedelta(days=limit),
                deleted_since=None if after is None else now - timedelta(days=after),
            )

        disabled, deleted = await in_transaction(pool, work)
        return {"disabled": disabled, "deleted": deleted}

    return router


def _rows(login: SimulatedLogin, zone: Any) -> list[list[str]]:
    last = login.last_login_at
    by_tin: dict[str, list[str]] = {}
    for tin, function in login.functions:
        by_tin.setdefault(tin, []).append(function.replace("_", " "))
    return [
        [
            login.login_id,
            login.name,
            login.email,
            "Active" if login.active else "Inactive",
            last.astimezone(zone).strftime("%m/%d/%Y %I:%M %p") if last else "Never",
            tin,
            "; ".join(functions),
        ]
        for tin, functions in (by_tin or {"": []}).items()
    ]
