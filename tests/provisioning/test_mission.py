"""What a medical group asks of portal access, held against the example clinic's own directory."""

from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from deploy.story.clinic import CEDAR_SOUND, read_directory
from services.provisioning.rules.decide import decide
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.desired.rights import Desired
from services.provisioning.rules.desired.worker import desire
from services.provisioning.rules.facts import Facts, Outcome
from services.provisioning.rules.operations import Account, Held
from services.provisioning.rules.timeline import Person, TimelineEvent, fold, people
from shared.contracts.directory import FINANCIAL, Function, OperationKind, RuleName
from shared.contracts.state import AccountStatus, AuthorizedBy, Entitlement, Grade
from tests.provisioning.worlds import ORGANIZATION

pytestmark = pytest.mark.fast

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
CLINIC = CompiledDirectory(read_directory(CEDAR_SOUND / "directory.yaml", TODAY), 1)
TITLES = [title.id for title in CLINIC.directory.titles]
SITES = [site.id for site in CLINIC.directory.sites]
BY = AuthorizedBy("policy", "7", "somebody")


def event(type_: str, number: int, effective: datetime | None, **data: Any) -> TimelineEvent:
    recorded = NOW - timedelta(days=200) + timedelta(seconds=number)
    return TimelineEvent(
        "w1", "hr", f"e{number}", bytes([number]), type_, recorded, effective, data
    )


def hired(title: str, *sites: str) -> TimelineEvent:
    begun = NOW - timedelta(days=100)
    return event("worker.hired", 1, begun, employment_id="1", title=title, sites=list(sites))


def trained() -> list[TimelineEvent]:
    """Signed off for every module there is."""
    return [
        event(
            "worker.training_completed",
            10 + number,
            None,
            module=module.id,
            version=module.version,
            completed_on=(TODAY - timedelta(days=1)).isoformat(),
        )
        for number, module in enumerate(CLINIC.directory.training_modules)
    ]


def wants(*events: TimelineEvent) -> Desired:
    return desire(fold(person(*events), NOW, CLINIC.zone), CLINIC, (), NOW)


def person(*events: TimelineEvent) -> Person:
    (found,) = people((), events)
    return found


def decided(*events: TimelineEvent, at: datetime, accounts: tuple[Account, ...] = ()) -> Outcome:
    facts = Facts(ORGANIZATION, person(*events), accounts=accounts)
    return decide(facts, CLINIC, at)


def login(portal: str, *held: Held, since: datetime) -> Account:
    rights = {
        right: Entitlement(right[0], right[1], BY, Grade.PERSON, since, "op") for right in held
    }
    return Account("w1", portal, AccountStatus.ACTIVE, Grade.PERSON, "w1.own", rights)


@pytest.mark.parametrize(("title", "site"), list(product(TITLES, SITES)))
def test_front_office_never_sees_remittance_payments_or_fee_schedules(
    title: str, site: str
) -> None:
    front = {duty.id for duty in CLINIC.directory.job_duties if duty.front_office}
    found = wants(hired(title, site), *trained())
    if front & set(found.duties):
        assert not {right[2] for right in found.rights} & FINANCIAL


@pytest.mark.parametrize(("title", "site"), list(product(TITLES, SITES)))
def test_access_exists_only_where_a_contracted_carrier_is_reached(title: str, site: str) -> None:
    in_force = [
        contract
        for contract in CLINIC.directory.contracts
        if contract.since <= TODAY
        and (
            contract.until is None or contract.until + timedelta(days=contract.grace_days) >= TODAY
        )
        and (not contract.sites or site in contract.sites)
    ]
    for portal, tin, function in wants(hired(title, site), *trained()).rights:
        if function is Function.SIGN_ON:
            continue
        reached = {
            reach.carrier for reach in CLINIC.portals[portal].reaches if function in reach.functions
        }
        assert any(contract.carrier in reached and tin in contract.tins for contract in in_force), (
            portal,
            tin,
            function,
        )


@pytest.mark.parametrize("title", TITLES)
def test_training_comes_before_access(title: str) -> None:
    recent = event(
        "worker.hired",
        1,
        NOW - timedelta(days=1),
        employment_id="1",
        title=title,
        sites=SITES,
    )
    found = wants(recent)
    for portal, _, function in found.rights:
        assert not CLINIC.modules_for(portal, function), (portal, function)


