"""Where hashes live in the C2SP tlog-tiles layout: tiles of height 8, and bundles of entries."""

import re
from dataclasses import dataclass

from shared.tlog.merkle import HASH_BYTES, Subtree

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_LEVEL = 7
"""Eight levels hold 2**64 entries; nothing is above them."""

_PATH = re.compile(r"(?P<index>(?:x\d{3}/)*\d{3})(?:\.p/(?P<width>[1-9]\d{0,2}))?")


@dataclass(frozen=True, slots=True)
class Tile:
    """The `index`-th group of 256 hashes at a tile level (level 0 holds leaf hashes)."""

    level: int
    index: int


def tile_path(index: int, width: int = TILE_WIDTH) -> str:
    """`<N>[.p/<W>]`: the index in groups of three digits, and the width if it is not full."""
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03}")
    path = "/".join(reversed(groups))
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def parse_tile_path(path: str) -> tuple[int, int]:
    """Index and width of `<N>[.p/<W>]`.

    Raises:
        ValueError: the path is not in canonical form.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError(f"{path!r} is not a tile path such as x001/234 or 005.p/17")
    index = int(found["index"].replace("/", "").replace("x", ""))
    width = int(found["width"] or TILE_WIDTH)
    if tile_path(index, width) != path or width > TILE_WIDTH:
        raise ValueError(f"{path!r} is not the canonical form of a tile path")
    return index, width


def tile_of(subtree: Subtree) -> tuple[Tile, int, int]:
    """The tile from which a subtree's hash is computed, and the range of hashes in it."""
    level, height = divmod(subtree.level, TILE_HEIGHT)
    first = subtree.index << height
    index, start = divmod(first, TILE_WIDTH)
    return Tile(level, index), start, start + (1 << height)


def split_hashes(tile: bytes) -> list[bytes]:
    """The hashes that a tile's bytes are made of.

    Raises:
        ValueError: the length is not a multiple of a hash.
    """
    if len(tile) % HASH_BYTES:
        raise ValueError("a tile is not a whole number of hashes")
    return [tile[start : start + HASH_BYTES] for start in range(0, len(tile), HASH_BYTES)]


def pack_entries(leaves: list[bytes]) -> bytes:
    """An entry bundle: each leaf behind its length as a big-endian uint16."""
    return b"".join([len(leaf).to_bytes(2, "big") + leaf for leaf in leaves])


def unpack_entries(bundle: bytes) -> list[bytes]:
    """The leaves of an entry bundle.

    Raises:
        ValueError: a length points beyond the end.
    """
    leaves, position, end = [], 0, len(bundle)
    while position < end:
        length = int.from_bytes(bundle[position : position + 2], "big")
        position += 2
        if position + length > end:
            raise ValueError("the entry bundle is cut off")
        leaves.append(bundle[position : position + length])
        position += length
    return leaves
