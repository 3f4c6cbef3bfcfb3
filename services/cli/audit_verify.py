"""Checks an audit log with no trust in its server, by recomputing all of it.

Everything is fetched from the server, or read from an export, and nothing of it believed: the
checkpoint must be signed by the key remembered from an earlier day (or one that this key named as
its successor, or as that of the log that follows), the tree over every leaf must have the root it
states, the tree of the remembered checkpoint must be its beginning, no Kafka offset may be missing
without a gap entry that says so, and every payload one may read must be what its leaf commits to.

Stretches of the log are checked in parallel by processes, and what they found is put together in
order, so memory does not grow with the log. How far a check got is kept in a file, so that one that
was interrupted can go on.
"""

import asyncio
import base64
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson

from services.cli.audit_check import (
    MAX_PROBLEMS,
    STRETCH_ENTRIES,
    Place,
    Problem,
    Stretch,
    Task,
    check_stretch,
    offset_problem,
)
from services.cli.audit_sources import CannotVerify, Folder, FreshServer, Server
from shared.tlog.leaf import LeafError, SuccessionLeaf, parse_leaf
from shared.tlog.merkle import Frontier, fold_right
from shared.tlog.note import (
    Checkpoint,
    NoteError,
    VerifierKey,
    keys_following,
    open_checkpoint,
    open_next_log,
    open_note,
)
from shared.tlog.tiles import TILE_WIDTH, unpack_entries

__all__ = ["CannotVerify", "Problem", "Report", "remembered_of", "verify", "verify_log"]

Progress = Callable[[int, int], None]
"""Called with how many entries are checked, of how many."""


@dataclass(frozen=True, slots=True)
class Follows:
    """The log goes on where another ended: that one's name, and how many signed entries it had.

    `key` is the key of that log which names this one's; None where none does: it was lost, and
    this log's key must be known otherwise.
    """

    origin: str
    size: int
    key: VerifierKey | None


@dataclass(slots=True)
class Report:
    """What was checked and what was found. The log is good if there are no problems.

    `payloads` counts payloads compared with their leaves; `payloads_missing` those that could not
    be, because their key was destroyed; `pruned` entries of which only the hashes are left.
    `restarts` are entries that say that an operator accepted another topic's log.
    """

    origin: str
    size: int
    root: bytes
    public_key: str
    remembered_size: int | None = None
    begun_at: int = 0
    follows: Follows | None = None
    entries: int = 0
    payloads: int = 0
    payloads_missing: int = 0
    pruned: int = 0
    restarts: list[tuple[int, Place]] = field(default_factory=list)
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


