"""Whatever writes to the log may be cut off before any of its steps, and is simply done again.

Each time one step further, a connection breaks before a statement or a process ends before a file
takes its place, until nothing is left to break; what was cut off is then done again as a restarted
process or a person does it. Afterwards the log verifies, and everything happened once.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio
from asyncpg.connection import Connection
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.audit_log import signer
from services.audit_log.crypto import KeyStore, rotate_master_key
from services.audit_log.handlers import backup
from services.audit_log.handlers.appending import Draft
from services.audit_log.handlers.pruning import prune_next
from services.audit_log.handlers.succeeding import open_successor
from services.audit_log.settings import Settings
from services.audit_log.signer import read_key
from shared.kafka import Batch, Gap, Item
from shared.postgres import in_transaction
from shared.tlog.note import SignerKey, keys_following
from tests.audit_log.test_api import indexes
from tests.audit_log.test_keeping import NEW_MASTER, age
from tests.audit_log.test_lifetime import SUCCESSOR, back_up, narrow, owner_dsn
from tests.audit_log.worlds import MASTER_KEY, ORIGIN, World, hired, make_world
from tests.servers import database_copy

STATEMENTS_MAX = 200


class Cut(asyncpg.InterfaceError):
    """The connection broke."""


class Scissors:
    """Counts statements and steps on files, and breaks off before one of them."""

    def __init__(self) -> None:
        self.left = -1

    def before(self, conn: "Connection[Any]", statement: object) -> None:
        """A statement is about to be sent."""
        if "pg_advisory_unlock_all" in str(statement):
            return  # A pool takes its connection back: everything was committed before.
        if self.left == 0:
            conn.terminate()
        self.step()

    def step(self) -> None:
        """Something is about to happen that lasts."""
        if self.left == 0:
            raise Cut("the connection broke")
        self.left -= 1


@pytest.fixture
def scissors(monkeypatch: pytest.MonkeyPatch) -> Scissors:
    """Cuts whatever goes through asyncpg, the statements that begin and commit among them."""
    made = Scissors()
    for name in ("execute", "executemany", "_execute", "copy_records_to_table", "copy_to_table"):
        real = getattr(Connection, name)

        def cutting(real: Any) -> Any:
            async def statement(conn: "Connection[Any]", *given: Any, **named: Any) -> Any:
                made.before(conn, given[0])
                return await real(conn, *given, **named)

            return statement

        monkeypatch.setattr(Connection, name, cutting(real))
    return made


@pytest.fixture
def file_scissors(scissors: Scissors, monkeypatch: pytest.MonkeyPatch) -> Scissors:
    """Cuts also before a file is on the disk, and before it takes another's place."""

    def cutting(real: Any) -> Any:
        def step(*given: Any) -> Any:
            scissors.step()
            return real(*given)

        return step

    monkeypatch.setattr(os, "fsync", cutting(os.fsync))
    monkeypatch.setattr(Path, "replace", cutting(Path.replace))
    return scissors


async def cut_everywhere(
    scissors: Scissors,
    act: Callable[[], Awaitable[Any]],
    after_each: Callable[[], Awaitable[Any]] | None = None,
) -> None:
    """Do something, cut off before its nth step for every n, until it is done whole."""
    for number in range(STATEMENTS_MAX):
        scissors.left = number
        try:
            await act()
        except (asyncpg.InterfaceError, Failed):
            scissors.left = -1
            if after_each is not None:
                await after_each()
        else:
            assert number > 2, "nothing was cut"
            scissors.left = -1
            return
    raise AssertionError("it never ended")


async def test_a_batch_is_appended_whole_or_not_at_all(world: World, scissors: Scissors) -> None:
    records = [hired(offset, f"W-{offset % 7}") for offset in range(300)]
    gap = Gap(records[0].topic, 1, 0, 4)

    async def append() -> None:
        batch: Batch[Draft] = Batch(
            [Item(record, world.handler.parse(record)) for record in records], [gap]
        )
        await in_transaction(world.pool, lambda conn: world.handler.apply(conn, batch))

    async def nothing_is_there() -> None:
        assert (await world.fetch("SELECT size FROM log_head"))[0]["size"] == 0
        assert await world.fetch("SELECT 1 FROM entry UNION ALL SELECT 1 FROM tile_edge") == []

    await cut_everywhere(scissors, append, nothing_is_there)
    await world.sign()
    report = await world.verify()
    assert report.good, report.problems
    assert (report.size, report.payloads) == (301, 300)


