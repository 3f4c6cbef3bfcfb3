"""What people enter by hand goes the way of all HR events, under their name."""

from dataclasses import replace
from typing import Any

from services.gateway.rules.intake import judge
from services.gateway.rules.roles import scopes_of
from services.gateway.tokens import load_key, mint
from shared.auth import Principal
from shared.contracts.hr import CONSOLE_SOURCE
from tests.gateway.conftest import ORGANIZATION, Door

BOUND = {CONSOLE_SOURCE: frozenset({ORGANIZATION})}


def entered(**changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "entry-1",
        "type": "worker.training_completed",
        "source": CONSOLE_SOURCE,
        "subject": "W-1",
        "time": "2026-06-15T18:00:00Z",
        "organization": ORGANIZATION,
        "data": {"module": "remittance-basics", "completed_on": "2026-06-14"},
        **changes,
    }


async def test_nobody_is_erased_by_a_session_that_nobody_proved_to_be_theirs_just_now(
    door: Door,
) -> None:
    key = load_key(door.settings.jwt_key_file)
    who = Principal(ORGANIZATION, "p1", None, scopes_of(["privacy"]), "Privacy", fresh=False)
    erasure = {"type": "worker.erased", "worker": "W-1", "data": {}}
    for fresh, expected in ((False, (403, "sign_in_again")), (True, (202, None))):
        bearer = {"Authorization": f"Bearer {mint(key, replace(who, fresh=fresh))}"}
        answer = await door.http.post("/hr/v1/entries", json=erasure, headers=bearer)
        assert (answer.status_code, answer.json().get("code")) == expected


def test_an_entry_carries_the_name_of_whoever_entered_it() -> None:
    (accepted,), refused = judge([entered()], BOUND, "W-9")
    assert not refused
    assert accepted.headers["ce_enteredby"] == "W-9"


def test_a_signed_source_cannot_claim_that_a_person_entered_its_event() -> None:
    (accepted,), _ = judge([entered(enteredby="W-9")], BOUND)
    assert "ce_enteredby" not in accepted.headers


def test_what_is_wrong_with_an_event_is_a_sentence_of_ours() -> None:
    data = {"module": "remittance-basics", "completed_on": "0001-06-14"}
    _, (refused,) = judge([entered(data=data)], BOUND, "W-9")
    assert refused.detail == "completed_on: the year must lie between 1900 and 2200"


def test_an_entry_about_another_organization_is_refused() -> None:
    accepted, (refused,) = judge([entered(organization="elsewhere")], BOUND, "W-9")
    assert not accepted
    assert refused.code == "source_not_bound"
