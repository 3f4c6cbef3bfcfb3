"""Day one in a real browser: the old sheet, its questions, a portal's list, and what it showed."""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
from playwright.async_api import Browser, Page, expect

from tests.e2e.browsing import look, sign_in
from tests.e2e.conftest import System
from tests.e2e.test_browser_directory import hired, until_known
from tests.provisioning.worlds import directory

SHEET = (
    "Name,Hubb,Gate,Phone\n"
    "Ann Lee,alee,yes,555-0100\n"
    "Robert Stone,rstone,,555-0101\n"
    "Bo Park,bpark,yes,555-0102\n"
)
ROSTER = (
    "User ID,Full name,Status,Last login,Functions\n"
    "alee,Ann Lee,Active,{yesterday},eligibility; benefits; remittance\n"
    "rstone,Rob Stone,Active,{long_ago},eligibility; benefits\n"
    "bpark,Bo Park,Active,{yesterday},eligibility; benefits\n"
    "frontdesk1,Front Desk,Active,{yesterday},eligibility\n"
    "gone,Ghost Rider,Active,Never,eligibility\n"
)


async def open_clinic(system: System) -> None:
    document = directory(
        organization={
            "id": system.organization,
            "name": "Maple Clinic",
            "zone": "America/Los_Angeles",
            "tins": ["12-3456789", "98-7654321"],
        },
        sources=[{"id": system.source, "name": "HR"}],
    ).model_dump(mode="json", exclude_none=True)
    for portal in document["portals"]:
        portal["starts"] = "existing"
    for site in document["sites"]:
        site["id"] = {"north": "tacoma"}.get(site["id"], site["id"])
    await system.apply_directory(document)
    for worker, name in (("w1", "Ann Lee"), ("w2", "Rob Stone"), ("w3", "Bo Park")):
        await hired(system, worker, "Front Desk", name)
    left = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
    data = {"effective_on": left, "employment_id": "w3-1", "immediate": False, "voluntary": True}
    await system.send_hr([system.hr_event("worker.terminated", "w3", data)])
    for worker in ("w1", "w2", "w3"):
        await until_known(system, worker)


async def upload(page: Page, name: str, content: str, as_of: str) -> None:
    await page.locator("#file").set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content.encode()}
    )
    await page.locator("#as_of").fill(as_of)
    await page.get_by_role("button", name="See what it says").click()


async def test_the_old_sheet_is_looked_at_asked_about_and_taken_over(
    browser: Browser, system: System
) -> None:
    await open_clinic(system)
    page = await sign_in(browser, system, "administrator")
    await page.goto(f"{system.urls['gateway']}/adopt")
    yesterday = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
    await upload(page, "logins.csv", SHEET, yesterday)
    await expect(page.get_by_role("heading", name="1 question to answer")).to_be_visible()
    await look(page, "adopt-question")
    await page.get_by_label("Which portal is 'Hubb'?").select_option("hub")
    await page.get_by_role("button", name="Answer and look again").click()
    await page.get_by_label("Who is 'Robert Stone'?").select_option("w2")
    await page.get_by_role("button", name="Answer and look again").click()
    await expect(page.get_by_text("will be taken over").first).to_be_visible()
    await look(page, "adopt-preview")
    await page.get_by_role("button", name="Take these logins over").click()
    await expect(page.get_by_role("status")).to_contain_text("Taken over.")
    await look(page, "adopt-done")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="a row per login (CSV)").click()
    exported = Path(str(await (await download.value).path())).read_text()
    assert "alee" in exported
    await page.goto(f"{system.urls['gateway']}/findings")
    await expect(page.get_by_text("Bo Park has left").first).to_be_visible()
    await expect(page.get_by_text("observe-only").first).to_be_visible()
    await look(page, "findings-after-adoption")


async def test_a_portals_list_is_looked_at_and_imported_and_its_findings_say_what_to_do(
    browser: Browser, system: System
) -> None:
    page = await sign_in(browser, system, "administrator")
    await page.goto(f"{system.urls['gateway']}/directory/portals/hub")
    await page.get_by_role("link", name="Its lists of users").click()
    now = datetime.now(UTC)
    roster = ROSTER.format(
        yesterday=(now - timedelta(days=1)).strftime("%m/%d/%Y"),
        long_ago=(now - timedelta(days=120)).strftime("%m/%d/%Y"),
    )
    await upload(page, "users.csv", roster, earlier(hours=1))
    await expect(page.get_by_text("This is the portal's first whole list.")).to_be_visible()
    await expect(page.get_by_text("nobody's").first).to_be_visible()
    await look(page, "roster-preview")
    await page.get_by_role("button", name="Import this list").click()
    await expect(page.get_by_role("status")).to_contain_text("Imported.")
    await look(page, "roster-imported")
    await page.goto(f"{system.urls['gateway']}/findings?portal=hub")
    for words in (
        "is named after no person",
        "is nobody's whom HR knows",
        "Bo Park has left",
        "beyond policy: remittance",
        "was last used 1",
    ):
        await expect(page.get_by_text(words).first).to_be_visible()
    await look(page, "findings")
    await page.set_viewport_size({"width": 390, "height": 844})
    await look(page, "findings-phone")
    await page.goto(f"{system.urls['gateway']}/work")
    await expect(page.get_by_role("link", name="Suspend").first).to_be_visible()


def earlier(**parts: float) -> str:
    """A moment on the clinic's wall clock, as a browser's field takes it."""
    at = datetime.now(ZoneInfo("America/Los_Angeles")) - timedelta(**parts)
    return at.strftime("%Y-%m-%dT%H:%M")


async def test_the_command_line_does_the_same(system: System, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PORTALKEEPER_SESSION_FILE": str(await system.session_file("administrator")),
        "COLUMNS": "200",
    }

    async def run(*arguments: str) -> str:
        ran = await anyio.run_process(
            [sys.executable, "-m", "services.cli.main", *arguments], env=environment, check=False
        )
        assert ran.returncode == 0, ran.stderr.decode()
        return ran.stdout.decode()

    sheet = tmp_path / "logins.xlsx"
    await run("portal", "export", str(sheet))
    today = datetime.now(UTC).date() - timedelta(days=1)
    told = await run("adopt", str(sheet), "--as-of", today.isoformat(), "--dry-run")
    assert "known better" in told
    assert "Plan " in told
    roster = tmp_path / "gate.csv"
    roster.write_text("User ID,Name,Status\nalee,Ann Lee,Active\n")
    moment = earlier(hours=2)
    told = await run("portal", "roster", "import", "gate", str(roster), "--as-of", moment, "--yes")
    assert "Applied." in told
    assert "gate" in await run("portal", "roster", "list")
    assert "orphan" in await run("portal", "findings", "--portal", "hub")
    assert "in use" in await run("portal", "show", "gate")
