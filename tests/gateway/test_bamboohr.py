"""BambooHR's webhooks become HR events.

Bodies and signatures as published: documentation.bamboohr.com/docs/event-based-webhooks and
documentation.bamboohr.com/docs/webhooks, seen in November 2026.
"""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio

from services.gateway.adapters.bamboohr import about, signed
from tests.gateway.conftest import Door, MakeSettings, Watcher
from tests.gateway.test_sign_in import csrf_of, sign_in
from tests.gateway.vendors import SOURCE, Peer, connected, look_again, until_done

KEY = "4f9a1c57b2e0834d"
PUBLISHED = b"""{
  "type": "employee.updated",
  "timestamp": "2026-01-31T18:42:00+0000",
  "data": {
    "companyId": "12345",
    "employeeId": "67890",
    "changedFields": [
      "firstName"
    ]
  }
}"""
EMPLOYEE = "api/v1/employees/67890/"
MARIA = {
    "id": "67890",
    "firstName": "Maria",
    "lastName": "Delgado",
    "workEmail": "maria@harbor.example",
    "jobTitle": "Biller",
    "department": "Revenue",
    "location": "Main Street",
    "supervisorEId": "501",
    "hireDate": "2024-03-04",
    "terminationDate": "0000-00-00",
    "status": "Active",
    "employmentHistoryStatus": "Full-Time",
}


@pytest_asyncio.fixture(loop_scope="session")
async def peer() -> Peer:
    made = Peer()
    made.answers[EMPLOYEE] = dict(MARIA)
    return made


@pytest_asyncio.fixture(loop_scope="session")
async def bamboo(
    make_settings: MakeSettings,
    prepared_kafka: str,
    fresh_database: Mapping[str, str],
    peer: Peer,
) -> AsyncIterator[Door]:
    settings = make_settings(kafka=prepared_kafka, database_url=fresh_database["gateway"])
    sites = {"Main Street": "main"}
    leaves = ["Leave of Absence"]
    async with connected(
        settings, peer, "bamboohr", KEY, sites=sites, leave_statuses=leaves
    ) as door:
        yield door


def headers(body: bytes, key: str = KEY, age: int = 0) -> dict[str, str]:
    """As in BambooHR's own example: HMAC over the body, directly followed by the timestamp."""
    sent = str(int(time.time()) - age)
    mac = hmac.new(key.encode(), body + sent.encode(), hashlib.sha256).hexdigest()
    return {"X-BambooHR-Timestamp": sent, "X-BambooHR-Signature": mac}


async def post(door: Door, body: bytes = PUBLISHED, **signing: Any) -> Any:
    return await door.http.post(
        "/hr/v1/adapters/bamboohr", content=body, headers=headers(body, **signing)
    )


def said(records: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (dict(record.headers)["ce_type"].decode(), orjson.loads(record.value)) for record in records
    ]


async def hear(door: Door, topic: Watcher, count: int) -> list[tuple[str, dict[str, Any]]]:
    before = len(await door.fetch("SELECT 1 FROM vendor_delivery"))
    body = PUBLISHED.replace(b"18:42:00", f"18:42:{before:02}".encode())
    assert (await post(door, body)).status_code == 202
    await until_done(door, before + 1)
    return said(await topic.take(count))


async def test_the_published_body_has_the_employee_fetched_and_hired_once(
    bamboo: Door, peer: Peer, hr_topic: Watcher
) -> None:
    assert (await post(bamboo)).json()["status"] == "kept"
    assert (await post(bamboo)).status_code == 202
    (row,) = await until_done(bamboo)
    assert row["failure"] is None
    ((type_, data),) = said(await hr_topic.take(1))
    assert type_ == "worker.hired"
    assert data == {
        "employment_id": "67890-2024-03-04",
        "effective_on": "2024-03-04",
        "name": "Maria Delgado",
        "email": "maria@harbor.example",
        "title": "Biller",
        "department": "Revenue",
        "sites": ["main"],
        "supervisor": "501",
        "kind": "employee",
    }
    ((path, asked, sent),) = peer.asked
    assert path == EMPLOYEE
    assert "ssn" not in asked["fields"]
    assert "pay" not in asked["fields"].casefold()
    assert sent["authorization"].startswith("Basic ")


async def test_changes_leave_and_a_departure_that_is_called_off_are_said_one_by_one(
    bamboo: Door, peer: Peer, hr_topic: Watcher
) -> None:
    await hear(bamboo, hr_topic, 1)
    peer.answers[EMPLOYEE]["jobTitle"] = "Front Desk"
    ((type_, data),) = await hear(bamboo, hr_topic, 1)
    assert (type_, data["title"]) == ("worker.changed", "Front Desk")
    assert "department" not in data
    peer.answers[EMPLOYEE]["employmentHistoryStatus"] = "Leave of Absence"
    assert [each for each, _ in await hear(bamboo, hr_topic, 1)] == ["worker.leave_started"]
    peer.answers[EMPLOYEE]["employmentHistoryStatus"] = "Full-Time"
    peer.answers[EMPLOYEE]["terminationDate"] = "2027-01-29"
    back, left = await hear(bamboo, hr_topic, 2)
    assert back[0] == "worker.leave_ended"
    assert left[0] == "worker.terminated"
    assert left[1]["effective_on"] == "2027-01-29"
    peer.answers[EMPLOYEE]["terminationDate"] = "0000-00-00"
    ((type_, data),) = await hear(bamboo, hr_topic, 1)
    assert type_ == "worker.rescinded"
    assert data["rescinds"]


