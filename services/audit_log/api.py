"""The audit log over HTTP: search, proofs and the live tail for auditors, tiles for everybody.

Under `/log` is what anybody may have to check the log (C2SP tlog-tiles); it shows no payloads.
Under `/audit/v1` a token with `audit:read` is needed, and each query and each stream opened is
itself an `audit.read` event, written before anything is shown. That makes one more entry, but no
endless loop: what the live tail delivers is not a query, so showing the entry of a read records
nothing more.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import uuid4

import asyncpg
import orjson
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse

from services.audit_log import store
from services.audit_log.chain import subtree_hash, tiles_for
from services.audit_log.crypto import KeyStore, KeyUnavailable, PayloadAltered
from services.audit_log.reading import Showing, may_open, organization_of, read_leaf, unseal
from shared.auth import Authenticator, Principal
from shared.clock import Clock
from shared.contracts.admin import AuditRead
from shared.contracts.envelope import event_key
from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction
from shared.tlog.leaf import LeafError
from shared.tlog.merkle import (
    HASH_BYTES,
    Subtree,
    consistency_path,
    fold_path,
    fold_right,
    inclusion_path,
    leaf_hash,
    subtrees,
)
from shared.tlog.tiles import MAX_LEVEL, TILE_WIDTH, Tile, pack_entries, parse_tile_path

PAGE_DEFAULT, PAGE_MAX = 50, 500
TAIL_POLL_SECONDS = 0.2
TAIL_ENTRIES_PER_READ = 200
TAIL_KEEPALIVE_SECONDS = 15.0
"""Proxies close what is silent for longer; a comment line keeps them from it."""

OPENINGS_PER_READ = 500
CHECKPOINT_CACHE = "no-cache"
TILE_CACHE = "public, max-age=31536000, immutable"
MAX_INDEX = 2**62

Index = Annotated[int, Query(ge=0, le=MAX_INDEX)]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the routes share: the database, the keys, and whose clock dates a read."""

    pool: "asyncpg.Pool[Any]"
    keys: KeyStore
    clock: Clock
    origin: str

    async def record(
        self, conn: Connection, who: Principal, what: str, filters: dict[str, Any]
    ) -> None:
        """Write down that somebody reads; the event commits before they see anything."""
        asked = {name: str(value) for name, value in filters.items() if value is not None}
        await enqueue(
            conn,
            [
                fact(
                    ADMIN_EVENTS,
                    "audit.read",
                    source="/portalkeeper/audit_log",
                    organization=who.organization,
                    key=event_key(who.organization, who.subject),
                    subject=who.subject,
                    cause=(str(uuid4()),),
                    time=await self.clock.now(conn),
                    data=AuditRead(what, asked),
                )
            ],
        )

    async def record_alone(self, who: Principal, what: str, filters: dict[str, Any]) -> None:
        """The same in a transaction of its own, before a stream begins."""
        await in_transaction(self.pool, lambda conn: self.record(conn, who, what, filters))

    async def checkpoint(self, conn: Connection) -> store.SignedCheckpoint:
        """The latest checkpoint.

        Raises:
            Problem: 409 when nothing is signed yet.
        """
        signed = await store.latest_checkpoint(conn)
        if signed is None:
            raise Problem(409, "not_yet_signed", "No checkpoint is signed yet; ask again soon.")
        return signed

    async def fold(self, conn: Connection, path: Iterable[list[Subtree]]) -> list[bytes]:
        """The hashes of a proof.

        Raises:
            Problem: 500 when tiles are missing.
        """
        parts = list(path)
        tiles = await store.read_tiles(conn, tiles_for(parts))
        try:
            return fold_path(parts, lambda subtree: subtree_hash(subtree, tiles))
        except (KeyError, ValueError) as error:
            raise Problem(
                500, "log_damaged", f"Tiles are missing; verify the log. ({error})"
            ) from error

    async def root(self, conn: Connection, size: int) -> bytes:
        """The root of the first `size` entries, from the tiles."""
        whole = [[subtree] for subtree in subtrees(0, size)]
        return fold_right(await self.fold(conn, whole))


