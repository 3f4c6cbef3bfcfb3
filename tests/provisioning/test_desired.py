from datetime import datetime, timedelta
from typing import Any

from services.provisioning.rules.desired.rights import Desired, Removal
from services.provisioning.rules.desired.worker import desire
from services.provisioning.rules.exceptions import AccessException
from services.provisioning.rules.guards import (
    AdministratorStanding,
    administers_alone,
    without_administrator,
)
from shared.contracts.directory import Function
from shared.contracts.state import ExceptionKind, ExceptionStatus
from tests.provisioning.test_timeline import event, folded, hired, terminated
from tests.provisioning.worlds import NOW, OTHER_TIN, TIN, ago, compiled, day

F = Function


def wanted(
    *events: Any, at: datetime = NOW, removals: tuple[Removal, ...] = (), **changes: Any
) -> Desired:
    return desire(folded(*events, at=at), compiled(**changes), removals, at)


def changed(title: str, effective: datetime) -> Any:
    return event(
        "worker.changed",
        id_="moved",
        employment_id="e1",
        title=title,
        effective_at=effective.isoformat(),
        time=ago(days=3),
    )


def functions(found: Desired) -> set[tuple[str, str, str]]:
    return {(portal, tin, function.value) for portal, tin, function in found.rights}


def test_front_desk_gets_its_functions_at_its_site_and_the_sign_on_service() -> None:
    assert functions(wanted(hired(title="Front Desk", sites=["north"]))) == {
        ("hub", TIN, "eligibility"),
        ("hub", TIN, "benefits"),
        ("mac", TIN, "eligibility"),
        ("gate", TIN, "sign_on"),
    }


def test_a_medicare_contractor_serves_only_its_states() -> None:
    found = functions(wanted(hired(title="Front Desk", sites=["south"])))
    assert not {right for right in found if right[0] == "mac"}
    assert ("hub", OTHER_TIN, "eligibility") in found


def test_front_desk_never_gets_remittance_or_fee_schedules() -> None:
    found = functions(wanted(hired(title="front desk", sites=["north", "south"])))
    assert not {function for _, _, function in found} & {"remittance", "fee_schedule", "payment"}


def test_a_title_nobody_mapped_is_a_question_and_gives_nothing() -> None:
    found = wanted(hired(title="Rev Cycle Spec II"))
    assert not found.rights
    assert [finding.rule for finding in found.findings] == ["unmapped_title"]


def test_a_title_mapped_to_no_duty_is_no_question() -> None:
    found = wanted(hired(title="Nurse"))
    assert (dict(found.rights), found.findings) == ({}, ())


def test_remittance_waits_for_training() -> None:
    biller = hired(title="Biller")
    found = wanted(biller)
    assert ("hub", TIN, "remittance") not in functions(found)
    assert [held.rule for held in found.held["hub"]] == ["training_missing"]
    passed = event(
        "worker.training_completed", id_="p", module="remittance-basics", completed_on=day(-1)
    )
    assert ("hub", TIN, "remittance") in functions(wanted(biller, passed))


def test_staff_hired_before_the_module_are_trained_until_the_date_given() -> None:
    module = {
        "id": "remittance-basics",
        "name": "Remittance basics",
        "owner": "Billing",
        "functions": ["remittance"],
        "grandfathers_hired_before": day(-30),
        "grandfathered_until": day(10),
    }
    found = wanted(hired(on=-90), training_modules=[module])
    assert ("hub", TIN, "remittance") in functions(found)
    assert found.next_change_at is not None
    late = wanted(hired(on=-90), training_modules=[module], at=found.next_change_at)
    assert ("hub", TIN, "remittance") not in functions(late)
    newer = wanted(hired(on=-20), training_modules=[module])
    assert ("hub", TIN, "remittance") not in functions(newer)


def test_a_module_valid_for_days_expires() -> None:
    module = {
        "id": "m",
        "name": "M",
        "owner": "Billing",
        "functions": ["remittance"],
        "valid_days": 10,
    }
    events = (
        hired(),
        event("worker.training_completed", id_="p", module="m", completed_on=day(-3)),
    )
    found = wanted(*events, training_modules=[module])
    assert ("hub", TIN, "remittance") in functions(found)
    assert found.next_change_at is not None
    late = wanted(*events, training_modules=[module], at=found.next_change_at)
    assert ("hub", TIN, "remittance") not in functions(late)


def test_only_contracts_in_force_or_in_grace_count() -> None:
    front = hired(title="Front Desk", on=-3000)
    assert "old" not in {portal for portal, _, _ in functions(wanted(front))}
    in_grace = datetime.fromisoformat("2026-01-15T20:00:00+00:00")
    assert ("old", TIN, "eligibility") in functions(wanted(front, at=in_grace))
    after = datetime.fromisoformat("2026-01-31T20:00:00+00:00")
    assert ("old", TIN, "eligibility") not in functions(wanted(front, at=after))


