"""Passing on, asking, reducing, and deciding at once."""

from typing import Any

import pytest

from services.review_scheduler.api import desk
from services.review_scheduler.handlers import bulk
from shared.contracts.review import REVIEW_EVENT_MODELS, ReviewReassigned
from tests.review_scheduler.clinic import REVIEWS, Clinic
from tests.review_scheduler.worlds import (
    TIN,
    World,
    administrator,
    directory_record,
    holds,
    state,
)

BULK = "/review/v1/decisions"
LINES = "/review/v1/lines"
QUESTIONS = "/review/v1/questions"


async def ask_olga(clinic: Clinic, worker: str = "olga") -> Any:
    review = await clinic.only_review()
    body = {
        "line_ids": [review["lines"][0]["line_id"]],
        "worker": worker,
        "question": "Does she still cover the desk?",
    }
    return await clinic.ask("POST", f"{REVIEWS}/{review['review_id']}/questions", body)


async def test_who_is_asked_answers_and_the_line_comes_back_undecided(
    world: World, clinic: Clinic
) -> None:
    await world.hear(state("olga"))
    assert (await ask_olga(clinic)).status_code == 200

    asked = await clinic.ask("GET", QUESTIONS, worker="olga", scopes="directory:read")
    question = asked.json()["questions"][0]
    assert (question["words"], question["worker"], question["function"]) == (
        "Does she still cover the desk?",
        "ana",
        "eligibility",
    )
    path = f"{QUESTIONS}/{question['question_id']}/answer"
    body = {"advice": "remove", "answer": "Not since May."}
    sneaky = await clinic.ask("POST", path, body, worker="zoe", scopes="directory:read")
    assert (sneaky.status_code, sneaky.json()["code"]) == (403, "not_asked")
    answered = await clinic.ask("POST", path, body, worker="olga", scopes="directory:read")
    assert answered.status_code == 200
    again = await clinic.ask("POST", path, body, worker="olga", scopes="directory:read")
    assert (again.status_code, again.json()["code"]) == (409, "answered")

    line = (await clinic.only_review())["lines"][0]
    assert line["status"] == "undecided"
    assert [(each["answered_by"], each["advice"]) for each in line["questions"]] == [
        ("olga", "remove")
    ]
    assert [each["asked"] for each in await world.said("review.asked")] == ["olga"]
    for type in ("review.asked", "review.answered"):
        for said in await world.said(type):
            REVIEW_EVENT_MODELS[type].model_validate(said)
    assert [each["answer"] for each in await world.said("review.answered")] == ["Not since May."]


@pytest.mark.parametrize(
    ("worker", "status", "code"),
    [("ana", 403, "self_review"), ("nobody", 422, "asked_absent")],
)
async def test_neither_the_holder_nor_somebody_absent_is_asked(
    world: World, clinic: Clinic, worker: str, status: int, code: str
) -> None:
    answer = await ask_olga(clinic, worker)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert [each["code"] for each in await world.said("command.refused")] == [code]


async def test_a_review_that_is_not_mine_goes_to_the_next_by_rule_and_never_comes_back(
    world: World, clinic: Clinic
) -> None:
    await world.hear(
        state("olga", supervisor=None),
        state("sam", 2, supervisor="max"),
        state("max", supervisor=None),
        directory_record("administrator", "a", administrator("noridian", "olga")),
    )
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/not-mine"
    body = {"reason": "She works for Max now."}

    seen = []
    for reviewer in ("sam", "max", "olga"):
        answer = await clinic.ask("POST", path, body, worker=reviewer)
        assert answer.status_code == 200, answer.text
        seen.append((answer.json()["reviewer"], answer.json()["reviewer_rule"]))

    assert seen == [
        ("max", "next_above"),
        ("olga", "portal_administrator"),
        (None, "review_admin_queue"),
    ]
    said = await world.said("review.reassigned")
    assert [(each["previous_reviewer"], each["reason"], each["undecided"]) for each in said] == [
        ("sam", "not_mine", 2),
        ("max", "not_mine", 2),
        ("olga", "not_mine", 2),
    ]
    assert ReviewReassigned.model_validate(said[0]).words == "She works for Max now."
    late = await clinic.ask("POST", path, body, worker="sam")
    assert (late.status_code, late.json()["code"]) == (403, "not_reviewer")


