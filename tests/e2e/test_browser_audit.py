"""A compliance officer in a real browser: search, proof, export, hold, erasure."""

import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from services.audit_log.handout import verify_audit_log
from tests.e2e.browsing import beyond_the_screen, look, sign_in
from tests.e2e.conftest import PATIENCE_SECONDS, System
from tests.e2e.test_browser import directory
from tests.e2e.test_browser_and_command_line import portalkeeper

WORKER = "W-AUDIT-1"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def logged(system: System) -> AsyncIterator[System]:
    """The system once a hire and a change of one worker are in the signed log."""
    await system.apply_directory(directory(system.organization, system.source))
    hired = {
        "effective_on": "2026-01-05",
        "employment_id": "E-1",
        "title": "Remittance Specialist",
        "name": "Ada Quince",
    }
    changed = {"effective_on": "2026-02-01", "employment_id": "E-1", "department": "Revenue"}
    answer = await system.send_hr(
        [
            system.hr_event("worker.hired", WORKER, hired),
            system.hr_event("worker.changed", WORKER, changed),
        ]
    )
    assert answer.status_code == 202, answer.text
    headers = {"Authorization": f"Bearer {await system.token('compliance')}"}
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            url = f"{system.urls['audit-log']}/audit/v1/entries"
            found = await system.http.get(url, params={"worker": WORKER}, headers=headers)
            log = await system.http.get(f"{system.urls['audit-log']}/audit/v1/log", headers=headers)
            if found.status_code == 200 and len(found.json()["entries"]) >= 2:
                newest = found.json()["entries"][0]["index"]
                if (log.json()["checkpoint_size"] or 0) > newest:
                    break
            await anyio.sleep(0.2)
    yield system


async def search(page: Page, system: System, **fields: str) -> None:
    await page.goto(f"{system.urls['gateway']}/audit")
    labels = {"text": "Words", "worker": "About (worker id)", "type": "Type"}
    for name, value in fields.items():
        await page.get_by_label(labels[name], exact=True).fill(value)
    await page.get_by_role("button", name="Search").click()


async def test_an_entry_is_found_by_words_and_proved_with_what_it_says(
    browser: Browser, logged: System
) -> None:
    page = await sign_in(browser, logged, "compliance")
    await search(page, logged, text="quince remittance", worker=WORKER)
    await expect(page.locator("tbody tr")).to_have_count(1)
    await look(page, "audit")
    await page.locator("tbody th a").click()
    await expect(page.locator(".verdict")).to_contain_text("Verified in this page")
    await expect(page.locator("[data-check].passed")).to_have_count(4)
    await expect(page.locator("#payload")).to_contain_text("Ada Quince")
    await look(page, "entry")
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="Proof as a file").click()
    proof = await (await downloading.value).path()
    assert proof.read_text().startswith("c2sp.org/tlog-proof@v1\n")
    await page.get_by_role("link", name=f"all about {WORKER}").click()
    await expect(page.locator("tbody tr")).not_to_have_count(1)


async def test_another_content_under_the_same_leaf_does_not_verify(
    browser: Browser, logged: System
) -> None:
    page = await sign_in(browser, logged, "compliance")
    await search(page, logged, text="quince", type="worker.hired")
    address = str(await page.locator("tbody th a").first.get_attribute("href"))

    async def alter(route: Any) -> None:
        answer = await route.fetch()
        await route.fulfill(
            response=answer, body=(await answer.text()).replace("Ada Quince", "Ada Other")
        )

    await page.route(f"**{address}", alter)
    await page.goto(f"{logged.urls['gateway']}{address}")
    await expect(page.locator(".verdict")).to_contain_text("not what was recorded")
    await expect(page.locator('[data-check="payload"]')).to_have_class("failed")
    await expect(page.locator('[data-check="leaf"]')).to_have_class("passed")


async def test_what_was_found_is_exported_and_handed_over(
    browser: Browser, logged: System, tmp_path: Path
) -> None:
    page = await sign_in(browser, logged, "compliance")
    await search(page, logged, worker=WORKER, type="worker.hired")
    await page.get_by_role("button", name="Evidence package").click()
    await expect(page.get_by_role("status")).to_contain_text("ordered")
    link = page.get_by_role("link", name="Download").first
    await expect(link).to_be_visible()
    await look(page, "exports")
    async with page.expect_download() as downloading:
        await link.click()
    package = tmp_path / "evidence.zip"
    await (await downloading.value).save_as(package)
    await page.goto(f"{logged.urls['gateway']}/audit/checkpoints")
    key = await page.locator("#key").inner_text()
    await look(page, "checkpoints")
    found = verify_audit_log.check_package(zipfile.Path(package), key)
    assert found.startswith("1 entries are in the signed log; 1 are shown")
    report = await browser.new_page()
    zipfile.ZipFile(package).extractall(tmp_path / "unpacked")
    await report.goto((tmp_path / "unpacked" / "report.html").as_uri())
    await expect(report.get_by_text("Ada Quince")).to_be_visible()
    await look(report, "report")
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="verify_audit_log.py").click()
    verifier = await (await downloading.value).path()
    assert verifier.read_text() == Path(verify_audit_log.__file__).read_text()


