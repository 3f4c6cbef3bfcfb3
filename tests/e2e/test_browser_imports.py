"""Day one in a real browser: the old sheet, its questions, a portal's list, and what it showed."""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.browsing import look, sign_in
from tests.e2e.conftest import PATIENCE_SECONDS, System
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
GATES_LIST = "User ID,Name,Status\nalee,Ann Lee,Active\n"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clinic(system: System) -> System:
    """A clinic with logins from before: two at its front desk, and one who has left."""
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
    return system


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def listed(clinic: System) -> System:
    """The clinic with eight helpers, all of whom the gateway knows its source to have named."""
    for worker, name in STAFF.items():
        await hired(clinic, worker, "Front Desk", name)
    await until_expected(clinic, people=10)  # with Ann Lee and Rob Stone
    return clinic


async def upload(page: Page, name: str, content: str, as_of: str) -> None:
    await page.locator("#file").set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content.encode()}
    )
    await page.locator("#as_of").fill(as_of)
    await page.get_by_role("button", name="See what it says").click()


async def test_the_old_sheet_is_looked_at_asked_about_and_taken_over(
    browser: Browser, clinic: System
) -> None:
    page = await sign_in(browser, clinic, "administrator")
    await page.goto(f"{clinic.urls['gateway']}/adopt")
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
    await page.goto(f"{clinic.urls['gateway']}/findings")
    await expect(page.get_by_text("Bo Park has left").first).to_be_visible()
    await expect(page.get_by_text("observe-only").first).to_be_visible()
    await look(page, "findings-after-adoption")


async def test_a_portals_list_is_looked_at_and_imported_and_its_findings_say_what_to_do(
    browser: Browser, clinic: System
) -> None:
    page = await sign_in(browser, clinic, "administrator")
    await page.goto(f"{clinic.urls['gateway']}/directory/portals/hub")
    await page.get_by_role("link", name="Its lists of users").click()
    await upload(page, "users.csv", hubs_list(), earlier(hours=1))
    await expect(page.get_by_text("This is the portal's first whole list.")).to_be_visible()
    await expect(page.get_by_text("nobody's").first).to_be_visible()
    await look(page, "roster-preview")
    await page.get_by_role("button", name="Import this list").click()
    await expect(page.get_by_role("status")).to_contain_text("Imported.")
    await look(page, "roster-imported")
    await page.goto(f"{clinic.urls['gateway']}/findings?portal=hub")
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
    await page.goto(f"{clinic.urls['gateway']}/work")
    await expect(page.get_by_role("link", name="Suspend").first).to_be_visible()


def hubs_list() -> str:
    now = datetime.now(UTC)
    return ROSTER.format(
        yesterday=(now - timedelta(days=1)).strftime("%m/%d/%Y"),
        long_ago=(now - timedelta(days=120)).strftime("%m/%d/%Y"),
    )


def earlier(**parts: float) -> str:
    """A moment on the clinic's wall clock, as a browser's field takes it."""
    at = datetime.now(ZoneInfo("America/Los_Angeles")) - timedelta(**parts)
    return at.strftime("%Y-%m-%dT%H:%M")


async def test_the_command_line_does_the_same(clinic: System, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PORTALKEEPER_SESSION_FILE": str(await clinic.session_file("administrator")),
        "COLUMNS": "200",
    }

    async def run(*arguments: str) -> str:
        ran = await anyio.run_process(
            [sys.executable, "-m", "services.cli.main", *arguments], env=environment, check=False
        )
        assert ran.returncode == 0, ran.stderr.decode()
        return ran.stdout.decode()

    for portal, content in (("hub", hubs_list()), ("gate", GATES_LIST)):
        roster = tmp_path / f"{portal}.csv"
        roster.write_text(content)
        where = (portal, str(roster), "--as-of", earlier(minutes=30))
        assert "Applied." in await run("portal", "roster", "import", *where, "--yes")
    sheet = tmp_path / "logins.xlsx"
    await run("portal", "export", str(sheet))
    today = datetime.now(UTC).date() - timedelta(days=1)
    told = await run("adopt", str(sheet), "--as-of", today.isoformat(), "--dry-run")
    assert "known better" in told
    assert "Plan " in told
    assert "gate" in await run("portal", "roster", "list")
    assert "orphan" in await run("portal", "findings", "--portal", "hub")
    assert "in use" in await run("portal", "show", "gate")


HR_LIST = "Employee #,Full Name,Job Title,Location,Status,Hire Date,Termination Date,SSN\n"
STAFF = {f"h{number}": f"Helper {number}" for number in range(1, 9)}


def hr_line(worker: str, name: str, *, status: str = "Active", last_day: str = "") -> str:
    return f"{worker},{name},Front Desk,tacoma,{status},2024-05-06,{last_day},078-05-1120\n"


