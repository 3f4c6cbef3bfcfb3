"""How the log grows, purely: which entry a record becomes, and which tiles a batch completes."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote

import orjson

from shared.contracts.topics import ACCESS_EVENTS, ADMIN_EVENTS, HR_EVENTS, REVIEW_EVENTS
from shared.tlog.leaf import STRUCTURED_MODE
from shared.tlog.merkle import (
    HASH_BYTES,
    Subtree,
    fold_right,
    perfect_root,
)
from shared.tlog.tiles import (
    MAX_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    split_hashes,
    tile_of,
)

WORKER_TOPICS = frozenset(
    topic.name for topic in (HR_EVENTS, ACCESS_EVENTS, REVIEW_EVENTS, ADMIN_EVENTS)
)
"""Topics whose keys name a worker, or a portal, campaign or actor in the worker's place."""

WORKER = ""
"""The kind of a holder who is a worker; it is not written, so that a worker is named by two parts.
"""

KIND_OF_FAMILY = MappingProxyType(
    {
        "administrator": "portal",
        "brake": "brake",
        "campaign": "campaign",
        "outage": "portal",
        "portal": "portal",
        "roster": "portal",
    }
)
"""What the key names, by the first word of an access or review event's type; else a worker."""

CACHED_NAMES = 20_000
"""Keys and subjects read once: most records are about workers who had one shortly before."""

MAX_SUBJECT_LENGTH = 200
"""Longer or unprintable subjects are not searched by; the entry keeps them like everything else."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What appending a batch adds: tiles that became full, and right edges that moved."""

    full: list[tuple[Tile, bytes]]
    edges: list[tuple[Tile, bytes]]


@lru_cache(maxsize=CACHED_NAMES)
def keyholder(topic: str, type: str, key: bytes | None) -> tuple[str, ...] | None:
    """Whose key encrypts a record: organization, id and, unless it is a worker, its kind.

    None where the key names nobody. A portal, campaign or actor that is called like a worker has
    a key of its own, so that erasing the worker destroys nothing else.
    """
    if topic not in WORKER_TOPICS or key is None:
        return None
    try:
        organization, slash, name = key.decode().partition("/")
    except UnicodeDecodeError:
        return None
    if not organization or not slash or not name or "/" in name:
        return None
    kind = _kind_of(topic, type)
    holder = (organization, unquote(name))
    return holder if kind == WORKER else (*holder, kind)


def _kind_of(topic: str, type: str) -> str:
    if topic == ADMIN_EVENTS.name:
        return "actor"
    if topic == HR_EVENTS.name:
        return WORKER
    return KIND_OF_FAMILY.get(type.partition(".")[0], WORKER)


def event_names(headers: Mapping[str, bytes | None], value: bytes | None) -> tuple[str, int | None]:
    """What an entry is found by: its event's subject, and 64 bits of its identity.

    The identity is organization, source and id; it is None, and the subject empty, where the record
    does not name them.
    """
    if (headers.get("content-type") or b"").startswith(STRUCTURED_MODE):
        headers = _structured_names(value)
    subject = _readable(headers.get("ce_subject"))
    organization, source = headers.get("ce_organization"), headers.get("ce_source")
    id_ = headers.get("ce_id")
    if not organization or not source or not id_:
        return subject, None
    digest = hashlib.blake2b(
        b"%b\x00%b\x00%b" % (organization, source, id_), digest_size=8
    ).digest()
    return subject, int.from_bytes(digest, "big", signed=True)


def _structured_names(value: bytes | None) -> dict[str, bytes | None]:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(document, dict):
        return {}
    return {
        f"ce_{name}": document[name].encode()
        for name in ("subject", "organization", "source", "id")
        if isinstance(document.get(name), str)
    }


@lru_cache(maxsize=CACHED_NAMES)
def _readable(raw: bytes | None) -> str:
    try:
        text = (raw or b"").decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() and len(text) <= MAX_SUBJECT_LENGTH else ""


def grow(size: int, edges: Mapping[int, bytes], leaf_hashes: Sequence[bytes]) -> Growth:
    """Append leaf hashes to a tree of `size`, whose partial tiles by level are `edges`.

    Costs one hashing per entry (255 for each full tile) and rewrites only edges that move.

    Raises:
        ValueError: the edges are not those of a tree of this size.
    """
    full: list[tuple[Tile, bytes]] = []
    moved: list[tuple[Tile, bytes]] = []
    arriving = list(leaf_hashes)
    for level in range(MAX_LEVEL + 1):
        if not arriving:
            break
        index, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
        edge = edges.get(level, b"")
        if len(edge) != width * HASH_BYTES:
            raise ValueError(f"the edge of level {level} is not that of a tree of {size} entries")
        hashes = split_hashes(edge) + arriving
        arriving = []
        while len(hashes) >= TILE_WIDTH:
            tile, hashes = hashes[:TILE_WIDTH], hashes[TILE_WIDTH:]
            full.append((Tile(level, index), b"".join(tile)))
            arriving.append(perfect_root(tile))
            index += 1
        moved.append((Tile(level, index), b"".join(hashes)))
    return Growth(full, moved)


def edge_root(size: int, edges: Mapping[int, bytes]) -> bytes:
    """The root of a tree of `size` whose partial tiles by level are `edges`.

    Raises:
        ValueError: the edges are not those of a tree of this size.
    """
    subtrees: list[bytes] = []
    for level in range(MAX_LEVEL, -1, -1):
        width = (size >> (TILE_HEIGHT * level)) % TILE_WIDTH
        hashes = split_hashes(edges.get(level, b""))
        if len(hashes) != width:
            raise ValueError(f"the edge of level {level} is not that of a tree of {size} entries")
        start = 0
        for bit in range(TILE_HEIGHT - 1, -1, -1):
            if width >> bit & 1:
                subtrees.append(perfect_root(hashes[start : start + (1 << bit)]))
                start += 1 << bit
    return fold_right(subtrees)


def tiles_for(path: Iterable[Iterable[Subtree]]) -> set[Tile]:
    """The tiles to read before a proof along `path` can be folded."""
    return {tile_of(subtree)[0] for part in path for subtree in part}


def subtree_hash(subtree: Subtree, tiles: Mapping[Tile, bytes]) -> bytes:
    """The hash of a subtree, computed inside its tile.

    Raises:
        KeyError, ValueError: the tile is missing or too narrow: the log is damaged.
    """
    tile, start, end = tile_of(subtree)
    hashes = split_hashes(tiles[tile][start * HASH_BYTES : end * HASH_BYTES])
    if len(hashes) != end - start:
        raise ValueError(f"tile {tile.level}/{tile.index} lacks hashes up to {end}")
    return perfect_root(hashes)
