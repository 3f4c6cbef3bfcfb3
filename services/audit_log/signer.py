"""The signer: a process of its own that alone can sign, and remembers what it signed.

    python -m services.audit_log.signer [--new-log | --rotate | --retire]

It recomputes the tree from the leaves themselves, starting from the tree it signed last, which it
keeps in a folder of its own outside the database. It refuses when the log shrank, has a hole, does
not fit its tiles, or when that folder is empty although a log exists: then somebody must look, and
only `--new-log` makes it sign what it cannot compare. A new log begins with its signature on the
empty tree; the audit log appends nothing before.

`--rotate` makes a new key, which the one before names as its successor in a signed note, and ends.
From then on notes carry both signatures, so that whoever knows only one key can check them, until
`--retire` forgets the key before. Whoever knows only that one still finds the new key by the note.
"""

import argparse
import asyncio
import base64
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from services.audit_log import store
from services.audit_log.rules.chain import edge_root
from services.audit_log.settings import Settings
from shared.contracts.topics import CHECKPOINTS
from shared.errors import Unusable
from shared.postgres import Connection, is_transient
from shared.process import run_process, until_stopped
from shared.tlog.merkle import Frontier, leaf_hash
from shared.tlog.note import (
    Checkpoint,
    NoteError,
    SignerKey,
    add_signature,
    name_next_key,
    open_checkpoint,
    open_note,
)

logger = structlog.get_logger(__name__)

CHECKPOINT_INTERVAL_SECONDS = 1.0
"""The least time between two checkpoints of a busy log; an idle one signs a new entry at once."""

POLL_SECONDS = 0.05
RETRY_SECONDS = 1.0
LEAVES_PER_READ = 5_000


class Refused(Unusable):
    """The log is not what was signed before, or nobody knows what was signed before."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed last: the note, and the tree it is about, ready to be extended."""

    note: str
    frontier: Frontier


