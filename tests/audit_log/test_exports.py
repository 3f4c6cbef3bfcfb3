"""Exports hold what was asked for, survive crashes, harm no spreadsheet, and prove themselves."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from services.audit_log import store
from services.audit_log.handlers import exporting
from services.audit_log.handout import verify_audit_log
from services.audit_log.store import exports, search
from tests.audit_log.test_keeping import age, erase
from tests.audit_log.worlds import World, hired, raw_record


async def order(world: World, form: str, token: str | None = None, **asked: Any) -> dict[str, Any]:
    async with world.client(token) as http:
        answer = await http.post("/audit/v1/exports", json={"form": form, "asked": asked})
    assert answer.status_code == 202, answer.text
    ordered: dict[str, Any] = answer.json()
    return ordered


async def fetch(world: World, ordered: dict[str, Any], token: str | None = None) -> httpx.Response:
    async with world.client(token) as http:
        return await http.get(f"/audit/v1/exports/{ordered['id']}/file")


async def made(world: World, form: str, **asked: Any) -> bytes:
    ordered = await order(world, form, **asked)
    assert await world.exporter.make_next()
    answer = await fetch(world, ordered)
    assert answer.status_code == 200, answer.text
    return answer.content


async def fill(world: World, count: int = 1_200) -> None:
    await world.append(*[hired(offset, f"W-{offset % 3}") for offset in range(count)])
    await world.sign()


async def test_json_lines_hold_what_a_search_finds_in_the_order_of_the_log(world: World) -> None:
    await fill(world)
    lines = [orjson.loads(line) for line in (await made(world, "jsonl", worker="W-1")).splitlines()]
    assert [line["index"] for line in lines] == [n for n in range(1_200) if n % 3 == 1]
    assert lines[0]["payload"]["value"]["title"] == "Billing Specialist"
    rows = await world.fetch("SELECT headers, value FROM outbox ORDER BY id")
    types = [orjson.loads(row["headers"])["ce_type"] for row in rows]
    assert types == ["audit.read", "export.made"]
    told = orjson.loads(rows[1]["value"])
    assert (told["entries"], told["asked"]) == (400, {"worker": "W-1"})


async def test_an_export_of_nothing_is_an_empty_file(world: World) -> None:
    await fill(world, 3)
    assert await made(world, "jsonl", worker="W-none") == b""
    package = zipfile.ZipFile(io.BytesIO(await made(world, "evidence", worker="W-none")))
    assert "Nothing in the log matches" in package.read("report.html").decode()


async def test_no_cell_is_a_formula(world: World) -> None:
    await world.append(
        hired(0, "=1+1", title="Über"), hired(1, "@SUM(A1)", id="-2"), hired(2, "W\tX")
    )
    await world.sign()
    raw = await made(world, "csv")
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))
    assert [row["subject"] for row in rows] == ["'=1+1", "'@SUM(A1)", ""]
    assert rows[1]["event_id"] == "'-2"
    assert json.loads(rows[0]["data"])["title"] == "Über"
    assert not any(cell[:1] in ("=", "+", "-", "@") for row in rows for cell in row.values())


async def test_an_evidence_package_proves_itself_and_not_what_was_changed_in_it(
    world: World, tmp_path: Path
) -> None:
    await fill(world, 300)
    package = tmp_path / "evidence.zip"
    package.write_bytes(await made(world, "evidence", worker="W-2"))
    names = zipfile.ZipFile(package).namelist()
    assert {"entries.jsonl", "checkpoint", "key.txt", "report.html", "WHAT-IT-PROVES.md",
            "verify_audit_log.py", "proofs/2.tlog-proof"} <= set(names)  # fmt: skip
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(package).extractall(folder)
    key = str(world.key.verifier)
    for path in (package, folder):
        good = verifier(folder, path, "--key", key)
        assert good.returncode == 0, good.stdout + good.stderr
        assert "100 entries are in the signed log; 100 are shown" in good.stdout
    entries = folder / "entries.jsonl"
    original = entries.read_bytes()
    for old, new, said in (
        (b'\\"title\\":\\"Billing', b'\\"title\\":\\"Boring', "shows something else"),
        (b'\\"type\\":\\"worker.hired', b'\\"type\\":\\"worker.fired', "does not lead"),
        (b'"index":5,', b'"index":8,', "path does not lead"),
    ):
        assert old in original
        entries.write_bytes(original.replace(old, new, 1))
        wrong = verifier(folder, folder, "--key", key)
        assert wrong.returncode == 1
        assert said in wrong.stdout
    report = (folder / "report.html").read_text()
    assert "worker: W-2" in report
    assert "Billing Specialist" in report
    assert key in report


def verifier(folder: Path, package: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The verifier that came with the package itself."""
    command = [sys.executable, "-I", str(folder / "verify_audit_log.py"), str(package), *arguments]
    assert (folder / "verify_audit_log.py").read_text() == Path(
        verify_audit_log.__file__
    ).read_text()
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


async def test_a_report_escapes_what_was_recorded(world: World) -> None:
    await world.append(hired(0, title="<script>alert(1)</script>"))
    await world.sign()
    package = zipfile.ZipFile(io.BytesIO(await made(world, "evidence")))
    report = package.read("report.html").decode()
    assert "<script>alert" not in report
    assert "&lt;script&gt;" in report