async def test_a_checkpoint_is_never_contradicted(world: World, scissors: Scissors) -> None:
    await world.append(*[hired(offset) for offset in range(5)])
    await world.sign()
    notes = {await world.sign()}
    for size in range(6, 20):
        await world.append(hired(size - 1))
        scissors.left = size - 6

        async def sign() -> None:
            notes.add(await world.sign())

        try:
            await sign()
        except asyncpg.InterfaceError:
            scissors.left = -1
            # The process begins anew and shows what it remembers.
            await world.start_signer()
            await sign()
        scissors.left = -1
    shown = {row["note"] for row in await world.fetch("SELECT note FROM checkpoint")}
    assert notes <= shown
    sizes = [row["size"] for row in await world.fetch("SELECT size FROM checkpoint ORDER BY size")]
    assert len(sizes) == len(set(sizes))
    assert (await world.verify()).good


async def test_search_misses_and_repeats_nothing(world: World, scissors: Scissors) -> None:
    batch: Batch[Draft] = Batch(
        [Item(record, world.handler.parse(record)) for record in map(hired, range(20))], []
    )
    await in_transaction(world.pool, lambda conn: world.handler.apply(conn, batch))
    await cut_everywhere(scissors, lambda: world.projector.project(world.search_pool))
    assert await indexes(world, worker="W-1") == list(range(19, -1, -1))


class Failed(Exception):
    """The server answered that it failed."""


async def ask(world: World, path: str, body: dict[str, Any], key: str) -> dict[str, Any]:
    """Send a command, with the same key each time."""
    async with world.client(world.token(scope="audit:admin")) as http:
        headers = {"Idempotency-Key": key}
        answer = await http.post(f"/audit/v1{path}", json=body, headers=headers)
    if answer.status_code >= 500:
        raise Failed(answer.text)
    found: dict[str, Any] = answer.json()
    return found


async def told(world: World) -> list[str]:
    """Types of the events that wait in the outbox."""
    rows = await world.fetch("SELECT headers FROM outbox ORDER BY id")
    return [orjson.loads(row["headers"])["ce_type"] for row in rows]


async def test_a_hold_is_set_and_released_once(world: World, scissors: Scissors) -> None:
    wanted = {"kind": "worker", "subject": "W-1", "reason": "Claim 26"}
    await cut_everywhere(scissors, lambda: ask(world, "/holds", wanted, "set"))
    [hold] = await world.fetch("SELECT id, released_at FROM hold")
    assert (hold["released_at"], await told(world)) == (None, ["hold.set"])
    path = f"/holds/{hold['id']}/release"
    await cut_everywhere(scissors, lambda: ask(world, path, {"reason": "settled"}, "release"))
    [hold] = await world.fetch("SELECT released_at FROM hold")
    assert hold["released_at"] is not None
    assert await told(world) == ["hold.set", "hold.released"]


async def test_an_erasure_that_began_is_finished(world: World, file_scissors: Scissors) -> None:
    await world.append(hired(0), hired(1, "W-2"))
    await world.sign()
    await age(world)
    assert await indexes(world, worker="W-1") == [0]

    async def erase() -> None:
        # A process that starts finishes what was begun; people ask for what was not.
        if not await world.fetch("SELECT 1 FROM erasure"):
            await ask(world, "/erasures", {"worker": "W-1", "reason": "asked"}, "erase")
        await world.eraser.finish_all()

    await cut_everywhere(file_scissors, erase)
    [erasure] = await world.fetch("SELECT finished_at FROM erasure")
    assert erasure["finished_at"] is not None
    assert (await told(world)).count("command.accepted") == 1
    assert (await indexes(world, worker="W-1"), await indexes(world, worker="W-2")) == ([], [1])
    report = await world.verify()
    assert report.good, report.problems
    assert (report.payloads, report.payloads_missing) == (1, 1)


async def test_a_partition_is_pruned_whole_or_not_at_all(world: World, scissors: Scissors) -> None:
    await narrow(world)
    await world.append(*[hired(offset, f"W-{offset % 5}") for offset in range(300)])
    await world.sign()
    await ask(world, "/holds", {"kind": "worker", "subject": "W-3", "reason": "x"}, "hold")
    await age(world)

    async def prune() -> None:
        async with connected(owner_dsn(world.database)) as conn, conn.transaction():
            assert await prune_next(conn, world.reading.terms, 6) is not None

    async def everything_is_there() -> None:
        [row] = await world.fetch("SELECT count(*), min(index) FROM entry")
        assert tuple(row) == (300, 0)

    await cut_everywhere(scissors, prune, everything_is_there)
    [row] = await world.fetch("SELECT count(*), min(index) FROM entry")
    assert tuple(row) == (44, 256)
    assert len(await world.fetch("SELECT 1 FROM held_entry")) == 51
    assert (await told(world)).count("command.accepted") == 1
    assert (await world.verify()).good


