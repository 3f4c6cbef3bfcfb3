"""Copies a whole log into a folder, to be checked where its server cannot be reached."""

from pathlib import Path

import orjson

from services.cli.audit_sources import FreshServer, Server
from services.cli.audit_verify import Progress
from shared.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, tile_path

HANDOUT = ("verify_audit_log.py", "WHAT-IT-PROVES.md")
OPENINGS_AHEAD = 65_536
"""Entries whose payloads are asked for at a time: each request is recorded as one reading."""


def mirror(source: FreshServer, folder: Path, progress: Progress) -> int:
    """Copy checkpoint, tiles, entries and payloads one may read; how many entries there are.

    What is there already is kept, so that an interrupted copy goes on where it was.

    Raises:
        CannotVerify: the server does not answer, or has signed nothing yet.
    """
    server = source.now()
    origin = str(server.log()["origin"])
    note = server.checkpoint(origin)
    log = server.log()
    # A log that was frozen has fewer entries than were signed; every other one has no fewer.
    size = min(int(note.split("\n")[1]), int(log["size"]))
    _copy_tiles(source, folder, origin, size, progress)
    _copy_openings(source, folder, size, progress)
    for name in HANDOUT:
        _write(folder / name, server.handout(name))
    _write(folder / "log.json", orjson.dumps({**log, "size": size, "checkpoint": note}))
    _write(folder / "key.txt", f"{log['public_key']}\n".encode())
    _write(folder / "checkpoint", note.encode())
    return size


def _copy_tiles(
    source: FreshServer, folder: Path, origin: str, size: int, progress: Progress
) -> None:
    level, width = 0, size
    while width:
        for index in range(-(-width // TILE_WIDTH)):
            wide = min(TILE_WIDTH, width - index * TILE_WIDTH)
            _copy_tile(source.now(), folder, origin, str(level), index, wide)
            if level == 0:
                _copy_tile(source.now(), folder, origin, "entries", index, wide)
                progress(min(size, (index + 1) * TILE_WIDTH), 2 * size)
        level, width = level + 1, width >> TILE_HEIGHT


def _copy_tile(
    server: Server, folder: Path, origin: str, kind: str, index: int, width: int
) -> None:
    path = folder / "tile" / kind / tile_path(index, width)
    if path.exists():
        return
    if kind == "entries":
        content = server.bundle(origin, index, width)
    else:
        content = server.tile(origin, int(kind), index, width)
    if content is not None:
        _write(path, content)


def _copy_openings(source: FreshServer, folder: Path, size: int, progress: Progress) -> None:
    path = folder / "openings.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    start = _forget_cut_off_line(path)
    with path.open("ab") as file:
        while start < size:
            until = min(size, start + OPENINGS_AHEAD)
            for shown in source.now().openings(start, until):
                file.write(orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE))
            start = until
            progress(size + until, 2 * size)


def _forget_cut_off_line(path: Path) -> int:
    """The first entry whose opening is not there yet, once an unfinished last line is gone."""
    if not path.exists():
        return 0
    last, end = -1, 0
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            last, end = orjson.loads(line)["index"], end + len(line)
        file.truncate(end)
    return last + 1


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
