"""The log over the years: pruned under holds, backed up, restored, and followed by another."""

import asyncio
import base64
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.database import dsn_for
from services.audit_log import maintenance
from services.audit_log.handlers import backup
from services.audit_log.handlers.appending import AuditHandler
from services.audit_log.handlers.pruning import CannotPrune, prune_next
from services.audit_log.handlers.succeeding import CannotSucceed, open_successor
from services.audit_log.signer import Refused
from services.audit_log.store import keeping
from services.cli.audit_mirror import mirror
from services.cli.audit_sources import Folder, FreshServer
from services.cli.audit_verify import Follows, Remembered, verify_log
from shared.contracts.topics import ACCESS_EVENTS, DEAD_LETTERS
from shared.postgres import create_pool, in_transaction
from shared.tlog.leaf import SuccessionLeaf, parse_leaf
from shared.tlog.note import (
    Checkpoint,
    SignerKey,
    VerifierKey,
    name_next_log,
    open_checkpoint,
    open_next_log,
)
from shared.tlog.proof import Proof
from tests.audit_log.test_api import get, indexes
from tests.audit_log.test_keeping import age, erase, post, publish, state
from tests.audit_log.test_offline import VERIFIER, quiet
from tests.audit_log.test_search import event
from tests.audit_log.worlds import ORIGIN, World, hired, make_world, raw_record
from tests.servers import PASSWORDS, database_copy, dsn_for_database

SPAN = 256
SUCCESSOR = "portalkeeper.local/test-2"


def owner_dsn(database: Mapping[str, str]) -> str:
    """The connection string of the role that owns the log's tables."""
    admin = database["admin"]
    name = admin.partition("?")[0].rpartition("/")[2]
    return dsn_for(dsn_for_database(admin, name), "audit_owner", PASSWORDS["audit_owner"], name)


async def narrow(world: World) -> None:
    """Partitions of 256 entries, as if the years had passed."""
    await world.sabotage(
        f"UPDATE log_shape SET span = {SPAN}",
        "DROP TABLE entry_000000, entry_000001",
        "SELECT add_entry_partitions(2000)",
    )


async def prune(world: World) -> list[tuple[int, int, int]]:
    """Prune as far as may be: (first, end, kept) of each partition."""
    pool = await create_pool(owner_dsn(world.database), max_size=1)
    pruned = []
    try:
        terms = world.reading.terms
        while one := await in_transaction(pool, lambda conn: prune_next(conn, terms, 6)):
            pruned.append((one.first, one.end, one.kept))
    finally:
        await pool.close()
    return pruned


@pytest_asyncio.fixture(loop_scope="session")
async def old(world: World) -> World:
    """600 entries about five workers, older than retention, signed and checked once."""
    await narrow(world)
    await world.append(*[hired(offset, f"W-{offset % 5}") for offset in range(600)])
    await world.sign()
    assert (await world.verify()).good
    await age(world)
    return world


# -- pruning


async def test_a_pruned_prefix_is_gone_and_everything_still_verifies(old: World) -> None:
    before = await old.verify()
    assert await prune(old) == [(0, 256, 0), (256, 512, 0)]
    await old.append(hired(600, "W-1"))
    await old.sign()
    report = await old.verify()
    assert report.good, report.problems
    assert (report.pruned, report.payloads, report.remembered_size) == (512, 89, before.size)
    assert await indexes(old, worker="W-1", limit=500) == [
        600,
        *[index for index in range(599, 511, -1) if index % 5 == 1],
    ]
    assert (await get(old, "/entries/5")).status_code == 404
    assert (await get(old, "/entries/599/proof")).status_code == 200
    async with old.client() as http:
        gone = await http.get(f"/log/{ORIGIN}/tile/entries/000")
        assert (gone.status_code, gone.json()["code"]) == (404, "pruned")
        assert len((await http.get(f"/log/{ORIGIN}/tile/0/000")).content) == 8_192
    rows = await old.fetch("SELECT value FROM outbox ORDER BY id")
    told = [orjson.loads(row["value"]).get("target") for row in rows]
    assert [target for target in told if target] == ["0-255", "256-511"]


async def test_the_auditors_own_verifier_takes_a_pruned_log(old: World, tmp_path: Path) -> None:
    await prune(old)
    await asyncio.to_thread(mirror, FreshServer(old.url, old.token), tmp_path / "copy", quiet)
    found = await asyncio.to_thread(auditors_verifier, tmp_path / "copy")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "512 that were pruned only the hashes are left" in found.stdout


