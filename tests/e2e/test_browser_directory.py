"""The directory, its policy, enrolments and the guide, used by people in a real browser."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx
import pytest
import pytest_asyncio
import yaml
from playwright.async_api import Browser, expect

from deploy.keys import EXAMPLE_ORGANIZATION
from deploy.story.clinic import CEDAR_SOUND, read_directory
from shared.contracts.directory import Directory
from shared.contracts.directory_file import write_directory_file
from tests.e2e.browsing import beyond_the_screen, look, sign_in
from tests.e2e.conftest import PATIENCE_SECONDS, System
from tests.e2e.test_browser_and_command_line import portalkeeper

ORGANIZATION = EXAMPLE_ORGANIZATION
FRONT, ASKED = "cs-9001", "cs-9002"


@pytest.fixture(scope="module")
def example() -> Directory:
    """The example clinic's directory, as of a clinic that adopts nothing."""
    directory = read_directory(CEDAR_SOUND / "directory.yaml", datetime.now(UTC).date())
    # What is desired on a portal is ordered from the first day.
    portals = tuple(each.model_copy(update={"starts": "new"}) for each in directory.portals)
    return directory.model_copy(update={"portals": portals})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def in_force(system: System, example: Directory) -> System:
    """The system with the example's directory in force, whoever applied it."""
    await system.apply_directory(example.model_dump(mode="json"))
    return system


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def staffed(in_force: System) -> System:
    """A front desk, and somebody whose title nobody has mapped."""
    await hired(in_force, FRONT, "Front Desk Associate", "Ines Calloway")
    await hired(in_force, ASKED, "Rev Cycle Spec II", "Dana Whitfield")
    await until_known(in_force, FRONT)
    await until_known(in_force, ASKED)
    return in_force


async def hired(system: System, worker: str, title: str, name: str) -> None:
    begun = (datetime.now(UTC) - timedelta(days=900)).date().isoformat()
    data = {
        "effective_on": begun,
        "employment_id": f"{worker}-1",
        "title": title,
        "sites": ["tacoma"],
        "name": name,
    }
    answer = await system.send_hr([system.hr_event("worker.hired", worker, data)])
    assert answer.status_code == 202, answer.text


async def until_known(system: System, worker: str) -> None:
    url = f"{system.urls['provisioning']}/access/v1/workers/{worker}"
    headers = {"Authorization": f"Bearer {await system.token('administrator')}"}
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            if (await system.http.get(url, headers=headers)).status_code == httpx.codes.OK:
                return
            await anyio.sleep(0.2)


async def test_a_first_directory_is_pasted_corrected_looked_at_and_applied(
    browser: Browser, system: System, example: Directory
) -> None:
    whole = write_directory_file(example)
    page = await sign_in(browser, system, "administrator")
    await page.goto(f"{system.urls['gateway']}/directory")
    await page.get_by_role("link", name="paste it here").click()
    wrong = whole.replace("carrier: salish", "carrier: salisch", 1)
    await page.get_by_label("File", exact=True).fill(wrong)
    await page.get_by_role("button", name="See what it changes").click()
    refusal = page.get_by_role("alert")
    await expect(refusal).to_contain_text("names carrier 'salisch', which is not in the directory")
    line = wrong[: wrong.index("salisch")].count("\n") + 1
    await expect(refusal).to_contain_text(f"Line {line}")
    await look(page, "file-refused")
    await page.get_by_label("File", exact=True).fill(whole)
    await page.get_by_role("button", name="See what it changes").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("What would change")
    await page.get_by_role("button", name="Apply it").click()
    await expect(page.get_by_role("status")).to_contain_text("In force as version 1")
    await page.goto(f"{system.urls['gateway']}/directory")
    await expect(page.get_by_role("link", name="Noridian Medicare Portal")).to_be_visible()
    await look(page, "portals")


