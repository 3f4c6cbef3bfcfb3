"""Tampering, each kind done straight in the database by its superuser, is found and named."""

import base64

import httpx
import orjson
import pytest
import pytest_asyncio

from services.cli.audit_verify import CannotVerify, verify
from shared.tlog.leaf import Opening
from shared.tlog.merkle import leaf_hash, verify_consistency, verify_inclusion
from shared.tlog.note import VerifierKey, open_checkpoint
from tests.audit_log.worlds import World, hired

SIZE = 600


@pytest_asyncio.fixture(loop_scope="session")
async def log(world: World) -> World:
    """600 entries, signed, once verified by an auditor who remembers the checkpoint."""
    await world.append(*[hired(offset, f"W-{offset % 5}") for offset in range(SIZE)])
    await world.sign()
    assert (await world.verify()).good
    return world


async def first_wrong(world: World) -> tuple[int | None, str]:
    report = await world.verify()
    assert report.first_wrong is not None
    return report.first_wrong.index, report.first_wrong.what


async def test_an_untouched_log_is_good(log: World) -> None:
    report = await log.verify()
    assert report.good
    assert (report.entries, report.payloads, report.remembered_size) == (SIZE, SIZE, SIZE)
    assert report.origin == "portalkeeper.local/test"


@pytest.mark.parametrize("index", [0, 255, 256, 599])
async def test_an_edited_leaf_is_named(log: World, index: int) -> None:
    await log.sabotage(
        "UPDATE entry SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'),"
        f" 'worker.hired', 'worker.fired'), 'UTF8') WHERE index = {index}"
    )
    assert await first_wrong(log) == (index, "the entry's leaf was changed")


@pytest.mark.parametrize("index", [0, 300, 598])
async def test_a_deleted_entry_is_named(log: World, index: int) -> None:
    await log.sabotage(f"DELETE FROM entry WHERE index = {index}")
    assert await first_wrong(log) == (index, "the entry was removed")


async def test_a_deleted_entry_is_named_when_the_others_close_the_hole(log: World) -> None:
    await log.sabotage(
        "DELETE FROM entry WHERE index = 300",
        "UPDATE entry SET index = index + 1000000 WHERE index > 300",
        "UPDATE entry SET index = index - 1000001 WHERE index > 1000000",
    )
    assert await first_wrong(log) == (300, "the entry was removed")


async def test_swapped_entries_are_named(log: World) -> None:
    await log.sabotage(
        "UPDATE entry SET index = 4000000 WHERE index = 41",
        "UPDATE entry SET index = 41 WHERE index = 42",
        "UPDATE entry SET index = 42 WHERE index = 4000000",
    )
    assert await first_wrong(log) == (41, "the entry changed places with the next one")


async def test_an_inserted_entry_is_named(log: World) -> None:
    await log.sabotage(
        "UPDATE entry SET index = index + 1000000 WHERE index >= 77",
        "UPDATE entry SET index = index - 999999 WHERE index >= 1000077",
        "INSERT INTO entry SELECT 77, recorded_at, key_slot,"
        " convert_to(replace(convert_from(leaf, 'UTF8'), 'hired', 'fired'), 'UTF8'), payload"
        " FROM entry WHERE index = 76",
    )
    assert await first_wrong(log) == (77, "an entry was inserted here")


async def test_a_log_cut_off_at_its_end_is_named(log: World) -> None:
    await log.sabotage("DELETE FROM entry WHERE index >= 555", "UPDATE log_head SET size = 555")
    index, what = await first_wrong(log)
    assert index == 555
    assert "cut off" in what


async def test_a_log_cut_off_together_with_its_checkpoints_is_named(log: World) -> None:
    """Everything in the database is set back; only the auditor remembers."""
    await log.forget_signed()
    await log.sabotage(
        "TRUNCATE entry, tile, tile_edge, checkpoint",
        "UPDATE log_head SET size = 0",
    )
    await log.start_signer()
    await log.append(*[hired(offset, f"W-{offset % 5}") for offset in range(555)])
    await log.sign()
    index, what = await first_wrong(log)
    assert index == 555
    assert "it had 600 entries" in what


async def test_a_log_rewritten_as_a_whole_and_signed_again_is_found(log: World) -> None:
    await log.forget_signed()
    await log.sabotage(
        "TRUNCATE entry, tile, tile_edge, checkpoint",
        "UPDATE log_head SET size = 0",
    )
    await log.start_signer()
    await log.append(*[hired(offset, "W-other") for offset in range(700)])
    await log.sign()
    assert await first_wrong(log) == (
        None,
        "the first 600 entries are not those of the earlier checkpoint",
    )


async def test_an_edited_leaf_with_matching_tiles_is_found_by_the_root(log: World) -> None:
    changed = (await log.fetch("SELECT leaf FROM entry WHERE index = 599"))[0]["leaf"].replace(
        b"hired", b"fired"
    )
    await log.sabotage(
        f"UPDATE entry SET leaf = '\\x{changed.hex()}' WHERE index = 599",
        "UPDATE tile_edge SET hashes = substring(hashes FROM 1 FOR octet_length(hashes) - 32)"
        f" || '\\x{leaf_hash(changed).hex()}'::bytea WHERE level = 0",
    )
    report = await log.verify()
    whats = {problem.what for problem in report.problems}
    assert "the first 600 entries are not those of the earlier checkpoint" in whats
    # The payload gives away which entry it is.
    assert report.first_wrong is not None
    assert report.first_wrong.index == 599
    assert "organization or type" in report.first_wrong.what


