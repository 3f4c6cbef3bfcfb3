"""Every route of every service asks for a scope, and says so when it turns somebody away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from joserfc.jwk import OKPKey

from deploy.generate import openapi, required, service_routers
from services.gateway.rules.roles import ROLE_SCOPES
from shared import problems
from shared.auth import NOT_FRESH, Authenticator
from tests.shared.tokens import token, write_keys

OPEN = {
    # What a load balancer, a monitor or anybody who verifies may ask.
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /.well-known/jwks.json",
    "GET /log/{origin}/checkpoint",
    "GET /log/{origin}/tile/entries/{path}",
    "GET /log/{origin}/tile/{level}/{path}",
    # What looks for itself at a signature, a link or a session.
    "POST /hr/v1/adapters/{vendor}",
    "POST /hr/v1/events",
    "POST /hr/v1/rosters",
    "POST /session",
    "POST /session/token",
    "POST /oauth/token",
}
"""Routes without a scope; a new one is either named here or refused by these tests."""

SCOPES = frozenset[str]().union(*ROLE_SCOPES.values())
KEY = OKPKey.generate_key("Ed25519", {"kid": "k"})


def operations() -> Iterator[tuple[str, str, str, list[str]]]:
    """Service, method, path and scopes of each operation, as its OpenAPI says."""
    for service, document in openapi().items():
        for path, methods in document["paths"].items():
            for method, said in methods.items():
                scopes = [scope for way in said.get("security", ()) for scope in way["token"]]
                yield service, method.upper(), path, scopes


GUARDED = [each for each in operations() if f"{each[1]} {each[2]}" not in OPEN]


class Service:
    """One service's routes with nothing behind them, and whom it said that it turned away."""

    def __init__(self, service: str, folder: Path) -> None:
        self.app = FastAPI()
        self.turned_away: list[tuple[int, str]] = []
        problems.install(self.app, self._say)
        self.routes: list[APIRoute] = []
        authenticator = Authenticator(write_keys(folder / "jwks.json", KEY))
        for router in service_routers(authenticator)[service]:
            self.app.include_router(router)
            self.routes += [route for route in router.routes if isinstance(route, APIRoute)]

    async def _say(self, _request: Any, problem: Any) -> None:
        self.turned_away.append((problem.status, problem.code))

    async def ask(self, method: str, path: str, bearer: str | None) -> httpx.Response:
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            # Ids in a path are whatever they are: nobody gets as far as looking at them.
            return await http.request(
                method, path.replace("{", "").replace("}", ""), headers=headers
            )


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Service]:
    return {
        name: Service(name, tmp_path_factory.mktemp(name)) for name in {each[0] for each in GUARDED}
    }


def test_only_the_routes_named_here_are_open() -> None:
    without = {f"{method} {path}" for _, method, path, scopes in operations() if not scopes}
    assert without == OPEN


def test_each_scope_that_a_route_asks_for_is_one_that_some_role_gives() -> None:
    asked = {scope for *_, scopes in GUARDED for scope in scopes}
    assert asked <= SCOPES


@pytest.mark.parametrize(
    ("service", "method", "path", "scopes"), GUARDED, ids=[" ".join(each[:3]) for each in GUARDED]
)
async def test_who_lacks_a_routes_scope_is_turned_away_and_that_is_said(
    services: dict[str, Service], service: str, method: str, path: str, scopes: list[str]
) -> None:
    asked = services[service]
    asked.turned_away.clear()
    others = " ".join(SCOPES.difference(scopes))
    stranger = token(OKPKey.generate_key("Ed25519", {"kid": "k"}), scope=" ".join(scopes))
    answers = [
        await asked.ask(method, path, bearer)
        for bearer in (None, "no-token", stranger, token(KEY, scope=others))
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 403]
    assert asked.turned_away == [(401, "unauthorized")] * 3 + [(403, "scope_missing")]


async def test_what_cannot_be_undone_asks_for_a_fresh_sign_in(
    services: dict[str, Service],
) -> None:
    found = set()
    for service in services.values():
        for route in service.routes:
            requirement = required(route)
            if requirement is not None and requirement.fresh:
                method = min(route.methods or {"GET"})
                stale = token(KEY, scope=" ".join(requirement.scopes), fresh=False)
                answer = await service.ask(method, route.path_format, stale)
                assert (answer.status_code, answer.json()["code"]) == (403, NOT_FRESH)
                found.add(f"{method} {route.path_format}")
    assert found == {
        "POST /access/v1/brake/{cause_id}/release",
        "POST /access/v1/directory",
        "POST /access/v1/directory/plans/{plan}/apply",
        "POST /access/v1/directory/plans/{plan}/approve",
        "POST /audit/v1/erasures",
        "POST /audit/v1/holds/{hold_id}/release",
        "POST /ops/v1/accept-gap",
        "POST /ops/v1/clients",
        "POST /ops/v1/clients/{client_id}/revoke",
        "POST /ops/v1/clients/{client_id}/secrets",
        "POST /ops/v1/maintenance",
        "POST /hr/v1/sources/{source}/secrets",
    }
