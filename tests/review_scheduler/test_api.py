from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.review_scheduler.handlers.removals import say_overdue_removals
from shared.contracts.directory import Function, OperationKind
from shared.contracts.review import REVIEW_EVENT_MODELS
from shared.contracts.state import (
    DecisionApplied,
    Grade,
    OpenOperation,
    OperationStatus,
)
from tests.review_scheduler.clinic import CAMPAIGNS, REVIEWS, Clinic, deciding
from tests.review_scheduler.worlds import START, TIN, World, holds, state


async def test_a_reviewer_reads_what_they_are_asked(clinic: Clinic) -> None:
    review = await clinic.only_review()

    assert review == review | {
        "kind": "campaign",
        "worker": "ana",
        "worker_name": "Ana",
        "reviewer": "sam",
        "reviewer_rule": "supervisor",
        "status": "open",
        "opened_at": "2026-11-23T16:00:00Z",
        "due_at": "2026-12-08T08:00:00Z",
        "reason": "campaign 2026-Q4",
        "undecided": 2,
    }
    assert [line["function"] for line in review["lines"]] == ["eligibility", "remittance"]
    assert review["lines"][0] == review["lines"][0] | {
        "portal": "noridian",
        "grade": "person",
        "operation_id": "op-1",
        "authorized_by": {"kind": "policy", "reference": "7", "by": "Dr. Reyes"},
        "status": "undecided",
        "decision": None,
    }


async def test_a_removal_ends_confirmed_and_with_it_the_review_and_the_campaign(
    world: World,
    clinic: Clinic,
) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"

    decided = (await clinic.ask("POST", path, deciding(review, "keep", "remove"))).json()
    assert decided["status"] == "decided"
    assert [line["status"] for line in decided["lines"]] == ["kept", "removal_decided"]
    said = await world.said("review.decided")
    assert [(each["decision"], each["operation_id"], each["decided_by"]) for each in said] == [
        ("keep", "op-1", "sam"),
        ("remove", "op-1", "sam"),
    ]

    removal = decided["lines"][1]
    applied = DecisionApplied(review["review_id"], removal["line_id"], "ordered", "removal ordered")
    access = [holds("noridian", "eligibility", "remittance")]
    await world.hear(state("ana", 2, access=access, decisions=[applied]))
    ordered = await clinic.only_review()
    assert (ordered["status"], ordered["lines"][1]["status"]) == ("decided", "removal_ordered")

    await world.hear(state("ana", 3, access=[holds("noridian")], decisions=[applied]))
    closed = await clinic.only_review()
    assert (closed["status"], closed["lines"][1]["status"]) == ("closed", "removal_confirmed")
    campaigns = (await clinic.ask("GET", CAMPAIGNS, scopes="audit:read")).json()["campaigns"]
    assert [
        (each["status"], each["kept"], each["removal_confirmed"], each["undecided"])
        for each in campaigns
    ] == [("closed", 1, 1, 0)]


async def test_a_decision_can_be_corrected_until_the_review_closes(
    world: World, clinic: Clinic
) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"

    await clinic.ask("POST", path, deciding(review, "remove"))
    corrected = (await clinic.ask("POST", path, deciding(review, "keep"))).json()
    assert corrected["lines"][0]["status"] == "kept"
    said = await world.said("review.corrected")
    assert [(each["decision"], each["previous_decision"]) for each in said] == [("keep", "remove")]

    assert (await clinic.ask("POST", path, deciding(review, "keep", "keep"))).status_code == 200
    assert len(await world.said("review.corrected")) == 1


async def test_deciding_otherwise_after_the_close_is_a_new_decision_in_a_new_review(
    world: World, clinic: Clinic
) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"
    await clinic.ask("POST", path, deciding(review, "keep", "keep"))

    same = (await clinic.ask("POST", path, deciding(review, "keep"))).json()
    assert same["review_id"] == review["review_id"], "it says nothing new"
    anew = (await clinic.ask("POST", path, deciding(review, "remove"))).json()

    assert (anew["status"], anew["kind"], anew["reviewer"]) == ("decided", "micro", "sam")
    assert [(line["function"], line["status"]) for line in anew["lines"]] == [
        ("eligibility", "removal_decided")
    ]
    before = (await clinic.ask("GET", f"{REVIEWS}/{review['review_id']}")).json()
    assert [line["status"] for line in before["lines"]] == ["kept", "kept"]
    assert (await world.said("review.decided"))[-1]["operation_id"] == "op-1"

    await world.hear(state("ana", 2, access=[holds("noridian", operation="op-2")]))
    late = await clinic.ask("POST", path, deciding(review, "remove"))
    assert (late.status_code, late.json()["code"]) == (409, "held_no_more")


