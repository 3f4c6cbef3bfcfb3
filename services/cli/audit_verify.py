"""Checks an audit log with no trust in its server, by recomputing all of it.

Everything is fetched from the server and nothing of it believed: the checkpoint must be signed by
the key remembered from an earlier day, the tree over every leaf must have the root it states, the
tree of the remembered checkpoint must be its beginning, no Kafka offset may be missing without a
gap entry that says so, and every payload one may read must be what its leaf commits to.
"""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from shared.tlog.leaf import GapLeaf, Leaf, LeafError, Opening, RecordLeaf, parse_leaf
from shared.tlog.merkle import Frontier, leaf_hash
from shared.tlog.note import Checkpoint, NoteError, VerifierKey, open_checkpoint
from shared.tlog.tiles import TILE_WIDTH, split_hashes, tile_path, unpack_entries

REQUEST_SECONDS = 60
BUNDLES_AHEAD = 8
"""Bundles fetched while one is checked."""

MAX_PROBLEMS = 100
"""The first wrong entry matters most; a log that is wrong everywhere need not be listed whole."""

Progress = Callable[[int, int], None]
"""Called with how many entries are checked, of how many."""


class CannotVerify(Exception):
    """The check could not be carried out, which says nothing about the log."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong; `index` is the entry, None where it is about the log as a whole."""

    index: int | None
    what: str