async def test_an_interrupted_export_goes_on_and_repeats_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world)
    ordered = await order(world, "jsonl")
    progress = exports.note_progress
    crashes = iter((False, True, True, False, False, False))

    class Crash(asyncpg.InterfaceError):
        """As if the database went away before it heard how far the file is."""

    async def crashing(*arguments: Any) -> bool:
        if next(crashes):
            raise Crash("gone")
        return await progress(*arguments)

    monkeypatch.setattr(exports, "note_progress", crashing)
    for _ in range(2):
        with pytest.raises(Crash):
            await world.exporter.make_next()
        assert (await fetch(world, ordered)).json()["code"] == "export_not_done"
    async with world.client() as http:
        half = (await http.get(f"/audit/v1/exports/{ordered['id']}")).json()
    assert (half["status"], half["done"], half["total"]) == ("running", 500, 1_200)
    await world.append(hired(1_200))
    assert await world.exporter.make_next()
    lines = (await fetch(world, ordered)).content.splitlines()
    assert [orjson.loads(line)["index"] for line in lines] == list(range(1_200))
    assert not await world.exporter.make_next()


async def test_an_export_is_made_once_search_knows_everything_it_covers(world: World) -> None:
    await fill(world, 3)
    async with world.search_pool.acquire() as conn:
        await search.drop(conn)
    ordered = await order(world, "jsonl")
    assert not await world.exporter.make_next()
    async with world.search_pool.acquire() as conn:
        await search.prepare(conn)
    assert not await world.exporter.make_next()
    while await world.projector.project(world.search_pool):
        pass
    assert await world.exporter.make_next()
    assert len((await fetch(world, ordered)).content.splitlines()) == 3


async def test_an_export_that_fails_says_so_and_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, 3)
    broken = await order(world, "csv")
    whole = await order(world, "jsonl")
    monkeypatch.setattr(exporting, "csv_rows", lambda *_, **__: 1 / 0)
    assert await world.exporter.make_next()
    assert await world.exporter.make_next()
    async with world.client() as http:
        listed = (await http.get("/audit/v1/exports")).json()["exports"]
    status = {each["id"]: each["status"] for each in listed}
    assert status == {broken["id"]: "failed", whole["id"]: "done"}


async def test_exports_are_the_organizations_own(world: World) -> None:
    await world.append(hired(0), hired(1, organization="tall-pines"))
    await world.sign()
    ordered = await order(world, "jsonl")
    await world.exporter.make_next()
    lines = (await fetch(world, ordered)).content.splitlines()
    assert [orjson.loads(line)["index"] for line in lines] == [0]
    stranger = await fetch(world, ordered, world.token("tall-pines"))
    assert stranger.json()["code"] == "no_such_export"
    reader = await fetch(world, ordered, world.token(scope="access:admin"))
    assert reader.status_code == 403


async def test_the_same_order_sent_again_makes_one_export(world: World) -> None:
    await fill(world, 3)
    async with world.client() as http:
        answers = [
            await http.post(
                "/audit/v1/exports", json={"form": "csv"}, headers={"Idempotency-Key": "k"}
            )
            for _ in range(2)
        ]
    assert answers[0].json() == answers[1].json()
    assert len(await world.fetch("SELECT 1 FROM export")) == 1


@pytest.mark.parametrize(
    ("form", "where", "step"),
    [
        ("jsonl", exports, "note_total"),
        ("jsonl", exports, "note_progress"),
        ("csv", exports, "finish"),
        ("evidence", store, "read_sealed"),
    ],
)
async def test_an_export_that_an_erasure_overtakes_is_removed_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, form: str, where: Any, step: str
) -> None:
    await fill(world)
    await age(world)
    ordered = await order(world, form)
    real = getattr(where, step)

    async def overtaken(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(where, step, real)
        assert (await erase(world)).status_code == 201
        return await real(*given, **named)

    monkeypatch.setattr(where, step, overtaken)
    assert await world.exporter.make_next()
    assert getattr(where, step) is real
    assert list((world.folder / "exports").iterdir()) == []
    assert (await fetch(world, ordered)).status_code == 404
    types = [
        orjson.loads(row["headers"])["ce_type"]
        for row in await world.fetch("SELECT headers FROM outbox")
    ]
    assert "export.made" not in types


async def test_old_exports_are_forgotten_with_their_files(world: World) -> None:
    await fill(world, 3)
    ordered = await order(world, "jsonl")
    await world.exporter.make_next()
    old = f"{exporting.EXPORT_KEPT_DAYS} days 1 hour"
    await world.sabotage(f"UPDATE export SET finished_at = now() - interval '{old}'")
    await world.exporter.forget_files()
    assert (await fetch(world, ordered)).status_code == 404
    assert list((world.folder / "exports").iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        {"form": "pdf"},
        {"form": "csv", "asked": {"nonsense": "x"}},
        {"form": "csv", "asked": {"worker": "\x00"}},
        {},
    ],
)
async def test_an_order_that_cannot_be_understood_is_refused(
    world: World, body: dict[str, Any]
) -> None:
    async with world.client() as http:
        assert (await http.post("/audit/v1/exports", json=body)).status_code == 422


async def test_an_unreadable_record_is_in_no_organizations_export(world: World) -> None:
    await world.append(hired(0), raw_record(1, None, b"\xff"))
    await world.sign()
    assert len((await made(world, "jsonl")).splitlines()) == 1
