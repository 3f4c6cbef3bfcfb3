"""Gusto's webhooks become HR events.

The body as published: docs.gusto.com/app-integrations/docs/employee-events; the employee after the
example of Gusto's OpenAPI description, reduced; both seen in November 2026.
"""

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from datetime import date
from typing import Any

import orjson
import pytest
import pytest_asyncio

from services.gateway.adapters.gusto import about, signed, translate
from services.gateway.sealing import load_body_seal
from tests.gateway.conftest import Door, MakeSettings, Watcher
from tests.gateway.vendors import SOURCE, Peer, connected, until_done

TOKEN = "T2xkIHZlcmlmaWNhdGlvbiB0b2tlbg"
WHO = "bcfc9744-0ab3-4ef3-ab0d-e728255d659c"
PUBLISHED = b"""{
  "uuid": "03ffbf0c-48a9-4f1c-932a-546413a26ad1",
  "event_type": "employee.created",
  "resource_type": "Company",
  "resource_uuid": "5df911a0-e8e9-412d-8aaf-a46ad193dd96",
  "entity_type": "Employee",
  "entity_uuid": "bcfc9744-0ab3-4ef3-ab0d-e728255d659c",
  "timestamp": 1671058841
}"""
EMPLOYEE = f"v1/employees/{WHO}"
BOATY: dict[str, Any] = {
    "uuid": WHO,
    "first_name": "Boaty",
    "last_name": "Koss",
    "email": "private@home.example",
    "work_email": "bkoss@harbor.example",
    "manager_uuid": "d7282d99-ab6b-42f5-ba45-f4a670e886a8",
    "department": "Revenue",
    "has_ssn": True,
    "terminated": False,
    "jobs": [
        {"primary": False, "title": "Driver", "hire_date": "2024-05-01", "rate": "20.00"},
        {"primary": True, "title": "Biller", "hire_date": "2024-05-01", "rate": "98000.00"},
    ],
}


