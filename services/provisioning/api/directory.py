"""The directory over HTTP: reading, planning, approving, and the catalogue it begins from."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, Field, model_validator

from services.provisioning.api.paging import Key, Limit, cursor_of, cursor_parts
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.directory import DirectoryCommands, in_force
from services.provisioning.handlers.plans import PlanCommands, edited, with_new_policy_version
from services.provisioning.store import directories as directories_store
from services.provisioning.store import plans as plans_store
from services.provisioning.store import views
from shared.auth import Authenticator, Principal
from shared.contracts import catalogue
from shared.contracts.directory import Directory
from shared.contracts.directory_file import (
    MAX_FILE_CHARACTERS,
    DirectoryFileError,
    read_directory_document,
    read_directory_file,
    write_directory_file,
)
from shared.errors import Problem
from shared.postgres import Connection


class Proposal(BaseModel):
    """A directory to look at: the text of a YAML file, or the same as a document."""

    file: str | None = Field(default=None, max_length=MAX_FILE_CHARACTERS)
    directory: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Proposal":
        if (self.file is None) == (self.directory is None):
            raise ValueError("give exactly one of file and directory")
        return self

    def read(self) -> Directory:
        """The directory.

        Raises:
            Problem: 422 with everything that is wrong, each with its line where there is one.
        """
        return _read(
            lambda: (
                read_directory_file(self.file)
                if self.file is not None
                else read_directory_document(self.directory)
            )
        )


class ObjectValue(BaseModel):
    """An object of the directory as it shall be; of organization and policy, what changes."""

    kind: str = Field(max_length=40)
    id: str = Field(max_length=200)
    value: dict[str, Any]


class ObjectName(BaseModel):
    """An object of the directory that shall go."""

    kind: str = Field(max_length=40)
    id: str = Field(max_length=200)


class Edits(BaseModel):
    """Changes to the directory in force; where they touch the policy its version is counted up."""

    put: list[ObjectValue] = Field(default=[], max_length=500)
    remove: list[ObjectName] = Field(default=[], max_length=500)


class Why(BaseModel):
    """Why a proposal is turned down or withdrawn."""

    reason: str = Field(min_length=1, max_length=500)


def _read(read: Callable[[], Directory]) -> Directory:
    try:
        return read()
    except DirectoryFileError as error:
        first, more = error.problems[0], len(error.problems) - 1
        raise Problem(
            422,
            "directory_invalid",
            f"{first}" + (f" (and {more} more)" if more else ""),
            [asdict(problem) for problem in error.problems],
        ) from error


def shown_plan(row: Any, counted: Any | None, current: int | None = None) -> dict[str, Any]:
    """A plan as people and programs see it."""
    shown = {key: value for key, value in row.items() if key not in ("document", "simulated_to")}
    if counted is not None:
        shown["effects"] = dict(counted)
    if current is not None:
        shown["stale"] = row["status"] in ("simulating", "ready", "proposed") and (
            row["base_version"] != current
        )
    return shown


def directory_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    operations: OperationCommands,
    directories: DirectoryCommands,
    plans: PlanCommands,
) -> APIRouter:
    """The routes under `/access/v1/directory` and `/access/v1/catalogue`."""
    router = APIRouter(prefix="/access/v1", tags=["directory"])
    looks_up = authenticator.requires("directory:read", "access:read", "access:admin")
    reads = authenticator.requires("access:read", "access:admin", "policy:approve")
    administers = authenticator.requires("access:admin")
    applies = authenticator.requires("access:admin", fresh=True)
    approves = authenticator.requires("policy:approve", fresh=True)
    turns_down = authenticator.requires("policy:approve", "access:admin")

    @router.get("/directory")
    async def directory(who: Annotated[Principal, Depends(looks_up)]) -> dict[str, Any]:
        """The directory in force; `names` are those of the workers it names, as far as known."""
        async with pool.acquire() as conn:
            version, row = await _current(conn, who)
            names = await views.names(conn, who.organization, sorted(_workers(row["document"])))
        return {
            "version": version,
            "applied_at": row["applied_at"],
            "applied_by": row["applied_by"],
            "approved_by": row["approved_by"],
            "directory": row["document"],
            "names": names,
        }

    @router.get("/directory/export")
    async def export(who: Annotated[Principal, Depends(looks_up)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            version, row = await _current(conn, who)
        return {
            "version": version,
            "file": write_directory_file(Directory.model_validate(row["document"])),
        }

    @router.get("/directory/versions")
    async def versions(
        who: Annotated[Principal, Depends(reads)], limit: Limit = 50
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await plans_store.versions(conn, who.organization, limit)
        return {"versions": [dict(row) for row in rows]}

    @router.post("/directory")
    async def apply_directory(
        body: Annotated[Directory, Body()],
        who: Annotated[Principal, Depends(applies)],
        key: Key = None,
    ) -> dict[str, Any]:
        """Apply without looking: the first directory, or one that leaves the policy as it is."""

        async def do(conn: Connection) -> dict[str, Any]:
            await plans.refuse_alone(conn, body, who)
            return await directories.apply(conn, body, who)

        return await operations.command(who, "directory", key, body.model_dump_json().encode(), do)

    async def planned(directory: Directory, who: Principal, *, applicable: bool) -> dict[str, Any]:
        async with pool.acquire() as conn, conn.transaction():
            plan = await plans.make(conn, directory, who, applicable=applicable)
        await plans.simulate(who.organization, plan)
        return await show(plan, who)

    async def show(plan: str, who: Principal) -> dict[str, Any]:
        async with pool.acquire() as conn:
            row = await plans_store.plan_row(conn, who.organization, plan)
            if row is None:
                raise Problem(404, "no_such_plan", "There is no such plan.")
            counted = await plans_store.counts(conn, who.organization, plan)
            found = await directories_store.directory_versions(conn, {who.organization})
        return shown_plan(row, counted, found.get(who.organization, 0))

    @router.post("/directory/plans")
    async def make_plan(
        body: Annotated[Proposal, Body()], who: Annotated[Principal, Depends(administers)]
    ) -> dict[str, Any]:
        return await planned(body.read(), who, applicable=True)

    @router.post("/directory/simulations")
    async def simulate(
        body: Annotated[Proposal, Body()], who: Annotated[Principal, Depends(reads)]
    ) -> dict[str, Any]:
        return await planned(body.read(), who, applicable=False)

    @router.post("/directory/edits")
    async def edit(
        body: Annotated[Edits, Body()], who: Annotated[Principal, Depends(administers)]
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            version, _ = await _current(conn, who)
            before = await in_force(conn, who.organization, version)
        assert before is not None
        document = edited(
            before,
            {(each.kind, each.id): each.value for each in body.put},
            {(each.kind, each.id) for each in body.remove},
        )
        after = _read(lambda: read_directory_document(document, whole=True))
        return await planned(with_new_policy_version(before, after), who, applicable=True)

    @router.get("/directory/plans")
    async def all_plans(
        who: Annotated[Principal, Depends(reads)], limit: Limit = 50
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await plans_store.plan_rows(conn, who.organization, limit)
            found = await directories_store.directory_versions(conn, {who.organization})
        current = found.get(who.organization, 0)
        return {"plans": [shown_plan(row, None, current) for row in rows]}

    @router.get("/directory/plans/{plan}")
    async def one_plan(plan: str, who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        return await show(plan, who)

    @router.get("/directory/plans/{plan}/effects")
    async def effects(
        plan: str,
        who: Annotated[Principal, Depends(reads)],
        cursor: str | None = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            rows = await plans_store.effects(
                conn, who.organization, plan, after=str(after[0]) if after else "", limit=limit
            )
        return {
            "effects": [
                {**{k: row[k] for k in ("worker", "name", "gains", "loses")}, **row["more"]}
                for row in rows
            ],
            "next_cursor": cursor_of(rows[-1]["worker"]) if len(rows) == limit else None,
        }

    async def carry_out(
        who: Principal,
        route: str,
        key: str | None,
        body: bytes,
        work: Callable[[Connection], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        return await operations.command(who, f"directory/plans/{route}", key, body, work)

    @router.post("/directory/plans/{plan}/apply")
    async def apply_plan(
        plan: str, who: Annotated[Principal, Depends(applies)], key: Key = None
    ) -> dict[str, Any]:
        return await carry_out(
            who, f"{plan}/apply", key, b"", lambda conn: plans.apply(conn, plan, who)
        )

    @router.post("/directory/plans/{plan}/approve")
    async def approve_plan(
        plan: str, who: Annotated[Principal, Depends(approves)], key: Key = None
    ) -> dict[str, Any]:
        return await carry_out(
            who, f"{plan}/approve", key, b"", lambda conn: plans.approve(conn, plan, who)
        )

    @router.post("/directory/plans/{plan}/reject")
    async def reject_plan(
        plan: str,
        body: Annotated[Why, Body()],
        who: Annotated[Principal, Depends(turns_down)],
        key: Key = None,
    ) -> dict[str, Any]:
        return await carry_out(
            who,
            f"{plan}/reject",
            key,
            orjson.dumps(body.model_dump()),
            lambda conn: plans.reject(conn, plan, who, body.reason),
        )

    @router.get("/catalogue")
    async def entries(_who: Annotated[Principal, Depends(looks_up)]) -> dict[str, Any]:
        return {
            "portals": [
                {
                    "id": id_,
                    "name": portal.name,
                    "kind": portal.kind,
                    "url": portal.url,
                    "functions": catalogue.entries()[id_]["functions"],
                    "rules": len(portal.rules),
                    "unconfirmed": sum(not rule.confirmed for rule in portal.rules),
                }
                for id_, portal in catalogue.portals().items()
            ],
            "policy": dict(
                zip(("job_duties", "separation"), catalogue.default_policy(), strict=True)
            ),
            "guide": catalogue.guide(),
        }

    @router.get("/catalogue/{entry}")
    async def one_entry(
        entry: str, _who: Annotated[Principal, Depends(looks_up)]
    ) -> dict[str, Any]:
        portal = catalogue.portals().get(entry)
        if portal is None:
            raise Problem(
                404,
                "no_such_entry",
                "The catalogue has no such portal; it lists them when none is named.",
            )
        return {
            "portal": portal.model_dump(mode="json", exclude_none=True),
            "functions": catalogue.entries()[entry]["functions"],
        }

    async def _current(conn: Connection, who: Principal) -> tuple[int, Any]:
        found = await directories_store.directory_versions(conn, [who.organization])
        version = found.get(who.organization, 0)
        row = await directories_store.directory_document(conn, who.organization, version)
        if row is None:
            raise Problem(404, "no_directory", "Apply one: portalkeeper directory apply FILE.")
        return version, row

    return router


def _workers(document: Any) -> set[str]:
    """The workers whom a directory appoints, makes owners of something, or has told of things."""
    appointed = document.get("administrators") or []
    named = [each.get(role) for each in appointed for role in ("worker", "deputy")]
    owned = ("training_modules", "enrolments", "sources")
    named += [each.get("owner") for part in owned for each in document.get(part) or []]
    named += [one for told in ("on_call", "hr") for one in document["organization"].get(told) or []]
    return {worker for worker in named if worker}
