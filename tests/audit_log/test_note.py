"""Signed notes against the example of Go's sumdb/note package, and what must not be accepted."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.tlog.note import (
    Checkpoint,
    NoteError,
    SignerKey,
    VerifierKey,
    keys_following,
    name_next_key,
    name_next_log,
    open_checkpoint,
    open_next_log,
    open_note,
)

# golang.org/x/mod/sumdb/note, note_test.go
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_NOTE = (
    f"{GO_TEXT}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKv"
    "qfqdngotpRZb6KE6RyyBwJnAM=\n"
)
KEY = SignerKey("portalkeeper.local/audit", Ed25519PrivateKey.from_private_bytes(bytes(32)))
OTHER = SignerKey("portalkeeper.local/audit", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))


def test_the_published_note_is_signed_and_opened() -> None:
    signer = SignerKey("PeterNeumann", Ed25519PrivateKey.from_private_bytes(GO_SEED))
    assert str(signer.verifier) == GO_VERIFIER
    assert signer.sign(GO_TEXT) == GO_NOTE
    assert open_note(GO_NOTE, VerifierKey.parse(GO_VERIFIER)) == GO_TEXT


def test_a_checkpoint_reads_back() -> None:
    checkpoint = Checkpoint(KEY.name, 70_000, bytes(range(32)))
    note = KEY.sign(checkpoint.text())
    assert open_checkpoint(note, KEY.verifier) == checkpoint
    assert note.startswith("portalkeeper.local/audit\n70000\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYX")


def test_signatures_of_others_are_ignored_but_ours_is_needed() -> None:
    text = Checkpoint(KEY.name, 1, bytes(32)).text()
    ours, theirs = KEY.sign(text), OTHER.sign(text)
    both = theirs + ours.rpartition("\n\n")[2]
    assert open_note(both, KEY.verifier) == text
    with pytest.raises(NoteError, match="not signed by"):
        open_note(theirs, KEY.verifier)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("70000", "70001"),
        lambda note: note.replace("\n\n", "\n"),
        lambda note: note.replace("\n\n", "\n\n\n"),
        lambda note: note[:-1],
        lambda note: note.replace("—", "-"),
        lambda note: note.rpartition("— ")[0],
        lambda note: note + note.rpartition("\n\n")[2] * 16,
        lambda note: note.replace("\n", "\r\n"),
        lambda note: note[:-6] + "AAA=\n",
        lambda note: note[:-6] + "äöü=\n",
        lambda note: "",
    ],
)
def test_a_changed_note_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    note = KEY.sign(Checkpoint(KEY.name, 70_000, bytes(32)).text())
    with pytest.raises(NoteError):
        open_note(change(note), KEY.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n",
        "a\n1\n",
        "a\n1\nAAAA\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a+b", "a+00000000+!!", GO_VERIFIER.replace("c74f", "c74e"), GO_VERIFIER[:-4]],
)
def test_a_damaged_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(text)


def test_a_key_cannot_have_a_name_that_breaks_a_note() -> None:
    for name in ("", "a b", "a+b"):
        with pytest.raises(NoteError):
            SignerKey(name, KEY.private)


def test_a_key_is_followed_into_the_logs_behind_it() -> None:
    elsewhere = SignerKey("portalkeeper.local/audit-2", KEY.private)
    rotated = SignerKey(elsewhere.name, OTHER.private)
    notes = [
        name_next_key(elsewhere, rotated.verifier),
        name_next_log(KEY, elsewhere.verifier),
        # Whoever holds another key names nothing, whatever the note says.
        OTHER.sign(name_next_log(KEY, OTHER.verifier).partition("\n\n")[0] + "\n"),
    ]
    assert keys_following(KEY.verifier, notes) == [
        KEY.verifier, elsewhere.verifier, rotated.verifier
    ]  # fmt: skip
    assert open_next_log(notes[1]).after == elsewhere.verifier
    for note in (notes[0], notes[2]):
        with pytest.raises(NoteError):
            open_next_log(note)
