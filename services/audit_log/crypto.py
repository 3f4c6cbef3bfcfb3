"""Keys and encryption of payloads: one key per worker, in files outside the database.

The key store is a folder of append-only segments made of fixed slots, each holding a key wrapped by
the master key (AES-256-GCM) beside a tag that tells whose key it is without naming anybody. A new
key is on the disk before the entry that uses it can commit; a batch of new keys costs one fsync.
Several processes on one machine may share the folder. Destroying a slot destroys what was encrypted
under it, wherever copies of the database are.
"""

import base64
import fcntl
import hashlib
import hmac
import json
import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import Unusable

KEY_BYTES = 32
NONCE_BYTES = 12
GCM_TAG_BYTES = 16
COMMITMENT_BYTES = 32
NAME_TAG_BYTES = 16

SLOT_BYTES = NAME_TAG_BYTES + NONCE_BYTES + KEY_BYTES + GCM_TAG_BYTES + 4
"""Name tag, nonce, wrapped key, CRC-32."""

SEGMENT_SLOTS = 65_536
"""5 MiB a segment: small enough to be rewritten whole when a key is destroyed."""

CACHED_KEYS = 20_000
"""Unwrapped keys kept in memory, about 1 KiB each; a batch seldom meets more workers."""

COMMITMENT_LABEL = b"portalkeeper/audit/v1/key-commitment\n"
TAG_KEY_LABEL = b"portalkeeper/audit/v1/tag-key\n"
NOBODY = bytes(NAME_TAG_BYTES)
"""The name tag of a key that encrypts one record of no known worker."""

Holder: TypeAlias = tuple[str, ...]
"""Organization and worker id; or organization, id and the kind of what is no worker."""


class KeyStoreError(Unusable):
    """The key store cannot be used: wrong master key, damaged, or not there."""


class KeyUnavailable(Exception):
    """The key of an entry was destroyed or lost."""


class PayloadAltered(Exception):
    """A payload does not decrypt under its key: somebody changed it, or moved it from elsewhere."""


@dataclass(frozen=True, slots=True)
class Key:
    """An unwrapped key and the slot it lives in; `repr` does not show it."""

    slot: int
    secret: bytes
    cipher: AESGCM

    def __repr__(self) -> str:
        return f"Key(slot={self.slot})"

    def seal(self, context: bytes, opening: bytes, nonce: bytes | None = None) -> bytes:
        """Encrypt an opening, bound to the record it belongs to: `topic/partition/offset`.

        Args:
            nonce: 12 random bytes, never used before; made here if not given.
        """
        nonce = nonce or os.urandom(NONCE_BYTES)
        return (
            self._commitment(nonce, context) + nonce + self.cipher.encrypt(nonce, opening, context)
        )

    def unseal(self, context: bytes, payload: bytes) -> bytes:
        """The opening again.

        Raises:
            PayloadAltered: payload, context and key do not belong together.
        """
        commitment = payload[:COMMITMENT_BYTES]
        nonce = payload[COMMITMENT_BYTES : COMMITMENT_BYTES + NONCE_BYTES]
        # GCM alone would let a forger find two keys that both decrypt one ciphertext.
        if not hmac.compare_digest(commitment, self._commitment(nonce, context)):
            raise PayloadAltered("the payload is not encrypted under this entry's key")
        try:
            return self.cipher.decrypt(nonce, payload[COMMITMENT_BYTES + NONCE_BYTES :], context)
        except InvalidTag as error:
            raise PayloadAltered("the payload was altered") from error

    def _commitment(self, nonce: bytes, context: bytes) -> bytes:
        return hashlib.sha256(COMMITMENT_LABEL + self.secret + nonce + context).digest()


