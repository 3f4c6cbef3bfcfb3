"""Checks a stretch of a log by itself, so that stretches can be checked in parallel.

A stretch begins at a multiple of its width, a power of two; its tree is then a part of the log's,
and what remains to be done in order is little: putting the trees side by side, and seeing that
Kafka's offsets go on from one stretch to the next.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from services.cli.audit_sources import Source
from shared.tlog.leaf import (
    GapLeaf,
    LeafError,
    Opening,
    RecordLeaf,
    SuccessionLeaf,
    check_opening,
    parse_leaf,
    scan_record,
)
from shared.tlog.merkle import Frontier, leaf_hash
from shared.tlog.tiles import TILE_WIDTH, split_hashes, unpack_entries

STRETCH_ENTRIES = 65_536
MAX_PROBLEMS = 100
"""The first wrong entry matters most; a log that is wrong everywhere need not be listed whole."""

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong; `index` is the entry, None where it is about the log as a whole."""

    index: int | None
    what: str


@dataclass(frozen=True, slots=True)
class First:
    """The first entry of a partition in a stretch; a restart may have any offset."""

    index: int
    offset: int
    restart: bool


@dataclass(slots=True)
class Stretch:
    """What checking the entries `[start, end)` gave.

    `at_mark` is the stretch's tree up to a remembered size, where that lies inside. `firsts` and
    `next_offsets` connect partitions with the stretches around. `complete` is false where entries
    were missing at the end, so that nothing behind it can be checked.
    """

    start: int
    end: int
    tree: Frontier = field(default_factory=Frontier.empty)
    at_mark: list[bytes] | None = None
    firsts: dict[Place, First] = field(default_factory=dict)
    next_offsets: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    restarts: list[tuple[int, Place]] = field(default_factory=list)
    entries: int = 0
    payloads: int = 0
    payloads_missing: int = 0
    pruned: int = 0
    complete: bool = True

    def add(self, index: int | None, what: str) -> None:
        """Note a problem, unless there are too many already."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(index, what))


@dataclass(frozen=True, slots=True)
class Task:
    """A stretch to check: of which log, from where to where, and where to note the tree."""

    source: Source
    origin: str
    start: int
    end: int
    mark: int | None = None
    pruned: int = 0


def check_stretch(task: Task) -> Stretch:
    """Check every leaf against its tile and its payload, and offsets as far as they are inside.

    Raises:
        CannotVerify: the log cannot be read.
    """
    found = Stretch(task.start, task.end)
    openings = task.source.openings(task.start, task.end)
    shown = next(openings, None)
    for start, leaves, hashes in _bundles(task):
        ours = [leaf_hash(leaf) for leaf in leaves]
        if leaves or start >= task.pruned:
            _compare(found, start, ours, hashes)
        else:
            ours = hashes
            found.pruned += len(hashes)
        for index, leaf in enumerate(leaves, start):
            while shown is not None and shown["index"] < index:
                shown = next(openings, None)
            here = shown if shown is not None and shown["index"] == index else None
            _check_leaf(found, task.origin, index, leaf, here)
        _extend(found, ours, task.mark)
        found.entries += len(ours)
        if len(ours) < min(TILE_WIDTH - start % TILE_WIDTH, task.end - start):
            found.add(start + len(ours), "entries are missing from here on")
            found.complete = False
            break
    return found


def _bundles(task: Task) -> Iterator[tuple[int, list[bytes], list[bytes]]]:
    """The leaves of each bundle, and the leaf hashes of the tile beside it, in order."""
    start = task.start
    while start < task.end:
        index, skipped = divmod(start, TILE_WIDTH)
        width = min(TILE_WIDTH, task.end - index * TILE_WIDTH)
        tile = task.source.tile(task.origin, 0, index, width) or b""
        bundle = task.source.bundle(task.origin, index, width) or b""
        try:
            leaves, hashes = unpack_entries(bundle), split_hashes(tile)
        except ValueError:
            leaves, hashes = [], []
        yield start, leaves[skipped:width], hashes[skipped:width]
        start = (index + 1) * TILE_WIDTH


def _check_leaf(
    found: Stretch, origin: str, index: int, raw: bytes, shown: dict[str, Any] | None
) -> None:
    fields = scan_record(raw)
    if fields is None:
        _check_other_leaf(found, origin, index, raw, shown)
        return
    if fields[4].decode() != origin:
        found.add(index, f"the entry belongs to the log {fields[4].decode()}")
    offset = int(fields[2])
    _check_offset(found, index, (fields[7].decode(), int(fields[5])), offset, offset + 1)
    if shown is None:
        return
    if shown.get("missing") == "key_unavailable":
        found.payloads_missing += 1
        return
    if "opening" not in shown:
        found.add(index, "the payload was altered: it does not decrypt")
        return
    try:
        check_opening(base64.b64decode(shown["opening"]), fields)
    except (LeafError, ValueError, TypeError) as error:
        found.add(index, str(error))
    found.payloads += 1


def _check_other_leaf(
    found: Stretch, origin: str, index: int, raw: bytes, shown: dict[str, Any] | None
) -> None:
    """A gap, a succession, a record with an unusual name, or no leaf at all."""
    try:
        leaf = parse_leaf(raw)
    except LeafError as error:
        found.add(index, str(error))
        return
    if leaf.origin != origin:
        found.add(index, f"the entry belongs to the log {leaf.origin}")
    if isinstance(leaf, SuccessionLeaf):
        if index:
            found.add(index, "only a log's first entry may name the log before it")
        return
    last = leaf.offset if isinstance(leaf, RecordLeaf) else leaf.last
    restart = isinstance(leaf, GapLeaf) and leaf.is_restart
    place = (leaf.topic, leaf.partition)
    _check_offset(found, index, place, leaf.offset, last + 1, restart=restart)
    if shown is None or shown.get("missing") == "key_unavailable":
        found.payloads_missing += shown is not None
        return
    if "opening" not in shown or isinstance(leaf, GapLeaf):
        found.add(index, "the payload was altered: it does not decrypt")
        return
    try:
        Opening.decode(base64.b64decode(shown["opening"])).check(leaf)
    except (LeafError, ValueError, TypeError) as error:
        found.add(index, str(error))
    found.payloads += 1


def _check_offset(
    found: Stretch, index: int, place: Place, offset: int, following: int, *, restart: bool = False
) -> None:
    expected = found.next_offsets.get(place)
    if restart:
        found.restarts.append((index, place))
    if expected is None:
        found.firsts[place] = First(index, offset, restart)
    elif offset != expected and not restart:
        found.add(index, offset_problem(place, expected, offset))
    found.next_offsets[place] = following


def offset_problem(place: Place, expected: int, offset: int) -> str:
    """What is wrong where a partition does not go on at the offset it must."""
    where = f"{place[0]}/{place[1]}"
    if offset > expected:
        return f"{where} jumps from offset {expected} to {offset}: entries are missing before it"
    return f"{where} goes back from offset {expected} to {offset}"


def _compare(found: Stretch, start: int, ours: list[bytes], theirs: list[bytes]) -> None:
    """Name the first leaf that its tile contradicts, and how it came to be so."""
    if ours == theirs:
        return
    for position, hashed in enumerate(theirs):
        here = ours[position : position + 2]
        if here[:1] == [hashed]:
            continue
        following = theirs[position + 1 : position + 2]
        if not here:
            what = "the entry is missing"
        elif here[:1] == following and here[1:] == [hashed]:
            what = "the entry changed places with the next one"
        elif here[1:] == [hashed]:
            what = "an entry was inserted here"
        elif here[:1] == following:
            what = "the entry was removed"
        else:
            what = "the entry's leaf was changed"
        found.add(start + position, what)
        return
    found.add(start + len(theirs), "the tile lacks the entry's hash")


def _extend(found: Stretch, hashes: list[bytes], mark: int | None) -> None:
    """Append leaf hashes; where the mark lies among them, keep the tree as it is there."""
    until = -1 if mark is None else mark - found.start - found.tree.size
    if not 0 < until <= len(hashes):
        found.tree.extend(hashes)
        return
    found.tree.extend(hashes[:until])
    found.at_mark = list(found.tree.hashes)
    found.tree.extend(hashes[until:])
