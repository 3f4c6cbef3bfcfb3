"""Exports: asked for, made in the background, fetched when they are done."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from services.audit_log.asking import Asked
from services.audit_log.context import Reading, not_searchable
from services.audit_log.handlers.exporting import FORMS, LOG, SUFFIXES, Exporter
from services.audit_log.store import exports
from services.audit_log.store.exports import Export
from shared.answers import answers_with
from shared.auth import Authenticator, Principal
from shared.contracts.envelope import rfc3339
from shared.errors import Problem
from shared.idempotency import once
from shared.postgres import Connection, in_transaction

LISTED = 100


class ExportOrder(BaseModel):
    """Which entries to export, and in which form.

    `log` is one that this log follows, by its origin, which can be exported only as a whole.
    """

    model_config = ConfigDict(extra="forbid")

    form: Literal["jsonl", "csv", "evidence"]
    asked: Asked = Asked()
    log: Annotated[str | None, Field(max_length=200)] = None


def exports_router(reading: Reading, exporter: Exporter, authenticator: Authenticator) -> APIRouter:
    """The routes of exports."""
    router = APIRouter(prefix="/audit/v1/exports", tags=["exports"])
    Reader = Annotated[Principal, Depends(authenticator.requires("audit:read"))]
    Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]

    @router.post("", status_code=202)
    async def order(
        who: Reader, wanted: ExportOrder, idempotency_key: Key = None
    ) -> dict[str, Any]:
        """Ask for an export of what is signed now; it is made once search has come that far."""
        asked = wanted.asked.filters()
        log = None if wanted.log == reading.origin else wanted.log
        if log is not None:
            if asked:
                raise not_searchable()
            asked = {LOG: log}

        async def add(conn: Connection) -> dict[str, Any]:
            async with reading.turned_to(conn, log):
                signed = await reading.checkpoint(conn)
            await reading.record(conn, who, "export", {"form": wanted.form, **asked})
            now = await reading.clock.now(conn)
            checkpoint = (signed.size, signed.note, signed.verifier_key)
            added = await exports.add(
                conn, who.organization, who.subject, wanted.form, asked, checkpoint, now
            )
            return _shown(added)

        body = wanted.model_dump_json().encode()
        return await in_transaction(
            reading.pool,
            lambda conn: once(conn, who, "/audit/v1/exports", idempotency_key, body, add),
        )

    @router.get("")
    async def listed(who: Reader) -> dict[str, Any]:
        """The organization's exports, newest first."""
        async with reading.pool.acquire() as conn:
            found = await exports.read_all(conn, who.organization, LISTED)
        return {"exports": [_shown(export) for export in found]}

    @router.get("/{export_id}")
    async def one(who: Reader, export_id: UUID) -> dict[str, Any]:
        """How far one is."""
        return _shown(await _read(who, export_id))

    @router.get("/{export_id}/file", **answers_with(*sorted({*FORMS.values()})))
    async def file(who: Reader, export_id: UUID) -> FileResponse:
        """The finished file."""
        export = await _read(who, export_id)
        path = exporter.file(export)
        if export.status != "done" or not path.exists():
            raise Problem(409, "export_not_done", f"The export is {export.status}; ask again soon.")
        return FileResponse(
            path,
            media_type=FORMS[export.form],
            filename=f"audit-{export.organization}-{export.id}{SUFFIXES[export.form]}",
        )

    async def _read(who: Principal, export_id: UUID) -> Export:
        async with reading.pool.acquire() as conn:
            found = await exports.read(conn, who.organization, export_id)
        if found is None:
            raise Problem(
                404,
                "no_such_export",
                "There is no such export: they are kept for 7 days, and end when somebody of the"
                " organization is erased. Order it again.",
            )
        return found

    return router


def _shown(export: Export) -> dict[str, Any]:
    return {
        "id": str(export.id),
        "form": export.form,
        "asked": export.asked,
        "requested_by": export.requested_by,
        "requested_at": rfc3339(export.requested_at),
        "finished_at": rfc3339(export.finished_at) if export.finished_at else None,
        "status": export.status,
        "done": export.done,
        "total": export.total,
        "size": export.size,
        "public_key": export.verifier_key,
        "sha256": export.sha256,
        "error": export.error,
    }