async def test_a_title_nobody_mapped_is_mapped_by_one_person_and_approved_by_another(
    browser: Browser, staffed: System
) -> None:
    gateway = staffed.urls["gateway"]
    page = await sign_in(browser, staffed, "administrator")
    await page.goto(f"{gateway}/policy")
    await look(page, "policy")
    asked = page.locator("form", has=page.get_by_text("Rev Cycle Spec II", exact=True))
    await asked.get_by_label("Payment posting").check()
    await asked.get_by_role("button", name="See what it changes").click()
    row = page.get_by_role("row", name="Dana Whitfield")
    await expect(row).to_contain_text("+ payment, remittance Availity Essentials")
    await expect(row).to_contain_text("posting")
    await expect(page.get_by_text("Ines Calloway")).to_have_count(0)
    await look(page, "plan")
    await page.get_by_role("button", name="Propose it").click()
    await expect(page.get_by_role("status")).to_contain_text("Nothing has changed yet")
    await expect(page.get_by_role("button", name="Approve, and put it in force")).to_have_count(0)
    other = await sign_in(browser, staffed, "compliance")
    await other.goto(f"{gateway}/policy")
    await other.get_by_role("table").last.get_by_role("link").first.click()
    await look(other, "plan-to-approve")
    await other.get_by_role("button", name="Approve, and put it in force").click()
    await expect(other.get_by_role("status")).to_contain_text("In force as version 2")
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            await page.goto(f"{gateway}/policy")
            if not await page.get_by_text("Titles nobody has mapped").count():
                break
            await anyio.sleep(0.3)
    await expect(page.get_by_text("Policy 8, signed by")).to_be_visible()


async def test_money_for_the_front_desk_is_refused_on_the_page(
    browser: Browser, in_force: System
) -> None:
    page = await sign_in(browser, in_force, "administrator")
    await page.goto(f"{in_force.urls['gateway']}/policy")
    await page.get_by_role("link", name="Add a duty").click()
    await page.get_by_label("Name").fill("Greeting")
    await page.get_by_label("Front office").check()
    await page.get_by_label("remittance").check()
    await page.get_by_role("button", name="See what it changes").click()
    await expect(page.get_by_role("alert")).to_contain_text(
        "gives remittance to the front office (greeting)"
    )
    await expect(page.get_by_label("Name")).to_have_value("Greeting")
    await expect(page.get_by_label("remittance")).to_be_checked()


async def test_a_separation_is_tried_on_everybody_before_anybody_signs_it(
    browser: Browser, staffed: System
) -> None:
    page = await sign_in(browser, staffed, "administrator")
    await page.goto(f"{staffed.urls['gateway']}/policy")
    await page.get_by_role("link", name="Sign anew, or change what must stay apart").click()
    await page.get_by_text("Add one", exact=True).click()
    rule = page.get_by_role("group", name="Separation, 3")
    await rule.get_by_label("Id").fill("desk-and-cob")
    await rule.get_by_label("Reason").fill("Tried out")
    holders = rule.get_by_role("group", name="Who holds any of these")
    await holders.get_by_label("Front desk").check()
    never = rule.get_by_role("group", name="Never holds any of these")
    await never.get_by_label("coordination of benefits").check()
    await page.get_by_role("button", name="See what it changes").click()
    row = page.get_by_role("row", name="Ines Calloway")
    await expect(row).to_contain_text("− coordination of benefits")
    await expect(row).to_contain_text("desk-and-cob")
    await expect(page.get_by_role("button", name="Propose it")).to_be_visible()
    await look(page, "plan-separation")