def test_nothing_is_desired_on_a_portal_before_registration_has_cleared() -> None:
    enrolments = [
        {"id": "hub", "portal": "hub", "tin": TIN, "registered_on": day(5)},
        {"id": "gate", "portal": "gate", "tin": TIN, "registered_on": day(-5)},
    ]
    front = hired(title="Front Desk")
    found = wanted(front, enrolments=enrolments)
    assert not found.rights
    assert found.next_change_at is not None
    later = wanted(front, enrolments=enrolments, at=found.next_change_at)
    assert ("hub", TIN, "eligibility") in functions(later)


def test_leave_suspends_and_lets_the_employment_stand() -> None:
    away = event("worker.leave_started", id_="l", employment_id="e1", effective_on=day(-2))
    assert wanted(hired(), away).cut
    organization = {
        "id": "maple-clinic",
        "name": "Maple Clinic",
        "zone": "America/Los_Angeles",
        "tins": [TIN, OTHER_TIN],
        "leave_suspends_after_days": 14,
    }
    patient = wanted(hired(), away, organization=organization)
    assert not patient.cut
    assert patient.next_change_at is not None
    assert wanted(hired(), away, organization=organization, at=patient.next_change_at).cut


def test_a_leaver_must_have_nothing() -> None:
    found = wanted(hired(), terminated())
    assert found.cut
    assert not found.rights


def test_a_review_removal_holds_the_right_back() -> None:
    removal = Removal("r1", "l1", "hub", TIN, "claim_status", "w9", NOW)
    found = wanted(hired(), removals=(removal,))
    assert ("hub", TIN, "claim_status") not in functions(found)
    assert ("review_removed", F.CLAIM_STATUS) in {
        (held.rule, held.function) for held in found.held["hub"]
    }


FRONT_DESK_APART = {
    "id": "front-office-and-money",
    "holders": {"duties": ["front-desk"]},
    "never": {"functions": ["remittance", "payment", "fee_schedule"]},
    "reason": "whoever registers patients posts no payments",
}


def policy(**changes: Any) -> dict[str, Any]:
    return {"version": "v1", "signatory": "Dr. Ada Fox", "signed_on": "2026-01-02", **changes}


BOTH = [
    {"id": "Front Desk", "duties": ["front-desk"]},
    {"id": "Biller", "duties": ["billing"]},
    {"id": "Lead", "duties": ["front-desk", "billing"]},
]


def test_who_holds_one_side_of_a_separation_is_refused_the_other_by_name() -> None:
    apart = policy(separation=[FRONT_DESK_APART])
    found = wanted(hired(title="Lead"), policy=apart, titles=BOTH)
    assert ("hub", TIN, "claim_status") in functions(found)
    assert not {right for right in functions(found) if right[2] == "fee_schedule"}
    (held,) = [held for held in found.held["old"] if held.function is F.FEE_SCHEDULE]
    assert held.rule == "separation_of_duties"
    assert "posts no payments" in held.detail


def test_a_biller_alone_is_not_separated_from_anything() -> None:
    found = wanted(hired(title="Biller"), policy=policy(separation=[FRONT_DESK_APART]))
    assert ("old", TIN, "fee_schedule") in functions(found)


def test_a_separation_that_is_not_enforced_withholds_nothing() -> None:
    lived_with = policy(separation=[{**FRONT_DESK_APART, "enforced": False}])
    found = wanted(hired(title="Lead"), policy=lived_with, titles=BOTH)
    assert ("old", TIN, "fee_schedule") in functions(found)


def test_duties_that_exclude_each_other_withhold_what_only_the_other_gives() -> None:
    rule = {
        "id": "duties",
        "holders": {"duties": ["front-desk"]},
        "never": {"duties": ["billing"]},
        "reason": "not both",
    }
    found = wanted(hired(title="Lead"), policy=policy(separation=[rule]), titles=BOTH)
    assert {right[2] for right in functions(found)} == {"eligibility", "benefits", "sign_on"}


def test_a_mover_has_the_new_access_at_once_and_the_old_until_the_grace_is_over() -> None:
    graced = policy(mover_grace_days=5)
    events = (hired(title="Front Desk"), changed(title="Biller", effective=ago(days=2)))
    found = wanted(*events, policy=graced)
    by_kind = {right[2].value: by.kind for right, by in found.rights.items()}
    assert by_kind["claim_status"] == "policy"
    assert by_kind["benefits"] == "mover_grace"
    assert found.next_change_at == ago(days=2) + timedelta(days=5)
    later = wanted(*events, policy=graced, at=NOW + timedelta(days=4))
    assert "benefits" not in {right[2].value for right in later.rights}


def test_a_movers_old_access_is_never_kept_across_a_separation() -> None:
    graced = policy(mover_grace_days=5, separation=[FRONT_DESK_APART])
    events = (hired(title="Biller"), changed(title="Front Desk", effective=ago(days=2)))
    kept = {
        right[2].value
        for right, by in wanted(*events, policy=graced).rights.items()
        if by.kind == "mover_grace"
    }
    assert kept == {"claim_status"}


