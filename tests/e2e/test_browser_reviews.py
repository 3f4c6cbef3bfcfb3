"""A reviewer on a phone, a manager and a compliance officer, in a real browser."""

import json
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.e2e.browsing import beyond_the_screen, look, sign_in
from tests.e2e.conftest import PATIENCE_SECONDS, System
from tests.e2e.test_browser import directory, finish_work, until_work

SUPERVISOR, BILLER, OTHER = "W-SUP-1", "W-BIL-1", "W-BIL-2"
PEOPLE = {SUPERVISOR: "Sam Ortega", BILLER: "Ana Fields", OTHER: "Ben Nakamura"}
PHONE: ViewportSize = {"width": 390, "height": 800}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clinic(system: System) -> System:
    """Two billers who hold what their duty gives, and their supervisor."""
    await system.apply_directory(directory(system.organization, system.source))
    began = (datetime.now(UTC) - timedelta(days=30)).date().isoformat()
    events = []
    for worker, name in PEOPLE.items():
        hired: dict[str, Any] = {
            "effective_on": began,
            "employment_id": f"{worker}-e1",
            "title": "Biller",
            "sites": ["main"],
            "name": name,
        }
        if worker != SUPERVISOR:
            hired["supervisor"] = SUPERVISOR
        events.append(system.hr_event("worker.hired", worker, hired))
    answer = await system.send_hr(events)
    assert answer.status_code == 202, answer.text
    for worker in (BILLER, OTHER):
        await until_work(system, worker)
        await finish_work(system, worker)
    return system


async def test_a_campaign_is_previewed_opened_decided_on_a_phone_and_proved(
    browser: Browser, clinic: System, tmp_path: Path
) -> None:
    gateway = clinic.urls["gateway"]
    manager = await sign_in(browser, clinic, "review_manager")
    await until_preview(manager, gateway)
    await look(manager, "review-preview")
    await manager.get_by_role("button", name=re.compile("^Open .*: ask about")).click()
    await expect(manager.get_by_role("status")).to_contain_text("It is opening")
    campaign = manager.url.partition("?")[0]
    await until_text(manager, campaign, "Sam Ortega")

    # From the link in a reminder, on a phone: whoever is not signed in is asked to, and returns.
    phone = await (await browser.new_context(viewport=PHONE)).new_page()
    headers = {"Authorization": f"Bearer {await clinic.token(f'reviewer={SUPERVISOR}')}"}
    listed = await clinic.http.get(
        f"{clinic.urls['review-scheduler']}/review/v1/reviews?worker={BILLER}", headers=headers
    )
    link = f"{gateway}/reviews/{listed.json()['reviews'][0]['review_id']}"
    await phone.goto(link)
    await expect(phone.get_by_role("heading", level=1)).to_have_text("Sign in")
    await phone.goto(await clinic.sign_in(f"reviewer={SUPERVISOR}"))
    await phone.get_by_role("button", name="Sign in").click()
    await expect(phone).to_have_url(link)
    await expect(phone.get_by_role("heading", level=1)).to_have_text("Ana Fields")
    await expect(phone.get_by_text("Billing calls for it").first).to_be_visible()
    beyond = await beyond_the_screen(phone)
    assert beyond <= 0
    await look(phone, "review-open")

    # Decided with the keyboard alone.
    await phone.get_by_label("Keep claim status at Example Hub").focus()
    await phone.keyboard.press("Space")
    await phone.keyboard.press("Enter")
    await expect(phone.get_by_role("status")).to_contain_text("Your decisions are recorded")

    # Corrected to a removal: without a reason it is refused, says so, and keeps what was chosen.
    await phone.get_by_label("Remove claim status at Example Hub").check()
    await phone.get_by_label("Keep eligibility at Example Hub").check()
    await phone.get_by_role("button", name="Record decisions").click()
    await expect(phone.get_by_role("alert")).to_contain_text("Nothing was changed")
    await expect(phone.get_by_label("Remove claim status at Example Hub")).to_be_checked()
    await phone.get_by_label("Reason about claim status at Example Hub").fill(
        "posts no claims any more"
    )
    await phone.get_by_role("button", name="Record decisions").click()
    await expect(phone.get_by_role("status")).to_contain_text("Your decisions are recorded")
    await look(phone, "review-decided")
    await manager.goto(campaign)
    await look(manager, "campaign")

    # The rest at once: the number shown must be the number found.
    await phone.goto(f"{gateway}/reviews")
    await phone.get_by_role("link", name=re.compile("lines are recommended to be kept")).click()
    await look(phone, "review-bulk")
    count = phone.locator("input[name=count]")
    await count.evaluate("(input) => { input.value = '7'; }")
    await phone.get_by_role("button", name=re.compile("^Keep all")).click()
    await expect(phone.get_by_role("alert")).to_contain_text("count_differs")
    await phone.get_by_role("button", name=re.compile("^Keep all")).click()
    await expect(phone.get_by_role("status")).to_contain_text("Decided")
    await look(phone, "reviews")

    # The removal is work at the portal, and the campaign closes once it is confirmed.
    await until_work(clinic, BILLER)
    await finish_work(clinic, BILLER)
    await until_text(manager, campaign, "Closed")
    await expect(manager.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("Every line is decided")
    )
    await expect(manager.get_by_text("1removed, seen gone")).to_be_visible()
    await look(manager, "campaign-closed")

    officer = await sign_in(browser, clinic, "compliance")
    await officer.goto(f"{gateway}/reviews/compliance")
    await expect(officer.get_by_text("100.0 %")).to_be_visible()
    await expect(officer.get_by_role("row", name=re.compile("Sam Ortega"))).to_be_visible()
    await look(officer, "compliance")
    await officer.goto(campaign)
    await officer.get_by_role("button", name="Make the evidence package").click()
    async with officer.expect_download(timeout=PATIENCE_SECONDS * 1000) as coming:
        await officer.get_by_role("link", name="Download").first.click(
            timeout=PATIENCE_SECONDS * 1000
        )
    package = tmp_path / "evidence.zip"
    await (await coming.value).save_as(package)
    verdict = verify(package, tmp_path)
    assert verdict.startswith("GOOD."), verdict
    with zipfile.ZipFile(package) as content:
        told = json.loads(content.read("campaign.json"))
    assert (told["outcomes"], told["gaps"]) == ({"kept": 3, "removed": 1}, [])


