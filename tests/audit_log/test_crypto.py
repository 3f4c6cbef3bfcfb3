"""The key store: keys are durable before use, found again, shared, and never guessed around."""

import multiprocessing
import os
from pathlib import Path

import pytest

from services.audit_log import crypto
from services.audit_log.crypto import (
    SLOT_BYTES,
    Holder,
    KeyStore,
    KeyStoreError,
    KeyUnavailable,
    PayloadAltered,
    RandomBytes,
    read_master_key,
)

MASTER = bytes(range(32))
HOLDERS = [("cedar-sound", f"W-{number}") for number in range(500)]


def test_a_worker_has_one_key_whatever_the_process(tmp_path: Path) -> None:
    first, second = KeyStore(tmp_path, MASTER), KeyStore(tmp_path, MASTER)
    ours, _ = first.provide(HOLDERS[:2], 0)
    theirs, _ = second.provide(HOLDERS[1:3], 0)
    assert ours[HOLDERS[1]].secret == theirs[HOLDERS[1]].secret
    again, _ = KeyStore(tmp_path, MASTER).provide(HOLDERS[:3], 0)
    assert again[HOLDERS[0]].secret == ours[HOLDERS[0]].secret
    assert again[HOLDERS[2]].slot == theirs[HOLDERS[2]].slot


def test_hundreds_of_new_keys_cost_one_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyStore(tmp_path, MASTER)
    keys.provide(HOLDERS[:1], 0)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    made, single = keys.provide(HOLDERS, 100)
    assert len(synced) == 1
    assert len({key.slot for key in (*made.values(), *single)}) == 600


def test_keys_are_read_back_by_slot_across_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crypto, "SEGMENT_SLOTS", 7)
    made, single = KeyStore(tmp_path, MASTER).provide(HOLDERS[:20], 5)
    reopened = KeyStore(tmp_path, MASTER)
    for key in (*made.values(), *single):
        assert reopened.key(key.slot).secret == key.secret
    assert len(list(tmp_path.glob("keys-*.seg"))) == 4
    assert reopened.provide(HOLDERS[:20], 0)[0][HOLDERS[19]].slot == made[HOLDERS[19]].slot


def test_the_folder_shows_neither_workers_nor_keys(tmp_path: Path) -> None:
    made, _ = KeyStore(tmp_path, MASTER).provide(HOLDERS, 0)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"W-1" not in content
    assert not any(key.secret in content for key in made.values())
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    assert "secret" not in repr(made)


def test_what_a_crash_left_of_a_slot_is_overwritten(tmp_path: Path) -> None:
    KeyStore(tmp_path, MASTER).provide(HOLDERS[:3], 0)
    segment = tmp_path / "keys-000000.seg"
    segment.write_bytes(segment.read_bytes()[: 2 * SLOT_BYTES + 11])
    keys = KeyStore(tmp_path, MASTER)
    made, _ = keys.provide(HOLDERS[:4], 0)
    assert sorted(key.slot for key in made.values()) == [0, 1, 2, 3]
    assert keys.key(2).secret == made[HOLDERS[2]].secret


def test_a_destroyed_key_is_gone_and_its_holder_gets_another(tmp_path: Path) -> None:
    made, _ = KeyStore(tmp_path, MASTER).provide(HOLDERS[:2], 0)
    segment = tmp_path / "keys-000000.seg"
    content = bytearray(segment.read_bytes())
    content[:SLOT_BYTES] = bytes(SLOT_BYTES)
    segment.write_bytes(content)
    keys = KeyStore(tmp_path, MASTER)
    with pytest.raises(KeyUnavailable):
        keys.key(made[HOLDERS[0]].slot)
    again, _ = keys.provide(HOLDERS[:2], 0)
    assert again[HOLDERS[0]].slot == 2
    assert again[HOLDERS[1]].slot == 1


def test_another_master_key_is_refused(tmp_path: Path) -> None:
    KeyStore(tmp_path, MASTER).provide(HOLDERS[:1], 0)
    with pytest.raises(KeyStoreError, match="does not fit"):
        KeyStore(tmp_path, bytes(32))


def test_a_key_store_without_its_tag_key_is_refused(tmp_path: Path) -> None:
    KeyStore(tmp_path, MASTER).provide(HOLDERS[:1], 0)
    (tmp_path / "tag.key").unlink()
    with pytest.raises(KeyStoreError, match="restore"):
        KeyStore(tmp_path, MASTER)


def test_slots_cannot_be_swapped(tmp_path: Path) -> None:
    KeyStore(tmp_path, MASTER).provide(HOLDERS[:2], 0)
    segment = tmp_path / "keys-000000.seg"
    content = segment.read_bytes()
    segment.write_bytes(content[SLOT_BYTES:] + content[:SLOT_BYTES])
    with pytest.raises(KeyUnavailable, match="altered"):
        KeyStore(tmp_path, MASTER).key(0)


def test_a_payload_opens_only_unchanged_in_its_place_and_under_its_key(tmp_path: Path) -> None:
    made, _ = KeyStore(tmp_path, MASTER).provide(HOLDERS[:2], 0)
    key, other = made[HOLDERS[0]], made[HOLDERS[1]]
    payload = key.seal(b"t/0/1", b"opening")
    assert key.unseal(b"t/0/1", payload) == b"opening"
    for holder, context, changed in (
        (other, b"t/0/1", payload),
        (key, b"t/0/2", payload),
        (key, b"t/0/1", payload[:-1]),
        (key, b"t/0/1", payload[:40] + b"\x00" + payload[41:] + b"\x00"),
        (key, b"t/0/1", b""),
    ):
        with pytest.raises(PayloadAltered):
            holder.unseal(context, changed)
    assert key.seal(b"t/0/1", b"opening") != payload


@pytest.mark.parametrize("content", [None, "", "AAAA", "not base64!", "\xff"])
def test_a_master_key_file_that_is_none_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "master.key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(KeyStoreError, match="32 bytes"):
        read_master_key(path)


def provide_many(folder: str, start: int) -> dict[Holder, bytes]:
    keys = KeyStore(Path(folder), MASTER)
    found: dict[Holder, bytes] = {}
    for at in range(start, start + 200, 20):
        made, _ = keys.provide(HOLDERS[at : at + 20], 3)
        found |= {holder: key.secret for holder, key in made.items()}
    return found


def test_processes_that_make_keys_at_once_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.starmap(provide_many, [(str(tmp_path), 0), (str(tmp_path), 100)])
    for holder in HOLDERS[100:200]:
        assert results[0][holder] == results[1][holder]
    reopened, _ = KeyStore(tmp_path, MASTER).provide(HOLDERS[:300], 0)
    for result in results:
        assert all(reopened[holder].secret == secret for holder, secret in result.items())


def test_random_bytes_are_handed_out_once_and_never_again_in_a_forked_child() -> None:
    random = RandomBytes()
    taken = [random.take(12) for _ in range(20_000)]
    assert len(set(taken)) == 20_000
    assert {len(each) for each in taken} == {12}
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, random.take(16))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 16) != random.take(16)