def audit_router(reading: Reading, authenticator: Authenticator) -> APIRouter:
    """The routes for auditors."""
    router = APIRouter(prefix="/audit/v1", tags=["audit"])
    Reader = Annotated[Principal, Depends(authenticator.requires("audit:read"))]

    @router.get("/log")
    async def log(_who: Reader) -> dict[str, Any]:
        async with reading.pool.acquire() as conn:
            head = await store.read_head(conn)
            signed = await store.latest_checkpoint(conn)
        return {
            "origin": reading.origin,
            "size": head[1] if head else 0,
            "checkpoint": signed.note if signed else None,
            "checkpoint_size": signed.size if signed else None,
            "public_key": signed.verifier_key if signed else None,
        }

    @router.get("/entries")
    async def entries(
        who: Reader,
        cursor: Annotated[Index | None, Query(description="Show entries below.")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
        worker: Annotated[str | None, Query(max_length=200)] = None,
        type: Annotated[str | None, Query(max_length=100)] = None,
        topic: Annotated[str | None, Query(max_length=100)] = None,
        organization: Annotated[str | None, Query(max_length=100)] = None,
    ) -> dict[str, Any]:
        wanted = store.Filter(
            _whose(who, organization), _plain(worker), _plain(type), _plain(topic)
        )
        filters = {"worker": worker, "type": type, "topic": topic, "organization": organization}

        async def read(conn: Connection) -> dict[str, Any]:
            await reading.record(conn, who, "entries", {**filters, "cursor": cursor})
            before = MAX_INDEX if cursor is None else cursor
            found, following = await store.search(conn, wanted, before, limit)
            shown = await Showing(reading.keys, who).show(conn, found, payloads=False)
            return {"entries": shown, "next_cursor": following}

        return await in_transaction(reading.pool, read)

    @router.get("/entries/{index}")
    async def entry(who: Reader, index: int) -> dict[str, Any]:
        async def read(conn: Connection) -> dict[str, Any]:
            found = await store.read_entry(conn, min(index, MAX_INDEX))
            if found is None:
                raise Problem(404, "no_such_entry", f"The log has no entry {index}.")
            await reading.record(conn, who, "entry", {"index": index})
            [shown] = await Showing(reading.keys, who).show(conn, [found], payloads=True)
            return shown

        return await in_transaction(reading.pool, read)

    @router.get("/entries/{index}/proof")
    async def proof(who: Reader, index: int) -> dict[str, Any]:
        async def read(conn: Connection) -> dict[str, Any]:
            found = await store.read_entry(conn, min(index, MAX_INDEX))
            if found is None:
                raise Problem(404, "no_such_entry", f"The log has no entry {index}.")
            signed = await reading.checkpoint(conn)
            if index >= signed.size:
                raise Problem(
                    409, "not_yet_signed", "No checkpoint covers this entry yet; ask again soon."
                )
            await reading.record(conn, who, "proof", {"index": index})
            return {
                "origin": reading.origin,
                "index": index,
                "size": signed.size,
                "leaf": found.leaf.decode(errors="replace"),
                "leaf_hash": _b64(leaf_hash(found.leaf)),
                "hashes": _all_b64(await reading.fold(conn, inclusion_path(index, signed.size))),
                "root": _b64(await reading.root(conn, signed.size)),
                "checkpoint": signed.note,
                "public_key": signed.verifier_key,
            }

        return await in_transaction(reading.pool, read)

    @router.get("/consistency")
    async def consistency(
        _who: Reader,
        from_: Annotated[int, Query(alias="from", ge=0, le=MAX_INDEX)],
        to: Annotated[int | None, Query(ge=0, le=MAX_INDEX)] = None,
    ) -> dict[str, Any]:
        async with reading.pool.acquire() as conn:
            signed = await reading.checkpoint(conn)
            size = signed.size if to is None else to
            if not from_ <= size <= signed.size:
                raise Problem(
                    422, "invalid_request", f"Give from <= to <= {signed.size}, which is signed."
                )
            return {
                "origin": reading.origin,
                "from": from_,
                "to": size,
                "hashes": _all_b64(await reading.fold(conn, consistency_path(from_, size))),
                "from_root": _b64(await reading.root(conn, from_)),
                "to_root": _b64(await reading.root(conn, size)),
                "checkpoint": signed.note,
                "public_key": signed.verifier_key,
            }

    @router.get("/openings")
    async def openings(
        who: Reader,
        from_: Annotated[int, Query(alias="from", ge=0, le=MAX_INDEX)],
        to: Annotated[int, Query(ge=0, le=MAX_INDEX)],
    ) -> StreamingResponse:
        """What the leaves commit to, one JSON object per line, for the entries one may read."""
        await reading.record_alone(who, "entries", {"form": "openings", "from": from_, "to": to})
        return StreamingResponse(
            _openings(reading, who, from_, to), media_type="application/x-ndjson"
        )

    @router.get("/stream")
    async def stream(
        who: Reader,
        last_event_id: Annotated[int | None, Header(ge=0, le=MAX_INDEX)] = None,
    ) -> StreamingResponse:
        """New entries as server-sent events; the id of an event is its entry's index."""
        await reading.record_alone(who, "stream", {"after": last_event_id})
        return StreamingResponse(
            _tail(reading, who, last_event_id),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return router


def tile_router(reading: Reading) -> APIRouter:
    """The routes for everybody: checkpoint, tiles and entry bundles, as C2SP tlog-tiles says."""
    router = APIRouter(prefix="/log", tags=["log"])

    def check(origin: str) -> None:
        if origin != reading.origin:
            raise Problem(404, "no_such_log", f"This is the log {reading.origin}.")

    @router.get("/{origin:path}/checkpoint")
    async def checkpoint(origin: str) -> Response:
        check(origin)
        async with reading.pool.acquire() as conn:
            signed = await store.latest_checkpoint(conn)
        if signed is None:
            raise Problem(404, "not_yet_signed", "No checkpoint is signed yet; ask again soon.")
        return Response(
            signed.note,
            media_type="text/plain; charset=utf-8",
            headers={"Cache-Control": CHECKPOINT_CACHE},
        )

    @router.get("/{origin:path}/tile/entries/{path:path}")
    async def bundle(origin: str, path: str) -> Response:
        check(origin)
        index, width = _tile_path(path)
        async with reading.pool.acquire() as conn:
            head = await store.read_head(conn)
            if head is None or index * TILE_WIDTH + width > head[1]:
                raise Problem(404, "no_such_tile", "The log does not reach so far.")
            start = index * TILE_WIDTH
            leaves = await store.read_leaves(conn, start, start + width)
        return _immutable(pack_entries([leaf for _, leaf in leaves]))

    @router.get("/{origin:path}/tile/{level}/{path:path}")
    async def tile(origin: str, level: int, path: str) -> Response:
        check(origin)
        index, width = _tile_path(path)
        if not 0 <= level <= MAX_LEVEL:
            raise Problem(404, "no_such_tile", f"Levels go from 0 to {MAX_LEVEL}.")
        wanted = Tile(level, index)
        async with reading.pool.acquire() as conn:
            hashes = (await store.read_tiles(conn, [wanted])).get(wanted, b"")
        if len(hashes) < width * HASH_BYTES:
            raise Problem(404, "no_such_tile", "The log does not reach so far.")
        return _immutable(hashes[: width * HASH_BYTES])

    return router


async def _openings(reading: Reading, who: Principal, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        until = min(end, start + OPENINGS_PER_READ)
        async with reading.pool.acquire() as conn:
            rows = await store.read_sealed_range(conn, start, until)
            head = await store.read_head(conn)
        lines = [line for row in rows if (line := _opening_line(reading.keys, who, row))]
        if lines:
            yield b"".join(lines)
        if head is None or until >= head[1]:
            return
        start = until


def _opening_line(keys: KeyStore, who: Principal, row: store.SealedEntry) -> bytes | None:
    leaf = read_leaf(row.leaf)
    if row.key_slot is None or row.payload is None:
        return None
    if leaf is not None and not may_open(who, organization_of(leaf)):
        return None
    shown: dict[str, Any] = {"index": row.index}
    try:
        shown["opening"] = _b64(unseal(keys, row.leaf, row.key_slot, row.payload))
    except KeyUnavailable:
        shown["missing"] = "key_unavailable"
    except (PayloadAltered, LeafError):
        shown["missing"] = "altered"
    return orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)


async def _tail(reading: Reading, who: Principal, after: int | None) -> AsyncIterator[bytes]:
    showing = Showing(reading.keys, who)
    loop = asyncio.get_running_loop()
    spoke_at = loop.time()
    yield b": the id of each event is the index of its entry\n\n"
    position = None if after is None else after + 1
    while True:
        async with reading.pool.acquire() as conn:
            head = await store.read_head(conn)
            size = head[1] if head else 0
            position = size if position is None else min(position, size)
            until = min(size, position + TAIL_ENTRIES_PER_READ)
            found = await store.read_range(conn, position, until)
            shown = await showing.show(conn, found, payloads=False)
        visible = [one for one in shown if one["organization"] in ("", None, who.organization)]
        position = until
        if visible:
            spoke_at = loop.time()
            yield b"".join(_event(one) for one in visible)
        elif loop.time() - spoke_at > TAIL_KEEPALIVE_SECONDS:
            spoke_at = loop.time()
            yield b": nothing new\n\n"
        if position >= size:
            await asyncio.sleep(TAIL_POLL_SECONDS)


def _event(shown: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (shown["index"], orjson.dumps(shown))


def _whose(who: Principal, organization: str | None) -> str:
    """Whose entries a query is about: one's own unless it asks for those that name nobody."""
    if organization is None:
        return who.organization
    if organization not in ("", who.organization):
        raise Problem(
            403, "other_organization", "Only entries of your own organization can be searched."
        )
    return organization


def _plain(text: str | None) -> str | None:
    """`text`, if PostgreSQL can compare it; empty stands for not asked."""
    if text is not None and "\x00" in text:
        raise Problem(422, "invalid_request", "A search cannot hold NUL characters.")
    return text or None


def _tile_path(path: str) -> tuple[int, int]:
    try:
        return parse_tile_path(path)
    except ValueError as error:
        raise Problem(404, "no_such_tile", str(error)) from error


def _immutable(content: bytes) -> Response:
    return Response(
        content, media_type="application/octet-stream", headers={"Cache-Control": TILE_CACHE}
    )


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _all_b64(hashes: Iterable[bytes]) -> list[str]:
    return [_b64(hashed) for hashed in hashes]
