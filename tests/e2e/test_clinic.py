"""The example clinic played into real services, and what its administrator would then look at."""

import asyncio
import csv
import io
import json
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import pytest_asyncio
import typer
import typer.core
import yaml
from playwright.async_api import Browser, expect

from deploy.installation import Installation, find_first_port
from deploy.keys import EXAMPLE_ORGANIZATION, make_secrets
from deploy.processes import PROCESSES
from deploy.run import Supervisor, forget
from deploy.story import ROLES, Installed, Services, check_invariants, play, summary
from deploy.story.clinic import Feed
from deploy.story.leaving import dismiss_somebody
from deploy.story.playing import find_clinic
from deploy.story.quiet import wait_until_quiet
from deploy.story.reviewing import ADMINISTRATION, ANSWERS, UPLOADS
from services.cli.main import app
from services.gateway.console.visitor import COOKIE
from services.gateway.links import make_session
from services.gateway.rules.roles import ROLE_SCOPES
from services.gateway.settings import Settings
from tests.e2e.browsing import beyond_the_screen, broken_rules, look
from tests.e2e.crawling import Crawl, crawl, routes
from tests.servers import JARS, ROOT, session_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACIFIC = ZoneInfo("America/Los_Angeles")
MANUAL = {"lni", "secureaccess-washington", "olympic-crest-portal", "evicore"}
REMOVALS = {"revoke", "suspend"}
NEVER_AT_THE_FRONT_DESK = {"remittance", "payment", "fee_schedule"}

BILLER_GONE_FRIDAY = "cs-1042"
RESCINDED = "cs-1044"
ON_LEAVE = "cs-1046"
BACK_FROM_LONG_LEAVE = "cs-1052"
BACK_FROM_LEAVE = "cs-1068"
LEFT_TWO_WEEKS_AGO = "cs-1063"
SOLE_ADMINISTRATOR = "cs-1075"
REHIRED = "cs-1019"
MERGED, PREVIOUS_ID = "cs-1034", "cs-1138"
CONTRACTOR_OVER_BEFORE = "cs-1146"
CONTRACTOR_ENDED = "cs-1148"
MOVER = "cs-1153"
TRAINING_EXPIRED = "cs-1154"
STARTS_TODAY = "cs-1172"
STARTS_LATER = "cs-1173"
UNMAPPED = "cs-1174"
REFUSED_ONCE = "cs-1175"
REFUSED_TERMINATION = "cs-1020"
ERASED = "cs-1141"

REVIEWER = "cs-1017"
BILLER = "cs-1024"
ADMINISTRATOR, ADMINISTRATOR_NAME = "cs-1077", "Priya Chaudhary"

WITHOUT_LINKS = {
    "/sign-in",
    "/in/{code}",
    "/audit/before",
    "/audit/stream",
    "/audit/{index}/proof",
}
"""What a person who is signed in is never led to, but for the script of a page; and logs that were
followed by another, of which the example has none."""

FOR_HR = {"/hr/enter", "/hr/enter/{worker}", "/hr/sealed"}
"""Pages that links lead only people in HR to, which this session is not of; they have their day."""

NOTHING_TO_SHOW = {"/plans/{plan}", "/audit/exports/{export_id}/file"}
"""Pages about something that the example does not have."""

PICTURES = {
    "overview": ("/", "Exposed"),
    "leaver": (f"/leavers/{BILLER_GONE_FRIDAY}", "still reachable"),
    "person": (f"/people/{MOVER}", "Timeline"),
    "where": ("/where?q=regence+cob+denial", "Regence"),
    "who-had-access": ("/who-had-access?portal=noridian&function=remittance", "remittance"),
}
"""What the README shows, by the file's name; `make pictures` takes them anew."""