async def test_a_worker_finds_the_way_and_what_comes_after_it(
    browser: Browser, staffed: System
) -> None:
    page = await sign_in(browser, staffed, f"worker={FRONT}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Where do I go?")
    await page.get_by_role("searchbox").fill("regence cob denial")
    await page.get_by_role("button", name="Find").click()
    first = page.get_by_role("region").first
    await expect(first.get_by_role("heading", level=2)).to_have_text(
        "Regence BlueShield: Coordination of benefits"
    )
    await expect(first.get_by_role("link", name="Availity Essentials")).to_be_visible()
    await expect(first).to_contain_text("Portals/Availity Essentials")
    await expect(first.locator(".ladder li").last).to_contain_text("last resort")
    await look(page, "where")
    second = page.get_by_role("region").nth(1)
    await expect(second).to_contain_text("no access there")
    await second.get_by_text("Ask for access").click()
    await second.get_by_label("What the work is; nothing about a patient").fill("Denials of May")
    await second.get_by_role("button", name="Ask for 30 days").click()
    await expect(page.get_by_role("status")).to_contain_text("Somebody else decides")
    first = page.get_by_role("region").first
    await first.get_by_text("I cannot get in").click()
    await first.get_by_label("In a few words").fill("Three wrong codes")
    await look(page, "where-barred")
    await first.get_by_role("button", name="Report it").click()
    await expect(page.get_by_role("status")).to_be_visible()
    refused = await page.goto(f"{staffed.urls['gateway']}/people")
    assert refused is not None
    assert refused.status == 403


async def test_an_enrolment_is_seen_through_on_pages_and_from_the_command_line(
    browser: Browser, in_force: System
) -> None:
    gateway = in_force.urls["gateway"]
    page = await sign_in(browser, in_force, "administrator")
    await page.goto(f"{gateway}/enrolments")
    await expect(page.get_by_text("Washington business licence").first).to_be_visible()
    await look(page, "enrolments")
    await page.goto(f"{gateway}/enrolments/carelon-2")
    await page.get_by_role("button", name="Begin", exact=True).click()
    ticks = page.get_by_role("button", name="Tick:")
    await expect(ticks).to_have_count(5)
    await look(page, "enrolment")
    await page.get_by_role("button", name="The portal has it").click()
    await expect(page.get_by_role("alert")).to_contain_text("Not ticked yet")
    for left in range(5, 0, -1):
        await ticks.first.click()
        await expect(ticks).to_have_count(left - 1)
    await page.get_by_role("button", name="The portal has it").click()
    await page.get_by_role("button", name="It has cleared").click()
    await expect(page.get_by_role("region", name="carrier mapping")).to_contain_text("waiting")
    await page.goto(f"{gateway}/directory/portals/carelon")
    await expect(page.get_by_text("carrier mapping")).to_be_visible()

    administrator = await in_force.session_file("administrator")
    code, found, _ = await portalkeeper(administrator, "enrolment", "list", "--open")
    assert [each["enrolment"] for each in found["enrolments"]] == ["carelon-2"]
    code, begun, err = await portalkeeper(
        administrator, "enrolment", "begin", "carelon-2", "carrier_mapping"
    )
    assert (code, begun["phases"][1]["status"]) == (0, "working"), err
    code, ticked, _ = await portalkeeper(
        administrator, "enrolment", "tick", "carelon-2", "carrier_mapping", "tried"
    )
    assert [item["id"] for item in ticked["phases"][1]["checklist"] if item["done_at"]] == ["tried"]


