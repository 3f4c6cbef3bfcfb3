"""The console's pages about a log that ended: its last checkpoint, its entries, their proofs."""

import asyncio
import re
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import httpx
import pytest_asyncio

from services.audit_log.handlers.succeeding import open_successor
from shared.postgres import in_transaction
from shared.tlog.note import SignerKey
from shared.tlog.proof import Proof
from tests.audit_log.test_lifetime import SUCCESSOR, auditors_verifier, lose
from tests.audit_log.worlds import ORIGIN, hired, make_world
from tests.cli.conftest import listen
from tests.cli.test_audit_drills import trust
from tests.gateway.conftest import ORGANIZATION, MakeSettings
from tests.servers import database_copy


@pytest_asyncio.fixture(loop_scope="session")
async def another_database(postgres: str, template: str) -> AsyncIterator[Mapping[str, str]]:
    """A second prepared database, to restore into."""
    async with database_copy(postgres, template) as dsns:
        yield dsns


async def test_a_log_that_ended_is_turned_over_with_its_last_checkpoint_and_proofs(
    make_settings: MakeSettings,
    prepared_kafka: str,
    database: Mapping[str, str],
    fresh_database: Mapping[str, str],
    another_database: Mapping[str, str],
    tmp_path: Path,
) -> None:
    async with make_world(fresh_database, tmp_path / "lost") as world:
        await world.append(*[hired(n, f"W-{n}", organization=ORGANIZATION) for n in range(60)])
        await world.append(hired(60, "W-other", organization="elsewhere"))
        await world.sign()
        note, folder = await lose(world, another_database, tmp_path, hired(61))
        key = world.key
    conn = await asyncpg.connect(another_database["admin"])
    try:
        await open_successor(conn, folder / "signer", SUCCESSOR, [key.private])
    finally:
        await conn.close()
    successor = SignerKey(SUCCESSOR, key.private)
    async with (
        make_world(another_database, folder, key=successor, origin=SUCCESSOR) as after,
        listen(make_settings, prepared_kafka, database, audit_url=after.url) as gateway,
        httpx.AsyncClient(base_url=gateway.url, timeout=30) as http,
    ):
        trust(after, gateway)
        await in_transaction(after.pool, after.handler.begin_successor)
        await after.sign()
        assert (await http.post(await gateway.link("compliance"))).status_code == 303

        of_old = {"log": ORIGIN}
        assert f"/audit/before?log={ORIGIN.replace('/', '%2F')}" in (
            await http.get("/audit/checkpoints")
        ).text  # fmt: skip
        newest = (await http.get("/audit/before", params=of_old)).text
        assert note.split("\n")[2] in newest
        assert "ended with 62 signed entries" in newest
        assert "what came after entry 60 was lost (1)" in newest
        assert ("W-59" in newest, "W-other" in newest) == (True, False)
        oldest = (await http.get("/audit/before", params={**of_old, "cursor": "11"})).text
        assert ("W-0" in oldest, "W-11" in oldest) == (True, False)

        csrf = re.search(r'name="csrf" value="([0-9a-f]{64})"', newest)
        assert csrf is not None
        order = {"csrf": csrf[1], "key": "k", "log": ORIGIN, "form": "evidence"}
        ordered = await http.post("/audit/exports", data=order)
        assert ordered.status_code == 303, ordered.text
        assert await after.exporter.make_next()
        [package] = (folder / "exports").glob("*.zip")
        with zipfile.ZipFile(package) as zipped:
            assert len(zipped.read("entries.jsonl").splitlines()) == 60
        checked = await asyncio.to_thread(auditors_verifier, package, "--key", str(key.verifier))
        assert checked.returncode == 0, checked.stdout
        assert "60 entries are in the signed log; 60 are shown" in checked.stdout

        page = (await http.get("/audit/7", params=of_old)).text
        assert "W-7" in page
        assert f'data-proof="/audit/7/proof?log={ORIGIN.replace("/", "%2F")}"' in page
        proof = (await http.get("/audit/7/proof", params=of_old)).json()
        assert (proof["origin"], proof["size"]) == (ORIGIN, 61)
        file = (await http.get("/audit/7/tlog-proof", params=of_old)).text
        assert Proof.parse(file).verify(proof["leaf"].encode(), key.verifier).size == 61
        unknown = await http.get("/audit/before", params={"log": "nobody.example/log"})
        assert (unknown.status_code, "no_such_log" in unknown.text) == (404, True)
        searched = {"log": ORIGIN, "worker": "W-7"}
        async with after.client() as api:
            refused = await api.get("/audit/v1/entries", params=searched)
            grown = await api.get("/audit/v1/consistency", params={**of_old, "from": "7"})
        assert (grown.json()["origin"], grown.json()["to"]) == (ORIGIN, 61)
        assert (refused.status_code, refused.json()["code"]) == (422, "not_searchable")