async def test_held_entries_are_kept_aside_and_can_still_be_proved(old: World) -> None:
    made = await post(old, "/holds", {"kind": "worker", "subject": "W-3", "reason": "Claim 26"})
    await publish(old, state("W-4", active=True))
    assert [kept for _, _, kept in await prune(old)] == [102, 102]
    all_of_them = [index for index in range(599, -1, -1) if index % 5 == 3]
    assert await indexes(old, worker="W-3", limit=500) == all_of_them
    shown = (await get(old, "/entries/3")).json()
    assert shown["payload"]["value"]["title"] == "Billing Specialist"
    assert (await get(old, "/entries/4")).status_code == 200
    assert (await get(old, "/entries/5")).status_code == 404
    proof = (await get(old, "/entries/3/proof")).json()
    assert proof["size"] == 600
    assert (await get(old, "/entries/3/tlog-proof")).status_code == 200
    assert (await old.verify()).good
    assert made.status_code == 201
    while await old.projector.project(old.search_pool):
        pass
    left = [index for index in range(599, 511, -1) if index % 5 == 2]
    assert await indexes(old, worker="W-2", limit=500) == left


async def test_nothing_is_pruned_before_its_time_or_in_part(world: World) -> None:
    await narrow(world)
    await world.append(*[hired(offset) for offset in range(600)])
    assert await prune(world) == []
    await world.sabotage(
        "UPDATE entry SET recorded_at = recorded_at - interval '7 years' WHERE index < 400"
    )
    assert await prune(world) == [(0, 256, 0)]


async def test_nothing_is_pruned_while_search_cannot_tell_what_is_held(old: World) -> None:
    await old.sabotage("UPDATE audit_search.projection SET position = 200")
    with pytest.raises(CannotPrune, match="search is not complete"):
        await prune(old)


async def test_whoever_appends_cannot_prune(old: World) -> None:
    conn = await asyncpg.connect(old.database["audit_log"])
    try:
        for statement in (
            "ALTER TABLE entry DETACH PARTITION entry_000000",
            "DROP TABLE entry_000000",
            "UPDATE log_head SET pruned = 512",
            "INSERT INTO held_entry SELECT * FROM entry",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)
    finally:
        await conn.close()


# -- backup and restore


@pytest_asyncio.fixture(loop_scope="session")
async def another_database(postgres: str, template: str) -> AsyncIterator[Mapping[str, str]]:
    """A second prepared database, to restore into."""
    async with database_copy(postgres, template) as dsns:
        yield dsns


async def back_up(world: World, folder: Path) -> None:
    conn = await asyncpg.connect(owner_dsn(world.database))
    try:
        await backup.back_up_log(conn, folder / "log")
        with pytest.raises(backup.CannotRestore, match="not empty"):
            await backup.back_up_log(conn, folder / "log")
    finally:
        await conn.close()
    backup.back_up_keys(world.keys, folder / "keys")


async def restore(database: Mapping[str, str], folder: Path) -> None:
    conn = await asyncpg.connect(owner_dsn(database))
    try:
        await backup.restore_log(conn, folder / "log")
        with pytest.raises(backup.CannotRestore, match=f"holds the log {ORIGIN} already"):
            await backup.restore_log(conn, folder / "log")
    finally:
        await conn.close()


async def test_a_restored_log_goes_on_where_it_was(
    world: World, another_database: Mapping[str, str], tmp_path: Path
) -> None:
    await world.append(*[hired(offset, f"W-{offset % 5}") for offset in range(300)])
    await world.sign()
    await post(world, "/holds", {"kind": "worker", "subject": "W-1", "reason": "Claim 26"})
    before = await world.verify()
    await back_up(world, tmp_path / "backup")
    await restore(another_database, tmp_path / "backup")

    # Keys and the signer's memory come from where they are kept.
    await world.stop_signer()
    folder = tmp_path / "restored"
    assert backup.restore_keys(tmp_path / "backup" / "keys", folder / "keys") == 2
    with pytest.raises(backup.CannotRestore, match="holds keys already"):
        backup.restore_keys(tmp_path / "backup" / "keys", folder / "keys")
    (folder / "signer").mkdir()
    for name in ("signer/signed.json", "remembered.json"):
        (folder / name).write_bytes((world.folder / name).read_bytes())
    async with make_world(another_database, folder, key=world.key) as again:
        await again.append(hired(300))
        await again.sign()
        report = await again.verify()
        assert report.good, report.problems
        assert (report.remembered_size, report.size) == (before.size, before.size + 1)
        assert (report.payloads, report.public_key) == (301, before.public_key)
        assert await indexes(again, worker="W-3", limit=500) == [
            n for n in range(299, -1, -1) if n % 5 == 3
        ]
        async with again.pool.acquire() as conn:
            assert [each.subject for each in await keeping.read_holds(conn)] == ["W-1"]


