"""A person in a real browser, against the whole system."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.browsing import beyond_the_screen, look, sign_in
from tests.e2e.conftest import PATIENCE_SECONDS, System

WORKER = "W-BROWSER-1"
WHO = "/who-had-access?portal=hub&at=2026-11-01T09:00"
WHY = f"/explain?worker={WORKER}&portal=hub"
NAME = "Maria Delgado"
TIN = "91-1234567"


def directory(organization: str, source: str) -> dict[str, Any]:
    """The smallest organization that needs a portal."""
    return {
        "organization": {
            "id": organization,
            "name": "Harbor Clinic",
            "zone": "America/Los_Angeles",
            "tins": [TIN],
        },
        "policy": {"version": "1", "signatory": "Dr. Ellen Marsh", "signed_on": "2026-01-05"},
        "sources": [{"id": source, "name": "HR"}],
        "sites": [{"id": "main", "name": "Main", "state": "WA", "tins": [TIN]}],
        "carriers": [{"id": "regence", "name": "Regence", "kind": "commercial"}],
        "contracts": [
            {"id": "regence-1", "carrier": "regence", "tins": [TIN], "since": "2020-01-01"}
        ],
        "portals": [
            {
                "id": "hub",
                "name": "Example Hub",
                "kind": "hub",
                "url": "https://hub.example/",
                "starts": "new",
                "reaches": [{"carrier": "regence", "functions": ["eligibility", "claim_status"]}],
                "steps": {
                    "open": [{"actor": "administrator", "text": "Add the user under My Team."}]
                },
            }
        ],
        "enrolments": [{"id": "hub-1", "portal": "hub", "tin": TIN, "registered_on": "2020-01-01"}],
        "administrators": [
            {"id": "hub-1", "portal": "hub", "worker": "W-BOSS", "since": "2020-01-01"}
        ],
        "titles": [{"id": "Biller", "duties": ["billing"]}],
        "job_duties": [
            {"id": "billing", "name": "Billing", "functions": ["eligibility", "claim_status"]}
        ],
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clinic(system: System) -> System:
    """The system after a directory was applied and a biller was hired."""
    await system.apply_directory(directory(system.organization, system.source))
    hired = {
        "effective_on": (datetime.now(UTC) - timedelta(days=30)).date().isoformat(),
        "employment_id": "E-1",
        "title": "Biller",
        "sites": ["main"],
        "name": NAME,
    }
    answer = await system.send_hr([system.hr_event("worker.hired", WORKER, hired)])
    assert answer.status_code == 202, answer.text
    await until_work(system, WORKER)
    return system


async def test_an_administrator_finds_a_worker_and_completes_work_with_evidence_that_is_proved(
    browser: Browser, clinic: System
) -> None:
    page = await sign_in(browser, clinic, "administrator")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Harbor Clinic")

    await page.get_by_role("link", name="People").click()
    await page.get_by_label("Name, worker id or title").fill("Delgado")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("link", name=NAME).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
    await expect(page.get_by_text("Hired")).to_be_visible()

    await page.goto(f"{clinic.urls['gateway']}/work?worker={WORKER}")
    await page.get_by_role("button", name="Claim").first.click()
    await expect(page.get_by_role("status")).to_contain_text("You claimed this")
    for button in await page.get_by_role("button", name="Tick off").all():
        await button.click()
        await expect(page.get_by_role("status")).to_contain_text("Step ticked off")
    await page.get_by_label("Evidence").fill("HUB-99812")
    if await page.get_by_label("Login id").count():
        await page.get_by_label("Login id").fill("mdelgado7")
    await page.get_by_role("button", name="Record as done").click()
    await expect(page.get_by_role("status")).to_contain_text("Recorded as done")
    await expect(page.get_by_text("HUB-99812")).to_be_visible()

    audit = await sign_in(browser, clinic, "compliance")
    await audit.goto(f"{clinic.urls['gateway']}/audit")
    tail = audit.get_by_role("log")
    await expect(tail).not_to_contain_text("Connecting")
    await find_entry(audit, clinic, "operation.confirmed")
    await expect(audit.locator(".verdict")).to_contain_text("Verified in this page")
    await expect(audit.locator("[data-check].passed")).to_have_count(4)
    await expect(audit.locator("pre").first).to_contain_text("HUB-99812")


async def find_entry(page: Page, system: System, type_: str) -> None:
    """Open the newest entry of a type, which arrives through outbox, Kafka and the log."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            await page.goto(f"{system.urls['gateway']}/audit?type={type_}")
            link = page.locator("tbody th a").first
            if await link.count():
                await link.click()
                return
            await anyio.sleep(0.3)