async def test_reducing_keeps_the_named_functions_and_removes_the_rest(
    world: World, clinic: Clinic
) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/reductions"
    order = {
        "portal": "noridian",
        "tin": TIN,
        "functions": ["eligibility"],
        "reason": "front desk only",
    }

    wrong = await clinic.ask("POST", path, {**order, "functions": ["payment"]})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "line_unknown")
    reduced = (await clinic.ask("POST", path, order)).json()

    assert [(line["function"], line["status"]) for line in reduced["lines"]] == [
        ("eligibility", "kept"),
        ("remittance", "removal_decided"),
    ]


async def test_a_bulk_decision_takes_exactly_the_lines_that_were_counted(
    world: World, clinic: Clinic
) -> None:
    where = {"portal": "noridian", "advice": "keep"}
    found = (await clinic.ask("GET", f"{LINES}?portal=noridian&advice=keep")).json()
    assert (found["count"], {line["worker"] for line in found["lines"]}) == (2, {"ana"})
    counted = await clinic.ask("GET", f"{LINES}/count?portal=noridian&advice=keep")
    assert counted.json() == {"count": 2}
    order = {"where": where, "decision": "keep", "count": 2}

    access = holds("noridian", "eligibility", "remittance", beyond=["remittance"])
    await world.hear(state("ana", 2, access=[access]))
    stale = await clinic.ask("POST", BULK, order)
    assert (stale.status_code, stale.json()["code"]) == (409, "count_differs")
    assert await world.said("review.decided") == []

    assert (await clinic.ask("POST", BULK, order | {"count": 1})).json() == {"decided": 1}
    assert [each["function"] for each in await world.said("review.decided")] == ["eligibility"]

    rest = {"where": {}, "decision": "keep", "count": 1}
    bare = await clinic.ask("POST", BULK, rest)
    assert (bare.status_code, bare.json()["code"]) == (422, "reason_missing")
    assert [each["code"] for each in await world.said("command.refused")] == [
        "count_differs",
        "reason_missing",
    ]
    done = await clinic.ask("POST", BULK, rest | {"reason": "covers for Zoe"})
    assert done.json() == {"decided": 1}


async def test_lines_that_are_too_many_for_one_decision_are_said_to_be(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (await clinic.ask("GET", f"{LINES}?portal=noridian&advice=keep")).json()
    assert (found["count"], found["too_many"]) == (2, False)

    for module in (bulk, desk):
        monkeypatch.setattr(module, "BULK_LINES_MAX", 1)
    found = (await clinic.ask("GET", f"{LINES}?portal=noridian&advice=keep")).json()
    assert (found["count"], found["too_many"]) == (2, True)
    order = {"where": {"portal": "noridian", "advice": "keep"}, "decision": "keep", "count": 1}
    refused = await clinic.ask("POST", BULK, order)
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many")


async def test_a_bulk_decision_never_touches_what_is_ones_own_or_somebody_elses(
    world: World, clinic: Clinic
) -> None:
    assert (await clinic.ask("GET", LINES, worker="olga")).json()["count"] == 0
    as_holder = await clinic.ask("GET", LINES, worker="ana", scopes="review:admin")
    assert as_holder.json()["count"] == 0
    order = {"where": {}, "decision": "keep", "count": 2}
    answer = await clinic.ask("POST", BULK, order, worker="ana", scopes="review:admin")
    assert (answer.status_code, answer.json()["code"]) == (409, "count_differs")
