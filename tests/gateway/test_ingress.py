"""HR events at the door."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
import pytest_asyncio
from cloudevents.core.bindings import http as sdk_http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from services.gateway.handlers.ingress import REJECTED_BODY_DAYS
from services.gateway.rules.intake import BATCH_MAX_EVENTS, BODY_MAX_BYTES
from services.gateway.sealing import load_body_seal
from shared.contracts.hr import read_hr_event
from shared.contracts.topics import DEAD_LETTERS
from tests.gateway.conftest import (
    NEW_SECRET,
    OLD_SECRET,
    ORGANIZATION,
    OTHER_SECRET,
    STRUCTURED,
    Door,
    Watcher,
    hired,
    signed,
    watch,
)


@pytest_asyncio.fixture(loop_scope="session")
async def dead_letters(prepared_kafka: str) -> AsyncIterator[Watcher]:
    async for watcher in watch(prepared_kafka, DEAD_LETTERS):
        yield watcher


async def test_an_event_answered_with_202_is_on_kafka_in_binary_mode(
    door: Door, hr_topic: Watcher
) -> None:
    event = hired("W/7 ü")
    answer = await door.send([event])
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 1,
        "rejected": 0,
        "results": [{"index": 0, "id": event["id"], "status": "accepted", "dropped": []}],
    }
    (record,) = await hr_topic.take(1)
    assert record.key == b"harbor/W%2F7%20%C3%BC"
    headers = {name: value.decode() for name, value in record.headers}
    assert headers["ce_id"] == event["id"]
    assert headers["ce_organization"] == ORGANIZATION
    assert headers["content-type"] == "application/json"
    assert read_hr_event(record).worker == "W/7 ü"


async def test_fields_outside_the_contract_do_not_travel_and_are_named(
    door: Door, hr_topic: Watcher
) -> None:
    event = hired(data={"termination_reason": "secret", "salary": 1}, enteredby="W-9")
    answer = await door.send([event])
    assert answer.json()["results"][0]["dropped"] == [
        "enteredby",
        "data.salary",
        "data.termination_reason",
    ]
    (record,) = await hr_topic.take(1)
    assert b"secret" not in record.value
    assert "ce_enteredby" not in dict(record.headers)
    assert set(orjson.loads(record.value)) == {
        "effective_on",
        "employment_id",
        "title",
        "sites",
        "kind",
    }


async def test_a_worker_keeps_the_order_of_a_batch(door: Door, hr_topic: Watcher) -> None:
    events = [hired("W-order") for _ in range(50)]
    assert (await door.send(events)).status_code == 202
    records = await hr_topic.take(50)
    assert [dict(record.headers)["ce_id"].decode() for record in records] == [
        event["id"] for event in events
    ]


async def test_a_rejected_event_beside_a_valid_one_becomes_a_dead_letter_without_its_bytes(
    door: Door, dead_letters: Watcher
) -> None:
    bad = hired("W-2", data={"title": "", "ssn": "123-45-6789"})
    answer = await door.send([hired("W-1"), bad])
    assert answer.status_code == 202
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, 1)
    result = answer.json()["results"][1]
    assert result["code"] == "invalid_data"
    (record,) = await dead_letters.take(1)
    everything = record.key + record.value + b"".join(value for _, value in record.headers)
    assert b"123-45-6789" not in everything
    assert b"W-2" not in everything
    letter = orjson.loads(record.value)
    assert letter["reference"] == result["reference"]
    assert letter["reason"] == "invalid_data"


async def test_rejected_bytes_are_kept_sealed_for_thirty_days(fresh_door: Door) -> None:
    bad = hired(type="worker.promoted")
    assert (await fresh_door.send([bad])).status_code == 422
    (row,) = await fresh_door.fetch("SELECT *, expires_at - rejected_at AS kept FROM rejected_body")
    assert row["kept"] == timedelta(days=REJECTED_BODY_DAYS)
    assert b"promoted" not in row["sealed"]
    seal = load_body_seal(fresh_door.settings.body_key_file)
    opened = seal.open(str(row["reference"]), row["nonce"], row["sealed"])
    assert orjson.loads(opened) == bad


async def test_the_same_rejected_event_sent_again_is_kept_once(fresh_door: Door) -> None:
    bad = hired(type="worker.promoted")
    references = {
        (await fresh_door.send([bad])).json()["results"][0]["reference"] for _ in range(2)
    }
    rows = await fresh_door.fetch("SELECT reference FROM rejected_body")
    assert {UUID(each) for each in references} == {row["reference"] for row in rows}
    assert len(rows) == 1


async def test_a_request_without_any_valid_event_is_answered_with_422(door: Door) -> None:
    answer = await door.send([hired(subject=""), "no event", 7, None])
    assert answer.status_code == 422
    assert answer.json()["accepted"] == 0
    assert len(answer.json()["results"]) == 4


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"subject": "maria@clinic.example"}, "personal_id"),
        ({"subject": "123-45-6789"}, "personal_id"),
        ({"id": "maria@clinic.example"}, "personal_id"),
        ({"organization": "other"}, "source_not_bound"),
        ({"source": "other-hr", "organization": "other"}, "source_not_signed"),
        ({"source": "nobody"}, "source_not_signed"),
        ({"specversion": "0.3"}, "unsupported_version"),
        ({"time": "0001-01-01T00:00:00Z"}, "invalid_time"),
        ({"time": "2026-11-02T08:00:00"}, "invalid_time"),
        ({"subject": "W\u0000"}, "invalid_id"),
        ({"data": {"npi": "1234567890"}}, "invalid_data"),
        ({"data": {"deep": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}}, "too_deep"),
    ],
)
async def test_an_unacceptable_event_is_refused_by_a_named_rule(
    door: Door, change: Mapping[str, Any], code: str
) -> None:
    answer = await door.send([hired(**change)])
    assert answer.status_code == 422
    assert answer.json()["results"][0]["code"] == code


async def test_an_unacknowledged_event_is_answered_with_503_and_when_to_try_again(
    door_without_kafka: Door,
) -> None:
    answer = await door_without_kafka.send([hired()])
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["code"] == "not_acknowledged"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_rejection_that_kafka_did_not_take_is_not_answered_with_422(
    door_without_kafka: Door,
) -> None:
    assert (await door_without_kafka.send([hired(type="nothing")])).status_code == 503


async def test_both_secrets_of_a_rotation_are_accepted(door: Door) -> None:
    for secret in (NEW_SECRET, OLD_SECRET):
        assert (await door.send([hired()], secret=secret)).status_code == 202


async def test_another_sources_secret_does_not_speak_for_this_source(door: Door) -> None:
    answer = await door.send([hired()], secret=OTHER_SECRET)
    assert answer.json()["results"][0]["code"] == "source_not_signed"


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_a_request_outside_the_replay_window_is_refused(door: Door, minutes: int) -> None:
    answer = await door.send([hired()], age=timedelta(minutes=minutes))
    assert answer.status_code == 401
    assert answer.json()["code"] == "signature_invalid"


async def test_an_altered_body_is_refused_before_it_is_read(door: Door) -> None:
    body = orjson.dumps(hired())
    headers = signed(body, STRUCTURED)
    for sent in (body + b" ", b"not json", b"\xff\xfe", b""):
        answer = await door.http.post("/hr/v1/events", content=sent, headers=headers)
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "signature", ["", "v1", "v1,", "v1,%%%", "v2,AAAA", "v1,AAAA v1", "v1,é", "," * 50]
)
async def test_a_malformed_signature_is_refused(door: Door, signature: str) -> None:
    body = orjson.dumps(hired())
    headers = [(name.encode(), value.encode()) for name, value in signed(body, STRUCTURED).items()]
    headers = [*headers[:-1], (b"webhook-signature", signature.encode())]
    answer = await door.http.post("/hr/v1/events", content=body, headers=headers)
    assert answer.status_code == 401


async def test_refused_signatures_are_recorded_but_a_flood_of_them_is_not(fresh_door: Door) -> None:
    for _ in range(15):
        await fresh_door.http.post("/hr/v1/events", content=b"{}")
    (said,) = await fresh_door.activity()
    assert said[0] == "command.refused"
    assert said[1]["code"] == "signature_invalid"


async def test_a_body_beyond_the_limit_is_answered_with_413(door: Door) -> None:
    answer = await door.http.post("/hr/v1/events", content=b" " * (BODY_MAX_BYTES + 1))
    assert answer.status_code == 413


async def test_a_batch_beyond_the_limit_is_answered_with_413(door: Door) -> None:
    answer = await door.send([{}] * (BATCH_MAX_EVENTS + 1))
    assert answer.status_code == 413


async def test_another_media_type_is_answered_with_415(door: Door) -> None:
    body = orjson.dumps(hired())
    answer = await door.http.post(
        "/hr/v1/events", content=body, headers=signed(body, "application/xml")
    )
    assert answer.status_code == 415


async def test_sources_heard_are_counted(fresh_door: Door) -> None:
    await fresh_door.send([hired(), hired(), hired(type="nothing")])
    (row,) = await fresh_door.fetch("SELECT source, accepted, rejected FROM source_heard")
    assert tuple(row) == ("harbor-hr", 2, 1)


@pytest.mark.parametrize("write", [sdk_http.to_structured, sdk_http.to_binary])
async def test_what_the_cloudevents_sdk_writes_is_understood(
    door: Door, hr_topic: Watcher, write: Any
) -> None:
    event = hired()
    data = event.pop("data")
    event["time"] = datetime.fromisoformat(event["time"])
    message = write(CloudEvent(event, data), JSONFormat())
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    content_type = {name.lower(): value for name, value in message.headers.items()}["content-type"]
    answer = await door.http.post(
        "/hr/v1/events", content=body, headers={**message.headers, **signed(body, content_type)}
    )
    assert answer.status_code == 202, answer.text
    (record,) = await hr_topic.take(1)
    assert read_hr_event(record).id == event["id"]


async def enter(door: Door, role: str, type_: str, worker: str, **data: Any) -> Any:
    """What somebody in a role enters by hand."""
    return await door.http.post(
        "/hr/v1/entries",
        json={"type": type_, "worker": worker, "data": data},
        headers=await door.authorized(role),
    )


@pytest.mark.parametrize(
    ("role", "type_", "status"),
    [
        ("hr", "worker.erased", 202),
        ("privacy", "worker.erased", 202),
        ("administrator", "worker.erased", 403),
        ("administrator", "worker.training_completed", 202),
        ("privacy", "worker.training_completed", 403),
        ("compliance", "worker.erased", 403),
    ],
)
async def test_who_may_enter_what_by_hand(
    door: Door, hr_topic: Watcher, role: str, type_: str, status: int
) -> None:
    data = {"module": "basics", "completed_on": "2026-06-01"} if "training" in type_ else {}
    answer = await enter(door, role, type_, "W-ENTERED", **data)
    assert answer.status_code == status, answer.text
    if status == 202:
        (record,) = await hr_topic.take(1)
        headers = {name: value.decode() for name, value in record.headers}
        assert headers["ce_enteredby"]
        assert headers["ce_source"] == "/portalkeeper/console"


async def test_nobody_enters_anything_about_themselves(door: Door) -> None:
    answer = await enter(door, "hr=W-SELF", "worker.erased", "W-SELF")
    assert (answer.status_code, answer.json()["code"]) == (403, "self_entry")
