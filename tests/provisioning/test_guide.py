"""A few words lead to the portal and screen where the work is done, and to what comes next."""

from datetime import date
from typing import Any

import pytest

from deploy.story.clinic import CEDAR_SOUND, read_directory
from services.provisioning.rules.guide import Guide
from tests.provisioning.desk import Desk, hire
from tests.provisioning.test_directory_api import Http, http
from tests.provisioning.worlds import directory

__all__ = ["http"]

DAY = date(2026, 11, 23)
CLINIC = read_directory(CEDAR_SOUND / "directory.yaml", DAY)


@pytest.mark.parametrize(
    ("question", "carrier", "entry", "portal"),
    [
        ("regence cob denial", "regence", "coordination-of-benefits", "availity"),
        ("Regence prior auth", "regence", "prior-authorization", "carelon"),
        ("aetna era", "aetna", "payment", "trizetto"),
        ("medicaid deductible", "apple-health", "eligibility", "providerone"),
        ("uhc claim denied", "unitedhealthcare", "claim-status", "unitedhealthcare"),
        ("l&i authorization", "lni-state-fund", "prior-authorization", "lni"),
        ("medicare part b remittance", "medicare-b", "payment", "noridian"),
        ("olympic crest fee", "olympic-crest", "fee-schedule", "olympic-crest-portal"),
        ("regense eligibility", "regence", "eligibility", "availity"),
        ("bcbs copay", "regence", "eligibility", "availity"),
    ],
)
def test_words_as_people_type_them_lead_to_the_right_portal(
    question: str, carrier: str, entry: str, portal: str
) -> None:
    best = Guide(CLINIC, DAY).ask(question)[0]
    assert (best.carrier, best.entry) == (carrier, entry)
    assert best.place is not None
    assert best.place.portal == portal


def test_the_ladder_goes_from_another_portal_to_the_clearinghouse_to_the_telephone() -> None:
    best = Guide(CLINIC, DAY).ask("aetna remittance")[0]
    assert best.place is not None
    assert best.place.portal == "trizetto"
    assert [rung.kind for rung in best.ladder] == ["portal", "clearinghouse", "phone"]
    assert best.ladder[0].place is not None
    assert best.ladder[0].place.portal == "availity"
    assert "Sound Clearing" in best.ladder[1].text
    assert "last resort" in best.ladder[2].text


def test_a_screen_and_a_vault_item_are_named_where_they_are_known() -> None:
    best = Guide(CLINIC, DAY).ask("regence claim status")[0]
    assert best.place is not None
    assert best.place.screen == "Claims & Payments, Claim Status"
    assert best.place.vault_item == "Portals/Availity Essentials"
    assert best.place.downtime is not None
    assert best.place.downtime.version == "3"
    through = Guide(CLINIC, DAY).ask("tahoma eligibility")[0].place
    assert through is not None
    assert through.through == "OneHealthPort"


def test_a_medicare_contractor_answers_only_for_sites_in_its_states() -> None:
    everywhere = Guide(directory(), DAY).ask("medicare eligibility")[0]
    assert everywhere.place is not None
    assert everywhere.place.portal == "mac"
    south = Guide(directory(), DAY, ["south"]).ask("medicare eligibility")[0]
    assert south.place is None


def test_a_portal_whose_registration_has_not_cleared_is_no_place_to_go() -> None:
    enrolments = [
        {"id": "hub-1", "portal": "hub", "tin": "12-3456789", "registered_on": "2026-12-24"}
    ]
    assert Guide(directory(enrolments=enrolments), DAY).ask("acme eligibility")[0].place is None


def test_a_carrier_without_a_contract_is_found_and_said_to_have_none() -> None:
    found = Guide(directory(), DAY).ask("lapsed eligibility")[0]
    assert not found.under_contract


def test_what_the_directory_says_itself_goes_before_the_catalogue() -> None:
    entry: dict[str, Any] = {
        "id": "coordination-of-benefits",
        "work": "Coordination of benefits",
        "words": ["cob"],
        "functions": ["eligibility"],
        "carriers": ["acme"],
        "portal": "old",
        "screen": "The blue button",
        "phone": "555-0100",
    }
    own = Guide(directory(guide=[entry]), DAY).ask("acme cob")
    assert own[0].place is not None
    assert (own[0].place.portal, own[0].place.screen) == ("old", "The blue button")
    assert "555-0100" in own[0].ladder[-1].text
    assert not Guide(directory(guide=[entry]), DAY).ask("medicare cob")[0].entry.startswith("coord")


def test_words_that_mean_nothing_find_nothing() -> None:
    assert Guide(CLINIC, DAY).ask("xyzzy plugh") == []
    assert len(Guide(CLINIC, DAY).ask("", limit=5)) == 5


async def test_every_worker_asks_and_is_told_what_they_may_do_there(http: Http, desk: Desk) -> None:
    await desk.hear(hire("w1"))
    before = await http.good(("w1", "directory:read"), "GET", "/guide?q=acme eligible")
    assert before["answers"][0]["place"]["mine"] is None, "whoever is no worker is not told"
    asked = await http.as_worker("w1", "/guide?q=acme+eligible")
    assert asked["answers"][0]["place"]["mine"] == []
    await desk.finish_all()
    asked = await http.as_worker("w1", "/guide?q=acme+eligible")
    assert asked["answers"][0]["place"]["portal"] == "hub"
    assert asked["answers"][0]["place"]["mine"] == ["benefits", "eligibility"]
    refused = await http.refused(("r", "review:decide"), "GET", "/guide?q=acme")
    assert refused["code"] == "scope_missing"


async def test_a_portal_that_is_down_says_so_where_people_look_for_it(
    http: Http, desk: Desk
) -> None:
    report = {"portal": "hub", "kind": "down", "note": "Maintenance until noon."}
    await http.good(("admin-1", "access:admin"), "POST", "/outages", json=report)
    found = await http.as_worker("w1", "/guide?q=acme+eligible")
    place = found["answers"][0]["place"]
    assert (place["outage"]["kind"], place["outage"]["note"]) == ("down", "Maintenance until noon.")
    other = await http.as_worker("w1", "/guide?q=medicare+eligible")
    assert other["answers"][0]["place"]["outage"] is None