async def test_a_line_shows_what_is_so_now_and_what_changed_since_it_was_opened(
    world: World, clinic: Clinic
) -> None:
    before = (await clinic.only_review())["lines"]
    assert [(line["changed"], line["risks"]) for line in before] == [([], []), ([], ["financial"])]

    used: dict[str, Any] = {
        "last_login_at": START + timedelta(hours=1),
        "last_login_grade": Grade.ROSTER,
        "last_login_source": "roster-9",
    }
    access = holds("noridian", "eligibility", "remittance", beyond=["remittance"], **used)
    await world.hear(state("ana", 2, access=[access]))
    now = (await clinic.only_review())["lines"]

    assert [line["changed"] for line in now] == [["used since"], ["used since"]]
    assert now[0]["login"] == now[0]["login"] | {
        "last_login_at": "2026-11-23T17:00:00Z",
        "last_login_grade": "roster",
        "last_login_source": "roster-9",
    }
    assert now[1]["risks"] == ["financial", "beyond_policy"]
    assert now[1]["recommendation"]["advice"] == "remove"
    assert now[1]["recommendation"]["reason"] == "No duty or exception gives it."


async def test_what_was_given_since_is_named_though_it_is_not_asked_about(
    world: World, clinic: Clinic
) -> None:
    assert (await clinic.only_review())["gained"] == []

    old = holds("noridian", "eligibility", "remittance")
    given = replace(holds("lni").effective[0], since=START + timedelta(hours=1))
    new = replace(holds("lni"), effective=(given,))
    await world.hear(state("ana", 2, access=[old, new]))

    assert [
        (each["portal"], each["function"]) for each in (await clinic.only_review())["gained"]
    ] == [("lni", "eligibility")]


async def test_keeping_what_looks_needless_needs_a_reason_and_says_what_was_shown(
    world: World, clinic: Clinic
) -> None:
    access = holds("noridian", "eligibility", "remittance", beyond=["remittance"])
    await world.hear(state("ana", 2, access=[access]))
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"

    assert [line["keep_needs_reason"] for line in review["lines"]] == [False, True]
    bare = await clinic.ask("POST", path, deciding(review, "keep", "keep"))
    assert (bare.status_code, bare.json()["code"]) == (422, "reason_missing")

    kept = deciding(review, "keep", "keep")
    kept["decisions"][1]["reason"] = "covers for Zoe until May"
    assert (await clinic.ask("POST", path, kept)).status_code == 200
    said = (await world.said("review.decided"))[-1]
    assert (said["risks"], said["advice"]) == (["financial", "beyond_policy"], "remove")


async def test_that_a_reviewer_first_looked_is_noted_once_and_nobody_elses_look(
    world: World, clinic: Clinic
) -> None:
    review = await clinic.only_review()
    await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}"
    await clinic.ask("GET", path, worker="ada", scopes="review:admin")

    assert [(each["read_by"], each["worker"]) for each in await world.said("review.read")] == [
        ("sam", "ana")
    ]


async def test_a_removal_that_the_portal_does_not_show_in_time_is_said_to_be_overdue_once(
    world: World, clinic: Clinic
) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"
    await clinic.ask("POST", path, deciding(review, "remove", "remove"))
    removal = review["lines"][0]
    deadline = START + timedelta(days=1)
    order = OpenOperation(
        "op-9", OperationKind.REVOKE, TIN, Function.ELIGIBILITY, 2, OperationStatus.REQUESTED,
        START, deadline, None,
    )  # fmt: skip
    applied = DecisionApplied(review["review_id"], removal["line_id"], "ordered", "removal ordered")
    access = holds("noridian", "eligibility", "remittance")
    held = replace(access, operations=(order,))
    await world.hear(state("ana", 2, access=[held], decisions=[applied]))

    assert await say_overdue_removals(world.pool, world.clock) == 0
    world.clock.instant = deadline + timedelta(minutes=1)
    assert await say_overdue_removals(world.pool, world.clock) == 1
    assert await say_overdue_removals(world.pool, world.clock) == 0
    said = await world.said("review.removal_overdue")
    assert [(each["function"], each["due_at"]) for each in said] == [
        ("eligibility", "2026-11-24T16:00:00Z")
    ]
    shown = (await clinic.only_review())["lines"]
    assert [line["overdue_at"] is not None for line in shown] == [True, False]
    assert shown[0]["order"]["operation_id"] == "op-9"

    left = replace(access, effective=access.effective[1:], grade=Grade.ROSTER)
    await world.hear(state("ana", 3, access=[left], decisions=[applied]))
    removed = await world.said("review.removed")
    assert [(each["function"], each["grade"]) for each in removed] == [("eligibility", "roster")]
    world.clock.instant = START + timedelta(days=4)
    assert await say_overdue_removals(world.pool, world.clock) == 1, "the other, never ordered"