class SignerState:
    """The folder with what was signed last. One signer at a time holds it.

    Raises:
        Refused: another signer holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "signed.json"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise Refused(f"another signer works with {folder}") from error

    def close(self) -> None:
        """Let another signer have it."""
        os.close(self._lock)

    def read(self, *keys: SignerKey) -> Signed | None:
        """What was signed last; None if nothing ever was.

        Raises:
            Refused: the file is damaged, or about another log or key.
        """
        try:
            stored = orjson.loads(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError as error:
            raise Refused(f"{self._file} is damaged: restore it") from error
        try:
            checkpoint = open_checkpoint(stored["note"], *(key.verifier for key in keys))
            hashes = [base64.b64decode(encoded) for encoded in stored["frontier"]]
            frontier = Frontier(checkpoint.size, hashes)
        except (NoteError, KeyError, TypeError, ValueError) as error:
            raise Refused(f"{self._file} does not fit this log and key: {error}") from error
        if frontier.root() != checkpoint.root or checkpoint.origin != keys[0].name:
            raise Refused(f"{self._file} does not fit this log and key")
        return Signed(stored["note"], frontier)

    def remembered_note(self) -> str | None:
        """The last signed note, whoever signed it; None if nothing ever was.

        Raises:
            Refused: the file is damaged.
        """
        try:
            return str(orjson.loads(self._file.read_bytes())["note"])
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, KeyError) as error:
            raise Refused(f"{self._file} is damaged: restore it") from error

    def set_aside(self, origin: str) -> None:
        """Keep what was signed last under the name of a log that ended."""
        ended = origin.replace("/", "_")
        self._file.replace(self._file.with_name(f"signed.{ended}.json"))

    def write(self, signed: Signed) -> None:
        """Replace what is remembered; on return it survives a power failure."""
        partial = self._file.with_suffix(".partial")
        frontier = [base64.b64encode(hashed).decode() for hashed in signed.frontier.hashes]
        with partial.open("wb") as file:
            file.write(orjson.dumps({"note": signed.note, "frontier": frontier}))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Signer:
    """Signs the log of the key's name, always continuing what it signed before."""

    def __init__(
        self, key: SignerKey, state: SignerState, previous: SignerKey | None = None
    ) -> None:
        self._key = key
        self._previous = previous
        self._state = state
        self._last: Signed | None = None

    @property
    def note(self) -> str:
        """The last signed note."""
        if self._last is None:
            raise Refused("nothing is signed yet")
        return self._last.note

    async def begin(self, conn: Connection, *, new_log: bool) -> None:
        """Take up what was signed last, or begin a log.

        Args:
            new_log: sign the log as it is, although nothing is remembered of it.

        Raises:
            Refused: nothing is remembered, and the log or its checkpoints are not empty; or
                `new_log`, and something is remembered.
        """
        if self._last is None:
            known = [self._key, *([self._previous] if self._previous else [])]
            self._last = self._state.read(*known)
            if self._last is not None and new_log:
                raise Refused("a checkpoint is remembered: start without --new-log")
        if self._last is None:
            if not new_log:
                await self._check_nothing_exists(conn)
            self._sign(Frontier.empty())
        elif self._last is not None and not self._is_signed_by_all(self._last.note):
            # The same tree under a key that is new since.
            self._sign(self._last.frontier)
        await self.publish(conn)

    def _is_signed_by_all(self, note: str) -> bool:
        keys = [self._key, *([self._previous] if self._previous else [])]
        try:
            for key in keys:
                open_note(note, key.verifier)
        except NoteError:
            return False
        return True

    async def _check_nothing_exists(self, conn: Connection) -> None:
        head = await store.read_head(conn)
        if (head is not None and head[1] > 0) or await store.latest_checkpoint(conn):
            raise Refused(
                "nothing is remembered of this log, but it is not new: restore the signer's "
                "state, or let it sign what it cannot compare with --new-log"
            )

    async def sign_growth(self, conn: Connection) -> bool:
        """Sign the log if it grew; whether it did.

        Raises:
            Refused: the log does not continue what was signed.
        """
        assert self._last is not None
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            frontier = await self._grown(conn, self._last.frontier)
        if frontier is None:
            return False
        self._sign(frontier)
        await self.publish(conn)
        return True

    async def publish(self, conn: Connection) -> None:
        """Show the last note to readers of the database."""
        signed = store.SignedCheckpoint(
            open_checkpoint(self.note, self._key.verifier).size,
            self.note,
            str(self._key.verifier),
        )
        await store.store_checkpoint(conn, signed)

    def _sign(self, frontier: Frontier) -> None:
        text = Checkpoint(self._key.name, frontier.size, frontier.root()).text()
        note = self._key.sign(text)
        if self._previous is not None:
            note = add_signature(note, self._previous)
        signed = Signed(note, frontier)
        # Remembered before anybody sees it: a signer that forgot could contradict itself.
        self._state.write(signed)
        self._last = signed

    async def _grown(self, conn: Connection, since: Frontier) -> Frontier | None:
        origin, size = await store.read_head(conn) or (self._key.name, 0)
        if origin != self._key.name:
            raise Refused(f"this is the log {origin}, not {self._key.name}")
        if size < since.size:
            raise Refused(f"the log shrank from {since.size} to {size} entries")
        if size == since.size:
            return None
        grown = Frontier(since.size, list(since.hashes))
        while grown.size < size:
            end = min(size, grown.size + LEAVES_PER_READ)
            leaves = await store.read_leaves(conn, grown.size, end)
            for expected, (index, _) in enumerate(leaves, grown.size):
                if index != expected:
                    raise Refused(f"entry {expected} is missing")
            if len(leaves) < end - grown.size:
                raise Refused(f"entry {grown.size + len(leaves)} is missing")
            grown.extend(leaf_hash(leaf) for _, leaf in leaves)
        try:
            root = edge_root(size, await store.read_edges(conn))
        except ValueError as error:
            raise Refused(str(error)) from error
        if root != grown.root():
            raise Refused(
                f"the tiles of size {size} do not continue the checkpoint of size {since.size}"
            )
        return grown


class Announcer:
    """Publishes the latest note to Kafka; while Kafka is away, newer notes replace older ones."""

    def __init__(self, kafka: str, origin: str) -> None:
        self._kafka = kafka
        self._origin = origin
        self._note: str | None = None
        self._changed = asyncio.Event()

    def announce(self, note: str) -> None:
        """Publish as soon as possible."""
        self._note = note
        self._changed.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            try:
                await self._publish_forever()
            except (KafkaError, OSError) as error:
                logger.warning("checkpoint.not_announced", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _publish_forever(self) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self._kafka, acks="all", enable_idempotence=True
        ) as producer:
            while True:
                await self._changed.wait()
                self._changed.clear()
                note = self._note or ""
                try:
                    await producer.send_and_wait(
                        CHECKPOINTS.name, note.encode(), key=self._origin.encode()
                    )
                except BaseException:
                    self._changed.set()
                    raise