@dataclass(slots=True)
class Reached:
    """How far a check got: the tree so far, and which offset each partition goes on with."""

    tree: Frontier = field(default_factory=Frontier.empty)
    next_offsets: dict[Place, int] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "size": self.tree.size,
            "tree": [base64.b64encode(hashed).decode() for hashed in self.tree.hashes],
            "offsets": [[*place, offset] for place, offset in self.next_offsets.items()],
        }

    @classmethod
    def load(cls, stored: dict[str, Any]) -> "Reached":
        """What `dump` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        tree = Frontier(stored["size"], [base64.b64decode(hashed) for hashed in stored["tree"]])
        return cls(tree, {(topic, part): offset for topic, part, offset in stored["offsets"]})


@dataclass(frozen=True, slots=True)
class Remembered:
    """The checkpoint of an earlier check, the key it was signed with, and the tree it is about.

    Checks before this version remembered no tree: then `reached` is None.
    """

    note: str
    key: VerifierKey
    checkpoint: Checkpoint
    reached: Reached | None

    @classmethod
    def read(cls, path: Path) -> "Remembered | None":
        """What an earlier check wrote; None if there was none.

        Raises:
            CannotVerify: the file is damaged.
        """
        try:
            stored = orjson.loads(path.read_bytes())
            key = VerifierKey.parse(stored["public_key"])
            reached = Reached.load(stored["reached"]) if "reached" in stored else None
            return cls(stored["note"], key, open_checkpoint(stored["note"], key), reached)
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, NoteError) as error:
            raise CannotVerify(f"{path} holds no checkpoint of an earlier check") from error


async def verify(url: str, token: str, *, remembered: Path | None, progress: Progress) -> Report:
    """Check the whole log at `url`.

    Args:
        url: the audit log's base URL.
        token: a bearer token with the scope `audit:read`.
        remembered: see `verify_log`.

    Raises:
        CannotVerify: the server does not answer, refuses the token, or has signed nothing yet.
    """
    source = FreshServer(url, lambda: token)
    return await asyncio.to_thread(verify_log, source, remembered=remembered, progress=progress)


def verify_log(
    source: FreshServer | Folder,
    *,
    remembered: Path | None,
    progress: Progress,
    only_new: bool = False,
    resume: bool = False,
    processes: int | None = None,
    stretch: int = STRETCH_ENTRIES,
) -> Report:
    """Check a log.

    Args:
        remembered: where the checkpoint of the last good check is kept; written after a good one.
            Without it a log that was cut off or rewritten as a whole cannot be told from a new one.
        only_new: believe the last good check, and check only what was appended since.
        resume: go on where a check with the same `remembered` was interrupted.
        processes: how many check at a time; by default one for each processor.
        stretch: how many entries each checks at a time, a power of two.

    Raises:
        CannotVerify: the log cannot be read, or nothing of it is signed yet.
    """
    earlier = None if remembered is None else Remembered.read(remembered)
    return _Verification(
        source, progress, remembered, processes or os.cpu_count() or 1, stretch
    ).run(earlier, only_new=only_new, resume=resume)


class _Verification:
    def __init__(
        self,
        source: FreshServer | Folder,
        progress: Progress,
        path: Path | None,
        processes: int,
        stretch: int,
    ) -> None:
        self._source = source
        self._progress = progress
        self._path = path
        self._processes = processes
        self._stretch = stretch

    @property
    def _partial(self) -> Path | None:
        return None if self._path is None else self._path.with_name(f"{self._path.name}.reached")

    def run(self, earlier: Remembered | None, *, only_new: bool, resume: bool) -> Report:
        source = self._source.now()
        origin = str(source.log()["origin"])
        note = source.checkpoint(origin)
        # Asked after the checkpoint: whatever it covers must be there by now.
        log = source.log()
        report = Report(origin, 0, b"", str(log["public_key"]))
        succession = log.get("succession") or []
        self._look_back(source, report, int(log["size"]), succession)
        checkpoint = self._open(note, report, earlier, succession)
        if checkpoint is None:
            return report
        if earlier is not None and earlier.checkpoint.origin != origin:
            # It is trusted through the log before, of which it holds no entries.
            earlier = None
        report.size, report.root = checkpoint.size, checkpoint.root
        if int(log["size"]) < checkpoint.size:
            report.add(
                int(log["size"]),
                f"the log was cut off: {checkpoint.size} entries are signed,"
                f" {log['size']} are there",
            )
        there = min(int(log["size"]), checkpoint.size)
        reached = self._begin(earlier, there, only_new=only_new, resume=resume)
        report.begun_at = reached.tree.size
        self._check(report, reached, there, earlier, int(log.get("pruned") or 0))
        if report.good and self._path is not None:
            self._keep_what_is_remembered_of_another(origin)
            _write(
                self._path,
                {"note": note, "public_key": report.public_key, "reached": reached.dump()},
            )
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)
        return report

    def _keep_what_is_remembered_of_another(self, origin: str) -> None:
        """Put the checkpoint of the log before aside, where a check of that one looks for it."""
        assert self._path is not None
        before = Remembered.read(self._path)
        if before is not None and before.checkpoint.origin != origin:
            self._path.replace(remembered_of(self._path, before.checkpoint.origin))

    def _look_back(
        self, source: Server | Folder, report: Report, size: int, succession: list[str]
    ) -> None:
        """What the first entry says of the log before, if it is there and says anything."""
        bundle = source.bundle(report.origin, 0, min(size, TILE_WIDTH)) if size else None
        try:
            [first, *_] = unpack_entries(bundle or b"")
            leaf = parse_leaf(first)
        except (ValueError, LeafError):
            return
        if not isinstance(leaf, SuccessionLeaf):
            return
        note = base64.b64decode(leaf.checkpoint).decode(errors="replace")
        try:
            before = Checkpoint.parse(note)
            report.follows = Follows(before.origin, before.size, None)
            if not leaf.statement:
                return
            named = open_next_log(base64.b64decode(leaf.statement).decode(errors="replace"))
            open_note(note, named.before)
            ours = [str(key) for key in keys_following(named.after, succession)]
            if named.before.name != before.origin or report.public_key not in ours:
                raise NoteError("it names another log's key")
            report.follows = Follows(before.origin, before.size, named.before)
        except NoteError as error:
            report.add(0, f"what it says of the log before cannot be trusted: {error}")

    def _open(
        self, note: str, report: Report, earlier: Remembered | None, succession: list[str]
    ) -> Checkpoint | None:
        """The checkpoint, if it is signed as it must be and not older than the remembered one."""
        try:
            first = VerifierKey.parse(report.public_key) if earlier is None else earlier.key
            keys = keys_following(first, succession)
            if first.name != report.origin and report.public_key not in map(str, keys):
                report.add(
                    None,
                    f"the remembered log is {first.name}, and no key of it names this one's: check"
                    " that one with --log, ask somebody who knows this one's key, and remember it"
                    " elsewhere (--remembered)",
                )
                return None
            keys = [key for key in keys if key.name == report.origin]
            if report.public_key not in map(str, keys):
                report.add(None, "the server's public key is not the remembered one")
            checkpoint = open_checkpoint(note, *reversed(keys))
        except NoteError as error:
            report.add(None, f"the checkpoint cannot be trusted: {error}")
            return None
        if checkpoint.origin != report.origin:
            report.add(None, f"the checkpoint is about the log {checkpoint.origin}")
        if earlier is not None and earlier.checkpoint.origin == report.origin:
            report.remembered_size = earlier.checkpoint.size
            if checkpoint.size < earlier.checkpoint.size:
                report.add(
                    checkpoint.size,
                    f"the log was cut off: it had {earlier.checkpoint.size} entries,"
                    f" now {checkpoint.size}",
                )
        return checkpoint

    def _begin(
        self, earlier: Remembered | None, there: int, *, only_new: bool, resume: bool
    ) -> Reached:
        """From where to check: nothing, the last good check, or where the last one stopped."""
        if resume and self._partial is not None and self._partial.exists():
            try:
                reached = Reached.load(orjson.loads(self._partial.read_bytes()))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                raise CannotVerify(f"{self._partial} is damaged: remove it") from error
            if reached.tree.size <= there:
                return reached
        if only_new:
            if earlier is None or earlier.reached is None:
                raise CannotVerify("no earlier check is remembered that could be gone on from")
            if earlier.reached.tree.root() != earlier.checkpoint.root:
                raise CannotVerify("the remembered tree is not that of the remembered checkpoint")
            if earlier.reached.tree.size <= there:
                return earlier.reached
        return Reached()

    def _check(
        self, report: Report, reached: Reached, there: int, earlier: Remembered | None, pruned: int
    ) -> None:
        mark = earlier.checkpoint.size if earlier is not None else None
        for found in self._stretches(report.origin, reached.tree.size, there, mark, pruned):
            _connect(report, reached, found)
            if found.at_mark is not None and earlier is not None:
                root = fold_right(reached.tree.hashes + found.at_mark)
                if root != earlier.checkpoint.root:
                    report.add(
                        None,
                        f"the first {mark} entries are not those of the earlier checkpoint",
                    )
            if not found.complete:
                return
            reached.tree.append_subtrees(found.tree)
            self._progress(reached.tree.size, report.size)
            if self._partial is not None and report.good and reached.tree.size < there:
                _write(self._partial, reached.dump())
        if reached.tree.size == report.size and reached.tree.root() != report.root:
            report.add(None, f"the entries do not have the root of the checkpoint of {report.size}")

    def _stretches(
        self, origin: str, start: int, end: int, mark: int | None, pruned: int
    ) -> Iterator[Stretch]:
        """Check `[start, end)` in stretches and hand out what was found in order."""
        bounds = list(_bounds(start, end, self._stretch))
        workers = min(self._processes, len(bounds))

        def task(bound: tuple[int, int]) -> Task:
            return Task(self._source.now(), origin, *bound, mark, pruned)

        if workers < 2:
            yield from (check_stretch(task(bound)) for bound in bounds)
            return
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            try:
                yield from _in_order(pool, (task(bound) for bound in bounds), 2 * workers)
            except BrokenProcessPool as error:
                raise CannotVerify("a checking process ended by itself") from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def remembered_of(path: Path, origin: str) -> Path:
    """Where the checkpoint of a log is kept that another one follows, remembered in `path`."""
    return path.with_name(f"{path.stem}.{origin.replace('/', '_')}{path.suffix}")


def _bounds(start: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    """Stretches that begin at multiples of what they are rounded up to, so that trees fit."""
    while start < end:
        room = width if start == 0 else min(width, start & -start)
        yield start, min(end, start + room)
        start += room


def _in_order(pool: Executor, tasks: Iterator[Task], ahead: int) -> Iterator[Stretch]:
    waiting: deque[Future[Stretch]] = deque()
    for task in tasks:
        waiting.append(pool.submit(check_stretch, task))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _connect(report: Report, reached: Reached, found: Stretch) -> None:
    """Add a stretch's findings to the report, and see that its partitions go on as they must."""
    for place, first in found.firsts.items():
        expected = reached.next_offsets.get(place)
        if expected is not None and first.offset != expected and not first.restart:
            report.add(first.index, offset_problem(place, expected, first.offset))
    reached.next_offsets.update(found.next_offsets)
    for problem in found.problems:
        report.add(problem.index, problem.what)
    report.restarts += found.restarts[: MAX_PROBLEMS - len(report.restarts)]
    report.entries += found.entries
    report.payloads += found.payloads
    report.payloads_missing += found.payloads_missing
    report.pruned += found.pruned


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(orjson.dumps(document))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