@pytest.mark.parametrize(
    ("worker", "scopes", "status", "code"),
    [
        ("ana", "review:decide", 403, "self_review"),
        ("ana", "review:decide review:admin", 403, "self_review"),
        ("olga", "review:decide", 403, "not_reviewer"),
        (None, "review:admin", 403, "reviewer_unknown"),
        ("sam", "access:read", 403, "scope_missing"),
    ],
)
async def test_who_may_not_decide_is_refused_by_name(
    world: World, clinic: Clinic, worker: str | None, scopes: str, status: int, code: str
) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"

    answer = await clinic.ask("POST", path, deciding(review, "keep"), worker=worker, scopes=scopes)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await world.said("review.decided") == []
    refused = await world.said("command.refused")
    assert [each["code"] for each in refused] == ([] if code == "scope_missing" else [code])


async def test_a_holder_under_a_merged_id_is_still_the_holder(world: World, clinic: Clinic) -> None:
    review = await clinic.only_review()
    await world.hear(state("ana-old", merged_into="ana"))

    answer = await clinic.ask(
        "POST",
        f"{REVIEWS}/{review['review_id']}/decisions",
        deciding(review, "keep"),
        worker="ana-old",
        scopes="review:admin",
    )

    assert answer.json()["code"] == "self_review"


async def test_who_got_a_new_id_may_not_take_back_the_removal_under_the_old_one(
    world: World, clinic: Clinic
) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"
    await clinic.ask("POST", path, deciding(review, "remove"))
    await world.hear(state("ana", 2, merged_into="anna"), state("anna", aliases=("ana",)))

    answer = await clinic.ask(
        "POST", path, deciding(review, "keep"), worker="anna", scopes="review:admin"
    )

    assert answer.json()["code"] == "self_review"


async def test_a_review_admin_stands_in_for_a_reviewer(clinic: Clinic) -> None:
    review = await clinic.only_review()

    answer = await clinic.ask(
        "POST",
        f"{REVIEWS}/{review['review_id']}/decisions",
        deciding(review, "keep"),
        worker="olga",
        scopes="review:admin",
    )

    assert answer.json()["lines"][0]["decided_by"] == "olga"


async def test_all_decisions_of_a_request_are_taken_or_none(clinic: Clinic) -> None:
    review = await clinic.only_review()
    body = deciding(review, "keep", "keep")
    body["decisions"][1]["line_id"] = review["review_id"]

    answer = await clinic.ask("POST", f"{REVIEWS}/{review['review_id']}/decisions", body)

    assert (answer.status_code, answer.json()["code"]) == (422, "line_unknown")
    assert (await clinic.only_review())["undecided"] == 2


async def test_a_moot_line_takes_no_decision(world: World, clinic: Clinic) -> None:
    review = await clinic.only_review()
    await world.hear(state("ana", 2, access=[holds("noridian", "remittance")]))

    answer = await clinic.ask(
        "POST", f"{REVIEWS}/{review['review_id']}/decisions", deciding(review, "keep")
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "line_moot")