def read_key(path: Path, origin: str) -> SignerKey:
    """The signing key, named after the log.

    Raises:
        Refused: the file is missing or holds no Ed25519 key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"{path} must hold an Ed25519 key as PKCS #8 in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Refused(f"{path} must hold an Ed25519 key")
    return SignerKey(origin, key)


@contextmanager
def _held(state: SignerState) -> Iterator[SignerState]:
    try:
        yield state
    finally:
        state.close()


async def run(settings: Settings, *, new_log: bool) -> None:
    """Sign until cancelled; faults of the database and of Kafka are waited out.

    Raises:
        Refused: see there; nothing more is signed until somebody has looked.
    """
    key = read_key(settings.signer_key_file, settings.log_origin)
    previous = (
        read_key(settings.signer_previous_key_file, settings.log_origin)
        if settings.signer_previous_key_file.exists()
        else None
    )
    announcer = Announcer(settings.kafka, settings.log_origin)
    announcing = asyncio.create_task(announcer.run())
    try:
        with _held(SignerState(settings.signer_state_dir)) as state:
            signer = Signer(key, state, previous)
            while True:
                try:
                    await _sign_forever(settings, signer, announcer, new_log=new_log)
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    if not is_transient(error):
                        raise
                    logger.warning("signer.waits", error=repr(error))
                    await asyncio.sleep(RETRY_SECONDS)
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)


async def _sign_forever(
    settings: Settings, signer: Signer, announcer: Announcer, *, new_log: bool
) -> None:
    conn: asyncpg.Connection[Any] = await asyncpg.connect(settings.database_url)
    try:
        await signer.begin(conn, new_log=new_log)
        announcer.announce(signer.note)
        while True:
            if await signer.sign_growth(conn):
                announcer.announce(signer.note)
                await asyncio.sleep(CHECKPOINT_INTERVAL_SECONDS)
            else:
                await asyncio.sleep(POLL_SECONDS)
    finally:
        with suppress(Exception):
            await conn.close(timeout=2)


async def rotate(settings: Settings) -> str:
    """Replace the signing key while no signer runs; the new verifier key.

    Each step can be repeated: after a crash, run it again.

    Raises:
        Refused: a signer runs, or the key before the present one is not retired yet.
    """
    path, previous = settings.signer_key_file, settings.signer_previous_key_file
    following = path.with_suffix(".next.pem")
    with _held(SignerState(settings.signer_state_dir)):
        if not following.exists():
            if previous.exists():
                raise Refused(f"{previous} is still in use: retire it first")
            _write_key(following)
        new = read_key(following, settings.log_origin)
        old = read_key(path if path.exists() else previous, settings.log_origin)
        conn: asyncpg.Connection[Any] = await asyncpg.connect(settings.database_url)
        try:
            note = name_next_key(old, new.verifier)
            await store.name_key(conn, str(new.verifier), note)
        finally:
            await conn.close()
        if path.exists():
            path.replace(previous)
        following.replace(path)
        return str(new.verifier)


def retire(settings: Settings) -> None:
    """Forget the key before the present one; from then on notes carry one signature.

    Raises:
        Refused: a signer runs, or there is no such key.
    """
    with _held(SignerState(settings.signer_state_dir)):
        try:
            settings.signer_previous_key_file.unlink()
        except FileNotFoundError as error:
            raise Refused("no key before the present one is in use") from error


def _write_key(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # Half a key under the name of a whole one would be taken for it after a crash.
    partial = path.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


async def _do(given: argparse.Namespace, settings: Settings) -> None:
    if given.rotate:
        print(await rotate(settings))
    elif given.retire:
        retire(settings)
    else:
        await until_stopped(run(settings, new_log=given.new_log))


def main() -> int:
    """Run; the exit status is 0, or 1 after a sentence on standard error."""
    parser = argparse.ArgumentParser(description="Sign checkpoints of the audit log.")
    parser.add_argument(
        "--new-log", action="store_true", help="sign a log of which nothing is remembered"
    )
    parser.add_argument("--rotate", action="store_true", help="make a new key, and end")
    parser.add_argument("--retire", action="store_true", help="forget the key before, and end")
    return run_process("audit-signer", Settings, partial(_do, parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
