"""What operators do to the audit log by command: each says what it did, and the log still holds."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.audit_log.signer import read_key
from services.cli.audit_sources import FreshServer
from services.cli.audit_verify import verify_log
from shared.kafka import Gap
from shared.postgres import in_transaction
from tests.audit_log.test_keeping import age
from tests.audit_log.test_lifetime import narrow
from tests.audit_log.test_offline import quiet
from tests.audit_log.worlds import MASTER_KEY, ORIGIN, World, hired, make_world
from tests.cli.conftest import Listening, Ran, Run, listen
from tests.gateway.conftest import ORGANIZATION, Door, MakeSettings
from tests.gateway.lists import HrOffice
from tests.servers import ROOT, database_copy

SUCCESSOR = "portalkeeper.local/drill-2"


@pytest_asyncio.fixture(loop_scope="session")
async def emptied(postgres: str, template: str) -> AsyncIterator[Mapping[str, str]]:
    """The database that stands in the place of the one that was lost."""
    async with database_copy(postgres, template) as dsns:
        yield dsns


def told(world: World, database: Mapping[str, str], role: str, folder: Path) -> dict[str, str]:
    """What the log's processes are told, with the files they need."""
    master = folder / "master.key"
    if not master.exists():
        master.write_text(base64.b64encode(MASTER_KEY).decode())
        master.chmod(0o600)
    signing = folder / "signer.pem"
    if not signing.exists():
        private = world.key.private
        signing.write_bytes(
            private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
    return {
        "PORTALKEEPER_DATABASE_URL": database[role],
        "PORTALKEEPER_AUDIT_KEYSTORE_DIR": str(folder / "keys"),
        "PORTALKEEPER_AUDIT_MASTER_KEY_FILE": str(master),
        "PORTALKEEPER_LOG_ORIGIN": ORIGIN,
        "PORTALKEEPER_SIGNER_KEY_FILE": str(signing),
        "PORTALKEEPER_SIGNER_PREVIOUS_KEY_FILE": str(folder / "signer.previous.pem"),
        "PORTALKEEPER_SIGNER_STATE_DIR": str(folder / "signer"),
    }


def said(ran: Ran) -> list[str]:
    """What a command answers to programs."""
    assert ran.code == 0, ran.err
    found: list[str] = json.loads(ran.out)["said"]
    return found


async def start_signer(settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The signer as its own process, which here ends by itself."""
    own = {name: value for name, value in os.environ.items() if "PORTALKEEPER" not in name}
    command = [sys.executable, "-m", "services.audit_log.signer"]
    return await asyncio.to_thread(
        subprocess.run,
        command,
        env={**own, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


async def test_a_database_is_lost_and_the_log_goes_on_under_another_name(
    run: Run,
    listening: Listening,
    fresh_database: Mapping[str, str],
    emptied: Mapping[str, str],
    tmp_path: Path,
) -> None:
    """Backup, loss, restore, the signer's refusal, the successor; by commands alone."""
    lost, restored = tmp_path / "lost", tmp_path / "restored"
    lost.mkdir()
    (restored / "signer").mkdir(parents=True)
    copies = str(tmp_path / "copies")
    async with make_world(fresh_database, lost) as world:
        await world.append(*[hired(offset) for offset in range(30)])
        await world.sign()
        at_first = told(world, fresh_database, "audit_owner", lost)
        assert said(await run("backup", copies, "--json", **at_first)) == [
            f"30 entries are backed up in {copies}/log, without keys.",
            f"2 files are in {copies}/keys, wrapped by the master key, which is not among them.",
        ]
        await world.append(*[hired(offset) for offset in range(30, 40)])
        await world.sign()
        key = world.key
        after = told(world, emptied, "audit_owner", restored)

    # The signer's memory is in no backup; it is still there.
    memory = (lost / "signer" / "signed.json").read_bytes()
    (restored / "signer" / "signed.json").write_bytes(memory)
    entries, keys = said(await run("restore", copies, "--json", **after))
    assert entries.startswith("30 entries are restored. If the signer refuses to go on")
    assert keys == f"2 files are restored to {restored}/keys."
    signing = {**after, "PORTALKEEPER_DATABASE_URL": emptied["audit_signer"]}
    refused = await start_signer(signing)
    assert refused.returncode == 1
    assert "shrank from 40 to 30" in refused.stderr + refused.stdout

    await run("sign-in", await listening.link("operator"))
    as_admin = {**after, "PORTALKEEPER_DATABASE_URL": emptied["admin"]}
    same = await run("audit", "succeed", ORIGIN, **as_admin)
    assert (same.code, "another name" in same.err) == (1, True)
    [answer] = said(await run("audit", "succeed", SUCCESSOR, "--json", **as_admin))
    assert answer.startswith(f"{ORIGIN} is frozen with 30 of 40 signed entries.")
    assert f"Set PORTALKEEPER_LOG_ORIGIN={SUCCESSOR}" in answer
    assert "Its key names the new log's" in answer

    named = read_key(restored / "signer.pem", SUCCESSOR)
    assert named.private.private_bytes_raw() == key.private.private_bytes_raw()
    async with make_world(emptied, restored, key=named, origin=SUCCESSOR) as again:
        await in_transaction(again.pool, again.handler.begin_successor)
        await again.append(*[hired(offset) for offset in range(30, 45)])
        await again.sign()
        report = await again.verify()
        assert report.good, report.problems
        assert (report.size, report.payloads) == (16, 15)

    # The log before is backed up with the one that follows it, and comes back in its place.
    both = str(tmp_path / "both")
    [backed_up, _] = said(await run("backup", both, "--json", **after))
    assert backed_up.startswith("46 entries are backed up")
    unnamed = await run("restore", both, **as_admin)
    assert unnamed.code == 1
    assert f"--in-place-of {SUCCESSOR}" in unnamed.err
    [answer] = said(await run("restore", both, "--in-place-of", SUCCESSOR, "--json", **as_admin))
    assert answer.startswith("46 entries are restored.")
    assert "DROP SCHEMA audit_log_replaced_1, audit_log_replaced_2 CASCADE;" in answer
    async with make_world(emptied, restored, key=named, origin=SUCCESSOR) as once_more:
        await once_more.append(hired(45))
        await once_more.sign()
        report = await once_more.verify()
        assert report.good, report.problems
        assert (report.size, report.remembered_size) == (17, 16)
        of_old = FreshServer(once_more.url, once_more.token, ORIGIN)
        frozen = await asyncio.to_thread(verify_log, of_old, remembered=None, progress=quiet)
        assert [each.what for each in frozen.problems] == [
            "the log was cut off: 40 entries are signed, 30 are there"
        ]
        assert frozen.payloads == 30


async def test_old_entries_are_pruned_and_both_keys_replaced(
    run: Run, listening: Listening, fresh_database: Mapping[str, str], tmp_path: Path
) -> None:
    await run("sign-in", await listening.link("operator"))
    another = tmp_path / "another.key"
    another.write_text(base64.b64encode(bytes(reversed(range(32)))).decode())
    another.chmod(0o600)
    async with make_world(fresh_database, tmp_path) as world:
        await narrow(world)
        await world.append(*[hired(offset) for offset in range(300)])
        await world.sign()
        owner = told(world, fresh_database, "audit_owner", tmp_path)
        nothing = said(await run("audit", "prune", "--json", **owner))
        assert nothing == ["0 entries are pruned; 0 of them are held and kept aside."]
        await age(world)
        pruned = said(await run("audit", "prune", "--json", **owner))
        assert pruned == ["256 entries are pruned; 0 of them are held and kept aside."]

        signing = {**owner, "PORTALKEEPER_DATABASE_URL": fresh_database["audit_signer"]}
        running = await run("audit", "rotate-signing", **signing)
        assert (running.code, "another signer" in running.err) == (1, True)
        await world.stop_signer()
        [verifier] = said(await run("audit", "rotate-signing", "--json", **signing))
        assert verifier == str(read_key(tmp_path / "signer.pem", ORIGIN).verifier)

        used = await run("audit", "rotate-master", str(another), **owner)
        assert (used.code, "stop the audit log" in used.err) == (1, True)
    # The log's processes are gone, and with them those that use the keys.
    world.keys.close()
    [answer] = said(await run("audit", "rotate-master", str(another), "--json", **owner))
    assert answer.startswith("All keys are wrapped by the master key ")
    now_wrong: Any = await run("backup", str(tmp_path / "copies"), **owner)
    assert (now_wrong.code, "does not fit" in now_wrong.err) == (1, True)


def trust(world: World, gateway: Listening) -> None:
    """Let the log believe the gateway's tokens as well as the test's own."""
    path = world.folder / "jwks.json"
    known = json.loads(path.read_text())["keys"]
    known += json.loads(gateway.settings.jwks_file.read_text())["keys"]
    path.write_text(json.dumps({"keys": known}))


async def test_whoever_is_held_is_erased_only_after_the_release(
    run: Run,
    make_settings: MakeSettings,
    prepared_kafka: str,
    database: Mapping[str, str],
    fresh_database: Mapping[str, str],
    tmp_path: Path,
) -> None:
    async with (
        make_world(fresh_database, tmp_path) as world,
        listen(make_settings, prepared_kafka, database, audit_url=world.url) as gateway,
    ):
        trust(world, gateway)
        about = [hired(n, f"W-{n}", organization=ORGANIZATION) for n in (1, 2)]
        await world.append(*about, gaps=[Gap(about[0].topic, 0, 0, 0)])
        await world.sign()
        await age(world)
        await run("sign-in", await gateway.link("privacy"))

        held = await run("audit", "hold", "set", "worker", "W-1", "--reason", "Claim 26", "--json")
        hold = json.loads(held.out)["id"]
        erase = ("audit", "erase", "W-1", "--reason", "asked by the person", "--json")
        refused = await run(*erase, "--yes")
        assert (refused.code, "legal_hold" in refused.err) == (5, True)
        unsure = await run(*erase)
        assert unsure.code != 0
        assert hold in (await run("audit", "hold", "list")).out
        ended = await run("audit", "hold", "release", hold, "--reason", "settled", "--json")
        assert json.loads(ended.out)["released_at"] is not None

        async with httpx.AsyncClient() as http:
            office = HrOffice(Door(http, gateway.settings))
            await office.door.fetch("DELETE FROM directory_object")
            untold = await run(*erase, "--yes")
            await office.know()
        assert (untold.code, "erase again" in untold.err) == (5, True)
        erased = await run(*erase, "--yes")
        assert erased.code == 0, erased.err
        assert json.loads(erased.out)["keys_destroyed"] == 0
        for worker, found in (("W-1", 0), ("W-2", 1)):
            ran = await run("audit", "search", "--worker", worker, "--json")
            assert len(json.loads(ran.out)["entries"]) == found
        verified = json.loads((await run("audit", "verify", "--json")).out)
        assert verified["good"], verified["problems"]
        assert (verified["payloads"], verified["payloads_missing"]) == (1, 1)
        rows = await world.fetch("SELECT headers FROM outbox ORDER BY id")
        types = [json.loads(row["headers"])["ce_type"] for row in rows]
        assert [each for each in types if each != "audit.read"] == [
            "hold.set", "command.refused", "hold.released", "command.accepted", "command.accepted"
        ]  # fmt: skip
