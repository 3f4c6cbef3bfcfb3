"""Why somebody can, or cannot, use a portal."""

from __future__ import annotations

from typing import Any

from tests.provisioning.asking import Asking
from tests.provisioning.desk import Desk, hire, hr_record, leave_now
from tests.provisioning.worlds import NOW, TIN, directory

PATH = "/access/v1/explain"


async def lines(asking: Asking, portal: str, worker: str = "w1") -> dict[str, Any]:
    answer = await asking.get(PATH, worker=worker, portal=portal)
    return {line["function"]: line for line in answer["lines"]}


def steps(line: dict[str, Any]) -> list[str]:
    return [link["step"] for link in line["chain"]]


async def test_what_is_effective_leads_from_hrs_event_to_the_evidence(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    line = (await lines(asking, "hub"))["eligibility"]
    assert line["state"] == "effective"
    assert steps(line) == [
        "hr_event",
        "rule",
        "authorization",
        "operation",
        "operation",
        "evidence",
    ]
    hired, rule, authorization, ordered, _done, evidence = line["chain"]
    assert hired["event"] == ["/hr/maple-clinic", "w1-hired"]
    assert "'Front Desk' does Front desk, which needs eligibility" in rule["text"]
    assert "contract acme-1" in rule["text"]
    assert (authorization["text"], authorization["by"]) == ("policy v1", "Dr. Ada Fox")
    published = {event["ce_id"]: event["ce_type"] for event in await desk.published()}
    assert published[ordered["event"][1]] == "operation.requested"
    assert published[evidence["event"][1]] == "operation.confirmed"


async def test_what_is_only_ordered_says_so_and_what_to_do(desk: Desk, asking: Asking) -> None:
    await desk.hear(hire())
    line = (await lines(asking, "gate"))["sign_on"]
    assert (line["state"], line["rule"]) == ("requested", "job_duty")
    assert "sign in to Hub" in line["chain"][1]["text"]
    assert line["next_step"]


async def test_training_that_is_missing_is_named(desk: Desk, asking: Asking) -> None:
    await desk.hear(hire(title="Biller"))
    line = (await lines(asking, "hub"))["remittance"]
    assert (line["state"], line["rule"]) == ("held", "training_missing")
    assert "Remittance basics" in line["detail"]


async def test_what_their_duties_do_not_need_is_denied_by_that_rule(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire(), hire("w2", title="Nurse"), hire("w3", title="Astronaut"))
    assert (await lines(asking, "hub"))["remittance"]["rule"] == "not_in_duties"
    assert (await lines(asking, "hub", "w2"))["eligibility"]["rule"] == "no_duty"
    assert (await lines(asking, "hub", "w3"))["eligibility"]["rule"] == "unmapped_title"


async def test_a_carrier_without_contract_a_better_portal_and_a_missing_registration_are_told_apart(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire(), hire("w2", sites=["south"]))
    assert (await lines(asking, "old"))["eligibility"]["rule"] == "no_contract"
    assert (await lines(asking, "mac", "w2"))["eligibility"]["rule"] == "other_state"
    enrolments = [
        {"id": "old", "portal": "old", "tin": TIN, "registered_on": "2020-01-01"},
    ]
    await desk.apply_directory(directory(enrolments=enrolments))
    await desk.pass_time(hours=1)
    assert (await lines(asking, "hub"))["eligibility"]["rule"] == "registration_pending"


async def test_a_departure_explains_what_is_exposed_and_then_what_ended(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.hear(leave_now())
    line = (await lines(asking, "hub"))["eligibility"]
    assert (line["state"], line["rule"]) == ("exposed", "employment_ended")
    assert any(link["reference"] == "w1-terminated" for link in line["chain"])
    await desk.pass_time(minutes=5)
    await desk.finish_all()
    line = (await lines(asking, "hub"))["eligibility"]
    assert (line["state"], line["rule"]) == ("ended", "employment_ended")
    published = {event["ce_id"]: event["ce_type"] for event in await desk.published()}
    assert published[line["chain"][-1]["event"][1]] == "operation.confirmed"
    assert (await lines(asking, "mac"))["claim_status"]["rule"] == "not_employed"


async def test_a_reviews_removal_and_a_leave_are_named(desk: Desk, asking: Asking) -> None:
    await desk.hear(hire(), hire("w2"))
    await desk.finish_all()
    await desk.decide_review(portal="hub", tin=TIN, function="benefits")
    await desk.finish_all()
    assert (await lines(asking, "hub"))["benefits"]["rule"] == "review_removed"
    away = hr_record(
        "worker.leave_started",
        "w2",
        id_="away",
        employment_id="w2-e1",
        effective_on="2026-06-01",
        time=NOW,
    )
    await desk.hear(away)
    await desk.finish_all()
    assert (await lines(asking, "hub", "w2"))["claim_status"]["rule"] == "on_leave"


async def test_an_unknown_worker_or_portal_is_refused(desk: Desk, asking: Asking) -> None:
    await asking.get(PATH, worker="w1", portal="hub", status=404)
    await desk.hear(hire())
    await asking.get(PATH, worker="w1", portal="nowhere", status=404)
    await asking.get(PATH, "work:do", worker="w1", portal="hub", status=403)
