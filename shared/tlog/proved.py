"""Checking the proofs that an audit log's API hands out together, all to one checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.tlog.merkle import ProofError
from shared.tlog.note import Checkpoint, VerifierKey
from shared.tlog.proof import Proof


@dataclass(frozen=True, slots=True)
class Proved:
    """Entries that are shown to be in the tree of one signed checkpoint.

    `indexes` are theirs; the key comes from the same server as the proofs, so whoever reads this
    compares it with the one written down when the log began.
    """

    checkpoint: Checkpoint
    public_key: str
    indexes: frozenset[int]


def check_proofs(answer: Mapping[str, Any]) -> Proved:
    """Check every proof of an answer to `POST /audit/v1/proofs`.

    Raises:
        ProofError: one of them does not prove its leaf, or there is none.
        NoteError: the checkpoint is not signed by the key beside it.
        KeyError, ValueError: it is no such answer.
    """
    key = VerifierKey.parse(str(answer["public_key"]))
    checkpoint: Checkpoint | None = None
    indexes = set()
    for each in answer["proofs"]:
        proof = Proof.parse(each["proof"])
        if proof.note != answer["checkpoint"] or proof.index != each["index"]:
            raise ProofError("a proof is not about what the answer says")
        checkpoint = proof.verify(str(each["leaf"]).encode(), key)
        indexes.add(proof.index)
    if checkpoint is None:
        raise ProofError("nothing is proved")
    return Proved(checkpoint, str(key), frozenset(indexes))