async def test_a_damaged_backup_is_not_restored(
    world: World, another_database: Mapping[str, str], tmp_path: Path
) -> None:
    await world.append(hired(0))
    folder = tmp_path / "backup"
    await back_up(world, folder)
    path = folder / "log" / "entry.copy"
    path.write_bytes(path.read_bytes().replace(b"worker.hired", b"worker.fired"))
    conn = await asyncpg.connect(owner_dsn(another_database))
    try:
        with pytest.raises(backup.CannotRestore, match="damaged"):
            await backup.restore_log(conn, folder / "log")
        with pytest.raises(backup.CannotRestore, match="no backup"):
            await backup.restore_log(conn, folder)
    finally:
        await conn.close()


def test_the_commands_say_what_is_wrong() -> None:
    command = [sys.executable, "-m", maintenance.__name__, "restore-log", "/nowhere"]
    found = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={"PORTALKEEPER_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "PATH": "/usr/bin"},
    )
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1


# -- a successor


async def lose(
    world: World, database: Mapping[str, str], folder: Path, *lost: Any
) -> tuple[str, Path]:
    """Back up, sign entries that are then lost, and restore; the last note, and where."""
    await back_up(world, folder / "backup")
    await world.append(*lost)
    last_note = await world.sign()
    await world.stop_signer()
    await restore(database, folder / "backup")
    restored = folder / "restored"
    backup.restore_keys(folder / "backup" / "keys", restored / "keys")
    (restored / "signer").mkdir()
    memory = (world.folder / "signer" / "signed.json").read_bytes()
    (restored / "signer" / "signed.json").write_bytes(memory)
    return last_note, restored


async def test_a_log_that_lost_signed_entries_is_frozen_and_followed_by_another(
    world: World, another_database: Mapping[str, str], tmp_path: Path
) -> None:
    """The drill: back up, go on, lose the database, restore, and open a successor."""
    named = [("dl_key", b"cedar-sound/W-old".hex().encode()), ("dl_reason", b"invalid_data")]
    await world.append(
        hired(0, "W-old"),
        event(0, ACCESS_EVENTS.name, "operation.confirmed", "W-old", {"portal": "hub"}),
        raw_record(0, b"hr.worker-events.v1/0", b'{"name":"Secret"}', named, DEAD_LETTERS.name),
        *[hired(offset) for offset in range(1, 298)],
    )
    await world.sign()
    lost = [hired(offset) for offset in range(298, 398)]
    last_note, folder = await lose(world, another_database, tmp_path, *lost)
    with pytest.raises(Refused, match="shrank from 400 to 300"):
        async with make_world(another_database, folder, key=world.key) as refused:
            await refused.sign()

    conn = await asyncpg.connect(another_database["admin"])
    try:
        with pytest.raises(CannotSucceed, match="another name"):
            await open_successor(conn, folder / "signer", ORIGIN, [world.key.private])
        opened = await open_successor(conn, folder / "signer", SUCCESSOR, [world.key.private])
    finally:
        await conn.close()
    assert (opened.old_origin, opened.signed_size, opened.stored_size) == (ORIGIN, 400, 300)

    key = SignerKey(SUCCESSOR, world.key.private)
    async with make_world(another_database, folder, key=key, origin=SUCCESSOR) as after:
        handler = AuditHandler(SUCCESSOR, after.keys, after.reading.clock)
        await in_transaction(after.pool, handler.begin_successor)
        await in_transaction(after.pool, handler.begin_successor)
        # What was lost comes in again from Kafka.
        await after.append(*[hired(offset) for offset in range(298, 448)])
        await after.sign()
        report = await after.verify()
        assert report.good, report.problems
        assert (report.size, report.payloads) == (151, 150)
        async with after.client() as http:
            log = (await http.get("/audit/v1/log")).json()
            old = (await http.get(f"/log/{ORIGIN}/checkpoint")).text
            bundle = await http.get(f"/log/{ORIGIN}/tile/entries/000")
            first = (await http.get("/audit/v1/entries/0")).json()
        [before] = log["predecessors"]
        assert (before["origin"], before["checkpoint"]) == (ORIGIN, last_note)
        assert open_next_log(before["statement"]).after == key.verifier
        # What was signed stays signed, although entries behind the 300th are gone.
        assert open_checkpoint(old, world.key.verifier).size == 400
        assert len(bundle.content) > 100
        leaf = parse_leaf(first["leaf"].encode())
        assert isinstance(leaf, SuccessionLeaf)
        assert base64.b64decode(leaf.checkpoint).decode() == last_note
        assert (folder / "signer" / "signed.portalkeeper.local_test.json").exists()
        await _check_what_was_frozen(after, world.key.verifier, tmp_path / "copy")
        await _check_erasure_of_what_was_frozen(after)