def signature(body: bytes, token: str = TOKEN) -> dict[str, str]:
    mac = hmac.new(token.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Gusto-Signature": mac}


@pytest_asyncio.fixture(loop_scope="session")
async def peer() -> Peer:
    made = Peer()
    made.answers = {
        EMPLOYEE: BOATY,
        f"{EMPLOYEE}/terminations": [],
        f"{EMPLOYEE}/work_addresses": [{"active": True, "city": "Tacoma"}],
    }
    return made


@pytest_asyncio.fixture(loop_scope="session")
async def gusto(
    make_settings: MakeSettings,
    prepared_kafka: str,
    fresh_database: Mapping[str, str],
    peer: Peer,
) -> AsyncIterator[Door]:
    settings = make_settings(kafka=prepared_kafka, database_url=fresh_database["gateway"])
    async with connected(settings, peer, "gusto", TOKEN, sites={"Tacoma": "tacoma"}) as door:
        yield door


async def hear(door: Door, topic: Watcher, event: str, count: int) -> list[Any]:
    before = len(await door.fetch("SELECT 1 FROM vendor_delivery"))
    body = PUBLISHED.replace(b"employee.created", event.encode())
    answer = await door.http.post("/hr/v1/adapters/gusto", content=body, headers=signature(body))
    assert answer.status_code == 202, answer.text
    await until_done(door, before + 1)
    return [
        (dict(each.headers)["ce_type"].decode(), orjson.loads(each.value))
        for each in await topic.take(count)
    ]


async def test_a_departure_is_said_when_it_is_scheduled_and_taken_back_when_it_is_cancelled(
    gusto: Door, peer: Peer, hr_topic: Watcher
) -> None:
    ((type_, data),) = await hear(gusto, hr_topic, "employee.created", 1)
    assert type_ == "worker.hired"
    assert data == {
        "employment_id": f"{WHO}-2024-05-01",
        "effective_on": "2024-05-01",
        "name": "Boaty Koss",
        "email": "bkoss@harbor.example",
        "title": "Biller",
        "department": "Revenue",
        "sites": ["tacoma"],
        "supervisor": "d7282d99-ab6b-42f5-ba45-f4a670e886a8",
        "kind": "employee",
    }
    peer.answers[f"{EMPLOYEE}/terminations"] = [{"effective_date": "2027-03-12", "active": True}]
    ((type_, data),) = await hear(gusto, hr_topic, "employee.terminated", 1)
    assert (type_, data["effective_on"]) == ("worker.terminated", "2027-03-12")
    peer.answers[f"{EMPLOYEE}/terminations"] = []
    ((type_, _),) = await hear(gusto, hr_topic, "employee.termination_cancelled", 1)
    assert type_ == "worker.rescinded"
    assert all(sent["authorization"] == "Bearer k" for _, _, sent in peer.asked)


async def test_another_token_does_not_sign(gusto: Door) -> None:
    answer = await gusto.http.post(
        "/hr/v1/adapters/gusto", content=PUBLISHED, headers=signature(PUBLISHED, "another token")
    )
    assert answer.status_code == 401


OAUTH = {
    "client_id": "app",
    "client_secret": "app-secret",
    "redirect_uri": "https://keeper.example/",
    "refresh_token": "first",
    "subscription": "c5fdae57-5483-4529-9aae-f0edceed92d4",
}
GIVEN = "6590f590-3dba-495e-9bea-c361e1e2efc0"
"""The verification token of docs.gusto.com/embedded-payroll/docs/webhooks."""


def grant(body: dict[str, Any]) -> dict[str, Any] | None:
    """As Gusto gives tokens: a refresh token once, and each good for two hours."""
    if body.get("client_secret") != "app-secret":
        return None
    if body["grant_type"] == "system_access":
        return {"access_token": "system", "expires_in": 7200}
    after = {"first": "second", "second": "third"}[body["refresh_token"]]
    return {"access_token": f"for {after}", "refresh_token": after, "expires_in": 7200}


@pytest_asyncio.fixture(loop_scope="session")
async def partner(
    make_settings: MakeSettings,
    prepared_kafka: str,
    fresh_database: Mapping[str, str],
    peer: Peer,
) -> AsyncIterator[Door]:
    """A gateway whose application is known to Gusto, with no key that signs yet."""
    verify = f"v1/webhook_subscriptions/{OAUTH['subscription']}/verify"
    peer.commands = {
        "oauth/token": grant,
        verify: lambda body: {"status": "verified"} if body["verification_token"] == GIVEN else {},
    }
    settings = make_settings(kafka=prepared_kafka, database_url=fresh_database["gateway"])
    more = {"oauth": OAUTH, "webhook_keys": [], "api_key": ""}
    async with connected(settings, peer, "gusto", TOKEN, **more) as door:
        yield door


async def bring(door: Door, token: str) -> Any:
    body = orjson.dumps({"verification_token": token})
    return await door.http.post("/hr/v1/adapters/gusto", content=body)


async def test_the_token_that_gusto_posts_is_confirmed_and_signs_from_then_on(
    partner: Door, peer: Peer, hr_topic: Watcher
) -> None:
    before = signature(PUBLISHED, GIVEN)
    early = await partner.http.post("/hr/v1/adapters/gusto", content=PUBLISHED, headers=before)
    assert early.status_code == 401
    confirmed = await bring(partner, GIVEN)
    assert (confirmed.status_code, confirmed.json()["status"]) == (202, "confirmed")
    asked = [(path, bearer) for path, _, bearer in peer.told]
    assert asked == [
        ("oauth/token", None),
        (f"v1/webhook_subscriptions/{OAUTH['subscription']}/verify", "Bearer system"),
    ]
    kept = await partner.http.post("/hr/v1/adapters/gusto", content=PUBLISHED, headers=before)
    assert kept.status_code == 202, kept.text
    await hr_topic.take(1)
    rows = await partner.fetch("SELECT sealed FROM vendor_token")
    assert rows
    assert not any(GIVEN.encode() in row["sealed"] for row in rows)


async def test_a_token_that_anybody_made_up_signs_nothing(partner: Door) -> None:
    refused = await bring(partner, "0000f590-3dba-495e-9bea-c361e1e2efc0")
    assert (refused.status_code, refused.json()["code"]) == (401, "not_confirmed")
    assert await partner.fetch("SELECT 1 FROM vendor_token") == []


async def test_an_access_token_is_renewed_when_it_ends_by_the_latest_refresh_token(
    partner: Door, peer: Peer, hr_topic: Watcher
) -> None:
    await bring(partner, GIVEN)
    used = []
    for number in range(3):
        if number == 2:
            await end_tokens(partner)
        peer.asked.clear()
        body = PUBLISHED.replace(b"1671058841", f"167105884{number}".encode())
        mac = signature(body, GIVEN)
        await partner.http.post("/hr/v1/adapters/gusto", content=body, headers=mac)
        await until_done(partner, number + 1)
        used.append({sent["authorization"] for _, _, sent in peer.asked})
    assert used == [{"Bearer for second"}, {"Bearer for second"}, {"Bearer for third"}]
    await hr_topic.take(1)


async def end_tokens(door: Door) -> None:
    """As if two hours had passed since the tokens were given."""
    seal = load_body_seal(door.settings.body_key_file)
    (row,) = await door.fetch("SELECT * FROM vendor_token WHERE kind = 'access'")
    name = f"vendor token access {SOURCE}"
    tokens = orjson.loads(seal.open(name, row["nonce"], row["sealed"]))
    nonce, sealed = seal.seal(name, orjson.dumps({**tokens, "ends_at": 0}))
    await door.fetch(
        "UPDATE vendor_token SET nonce = $1, sealed = $2 WHERE kind = 'access'", nonce, sealed
    )


@pytest.mark.fast
def test_the_published_body_is_signed_and_about_its_employee() -> None:
    given = {name.lower(): value for name, value in signature(PUBLISHED).items()}
    assert signed(PUBLISHED, given, TOKEN)
    assert not signed(PUBLISHED + b"\n", given, TOKEN)
    assert list(about(PUBLISHED)) == [WHO]
    assert about(PUBLISHED.replace(b'"Employee"', b'"Company"')) == ()
    assert about(PUBLISHED.replace(b"employee.created", b"employee.deleted")) == ()
    with pytest.raises(ValueError, match="no event of Gusto's"):
        about(b'{"verification_token": "x"}')


@pytest.mark.fast
def test_a_rehire_begins_another_employment_that_the_old_last_day_does_not_end() -> None:
    left = [{"effective_date": "2025-01-31"}]
    again = translate(BOATY, left, {"effective_date": "2026-04-01"}, [], {})
    assert again is not None
    assert (again.hired_on, again.ends_on) == (date(2026, 4, 1), None)
    gone = translate(BOATY, left, None, [], {})
    assert gone is not None
    assert gone.ends_on == date(2025, 1, 31)
