"""Programs with credentials: what they get, what they may send, and how they are let go."""

from typing import Any

import httpx
import orjson
import pytest

from shared.auth import Authenticator
from tests.gateway.conftest import BATCH, ORGANIZATION, SOURCE, Door, hired

Registered = tuple[str, str]


async def bearer(door: Door, *roles: str) -> dict[str, str]:
    secret = await door.secret(*roles)
    answer = await door.http.post("/session/token", headers={"authorization": f"Bearer {secret}"})
    return {"authorization": f"Bearer {answer.json()['token']}"}


async def register(door: Door, **asked: Any) -> Registered:
    asked = {"name": "Payroll", "scopes": ["hr:write"], "source": SOURCE, **asked}
    answer = await door.http.post(
        "/ops/v1/clients", json=asked, headers=await bearer(door, "operator")
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], answer.json()["secret"]


async def ask(door: Door, client: Registered, **form: str) -> httpx.Response:
    return await door.http.post(
        "/oauth/token", data={"grant_type": "client_credentials", **form}, auth=client
    )


async def send(door: Door, token: str, *events: Any) -> httpx.Response:
    return await door.http.post(
        "/hr/v1/events",
        content=orjson.dumps(events),
        headers={"authorization": f"Bearer {token}", "content-type": BATCH},
    )


async def test_a_program_gets_a_token_for_its_credentials_in_either_place(door: Door) -> None:
    client = await register(door, scopes=["audit:read", "access:read"], source=None)
    answer = await ask(door, client)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["token_type"] == "Bearer"
    who = Authenticator(door.settings.jwks_file).authenticate(answer.json()["access_token"])
    assert (who.organization, who.subject) == (ORGANIZATION, client[0])
    assert who.scopes == {"audit:read", "access:read"}
    assert not who.fresh, "what cannot be undone asks for a person"
    form = {"client_id": client[0], "client_secret": client[1], "scope": "audit:read"}
    narrow = await door.http.post("/oauth/token", data={"grant_type": "client_credentials", **form})
    assert narrow.json()["scope"] == "audit:read"


async def test_hr_events_are_taken_with_a_token_and_only_of_its_source(door: Door) -> None:
    token = (await ask(door, await register(door))).json()["access_token"]
    taken = await send(door, token, hired("W-7"))
    assert taken.status_code == 202, taken.text
    refused = await send(door, token, hired("W-8", source="other-hr", organization="other"))
    assert refused.status_code == 422
    reader = await register(door, scopes=["audit:read"], source=None)
    without = await send(door, (await ask(door, reader)).json()["access_token"], hired())
    assert (without.status_code, without.json()["code"]) == (403, "scope_missing")


async def test_a_replaced_secret_counts_until_the_overlap_ends(fresh_door: Door) -> None:
    client = await register(fresh_door)
    operator = await bearer(fresh_door, "operator")
    answer = await fresh_door.http.post(
        f"/ops/v1/clients/{client[0]}/secrets", json={"overlap_days": 1}, headers=operator
    )
    new = (client[0], answer.json()["secret"])
    assert [(await ask(fresh_door, each)).status_code for each in (client, new)] == [200, 200]
    await fresh_door.fetch(
        "UPDATE client_secret SET ends_at = now() - interval '1 second' WHERE ends_at IS NOT NULL"
    )
    assert [(await ask(fresh_door, each)).status_code for each in (client, new)] == [401, 200]
    (rotated,) = [data for kind, data in await fresh_door.activity() if kind == "key.rotated"]
    assert (rotated["kind"], rotated["key"]) == ("client", client[0])


async def test_a_revoked_program_gets_no_token_and_sends_nothing(door: Door) -> None:
    client = await register(door)
    token = (await ask(door, client)).json()["access_token"]
    operator = await bearer(door, "operator")
    await door.http.post(f"/ops/v1/clients/{client[0]}/revoke", headers=operator)
    refused = await ask(door, client)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert (await send(door, token, hired())).json()["code"] == "no_source"


async def test_refusals_are_as_the_standard_says_and_recorded(fresh_door: Door) -> None:
    client = await register(fresh_door)
    wrong = await ask(fresh_door, (client[0], "guess"))
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Basic")
    beyond = await ask(fresh_door, client, scope="audit:read")
    assert (beyond.status_code, beyond.json()["error"]) == (400, "invalid_scope")
    other = await fresh_door.http.post("/oauth/token", data={"grant_type": "password"})
    assert (other.status_code, other.json()["error"]) == (400, "unsupported_grant_type")
    refused = [data for kind, data in await fresh_door.activity() if kind == "session.refused"]
    assert [each["code"] for each in refused] == ["client_unknown", "scope_missing"]


async def test_only_a_hash_of_the_secret_is_stored_and_no_list_shows_it(fresh_door: Door) -> None:
    client = await register(fresh_door)
    listed = await fresh_door.http.get(
        "/ops/v1/clients", headers=await bearer(fresh_door, "operator")
    )
    assert client[0] in listed.text
    assert client[1] not in listed.text
    rows = await fresh_door.fetch("SELECT * FROM client_secret")
    said = await fresh_door.activity()
    assert client[1] not in str([dict(each) for each in rows]) + str(said)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"scopes": ["access:admin"], "source": None}, "scope_not_for_programs"),
        ({"scopes": ["hr:write"], "source": None}, "source_needed"),
        ({"scopes": ["audit:read"], "source": SOURCE}, "source_needed"),
    ],
)
async def test_a_program_gets_only_what_programs_may(
    door: Door, asked: dict[str, Any], code: str
) -> None:
    answer = await door.http.post(
        "/ops/v1/clients", json={"name": "x", **asked}, headers=await bearer(door, "operator")
    )
    assert (answer.status_code, answer.json()["code"]) == (422, code)
