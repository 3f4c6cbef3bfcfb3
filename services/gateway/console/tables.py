"""Every table of every page as CSV, with the filter that its link carries.

A page whose address gets `table=N` answers with its N-th table (from 1) instead: the page is made
as for the person who asks, one after the other as far as they go on, and what its cells say is
written out. So a file holds exactly what its reader may see, and no page needs a second query.
Instants are written in ISO 8601 with their offset, and what a cell says below its main line
follows it after a semicolon.
"""

from collections.abc import AsyncIterator
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode

import httpx
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.sheets.writing import csv_rows

PARAMETER = "table"
BETWEEN = "; "

_SILENT = frozenset(
    {"button", "progress", "script", "select", "style", "summary", "svg", "textarea"}
)
_VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "wbr"})

Attributes = list[tuple[str, str | None]]


class TableReader(HTMLParser):
    """Reads the `wanted`-th table of a page.

    `head` and `rows` are what its cells say; `following` is the address of the page after this one.
    """

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.head: list[list[str]] = []
        self.rows: list[list[str]] = []
        self.found = False
        self.following: str | None = None
        self._wanted = wanted
        self._tables = 0
        self._inside = False
        self._in_head = False
        self._cell: list[str] | None = None
        self._spanned = 1
        self._quiet: list[str] = []

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        """A tag opens."""
        has = dict(attrs)
        if tag == "a" and has.get("rel") == "next":
            self.following = has.get("href")
        if tag == "table":
            self._tables += 1
            self._inside = self._tables == self._wanted
            self.found |= self._inside
        if not self._inside:
            return
        if self._quiet or tag in _SILENT or has.get("aria-hidden") == "true":
            if tag not in _VOID:
                self._quiet.append(tag)
        elif tag in ("thead", "tbody", "tfoot"):
            self._in_head = tag == "thead"
        elif tag == "tr":
            (self.head if self._in_head else self.rows).append([])
        elif tag in ("th", "td"):
            self._cell, self._spanned = [], int(has.get("colspan") or 1)
        elif self._cell is not None and (
            tag in ("br", "li") or "under" in (has.get("class") or "").split()
        ):
            self._cell.append(BETWEEN)
        elif self._cell is not None and tag == "time":
            self._cell.append(has.get("datetime") or "")
            self._quiet.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """A tag closes."""
        if not self._inside:
            return
        if self._quiet:
            if self._quiet[-1] == tag:
                self._quiet.pop()
        elif tag == "table":
            self._inside = False
        elif tag in ("th", "td") and self._cell is not None:
            parts = " ".join("".join(self._cell).split()).split(BETWEEN.strip())
            said = BETWEEN.join(part.strip() for part in parts if part.strip())
            row = (self.head if self._in_head else self.rows)[-1]
            row += [said, *[""] * (self._spanned - 1)]
            self._cell = None

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        if self._cell is not None and not self._quiet:
            self._cell.append(data)


class Tables:
    """Answers `table=N` for the pages of `app`; everything else goes through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        asked = dict(query).get(PARAMETER)
        if asked is None or not asked.isdecimal():
            await self._app(scope, receive, send)
            return
        rest = urlencode([(name, value) for name, value in query if name != PARAMETER])
        address = f"{scope['path']}?{rest}"
        headers = [
            (name, value) for name, value in scope["headers"] if name in (b"cookie", b"host")
        ]
        response = await self._table(address, headers, int(asked[:3]))
        await response(scope, receive, send)

    async def _table(
        self, address: str, headers: list[tuple[bytes, bytes]], wanted: int
    ) -> Response:
        transport = httpx.ASGITransport(app=self._app)
        http = httpx.AsyncClient(transport=transport, base_url="http://console", headers=headers)
        page = await http.get(address)
        if page.status_code != 200:
            kept = {"location": page.headers["location"]} if page.is_redirect else {}
            return Response(page.content, page.status_code, kept, page.headers.get("content-type"))
        first = _read(page, wanted)
        if not first.found:
            return PlainTextResponse("This page has no such table; open it again.", status_code=404)
        name = _file_name(address)
        return StreamingResponse(
            _rows(http, first, wanted),
            media_type="text/csv; charset=utf-8",
            headers={
                "Cache-Control": "no-store",
                "Content-Disposition": f'attachment; filename="{name}.csv"',
            },
        )


async def _rows(http: httpx.AsyncClient, first: TableReader, wanted: int) -> AsyncIterator[bytes]:
    yield csv_rows([*first.head, *first.rows], mark=True)
    read = first
    while read.following is not None:
        page = await http.get(read.following)
        page.raise_for_status()
        read = _read(page, wanted)
        yield csv_rows(read.rows)


def _read(page: httpx.Response, wanted: int) -> TableReader:
    reader = TableReader(wanted)
    reader.feed(page.text)
    return reader


def _file_name(address: str) -> str:
    """What a file is called after the page it comes from."""
    kept = "".join(c if c.isalnum() else "-" for c in address.partition("?")[0].strip("/"))
    return kept or "overview"