async def test_a_rule_of_a_portal_is_corrected_with_its_source(
    browser: Browser, in_force: System
) -> None:
    gateway = in_force.urls["gateway"]
    page = await sign_in(browser, in_force, "administrator")
    await page.goto(f"{gateway}/directory/portals/noridian")
    await look(page, "portal")
    await expect(page.get_by_text("2 are expected")).to_have_count(0)
    await page.goto(f"{gateway}/directory/portals/onehealthport")
    await expect(page.get_by_text("2 are expected, 1 is appointed.")).to_be_visible()
    await page.goto(f"{gateway}/directory/organization")
    clinician = page.get_by_role("row", name="Silvio Marchetti")
    await expect(clinician).to_contain_text("2543359337")
    await look(page, "organization")
    await page.goto(f"{gateway}/directory/portals/noridian")
    await page.get_by_text("Correct a rule, or add one").click()
    await page.get_by_label("Rule", exact=True).fill("inactivity_days")
    await page.get_by_label("Value (empty: not known)").fill("often")
    await page.get_by_label("Source", exact=True).fill("letter of the help desk")
    await page.get_by_role("button", name="See what it changes").first.click()
    await expect(page.get_by_role("alert")).to_contain_text("inactivity_days is a whole number")
    await page.get_by_label("Value (empty: not known)").fill("45")
    await page.get_by_label("The source says so plainly").check()
    await page.get_by_role("button", name="See what it changes").first.click()
    await expect(page.get_by_text("Nobody's access changes")).to_be_visible()
    await page.get_by_role("button", name="Apply it").click()
    await page.goto(f"{gateway}/directory/portals/noridian")
    row = page.get_by_role("row", name="inactivity days")
    await expect(row).to_contain_text("45")
    await expect(row).to_contain_text("letter of the help desk")


async def test_a_portal_is_changed_without_losing_its_rules_and_another_is_added(
    browser: Browser, in_force: System
) -> None:
    gateway = in_force.urls["gateway"]
    page = await sign_in(browser, in_force, "administrator")

    async def apply() -> None:
        await page.get_by_role("button", name="See what it changes").click()
        await expect(page.get_by_text("Nobody's access changes")).to_be_visible()
        await page.get_by_role("button", name="Apply it").click()
        await expect(page.get_by_role("status")).to_contain_text("In force as version")

    await page.goto(f"{gateway}/directory/portals/noridian")
    await page.get_by_role("heading", level=1).get_by_role("link", name="Change").click()
    await page.get_by_label("Support").fill("1-800-555-0100")
    await look(page, "portal-form")
    await apply()
    await page.goto(f"{gateway}/directory/portals/noridian")
    await expect(page.locator(".lead")).to_contain_text("1-800-555-0100")
    await expect(page.get_by_role("row", name="inactivity days")).to_be_visible()
    await page.goto(f"{gateway}/directory")
    await page.get_by_role("link", name="Add a portal").click()
    await page.get_by_label("Name", exact=True).first.fill("Kitsap Provider Portal")
    await page.get_by_label("Kind").select_option("standalone")
    await page.get_by_label("Web address").first.fill("https://portal.kitsap.example")
    reached = page.get_by_role("group", name="Carriers that it reaches", exact=True)
    await reached.get_by_text("Add one", exact=True).click()
    await reached.get_by_label("Carrier").first.select_option("Aetna")
    await reached.get_by_label("eligibility").first.check()
    await apply()
    await page.goto(f"{gateway}/directory/portals/kitsap-provider-portal")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Kitsap Provider Portal")


