"""Whatever is sent to a route as its OpenAPI allows is answered, and as it says."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deploy.generate import openapi
from deploy.keys import make_secrets
from services.gateway.rules.roles import CLIENT_SCOPES, ROLE_SCOPES
from services.gateway.tokens import load_key, mint
from shared.auth import Principal
from tests.e2e.conftest import System

EXAMPLES = 5
ANSWER_SECONDS = 20
SCOPES = frozenset[str]().union(CLIENT_SCOPES, *ROLE_SCOPES.values())
PROCESSES = {
    "gateway": "gateway",
    "provisioning": "provisioning",
    "audit_log": "audit-log",
    "review_scheduler": "review-scheduler",
}
ENDLESS = {"/audit/v1/stream"}
"""It is answered for as long as one listens; `tests/audit_log/test_stream.py` does."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def operations(service: str) -> Iterator[Any]:
    schema = schemathesis.openapi.from_dict(openapi()[service])
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if operation.path not in ENDLESS:
            yield operation


def ask(operation: Any, url: str, headers: dict[str, str]) -> None:
    """Send what its OpenAPI allows, and check each answer."""

    @seed(20_261_125)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def one(case: Any) -> None:
        answer = case.call(base_url=url, headers=headers, timeout=ANSWER_SECONDS)
        case.validate_response(answer, checks=CHECKS)

    one()


@pytest.mark.parametrize("service", PROCESSES)
def test_any_request_is_answered_as_the_openapi_says(system: System, service: str) -> None:
    key = load_key(make_secrets(system.folder / "secrets").jwt_key)
    url, wrong = system.urls[PROCESSES[service]], []
    for operation in operations(service):
        who = Principal(system.organization, "w1", "w1", SCOPES, "Anybody", fresh=True)
        try:
            ask(operation, url, {"Authorization": f"Bearer {mint(key, who)}"})
        except (
            Exception,
            BaseExceptionGroup,
        ) as error:  # every route is asked before any is reported
            wrong.append(f"{operation.method.upper()} {operation.path}: {error}")
    assert not wrong, "\n\n".join(wrong)
