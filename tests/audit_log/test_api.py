"""What auditors see over HTTP, what they do not, and that their looking is itself recorded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from shared.contracts.topics import DEAD_LETTERS, DIRECTORY_EVENTS
from shared.kafka import Gap
from tests.audit_log.worlds import World, hired, raw_record


async def get(world: World, path: str, token: str | None = None, **query: Any) -> httpx.Response:
    async with world.client(token) as http:
        return await http.get(f"/audit/v1{path}", params=query)


async def indexes(world: World, **query: Any) -> list[int]:
    answer = await get(world, "/entries", **query)
    assert answer.status_code == 200, answer.text
    return [entry["index"] for entry in answer.json()["entries"]]


async def test_an_entry_is_shown_decrypted(world: World) -> None:
    await world.append(hired(0, "W-7", title="Front Desk"))
    shown = (await get(world, "/entries/0")).json()
    assert shown["payload"]["value"] == {"employment_id": "W-7-1", "title": "Front Desk"}
    assert shown["payload"]["key"] == "cedar-sound/W-7"
    assert shown["payload"]["headers"]["ce_type"] == "worker.hired"
    del shown["payload"], shown["recorded_at"], shown["leaf_hash"], shown["leaf"]
    assert shown == {
        "index": 0,
        "timestamp": "2026-03-02T08:00:00Z",
        "kind": "record",
        "topic": "hr.worker-events.v1",
        "partition": 0,
        "offset": 0,
        "last": 0,
        "organization": "cedar-sound",
        "type": "worker.hired",
        "subject": "W-7",
        "label": None,
        "payload_missing": None,
    }


async def test_a_value_that_is_no_json_is_shown_as_base64(world: World) -> None:
    await world.append(raw_record(0, None, b"\xff", [("ce_organization", b"cedar-sound")]))
    payload = (await get(world, "/entries/0")).json()["payload"]
    assert payload == {
        "key": None,
        "headers": {"ce_organization": "cedar-sound"},
        "value": None,
        "value_base64": "/w==",
    }


async def test_entries_are_found_by_what_they_are_about_newest_first(world: World) -> None:
    await world.append(
        hired(0, "W-1"),
        hired(1, "W-2"),
        hired(2, "W-1"),
        raw_record(3, None, None),
        hired(4, "W-1", organization="tall-pines"),
        raw_record(
            0,
            b"cedar-sound/site/main",
            b"{}",
            [("ce_type", b"site.set"), ("ce_organization", b"cedar-sound")],
            topic=DIRECTORY_EVENTS.name,
        ),
        gaps=[Gap("review.events.v1", 0, 0, 3)],
    )
    assert await indexes(world) == [5, 2, 1, 0]
    assert await indexes(world, worker="W-1") == [2, 0]
    assert await indexes(world, type="site.set") == [5]
    assert await indexes(world, topic="hr.worker-events.v1") == [2, 1, 0]
    assert await indexes(world, worker="W-1", type="site.set") == []
    assert await indexes(world, organization="") == [6, 3]
    answer = await get(world, "/entries", organization="tall-pines")
    assert (answer.status_code, answer.json()["code"]) == (403, "other_organization")


async def test_pages_follow_each_other_without_repeating(world: World) -> None:
    await world.append(*[hired(offset) for offset in range(25)])
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 10}
    while True:
        page = (await get(world, "/entries", **query)).json()
        seen += [entry["index"] for entry in page["entries"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == list(range(24, -1, -1))


async def test_repeated_contradicting_and_unreadable_records_are_labelled(world: World) -> None:
    await world.append(
        hired(0, id="a"),
        hired(1, id="a"),
        hired(2, id="a", title="Other"),
        hired(3, id="b"),
        raw_record(4, None, None, [("ce_organization", b"cedar-sound")]),
    )
    entries = (await get(world, "/entries")).json()["entries"]
    labels = {entry["index"]: entry["label"] for entry in entries}
    assert labels == {0: None, 1: "duplicate", 2: "conflict", 3: None, 4: "unparseable"}


async def test_payloads_of_others_are_withheld(world: World) -> None:
    await world.append(hired(0), raw_record(0, b"x/0", b"bad", topic=DEAD_LETTERS.name))
    token = world.token("tall-pines")
    shown = (await get(world, "/entries/0", token)).json()
    assert (shown["payload"], shown["payload_missing"]) == (None, "not_yours")
    assert (shown["subject"], shown["label"]) == (None, None)
    assert await _entry(world, 1, "audit:read") == (None, "not_yours")
    payload, _ = await _entry(world, 1, "audit:read ops:admin")
    assert payload["value_base64"] == "YmFk"
    async with world.client(token) as http:
        lines = (await http.get("/audit/v1/openings", params={"from": 0, "to": 9})).text
    assert lines == ""


async def _entry(world: World, index: int, scope: str) -> tuple[Any, Any]:
    shown = (await get(world, f"/entries/{index}", world.token(scope=scope))).json()
    return shown["payload"], shown["payload_missing"]


async def test_nothing_is_shown_without_the_scope(world: World) -> None:
    await world.append(hired(0))
    await world.sign()
    paths = ("/entries", "/entries/0", "/entries/0/proof", "/log", "/stream",
             "/consistency?from=0", "/openings?from=0&to=1")  # fmt: skip
    for path in paths:
        assert (await get(world, path, world.token(scope="access:admin"))).status_code == 403
        assert (await get(world, path, "nonsense")).status_code == 401


async def test_an_entry_that_is_not_signed_yet_has_no_proof(world: World) -> None:
    await world.append(hired(0))
    answer = await get(world, "/entries/0/proof")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_yet_signed")
    await world.sign()
    assert (await get(world, "/entries/0/proof")).status_code == 200
    assert (await get(world, "/entries/1/proof")).status_code == 404


async def test_the_log_tells_its_size_checkpoint_and_key(world: World) -> None:
    await world.append(hired(0))
    note = await world.sign()
    assert (await get(world, "/log")).json() == {
        "origin": "portalkeeper.local/test",
        "size": 1,
        "checkpoint": note,
        "checkpoint_size": 1,
        "public_key": str(world.key.verifier),
        "pruned": 0,
        "succession": [],
        "predecessors": [],
    }


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/entries", {"limit": 0}, 422),
        ("/entries", {"limit": 501}, 422),
        ("/entries", {"cursor": -1}, 422),
        ("/entries", {"cursor": 2**64}, 422),
        ("/entries", {"worker": "\x00"}, 422),
        ("/entries", {"cursor": 0}, 200),
        ("/entries/-1", {}, 404),
        ("/entries/99999999999999999999", {}, 404),
        ("/entries/x", {}, 422),
        ("/consistency", {"from": 2, "to": 1}, 422),
        ("/consistency", {"from": 0, "to": 99}, 422),
        ("/consistency", {"from": 0, "to": 0}, 200),
    ],
)
async def test_strange_questions_get_an_answer(
    world: World, path: str, query: dict[str, Any], status: int
) -> None:
    assert (await get(world, path, **query)).status_code == status


async def test_each_query_is_recorded_once(world: World) -> None:
    await world.append(hired(0))
    await world.sign()
    await get(world, "/entries", worker="W-1")
    await get(world, "/entries/0")
    await get(world, "/entries/0/proof")
    await get(world, "/log")
    rows = await world.fetch("SELECT topic, key, headers, value FROM outbox ORDER BY id")
    assert [orjson.loads(row["value"])["what"] for row in rows] == ["entries", "entry", "proof"]
    assert orjson.loads(rows[0]["value"])["filters"] == {"worker": "W-1"}
    assert {(row["topic"], row["key"]) for row in rows} == {
        ("admin.activity-events.v1", "cedar-sound/auditor")
    }
    assert orjson.loads(rows[0]["headers"])["ce_type"] == "audit.read"


class Tail:
    """A live tail as a browser reads it."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def read(self, count: int) -> list[tuple[int, dict[str, Any]]]:
        events: list[tuple[int, dict[str, Any]]] = []
        identity = -1
        async with asyncio.timeout(10):
            while len(events) < count:
                line = await anext(self._lines)
                if line.startswith("id: "):
                    identity = int(line[4:])
                elif line.startswith("data: "):
                    events.append((identity, orjson.loads(line[6:])))
        return events