async def test_a_hold_is_set_stops_an_erasure_and_is_released(
    browser: Browser, logged: System
) -> None:
    page = await sign_in(browser, logged, "privacy")
    holds = f"{logged.urls['gateway']}/audit/holds"
    await page.goto(holds)
    await page.get_by_label("Its id").fill(WORKER)
    await page.locator("#hold-reason").fill("Claim 26-114")
    await page.get_by_role("button", name="Hold", exact=True).click()
    await expect(page.get_by_role("status")).to_contain_text("Held")

    await erase(page, WORKER, "W-OTHER")
    await expect(page.get_by_role("alert")).to_contain_text("twice")
    await erase(page, WORKER, WORKER)
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was changed")
    await look(page, "holds")

    await page.goto(holds)
    await page.locator("summary", has_text="Release").click()
    await page.get_by_label("Why it is no longer needed").fill("settled")
    await page.get_by_role("button", name=f"Release the hold on {WORKER}").click()
    await expect(page.get_by_role("status")).to_contain_text("released")
    await erase(page, WORKER, WORKER)
    await expect(page.get_by_role("alert")).to_be_visible()

    reader = await sign_in(browser, logged, "compliance")
    await reader.goto(holds)
    await expect(reader.get_by_text("Claim 26-114")).to_be_visible()
    await expect(reader.get_by_role("button", name="Hold", exact=True)).to_have_count(0)


async def erase(page: Page, worker: str, again: str) -> None:
    await page.get_by_label("Worker id", exact=True).fill(worker)
    await page.get_by_label("The worker id once more").fill(again)
    await page.locator("#erase-reason").fill("asked by the person")
    await page.get_by_role("button", name="Erase for good").click()


async def test_a_tail_shows_only_what_the_search_asks_for(browser: Browser, logged: System) -> None:
    page = await sign_in(browser, logged, "compliance")
    await search(page, logged, worker="W-AUDIT-2")
    tail = page.get_by_role("log")
    await expect(tail).to_contain_text("Connected")
    for worker in ("W-AUDIT-3", "W-AUDIT-2"):
        hired = {"effective_on": "2026-01-05", "employment_id": f"{worker}-1", "title": "Biller"}
        await logged.send_hr([logged.hr_event("worker.hired", worker, hired)])
    await expect(tail).to_contain_text("W-AUDIT-2")
    await expect(tail).not_to_contain_text("W-AUDIT-3")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_audit_pages_never_scroll_sideways_and_need_no_script(
    browser: Browser, logged: System, scheme: Any
) -> None:
    context = await browser.new_context(
        viewport={"width": 390, "height": 800}, color_scheme=scheme, java_script_enabled=False
    )
    page = await context.new_page()
    await page.goto(await logged.sign_in("privacy"))
    await page.get_by_role("button", name="Sign in").click()
    for path in ("/audit", "/audit?worker=x", "/audit/exports", "/audit/checkpoints",
                 "/audit/holds", "/audit/0"):  # fmt: skip
        answer = await page.goto(f"{logged.urls['gateway']}{path}")
        assert answer is not None
        assert answer.status == 200, path
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await context.close()
    wide = await browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page = await wide.new_page()
    await page.goto(await logged.sign_in("privacy"))
    await page.get_by_role("button", name="Sign in").click()
    for path in ("/audit", "/audit/exports", "/audit/checkpoints", "/audit/holds", "/audit/0"):
        await page.goto(f"{logged.urls['gateway']}{path}")
        beyond = await beyond_the_screen(page)
        assert beyond <= 0, path
    await wide.close()


async def test_the_command_line_does_the_same(logged: System, tmp_path: Path) -> None:
    session = await logged.session_file("compliance", "privacy")
    status, found, _ = await portalkeeper(session, "audit", "search", "quince", "--worker", WORKER)
    assert status == 0
    [index] = [entry["index"] for entry in found["entries"]]
    status, proved, _ = await portalkeeper(
        session, "audit", "prove", str(index), "--to", str(tmp_path)
    )
    assert (status, len(proved["files"])) == (0, 1)
    assert verify_audit_log.check_proof(
        (tmp_path / f"{index}.tlog-proof").read_text(), proved["public_key"]
    )[0] == index  # fmt: skip
    status, copied, err = await portalkeeper(session, "audit", "mirror", str(tmp_path / "copy"))
    assert status == 0, err
    status, report, err = await portalkeeper(
        session, "audit", "verify", "--from", str(tmp_path / "copy")
    )
    assert (status, report["good"], report["size"]) == (0, True, copied["size"]), err
    package = tmp_path / "evidence.zip"
    status, made, err = await portalkeeper(
        session, "audit", "export", "--worker", WORKER, "--to", str(package)
    )
    assert status == 0, err
    assert "are in the signed log" in verify_audit_log.check_package(
        zipfile.Path(package), made["public_key"]
    )
    status, held, _ = await portalkeeper(
        session, "audit", "hold", "set", "portal", "hub", "--reason", "Claim 27"
    )
    assert status == 0
    status, listed, _ = await portalkeeper(session, "audit", "hold", "list")
    assert held["id"] in [each["id"] for each in listed["holds"]]
    status, _, _ = await portalkeeper(
        session, "audit", "hold", "release", held["id"], "--reason", "over"
    )
    assert status == 0
    status, _, err = await portalkeeper(
        session, "audit", "erase", WORKER, "--reason", "asked", "--yes"
    )
    assert status == 5, err