async def _check_erasure_of_what_was_frozen(after: World) -> None:
    """The old log's entries keep somebody from being erased, and are erased with them."""
    of_old = {"log": ORIGIN}
    held = await post(after, "/holds", {"kind": "portal", "subject": "hub", "reason": "Claim 26"})
    # What came in again is old, and what was frozen is not.
    await age(after)
    assert (await erase(after, "W-old")).json()["code"] == "legal_hold"
    released = await post(after, f"/holds/{held.json()['id']}/release", {"reason": "settled"})
    assert released.status_code == 200
    assert (await erase(after, "W-old")).json()["code"] == "inside_retention"
    await after.sabotage(
        "UPDATE audit_log_frozen_1.entry SET recorded_at = recorded_at - interval '7 years'"
    )
    assert (await erase(after, "W-old")).status_code == 201
    async with after.client(after.token(scope="audit:read ops:admin")) as http:
        for index in (0, 1, 2):
            shown = (await http.get(f"/audit/v1/entries/{index}", params=of_old)).json()
            assert shown["payload_missing"] == "key_unavailable"
        other = (await http.get("/audit/v1/entries/3", params=of_old)).json()
    assert other["payload"] is not None


async def _check_what_was_frozen(after: World, key: VerifierKey, copy: Path) -> None:
    """An auditor who knows an index of the old log gets entry, payload and proof, and checks."""
    async with after.client() as http:
        of_old = {"log": ORIGIN}
        shown = (await http.get("/audit/v1/entries/7", params=of_old)).json()
        proof = (await http.get("/audit/v1/entries/7/tlog-proof", params=of_old)).text
        lost = await http.get("/audit/v1/entries/350", params=of_old)
        other = await http.get("/audit/v1/entries/7", params={"log": "nobody.example/log"})
    assert (shown["offset"], shown["label"]) == (5, None)
    assert shown["payload"]["value"]["title"] == "Billing Specialist"
    assert Proof.parse(proof).verify(shown["leaf"].encode(), key).size == 300
    assert (lost.status_code, other.status_code) == (404, 404)
    assert other.json()["code"] == "no_such_log"
    rows = await after.fetch("SELECT value FROM outbox ORDER BY id")
    reads = [orjson.loads(row["value"]) for row in rows]
    assert {"index": "7", "log": ORIGIN} in [each.get("filters") for each in reads]

    source = FreshServer(after.url, after.token, ORIGIN)
    await asyncio.to_thread(mirror, source, copy, quiet)
    for checked_from in (source, Folder(copy)):
        report = await asyncio.to_thread(
            verify_log, checked_from, remembered=None, progress=quiet, processes=1
        )
        assert [(each.index, each.what) for each in report.problems] == [
            (300, "the log was cut off: 400 entries are signed, 300 are there")
        ]
        assert (report.entries, report.payloads) == (300, 299)


@pytest.mark.parametrize("is_lost", [False, True], ids=["the key is there", "the key is lost"])
async def test_a_successor_is_trusted_through_the_key_of_the_log_before(
    world: World, another_database: Mapping[str, str], tmp_path: Path, is_lost: bool
) -> None:
    """An auditor knows the old log's key alone; with it, the new log is checked or not believed."""
    await world.append(hired(0))
    await world.sign()
    assert (await world.verify()).good
    _, folder = await lose(world, another_database, tmp_path, hired(1))
    (folder / "remembered.json").write_bytes((world.folder / "remembered.json").read_bytes())
    old = world.key.verifier
    private = Ed25519PrivateKey.generate() if is_lost else world.key.private
    conn = await asyncpg.connect(another_database["admin"])
    try:
        opened = await open_successor(conn, folder / "signer", SUCCESSOR, [private])
    finally:
        await conn.close()
    assert opened.named is not is_lost
    key = SignerKey(SUCCESSOR, private)
    async with make_world(another_database, folder, key=key, origin=SUCCESSOR) as after:
        await in_transaction(after.pool, after.handler.begin_successor)
        await after.append(hired(1))
        await after.sign()
        copy = tmp_path / "copy"
        await asyncio.to_thread(mirror, FreshServer(after.url, after.token), copy, quiet)
        report = await after.verify()
        if is_lost:
            [problem] = report.problems
            assert f"the remembered log is {ORIGIN}, and no key of it names" in problem.what
            (folder / "remembered.json").unlink()
            report = await after.verify()
        else:
            kept = folder / "remembered.portalkeeper.local_test.json"
            assert Remembered.read(kept) is not None
        assert report.good, report.problems
        assert (await after.verify()).remembered_size == 2
    assert report.follows == Follows(ORIGIN, 2, None if is_lost else old)

    said = await asyncio.to_thread(auditors_verifier, copy, "--key", str(old))
    own = await asyncio.to_thread(auditors_verifier, copy)
    assert own.returncode == 0, own.stdout
    if is_lost:
        assert (said.returncode, "not signed by the key" in said.stdout) == (1, True)
        assert "no key of which names this one's" in own.stdout
    else:
        assert said.returncode == 0, said.stdout
        assert f"whose key names this one's: {old}" in said.stdout