def clinician(**dated: str) -> list[dict[str, Any]]:
    carrier = {"carrier": "acme", "tin": TIN, **dated}
    return [
        {"id": "dr", "name": "Dr. One", "npi": "1234567893", "worker": "w1", "carriers": [carrier]}
    ]


def test_an_exception_gives_a_clinician_what_a_carriers_date_still_withholds() -> None:
    directory = compiled(clinicians=clinician(effective_on=day(9)))
    worker = folded(hired(title="Biller"))
    claims = ("hub", TIN, F.CLAIM_STATUS)
    assert claims not in desire(worker, directory, (), NOW).rights
    exception = AccessException(
        "e-1", ExceptionKind.EXCEPTION, "w1", *claims, "covers claims", "w2", ago(days=1),
        ago(days=1), NOW + timedelta(days=1), ExceptionStatus.APPROVED, "w3", ago(days=1),
    )  # fmt: skip
    assert desire(worker, directory, (), NOW, [exception]).rights[claims].kind == "exception"


def test_a_mover_keeps_nothing_for_which_the_carrier_no_longer_recognizes_them() -> None:
    events = (hired(title="Front Desk"), changed(title="Nurse", effective=ago(days=2)))
    graced = policy(mover_grace_days=5)
    assert ("hub", TIN, "benefits") in functions(wanted(*events, policy=graced))
    ended = clinician(effective_on=day(-90), until=day(-1))
    found = functions(wanted(*events, policy=graced, clinicians=ended))
    assert ("hub", TIN, "benefits") not in found


def test_an_administrator_administers_while_appointed_and_employed() -> None:
    appointment = [{"id": "a", "portal": "hub", "worker": "w1", "since": day(-3), "until": day(3)}]
    found = wanted(hired(title="Nurse"), administrators=appointment)
    assert ("hub", TIN, "user_administration") in functions(found)
    late = wanted(hired(title="Nurse"), administrators=appointment, at=NOW + timedelta(days=5))
    assert not late.rights


def standing(
    worker: str, leaves: float | None = None, portal: str = "hub", tin: str = TIN
) -> AdministratorStanding:
    leaves_at = None if leaves is None else NOW + timedelta(days=leaves)
    return AdministratorStanding(portal, tin, worker, ago(days=100), None, leaves_at)


def test_the_last_administrator_is_the_one_who_goes_last() -> None:
    assert alone([standing("a", 5), standing("b", 3)]) == ["a"]
    assert alone([standing("a", 3), standing("b", 3)]) == ["b"]
    assert alone([standing("a", -5), standing("b", -3)]) == ["b"]


def test_who_stays_administers_alone_if_nobody_else_does_today() -> None:
    assert alone([standing("a"), standing("b")]) == []
    assert alone([standing("a"), standing("b", -3)]) == ["a"]
    tomorrow = AdministratorStanding("hub", TIN, "b", NOW + timedelta(days=1), None, None)
    assert alone([standing("a"), tomorrow]) == ["a"]


def test_a_successor_counts_who_is_there_when_the_administrator_goes() -> None:
    def from_day(days: float) -> AdministratorStanding:
        return AdministratorStanding("hub", TIN, "b", NOW + timedelta(days=days), None, None)

    assert alone([standing("a", 3), from_day(3)]) == []
    assert alone([standing("a", 3), from_day(4)]) == ["a"]


def test_two_ids_of_one_person_are_one_administrator() -> None:
    both = [standing("a", 3), standing("b", 3)]
    assert administers_alone(both, ["a", "b"], NOW) == {"hub": {TIN}}


def test_who_administers_a_portal_for_other_tax_ids_covers_nobody() -> None:
    everything = [standing("a", 3), standing("a", 3, tin=OTHER_TIN)]
    assert administers_alone([*everything, standing("b", tin=OTHER_TIN)], ["a"], NOW) == {
        "hub": {TIN}
    }
    assert administers_alone([*everything, standing("c", portal="mac")], ["a"], NOW) == {
        "hub": {TIN, OTHER_TIN}
    }


def alone(standings: list[AdministratorStanding]) -> list[str]:
    workers = sorted({one.worker for one in standings})
    return [worker for worker in workers if administers_alone(standings, [worker], NOW)]


def test_a_portal_is_named_with_the_tax_ids_for_which_nobody_is_left() -> None:
    left = [standing("a", -1), standing("b", 1, tin=OTHER_TIN)]
    served = {"mac": (TIN,), "hub": (OTHER_TIN, TIN)}
    assert without_administrator(left, served, NOW) == {"hub": (TIN,), "mac": (TIN,)}
    assert without_administrator([standing("a", 1)], {"hub": (TIN,)}, NOW) == {}
