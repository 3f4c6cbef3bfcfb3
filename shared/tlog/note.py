"""Signed notes and checkpoints as C2SP specifies them (signed-note, tlog-checkpoint; Ed25519)."""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from shared.tlog.merkle import HASH_BYTES

ED25519 = b"\x01"
MAX_SIGNATURES = 16
NEXT_KEY = "portalkeeper audit log: next key"
"""The first line of the note by which a key names the one that follows it."""

NEXT_LOG = "portalkeeper audit log: next log"
"""The first line of the note by which a log's key names the key of the log that follows it."""

_KEY_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9]\d{0,19}")


class NoteError(Exception):
    """A note, key or checkpoint that is malformed or not signed by the expected key."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name, written `<name>+<key id>+<base64 of type and key>`."""

    name: str
    public: Ed25519PublicKey

    @property
    def id(self) -> bytes:
        """The first four bytes of SHA-256 over name, type and key."""
        encoded = self.name.encode() + b"\n" + ED25519 + self.public.public_bytes_raw()
        return hashlib.sha256(encoded).digest()[:4]

    def __str__(self) -> str:
        key = base64.b64encode(ED25519 + self.public.public_bytes_raw()).decode()
        return f"{self.name}+{self.id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read the written form.

        Raises:
            NoteError: it is malformed, of another algorithm, or its id does not match.
        """
        try:
            name, id_, encoded = text.strip().split("+", 2)
            raw = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise NoteError("a key is written <name>+<key id>+<base64>") from error
        if not _KEY_NAME.fullmatch(name) or raw[:1] != ED25519:
            raise NoteError("only named Ed25519 keys are understood")
        try:
            key = cls(name, Ed25519PublicKey.from_public_bytes(raw[1:]))
        except ValueError as error:
            raise NoteError("the verifier key is not an Ed25519 key") from error
        if key.id.hex() != id_:
            raise NoteError("the verifier key's id does not match its name and key")
        return key


@dataclass(frozen=True, slots=True)
class SignerKey:
    """A private key with its name, which is the log's origin.

    Raises:
        NoteError: the name is empty or holds spaces or a plus sign.
    """

    name: str
    private: Ed25519PrivateKey

    def __post_init__(self) -> None:
        if not _KEY_NAME.fullmatch(self.name):
            raise NoteError("a key name must not be empty or hold spaces or plus signs")

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.private.public_key())

    def sign(self, text: str) -> str:
        """The signed note of a text that ends in a newline.

        Raises:
            NoteError: the text cannot be a note.
        """
        _check_text(text)
        signature = self.verifier.id + self.private.sign(text.encode())
        return f"{text}\n\u2014 {self.name} {base64.b64encode(signature).decode()}\n"


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(ord(char) < 0x20 and char != "\n" for char in text):
        raise NoteError("a note ends in a newline and holds no other control characters")


def open_note(note: str, key: VerifierKey) -> str:
    """The text of a note that `key` has signed; signatures by others are ignored.

    Raises:
        NoteError: it is malformed, not signed by the key, or the signature is wrong.
    """
    _check_text(note)
    text, blank, signatures = note.rpartition("\n\n")
    lines = signatures.splitlines()
    if not blank or not 0 < len(lines) <= MAX_SIGNATURES:
        raise NoteError("a note has a blank line and then at most 16 signatures")
    text += "\n"
    verified = False
    for line in lines:
        dash, name, signature = (*line.split(" "), "", "")[:3]
        try:
            raw = base64.b64decode(signature, validate=True)
        except ValueError as error:
            raise NoteError("a signature is not base64") from error
        if dash != "\u2014" or not _KEY_NAME.fullmatch(name) or len(raw) < 5:
            raise NoteError("a signature line is malformed")
        if (name, raw[:4]) != (key.name, key.id):
            continue
        try:
            key.public.verify(raw[4:], text.encode())
        except InvalidSignature as error:
            raise NoteError(f"the signature of {name} is wrong") from error
        verified = True
    if not verified:
        raise NoteError(f"the note is not signed by {key.name}+{key.id.hex()}")
    return text


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: whose log, how many entries, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text to be signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a note text; extension lines are ignored.

        Raises:
            NoteError: it is not a checkpoint.
        """
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or not _SIZE.fullmatch(lines[1]):
            raise NoteError("a checkpoint is origin, size and root on a line each")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except ValueError as error:
            raise NoteError("the checkpoint's root is not base64") from error
        if len(root) != HASH_BYTES:
            raise NoteError("the checkpoint's root is not a SHA-256 hash")
        return cls(lines[0], int(lines[1]), root)


def open_checkpoint(note: str, *keys: VerifierKey) -> Checkpoint:
    """The checkpoint in a note that one of `keys` has signed.

    Raises:
        NoteError: it is malformed, signed by none of the keys, or a signature is wrong.
    """
    refusal = NoteError("no key is known")
    for key in keys:
        try:
            return Checkpoint.parse(open_note(note, key))
        except NoteError as error:
            refusal = error
    raise refusal


def add_signature(note: str, key: SignerKey) -> str:
    """A note with one more signature, as while a key and the one that follows it overlap."""
    text = note.rpartition("\n\n")[0] + "\n"
    return note + key.sign(text).rpartition("\n\n")[2]


def name_next_key(key: SignerKey, following: VerifierKey) -> str:
    """The note by which a log's key names the one that will follow it."""
    return key.sign(f"{NEXT_KEY}\n{key.name}\n{following}\n")


@dataclass(frozen=True, slots=True)
class NextLog:
    """The key of a log, and the key of the log that follows it; each bears its log's name."""

    before: VerifierKey
    after: VerifierKey


def name_next_log(key: SignerKey, following: VerifierKey) -> str:
    """The note by which a log's key names the key of the log that will follow it."""
    return key.sign(f"{NEXT_LOG}\n{key.verifier}\n{following}\n")


def open_next_log(note: str) -> NextLog:
    """Read what `name_next_log` made. Who trusts the key before may trust the key after.

    Raises:
        NoteError: it is another note, or not signed by the key before.
    """
    try:
        title, before, after = note.partition("\n\n")[0].split("\n")
    except ValueError as error:
        raise NoteError("the note names no log") from error
    if title != NEXT_LOG:
        raise NoteError("the note names no log")
    named = NextLog(VerifierKey.parse(before), VerifierKey.parse(after))
    open_note(note, named.before)
    return named


def keys_following(first: VerifierKey, succession: Iterable[str]) -> list[VerifierKey]:
    """The first key and those that follow it, as far as each is named by one before it.

    Args:
        succession: notes as `name_next_key` and `name_next_log` make them, in any order; others
            are ignored.
    """
    keys = [first]
    notes = list(succession)
    while True:
        found = [key for note in notes if (key := _next_key(note, keys)) and key not in keys]
        if not found:
            return keys
        keys += found


def _next_key(note: str, keys: list[VerifierKey]) -> VerifierKey | None:
    try:
        named = open_next_log(note)
        return named.after if named.before in keys else None
    except NoteError:
        pass
    for key in keys:
        try:
            title, name, following = open_note(note, key).rstrip("\n").split("\n")
            next_key = VerifierKey.parse(following)
        except (NoteError, ValueError):
            continue
        if (title, name, next_key.name) == (NEXT_KEY, key.name, key.name):
            return next_key
    return None
