"""Which portal serves which function: contracts in force, the best one, the site's contractor."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from services.provisioning.rules.desired.directory import CompiledDirectory
from shared.contracts import catalogue
from shared.contracts.directory import Directory, Function
from tests.provisioning.desk import Desk, hire
from tests.provisioning.worlds import NOW, OTHER_TIN, TIN, day, directory


def with_portals(*portals: dict[str, Any], **changes: Any) -> Directory:
    """The tests' organization with other portals, all registered under both TINs."""
    enrolments = [
        {"id": f"{p['id']}-{tin}", "portal": p["id"], "tin": tin, "registered_on": "2020-01-01"}
        for p in portals
        for tin in (TIN, OTHER_TIN)
    ]
    return directory(portals=list(portals), enrolments=enrolments, **changes)


def portal(id_: str, kind: str, *reaches: tuple[str, list[str], int], **more: Any) -> Any:
    return {
        "id": id_,
        "name": id_,
        "kind": kind,
        "url": f"https://{id_}.example",
        "reaches": [{"carrier": c, "functions": f, "rank": rank} for c, f, rank in reaches],
        **more,
    }


def served_by(given: Directory, function: str, *, site: str = "north") -> set[str]:
    found = CompiledDirectory(given, 1).rights_for(site, Function(function), NOW)
    return {portal for portal, _, _ in found}


EVERYTHING = ["eligibility", "claim_status", "remittance"]


@pytest.mark.parametrize(
    ("portals", "function", "expected"),
    [
        # The better rank serves, whatever kind of portal it is.
        (
            [("hub", "hub", 20), ("own", "standalone", 10)],
            "eligibility",
            {"own"},
        ),
        # Of two that serve as well, the hub.
        ([("own", "standalone", 20), ("hub", "hub", 20)], "eligibility", {"hub"}),
        # Nothing serves what nobody offers.
        ([("hub", "hub", 20)], "fee_schedule", set()),
    ],
)
def test_per_function_the_portal_that_serves_it_best_is_chosen(
    portals: list[tuple[str, str, int]], function: str, expected: set[str]
) -> None:
    given = with_portals(
        *(portal(id_, kind, ("acme", EVERYTHING, rank)) for id_, kind, rank in portals)
    )
    assert served_by(given, function) == expected


def test_one_carrier_may_be_served_by_one_portal_per_function() -> None:
    given = with_portals(
        portal("hub", "hub", ("acme", EVERYTHING, 20)),
        portal("money", "standalone", ("acme", ["remittance"], 10)),
        portal("auth", "utilization_manager", ("acme", ["prior_authorization"], 10)),
    )
    assert served_by(given, "eligibility") == {"hub"}
    assert served_by(given, "remittance") == {"money"}
    assert served_by(given, "prior_authorization") == {"auth"}


def test_a_medicare_contractor_must_fit_the_state_of_the_site() -> None:
    given = with_portals(
        portal("west", "mac", ("medicare", EVERYTHING, 20), states=["WA", "AK"]),
        portal("south", "mac", ("medicare", EVERYTHING, 20), states=["OR", "CA"]),
    )
    assert served_by(given, "eligibility", site="north") == {"west"}
    assert served_by(given, "eligibility", site="south") == {"south"}


def test_no_state_belongs_to_two_contractors_of_the_catalogue() -> None:
    owners: dict[str, str] = {}
    for entry, known in catalogue.portals().items():
        if known.kind == "mac":
            assert known.states, entry
        for state in known.states:
            assert owners.setdefault(state, entry) == entry, state


CONTRACTS = [
    {"id": "acme-1", "carrier": "acme", "tins": [TIN], "since": "2020-01-01"},
    {"id": "medicare-1", "carrier": "medicare", "tins": [TIN], "since": "2020-01-01"},
]


def ending(id_: str, *, in_days: int, grace: int) -> list[dict[str, Any]]:
    return [
        {**each, "until": day(in_days), "grace_days": grace} if each["id"] == id_ else each
        for each in CONTRACTS
    ]


async def test_a_contract_that_ends_takes_only_what_it_alone_justified_after_its_grace(
    desk: Desk,
) -> None:
    await desk.apply_directory(directory(contracts=CONTRACTS))
    await desk.hear(hire("w1"))
    await desk.finish_all()
    assert {portal for portal, _ in await desk.effective()} == {"hub", "gate", "mac"}
    await desk.apply_directory(directory(contracts=ending("medicare-1", in_days=3, grace=10)))
    await desk.pass_time(days=12)
    assert await desk.work() == [], "in its grace nothing is taken away"
    await desk.pass_time(days=2)
    await release_everything(desk)
    orders = {(item["portal"], item["function"], item["kind"]) for item in await desk.work()}
    assert orders == {("mac", "eligibility", "revoke")}
    await desk.finish_all()
    assert {portal for portal, _ in await desk.effective()} == {"hub", "gate"}


async def test_two_contracts_for_one_portal_keep_it_until_the_last_ends(desk: Desk) -> None:
    both = [*CONTRACTS, {"id": "acme-9", "carrier": "acme", "tins": [TIN], "since": "2024-01-01"}]
    await desk.apply_directory(directory(contracts=both))
    await desk.hear(hire("w1"))
    await desk.finish_all()
    held = await desk.effective()
    ended = [{**each, "until": day(-1)} if each["id"] == "acme-1" else each for each in both]
    await desk.apply_directory(directory(contracts=ended))
    await desk.pass_time(days=1)
    assert await desk.work() == []
    assert await desk.effective() == held


async def release_everything(desk: Desk) -> None:
    """Let whatever the brake has parked go, as an administrator would who looked."""
    while await desk.brake.judge():
        desk.clock.at += timedelta(minutes=1)


def test_nothing_of_a_contract_counts_before_it_begins() -> None:
    begins = [{"id": "a", "carrier": "acme", "tins": [TIN], "since": day(3)}]
    compiled = CompiledDirectory(directory(contracts=begins), 1)
    assert compiled.rights_for("north", Function.ELIGIBILITY, NOW) == ()
    boundary = compiled.next_boundary(NOW)
    assert isinstance(boundary, datetime)
    assert compiled.rights_for("north", Function.ELIGIBILITY, boundary) != ()