async def test_the_live_tail_shows_what_is_appended_and_resumes(world: World) -> None:
    await world.append(hired(0))
    async with world.client() as http:
        async with http.stream("GET", "/audit/v1/stream") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.aiter_lines()
            assert (await anext(lines)).startswith(":")
            tail = Tail(lines)
            await asyncio.sleep(0.5)
            await world.append(hired(1), hired(2, organization="tall-pines"), hired(3))
            assert [index for index, _ in await tail.read(2)] == [1, 3]
        await world.append(*[hired(offset) for offset in range(4, 500)])
        async with http.stream(
            "GET", "/audit/v1/stream", headers={"Last-Event-ID": "1"}
        ) as response:
            events = await Tail(response.aiter_lines()).read(497)
    assert [index for index, _ in events] == list(range(3, 500))
    assert events[0][1]["subject"] == "W-1"
    assert events[0][1]["payload"] is None


async def test_tailing_records_one_read_however_much_it_shows(world: World) -> None:
    async with world.client() as http, http.stream("GET", "/audit/v1/stream") as response:
        tail = Tail(response.aiter_lines())
        await asyncio.sleep(0.5)
        await world.append(*[hired(offset) for offset in range(50)])
        await tail.read(50)
    rows = await world.fetch("SELECT value FROM outbox")
    assert [orjson.loads(row["value"])["what"] for row in rows] == ["stream"]
