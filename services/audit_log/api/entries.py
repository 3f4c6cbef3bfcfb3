"""Searching the log, one entry, and what leaves commit to."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from services.audit_log import store
from services.audit_log.asking import Asked
from services.audit_log.context import MAX_INDEX, LogName, Reading, not_searchable
from services.audit_log.crypto import KeyStore
from services.audit_log.reading import Showing, open_for
from services.audit_log.store import search
from shared.answers import answers_with
from shared.auth import Authenticator, Principal
from shared.errors import Problem
from shared.postgres import Connection, in_transaction

PAGE_DEFAULT, PAGE_MAX = 50, 500
OPENINGS_PER_READ = 500


class Page(Asked):
    """A page of entries: what is asked for, below which index, and how many.

    `organization` may be empty, which asks for entries that name none. `log` is one that this log
    follows, by its origin: search does not know it, so it is turned over whole.
    """

    cursor: Annotated[int | None, Field(ge=0, le=MAX_INDEX)] = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT
    organization: Annotated[str | None, Field(max_length=100)] = None
    log: Annotated[str | None, Field(max_length=200)] = None


def entries_router(reading: Reading, authenticator: Authenticator) -> APIRouter:
    """The routes that show entries."""
    router = APIRouter(prefix="/audit/v1", tags=["audit"])
    Reader = Annotated[Principal, Depends(authenticator.requires("audit:read"))]

    @router.get("/entries")
    async def entries(who: Reader, page: Annotated[Page, Query()]) -> dict[str, Any]:
        """Entries that match everything asked for, newest first."""
        if page.log not in (None, reading.origin):
            return await _turned_over(reading, who, page)
        query = page.query(_whose(who, page.organization))
        filters = {**page.filters(), "organization": page.organization, "cursor": page.cursor}

        async def read(conn: Connection) -> dict[str, Any]:
            if not await search.is_there(conn):
                raise Problem(503, "search_not_ready", "Search is being made anew; ask later.")
            await reading.record(conn, who, "entries", filters)
            indexes = await search.find(
                conn,
                reading.terms.of_query(query),
                before=MAX_INDEX if page.cursor is None else page.cursor,
                limit=page.limit,
                since=page.since,
                until=page.until,
            )
            found = await store.read_entries(conn, indexes)
            shown = await Showing(reading.keys, who).show(conn, found, payloads=False)
            following = indexes[-1] if len(indexes) == page.limit else None
            return {"entries": shown, "next_cursor": following}

        return await in_transaction(reading.pool, read)

    @router.get("/entries/{index}")
    async def entry(who: Reader, index: int, log: LogName = None) -> dict[str, Any]:
        async def read(conn: Connection) -> dict[str, Any]:
            async with reading.turned_to(conn, log):
                found = await store.read_entry(conn, min(index, MAX_INDEX))
            if found is None:
                raise Problem(404, "no_such_entry", f"The log has no entry {index}.")
            await reading.record(conn, who, "entry", {"index": index, "log": log})
            showing = Showing(reading.keys, who, projected=log in (None, reading.origin))
            [shown] = await showing.show(conn, [found], payloads=True)
            return shown

        return await in_transaction(reading.pool, read)

    @router.get("/openings", **answers_with("application/x-ndjson"))
    async def openings(
        who: Reader,
        from_: Annotated[int, Query(alias="from", ge=0, le=MAX_INDEX)],
        to: Annotated[int, Query(ge=0, le=MAX_INDEX)],
        log: LogName = None,
    ) -> StreamingResponse:
        """What the leaves commit to, one JSON object per line, for the entries one may read."""
        async with reading.log(log):
            asked = {"form": "openings", "from": from_, "to": to, "log": log}
        await reading.record_alone(who, "entries", asked)
        return StreamingResponse(
            _openings(reading, who, from_, to, log), media_type="application/x-ndjson"
        )

    return router


async def _turned_over(reading: Reading, who: Principal, page: Page) -> dict[str, Any]:
    """A page of a log before this one: what of a stretch of it is the reader's organization's."""
    if page.filters() or page.organization is not None:
        raise not_searchable()

    async def read(conn: Connection) -> dict[str, Any]:
        async with reading.turned_to(conn, page.log):
            _, size = await store.read_head(conn) or ("", 0)
            end = size if page.cursor is None else min(page.cursor, size)
            start = max(0, end - page.limit)
            found = await store.read_range(conn, start, end)
        asked = {"log": page.log, "cursor": page.cursor}
        await reading.record(conn, who, "entries", asked)
        shown = await Showing(reading.keys, who, projected=False).show(
            conn, found[::-1], payloads=False
        )
        theirs = [each for each in shown if each["organization"] in ("", None, who.organization)]
        return {"entries": theirs, "next_cursor": start or None}

    return await in_transaction(reading.pool, read)


async def _openings(
    reading: Reading, who: Principal, start: int, end: int, log: str | None
) -> AsyncIterator[bytes]:
    while start < end:
        until = min(end, start + OPENINGS_PER_READ)
        async with reading.log(log) as conn:
            rows = await store.read_sealed_range(conn, start, until)
            head = await store.read_head(conn)
        lines = [line for row in rows if (line := _opening_line(reading.keys, who, row))]
        if lines:
            yield b"".join(lines)
        if head is None or until >= head[1]:
            return
        start = until


def _opening_line(keys: KeyStore, who: Principal, row: store.SealedEntry) -> bytes | None:
    opening, missing = open_for(keys, who, row)
    if opening is not None:
        shown = {"index": row.index, "opening": opening}
    elif missing in ("key_unavailable", "altered"):
        shown = {"index": row.index, "missing": missing}
    else:
        return None
    return orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)


def _whose(who: Principal, organization: str | None) -> str:
    """Whose entries a query is about: one's own unless it asks for those that name nobody."""
    if organization is None:
        return who.organization
    if organization not in ("", who.organization):
        raise Problem(
            403, "other_organization", "Only entries of your own organization can be searched."
        )
    return organization