async def test_somebody_hired_again_has_another_employment_and_the_old_last_day_is_not_theirs(
    bamboo: Door, peer: Peer, hr_topic: Watcher
) -> None:
    peer.answers[EMPLOYEE] |= {"status": "Inactive", "terminationDate": "2025-06-30"}
    first = await hear(bamboo, hr_topic, 2)
    assert [each for each, _ in first] == ["worker.hired", "worker.terminated"]
    peer.answers[EMPLOYEE] |= {"status": "Active", "hireDate": "2026-02-02"}
    ((type_, data),) = await hear(bamboo, hr_topic, 1)
    assert (type_, data["employment_id"]) == ("worker.hired", "67890-2026-02-02")


async def test_a_vendor_that_is_down_is_asked_again_and_nothing_is_lost(
    bamboo: Door, peer: Peer, hr_topic: Watcher
) -> None:
    peer.down = True
    await post(bamboo)
    (row,) = await until_done(bamboo)
    assert "does not answer" in row["failure"]
    assert row["due_at"] is not None
    listed = await bamboo.http.get("/hr/v1/deliveries", headers=await bamboo.authorized("hr"))
    assert "does not answer" in listed.json()["deliveries"][0]["failure"]
    assert "67890" not in listed.text
    peer.down = False
    await look_again(bamboo)
    await until_done(bamboo)
    assert [each for each, _ in said(await hr_topic.take(1))] == ["worker.hired"]


async def test_what_was_refused_shows_at_its_source_and_is_looked_into_again_after_a_fix(
    bamboo: Door, peer: Peer, hr_topic: Watcher
) -> None:
    employee, peer.answers[EMPLOYEE] = peer.answers[EMPLOYEE], "no employee"
    await post(bamboo)
    (row,) = await until_done(bamboo)
    assert row["due_at"] is None
    await sign_in(bamboo, "hr")
    page = f"/hr/source?name={SOURCE}"
    shown = await bamboo.http.get(page)
    assert "the vendor&#39;s answer is not understood" in shown.text
    assert "67890" not in shown.text
    peer.answers[EMPLOYEE] = employee
    form = {"csrf": csrf_of(shown), "name": SOURCE, "delivery": str(row["id"]), "key": "k"}
    again = await bamboo.http.post("/hr/source/replay", data=form)
    assert again.headers["location"].endswith("did=replayed"), again.text
    (row,) = await until_done(bamboo)
    assert (row["failure"], row["events"], row["replayed_by"]) == (None, 1, "hr")
    assert [each for each, _ in said(await hr_topic.take(1))] == ["worker.hired"]
    assert "translated" in (await bamboo.http.get(page)).text
    form |= {"delivery": str(uuid4()), "key": "k2"}
    gone = await bamboo.http.post("/hr/source/replay", data=form)
    assert (gone.status_code, "list them again" in gone.text) == (404, True)


async def test_a_deleted_record_is_no_departure(bamboo: Door, peer: Peer) -> None:
    await post(bamboo, PUBLISHED.replace(b"employee.updated", b"employee.deleted"))
    (row,) = await until_done(bamboo)
    assert (row["failure"], peer.asked) == (None, [])


async def test_bodies_and_what_was_said_are_kept_sealed_for_thirty_days(
    bamboo: Door, hr_topic: Watcher
) -> None:
    await hear(bamboo, hr_topic, 1)
    rows = await bamboo.fetch(
        "SELECT sealed, (expires_at - received_at)::text AS kept FROM vendor_delivery"
    )
    assert [row["kept"] for row in rows] == ["30 days"]
    rows += await bamboo.fetch("SELECT sealed FROM vendor_employee")
    assert not any(b"67890" in row["sealed"] or b"Maria" in row["sealed"] for row in rows)


@pytest.mark.parametrize("signing", [{"key": "another key of 16"}, {"age": 600}, {"age": -600}])
async def test_a_wrong_key_and_an_old_signature_are_refused(
    bamboo: Door, signing: dict[str, Any]
) -> None:
    answer = await post(bamboo, **signing)
    assert (answer.status_code, answer.json()["code"]) == (401, "signature_invalid")
    assert await bamboo.fetch("SELECT 1 FROM vendor_delivery") == []


async def test_a_signed_body_that_is_no_event_is_refused_and_kept(bamboo: Door) -> None:
    answer = await post(bamboo, b'{"employees": []}')
    assert (answer.status_code, answer.json()["code"]) == (422, "not_understood")
    (row,) = await until_done(bamboo)
    assert row["due_at"] is None


async def test_a_vendor_that_nobody_has_taught_us_is_named(bamboo: Door) -> None:
    answer = await bamboo.http.post("/hr/v1/adapters/nobody", content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_vendor")
    assert "bamboohr" in answer.json()["detail"]


@pytest.mark.fast
@pytest.mark.parametrize("name", ["X-BambooHR-Timestamp", "X-BambooHR-Signature"])
def test_without_either_header_nothing_is_signed(name: str) -> None:
    given = {each.lower(): value for each, value in headers(PUBLISHED).items()}
    assert signed(PUBLISHED, given, KEY)
    assert not signed(PUBLISHED + b" ", given, KEY)
    del given[name.lower()]
    assert not signed(PUBLISHED, given, KEY)


@pytest.mark.fast
def test_the_published_body_is_about_the_employee_it_names() -> None:
    assert list(about(PUBLISHED)) == ["67890"]