@pytest.mark.parametrize(
    "body",
    [
        {"decisions": []},
        {"decisions": [{"line_id": "x", "decision": "keep"}]},
        {"decisions": [{"line_id": "00000000-0000-0000-0000-000000000001", "decision": "remove"}]},
        {
            "decisions": [
                {"line_id": "00000000-0000-0000-0000-000000000001", "decision": "keep"},
                {"line_id": "00000000-0000-0000-0000-000000000001", "decision": "keep"},
            ]
        },
        {"decisions": [{"line_id": "00000000-0000-0000-0000-000000000001", "decision": "maybe"}]},
    ],
)
async def test_a_decision_must_be_explicit_and_a_removal_must_say_why(
    clinic: Clinic, body: dict[str, Any]
) -> None:
    review = await clinic.only_review()

    answer = await clinic.ask("POST", f"{REVIEWS}/{review['review_id']}/decisions", body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_the_same_command_sent_again_changes_nothing(clinic: Clinic) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"

    first = await clinic.ask("POST", path, deciding(review, "keep"), key="k")
    await clinic.ask("POST", path, deciding(review, "remove"))
    again = await clinic.ask("POST", path, deciding(review, "keep"), key="k")
    other = await clinic.ask("POST", path, deciding(review, "remove"), key="k")

    assert again.json() == first.json()
    assert (await clinic.only_review())["lines"][0]["status"] == "removal_decided"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_campaign_is_opened_once_per_command(clinic: Clinic) -> None:
    review = await clinic.only_review()
    await clinic.ask(
        "POST", f"{REVIEWS}/{review['review_id']}/decisions", deciding(review, "keep", "keep")
    )
    order = {"title": "After the merger"}

    first = await clinic.ask("POST", CAMPAIGNS, order, scopes="review:admin", key="k")
    again = await clinic.ask("POST", CAMPAIGNS, order, scopes="review:admin", key="k")
    another = await clinic.ask("POST", CAMPAIGNS, {}, scopes="review:admin")

    assert (first.status_code, first.json()["status"]) == (201, "opening")
    assert again.json() == first.json()
    assert (another.status_code, another.json()["code"]) == (409, "campaign_unfinished")
    assert (await clinic.ask("POST", CAMPAIGNS, {})).json()["code"] == "scope_missing"


async def test_lists_are_paged_filtered_and_show_reviewers_only_their_own(
    world: World, clinic: Clinic
) -> None:
    await world.hear(
        *(state(f"w{n}", supervisor="tess", access=[holds("lni")]) for n in range(5)),
        *(
            state(f"w{n}", 2, supervisor="tess", title="Coder", access=[holds("lni")])
            for n in range(5)
        ),
    )
    await world.hear(
        *(
            state(f"w{n}", 3, supervisor="tess", title="Lead", access=[holds("lni")])
            for n in range(5)
        )
    )

    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        page = (await clinic.ask("GET", f"{REVIEWS}?limit=2{cursor}", scopes="review:admin")).json()
        seen += [each["worker"] for each in page["reviews"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert sorted(seen) == ["ana", "w0", "w1", "w2", "w3", "w4"]
    for query, worker, found in (
        ("", "sam", 1),
        ("?reviewer=tess", "sam", 0),
        ("?status=closed", "sam", 0),
        ("?status=open&worker=ana", "sam", 1),
    ):
        answer = await clinic.ask("GET", REVIEWS + query, worker=worker)
        assert len(answer.json()["reviews"]) == found


@pytest.mark.parametrize("cursor", ["x", "W10=", "WyJhIiwiYiJd", "MQ==", "é"])
async def test_a_cursor_that_is_none_is_refused_by_name(clinic: Clinic, cursor: str) -> None:
    answer = await clinic.ask("GET", f"{REVIEWS}?cursor={cursor}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


async def test_somebody_elses_review_is_not_found(clinic: Clinic) -> None:
    review = await clinic.only_review()

    answer = await clinic.ask("GET", f"{REVIEWS}/{review['review_id']}", worker="olga")

    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_review")


async def test_every_event_said_reads_back_as_its_contract(world: World, clinic: Clinic) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"
    await clinic.ask("POST", path, deciding(review, "remove"))
    await clinic.ask("POST", path, deciding(review, "keep", "remove"))
    world.clock.instant = START + timedelta(days=4)
    await say_overdue_removals(world.pool, world.clock)
    await world.hear(state("ana", 2, access=[holds("noridian")]))
    await world.hear(state("ben", access=[holds("noridian")]))
    await world.open_campaign()
    await world.hear(state("ben", 2))

    told = (
        "opened",
        "read",
        "decided",
        "corrected",
        "moot",
        "removed",
        "removal_overdue",
        "closed",
    )
    for type in (f"review.{each}" for each in told):
        model, said = REVIEW_EVENT_MODELS[type], await world.said(type)
        assert said, type
        for data in said:
            assert model.model_validate(data).model_dump(mode="json", exclude_unset=True) == data
