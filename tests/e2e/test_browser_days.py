"""A portal administrator's day, and a biller's minute."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.browsing import look, sign_in
from tests.e2e.conftest import System
from tests.e2e.test_browser import directory, until_work

ZONE = ZoneInfo("America/Los_Angeles")
BOSS, NEW, MOVER, LEAVER, BILLER = "D-1", "D-2", "D-3", "D-4", "D-5"
NAMES = {
    BOSS: "Ruth Sandoval",
    NEW: "Ines Okafor",
    MOVER: "Tom Beck",
    LEAVER: "Nora Quist",
    BILLER: "Kim Reyes",
}
TITLES = [
    {"id": "Biller", "duties": ["billing"]},
    {"id": "Front Desk", "duties": ["front-desk"]},
    {"id": "Manager", "duties": []},
]
DUTIES = [
    {"id": "billing", "name": "Billing", "functions": ["eligibility", "claim_status"]},
    {"id": "front-desk", "name": "Front desk", "functions": ["eligibility"]},
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def office(system: System) -> AsyncIterator[System]:
    """Three people with access at one portal, and their manager."""
    known = directory(system.organization, system.source)
    policy = {"titles": TITLES, "job_duties": DUTIES}
    administrators = [
        {"id": "hub-1", "portal": "hub", "worker": BOSS, "since": "2020-01-01", "deputy": LEAVER}
    ]
    await system.apply_directory({**known, **policy, "administrators": administrators})
    await hire(system, BOSS, "Manager")
    await hire(system, MOVER, "Biller")
    await hire(system, LEAVER, "Biller")
    for worker in (MOVER, LEAVER):
        await until_work(system, worker)
    yield system


async def hire(system: System, worker: str, title: str) -> None:
    data = {
        "effective_on": (datetime.now(UTC) - timedelta(days=200)).date().isoformat(),
        "employment_id": f"{worker}-1",
        "title": title,
        "sites": ["main"],
        "name": NAMES[worker],
        "supervisor": BOSS,
    }
    await say(system, "worker.hired", worker, data)


async def say(system: System, type_: str, worker: str, data: dict[str, Any]) -> None:
    answer = await system.send_hr([system.hr_event(type_, worker, data)])
    assert answer.status_code == 202, answer.text


async def work_off(page: Page, system: System, worker: str, login: str = "") -> None:
    """Do all that waits for a worker, each with a note of what was seen."""
    await until_work(system, worker)
    while True:
        await page.goto(f"{system.urls['gateway']}/work?worker={worker}")
        waiting = page.get_by_role("button", name="Claim")
        if not await waiting.count():
            return
        await waiting.first.click()
        await expect(page.get_by_role("status")).to_contain_text("You claimed this")
        for button in await page.get_by_role("button", name="Tick off").all():
            await button.click()
            await expect(page.get_by_role("status")).to_contain_text("Step ticked off")
        await page.get_by_label("Evidence").fill("seen on the portal's page")
        if login and await page.get_by_label("Login id").count():
            await page.get_by_label("Login id").fill(login)
        await page.get_by_role("button", name="Record as done").click()
        await expect(page.get_by_role("status")).to_contain_text("Recorded as done")


async def test_a_portal_administrators_day(browser: Browser, office: System) -> None:
    gateway = office.urls["gateway"]
    page = await sign_in(browser, office, f"administrator={BOSS}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Harbor Clinic")
    await work_off(page, office, MOVER, "tbeck")
    await work_off(page, office, LEAVER, "nquist")

    # Somebody new: what they need is work at once, and theirs once it is recorded.
    await hire(office, NEW, "Biller")
    await work_off(page, office, NEW, "iokafor")
    await page.goto(f"{gateway}/people/{NEW}")
    hub = page.get_by_role("region", name="Example Hub")
    await expect(hub).to_contain_text("on a person's word")

    # Somebody moves to the front desk: what billing gave goes, what both need stays.
    moved = {
        "effective_on": datetime.now(ZONE).date().isoformat(),
        "employment_id": f"{MOVER}-1",
        "title": "Front Desk",
    }
    await say(office, "worker.changed", MOVER, moved)
    await work_off(page, office, MOVER)
    await page.goto(f"{gateway}/explain?worker={MOVER}&portal=hub")
    await expect(page.get_by_role("region", name="eligibility")).to_contain_text("can use it")

    # Somebody leaves at once: the sheet empties as the portal is worked off.
    left = {
        "effective_at": datetime.now(UTC).isoformat(),
        "employment_id": f"{LEAVER}-1",
        "immediate": True,
        "voluntary": False,
    }
    await say(office, "worker.terminated", LEAVER, left)
    await until_work(office, LEAVER)
    await page.goto(f"{gateway}/leavers/{LEAVER}")
    await expect(page.get_by_text("1 still reachable")).to_be_visible()
    await work_off(page, office, LEAVER)
    await page.goto(f"{gateway}/leavers/{LEAVER}")
    await expect(page.get_by_text("nothing is reachable any more")).to_be_visible()

    # The portal is down for a while.
    await page.goto(f"{gateway}/outages")
    await page.get_by_label("In a few words").fill("maintenance page")
    await page.get_by_role("button", name="Declare an outage").click()
    await expect(page.get_by_role("status")).to_contain_text("stand still")
    await page.get_by_role("button", name="It works again").click()
    await expect(page.get_by_role("status")).to_contain_text("got the time back")

    # Its own list of users agrees with what was done.
    await page.goto(f"{gateway}/rosters/hub")
    listed = "User ID,First Name,Last Name,Status\n"
    listed += "iokafor,Ines,Okafor,Active\ntbeck,Tom,Beck,Active\nnquist,Nora,Quist,Inactive\n"
    await page.locator("#file").set_input_files(
        {"name": "users.csv", "mimeType": "text/csv", "buffer": listed.encode()}
    )
    await page.locator("#as_of").fill(datetime.now(ZONE).strftime("%Y-%m-%dT%H:%M"))
    await page.get_by_role("button", name="See what it says").click()
    await page.get_by_role("button", name="Import this list").click()
    await expect(page.get_by_role("status")).to_contain_text("Imported.")
    await look(page, "day-roster")

    # And an auditor asks.
    await page.goto(f"{gateway}/who-had-access")
    await page.get_by_label("Function").select_option("claim_status")
    await page.get_by_label("At (").fill(datetime.now(ZONE).strftime("%Y-%m-%dT%H:%M:%S"))
    await page.get_by_role("button", name="Answer").click()
    await expect(page.locator("#summary")).to_contain_text("1 person")
    await expect(page.get_by_role("row", name=NAMES[NEW])).to_be_visible()


async def test_a_billers_minute(browser: Browser, office: System) -> None:
    await hire(office, BILLER, "Biller")
    await until_work(office, BILLER)
    page = await sign_in(browser, office, f"worker={BILLER}")
    await page.get_by_role("link", name="Where do I go?").click()
    await page.get_by_role("searchbox").fill("regence claim status")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main").get_by_role("link", name="Example Hub")).to_be_visible()
    await look(page, "minute-where")
    await page.goto(f"{office.urls['gateway']}/outages")
    await page.get_by_label("In a few words").fill("back at the start after the code")
    await page.get_by_role("button", name="Report it").click()
    await expect(page.get_by_role("status")).to_contain_text("An administrator sees it")
