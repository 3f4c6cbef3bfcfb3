"""Campaigns by policy: which begin when, over what, in which shares, and what a preview says."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from shared.contracts.directory import Function, Portal, PortalClock, Reach
from shared.contracts.review_policy import CampaignCalendar, ReviewPolicy
from shared.contracts.state import Employment
from tests.review_scheduler.clinic import CAMPAIGNS, Clinic
from tests.review_scheduler.worlds import (
    START,
    World,
    directory_record,
    holds,
    state,
)

ADMINISTERS = holds("availity", "user_administration", "eligibility")


def calendars(*given: dict[str, Any], **more: Any) -> Any:
    made = tuple(CampaignCalendar.model_validate({"name": each["id"], **each}) for each in given)
    return directory_record(
        "review_policy", "review_policy", ReviewPolicy(calendars=made, **more), 2
    )


def portal(id: str, carrier: str) -> Any:
    reach = Reach(carrier=carrier, functions=(Function.ELIGIBILITY,))
    value = Portal(id=id, name=id.title(), kind="hub", url="https://x.example", reaches=(reach,))
    return directory_record("portal", id, value)


async def asked(world: World) -> list[tuple[str, str, str]]:
    """(campaign, worker, portal/function) of every line."""
    titles = {
        row["campaign_id"]: row["title"]
        for row in await world.rows("SELECT campaign_id, title FROM campaign")
    }
    return sorted(
        (titles[each["campaign_id"]], each["worker"], f"{each['portal']}/{each['function']}")
        for each in await world.lines()
    )


async def test_without_a_policy_administration_is_asked_about_monthly_and_the_rest_quarterly(
    world: World,
) -> None:
    await world.begin(state("sam"), state("ana", access=[ADMINISTERS]))

    await world.at(datetime(2026, 12, 1, 8, tzinfo=UTC))
    await world.at(datetime(2027, 1, 1, 8, tzinfo=UTC))

    assert await asked(world) == [
        ("2027-Q1", "ana", "availity/eligibility"),
        # January leaves it to December, which is not decided yet.
        ("User administration 2026-12", "ana", "availity/user_administration"),
    ]


async def test_a_calendar_taken_out_of_the_policy_begins_no_more(world: World) -> None:
    await world.begin(state("sam"), state("ana", access=[ADMINISTERS]))
    await world.hear(calendars({"id": "yearly", "every": "year"}))

    await world.at(datetime(2026, 12, 2, tzinfo=UTC))
    assert await asked(world) == []
    await world.at(datetime(2027, 1, 2, tzinfo=UTC))

    assert {title for title, _, _ in await asked(world)} == {"2027"}


CONTRACTOR = Employment(
    "e1", "Biller", None, ("olympia",), "sam", "contractor", START, None, True, False
)
SCOPES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "everything": ({}, ["ana", "ben", "cho"]),
    "a site": ({"sites": ["olympia"]}, ["ben"]),
    "a TIN": ({"tins": ["99-9999999"]}, []),
    "a portal": ({"portals": ["availity"]}, ["cho"]),
    "a function": ({"functions": ["remittance"]}, ["cho"]),
    "a carrier": ({"carriers": ["regence"]}, ["ana", "ben"]),
    "contractors": ({"worker_kinds": ["contractor"]}, ["ben"]),
    "all of it at once": ({"sites": ["olympia"], "portals": ["availity"]}, []),
}


@pytest.mark.parametrize(("scope", "workers"), SCOPES.values(), ids=SCOPES)
async def test_a_scope_says_who_is_asked_about(
    world: World, scope: dict[str, Any], workers: list[str]
) -> None:
    await world.begin(
        portal("noridian", "regence"),
        state("sam"),
        state("ana", access=[holds("noridian")]),
        state("ben", access=[holds("noridian")], employments=(CONTRACTOR,)),
        state("cho", access=[holds("availity", "remittance")]),
    )

    await world.open_campaign(scope=scope)

    assert sorted({each["worker"] for each in await world.lines()}) == workers


async def test_a_share_of_the_workers_is_asked_about_each_business_day(world: World) -> None:
    names = [f"w{n}" for n in range(30)]
    await world.begin(state("sam"), *(state(each, access=[holds("noridian")]) for each in names))

    await world.open_campaign(spread_days=3)
    first = {each["worker"] for each in await world.lines()}
    await world.at(datetime(2026, 11, 24, 16, tzinfo=UTC))
    second = {each["worker"] for each in await world.lines()} - first
    await world.at(datetime(2026, 11, 25, 16, tzinfo=UTC))

    assert first
    assert second
    assert {each["worker"] for each in await world.lines()} == set(names)
    dues = {each["worker"]: each["due_at"] for each in await world.said("review.opened")}
    assert {dues[each] for each in first} == {"2026-12-08T08:00:00Z"}
    assert {dues[each] for each in second} == {"2026-12-09T08:00:00Z"}
    (campaign,) = await world.said("campaign.opened")
    assert campaign["due_at"] == "2026-12-10T08:00:00Z"


async def test_a_portals_users_are_reviewed_ahead_of_its_own_date(world: World) -> None:
    clock = PortalClock(portal="noridian", recertify_by=date(2027, 3, 1))
    await world.begin(
        portal("noridian", "medicare"),
        calendars({"id": "recertification", "every": "recertification", "name": "Recertification"}),
        state("sam"),
        state("ana", access=[holds("noridian"), holds("availity")]),
    )
    await world.hear(directory_record("portal_clock", "noridian", clock))

    await world.at(datetime(2027, 1, 15, 7, 59, tzinfo=UTC))
    assert await asked(world) == []
    await world.at(datetime(2027, 1, 15, 8, tzinfo=UTC))
    await world.at(datetime(2027, 1, 20, tzinfo=UTC))

    assert await asked(world) == [
        ("Recertification Noridian 2027-03-01", "ana", "noridian/eligibility")
    ]


async def test_a_preview_says_who_would_be_asked_how_much_and_opens_nothing(
    world: World, clinic: Clinic
) -> None:
    await world.hear(
        state("ben", access=[holds("availity", "eligibility", "benefits")], supervisor="sam"),
        state("tom", access=[holds("availity")], supervisor=None),
    )
    before = len(await world.lines())

    answer = await clinic.ask(
        "POST", f"{CAMPAIGNS}/preview", {"spread_days": 1}, scopes="review:admin"
    )

    told = answer.json()
    assert (told["workers"], told["reviews"], told["lines"]) == (2, 2, 3)
    # Ana's access is asked about by the campaign that is open already.
    assert told["elsewhere"] == 2
    assert [(each["reviewer"], each["lines"]) for each in told["reviewers"]] == [
        ("sam", 2),
        (None, 1),
    ]
    assert len(await world.lines()) == before
    refused = await clinic.ask(
        "POST", f"{CAMPAIGNS}/preview", {"calendar": "weekly"}, scopes="review:admin"
    )
    assert (refused.status_code, refused.json()["code"]) == (404, "no_such_calendar")


async def test_who_covers_sees_the_reviews_until_it_is_ended(world: World, clinic: Clinic) -> None:
    review = await clinic.only_review()
    path = f"/review/v1/reviews/{review['review_id']}"
    await world.hear(state("olga"), replace(state("ana", 9), portals=()))
    order = {"delegate": "olga", "since": "2026-11-23", "until": "2026-11-24"}
    assert (await clinic.ask("GET", path, worker="olga")).status_code == 404

    made = await clinic.ask("POST", "/review/v1/delegations", order)

    assert made.status_code == 201, made.text
    assert (await clinic.ask("GET", path, worker="olga")).status_code == 200
    listed = (await clinic.ask("GET", "/review/v1/delegations", worker="olga")).json()
    assert [(each["reviewer"], each["delegate"]) for each in listed["delegations"]] == [
        ("sam", "olga")
    ]
    ended = f"/review/v1/delegations/{made.json()['delegation_id']}/end"
    assert (await clinic.ask("POST", ended)).status_code == 200
    assert (await clinic.ask("GET", path, worker="olga")).status_code == 404
    said = await world.said("review.delegated")
    assert [each["ended_at"] is None for each in said] == [True, False]


REFUSED = {
    "nobody here": ({"delegate": "zoe"}, 422, "delegate_unknown"),
    "oneself": ({"delegate": "sam"}, 422, "delegate_self"),
    "days that are over": (
        {"since": "2026-11-01", "until": "2026-11-02"},
        422,
        "delegation_days",
    ),
    "days the wrong way round": ({"until": "2026-11-20"}, 422, "delegation_days"),
    "somebody else's reviews": ({"reviewer": "tom"}, 403, "not_reviewer"),
}


@pytest.mark.parametrize(("change", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_a_delegation_that_cannot_be_is_refused_by_name(
    world: World, clinic: Clinic, change: dict[str, str], status: int, code: str
) -> None:
    await world.hear(state("olga"), state("tom"))
    order = {"delegate": "olga", "since": "2026-11-23", "until": "2026-11-24", **change}

    answer = await clinic.ask("POST", "/review/v1/delegations", order)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