async def test_carriers_sites_clinicians_and_the_guide_are_changed_on_pages(
    browser: Browser, in_force: System
) -> None:
    gateway = in_force.urls["gateway"]
    page = await sign_in(browser, in_force, "administrator")

    async def apply() -> None:
        await page.get_by_role("button", name="See what it changes").click()
        await page.get_by_role("button", name="Apply it").click()
        await expect(page.get_by_role("status")).to_contain_text("In force as version")
        await page.goto(f"{gateway}/directory/organization")

    await page.goto(f"{gateway}/directory/organization")
    row = page.get_by_role("row", name="Silvio Marchetti")
    await row.get_by_role("link", name="Change").click()
    await expect(page.get_by_label("PTAN", exact=True).first).to_have_value("G8900001")
    recognized = page.get_by_role("group", name="Carriers", exact=True)
    await recognized.get_by_text("Add one", exact=True).click()
    another = page.get_by_role("group", name="Carriers, 2")
    await another.get_by_label("Carrier").select_option("Aetna")
    await another.get_by_label("Tax id").select_option("89-0413207")
    await look(page, "clinician")
    await page.get_by_role("button", name="See what it changes").click()
    await expect(page.get_by_role("alert")).to_contain_text("is no day, which is written like")
    begun = page.get_by_role("group", name="2", exact=True).get_by_label("Effective on")
    await begun.fill("2030-01-01")
    await apply()
    await expect(row).to_contain_text("Aetna")
    await expect(row).to_contain_text("1 Jan 2030")

    await page.get_by_role("link", name="Add a carrier").click()
    await page.get_by_label("Name", exact=True).fill("Kitsap Mutual")
    await page.get_by_label("Kind").select_option("commercial")
    await page.get_by_label("What people call it").fill("Kitsap\nKM")
    await apply()
    await expect(page.get_by_role("row", name="Kitsap Mutual")).to_contain_text("Kitsap, KM")

    await page.get_by_role("link", name="Add a site").click()
    await page.get_by_label("Name", exact=True).fill("Yelm")
    await page.get_by_label("State").fill("WA")
    await page.get_by_label("89-0413207").check()
    await apply()
    await expect(page.get_by_role("row", name="Yelm")).to_contain_text("89-0413207")

    await page.get_by_role("link", name="Add an entry").click()
    await page.get_by_label("Work", exact=True).fill("Denials by letter")
    await page.get_by_label("claim status").check()
    await page.get_by_label("Kitsap Mutual").check()
    await look(page, "guide-entry")
    await apply()
    entry = page.get_by_role("row", name="Denials by letter")
    await expect(entry).to_contain_text("Kitsap Mutual")
    await look(page, "organization-changed")
    await page.get_by_role("row", name="Kitsap, KM").get_by_role("link", name="Change").click()
    await page.get_by_role("button", name="See what taking it out changes").click()
    await expect(page.get_by_role("alert")).to_contain_text("names carrier 'kitsap-mutual'")


async def test_settings_sources_and_documents_are_changed_on_pages(
    browser: Browser, in_force: System
) -> None:
    gateway = in_force.urls["gateway"]
    page = await sign_in(browser, in_force, "administrator")

    async def apply() -> None:
        await page.get_by_role("button", name="See what it changes").click()
        await page.get_by_role("button", name="Apply it").click()
        await expect(page.get_by_role("status")).to_contain_text("In force as version")

    await page.goto(f"{gateway}/directory/organization")
    await page.get_by_role("link", name="Change these settings").click()
    await expect(page.get_by_label("Tax ids, a line each")).to_have_value("89-0413207\n89-0518866")
    await page.get_by_label("Grant, in hours").fill("48")
    brake = page.get_by_role("group", name="Brake on removals")
    await brake.get_by_label("Percent").fill("7")
    await page.get_by_label("On call, a line each").fill("cs-1060")
    await page.get_by_label("Clearinghouse").fill("")
    await look(page, "settings")
    await apply()
    await page.goto(f"{gateway}/directory/organization")
    settings = page.locator("dl.facts")
    await expect(settings).to_contain_text("grants 48 h")
    await expect(settings).to_contain_text("more than 7 %")
    await expect(settings).to_contain_text("none named")

    await page.get_by_role("link", name="Add a source").click()
    await page.get_by_label("Id", exact=True).fill("locums-agency")
    await page.get_by_label("Name", exact=True).fill("Agency for locums")
    await apply()
    await page.goto(f"{gateway}/directory/organization")
    await expect(page.get_by_role("row", name="Agency for locums")).to_contain_text("locums-agency")

    await page.goto(f"{gateway}/enrolments")
    licence = page.get_by_role("row", name="Washington business licence")
    await licence.get_by_role("link", name="Change").click()
    await page.get_by_label("Expires on").fill("2031-06-30")
    await apply()
    await page.goto(f"{gateway}/enrolments")
    await expect(licence).to_contain_text("30 Jun 2031")
    await page.get_by_role("link", name="Add a document").click()
    await page.get_by_label("Kind").select_option("W-9")
    await page.get_by_label("Name", exact=True).fill("W-9 of the clinic in Yelm")
    await page.get_by_label("89-0413207").check()
    await page.get_by_label("Kept at").fill("Finance share")
    await apply()
    await page.goto(f"{gateway}/enrolments")
    await expect(page.get_by_role("row", name="in Yelm")).to_contain_text("Finance share")