class RandomBytes:
    """Random bytes of the system, fetched many at a time; each is handed out once.

    For one thread. A forked child forgets what its parent has fetched, so that both never hand out
    the same.
    """

    FETCHED_BYTES = 65_536

    def __init__(self) -> None:
        self._fetched = b""
        self._at = 0
        os.register_at_fork(after_in_child=self._forget)

    def take(self, count: int) -> bytes:
        """So many bytes."""
        end = self._at + count
        if end > len(self._fetched):
            self._fetched, self._at, end = os.urandom(self.FETCHED_BYTES), 0, count
        taken = self._fetched[self._at : end]
        self._at = end
        return taken

    def _forget(self) -> None:
        self._fetched = b""
        self._at = 0


def read_master_key(path: Path) -> bytes:
    """The master key: 32 bytes in base64.

    Raises:
        KeyStoreError: the file is missing or holds something else.
    """
    try:
        key = base64.b64decode(path.read_text().strip(), validate=True)
    except (OSError, ValueError) as error:
        raise KeyStoreError(f"{path} must hold 32 bytes in base64") from error
    if len(key) != KEY_BYTES:
        raise KeyStoreError(f"{path} must hold 32 bytes in base64, not {len(key)}")
    return key


class KeyStore:
    """The keys below one folder. Methods block on the disk and may be called from any thread.

    Raises:
        KeyStoreError: the master key is not the one that the folder was made with.
    """

    def __init__(self, folder: Path, master_key: bytes) -> None:
        self._folder = folder
        self._master = AESGCM(master_key)
        self._mutex = threading.Lock()
        self._end = 0
        self._destroyed: tuple[int, int] | None = None
        self._slots: dict[bytes, int] = {}
        self._held: dict[Holder, Key] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._user = os.open(folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._user, fcntl.LOCK_SH)
        with self._alone():
            _finish_rotation(folder)
            self._tag_key = self._read_tag_key()
            self._read_new_slots()

    def held(self, holder: Holder) -> Key | None:
        """The holder's key if it is in memory and no key was destroyed since it was read."""
        return self._held.get(holder)

    def notice_destroyed(self) -> None:
        """Forget what is in memory if this or another process destroyed a key; one `stat`."""
        try:
            found = (self._folder / "destroyed").stat()
        except FileNotFoundError:
            return
        seen = (found.st_mtime_ns, found.st_size)
        if seen != self._destroyed:
            with self._mutex:
                self._destroyed = seen
                self._held.clear()
                self._slots.clear()
                self._end = 0

    def destroy(self, holders: Sequence[Holder], slots: Iterable[int] = ()) -> int:
        """Overwrite every key of the holders, and those in `slots`; how many there were.

        What was encrypted under them cannot be read again, wherever copies of it are. On return
        they are gone from the disk.

        Raises:
            OSError: the disk refuses; some keys may be left, so try again.
        """
        tags = {self._tag(holder) for holder in holders}
        with self._mutex, self._alone():
            gone = 0
            for path in sorted(self._folder.glob("keys-*.seg")):
                gone += _overwrite(path, tags, set(slots))
            marks = self._folder / "destroyed"
            _write_durably(marks, b".", at=marks.stat().st_size if marks.exists() else 0)
            _sync_folder(self._folder)
        self.notice_destroyed()
        return gone

    def unannounced_rotations(self) -> list[str]:
        """Master keys, by the first half of their SHA-256, that nobody has been told of."""
        return [each["key"] for each in _rotations(self._folder) if not each["announced"]]

    def mark_rotations_announced(self) -> None:
        """Everybody has been told of them."""
        told = [{**each, "announced": True} for each in _rotations(self._folder)]
        if told:
            _replace(self._folder / "rotations.json", json.dumps(told).encode())

    def copy_to(self, folder: Path) -> int:
        """Copy every file while nobody writes, durably; how many."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._mutex, self._alone():
            names = ["tag.key", "destroyed", "rotations.json"]
            names += sorted(path.name for path in self._folder.glob("keys-*.seg"))
            there = [name for name in names if (self._folder / name).exists()]
            for name in there:
                _write_durably(folder / name, (self._folder / name).read_bytes())
        _sync_folder(folder)
        return len(there)

    def close(self) -> None:
        """Let the master key be rotated; nothing else of the store may be used any more."""
        os.close(self._user)

    def is_whole(self, slot: int) -> bool:
        """Whether a slot holds a key."""
        try:
            self.key(slot)
        except KeyUnavailable:
            return False
        return True

    def holds(self, holder: Holder, slot: int) -> bool:
        """Whether a slot holds a key of the holder."""
        segment, number = divmod(slot, SEGMENT_SLOTS)
        try:
            with self._segment(segment).open("rb") as file:
                file.seek(number * SLOT_BYTES)
                raw = file.read(SLOT_BYTES)
        except FileNotFoundError:
            return False
        return _is_whole(raw) and raw[:NAME_TAG_BYTES] == self._tag(holder)

    def slots_of(self, holders: Sequence[Holder]) -> list[int]:
        """Every slot that holds a key of one of the holders."""
        tags = {self._tag(holder) for holder in holders}
        found = []
        for path in sorted(self._folder.glob("keys-*.seg")):
            first, raw = _first_slot(path), path.read_bytes()
            for at in range(0, len(raw) // SLOT_BYTES * SLOT_BYTES, SLOT_BYTES):
                if raw[at : at + NAME_TAG_BYTES] in tags and _is_whole(raw[at : at + SLOT_BYTES]):
                    found.append(first + at // SLOT_BYTES)
        return found

    def provide(
        self, holders: Iterable[Holder], nobodys: int
    ) -> tuple[dict[Holder, Key], list[Key]]:
        """A key for each holder, and `nobodys` keys for one record each; durable on return.

        Raises:
            OSError: the disk refuses; no entry may use any of these keys then.
        """
        tags = {holder: self._tag(holder) for holder in holders}
        with self._mutex, self._alone():
            self._read_new_slots()
            missing = [tag for tag in dict.fromkeys(tags.values()) if tag not in self._slots]
            made = self._append([*missing, *[NOBODY] * nobodys])
        by_tag = dict(zip(missing, made, strict=False))
        keys = {
            holder: by_tag.get(tag) or self.key(self._slots[tag]) for holder, tag in tags.items()
        }
        if len(self._held) + len(keys) > CACHED_KEYS:
            self._held.clear()
        self._held.update(keys)
        return keys, made[len(missing) :]

    def derive(self, label: bytes) -> bytes:
        """A key for another purpose than encryption, which a new master key does not change."""
        return hmac.digest(self._tag_key, label, "sha256")

    def key(self, slot: int) -> Key:
        """The key in a slot.

        Raises:
            KeyUnavailable: it was destroyed, or the key store is not the one it was made in.
        """
        segment, number = divmod(slot, SEGMENT_SLOTS)
        try:
            with self._segment(segment).open("rb") as file:
                file.seek(number * SLOT_BYTES)
                raw = file.read(SLOT_BYTES)
        except FileNotFoundError as error:
            raise KeyUnavailable(f"key slot {slot} is not in the key store") from error
        if not _is_whole(raw):
            raise KeyUnavailable(f"key slot {slot} holds no key")
        tag, nonce = raw[:NAME_TAG_BYTES], raw[NAME_TAG_BYTES:][:NONCE_BYTES]
        try:
            secret = self._master.decrypt(
                nonce, raw[NAME_TAG_BYTES + NONCE_BYTES : -4], _slot_context(tag, slot)
            )
        except InvalidTag as error:
            raise KeyUnavailable(f"key slot {slot} was altered") from error
        return Key(slot, secret, AESGCM(secret))

    def _tag(self, holder: Holder) -> bytes:
        name = "\x00".join(holder).encode()
        return hmac.digest(self._tag_key, name, "sha256")[:NAME_TAG_BYTES]

    def _segment(self, number: int) -> Path:
        return self._folder / f"keys-{number:06}.seg"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read_tag_key(self) -> bytes:
        path = self._folder / "tag.key"
        if not path.exists():
            if any(self._folder.glob("keys-*.seg")):
                raise KeyStoreError(f"{path} is missing, but there are keys: restore it")
            secret, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
            wrapped = nonce + self._master.encrypt(nonce, secret, TAG_KEY_LABEL)
            partial = path.with_suffix(".partial")
            _write_durably(partial, wrapped)
            partial.replace(path)
            _sync_folder(self._folder)
            return secret
        raw = path.read_bytes()
        try:
            return self._master.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], TAG_KEY_LABEL)
        except InvalidTag as error:
            raise KeyStoreError(
                f"the master key does not fit the key store {self._folder}"
            ) from error

    def _read_new_slots(self) -> None:
        """Learn the tags that this or another process appended since the last look."""
        while True:
            segment, number = divmod(self._end, SEGMENT_SLOTS)
            path = self._segment(segment)
            if not path.exists():
                return
            with path.open("rb") as file:
                file.seek(number * SLOT_BYTES)
                raw = file.read()
                # What a crash left of a last slot belongs to no entry; appending overwrites it.
                whole = len(raw) // SLOT_BYTES
                if whole:
                    # Whoever wrote them may have been killed before they reached the disk.
                    os.fsync(file.fileno())
            for position in range(whole):
                slot = raw[position * SLOT_BYTES : (position + 1) * SLOT_BYTES]
                tag = slot[:NAME_TAG_BYTES]
                if tag != NOBODY and _is_whole(slot):
                    self._slots[tag] = self._end + position
            self._end += whole
            if self._end % SEGMENT_SLOTS or not whole:
                return

    def _append(self, tags: Sequence[bytes]) -> list[Key]:
        made: list[Key] = []
        while len(made) < len(tags):
            segment, number = divmod(self._end, SEGMENT_SLOTS)
            part = tags[len(made) : len(made) + SEGMENT_SLOTS - number]
            raw, keys = self._wrap(part)
            path = self._segment(segment)
            is_new = not path.exists()
            _write_durably(path, raw, at=number * SLOT_BYTES)
            if is_new:
                _sync_folder(self._folder)
            for key, tag in zip(keys, part, strict=True):
                if tag != NOBODY:
                    self._slots[tag] = key.slot
            self._end += len(part)
            made += keys
        return made

    def _wrap(self, tags: Sequence[bytes]) -> tuple[bytes, list[Key]]:
        keys, slots = [], []
        for slot, tag in enumerate(tags, self._end):
            secret, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
            wrapped = self._master.encrypt(nonce, secret, _slot_context(tag, slot))
            raw = tag + nonce + wrapped
            slots.append(raw + zlib.crc32(raw).to_bytes(4, "big"))
            keys.append(Key(slot, secret, AESGCM(secret)))
        return b"".join(slots), keys


def rotate_master_key(folder: Path, old: bytes, new: bytes) -> str:
    """Wrap every key of a store anew; what the keys encrypt is not touched.

    New files are written beside the old ones, then a note makes the rotation happen: after a crash
    before it nothing has changed, after it whoever opens the store finishes it. A store that the
    new key fits already stays as it is.

    Returns:
        The first half of the new key's SHA-256, in hexadecimal.

    Raises:
        KeyStoreError: a process uses the store, or the old key is not its key.
    """
    user = os.open(folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(user, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise KeyStoreError(
                "a process uses the key store: stop the audit log and its projector first"
            ) from error
        _finish_rotation(folder)
        before, after = AESGCM(old), AESGCM(new)
        fingerprint = hashlib.sha256(new).hexdigest()[:32]
        if _fits(folder / "tag.key", after):
            return fingerprint
        files = ["tag.key", *sorted(path.name for path in folder.glob("keys-*.seg"))]
        try:
            for name in files:
                rewrap = _rewrap_tag_key if name == "tag.key" else _rewrap_segment
                _write_durably(folder / f"{name}.rotated", rewrap(folder / name, before, after))
        except InvalidTag as error:
            raise KeyStoreError("the old master key does not fit the key store") from error
        _sync_folder(folder)
        note = {"key": fingerprint, "files": files}
        _replace(folder / "rotation.json", json.dumps(note).encode())
        _finish_rotation(folder)
        return fingerprint
    finally:
        os.close(user)


def _finish_rotation(folder: Path) -> None:
    """Put the files of a rotation that was decided in their places."""
    path = folder / "rotation.json"
    if not path.exists():
        return
    note = json.loads(path.read_bytes())
    for name in note["files"]:
        if (folder / f"{name}.rotated").exists():
            (folder / f"{name}.rotated").replace(folder / name)
    known = [each for each in _rotations(folder) if each["key"] != note["key"]]
    known.append({"key": note["key"], "announced": False})
    _replace(folder / "rotations.json", json.dumps(known).encode())
    path.unlink()
    _sync_folder(folder)


def _rotations(folder: Path) -> list[dict[str, Any]]:
    path = folder / "rotations.json"
    found: list[dict[str, Any]] = json.loads(path.read_bytes()) if path.exists() else []
    return found


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    _write_durably(partial, content)
    partial.replace(path)
    _sync_folder(path.parent)


def _fits(path: Path, master: AESGCM) -> bool:
    raw = path.read_bytes()
    try:
        master.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], TAG_KEY_LABEL)
    except InvalidTag:
        return False
    return True


def _rewrap_tag_key(path: Path, before: AESGCM, after: AESGCM) -> bytes:
    raw, nonce = path.read_bytes(), os.urandom(NONCE_BYTES)
    secret = before.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], TAG_KEY_LABEL)
    return nonce + after.encrypt(nonce, secret, TAG_KEY_LABEL)


def _rewrap_segment(path: Path, before: AESGCM, after: AESGCM) -> bytes:
    first = int(path.stem.removeprefix("keys-")) * SEGMENT_SLOTS
    raw = path.read_bytes()
    slots = []
    for at in range(0, len(raw) // SLOT_BYTES * SLOT_BYTES, SLOT_BYTES):
        slot = raw[at : at + SLOT_BYTES]
        if _is_whole(slot):
            tag, nonce = slot[:NAME_TAG_BYTES], slot[NAME_TAG_BYTES:][:NONCE_BYTES]
            context = _slot_context(tag, first + at // SLOT_BYTES)
            secret = before.decrypt(nonce, slot[NAME_TAG_BYTES + NONCE_BYTES : -4], context)
            fresh = os.urandom(NONCE_BYTES)
            wrapped = tag + fresh + after.encrypt(fresh, secret, context)
            slot = wrapped + zlib.crc32(wrapped).to_bytes(4, "big")
        slots.append(slot)
    return b"".join(slots)


def _overwrite(path: Path, tags: set[bytes], slots: set[int]) -> int:
    """Overwrite the slots of a segment that carry one of the tags or are named; how many."""
    first = _first_slot(path)
    gone = 0
    with path.open("r+b") as file:
        raw = file.read()
        for at in range(0, len(raw) // SLOT_BYTES * SLOT_BYTES, SLOT_BYTES):
            slot = raw[at : at + SLOT_BYTES]
            named = slot[:NAME_TAG_BYTES] in tags or first + at // SLOT_BYTES in slots
            if named and _is_whole(slot):
                file.seek(at)
                file.write(bytes(SLOT_BYTES))
                gone += 1
        file.flush()
        os.fsync(file.fileno())
    return gone


def _first_slot(path: Path) -> int:
    return int(path.stem.removeprefix("keys-")) * SEGMENT_SLOTS


def _slot_context(tag: bytes, slot: int) -> bytes:
    return tag + slot.to_bytes(8, "big")


def _is_whole(raw: bytes) -> bool:
    return len(raw) == SLOT_BYTES and zlib.crc32(raw[:-4]).to_bytes(4, "big") == raw[-4:]


def _write_durably(path: Path, content: bytes, at: int = 0) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        written = 0
        while written < len(content):
            written += os.pwrite(descriptor, content[written:], at + written)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