@dataclass(slots=True)
class Report:
    """What was checked and what was found. The log is good if there are no problems.

    `payloads` counts payloads compared with their leaves; `payloads_missing` those that could not
    be, because their key was destroyed.
    """

    origin: str
    size: int
    root: bytes
    public_key: str
    remembered_size: int | None = None
    entries: int = 0
    payloads: int = 0
    payloads_missing: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def first_wrong(self) -> Problem | None:
        """The problem with the lowest index; problems of the log as a whole come last."""
        return min(
            self.problems,
            key=lambda problem: (problem.index is None, problem.index or 0),
            default=None,
        )

    def add(self, index: int | None, what: str) -> None:
        """Note a problem, unless there are too many already."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(index, what))


@dataclass(frozen=True, slots=True)
class Remembered:
    """The checkpoint of an earlier check, and the key it was signed with."""

    note: str
    key: VerifierKey
    checkpoint: Checkpoint

    @classmethod
    def read(cls, path: Path) -> "Remembered | None":
        """What an earlier check wrote; None if there was none.

        Raises:
            CannotVerify: the file is damaged.
        """
        try:
            stored = orjson.loads(path.read_bytes())
            key = VerifierKey.parse(stored["public_key"])
            return cls(stored["note"], key, open_checkpoint(stored["note"], key))
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, KeyError, TypeError, NoteError) as error:
            raise CannotVerify(f"{path} holds no checkpoint of an earlier check") from error


async def verify(url: str, token: str, *, remembered: Path | None, progress: Progress) -> Report:
    """Check the whole log at `url`.

    Args:
        url: the audit log's base URL.
        token: a bearer token with the scope `audit:read`.
        remembered: where the checkpoint of the last good check is kept; written after a good one.
            Without it a log that was cut off or rewritten as a whole cannot be told from a new one.

    Raises:
        CannotVerify: the server does not answer, refuses the token, or has signed nothing yet.
    """
    earlier = None if remembered is None else Remembered.read(remembered)
    async with httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {token}"},
        timeout=REQUEST_SECONDS,
    ) as http:
        try:
            return await _Verification(http, progress).run(earlier, remembered)
        except httpx.HTTPError as error:
            raise CannotVerify(f"{url} does not answer: {error!r}") from error


class _Verification:
    def __init__(self, http: httpx.AsyncClient, progress: Progress) -> None:
        self._http = http
        self._progress = progress
        self._next_offset: dict[tuple[str, int], int] = {}

    async def run(self, earlier: Remembered | None, path: Path | None) -> Report:
        log = orjson.loads(await self._get("/audit/v1/log"))
        if not log.get("public_key"):
            raise CannotVerify("the server has signed no checkpoint yet")
        origin = str(log["origin"])
        report = Report(origin, 0, b"", str(log["public_key"]))
        note = (await self._get(f"/log/{origin}/checkpoint")).decode(errors="replace")
        checkpoint = self._open(note, report, earlier)
        if checkpoint is None:
            return report
        report.size, report.root = checkpoint.size, checkpoint.root
        if int(log["size"]) < checkpoint.size:
            report.add(
                int(log["size"]),
                f"the log was cut off: {checkpoint.size} entries are signed,"
                f" {log['size']} are there",
            )
        there = min(int(log["size"]), checkpoint.size)
        await self._check_entries(report, checkpoint, there, earlier)
        if report.good and path is not None:
            _remember(path, note, report.public_key)
        return report

    def _open(self, note: str, report: Report, earlier: Remembered | None) -> Checkpoint | None:
        """The checkpoint, if it is signed as it must be and not older than the remembered one."""
        try:
            key = VerifierKey.parse(report.public_key) if earlier is None else earlier.key
            if str(key) != report.public_key:
                report.add(None, "the server's public key is not the remembered one")
            checkpoint = open_checkpoint(note, key)
        except NoteError as error:
            report.add(None, f"the checkpoint cannot be trusted: {error}")
            return None
        if checkpoint.origin != report.origin:
            report.add(None, f"the checkpoint is about the log {checkpoint.origin}")
        if earlier is not None:
            report.remembered_size = earlier.checkpoint.size
            if checkpoint.origin != earlier.checkpoint.origin:
                report.add(None, f"the remembered log is {earlier.checkpoint.origin}")
            if checkpoint.size < earlier.checkpoint.size:
                report.add(
                    checkpoint.size,
                    f"the log was cut off: it had {earlier.checkpoint.size} entries,"
                    f" now {checkpoint.size}",
                )
        return checkpoint

    async def _check_entries(
        self, report: Report, checkpoint: Checkpoint, there: int, earlier: Remembered | None
    ) -> None:
        frontier = Frontier.empty()
        openings = _Openings(self._lines(there))
        try:
            async for start, leaves, hashes in self._bundles(report, there):
                ours = [leaf_hash(leaf) for leaf in leaves]
                _compare(report, start, ours, hashes)
                shown = await openings.before(start + len(leaves))
                for index, leaf in enumerate(leaves, start):
                    self._check_leaf(report, index, leaf, shown.get(index))
                _extend(report, frontier, ours, earlier)
                report.entries += len(leaves)
                self._progress(report.entries, checkpoint.size)
        finally:
            await openings.close()
        if frontier.size == checkpoint.size and frontier.root() != checkpoint.root:
            report.add(None, f"the entries do not have the root of the checkpoint of {report.size}")

    def _check_leaf(
        self, report: Report, index: int, raw: bytes, shown: dict[str, Any] | None
    ) -> None:
        try:
            leaf = parse_leaf(raw)
        except LeafError as error:
            report.add(index, str(error))
            return
        if leaf.origin != report.origin:
            report.add(index, f"the entry belongs to the log {leaf.origin}")
        self._check_offset(report, index, leaf)
        if shown is None:
            return
        if shown.get("missing") == "key_unavailable":
            report.payloads_missing += 1
            return
        if "opening" not in shown or isinstance(leaf, GapLeaf):
            report.add(index, "the payload was altered: it does not decrypt")
            return
        try:
            Opening.decode(base64.b64decode(shown["opening"])).check(leaf)
        except (LeafError, ValueError, TypeError) as error:
            report.add(index, str(error))
        report.payloads += 1

    def _check_offset(self, report: Report, index: int, leaf: Leaf) -> None:
        place = (leaf.topic, leaf.partition)
        expected = self._next_offset.get(place, leaf.offset)
        if leaf.offset > expected:
            report.add(
                index,
                f"{leaf.topic}/{leaf.partition} jumps from offset {expected} to {leaf.offset}:"
                " entries are missing before it",
            )
        elif leaf.offset < expected:
            report.add(
                index,
                f"{leaf.topic}/{leaf.partition} goes back from offset {expected} to {leaf.offset}",
            )
        last = leaf.offset if isinstance(leaf, RecordLeaf) else leaf.last
        self._next_offset[place] = last + 1

    async def _bundles(
        self, report: Report, size: int
    ) -> AsyncIterator[tuple[int, list[bytes], list[bytes]]]:
        """The leaves of each bundle, and the leaf hashes of the tile beside it, in order."""
        waiting: list[tuple[int, asyncio.Task[tuple[list[bytes], list[bytes]]]]] = []
        starts = iter(range(0, size, TILE_WIDTH))
        try:
            while True:
                for start in starts:
                    width = min(TILE_WIDTH, size - start)
                    fetching = self._bundle(report.origin, start // TILE_WIDTH, width)
                    waiting.append((start, asyncio.create_task(fetching)))
                    if len(waiting) >= BUNDLES_AHEAD:
                        break
                if not waiting:
                    return
                start, task = waiting.pop(0)
                leaves, hashes = await task
                yield start, leaves, hashes
                if len(leaves) < min(TILE_WIDTH, size - start):
                    report.add(start + len(leaves), "entries are missing from here on")
                    return
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

    async def _bundle(self, origin: str, index: int, width: int) -> tuple[list[bytes], list[bytes]]:
        path = tile_path(index, width)
        bundle, tile = await asyncio.gather(
            self._get(f"/log/{origin}/tile/entries/{path}", missing=b""),
            self._get(f"/log/{origin}/tile/0/{path}", missing=b""),
        )
        try:
            return unpack_entries(bundle), split_hashes(tile)
        except ValueError:
            return [], []

    async def _lines(self, size: int) -> AsyncIterator[dict[str, Any]]:
        async with self._http.stream(
            "GET", "/audit/v1/openings", params={"from": 0, "to": size}
        ) as response:
            if response.status_code == httpx.codes.OK:
                async for line in response.aiter_lines():
                    yield orjson.loads(line)

    async def _get(self, path: str, missing: bytes | None = None) -> bytes:
        response = await self._http.get(path)
        if response.status_code == httpx.codes.NOT_FOUND and missing is not None:
            return missing
        if response.status_code != httpx.codes.OK:
            raise CannotVerify(f"{path} answers {response.status_code}: {response.text[:300]}")
        return response.content


class _Openings:
    """The openings beside the entries, in step with them."""

    def __init__(self, lines: AsyncIterator[dict[str, Any]]) -> None:
        self._lines = lines
        self._next: dict[str, Any] | None = None

    async def before(self, end: int) -> dict[int, dict[str, Any]]:
        """What the server shows of the entries up to `end`, as far as not given out before."""
        shown: dict[int, dict[str, Any]] = {}
        while True:
            if self._next is None:
                self._next = await anext(self._lines, None)
            if self._next is None or self._next["index"] >= end:
                return shown
            shown[self._next["index"]] = self._next
            self._next = None

    async def close(self) -> None:
        """Stop reading."""
        closing = getattr(self._lines, "aclose", None)
        if closing is not None:
            await closing()


def _compare(report: Report, start: int, ours: list[bytes], theirs: list[bytes]) -> None:
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
        report.add(start + position, what)
        return
    report.add(start + len(theirs), "the tile lacks the entry's hash")


def _extend(
    report: Report, frontier: Frontier, hashes: list[bytes], earlier: Remembered | None
) -> None:
    """Append leaf hashes, stopping at the remembered size to compare the roots there."""
    remembered = -1 if earlier is None else earlier.checkpoint.size
    until = remembered - frontier.size
    if earlier is None or not 0 < until <= len(hashes):
        frontier.extend(hashes)
        return
    frontier.extend(hashes[:until])
    if frontier.root() != earlier.checkpoint.root:
        report.add(None, f"the first {remembered} entries are not those of the earlier checkpoint")
    frontier.extend(hashes[until:])


def _remember(path: Path, note: str, public_key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(orjson.dumps({"note": note, "public_key": public_key}))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