@pytest_asyncio.fixture(loop_scope="session")
async def another_database(postgres: str, template: str) -> AsyncIterator[Mapping[str, str]]:
    """A second prepared database, to restore into."""
    async with database_copy(postgres, template) as dsns:
        yield dsns


async def test_a_restore_and_a_successor_are_there_whole_or_not_at_all(
    world: World, another_database: Mapping[str, str], tmp_path: Path, file_scissors: Scissors
) -> None:
    await world.append(*[hired(offset) for offset in range(300)])
    await world.sign()
    await back_up(world, tmp_path / "backup")
    await world.append(*[hired(offset) for offset in range(300, 310)])
    await world.sign()
    await world.stop_signer()
    folder = tmp_path / "restored"
    backup.restore_keys(tmp_path / "backup" / "keys", folder / "keys")
    (folder / "signer").mkdir()
    signed = "signer/signed.json"
    (folder / signed).write_bytes((world.folder / signed).read_bytes())

    async def restore() -> None:
        async with connected(owner_dsn(another_database)) as conn:
            await backup.restore_log(conn, tmp_path / "backup" / "log")

    async def succeed() -> None:
        async with connected(another_database["admin"]) as conn:
            opened = await open_successor(conn, folder / "signer", SUCCESSOR, [world.key.private])
        assert (opened.old_schema, opened.stored_size) == ("audit_log_frozen_1", 300)
        assert opened.named

    await cut_everywhere(file_scissors, restore)
    await cut_everywhere(file_scissors, succeed)
    key = SignerKey(SUCCESSOR, world.key.private)
    async with make_world(another_database, folder, key=key, origin=SUCCESSOR) as after:
        begin = after.handler.begin_successor
        await cut_everywhere(file_scissors, lambda: in_transaction(after.pool, begin))
        await after.append(*[hired(offset) for offset in range(300, 310)])
        await after.sign()
        report = await after.verify()
        assert report.good, report.problems
        assert (report.size, report.payloads) == (11, 10)


async def test_a_new_signing_key_is_named_by_the_one_before(
    world: World, file_scissors: Scissors
) -> None:
    await world.append(hired(0))
    await world.sign()
    await world.stop_signer()
    settings = Settings(
        log_origin=ORIGIN,
        database_url=world.database["audit_signer"],
        signer_key_file=world.folder / "signer.pem",
        signer_previous_key_file=world.folder / "signer.previous.pem",
        signer_state_dir=world.folder / "signer",
    )
    pem = world.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    settings.signer_key_file.write_bytes(pem)

    await cut_everywhere(file_scissors, lambda: signer.rotate(settings))
    new = read_key(settings.signer_key_file, ORIGIN)
    assert read_key(settings.signer_previous_key_file, ORIGIN).verifier == world.key.verifier
    notes = [row["note"] for row in await world.fetch("SELECT note FROM key_succession")]
    assert keys_following(world.key.verifier, notes) == [world.key.verifier, new.verifier]
    world.key = new
    signer.retire(settings)


async def test_a_new_master_key_opens_everything(tmp_path: Path, file_scissors: Scissors) -> None:
    keys = KeyStore(tmp_path, MASTER_KEY)
    secrets = [key.secret for key in keys.provide([], 3)[1]]
    keys.close()

    async def rotate() -> None:
        rotate_master_key(tmp_path, MASTER_KEY, NEW_MASTER)

    async def is_usable() -> None:
        # Once decided, whoever opens the store finishes it, with the new key.
        decided = (tmp_path / "rotation.json").exists() or (tmp_path / "rotations.json").exists()
        opened = KeyStore(tmp_path, NEW_MASTER if decided else MASTER_KEY)
        assert [opened.key(slot).secret for slot in range(3)] == secrets
        opened.close()

    await cut_everywhere(file_scissors, rotate, is_usable)
    await is_usable()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["Connection[Any]"]:
    """A connection that may be broken."""
    conn: Connection[Any] = await asyncpg.connect(dsn)
    try:
        yield conn
    finally:
        conn.terminate()
