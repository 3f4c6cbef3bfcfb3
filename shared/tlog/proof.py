"""Proofs of one entry that verify offline, as C2SP tlog-proof specifies them.

A proof carries the checkpoint and the path to it. The opaque extra data hold the leaf, so that one
file is enough to see what is proved; like all extra data they are believed only once their hash
leads to the checkpoint's root.
"""

import base64
import re
from dataclasses import dataclass

from shared.tlog.merkle import HASH_BYTES, ProofError, leaf_hash, verify_inclusion
from shared.tlog.note import Checkpoint, VerifierKey, open_checkpoint

HEADER = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
MAX_PATH_HASHES = 64

_INDEX = re.compile(r"index (0|[1-9]\d{0,19})")


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry's index, the path from its leaf to the root, and the signed note with that root.

    `extra` is opaque to the format; None where there is none.
    """

    index: int
    path: tuple[bytes, ...]
    note: str
    extra: bytes | None = None

    def encode(self) -> str:
        """The proof's text."""
        extra = [] if self.extra is None else [f"extra {_b64(self.extra)}"]
        path = [_b64(hashed) for hashed in self.path]
        return "\n".join([HEADER, *extra, f"index {self.index}", *path, "", self.note])

    @classmethod
    def parse(cls, text: str) -> "Proof":
        """Read a proof's text.

        Raises:
            ProofError: it is not in the format.
        """
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != HEADER:
            raise ProofError(f"a proof begins with {HEADER} and ends with a checkpoint")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = _decoded(lines.pop(0).removeprefix("extra "))
        found = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if found is None:
            raise ProofError("a proof names the index of its entry")
        path = tuple(_decoded(line) for line in lines)
        if len(path) > MAX_PATH_HASHES or any(len(hashed) != HASH_BYTES for hashed in path):
            raise ProofError("a proof's path is made of SHA-256 hashes, at most 64")
        return cls(int(found[1]), path, note, extra)

    def verify(self, leaf: bytes, key: VerifierKey) -> Checkpoint:
        """Check that `leaf` is the entry in the tree of a checkpoint that `key` has signed.

        Raises:
            ProofError: it is not.
            NoteError: the checkpoint is not signed by the key.
        """
        checkpoint = open_checkpoint(self.note, key)
        if checkpoint.origin != key.name:
            raise ProofError(f"the checkpoint is about the log {checkpoint.origin}")
        verify_inclusion(leaf_hash(leaf), self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ProofError("a line of the proof is not base64") from error