async def test_asking_somebody_passing_on_and_choosing_a_delegate(
    browser: Browser, clinic: System
) -> None:
    gateway = clinic.urls["gateway"]
    manager = await sign_in(browser, clinic, "review_manager")
    await until_preview(manager, gateway)
    await manager.get_by_role("button", name=re.compile("^Open .*: ask about")).click()
    await until_text(manager, manager.url.partition("?")[0], "Sam Ortega")
    reviewer = await sign_in(browser, clinic, f"reviewer={SUPERVISOR}")
    await reviewer.get_by_role("link", name="Ana Fields").click()
    await reviewer.get_by_text("Ask somebody who knows more").click()
    await reviewer.get_by_label("Whom (worker id)").fill(OTHER)
    await reviewer.get_by_label("What you want to know").fill("Does she cover the desk?")
    await reviewer.get_by_role("button", name="Ask", exact=True).click()
    await expect(reviewer.get_by_role("status")).to_contain_text("Asked")
    await expect(reviewer.get_by_text("(no answer yet)")).to_be_visible()

    asked = await sign_in(browser, clinic, f"worker={OTHER}")
    await asked.goto(f"{gateway}/reviews/questions")
    await expect(asked.get_by_text("Does she cover the desk?")).to_be_visible()
    await look(asked, "review-question")
    await asked.get_by_label("Why").fill("Every Tuesday.")
    await asked.get_by_role("button", name="Answer").click()
    await expect(asked.get_by_role("status")).to_contain_text("went back")

    await reviewer.reload()
    await expect(reviewer.get_by_text("Every Tuesday.")).to_be_visible()
    await reviewer.goto(f"{gateway}/reviews")
    await reviewer.get_by_text("Choose somebody", exact=True).click()
    day = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    await reviewer.get_by_label("Their worker id").fill(OTHER)
    await reviewer.get_by_label("From").fill(day)
    await reviewer.get_by_label("To, inclusive").fill(day)
    await reviewer.get_by_role("button", name="Let them decide").click()
    await expect(reviewer.get_by_role("status")).to_contain_text("decide in your place")
    await look(reviewer, "review-delegate")

    await reviewer.get_by_role("link", name="Ana Fields").click()
    await reviewer.get_by_text("This is not mine to review").click()
    await reviewer.get_by_label("Why").fill("She works for Max now.")
    await reviewer.get_by_role("button", name="Pass it on to the next by rule").click()
    await expect(reviewer.get_by_role("status")).to_contain_text("next by rule")
    await expect(reviewer.get_by_role("link", name="Ana Fields")).to_have_count(0)


async def until_preview(page: Page, gateway: str) -> None:
    """Preview a campaign until what was confirmed last has arrived in it."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            await page.goto(f"{gateway}/reviews/campaigns/open")
            await page.get_by_role("button", name="Preview").click()
            if await page.get_by_role("row", name=re.compile("Sam Ortega")).count():
                return
            await anyio.sleep(0.3)


async def until_text(page: Page, url: str, text: str) -> None:
    """Open a page until it says something."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            await page.goto(url)
            if text in await page.locator("main").inner_text():
                return
            await anyio.sleep(0.3)


def verify(package: Path, folder: Path) -> str:
    """What the verifier inside a package says of it."""
    with zipfile.ZipFile(package) as content:
        content.extract("verify_audit_log.py", folder)
    command = [sys.executable, "-I", str(folder / "verify_audit_log.py"), str(package)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