async def test_how_access_is_reviewed_and_who_is_grandfathered_takes_a_second_person(
    browser: Browser, in_force: System
) -> None:
    gateway = in_force.urls["gateway"]
    page = await sign_in(browser, in_force, "administrator")
    await page.goto(f"{gateway}/policy")
    await page.get_by_role("link", name="Change how access is reviewed").click()
    quarterly = page.get_by_role("group", name="Quarterly review")
    await quarterly.get_by_label("Days to decide").fill("21")
    first = page.get_by_role("group", name="1", exact=True)
    await first.get_by_label("Take it out").check()
    await look(page, "reviewing")
    await page.get_by_role("button", name="See what it changes").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("What would change")
    await page.get_by_role("button", name="Propose it").click()
    await expect(page.get_by_role("status")).to_contain_text("somebody else")
    other = await sign_in(browser, in_force, "compliance")
    await other.goto(page.url)
    await other.get_by_role("button", name="Approve, and put it in force").click()
    await page.goto(f"{gateway}/policy")
    await expect(page.get_by_role("row", name="Quarterly review")).to_contain_text("21")
    await expect(page.get_by_text("5 days before")).to_have_count(0)

    module = page.get_by_role("row", name="Remittance advice and payments")
    await module.get_by_role("link", name="Change").click()
    form, stale = page.get_by_label("Existing staff count as trained until"), page.url
    await form.fill("2030-12-31")
    await page.get_by_role("button", name="See what it changes").click()
    changes = page.get_by_role("listitem").filter(has_text="grandfathered until")
    await expect(changes).to_contain_text("2030-12-31")
    await page.goto(stale)
    await page.get_by_label("Existing staff count as trained until").fill("")
    await page.get_by_role("button", name="See what it changes").click()
    await expect(page.get_by_role("alert")).to_contain_text("needs both its dates")


async def test_a_form_that_another_version_has_overtaken_is_not_taken(
    browser: Browser, in_force: System
) -> None:
    gateway = in_force.urls["gateway"]
    late = await sign_in(browser, in_force, "administrator")
    await late.goto(f"{gateway}/directory/entries/site?id=olympia")
    await late.get_by_label("Name").fill("Olympia West")
    page = await sign_in(browser, in_force, "administrator")
    await page.goto(f"{gateway}/directory/entries/site?id=tacoma")
    await page.get_by_label("Name").fill("Tacoma Harbor")
    await page.get_by_role("button", name="See what it changes").click()
    await page.get_by_role("button", name="Apply it").click()
    await expect(page.get_by_role("status")).to_contain_text("In force as version")
    await late.get_by_role("button", name="See what it changes").click()
    await expect(late.get_by_role("alert")).to_contain_text("while this form was open")
    await expect(late.get_by_label("Name")).to_have_value("Olympia West")
    await late.get_by_role("button", name="See what it changes").click()
    await expect(late.get_by_role("heading", level=1)).to_have_text("What would change")


