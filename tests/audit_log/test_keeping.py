"""Holds, erasure and rotated keys: what must stay stays, what must go is gone, proofs hold."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
from aiokafka import ConsumerRecord
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.audit_log import signer
from services.audit_log.crypto import KeyStore, KeyStoreError, KeyUnavailable, rotate_master_key
from services.audit_log.handlers.announcing import announce_rotations
from services.audit_log.handlers.erasing import years_later
from services.audit_log.handlers.picture import PictureHandler, access_in
from services.audit_log.settings import Settings
from services.audit_log.signer import SignerState, read_key
from shared.contracts.directory import Function
from shared.contracts.facts import to_json
from shared.contracts.state import (
    AccountStatus,
    Entitlement,
    Grade,
    PortalAccess,
    WorkerState,
    WorkerStatus,
)
from shared.contracts.topics import ACCESS_EVENTS, DEAD_LETTERS
from shared.errors import Rejected
from shared.kafka import Batch, Item
from shared.postgres import in_transaction
from shared.tlog.note import (
    SignerKey,
    VerifierKey,
    add_signature,
    keys_following,
    name_next_key,
    open_checkpoint,
)
from tests.audit_log.test_api import get, indexes
from tests.audit_log.test_search import event
from tests.audit_log.worlds import MASTER_KEY, ORIGIN, World, hired, raw_record

LONG_AGO = datetime.now(UTC) - timedelta(days=6 * 366 + 10)


async def post(
    world: World, path: str, body: dict[str, Any], scope: str = "audit:admin"
) -> httpx.Response:
    async with world.client(world.token(scope=scope)) as http:
        return await http.post(f"/audit/v1{path}", json=body)


async def erase(world: World, worker: str = "W-1") -> httpx.Response:
    return await post(world, "/erasures", {"worker": worker, "reason": "asked by the person"})


async def age(world: World) -> None:
    """Let everything that is in the log be older than retention."""
    await world.sabotage(
        "UPDATE entry SET recorded_at = recorded_at - interval '6 years 1 day'",
        "UPDATE audit_search.found SET recorded_at = recorded_at - interval '6 years 1 day'",
    )


async def old_log(world: World) -> None:
    """Entries about two workers, older than retention, with a dead letter about one."""
    await world.append(
        hired(0, "W-1", title="Biller of Secrets"),
        hired(1, "W-2"),
        event(0, ACCESS_EVENTS.name, "operation.confirmed", "W-1", {"portal": "hub"}),
        event(1, ACCESS_EVENTS.name, "portal.reconciled", "W-1", {"portal": "W-1"}),
        raw_record(
            0,
            b"hr.worker-events.v1/0",
            b'{"name":"Secret"}',
            [("dl_key", b"cedar-sound/W-1".hex().encode()), ("dl_reason", b"invalid_data")],
            DEAD_LETTERS.name,
        ),
    )
    await world.sign()
    await age(world)


def state(
    worker: str = "W-1", version: int = 1, *, active: bool, as_of: datetime = LONG_AGO
) -> WorkerState:
    """A published state with one login."""
    right = Entitlement("91-1234567", Function.REMITTANCE, None, Grade.PERSON, as_of, "op")
    portal = PortalAccess(
        "hub",
        AccountStatus.ACTIVE if active else AccountStatus.NONE,
        None,
        None,
        (),
        (right,) if active else (),
        (),
        (),
        None,
    )
    return WorkerState(
        "cedar-sound", worker, 1, version, as_of, WorkerStatus.ACTIVE, portals=(portal,)
    )


async def publish(world: World, *states: WorkerState) -> None:
    """Let the audit log see published states, as records of their topic."""
    handler = PictureHandler()
    items = []
    for each in states:
        record: ConsumerRecord[bytes | None, bytes | None] = raw_record(
            0, f"{each.organization}/{each.worker}".encode(), to_json(each)
        )
        items.append(Item(record, handler.parse(record)))
    await in_transaction(world.pool, lambda conn: handler.apply(conn, Batch(items, [])))


# -- erasure


async def test_an_erased_worker_is_gone_and_every_proof_still_holds(world: World) -> None:
    await old_log(world)
    before = await world.verify()
    assert (before.good, before.payloads) == (True, 4)
    assert await indexes(world, worker="W-1") == [2, 0]
    answer = await erase(world)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["keys_destroyed"], answer.json()["entries_hidden"]) == (2, 3)

    after = await world.verify()
    assert after.good, after.problems
    assert (after.root, after.payloads, after.payloads_missing) == (before.root, 2, 2)
    assert await indexes(world, worker="W-1") == []
    assert await indexes(world, text="secrets") == []
    assert await indexes(world, type="worker.hired") == [1, 0]
    shown = (await get(world, "/entries/0")).json()
    assert (shown["payload"], shown["payload_missing"]) == (None, "key_unavailable")
    assert shown["subject"] is None
    token = world.token(scope="audit:read ops:admin")
    assert (await get(world, "/entries/4", token)).json()["payload_missing"] == "key_unavailable"
    # A portal that is called like the worker keeps what is its own.
    assert (await get(world, "/entries/3")).json()["payload"]["value"] == {"portal": "W-1"}

    await world.append(hired(2, "W-1", title="Hired Again"))
    assert (await get(world, "/entries/5")).json()["payload"]["value"]["title"] == "Hired Again"
    rebuilt = (await erase_listed(world))[0]
    assert rebuilt["worker"] == "W-1"


async def erase_listed(world: World) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await get(world, "/erasures")).json()["erasures"]
    return listed


async def test_nothing_beside_the_log_names_an_erased_person(world: World) -> None:
    """Every column of every table is searched for what the person is called anywhere."""
    strings = ("W-1", "W-old", "Robin Secret", "robin.secret@hub")
    await world.append(
        hired(0, "W-1", title="Robin Secret"),
        hired(1, "W-old", title="robin.secret@hub"),
        hired(2, "W-2"),
        event(0, ACCESS_EVENTS.name, "account.opened", "W-1", {"login": "robin.secret@hub"}),
    )
    await world.sign()
    await age(world)
    person = dataclasses.replace(state(active=False), aliases=("W-old",))
    await publish(world, person)
    hold = await post(world, "/holds", {"kind": "worker", "subject": "W-1", "reason": "W-1 sues"})
    path = f"/holds/{hold.json()['id']}/release"
    await post(world, path, {"reason": "Robin Secret settled"})
    for form in ("jsonl", "evidence"):
        asked = {"form": form, "asked": {"worker": "W-1", "text": "Robin Secret"}}
        assert (await post(world, "/exports", asked, "audit:read")).status_code == 202
        assert await world.exporter.make_next()
    # What is about to be published is the log's next, under the key of whoever did it.
    await world.sabotage("DELETE FROM outbox")
    assert {place for place, _ in await _said_of(world, strings)} == {
        "hold.reason", "hold.release_reason", "hold.subject", "export.asked",
        "worker_access.aliases", "worker_access.worker",
    }  # fmt: skip

    assert (await erase(world)).status_code == 201
    await world.exporter.forget_files()
    await world.sabotage("DELETE FROM outbox")
    assert await _said_of(world, strings) == {("erasure.worker", "W-1")}
    assert list((world.folder / "exports").iterdir()) == []

    # A state that was published before the others forget comes late; then they have forgotten.
    await publish(world, dataclasses.replace(person, version=2))
    gone = dataclasses.replace(person, version=3, aliases=(), status=WorkerStatus.ERASED)
    await publish(world, gone)
    assert await _said_of(world, strings) == {("erasure.worker", "W-1")}


async def _said_of(world: World, strings: tuple[str, ...]) -> set[tuple[str, str]]:
    """Which columns of the log's and of search's tables hold which of these strings."""
    columns = await world.fetch(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns"
        " WHERE table_schema LIKE 'audit%' ORDER BY 1, 2, 3"
    )
    # As text, and as the bytes that a payload or leaf would hold.
    looked = [
        f"SELECT '{table}.{column}', string FROM unnest($1::text[]) string WHERE EXISTS ("
        f'SELECT FROM {schema}.{table} WHERE strpos("{column}"::text, string) > 0'
        f" OR strpos(\"{column}\"::text, encode(string::bytea, 'hex')) > 0)"
        for schema, table, column in columns
    ]
    found = await world.fetch(" UNION ALL ".join(looked), list(strings))
    return {(place, string) for place, string in found}


async def test_ids_of_somebody_erased_elsewhere_are_kept_until_the_log_erases_them(
    world: World,
) -> None:
    await world.append(hired(0, "W-old"), hired(1, "W-1"))
    await age(world)
    await publish(world, dataclasses.replace(state(active=True), aliases=("W-old",)))
    gone = dataclasses.replace(state(version=2, active=False), status=WorkerStatus.ERASED)
    await publish(world, gone)
    await world.sabotage("UPDATE worker_access SET last_in_effect = now() - interval '7 years'")
    assert (await erase(world)).json()["keys_destroyed"] == 2


async def test_a_projection_made_again_after_an_erasure_does_not_find_the_person(
    world: World,
) -> None:
    await old_log(world)
    outage = {"portal": "hub", "worker": "W-1", "kind": "down"}
    await world.append(event(2, ACCESS_EVENTS.name, "outage.reported", "hub", outage))
    await age(world)
    assert await indexes(world, worker="W-1") == [5, 2, 0]
    await erase(world)
    assert await indexes(world, worker="W-1") == []
    await world.sabotage(
        "TRUNCATE audit_search.found", "UPDATE audit_search.projection SET position = 0"
    )
    while await world.projector.project(world.search_pool):
        pass
    assert await indexes(world, worker="W-1") == []
    # What is about the portal stays, and is found by the portal.
    assert await indexes(world, portal="hub") == [5]
    assert await indexes(world, type="worker.hired") == [1, 0]


async def test_nothing_is_erased_inside_retention(world: World) -> None:
    await world.append(hired(0, "W-1"))
    answer = await erase(world)
    assert (answer.status_code, answer.json()["code"]) == (409, "inside_retention")
    assert (await get(world, "/entries/0")).json()["payload"] is not None
    rows = await world.fetch("SELECT headers, value FROM outbox ORDER BY id")
    refused = [
        orjson.loads(row["value"])
        for row in rows
        if orjson.loads(row["headers"])["ce_type"] == "command.refused"
    ]
    assert [(each["target"], each["code"]) for each in refused] == [("W-1", "inside_retention")]


async def test_retention_runs_from_when_access_was_last_in_effect(world: World) -> None:
    await old_log(world)
    await publish(world, state(active=True))
    await publish(world, state(version=2, active=False, as_of=LONG_AGO + timedelta(days=400)))
    assert (await erase(world)).json()["code"] == "inside_retention"
    await world.sabotage("UPDATE worker_access SET last_in_effect = now() - interval '7 years'")
    assert (await erase(world)).status_code == 201


async def test_nothing_is_erased_while_access_is_in_effect(world: World) -> None:
    await old_log(world)
    await publish(world, state(active=True))
    assert (await erase(world)).json()["code"] == "access_open"
    await publish(world, state(version=3, active=False))
    # An older state that arrives late changes nothing.
    await publish(world, state(version=2, active=True))
    assert (await erase(world)).status_code == 201


async def test_ids_a_person_had_before_are_erased_with_the_one_in_use(world: World) -> None:
    await world.append(hired(0, "W-old"), hired(1, "W-1"))
    await age(world)
    merged = dataclasses.replace(state(active=False), aliases=("W-old",))
    await publish(world, merged)
    assert (await erase(world)).json()["keys_destroyed"] == 2
    assert (await get(world, "/entries/0")).json()["payload_missing"] == "key_unavailable"


@pytest.mark.parametrize(
    ("kind", "subject", "covers"),
    [
        ("worker", "W-1", True),
        ("worker", "W-2", False),
        ("portal", "hub", True),
        ("portal", "other", False),
        ("organization", "cedar-sound", True),
    ],
)
async def test_nothing_under_a_hold_is_erased_until_it_is_released(
    world: World, kind: str, subject: str, covers: bool
) -> None:
    await old_log(world)
    made = await post(world, "/holds", {"kind": kind, "subject": subject, "reason": "Claim 26"})
    assert made.status_code == 201, made.text
    answer = await erase(world)
    if not covers:
        assert answer.status_code == 201
        return
    assert (answer.status_code, answer.json()["code"]) == (409, "legal_hold")
    released = await post(world, f"/holds/{made.json()['id']}/release", {"reason": "settled"})
    assert released.json()["released_by"] == "auditor"
    again = await post(world, f"/holds/{made.json()['id']}/release", {"reason": "again"})
    assert again.json()["code"] == "no_such_hold"
    assert (await erase(world)).status_code == 201
    rows = await world.fetch("SELECT headers FROM outbox ORDER BY id")
    types = [orjson.loads(row["headers"])["ce_type"] for row in rows]
    assert types == ["hold.set", "command.refused", "hold.released", "command.accepted"]


async def test_a_crash_before_the_key_is_destroyed_is_finished_on_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old_log(world)

    def crash(*_: Any) -> int:
        raise OSError("the disk went away")

    with monkeypatch.context() as patch:
        patch.setattr(KeyStore, "destroy", crash)
        assert (await erase(world)).status_code == 500
    assert (await get(world, "/entries/0")).json()["payload"] is not None
    assert (await erase_listed(world))[0]["finished_at"] is None
    assert await world.eraser.finish_all() == 1
    assert (await get(world, "/entries/0")).json()["payload_missing"] == "key_unavailable"
    assert await world.eraser.finish_all() == 0


async def test_only_who_may_keep_and_erase_does(world: World) -> None:
    await old_log(world)
    order = {"worker": "W-1", "reason": "x"}
    hold = {"kind": "worker", "subject": "W-1", "reason": "x"}
    for scope in ("audit:read", "access:admin"):
        assert (await post(world, "/erasures", order, scope)).status_code == 403
        assert (await post(world, "/holds", hold, scope)).status_code == 403
    for body in ({"worker": "", "reason": "x"}, {"worker": "W-1", "reason": "\x00"}, {}):
        assert (await post(world, "/erasures", body)).status_code == 422


async def test_a_writer_with_the_key_in_memory_notices_that_it_was_destroyed(
    world: World, tmp_path: Path
) -> None:
    other = KeyStore(world.folder / "keys", MASTER_KEY)
    held, _ = other.provide([("cedar-sound", "W-9")], 0)
    world.keys.destroy([("cedar-sound", "W-9")])
    assert other.held(("cedar-sound", "W-9")) is not None
    other.notice_destroyed()
    assert other.held(("cedar-sound", "W-9")) is None
    again, _ = other.provide([("cedar-sound", "W-9")], 0)
    assert again[("cedar-sound", "W-9")].slot != held[("cedar-sound", "W-9")].slot
    with pytest.raises(KeyUnavailable):
        world.keys.key(held[("cedar-sound", "W-9")].slot)


def test_the_picture_refuses_what_is_no_state() -> None:
    handler = PictureHandler()
    headers = [("ce_epoch", b"1"), ("ce_version", b"9")]
    erased = handler.parse(raw_record(0, b"cedar-sound/W-1", None, headers))
    assert (erased.erased, erased.version, erased.in_effect) == (True, 9, False)
    for key, value in (
        (b"cedar-sound/W-1", b"{}"),
        (b"cedar-sound/W-2", to_json(state(active=True))),
    ):
        with pytest.raises(Rejected):
            handler.parse(raw_record(0, key, value))
    assert access_in(state(active=True)).in_effect
    assert not access_in(state(active=False)).in_effect


def test_six_years_after_the_29th_of_february_is_the_28th() -> None:
    assert years_later(datetime(2024, 2, 29, tzinfo=UTC), 6) == datetime(2030, 2, 28, tzinfo=UTC)


# -- the master key


NEW_MASTER = bytes(reversed(range(32)))


async def test_a_rotated_master_key_reads_everything_and_leaves_no_leaf_touched(
    world: World,
) -> None:
    await world.append(hired(0), hired(1, "W-2"))
    before = await world.fetch("SELECT leaf, payload, key_slot FROM entry ORDER BY index")
    folder = world.folder / "keys"
    with pytest.raises(KeyStoreError, match="stop the audit log"):
        rotate_master_key(folder, MASTER_KEY, NEW_MASTER)
    world.keys.close()
    with pytest.raises(KeyStoreError, match="does not fit"):
        rotate_master_key(folder, NEW_MASTER, bytes(32))
    fingerprint = rotate_master_key(folder, MASTER_KEY, NEW_MASTER)
    with pytest.raises(KeyStoreError, match="does not fit"):
        KeyStore(folder, MASTER_KEY)
    rotated = KeyStore(folder, NEW_MASTER)
    assert await world.fetch("SELECT leaf, payload, key_slot FROM entry ORDER BY index") == before
    slot = before[0]["key_slot"]
    assert b"Billing" in rotated.key(slot).unseal(b"hr.worker-events.v1/0/0", before[0]["payload"])
    again, _ = rotated.provide([("cedar-sound", "W-1"), ("cedar-sound", "W-3")], 0)
    assert {key.slot for key in again.values()} == {slot, 2}
    assert rotated.derive(b"x") == world.keys.derive(b"x")

    reading = dataclasses.replace(world.reading, keys=rotated)
    assert await announce_rotations(reading) == 1
    assert await announce_rotations(reading) == 0
    [row] = await world.fetch("SELECT headers, value FROM outbox")
    assert orjson.loads(row["headers"])["ce_type"] == "key.rotated"
    told = orjson.loads(row["value"])
    assert (told["kind"], told["key"]) == ("master", fingerprint)
    # The fixture closes the store once more.
    world.keys._user = rotated._user


# -- the signing key


async def test_a_rotated_signing_key_overlaps_and_is_trusted_through_the_one_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.append(hired(0))
    await world.sign()
    assert (await world.verify()).good
    settings = Settings(
        log_origin=ORIGIN,
        database_url=world.database["audit_signer"],
        signer_key_file=world.folder / "signer.pem",
        signer_previous_key_file=world.folder / "signer.previous.pem",
        signer_state_dir=world.folder / "signer",
    )
    signer._write_key(settings.signer_key_file)
    pem = world.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    settings.signer_key_file.write_bytes(pem)
    with pytest.raises(signer.Refused, match="another signer"):
        await signer.rotate(settings)
    await world.stop_signer()
    new = VerifierKey.parse(await signer.rotate(settings))
    with pytest.raises(signer.Refused, match="retire"):
        await signer.rotate(settings)

    old, world.key = world.key, read_key(settings.signer_key_file, ORIGIN)
    assert world.key.verifier == new
    previous = read_key(settings.signer_previous_key_file, ORIGIN)
    await start(world, previous)
    note = (await get(world, "/log")).json()["checkpoint"]
    assert open_checkpoint(note, old.verifier) == open_checkpoint(note, new)
    await world.append(hired(1))
    note = await world.sign()
    assert open_checkpoint(note, old.verifier).size == open_checkpoint(note, new).size == 2
    report = await world.verify()
    assert report.good, report.problems
    assert report.public_key == str(new)

    await world.stop_signer()
    signer.retire(settings)
    with pytest.raises(signer.Refused, match="no key before"):
        signer.retire(settings)
    await start(world, None)
    await world.append(hired(2))
    note = await world.sign()
    (world.folder / "remembered.json").unlink()
    succession = (await get(world, "/log")).json()["succession"]
    assert keys_following(old.verifier, succession) == [old.verifier, new]
    assert open_checkpoint(note, *keys_following(old.verifier, succession)).size == 3
    assert (await world.verify()).good
    reading = world.reading
    assert await announce_rotations(reading) == 1
    assert await announce_rotations(reading) == 0


async def start(world: World, previous: Any) -> None:
    state = SignerState(world.folder / "signer")
    world.states.append(state)
    world.signer = signer.Signer(world.key, state, previous)
    world.signer_conn = await asyncpg.connect(world.database["audit_signer"])
    await world.signer.begin(world.signer_conn, new_log=False)


async def test_a_key_that_no_key_before_named_is_not_trusted(world: World) -> None:
    await world.append(hired(0))
    await world.sign()
    assert (await world.verify()).good
    stranger = SignerKey(ORIGIN, Ed25519PrivateKey.generate())
    note = add_signature((await get(world, "/log")).json()["checkpoint"], stranger)
    forged = name_next_key(stranger, stranger.verifier)
    await world.sabotage(
        f"INSERT INTO key_succession (verifier_key, note) VALUES ('x', '{forged}')",
        f"UPDATE checkpoint SET note = '{note}', verifier_key = '{stranger.verifier}'",
    )
    report = await world.verify()
    assert [problem.what for problem in report.problems] == [
        "the server's public key is not the remembered one"
    ]
