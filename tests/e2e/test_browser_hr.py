"""A day in HR, in a real browser: somebody leaves now, somebody on Friday and nobody may know."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import anyio
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.browsing import beyond_the_screen, broken_rules, look, sign_in
from tests.e2e.conftest import PATIENCE_SECONDS, System
from tests.e2e.test_browser import directory, finish_work, until_work
from tests.e2e.test_browser_and_command_line import portalkeeper

NORA, OLGA, HR = "W-NORA", "W-OLGA", "hr=W-HELEN"
AGO = (datetime.now(UTC) - timedelta(days=30)).date().isoformat()
FRIDAY = (datetime.now(UTC) + timedelta(days=4)).date().isoformat()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clinic(system: System) -> AsyncIterator[System]:
    """Two billers at work, with their logins."""
    await system.apply_directory(directory(system.organization, system.source))
    for worker, name in ((NORA, "Nora Quist"), (OLGA, "Olga Brandt")):
        hired = {
            "effective_on": AGO,
            "employment_id": f"{worker}-1",
            "title": "Biller",
            "sites": ["main"],
            "name": name,
        }
        await system.send_hr([system.hr_event("worker.hired", worker, hired)])
        await until_work(system, worker)
        await finish_work(system, worker)
    yield system


async def test_leaving_now_takes_a_name_and_three_keys_and_the_receipt_fills_by_itself(
    browser: Browser, clinic: System
) -> None:
    page = await sign_in(browser, clinic, HR)
    await page.goto(f"{clinic.urls['gateway']}/hr/enter")
    await page.keyboard.type("quist")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nora Quist")
    await expect(page.get_by_text("Removal is ordered at once on 1 portal")).to_be_visible()
    await expect(page.get_by_text("Example Hub")).to_be_visible()
    await expect(page.get_by_role("radio", name="Now")).to_be_focused()
    await look(page, "hr-person")
    await page.keyboard.press("Enter")
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_have_text("0 of 1 removed so far", timeout=PATIENCE_SECONDS * 1000)
    await look(page, "hr-receipt-open")
    await finish_work(clinic, NORA)
    await expect(heading).to_contain_text("All 1 removed", timeout=PATIENCE_SECONDS * 1000)
    await expect(page.get_by_text("confirmed by the person who did it")).to_be_visible()
    letter = await page.get_by_role("link", name="Send by e-mail").get_attribute("href")
    assert letter is not None
    assert "Nora" not in letter.partition("&body=")[0]
    await look(page, "hr-receipt")


async def test_a_dismissal_on_friday_is_seen_by_its_author_and_the_named_reader_alone(
    browser: Browser, clinic: System
) -> None:
    page = await sign_in(browser, clinic, HR)
    await page.goto(f"{clinic.urls['gateway']}/hr/enter/{OLGA}")
    await page.get_by_label("On a day").check()
    await page.get_by_label("Last day", exact=True).fill(FRIDAY)
    await page.get_by_text("Nobody may know before").click()
    await page.get_by_label("Keep it sealed").check()
    await page.get_by_label("Who else may see it").fill("W-DEPUTY")
    await look(page, "hr-sealing")
    await page.get_by_role("button", name="Olga Brandt leaves").click()
    await expect(page.get_by_role("status")).to_contain_text("Nobody else sees it")
    await expect(page.get_by_role("heading", level=3)).to_contain_text(OLGA)
    await look(page, "hr-sealed")

    for role in ("hr=W-OTHER", "administrator=W-BOSS", f"administrator={OLGA}"):
        other = await sign_in(browser, clinic, role)
        for path, telling in (
            ("/hr/sealed", OLGA),
            ("/hr", OLGA),
            ("/leavers", "Olga"),
            ("/work", "Olga"),
            (f"/people/{OLGA}", "erminat"),
        ):
            await other.goto(f"{clinic.urls['gateway']}{path}")
            await expect(other.locator("main")).not_to_contain_text(telling)
        await other.context.close()
    reader = await sign_in(browser, clinic, "administrator=W-DEPUTY")
    await reader.goto(f"{clinic.urls['gateway']}/hr/sealed")
    await expect(reader.get_by_role("heading", level=3)).to_contain_text(OLGA)
    await expect(reader.get_by_role("button", name="Withdraw")).to_have_count(0)

    await page.get_by_role("link", name="Change").click()
    await expect(page.get_by_role("heading", level=2)).to_have_text("Change the sealed departure")
    await page.get_by_role("button", name="Seal the change").click()
    await expect(page.locator("section.sheet")).to_have_count(1)
    await page.get_by_role("button", name="Withdraw").click()
    await expect(page.get_by_text("Nothing is sealed that you may see")).to_be_visible()


async def test_somebody_new_goes_on_leave_and_what_one_has_entered_oneself_is_taken_back(
    browser: Browser, clinic: System
) -> None:
    page = await sign_in(browser, clinic, HR)
    await page.goto(f"{clinic.urls['gateway']}/hr/enter")
    await page.get_by_text("Somebody new").click()
    for label, value in (
        ("Worker id", "W-IVAN"),
        ("Employment id", "W-IVAN-1"),
        ("First day", AGO),
        ("Name", "Ivan Petrov"),
        ("Title", "Biller"),
        ("Sites", "main"),
    ):
        await page.get_by_label(label, exact=label in ("Name", "Worker id")).fill(value)
    await look(page, "hr-new")
    await page.get_by_role("button", name="Enter the hire").click()
    await expect(page.get_by_role("status")).to_contain_text("Entered")
    await until_work(clinic, "W-IVAN")
    await page.goto(f"{clinic.urls['gateway']}/hr/enter?query=ivan")
    await page.get_by_text("Goes on leave").click()
    await page.get_by_role("button", name="Enter the leave").click()
    await until_shown(page, "Back from leave")
    await page.get_by_role("button", name="Take back: leave started").click()
    await expect(page.get_by_role("status")).to_contain_text("Taken back")
    await until_shown(page, "Goes on leave")
    colleague = await sign_in(browser, clinic, "hr=W-OTHER")
    await colleague.goto(f"{clinic.urls['gateway']}/hr/enter/W-IVAN")
    await expect(colleague.get_by_role("button", name="Take back")).to_have_count(0)
    oneself = await sign_in(browser, clinic, "hr=W-IVAN")
    await oneself.goto(f"{clinic.urls['gateway']}/hr/enter/W-IVAN")
    await expect(oneself.get_by_text("This is you")).to_be_visible()
    await expect(oneself.get_by_role("button", name="leaves")).to_have_count(0)


async def test_hr_pages_fit_a_phone_and_keep_the_rules_of_accessibility(
    browser: Browser, clinic: System
) -> None:
    page = await sign_in(browser, clinic, HR)
    await page.set_viewport_size({"width": 390, "height": 800})
    for path in ("/hr", "/hr/enter", "/hr/enter?query=a", f"/hr/enter/{OLGA}", "/hr/sealed"):
        answer = await page.goto(f"{clinic.urls['gateway']}{path}")
        assert answer is not None
        assert answer.status == 200, path
        beyond = await beyond_the_screen(page)
        assert beyond <= 0, path
        assert await broken_rules(page) == set(), path


async def test_the_command_line_seals_a_departure_and_withdraws_it(clinic: System) -> None:
    session = await clinic.session_file(HR)
    leaving = ("hr", "leaving", OLGA, "--sealed", "--reader", "W-DEPUTY", "--yes")
    assert (await portalkeeper(session, *leaving, "--now"))[0] == 2
    code, answers, err = await portalkeeper(session, *leaving, "--on", FRIDAY)
    assert (code, answers[0]["status"]) == (0, "sealed"), err
    _, found, _ = await portalkeeper(session, "hr", "sealed", "list")
    assert [(one["worker"], one["readers"]) for one in found] == [(OLGA, ["W-DEPUTY"])]
    code, _, err = await portalkeeper(session, "hr", "sealed", "withdraw", found[0]["id"])
    assert code == 0, err
    assert (await portalkeeper(session, "hr", "sealed", "list"))[1] == []


async def until_shown(page: Page, text: str) -> None:
    """Look again until what was entered has taken effect."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while not await page.get_by_text(text).count():
            await page.reload()
            await anyio.sleep(0.3)
