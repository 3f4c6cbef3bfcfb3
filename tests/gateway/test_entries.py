"""What people enter by hand goes the way of all HR events, under their name."""

from typing import Any

import pytest

from services.gateway.rules.intake import judge
from shared.contracts.hr import CONSOLE_SOURCE
from tests.gateway.conftest import ORGANIZATION

pytestmark = pytest.mark.fast

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


def test_an_entry_carries_the_name_of_whoever_entered_it() -> None:
    (accepted,), refused = judge([entered()], BOUND, "W-9")
    assert not refused
    assert accepted.headers["ce_enteredby"] == "W-9"


def test_a_signed_source_cannot_claim_that_a_person_entered_its_event() -> None:
    (accepted,), _ = judge([entered(enteredby="W-9")], BOUND)
    assert "ce_enteredby" not in accepted.headers


def test_an_entry_about_another_organization_is_refused() -> None:
    accepted, (refused,) = judge([entered(organization="elsewhere")], BOUND, "W-9")
    assert not accepted
    assert refused.code == "source_not_bound"