def test_what_waits_for_training_says_so_and_comes_with_it() -> None:
    recent = hired("Billing Specialist", "tacoma")
    before, after = wants(recent), wants(recent, *trained())
    waiting = {
        (portal, held.tin, held.function)
        for portal, own in before.held.items()
        for held in own
        if held.rule == "training_missing"
    }
    assert waiting
    assert waiting <= after.rights.keys()


def test_a_departure_orders_every_removal_at_once_whatever_was_held() -> None:
    hire = hired("Billing Specialist", *SITES)
    rights = wants(hire, *trained()).rights
    accounts = tuple(
        login(portal, *(right[1:] for right in rights if right[0] == portal), since=NOW)
        for portal in sorted({right[0] for right in rights})
    )
    assert accounts
    leaving = event("worker.terminated", 2, NOW, employment_id="1", immediate=True)
    outcome = decided(hire, *trained(), leaving, at=NOW, accounts=accounts)
    assert {order.portal for order in outcome.operations} == {one.portal for one in accounts}
    assert all(order.requested_at == NOW for order in outcome.operations)
    assert all(order.deadline <= NOW + timedelta(hours=1) for order in outcome.operations)


def test_medicare_logins_are_kept_alive_before_the_contractor_disables_them() -> None:
    contractors = [
        portal
        for portal in CLINIC.directory.portals
        if portal.kind == "mac" and portal.number(RuleName.INACTIVITY_DAYS, TODAY)
    ]
    assert contractors
    for portal in contractors:
        days = portal.number(RuleName.INACTIVITY_DAYS, TODAY) or 0
        biller = next(
            (title, right)
            for title in TITLES
            for right in wants(hired(title, *SITES), *trained()).rights
            if right[0] == portal.id
        )
        opened = NOW - timedelta(days=days - 3)
        account = login(portal.id, biller[1][1:], since=opened)
        outcome = decided(hired(biller[0], *SITES), *trained(), at=NOW, accounts=(account,))
        (keeping,) = [
            order for order in outcome.operations if order.kind is OperationKind.KEEP_ALIVE
        ]
        assert keeping.deadline <= opened + timedelta(days=days)
        assert [step.actor for step in keeping.steps] == ["worker"]


def test_every_portal_of_the_clinic_has_an_administrator_today() -> None:
    appointed = {
        administrator.portal
        for administrator in CLINIC.directory.administrators
        if administrator.since <= TODAY
        and (administrator.until is None or administrator.until >= TODAY)
    }
    assert appointed == set(CLINIC.portals)


def test_portals_that_give_each_person_a_login_are_never_marked_as_shared() -> None:
    """Unique user identification, 45 CFR 164.312(a)(2)(i): a shared login is a stated exception."""
    for portal in CLINIC.directory.portals:
        row = portal.rule_in_force(RuleName.ONE_LOGIN, TODAY)
        assert row is None or row.source, portal.id


def test_who_leaves_one_tax_id_loses_the_functions_there_and_keeps_the_login() -> None:
    """An affiliation ends; the identity at the portal, and what it does elsewhere, stays."""
    both = ("tacoma", "centralia")
    everything = wants(hired("Billing Specialist", *both), *trained()).rights
    here = hired("Billing Specialist", "tacoma")
    rest = wants(here, *trained()).rights
    portals = {right[0] for right in rest} & {right[0] for right in everything if right not in rest}
    assert portals
    for portal in portals:
        held = [right[1:] for right in everything if right[0] == portal]
        account = login(portal, *held, since=NOW - timedelta(days=200))
        outcome = decided(here, *trained(), at=NOW, accounts=(account,))
        orders = [
            order
            for order in outcome.operations
            if order.portal == portal and order.kind is not OperationKind.KEEP_ALIVE
        ]
        gone = {(order.tin, order.function) for order in orders}
        assert {order.kind for order in orders} == {OperationKind.REVOKE}
        assert gone == {right[1:] for right in everything if right[0] == portal} - {
            right[1:] for right in rest if right[0] == portal
        }
