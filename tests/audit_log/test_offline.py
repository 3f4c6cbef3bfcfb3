"""What an auditor can check without the server: proofs, a whole log, and interrupted checks."""

import asyncio
import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit_log.handout import verify_audit_log
from services.cli.audit_mirror import mirror
from services.cli.audit_sources import CannotVerify, Folder, FreshServer, Server
from services.cli.audit_verify import Report, verify_log
from shared.kafka import Gap
from shared.postgres import in_transaction
from shared.tlog.merkle import Frontier, ProofError, leaf_hash, node_hash, root_over
from shared.tlog.note import Checkpoint, NoteError, SignerKey, VerifierKey
from shared.tlog.proof import Proof
from tests.audit_log.worlds import ORIGIN, World, hired

VERIFIER = Path(verify_audit_log.__file__)
SIZE = 700


@dataclass
class Exported:
    """A log of 700 entries, and a whole copy of it."""

    world: World
    folder: Path
    key: str

    def verifier(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """What the auditors' own verifier says."""
        return subprocess.run(
            [sys.executable, "-I", VERIFIER, *arguments], capture_output=True, text=True, timeout=60
        )


def quiet(_done: int, _total: int) -> None: ...


@pytest_asyncio.fixture(loop_scope="session")
async def exported(world: World, tmp_path: Path) -> Exported:
    await world.append(*[hired(offset, f"W-{offset % 7}") for offset in range(SIZE)])
    await world.sign()
    folder = tmp_path / "copy"
    source = FreshServer(world.url, world.token)
    assert await asyncio.to_thread(mirror, source, folder, quiet) == SIZE
    return Exported(world, folder, str(world.key.verifier))


async def check(source: FreshServer | Folder, **options: Any) -> Report:
    options = {"remembered": None, "progress": quiet, "processes": 1, **options}
    return await asyncio.to_thread(lambda: verify_log(source, **options))


async def test_a_copy_verifies_without_the_server_and_names_what_was_changed_in_it(
    exported: Exported,
) -> None:
    report = await check(Folder(exported.folder))
    assert report.good, report.problems
    assert (report.entries, report.payloads) == (SIZE, SIZE)
    bundle = exported.folder / "tile" / "entries" / "001"
    bundle.write_bytes(bundle.read_bytes().replace(b'"300"', b'"301"'))
    report = await check(Folder(exported.folder))
    assert report.first_wrong is not None
    assert report.first_wrong.index == 300


async def test_an_interrupted_copy_goes_on_where_it_was(exported: Exported) -> None:
    whole = (exported.folder / "openings.jsonl").read_bytes()
    (exported.folder / "openings.jsonl").write_bytes(whole[: len(whole) // 2])
    (exported.folder / "tile" / "0" / "001").unlink()
    source = FreshServer(exported.world.url, exported.world.token)
    await asyncio.to_thread(mirror, source, exported.folder, quiet)
    assert (exported.folder / "openings.jsonl").read_bytes() == whole
    assert (await check(Folder(exported.folder))).good


async def test_stretches_checked_in_parallel_give_the_same_answer(exported: Exported) -> None:
    one = await check(Folder(exported.folder))
    for stretch in (64, 256):
        many = await check(Folder(exported.folder), processes=2, stretch=stretch)
        assert (many.root, many.entries, many.payloads) == (one.root, SIZE, SIZE)
        assert many.good, many.problems


async def test_damage_between_two_stretches_is_named(world: World) -> None:
    await world.append(*[hired(offset) for offset in range(256)])
    await world.append(*[hired(offset) for offset in range(257, 300)])
    await world.sign()
    report = await check(FreshServer(world.url, world.token), stretch=256)
    assert report.first_wrong is not None
    assert report.first_wrong.index == 256
    assert "jumps from offset 256 to 257" in report.first_wrong.what


async def test_a_check_goes_on_from_the_last_good_one(exported: Exported) -> None:
    world, remembered = exported.world, exported.folder / "remembered.json"
    source = FreshServer(world.url, world.token)
    assert (await check(source, remembered=remembered)).good
    await world.append(*[hired(offset) for offset in range(SIZE, SIZE + 30)])
    await world.sign()
    report = await check(source, remembered=remembered, only_new=True)
    assert report.good, report.problems
    assert (report.begun_at, report.entries, report.size) == (SIZE, 30, SIZE + 30)
    await world.sabotage(
        "UPDATE entry SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'),"
        " 'worker.hired', 'worker.fired'), 'UTF8') WHERE index = 5"
    )
    assert (await check(source, remembered=remembered, only_new=True)).good
    assert not (await check(source, remembered=remembered)).good


async def test_an_interrupted_check_resumes_and_still_sees_the_whole(exported: Exported) -> None:
    remembered = exported.folder / "remembered.json"
    folder = Folder(exported.folder)

    class Interrupted(Exception):
        pass

    def stop(done: int, _total: int) -> None:
        if done >= 512:
            raise Interrupted

    with pytest.raises(Interrupted):
        await check(folder, remembered=remembered, progress=stop, stretch=128)
    report = await check(folder, remembered=remembered, resume=True, stretch=128)
    assert report.good, report.problems
    assert (report.begun_at, report.begun_at + report.entries) == (384, SIZE)
    assert not remembered.with_name("remembered.json.reached").exists()
    with pytest.raises(CannotVerify, match="no earlier check"):
        await check(folder, only_new=True)


async def test_the_auditors_own_verifier_agrees(exported: Exported) -> None:
    good = exported.verifier(exported.folder, "--key", exported.key)
    assert good.returncode == 0, good.stdout + good.stderr
    assert f"All {SIZE} entries are what was signed; {SIZE} payloads" in good.stdout
    (exported.folder / "earlier").write_text((exported.folder / "checkpoint").read_text())
    earlier = exported.verifier(exported.folder, "--earlier", exported.folder / "earlier")
    assert "compare it with one that you know" in earlier.stdout
    stranger = SignerKey(ORIGIN, Ed25519PrivateKey.generate())
    forged = stranger.sign(Checkpoint(ORIGIN, 300, bytes(32)).text())
    (exported.folder / "earlier").write_text(forged)
    assert exported.verifier(exported.folder, "--earlier", exported.folder / "earlier").returncode
    assert "not signed by the key" in exported.verifier(
        exported.folder, "--key", str(stranger.verifier)
    ).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("tile/entries/001", b'"300"', b'"301"', "offset 301 does not follow"),
        ("tile/entries/001", b"worker.hired", b"worker.fired", "root that was signed"),
        ("openings.jsonl", b'"index":0,"opening":"A', b'"index":0,"opening":"B', "entry 0: the"),
        ("checkpoint", b"\n700\n", b"\n699\n", f"the signature of {ORIGIN} is wrong"),
    ],
)
async def test_the_auditors_own_verifier_finds_what_was_changed(
    exported: Exported, name: str, old: bytes, new: bytes, said: str
) -> None:
    path = exported.folder / name
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    found = exported.verifier(exported.folder, "--key", exported.key)
    assert found.returncode == 1
    assert said in found.stdout


async def test_proofs_of_a_set_verify_alone_and_payloads_belong_to_them(
    exported: Exported, tmp_path: Path
) -> None:
    world = exported.world
    async with world.client() as http:
        answer = (await http.post("/audit/v1/proofs", json={"indexes": [3, 699, 3]})).json()
        single = (await http.get("/audit/v1/entries/3/tlog-proof")).text
        beyond = await http.post("/audit/v1/proofs", json={"indexes": [700]})
    assert beyond.json()["code"] == "no_such_entry"
    assert [each["index"] for each in answer["proofs"]] == [3, 699]
    assert answer["proofs"][0]["proof"] == single
    key = VerifierKey.parse(answer["public_key"])
    for each in answer["proofs"]:
        assert Proof.parse(each["proof"]).verify(each["leaf"].encode(), key).size == SIZE
        opening = base64.b64decode(each["opening"])
        said = verify_audit_log.check_opening(json.loads(each["leaf"]), opening)
        assert said["headers"]["ce_subject"] == f"W-{each['index'] % 7}"
    path = tmp_path / "3.tlog-proof"
    path.write_text(single)
    assert "Entry 3 of 700" in exported.verifier(path, "--key", exported.key).stdout
    path.write_text(single.replace("index 3", "index 4"))
    assert exported.verifier(path, "--key", exported.key).returncode == 1


async def test_a_partition_that_an_operator_accepted_as_new_may_begin_anew(world: World) -> None:
    await world.append(*[hired(offset) for offset in range(5)])
    gap = Gap("hr.worker-events.v1", 0, 0, -1)
    await in_transaction(world.pool, lambda conn: world.handler.mark_restart(conn, gap))
    await world.append(*[hired(offset) for offset in range(3)])
    await world.sign()
    report = await world.verify()
    assert report.good, report.problems
    assert report.restarts == [(5, ("hr.worker-events.v1", 0))]
    await world.append(hired(1))
    await world.sign()
    report = await world.verify()
    assert report.first_wrong is not None
    assert report.first_wrong.index == 9


# -- the format, and trees that are put together


def test_a_proof_is_written_as_the_specification_shows_it() -> None:
    key = SignerKey(ORIGIN, Ed25519PrivateKey.generate())
    leaves = [b"a", b"b", b"c"]
    first, second, third = (leaf_hash(leaf) for leaf in leaves)
    root = root_over([first, second, third])
    note = key.sign(Checkpoint(ORIGIN, 3, root).text())
    path = (node_hash(first, second),)
    text = Proof(2, path, note, b"c").encode()
    assert text.split("\n")[:3] == ["c2sp.org/tlog-proof@v1", "extra Yw==", "index 2"]
    assert text.split("\n")[4:6] == ["", ORIGIN]
    assert text.endswith(note)
    assert Proof.parse(text).encode() == text
    assert Proof.parse(text).verify(b"c", key.verifier).size == 3
    assert Proof.parse(Proof(2, path, note).encode()).extra is None
    with pytest.raises(ProofError):
        Proof.parse(text).verify(b"b", key.verifier)
    with pytest.raises(NoteError):
        Proof.parse(text).verify(b"c", SignerKey(ORIGIN, Ed25519PrivateKey.generate()).verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1\nindex 0",
        "c2sp.org/tlog-proof@v2\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 01\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex -1\n\nnote",
        "c2sp.org/tlog-proof@v1\nextra !\nindex 1\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 1\nextra AAAA\n\nnote",
        "c2sp.org/tlog-proof@v1\nAAAA\nindex 1\n\nnote",
    ],
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        Proof.parse(text)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 64), st.integers(0, 6))
def test_trees_hashed_apart_make_the_whole(stretches: int, rest: int, level: int) -> None:
    width = 1 << level
    rest = min(rest, width)
    hashes = [leaf_hash(str(number).encode()) for number in range(stretches * width + rest)]
    whole = Frontier.empty()
    for start in range(0, len(hashes), width):
        part = Frontier.empty()
        part.extend(hashes[start : start + width])
        whole.append_subtrees(part)
    assert whole.size == len(hashes)
    assert whole.root() == root_over(hashes)


async def test_a_token_is_renewed_before_it_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = iter("abc")
    source = FreshServer("http://127.0.0.1:1", lambda: next(tokens))
    assert isinstance(source.now(), Server)
    assert source.now().token == "a"
    monkeypatch.setattr("services.cli.audit_sources.TOKEN_SECONDS", -1)
    assert source.now().token == "b"
