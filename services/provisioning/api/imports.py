"""Adopting sheets and importing user lists over HTTP; findings, and the sheet back."""

import base64
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Any, Literal

import asyncpg
from fastapi import APIRouter, Body, Depends, Query, Response
from pydantic import AwareDatetime, BaseModel, Field

from services.provisioning.api.paging import Key, Limit, cursor_of, cursor_parts
from services.provisioning.handlers.adoption.commands import AdoptionCommands
from services.provisioning.handlers.adoption.exporting import sheet_of
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.imports import Upload, as_json
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.handlers.refusals import no_such_portal
from services.provisioning.handlers.rosters.commands import RosterCommands
from services.provisioning.handlers.rosters.meaning import RosterUpload
from services.provisioning.rules.findings import FindingRule
from services.provisioning.rules.guards import without_administrator
from services.provisioning.store import directories as directories_store
from services.provisioning.store import findings as findings_store
from services.provisioning.store import imports as imports_store
from services.provisioning.store import logins as logins_store
from shared.answers import answers_with
from shared.auth import Authenticator, Principal
from shared.errors import Problem
from shared.postgres import Connection, in_transaction
from shared.sheets.table import MAX_FILE_BYTES
from shared.sheets.workbook import write_workbook
from shared.sheets.writing import write_csv

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class FileSent(BaseModel):
    """A file as it is, in Base64, with answers to what was asked about it before."""

    name: str = Field(min_length=1, max_length=200)
    content: str = Field(max_length=MAX_FILE_BYTES * 4 // 3 + 8)
    answers: dict[str, str] = {}

    def upload(self) -> Upload:
        """The file.

        Raises:
            Problem: 422 when the content is not Base64.
        """
        try:
            content = base64.b64decode(self.content, validate=True)
        except ValueError as error:
            raise Problem(422, "invalid_content", "content must be the file in Base64.") from error
        return Upload(self.name, content, self.answers)


class SheetSent(FileSent):
    """The administrator's own sheet, and the day on which it was right."""

    as_of: date


class RosterSent(FileSent):
    """A portal's user list, and the moment at which it was right.

    `columns` says what columns are whose names do not tell: a field, or `function:` with a
    function. `complete` says that logins it lacks do not exist.
    """

    portal: str = Field(min_length=1, max_length=63)
    as_of: AwareDatetime
    columns: dict[str, str] = {}
    complete: bool = True


class Answered(BaseModel):
    """Answers to what a preview asked, by their keys, and what columns are."""

    answers: dict[str, str] = {}
    columns: dict[str, str] = {}


def imports_router(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    recompute: Recompute,
    operations: OperationCommands,
    adoption: AdoptionCommands,
    rosters: RosterCommands,
) -> APIRouter:
    """The routes under `/access/v1/adoptions`, `/rosters` and `/portal-findings`."""
    router = APIRouter(prefix="/access/v1", tags=["imports"])
    reads = authenticator.requires("access:read", "access:admin")
    administers = authenticator.requires("access:admin")

    async def command(
        who: Principal,
        route: str,
        key: str | None,
        work: Callable[[Connection], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        async def do(conn: Connection) -> dict[str, Any]:
            answer: dict[str, Any] = as_json(await work(conn))
            return answer

        return await operations.command(who, route, key, b"", do)

    @router.post("/adoptions")
    async def preview_adoption(
        body: Annotated[SheetSent, Body()], who: Annotated[Principal, Depends(administers)]
    ) -> dict[str, Any]:
        upload = body.upload()
        return await in_transaction(
            pool, lambda conn: adoption.preview(conn, who, upload, body.as_of)
        )

    @router.post("/adoptions/{plan}/answers")
    async def answer_adoption(
        plan: str,
        body: Annotated[Answered, Body()],
        who: Annotated[Principal, Depends(administers)],
    ) -> dict[str, Any]:
        return await in_transaction(
            pool, lambda conn: adoption.answer(conn, who, plan, body.answers)
        )

    @router.post("/adoptions/{plan}/apply")
    async def apply_adoption(
        plan: str, who: Annotated[Principal, Depends(administers)], key: Key = None
    ) -> dict[str, Any]:
        return await command(
            who,
            f"adoptions/{plan}/apply",
            key,
            lambda conn: adoption.apply(conn, who, plan),
        )

    @router.get("/adoptions")
    async def adoptions(who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await logins_store.adoptions(conn, who.organization)
        return {"adoptions": [_shown(row) for row in rows]}

    @router.get("/sheet", **answers_with("text/csv", MEDIA_TYPES["xlsx"]))
    async def sheet(
        who: Annotated[Principal, Depends(reads)],
        shape: Annotated[Literal["wide", "long"], Query()] = "long",
        format: Annotated[Literal["csv", "xlsx"], Query()] = "csv",
    ) -> Response:
        async with pool.acquire() as conn:
            compiled = await recompute.directories.of(conn, who.organization)
            if compiled is None:
                raise Problem(404, "no_directory", "Apply a directory first: it names the portals.")
            accounts = await logins_store.accounts_on(
                conn, who.organization, sorted(compiled.portals)
            )
            known = await logins_store.known_people(conn, who.organization)
        names = {person.worker: (person.name or "", person.email or "") for person in known}
        portals = compiled.directory.portals
        columns, rows = sheet_of(accounts, names, portals, compiled.zone, shape)
        content = (write_csv if format == "csv" else write_workbook)(columns, rows)
        return Response(
            content,
            media_type=MEDIA_TYPES[format],
            headers={"Content-Disposition": f'attachment; filename="portal-logins.{format}"'},
        )

    @router.post("/rosters")
    async def preview_roster(
        body: Annotated[RosterSent, Body()], who: Annotated[Principal, Depends(administers)]
    ) -> dict[str, Any]:
        upload = RosterUpload(body.portal, body.upload(), body.as_of, body.columns, body.complete)
        return await in_transaction(pool, lambda conn: rosters.preview(conn, who, upload))

    @router.post("/rosters/{plan}/answers")
    async def answer_roster(
        plan: str,
        body: Annotated[Answered, Body()],
        who: Annotated[Principal, Depends(administers)],
    ) -> dict[str, Any]:
        return await in_transaction(
            pool, lambda conn: rosters.answer(conn, who, plan, body.answers, body.columns)
        )

    @router.post("/rosters/{plan}/apply")
    async def apply_roster(
        plan: str, who: Annotated[Principal, Depends(administers)], key: Key = None
    ) -> dict[str, Any]:
        return await command(
            who, f"rosters/{plan}/apply", key, lambda conn: rosters.apply(conn, who, plan)
        )

    @router.get("/rosters")
    async def imported(
        who: Annotated[Principal, Depends(reads)], portal: str | None = None
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            rows = await logins_store.rosters(conn, who.organization, portal)
        return {"rosters": [_shown(row) for row in rows]}

    @router.get("/portals/{portal}/standing")
    async def standing(portal: str, who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        """What is known of a portal as a whole: observed or reconciled, and how lists are read.

        `unadministered` are the tax ids for which nobody administers it now.
        """
        async with pool.acquire() as conn:
            compiled = await recompute.directories.of(conn, who.organization)
            if compiled is None or portal not in compiled.portals:
                raise no_such_portal(compiled, portal)
            known = compiled.knowledge.get(portal)
            meanings = await imports_store.meanings(conn, who.organization, portal)
            latest = await logins_store.latest_roster(conn, who.organization, portal)
            found = await findings_store.count_open(conn, who.organization, portal)
            standings = await directories_store.standings(conn, who.organization, [portal])
            now = await recompute.clock.now(conn)
        served = {portal: compiled.tins_served(portal)}
        return {
            "portal": portal,
            "name": compiled.portals[portal].name,
            "observe_only": portal in compiled.observed_since,
            "adopted": bool(known and known.adopted),
            "reconciled_as_of": known.reconciled_as_of if known else None,
            "columns": meanings["columns"],
            "answers": meanings["answers"],
            "latest_roster": _shown(latest) if latest else None,
            "findings": found,
            "unadministered": without_administrator(standings, served, now).get(portal, ()),
        }

    @router.get("/portal-findings")
    async def portal_findings(
        who: Annotated[Principal, Depends(reads)],
        portal: str | None = None,
        rule: FindingRule | None = None,
        status: Annotated[str, Query(pattern="^(open|resolved)$")] = "open",
        cursor: str | None = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """By portal and kind; `counts` are of all with this status, whatever else is asked for."""
        after, resolved = cursor_parts(cursor), status == "resolved"
        async with pool.acquire() as conn:
            rows = await findings_store.listed(
                conn,
                who.organization,
                portal=portal,
                rule=rule,
                resolved=resolved,
                after=after,
                limit=limit,
            )
            counts = await findings_store.counted(conn, who.organization, resolved=resolved)
        last = rows[-1] if len(rows) == limit else None
        return {
            "findings": [dict(row) for row in rows],
            "next_cursor": (
                cursor_of(*(last[name] for name in findings_store.POSITION)) if last else None
            ),
            "counts": [dict(row) for row in counts],
        }

    @router.get("/observed")
    async def observed(who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        """Portals that are observe-only."""
        async with pool.acquire() as conn:
            versions = await directories_store.directory_versions(conn, [who.organization])
            compiled = (await recompute.directories.current(conn, set(versions))).get(
                who.organization
            )
        return {"portals": sorted(compiled.observed_since) if compiled else []}

    return router


def _shown(row: Any) -> dict[str, Any]:
    return {name: value for name, value in dict(row).items() if name != "organization"}