PHONE_WIDTH = 390
FIRST_FOCUS = "document.querySelector('[autofocus]') ? 'skip' : document.activeElement.className"
"""A search box may take the focus by itself."""

Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Clinic:
    """The clinic, played into an installation of its own."""

    installed: Installed
    settings: Settings

    async def installed_for(self, *roles: str) -> Installed:
        """The installation as somebody with `roles` reaches it."""
        session = await make_session(self.settings, EXAMPLE_ORGANIZATION, roles)
        return replace(self.installed, session=session["session"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def played() -> AsyncIterator[Clinic]:
    """The clinic, played as `make run` does it, on servers that nothing else uses."""
    with session_folder() as folder:
        place = Installation(folder / "clinic", find_first_port(), JARS.parent)
        supervisor = Supervisor(place, PROCESSES, _nothing)
        try:
            await asyncio.to_thread(supervisor.start)
            secrets = make_secrets(place.secrets)
            gateway = next(process for process in PROCESSES if process.name == "gateway")
            told = place.environment(gateway, secrets)
            settings = Settings(
                database_url=told["PORTALKEEPER_DATABASE_URL"],
                gateway_url=place.console,
                sources_file=secrets.sources,
            )

            async def sign_in(role: str) -> str:
                made = await make_session(settings, EXAMPLE_ORGANIZATION, [role])
                return str(made["session"])

            links = {"administrator": "LINK"}
            nobody = Installed(place.console, "", sign_in, secrets.sources, links)
            installed = await Clinic(nobody, settings).installed_for(*ROLES)
            await play(installed, say=lambda line: None)
            yield Clinic(installed, settings)
        finally:
            await asyncio.to_thread(supervisor.stop)
            forget(place)


async def _nothing(_installation: Installation) -> list[str]:
    return []


@pytest.fixture(scope="module")
def clinic(played: Clinic) -> Installed:
    return played.installed


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def services(clinic: Installed) -> AsyncIterator[Services]:
    async with Services(clinic) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def feed(services: Services) -> Feed:
    return (await find_clinic(services)).feed


@pytest_asyncio.fixture(loop_scope="session")
async def reviewer(played: Clinic) -> AsyncIterator[Services]:
    async with Services(await played.installed_for(f"reviewer={REVIEWER}")) as opened:
        yield opened


async def _worker(services: Services, worker: str) -> Found:
    found: Found = await services.get("provisioning", f"/access/v1/workers/{worker}")
    return found


def _portals(found: Found) -> dict[str, Found]:
    return {access["portal"]: access for access in found["state"]["portals"]}


def _functions(access: Found, which: str) -> set[str]:
    return {right["function"] for right in access[which]}


def _removals(found: Found) -> list[Found]:
    return [item for item in found["operations"] if item["kind"] in REMOVALS]


def _holds(found: Found) -> set[str]:
    return {name for name, access in _portals(found).items() if access["effective"]}


def _wants(found: Found) -> set[str]:
    return {name for name, access in _portals(found).items() if access["desired"]}


def _day(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(PACIFIC).date().isoformat()


async def test_the_promises_hold(clinic: Installed) -> None:
    assert await check_invariants(clinic) == []


async def test_the_heading_counts_the_clinic(services: Services) -> None:
    overview = await services.get("provisioning", "/access/v1/overview")
    assert overview["organization"]["name"] == "Cedar Sound Medical Group"
    counts = overview["counts"]
    assert (counts["workers"], counts["portals"], counts["carriers"]) == (148, 14, 12)
    assert counts["portal_users"] < counts["workers"]


async def test_whoever_left_on_friday_is_off_every_portal_that_answered(
    services: Services, feed: Feed
) -> None:
    found = await _worker(services, BILLER_GONE_FRIDAY)
    assert found["state"]["status"] == "terminated"
    assert _wants(found) == set()
    assert _holds(found) == {"lni", "olympic-crest-portal"}, "and knows the practice's login"
    last_friday = next(
        event["data"]["effective_at"]
        for event in feed.events()
        if event["subject"] == BILLER_GONE_FRIDAY and event["type"] == "worker.terminated"
    )
    overview = await services.get("provisioning", "/access/v1/overview")
    exposure = next(
        each
        for each in overview["exposures"]
        if (each["worker"], each["portal"]) == (BILLER_GONE_FRIDAY, "lni")
    )
    assert datetime.fromisoformat(exposure["since"]) == datetime.fromisoformat(last_friday)
    assert exposure["owner"]
    assert exposure["deadline"]
    removals = {item["portal"]: item for item in _removals(found)}
    assert removals["lni"]["status"] == "requested"
    assert removals["availity"]["status"] == "done"
    assert removals["secureaccess-washington"]["evidence"]["kind"] == "confirmation_number"


async def test_a_login_that_the_practice_shares_is_to_be_rotated_for_who_left(
    services: Services,
) -> None:
    found = await _worker(services, BILLER_GONE_FRIDAY)
    rotation = next(item for item in found["operations"] if item["kind"] == "rotate")
    assert (rotation["portal"], rotation["status"]) == ("olympic-crest-portal", "requested")


async def test_removals_are_listed_in_order_of_harm(services: Services) -> None:
    directory = (await services.get("provisioning", "/access/v1/directory"))["directory"]
    rank = {portal["id"]: portal["removal_rank"] for portal in directory["portals"]}
    found = await _worker(services, BILLER_GONE_FRIDAY)
    assert [rank[access["portal"]] for access in found["state"]["portals"]] == sorted(
        rank[access["portal"]] for access in found["state"]["portals"]
    )


async def test_a_mover_loses_the_front_desk_and_waits_for_training(services: Services) -> None:
    found = await _worker(services, MOVER)
    assert found["state"]["duties"] == ["billing"]
    portals = _portals(found)
    for name, access in portals.items():
        held = {each["function"] for each in access["held"]}
        assert held <= {"remittance", "payment"}, name
        assert {each["rule"] for each in access["held"]} <= {"training_missing"}, name
        assert not _functions(access, "desired") & {"eligibility", "benefits", *held}, name
    assert {"remittance", "payment"} == {
        each["function"] for access in portals.values() for each in access["held"]
    }
    assert "claim_status" in _functions(portals["availity"], "effective")
    assert "eligibility" not in _functions(portals["availity"], "effective")


async def test_a_mover_is_asked_to_be_cut_before_being_given(services: Services) -> None:
    found = await _worker(services, MOVER)
    latest = max(item["requested_at"] for item in found["operations"])
    moved = [item for item in found["operations"] if item["portal"] == "availity"]
    revokes = [item for item in moved if item["kind"] == "revoke"]
    grants = [item for item in moved if item["kind"] == "grant"]
    assert revokes
    assert grants
    assert max(item["deadline"] for item in revokes) < min(item["deadline"] for item in grants)
    assert max(item["requested_at"] for item in revokes) <= latest


async def test_a_new_hire_gets_ready_in_steps(services: Services) -> None:
    found = await _worker(services, STARTS_TODAY)
    assert found["state"]["status"] == "active"
    assert found["state"]["duties"] == ["prior-authorization"]
    portals = _portals(found)
    assert {each["rule"] for each in portals["noridian"]["held"]} == {"training_missing"}
    assert not portals["noridian"]["desired"]
    assert _wants(found) & MANUAL == {"lni", "secureaccess-washington", "evicore"}
    assert _wants(found) - MANUAL == _holds(found), "simulated portals answer at once"
    opens = {item["portal"]: item for item in found["operations"] if item["kind"] == "open"}
    assert opens["evicore"]["status"] == "requested"
    assert [step["actor"] for step in opens["evicore"]["steps"]] == ["worker", "administrator"]


async def test_nothing_is_ordered_for_somebody_who_starts_later(services: Services) -> None:
    found = await _worker(services, STARTS_LATER)
    assert found["state"]["status"] == "expected"
    assert found["operations"] == []


async def test_leave_suspends(services: Services) -> None:
    found = await _worker(services, ON_LEAVE)
    assert found["state"]["status"] == "on_leave"
    assert _wants(found) == _holds(found) == set()
    assert {item["status"] for item in _removals(found)} == {"done"}
    assert _portals(found)["availity"]["status"] == "suspended"


@pytest.mark.parametrize("worker", [BACK_FROM_LONG_LEAVE, BACK_FROM_LEAVE])
async def test_the_end_of_a_leave_resumes(services: Services, worker: str) -> None:
    found = await _worker(services, worker)
    assert found["state"]["status"] == "active"
    done = [item["kind"] for item in found["operations"] if item["portal"] == "availity"]
    assert sorted(done) == ["resume", "suspend"], "the login itself was there before"
    access = _portals(found)["availity"]
    assert access["status"] == "active"
    assert _functions(access, "desired") == _functions(access, "effective") != set()


async def test_a_rescinded_termination_left_no_removal(services: Services) -> None:
    found = await _worker(services, RESCINDED)
    assert found["state"]["status"] == "active"
    # What the portal's first list showed beyond policy went, and nothing else.
    assert {item["reason"]["rule"] for item in _removals(found)} == {"no_longer_needed"}
    assert _holds(found) == _wants(found) != set()
    rescinded = [event["type"] for event in found["events"] if event["rescinded"]]
    assert rescinded == ["worker.terminated"]


async def test_somebody_rehired_has_access_again(services: Services) -> None:
    found = await _worker(services, REHIRED)
    assert found["state"]["status"] == "active"
    assert [each["open"] for each in found["state"]["employments"]] == [False, True]
    assert _removals(found), "the first employment ended"
    assert _wants(found) - MANUAL <= _holds(found)
    functions = {
        function
        for access in _portals(found).values()
        for function in _functions(access, "effective")
    }
    assert not functions & NEVER_AT_THE_FRONT_DESK


async def test_two_ids_of_one_person_are_one(services: Services) -> None:
    found = await _worker(services, MERGED)
    assert found["state"]["aliases"] == [PREVIOUS_ID]
    previous = await services.find("provisioning", f"/access/v1/workers/{PREVIOUS_ID}")
    assert previous is None or previous["state"]["merged_into"] in (MERGED, None)
    usable = [
        (access["portal"], access["login_id"])
        for access in found["state"]["portals"]
        if access["effective"]
    ]
    assert len({portal for portal, _ in usable}) == len(usable), "two logins on one portal"
    listed = [
        row["worker"]
        async for row in services.pages(
            "provisioning", "/access/v1/workers", "workers", query="Winterbourne"
        )
    ]
    assert listed == [MERGED]


async def test_a_contractor_whose_time_is_over_has_nothing(services: Services) -> None:
    ended = await _worker(services, CONTRACTOR_ENDED)
    assert ended["state"]["status"] == "terminated"
    assert _removals(ended)
    assert _wants(ended) == _holds(ended) == set()
    assert (await _worker(services, CONTRACTOR_OVER_BEFORE))["operations"] == []


async def test_a_departure_heard_of_late_counts_from_the_day_it_took_effect(
    services: Services,
) -> None:
    found = await _worker(services, LEFT_TWO_WEEKS_AGO)
    assert found["state"]["status"] == "terminated"
    assert _wants(found) == set()
    termination = next(e for e in found["events"] if e["type"] == "worker.terminated")
    assert datetime.fromisoformat(termination["effective_at"]) < datetime.fromisoformat(
        termination["time"]
    ) - timedelta(days=7)
    assert _holds(found) <= {"lni", "evicore"}


async def test_expired_training_takes_away_what_it_gave(services: Services) -> None:
    found = await _worker(services, TRAINING_EXPIRED)
    for name, access in _portals(found).items():
        assert not _functions(access, "desired") & {"remittance", "payment"}, name
        if name not in MANUAL:
            assert not _functions(access, "effective") & {"remittance", "payment"}, name


async def test_refused_events_are_named_and_stop_nothing(services: Services) -> None:
    refused = await services.find("provisioning", "/access/v1/workers/000-12-3456")
    assert refused is None
    kept = await _worker(services, REFUSED_TERMINATION)
    assert kept["state"]["status"] == "active"
    hired = await _worker(services, REFUSED_ONCE)
    assert [event["type"] for event in hired["events"]] == ["worker.hired"]


async def test_a_title_that_nobody_mapped_is_a_question(services: Services) -> None:
    overview = await services.get("provisioning", "/access/v1/overview")
    assert overview["questions"] == [{"title": "Rev Cycle Spec II", "workers": 1}]
    assert _wants(await _worker(services, UNMAPPED)) == set()


async def test_the_only_administrator_who_leaves_needs_a_successor_first(
    services: Services,
) -> None:
    found = await _worker(services, SOLE_ADMINISTRATOR)
    assert found["state"]["status"] == "active"
    assert "onehealthport" in _holds(found)
    asked = [item for item in found["operations"] if item["kind"] == "appoint_successor"]
    assert [item["portal"] for item in asked] == ["onehealthport"]


async def test_somebody_erased_has_nothing(services: Services) -> None:
    found = await services.find("provisioning", f"/access/v1/workers/{ERASED}")
    assert found is None or found["state"]["status"] == "erased"


async def test_no_front_desk_sees_money(services: Services) -> None:
    seen = 0
    async for row in services.pages("provisioning", "/access/v1/workers", "workers"):
        if row["duties"] != ["front-desk"]:
            continue
        seen += 1
        for access in (await _worker(services, row["worker"]))["state"]["portals"]:
            assert not _functions(access, "effective") & NEVER_AT_THE_FRONT_DESK, row["worker"]
    assert seen > 20


async def test_the_summary_tells_what_the_services_answer(clinic: Installed) -> None:
    told = await summary(clinic)
    lines = told.splitlines()
    assert lines[0].startswith("Cedar Sound Medical Group  148 workers, ")
    assert lines[1] == "Example data. Portals are simulated; no real website was contacted."
    assert re.search(r"Dana Kowalczyk left Fri .*L&I.* STILL OPEN \d+ (h|d), with \w+", told)
    assert "Noor Jaramillo, Authorization Coordinator, starts " in told
    assert "Camila Ferreira, Billing Specialist, moves " in told
    assert '"Rev Cycle Spec II" has no duty' in told
    assert re.search(r"LAPSING  Noridian.* disables 3 logins within a week", told)
    assert "OneHealthPort's only administrator, Renee Castellano, leaves" in told
    assert re.search(r"\d log entries verified, none altered or missing", told)
    assert "4 refused (2 invalid_data, 1 personal_id, 1 unknown_type)" in told
    for line in lines:
        if line.startswith("TRY"):
            commands = re.findall(r"portalkeeper ((?:[a-z-]+ ?)+)", line)
            assert commands
            assert all(_exists(command.split()) for command in commands)


def _exists(words: list[str]) -> bool:
    """Whether the command line has such a command."""
    command = typer.main.get_command(app)
    for word in words:
        if word.startswith("-"):
            break
        assert isinstance(command, typer.core.TyperGroup)
        found = command.commands.get(word)
        if found is None:
            return False
        command = found
    return True


async def test_what_the_readme_has_an_auditor_ask_is_answered(
    played: Clinic, services: Services, tmp_path: Path
) -> None:
    campaigns = (await services.get("review", "/review/v1/campaigns"))["campaigns"]
    quarter = next(each for each in campaigns if each["calendar"] == "quarterly")
    session = {"gateway": played.installed.gateway, "session": played.installed.session}
    (tmp_path / "session.json").write_text(json.dumps(session))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    asked = readme.split("## When an auditor asks")[1].split("```")[1].strip().splitlines()
    assert len(asked) > 5
    for line in asked:
        words = shlex.split(line.replace("CAMPAIGN", quarter["campaign_id"]), comments=True)
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name(words[0]),
            *words[1:],
            cwd=tmp_path,
            env={**os.environ, "PORTALKEEPER_SESSION_FILE": str(tmp_path / "session.json")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, f"{line}\n{said.decode()}"
        assert said, line


async def test_playing_again_changes_nothing(clinic: Installed, services: Services) -> None:
    before = await services.get("provisioning", "/access/v1/overview")
    played_on = (await find_clinic(services)).played_on
    await play(clinic, say=lambda line: None)
    after = await services.get("provisioning", "/access/v1/overview")
    for kept in ("counts", "work_open", "removals"):
        assert after[kept] == before[kept]
    assert (await find_clinic(services)).played_on == played_on
    campaigns = (await services.get("review", "/review/v1/campaigns"))["campaigns"]
    assert [each["calendar"] for each in campaigns] == ["quarterly", None, None]


async def test_what_supervisors_removed_is_gone_or_has_an_order_and_the_rest_is_kept(
    services: Services,
) -> None:
    answers = yaml.safe_load(ANSWERS.read_text())
    for removal in answers["removals"]:
        access = _portals(await _worker(services, removal["worker"]))[removal["portal"]]
        ordered = {each["function"] for each in access["operations"]}
        effective = {each["function"] for each in access["effective"]}
        assert removal["function"] not in effective - ordered, removal
    (quarter,) = (
        each
        for each in (await services.get("review", "/review/v1/campaigns"))["campaigns"]
        if each["calendar"]
    )
    waited_for = 0
    async for review in services.pages(
        "review", "/review/v1/reviews", "reviews", campaign=quarter["campaign_id"]
    ):
        waited_for += review["undecided"]
        assert not review["undecided"] or review["reviewer"] in answers["not_begun"]
    assert 0 < waited_for == quarter["undecided"] < quarter["kept"]


async def test_what_a_review_removes_goes_and_stays_away(
    services: Services, reviewer: Services
) -> None:
    review, line = await _a_simulated_line(reviewer)
    decided = await reviewer.post(
        "review",
        f"/review/v1/reviews/{review['review_id']}/decisions",
        {
            "decisions": [
                {"line_id": line["line_id"], "decision": "remove", "reason": "Not needed here."}
            ]
        },
    )
    assert decided["undecided"] == review["undecided"] - 1
    await wait_until_quiet(services)
    right = (line["tin"], line["function"])
    found = await _worker(services, review["worker"])
    access = _portals(found)[line["portal"]]
    assert right not in {(each["tin"], each["function"]) for each in access["effective"]}
    assert ("review_removed", *right) in {
        (each["rule"], each["tin"], each["function"]) for each in access["held"]
    }
    again = await reviewer.get("review", f"/review/v1/reviews/{review['review_id']}")
    status = {each["line_id"]: each["status"] for each in again["lines"]}
    assert status[line["line_id"]] == "removal_confirmed"


async def _a_simulated_line(reviewer: Services) -> tuple[Found, Found]:
    async for row in reviewer.pages("review", "/review/v1/reviews", "reviews", status="open"):
        review = await reviewer.get("review", f"/review/v1/reviews/{row['review_id']}")
        for line in review["lines"]:
            if line["portal"] == "availity" and line["status"] == "undecided":
                return review, line
    raise AssertionError("no open review has a line on a simulated portal")


async def test_the_auditor_sees_who_played(services: Services) -> None:
    page = await services.get("audit", "/audit/v1/entries", type="session.opened")
    assert page["entries"]
    with pytest.raises(httpx.HTTPStatusError):
        await services.get("audit", "/audit/v1/entries", organization="another")


async def test_the_old_spreadsheet_was_checked_and_put_right(services: Services) -> None:
    (adopted,) = (await services.get("provisioning", "/access/v1/adoptions"))["adoptions"]
    assert adopted["counts"]["doubts"] == 0
    rosters = (await services.get("provisioning", "/access/v1/rosters"))["rosters"]
    # One portal's a third time, after a review that nobody answered took something there.
    assert Counter(Counter(one["portal"] for one in rosters).values()) == {2: 9, 3: 1}
    still_wrong = (await services.get("provisioning", "/access/v1/portal-findings"))["findings"]
    # The portal keeps a login that can do nothing active, whatever its rule says.
    doubtful = [("rule_contradicted", "noridian/rule/inactivity_days")]
    assert [(one["rule"], one["subject"]) for one in still_wrong] == doubtful
    resolved = await services.get("provisioning", "/access/v1/portal-findings", status="resolved")
    logins = {(one["rule"], one["subject"]) for one in resolved["findings"]}
    assert Counter(rule for rule, _ in logins if rule != "rule_contradicted") == {
        "drift": 34,
        "still_active": 6,
        "shared": 2,
        "orphan": 1,
    }
    assert (await services.get("provisioning", "/access/v1/observed"))["portals"] == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def crawled(clinic: Installed) -> Crawl:
    return await crawl(clinic.gateway, clinic.session)


async def test_every_link_leads_somewhere_and_every_page_is_reached_by_links(
    crawled: Crawl,
) -> None:
    assert crawled.broken == []
    reached = crawled.pages.keys() | crawled.files | WITHOUT_LINKS | NOTHING_TO_SHOW | FOR_HR
    assert set(routes()) - reached == set()


async def test_every_page_keeps_the_rules_of_accessibility_in_light_and_dark_and_on_a_phone(
    browser: Browser, clinic: Installed, crawled: Crawl
) -> None:
    context = await browser.new_context()
    await context.add_cookies([{"name": COOKIE, "value": clinic.session, "url": clinic.gateway}])
    page = await context.new_page()
    broken: list[tuple[str, str]] = []
    for address in (addresses[-1] for addresses in crawled.pages.values()):
        await page.goto(clinic.gateway + address)
        broken += [(address, rule) for rule in await broken_rules(page)]
        await page.set_viewport_size({"width": PHONE_WIDTH, "height": 800})
        if await beyond_the_screen(page) > 0:
            broken.append((address, "scrolls sideways on a phone"))
        await page.set_viewport_size({"width": 1280, "height": 800})
        await page.keyboard.press("Tab")
        if await page.evaluate(FIRST_FOCUS) != "skip":
            broken.append((address, "the first tab does not reach the link to the content"))
        if await page.locator("h1").count() != 1:
            broken.append((address, "has not one heading"))
        await look(page, re.sub(r"\W+", "-", address.partition("?")[0]).strip("-") or "overview")
    await context.close()
    assert sorted(set(broken)) == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def walked(played: Clinic) -> Mapping[str, tuple[str, Crawl]]:
    """Each role's session, and what its navigation offers with the links there, by role."""
    workers = {"administrator": ADMINISTRATOR, "reviewer": REVIEWER, "worker": BILLER}
    found = {}
    for role in ROLE_SCOPES:
        one = await played.installed_for(f"{role}={workers[role]}" if role in workers else role)
        links = await crawl(one.gateway, one.session, links_away=2, visits_per_route=1)
        found[role] = (one.session, links)
    return found


@pytest.mark.parametrize("role", ROLE_SCOPES)
async def test_nothing_that_a_role_is_offered_is_refused(
    walked: Mapping[str, tuple[str, Crawl]], role: str
) -> None:
    _, links = walked[role]
    assert links.broken == []
    assert len(links.pages) >= len(walked["worker"][1].pages) > 5


async def test_what_each_role_sees_keeps_the_rules_of_accessibility(
    browser: Browser,
    clinic: Installed,
    crawled: Crawl,
    walked: Mapping[str, tuple[str, Crawl]],
) -> None:
    broken: list[tuple[str, str, str]] = []
    # A page of the same tags as one that was looked at, here or above, would be judged the same.
    known = {crawled.made_of[addresses[-1]] for addresses in crawled.pages.values()}
    for role, (session, links) in walked.items():
        context = await browser.new_context()
        await context.add_cookies([{"name": COOKIE, "value": session, "url": clinic.gateway}])
        page = await context.new_page()
        for address in (addresses[0] for addresses in links.pages.values()):
            if links.made_of[address] in known:
                continue
            known.add(links.made_of[address])
            answer = await page.goto(clinic.gateway + address)
            assert answer is not None
            if answer.status != 200:
                broken.append((role, address, str(answer.status)))
            broken += [(role, address, rule) for rule in await broken_rules(page)]
        await context.close()
    assert broken == []


PRINTED = {
    "leaver": (
        f"/leavers/{BILLER_GONE_FRIDAY}",
        ("Dana Kowalczyk left", "Washington L&I", "still reachable", "Removal ordered"),
    ),
    "receipt": (
        f"/leavers/{BILLER_GONE_FRIDAY}/receipt",
        ("removed so far", "Washington L&I: STILL OPEN"),
    ),
    "timeline": (
        f"/people/{LEFT_TWO_WEEKS_AGO}",
        ("Jovan Zapata", "Employment ended", "Hired", "Suspend at Availity Essentials"),
    ),
    "matrix": ("/matrix", ("Access", "Noridian Medicare Portal", "suspended", "Dana Kowalczyk")),
    "campaigns": (
        "/reviews/campaigns",
        (ADMINISTRATION, UPLOADS),
    ),
    "who-had-access": (
        "/who-had-access?portal=noridian&function=remittance",
        ("Who could use remittance at Noridian Medicare Portal", "on the portal's own list"),
    ),
}
"""What is printed, and what the paper must say."""

ON_SCREENS_ONLY = "nav, header.top, footer, button, .button, input, select, textarea"
PAPER_WIDTH = 703
LANDSCAPE_WIDTH = 1032
"""A4 between its margins, in pixels of CSS, upright and across."""
WHITE = "rgb(255, 255, 255)"


@pytest.mark.parametrize("name", PRINTED)
async def test_on_paper_is_what_the_page_says_with_who_printed_it_and_no_controls(
    browser: Browser, played: Clinic, name: str
) -> None:
    address, words = PRINTED[name]
    one = await played.installed_for(f"administrator={ADMINISTRATOR}")
    context = await browser.new_context(viewport={"width": PAPER_WIDTH, "height": 1000})
    await context.add_cookies([{"name": COOKIE, "value": one.session, "url": one.gateway}])
    page = await context.new_page()
    await page.goto(one.gateway + address)
    await page.emulate_media(media="print", color_scheme="dark")
    paper = await page.locator("body").inner_text()
    assert [each for each in words if each not in paper] == []
    assert re.search(rf"Printed .* by {ADMINISTRATOR_NAME}\.", paper)
    controls = page.locator(ON_SCREENS_ONLY)
    assert [
        await each.inner_text() for each in await controls.all() if await each.is_visible()
    ] == []
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == WHITE
    if name == "matrix":
        await page.set_viewport_size({"width": LANDSCAPE_WIDTH, "height": 700})
    assert await beyond_the_screen(page) == 0
    assert (await page.pdf()).startswith(b"%PDF")
    await context.close()


async def test_every_table_is_saved_as_csv(clinic: Installed, crawled: Crawl) -> None:
    saved = 0
    cookies = {COOKIE: clinic.session}
    async with httpx.AsyncClient(base_url=clinic.gateway, cookies=cookies, timeout=60) as http:
        for address in (addresses[-1] for addresses in crawled.pages.values()):
            page = (await http.get(address)).text
            for link in re.findall(r'href="([^"]*\btable=\d+)" download', page):
                answer = await http.get(link.replace("&amp;", "&"))
                assert answer.headers["content-type"] == "text/csv; charset=utf-8", link
                assert list(csv.reader(io.StringIO(answer.text))), link
                saved += 1
    assert saved >= len(crawled.pages) // 2


async def test_the_pictures_of_the_readme_show_what_their_captions_say(
    browser: Browser, clinic: Installed
) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    await context.add_cookies([{"name": COOKIE, "value": clinic.session, "url": clinic.gateway}])
    page = await context.new_page()
    for name, (address, words) in PICTURES.items():
        await page.goto(clinic.gateway + address)
        await expect(page.get_by_role("main")).to_contain_text(words)
        if folder := os.environ.get("PORTALKEEPER_PICTURES"):
            await page.screenshot(path=f"{folder}/{name}.png")
    await context.close()


async def test_a_biller_is_dismissed_and_the_receipt_says_what_is_gone(
    clinic: Installed, services: Services
) -> None:
    told: list[str] = []
    worker = await dismiss_somebody(clinic, say=told.append)
    receipt = await services.get("provisioning", f"/access/v1/leavers/{worker}/receipt")
    assert receipt["complete"], told
    assert f"{receipt['of']} portals" in told[1]
    assert f"{receipt['removed']} of {receipt['of']} removed" in "\n".join(told)