async def test_the_pages_of_the_directory_fit_a_phone_and_need_no_script(
    browser: Browser, in_force: System
) -> None:
    context = await browser.new_context(
        viewport={"width": 390, "height": 800}, java_script_enabled=True, color_scheme="dark"
    )
    page = await context.new_page()
    await page.goto(await in_force.sign_in("administrator"))
    await page.get_by_role("button", name="Sign in").click()
    for where in (
        "/where?q=aetna+era",
        "/directory",
        "/directory/organization",
        "/directory/entries/clinician?id=cs-1079",
        "/directory/entries/guide",
        "/directory/entries/organization",
        "/directory/entries/review_policy",
        "/directory/entries/policy",
        "/directory/portals/availity",
        "/directory/file",
        "/policy",
        "/catalogue",
        "/catalogue/noridian-nmp",
        "/enrolments",
        "/enrolments/carelon-2",
    ):
        answer = await page.goto(f"{in_force.urls['gateway']}{where}")
        assert answer is not None
        assert answer.status == 200, where
        beyond = await beyond_the_screen(page)
        assert beyond <= 0, where
    await look(page, "phone-enrolment")


async def test_the_same_from_the_command_line(staffed: System, tmp_path: Path) -> None:
    administrator = await staffed.session_file("administrator")
    signatory = await staffed.session_file("signatory")
    file = tmp_path / "directory.yaml"
    code, exported, err = await portalkeeper(administrator, "directory", "export", str(file))
    assert (code, exported["file"]) == (0, str(file)), err
    assert (await portalkeeper(administrator, "directory", "check", str(file)))[0] == 0
    code, unchanged, _ = await portalkeeper(administrator, "directory", "apply", str(file))
    assert (code, unchanged["status"]) == (0, "unchanged")

    text = file.read_text()
    file.write_text(text.replace("kind: mac", "kind: macc", 1).replace("WA", "Wash", 1))
    code, wrong, _ = await portalkeeper(administrator, "directory", "check", str(file))
    assert code == 1
    assert wrong[0]["line"] == text[: text.index("WA")].count("\n") + 1
    code, _, err = await portalkeeper(administrator, "directory", "plan", str(file))
    assert code == 5
    assert "directory_invalid" in err
    assert f"line {wrong[0]['line']}:" in err

    moved = text.replace("- {id: Front Desk Associate, duties: [front-desk]}", "")
    moved = moved.replace("- id: Front Desk Associate\n  duties: [front-desk]\n", "")
    assert moved != text
    file.write_text(moved.replace(f"version: '{_version(text)}'", "version: '99'", 1))
    code, tried, err = await portalkeeper(signatory, "simulate", str(file))
    assert code == 0, err
    assert {each["worker"]: len(each["loses"]) > 0 for each in tried["workers"]} == {FRONT: True}
    assert (await portalkeeper(signatory, "directory", "apply", "--plan", tried["plan"]))[0] == 3
    code, proposed, err = await portalkeeper(administrator, "directory", "apply", str(file))
    assert (code, proposed["status"]) == (0, "proposed"), err
    plan = proposed["plan"]
    assert (await portalkeeper(administrator, "directory", "approve", plan))[0] == 3
    code, rejected, _ = await portalkeeper(
        signatory, "directory", "reject", plan, "--reason", "she stays"
    )
    assert (code, rejected["status"]) == (0, "rejected")
    code, listed, _ = await portalkeeper(signatory, "directory", "plans")
    assert {each["plan"]: each["status"] for each in listed}[plan] == "rejected"
    code, versions, _ = await portalkeeper(administrator, "directory", "history")
    assert versions[0]["policy"] == _version(text)

    code, entries, _ = await portalkeeper(administrator, "directory", "catalogue")
    assert "noridian-nmp" in {each["id"] for each in entries}
    code, start, _ = await portalkeeper(administrator, "directory", "catalogue", "--policy")
    assert start["separation"][0]["id"] == "front-office-and-money"
    code, one, _ = await portalkeeper(administrator, "directory", "catalogue", "noridian-nmp")
    assert one["portal"]["rules"]
    code, answers, _ = await portalkeeper(administrator, "where", "regence", "cob", "denial")
    assert (code, answers[0]["place"]["portal"]) == (0, "availity")
    assert (await portalkeeper(administrator, "where", "xyzzy"))[0] == 1


def _version(text: str) -> str:
    return str(yaml.safe_load(text)["policy"]["version"])