async def post_list(system: System, lines: str, **asked: str) -> Any:
    answer = await system.http.post(
        f"{system.urls['gateway']}/hr/v1/rosters",
        content=(HR_LIST + lines).encode(),
        params=asked,
        headers={"Authorization": f"Bearer {await system.token('hr')}"},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


async def until_expected(system: System, people: int) -> None:
    """Until the gateway has heard of everybody whom its source named."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            if (await post_list(system, hr_line("w1", "Ann Lee")))["expected"] == people:
                return
            await anyio.sleep(0.2)


async def send_list(page: Page, name: str, content: str) -> None:
    await page.get_by_label("The list: CSV or XLSX").set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content.encode()}
    )
    await page.get_by_role("button", name="See what it comes to").click()


async def test_hrs_list_is_held_while_it_lacks_people_and_applied_once_hr_has_answered(
    browser: Browser, listed: System
) -> None:
    page = await sign_in(browser, listed, "hr")
    await page.goto(f"{listed.urls['gateway']}/hr")
    await page.get_by_role("link", name="Lists of workers").click()
    await look(page, "hr-lists")
    short = HR_LIST + hr_line("w1", "Ann Lee") + hr_line("n1", "Nora New")
    await send_list(page, "friday.csv", short)
    await expect(page.get_by_text("This file lacks 9 of 10 people")).to_be_visible()
    await expect(page.get_by_text("Dropped, and kept nowhere: SSN.")).to_be_visible()
    await look(page, "hr-held")
    await page.goto(f"{listed.urls['gateway']}/")
    await expect(page.get_by_text("HELD: friday.csv lacked 9 people.")).to_be_visible()
    await look(page, "overview-held")
    await page.get_by_role("link", name="Confirm or reject the file").click()
    await page.get_by_role("button", name="They are still here").click()
    await expect(page.get_by_role("status")).to_contain_text("can be applied now")
    await page.get_by_role("button", name="Apply this list").click()
    await expect(page.get_by_role("status")).to_contain_text("Applied.")
    await look(page, "hr-applied")
    await until_known(listed, "n1")


async def test_who_is_missing_from_hrs_list_leaves_only_by_hrs_answer(
    browser: Browser, listed: System
) -> None:
    page = await sign_in(browser, listed, "hr")
    everybody = {"w1": "Ann Lee", "w2": "Rob Stone", "n1": "Nora New", **STAFF}
    whole = "".join(hr_line(worker, name) for worker, name in everybody.items())
    assert (await post_list(listed, whole, apply="true"))["status"] == "applied"
    await until_expected(listed, people=11)
    lines = [hr_line(worker, name) for worker, name in everybody.items() if worker != "h8"]
    last_day = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
    lines[2] = hr_line("n1", "Nora New", status="Inactive", last_day=last_day)
    await page.goto(f"{listed.urls['gateway']}/hr/lists")
    await send_list(page, "monday.csv", HR_LIST + "".join(lines))
    await expect(page.get_by_role("heading", name="Departures: 1")).to_be_visible()
    await expect(page.get_by_role("heading", name="Questions: 1")).to_be_visible()
    await look(page, "hr-plan")
    await page.get_by_role("button", name="Apply this list").click()
    await page.goto(f"{listed.urls['gateway']}/hr/questions")
    await look(page, "hr-questions")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="the table").click()
    assert "Helper 8" in Path(str(await (await download.value).path())).read_text()
    await page.get_by_label("Helper 8", exact=True).select_option("has left")
    await page.get_by_label("Last day of Helper 8").fill(last_day)
    await page.get_by_role("button", name="Answer").click()
    await expect(page.get_by_role("status")).to_contain_text("Answered.")
    for worker in ("n1", "h8"):
        await until_gone(listed, worker)
    await page.goto(f"{listed.urls['gateway']}/hr")
    await look(page, "hr")
    await page.get_by_role("table").get_by_role("link", name="HR", exact=True).click()
    await page.get_by_label("Statuses").fill("Furloughed = leave")
    await page.get_by_label("by (leave empty for no alarm)").fill("06:00")
    await look(page, "hr-source")
    await page.get_by_role("button", name="Keep this").click()
    await expect(page.get_by_role("status")).to_contain_text("Kept.")
    await expect(page.get_by_label("Statuses")).to_have_value("Furloughed = leave\n")


async def until_gone(system: System, worker: str) -> None:
    headers = {"Authorization": f"Bearer {await system.token('administrator')}"}
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            answer = await system.http.get(
                f"{system.urls['provisioning']}/access/v1/workers/{worker}", headers=headers
            )
            if answer.json()["state"]["status"] == "terminated":
                return
            await anyio.sleep(0.2)