async def test_what_happens_appears_in_the_open_audit_page_by_itself(
    browser: Browser, clinic: System
) -> None:
    page = await sign_in(browser, clinic, "compliance")
    await page.goto(f"{clinic.urls['gateway']}/audit")
    tail = page.get_by_role("log")
    await expect(tail).not_to_contain_text("Connecting")
    changed = {"effective_on": "2026-02-01", "employment_id": "E-1", "department": "Revenue"}
    await clinic.send_hr([clinic.hr_event("worker.changed", WORKER, changed)])
    await expect(tail).to_contain_text("worker.changed")


async def test_an_altered_leaf_does_not_verify_in_the_page(
    browser: Browser, clinic: System
) -> None:
    page = await sign_in(browser, clinic, "compliance")

    async def alter(route: Any) -> None:
        answer = await route.fetch()
        body = (await answer.text()).replace("{&#34;", "{ &#34;", 1)
        await route.fulfill(response=answer, body=body)

    await page.route("**/audit/0", alter)
    await page.goto(f"{clinic.urls['gateway']}/audit/0")
    await expect(page.locator(".verdict")).to_contain_text("NOT verified")


async def test_pages_need_no_script_besides_live_tail_and_proof(
    browser: Browser, clinic: System
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(await clinic.sign_in("administrator"))
    await page.get_by_role("button", name="Sign in").click()
    pages = (
        "/",
        "/people",
        f"/people/{WORKER}",
        "/matrix",
        "/work",
        "/findings",
        "/directory",
        "/hr",
        "/hr/lists",
        "/hr/questions",
        WHO,
        WHY,
        "/chores",
        "/leavers",
        "/brake",
        "/exceptions",
        "/outages",
        "/clocks",
        "/training",
        "/mine",
    )
    for path in pages:
        answer = await page.goto(f"{clinic.urls['gateway']}{path}")
        assert answer is not None
        assert answer.status == 200, path
        await expect(page.get_by_role("heading", level=1)).to_be_visible()


async def test_a_narrow_screen_never_scrolls_sideways(browser: Browser, clinic: System) -> None:
    context = await browser.new_context(viewport={"width": 390, "height": 800})
    page = await context.new_page()
    await page.goto(await clinic.sign_in("administrator"))
    await page.get_by_role("button", name="Sign in").click()
    pages = (
        "/",
        "/people",
        f"/people/{WORKER}",
        "/matrix",
        "/work",
        "/directory",
        "/hr",
        "/hr/lists",
        "/hr/questions",
        WHO,
        WHY,
        "/chores",
        "/leavers",
        "/exceptions",
        "/outages",
        "/clocks",
    )
    for path in pages:
        answer = await page.goto(f"{clinic.urls['gateway']}{path}")
        assert answer is not None
        assert answer.status == 200, path
        beyond = await beyond_the_screen(page)
        assert beyond <= 0, path


async def test_an_exception_waits_for_a_second_person_and_is_refused_to_whoever_asked(
    browser: Browser, clinic: System
) -> None:
    first = await sign_in(browser, clinic, "administrator=W-BOSS")
    await first.goto(f"{clinic.urls['gateway']}/exceptions?worker={WORKER}")
    await first.get_by_label("Function").select_option("remittance")
    await first.get_by_label("What the work is").fill("closes the month for a colleague")
    day = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
    await first.get_by_label("Exception: until the end of").fill(day)
    await first.get_by_role("button", name="Ask for an exception").click()
    await expect(first.get_by_role("status")).to_contain_text("a second person approves")
    await look(first, "exceptions")
    await first.get_by_role("button", name="Approve remittance").click()
    await expect(first.get_by_text("approver_is_requester")).to_be_visible()
    second = await sign_in(browser, clinic, "administrator=W-DEPUTY")
    await second.goto(f"{clinic.urls['gateway']}/exceptions")
    await second.get_by_role("button", name="Approve remittance").click()
    await expect(second.get_by_role("status")).to_contain_text("Approved")


async def test_who_cannot_get_in_says_so_and_an_administrator_declares_and_ends_the_outage(
    browser: Browser, clinic: System
) -> None:
    biller = await sign_in(browser, clinic, f"worker={WORKER}")
    await biller.goto(f"{clinic.urls['gateway']}/outages")
    await biller.get_by_label("In a few words").fill("back at the start after the code")
    await biller.get_by_role("button", name="Report it").click()
    await expect(biller.get_by_role("status")).to_contain_text("An administrator sees it")
    await expect(biller.get_by_role("button", name="Declare an outage")).to_have_count(0)
    page = await sign_in(browser, clinic, "administrator")
    await page.goto(f"{clinic.urls['gateway']}/outages")
    await expect(page.get_by_text("back at the start after the code")).to_be_visible()
    await page.get_by_label("In a few words").fill("maintenance page")
    await page.get_by_role("button", name="Declare an outage").click()
    await expect(page.get_by_role("status")).to_contain_text("stand still")
    await look(page, "outages")
    await page.get_by_role("button", name="It works again").click()
    await expect(page.get_by_role("status")).to_contain_text("got the time back")


async def test_a_departure_is_worked_off_its_sheet_and_hr_reads_the_receipt(
    browser: Browser, clinic: System
) -> None:
    leaver = "W-LEAVES-1"
    hired = {
        "effective_on": "2026-01-05",
        "employment_id": "L-1",
        "title": "Biller",
        "sites": ["main"],
        "name": "Nora Quist",
    }
    await clinic.send_hr([clinic.hr_event("worker.hired", leaver, hired)])
    await until_work(clinic, leaver)
    await finish_work(clinic, leaver)
    left = {
        "effective_at": datetime.now(UTC).isoformat(),
        "employment_id": "L-1",
        "immediate": True,
        "voluntary": True,
    }
    await clinic.send_hr([clinic.hr_event("worker.terminated", leaver, left)])
    await until_work(clinic, leaver)
    page = await sign_in(browser, clinic, "administrator")
    await page.get_by_role("link", name="Leavers", exact=True).click()
    await page.get_by_role("link", name="Nora Quist").click()
    await expect(page.get_by_text("1 still reachable")).to_be_visible()
    await page.get_by_text("Tell Example Hub").click()
    await expect(page.locator("pre.draft")).to_contain_text("no longer works for Harbor Clinic")
    await page.get_by_label("What shows it").fill("message 4711")
    await page.get_by_role("button", name="Keep that Example Hub was told").click()
    await expect(page.get_by_text("message 4711")).to_be_visible()
    await look(page, "leaver")
    await finish_work(clinic, leaver)
    hr = await sign_in(browser, clinic, "hr")
    await hr.goto(f"{clinic.urls['gateway']}/leavers/{leaver}/receipt")
    await expect(hr.get_by_role("heading", level=1)).to_contain_text("All 1 removed")
    await expect(hr.get_by_text("confirmed by the person who did it")).to_be_visible()
    await look(hr, "receipt")


async def test_a_token_of_somebody_who_left_is_refused_by_every_service(clinic: System) -> None:
    leaver = "W-LEAVES-2"
    hired = {
        "effective_on": "2026-01-05",
        "employment_id": "L-2",
        "title": "Biller",
        "sites": ["main"],
    }
    await clinic.send_hr([clinic.hr_event("worker.hired", leaver, hired)])
    await until_work(clinic, leaver)
    held = {"Authorization": f"Bearer {await clinic.token(f'operator={leaver}')}"}

    async def refused() -> set[str]:
        return {
            name
            for name, url in clinic.urls.items()
            if (await clinic.http.get(f"{url}/ops/v1/status", headers=held)).status_code == 401
        }

    assert await refused() == set()
    left = {
        "effective_at": datetime.now(UTC).isoformat(),
        "employment_id": "L-2",
        "immediate": True,
        "voluntary": False,
    }
    await clinic.send_hr([clinic.hr_event("worker.terminated", leaver, left)])
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            if await refused() == clinic.urls.keys():
                break
            await anyio.sleep(0.2)


async def until_work(system: System, worker: str) -> None:
    """Wait until something is to be done for a worker."""
    headers = {"Authorization": f"Bearer {await system.token('administrator')}"}
    url = f"{system.urls['provisioning']}/access/v1/work"
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            found = await system.http.get(url, params={"worker": worker}, headers=headers)
            if found.json()["items"]:
                return
            await anyio.sleep(0.2)


async def finish_work(system: System, worker: str) -> None:
    """Confirm every open operation of a worker, as an administrator with a note would."""
    headers = {"Authorization": f"Bearer {await system.token('administrator')}"}
    url = f"{system.urls['provisioning']}/access/v1/work"
    items = (await system.http.get(url, params={"worker": worker}, headers=headers)).json()["items"]
    for item in items:
        done = {"evidence": {"kind": "note", "text": "seen on screen"}, "login_id": None}
        answer = await system.http.post(
            f"{url}/{item['operation_id']}/done", json=done, headers=headers
        )
        assert answer.status_code == 200, answer.text


async def test_an_auditor_sees_on_one_page_who_had_access_and_why_with_its_proof(
    browser: Browser, clinic: System
) -> None:
    await finish_work(clinic, WORKER)
    page = await sign_in(browser, clinic, "compliance")
    await page.get_by_role("link", name="Who had access").click()
    await page.get_by_label("Function").select_option("claim_status")
    await page.get_by_label("At (").fill(
        datetime.now(ZoneInfo("America/Los_Angeles")).strftime("%Y-%m-%dT%H:%M:%S")
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            await page.get_by_role("button", name="Answer").click()
            if await page.locator("#proof").count():
                break
            await anyio.sleep(0.3)
    await expect(page.get_by_role("heading", level=1)).to_contain_text(
        "Who could use claim status at Example Hub"
    )
    await expect(page.locator("#summary")).to_contain_text("1 person: 1 on a person's word")
    await expect(page.locator("#summary")).to_contain_text("policy 1, Dr. Ellen Marsh")
    await expect(page.get_by_role("row", name=NAME)).to_contain_text("✓ proved")
    await expect(page.locator("#proof")).to_contain_text("proved to be in the log")

    await look(page, "who-had-access")
    await page.get_by_role("button", name="Ask Example Hub what").click()
    await expect(page.get_by_role("status")).to_contain_text("own activity log")
    await page.get_by_role("link", name="See what is asked").click()
    await expect(page.get_by_text(f"activity log of {NAME}")).to_be_visible()

    await page.goto(f"{clinic.urls['gateway']}/people/{WORKER}")
    await page.get_by_role("link", name="Why, at Example Hub").click()
    line = page.get_by_role("region", name="claim status")
    await expect(line).to_contain_text("can use it")
    await expect(line).to_contain_text("'Biller' does Billing, which needs claim status")
    await expect(line.get_by_text("✓ proved")).to_have_count(3)
