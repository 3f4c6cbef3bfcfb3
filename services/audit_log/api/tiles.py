"""What everybody may have to check the log: C2SP tlog-tiles."""

from fastapi import APIRouter, Response

from services.audit_log import store
from services.audit_log.context import Reading
from shared.answers import answers_with
from shared.errors import Problem
from shared.tlog.merkle import HASH_BYTES
from shared.tlog.tiles import MAX_LEVEL, TILE_WIDTH, Tile, pack_entries, parse_tile_path

CHECKPOINT_CACHE = "no-cache"
OCTETS = "application/octet-stream"
TILE_CACHE = "public, max-age=31536000, immutable"


def tile_router(reading: Reading) -> APIRouter:
    """The routes for everybody: checkpoint, tiles and entry bundles, as C2SP tlog-tiles says."""
    router = APIRouter(prefix="/log", tags=["log"])

    @router.get("/{origin:path}/checkpoint", **answers_with("text/plain"))
    async def checkpoint(origin: str) -> Response:
        async with reading.log(origin) as conn:
            signed = await store.latest_checkpoint(conn)
        if signed is None:
            raise Problem(404, "not_yet_signed", "No checkpoint is signed yet; ask again soon.")
        return Response(
            signed.note,
            media_type="text/plain; charset=utf-8",
            headers={"Cache-Control": CHECKPOINT_CACHE},
        )

    @router.get("/{origin:path}/tile/entries/{path:path}", **answers_with(OCTETS))
    async def bundle(origin: str, path: str) -> Response:
        index, width = _tile_path(path)
        start = index * TILE_WIDTH
        async with reading.log(origin) as conn:
            head = await store.read_head(conn)
            if head is None or start + width > head[1]:
                raise Problem(404, "no_such_tile", "The log does not reach so far.")
            if start < await store.read_pruned(conn):
                raise Problem(404, "pruned", "These entries were pruned; their hashes are kept.")
            leaves = await store.read_leaves(conn, start, start + width)
        return _immutable(pack_entries([leaf for _, leaf in leaves]))

    @router.get("/{origin:path}/tile/{level}/{path:path}", **answers_with(OCTETS))
    async def tile(origin: str, level: int, path: str) -> Response:
        index, width = _tile_path(path)
        if not 0 <= level <= MAX_LEVEL:
            raise Problem(404, "no_such_tile", f"Levels go from 0 to {MAX_LEVEL}.")
        wanted = Tile(level, index)
        async with reading.log(origin) as conn:
            hashes = (await store.read_tiles(conn, [wanted])).get(wanted, b"")
        if len(hashes) < width * HASH_BYTES:
            raise Problem(404, "no_such_tile", "The log does not reach so far.")
        return _immutable(hashes[: width * HASH_BYTES])

    return router


def _tile_path(path: str) -> tuple[int, int]:
    try:
        return parse_tile_path(path)
    except ValueError as error:
        raise Problem(404, "no_such_tile", str(error)) from error


def _immutable(content: bytes) -> Response:
    return Response(content, media_type=OCTETS, headers={"Cache-Control": TILE_CACHE})