def auditors_verifier(folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    """What the verifier for auditors says of a copy."""
    command = [sys.executable, "-I", str(VERIFIER), str(folder), *more]
    return subprocess.run(command, capture_output=True, text=True)


async def test_logs_before_are_backed_up_and_a_log_in_the_way_is_put_aside_once_named(
    world: World, another_database: Mapping[str, str], tmp_path: Path
) -> None:
    await world.append(*[hired(offset) for offset in range(300)])
    await world.sign()
    _, folder = await lose(world, another_database, tmp_path, hired(300))
    conn = await asyncpg.connect(another_database["admin"])
    try:
        await open_successor(conn, folder / "signer", SUCCESSOR, [world.key.private])
        key = SignerKey(SUCCESSOR, world.key.private)
        async with make_world(another_database, folder, key=key, origin=SUCCESSOR) as after:
            await in_transaction(after.pool, after.handler.begin_successor)
            await after.append(hired(300))
            await after.sign()
            await back_up(after, tmp_path / "both")
            await after.search_pool.execute("INSERT INTO audit_search.published VALUES (true, 9)")
        both = tmp_path / "both" / "log"
        for wrong in (None, ORIGIN):
            with pytest.raises(backup.CannotRestore, match=f"--in-place-of {SUCCESSOR}"):
                await backup.restore_log(conn, both, wrong)
        rows, aside = await backup.restore_log(conn, both, SUCCESSOR)
        assert (rows["entry"], aside) == (302, ["audit_log_replaced_1", "audit_log_replaced_2"])
        # What is appended from here on is published as OCSF, whatever was before.
        assert await conn.fetchval("SELECT position FROM audit_search.published") == 2
        for schema, size in zip(aside, (2, 300), strict=True):
            assert await conn.fetchval(f"SELECT count(*) FROM {schema}.entry") == size
    finally:
        await conn.close()
    async with make_world(another_database, folder, key=key, origin=SUCCESSOR) as again:
        await again.append(hired(301))
        await again.sign()
        assert (await again.verify()).good
        source = FreshServer(again.url, again.token, ORIGIN)
        report = await asyncio.to_thread(verify_log, source, remembered=None, progress=quiet)
        assert report.good, report.problems
        assert (report.size, report.payloads) == (300, 300)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await again.pool.execute("DELETE FROM audit_log_frozen_1.tile_edge")


async def test_what_the_first_entry_says_of_the_log_before_is_checked(world: World) -> None:
    """A successor that names a log which never named it."""
    stranger = SignerKey("elsewhere.example/log", Ed25519PrivateKey.generate())
    note = stranger.sign(Checkpoint(stranger.name, 7, bytes(32)).text())
    forged = name_next_log(stranger, SignerKey(ORIGIN, stranger.private).verifier)
    await world.sabotage(
        "INSERT INTO predecessor (origin, schema_name, note, statement)"
        f" VALUES ('{stranger.name}', 'audit_log', '{note}', '{forged}')"
    )
    await in_transaction(world.pool, world.handler.begin_successor)
    await world.sign()
    report = await world.verify()
    assert [(each.index, each.what) for each in report.problems] == [
        (0, "what it says of the log before cannot be trusted: it names another log's key")
    ]


async def test_a_log_that_lost_nothing_is_not_followed(world: World) -> None:
    await world.append(hired(0))
    await world.sign()
    with pytest.raises(Refused, match="another signer"):
        await _succeed(world)
    await world.stop_signer()
    with pytest.raises(CannotSucceed, match="nothing is lost"):
        await _succeed(world)


async def _succeed(world: World) -> Any:
    conn = await asyncpg.connect(world.database["admin"])
    try:
        return await open_successor(conn, world.folder / "signer", SUCCESSOR, [world.key.private])
    finally:
        await conn.close()