async def test_a_changed_payload_is_named(log: World) -> None:
    await log.sabotage(
        "UPDATE entry SET payload = set_byte(payload, 70, get_byte(payload, 70) # 1)"
        " WHERE index = 123"
    )
    assert await first_wrong(log) == (123, "the payload was altered: it does not decrypt")


async def test_a_payload_moved_from_another_entry_is_named(log: World) -> None:
    await log.sabotage(
        "UPDATE entry SET payload = (SELECT payload FROM entry WHERE index = 118) WHERE index = 123"
    )
    assert await first_wrong(log) == (123, "the payload was altered: it does not decrypt")


async def test_a_payload_encrypted_anew_by_whoever_holds_the_keys_is_named(log: World) -> None:
    [row] = await log.fetch("SELECT key_slot, payload FROM entry WHERE index = 123")
    key = log.keys.key(row["key_slot"])
    context = b"hr.worker-events.v1/0/123"
    opening = key.unseal(context, row["payload"])
    assert b"Billing" in (Opening.decode(opening).value or b"")
    forged = key.seal(context, opening.replace(b"Billing", b"Nursing"))
    await log.sabotage(f"UPDATE entry SET payload = '\\x{forged.hex()}' WHERE index = 123")
    assert await first_wrong(log) == (123, "the payload's value is not what the leaf commits to")


async def test_a_missing_record_without_a_gap_entry_is_named(world: World) -> None:
    await world.append(hired(0), hired(1), hired(5))
    await world.sign()
    index, what = await first_wrong(world)
    assert index == 2
    assert "jumps from offset 2 to 5" in what


async def test_a_record_appended_twice_is_named(world: World) -> None:
    await world.append(hired(0), hired(1), hired(1))
    await world.sign()
    index, what = await first_wrong(world)
    assert index == 2
    assert "goes back" in what


async def test_another_signing_key_is_noticed_by_who_remembers_the_first(log: World) -> None:
    forger = "portalkeeper.local/test+00000000+AAAA"
    await log.sabotage(f"UPDATE checkpoint SET verifier_key = '{forger}'")
    report = await log.verify()
    assert [problem.what for problem in report.problems] == [
        "the server's public key is not the remembered one"
    ]


async def test_a_forged_checkpoint_is_not_trusted(log: World) -> None:
    await log.sabotage("UPDATE checkpoint SET note = replace(note, '600', '599') WHERE size = 600")
    report = await log.verify()
    assert report.first_wrong is not None
    assert "cannot be trusted" in report.first_wrong.what


async def test_payloads_of_another_organization_are_not_shown_but_the_log_still_verifies(
    log: World,
) -> None:
    report = await log.verify(log.token("tall-pines"))
    assert report.good
    assert (report.entries, report.payloads) == (SIZE, 0)


async def test_a_lost_key_is_counted_and_no_problem(log: World) -> None:
    (segment,) = (log.folder / "keys").glob("keys-*.seg")
    segment.write_bytes(bytes(segment.stat().st_size))
    report = await log.verify()
    assert report.good
    assert (report.payloads, report.payloads_missing) == (0, SIZE)


async def test_a_server_that_is_away_or_refuses_cannot_be_verified(world: World) -> None:
    with pytest.raises(CannotVerify, match="does not answer"):
        await verify("http://127.0.0.1:1", "x", remembered=None, progress=lambda *_: None)
    with pytest.raises(CannotVerify, match="401"):
        await verify(world.url, "x", remembered=None, progress=lambda *_: None)
    await world.sabotage("TRUNCATE checkpoint")
    with pytest.raises(CannotVerify, match="signed no checkpoint"):
        await world.verify()


async def test_proofs_from_the_server_verify(log: World) -> None:
    async with log.client() as http:
        proof = (await http.get("/audit/v1/entries/345/proof")).json()
        consistency = (await http.get("/audit/v1/consistency", params={"from": 300})).json()
    checkpoint = open_checkpoint(proof["checkpoint"], VerifierKey.parse(proof["public_key"]))
    hashes = [base64.b64decode(text) for text in proof["hashes"]]
    root = base64.b64decode(proof["root"])
    assert (checkpoint.root, checkpoint.size) == (root, proof["size"])
    verify_inclusion(leaf_hash(proof["leaf"].encode()), 345, proof["size"], hashes, root)
    assert orjson.loads(proof["leaf"])["offset"] == "345"
    verify_consistency(
        300,
        consistency["to"],
        [base64.b64decode(text) for text in consistency["hashes"]],
        base64.b64decode(consistency["from_root"]),
        base64.b64decode(consistency["to_root"]),
    )
    assert consistency["to_root"] == proof["root"]


async def test_tiles_and_bundles_can_be_had_without_a_token(log: World) -> None:
    async with httpx.AsyncClient(base_url=log.url) as http:
        base = "/log/portalkeeper.local/test"
        assert (await http.get(f"{base}/checkpoint")).text.startswith("portalkeeper.local/test\n")
        assert len((await http.get(f"{base}/tile/0/000")).content) == 8_192
        assert len((await http.get(f"{base}/tile/0/002.p/88")).content) == 88 * 32
        assert len((await http.get(f"{base}/tile/1/000.p/2")).content) == 64
        for path in ("tile/0/002", "tile/0/002.p/89", "tile/1/000.p/3", "tile/9/000", "tile/0/2",
                     "tile/entries/002", "tile/entries/x"):  # fmt: skip
            assert (await http.get(f"{base}/{path}")).status_code == 404
        assert (await http.get("/log/other/checkpoint")).status_code == 404
