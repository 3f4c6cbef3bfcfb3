"""Search finds entries by what they say, alone and combined, and nothing of anybody else."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit_log.rules.terms import Query, Terms, words_of
from services.audit_log.store import search
from shared.contracts.envelope import binary_headers, event_key
from shared.contracts.topics import ACCESS_EVENTS, ADMIN_EVENTS, DIRECTORY_EVENTS, REVIEW_EVENTS
from shared.postgres import in_transaction
from shared.tlog.leaf import Opening, RecordLeaf
from tests.audit_log.test_api import get, indexes
from tests.audit_log.worlds import WHEN, Record, World, hired, make_world, raw_record


def event(
    offset: int, topic: str, type_: str, subject: str, data: dict[str, Any], key: str | None = None
) -> Record:
    """An event of the clinic in binary mode."""
    headers = binary_headers(
        id=f"{topic}-{offset}",
        type=type_,
        source="/portalkeeper/provisioning",
        subject=subject,
        time=WHEN,
        organization="cedar-sound",
    )
    return raw_record(
        offset,
        (key or event_key("cedar-sound", subject)).encode(),
        orjson.dumps(data),
        [(name, text.encode()) for name, text in headers.items()],
        topic,
    )


STORY = (
    hired(0, "W-7", title="Crème Brûlée Specialist"),
    event(
        0,
        ACCESS_EVENTS.name,
        "operation.confirmed",
        "W-7",
        {
            "worker": "W-7",
            "portal": "noridian",
            "confirmed_by": "dana",
            "evidence": {"kind": "note", "text": "seen on the portal's LIST, ticket HUB-99812"},
            "reason": {"rule": "departure"},
        },
    ),
    event(1, ACCESS_EVENTS.name, "guard.refused", "W-8", {"portal": "hub", "rule": "sod-pair"}),
    event(0, ADMIN_EVENTS.name, "command.refused", "dana", {"code": "scope_missing"}),
    event(
        0,
        REVIEW_EVENTS.name,
        "review.decided",
        "W-8",
        {"review_id": "r-1", "campaign_id": "q3", "decided_by": "erin", "reviewer": "erin"},
    ),
    event(
        0,
        DIRECTORY_EVENTS.name,
        "portal.set",
        "portal/noridian",
        {"id": "noridian", "reaches": [{"carrier": "medicare-b"}]},
        key="cedar-sound/portal/noridian",
    ),
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(
    database: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A log with one entry of each kind; tests may append to it, but for the first six."""
    async with make_world(database, tmp_path_factory.mktemp("story")) as made:
        await made.append(*STORY)
        yield made


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"worker": "W-7"}, [1, 0]),
        ({"worker": "w-7"}, []),
        ({"actor": "dana"}, [3, 1]),
        ({"actor": "erin"}, [4]),
        ({"portal": "noridian"}, [5, 1]),
        ({"carrier": "medicare-b"}, [5]),
        ({"type": "guard.refused"}, [2]),
        ({"topic": "portal.access-events.v1"}, [2, 1]),
        ({"rule": "sod-pair"}, [2]),
        ({"rule": "scope_missing"}, [3]),
        ({"outcome": "refused"}, [3, 2]),
        ({"review": "q3"}, [4]),
        ({"text": "list hub 99812"}, [1]),
        ({"text": "SEEN portal"}, [1]),
        ({"text": "crème brûlée"}, [0]),
        ({"text": "unsaid"}, []),
        ({"text": "!?"}, [5, 4, 3, 2, 1, 0]),
        ({"worker": "W-7", "portal": "noridian"}, [1]),
        ({"worker": "W-7", "portal": "hub"}, []),
        ({"outcome": "refused", "actor": "dana", "text": "scope_missing"}, [3]),
        ({"worker": " W-7 "}, [1, 0]),
        ({"worker": "", "text": ""}, [5, 4, 3, 2, 1, 0]),
    ],
)
async def test_entries_are_found_by_everything_they_say(
    story: World, query: dict[str, str], expected: list[int]
) -> None:
    assert await indexes(story, **query) == expected


async def test_a_period_is_searched_by_when_entries_were_recorded(story: World) -> None:
    rows = await story.fetch("SELECT recorded_at FROM entry ORDER BY index")
    start = rows[0]["recorded_at"]
    assert await indexes(story, since=start.isoformat()) == [5, 4, 3, 2, 1, 0]
    assert await indexes(story, until=start.isoformat()) == []
    later = (start + timedelta(seconds=1)).isoformat()
    assert await indexes(story, since=later) == []
    assert await indexes(story, until=later, worker="W-7") == [1, 0]
    assert await indexes(story, since="2020-01-01T00:00:00", until="2021-01-01T00:00:00Z") == []
    assert (await get(story, "/entries", since="9999-01-01T00:00:00Z")).status_code == 422


@pytest.mark.parametrize(
    "hostile",
    [
        "'; DROP TABLE audit_search.found; --",
        "%",
        "_",
        "\\",
        "}{",
        "*",
        "W-7' OR '1'='1",
        "cedar-sound\x1fworker\x1fW-7",
        "\ud7ff\U0010ffff",
        "a" * 200,
        "ﬁ ﷺ ＳＥＥＮ",
    ],
)
async def test_hostile_input_finds_nothing_and_harms_nothing(story: World, hostile: str) -> None:
    for name in ("worker", "actor", "portal", "rule", "review", "type", "topic"):
        assert await indexes(story, **{name: hostile}) == []
    assert (await get(story, "/entries", text=hostile * 2)).status_code == 200
    assert await indexes(story, worker="W-7") == [1, 0]


async def test_input_that_no_search_can_hold_is_refused(story: World) -> None:
    for query in ({"worker": "a\x00b"}, {"text": "\x00"}, {"worker": "a" * 201},
                  {"text": "a" * 501}, {"since": "yesterday"}):  # fmt: skip
        assert (await get(story, "/entries", **query)).status_code == 422


async def test_a_search_does_not_find_that_somebody_searched(world: World) -> None:
    asked = {"what": "entries", "filters": {"worker": "W-7", "text": "brûlée"}}
    await world.append(*STORY, event(1, ADMIN_EVENTS.name, "audit.read", "erin", asked))
    assert await indexes(world, worker="W-7") == [1, 0]
    assert await indexes(world, text="brûlée") == [0]
    assert await indexes(world, actor="erin", type="audit.read") == [6]


async def test_what_a_refused_command_asked_for_is_found(world: World) -> None:
    payload = {"asked": {"worker": "W-7", "reason": "Flügelhorn lesson"}, "portals": ["hub"]}
    refused = {"command": "/access/v1/exceptions", "code": "own_request", "payload": payload}
    await world.append(event(0, ADMIN_EVENTS.name, "command.refused", "dana", refused))
    assert await indexes(world, worker="W-7") == [0]
    assert await indexes(world, portal="hub", rule="own_request", actor="dana") == [0]
    assert await indexes(world, text="flügelhorn exceptions", outcome="refused") == [0]


async def test_no_search_reaches_into_another_organization(story: World) -> None:
    await story.append(hired(1, "W-7", organization="tall-pines"))
    token = story.token("tall-pines")
    found = (await get(story, "/entries", token, worker="W-7")).json()["entries"]
    assert [entry["index"] for entry in found] == [6]
    assert await indexes(story, worker="W-7") == [1, 0]


async def test_pages_follow_each_other_across_partitions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PARTITION_ENTRIES", 100)
    monkeypatch.setattr(search, "NEWEST_ENTRIES", 30)
    await world.append(*[hired(offset, f"W-{offset % 3}") for offset in range(450)])
    seen: list[int] = []
    cursor: int | None = None
    while True:
        place: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
        page = (await get(world, "/entries", None, worker="W-1", limit=40, **place)).json()
        seen += [entry["index"] for entry in page["entries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [index for index in range(449, -1, -1) if index % 3 == 1]


async def test_the_projection_can_be_dropped_and_made_again_from_the_log(story: World) -> None:
    async with story.search_pool.acquire() as conn:
        await search.drop(conn)
    answer = await get(story, "/entries")
    assert (answer.status_code, answer.json()["code"]) == (503, "search_not_ready")
    assert (await get(story, "/entries/0")).status_code == 200
    async with story.search_pool.acquire() as conn:
        assert await search.prepare(conn) == 0
        assert await search.prepare(conn) == 0
    while await story.projector.project(story.search_pool):
        pass
    assert await indexes(story, worker="W-7") == [1, 0]


async def test_a_crash_while_projecting_projects_nothing_twice(world: World) -> None:
    await world.append(hired(0))

    class Crash(Exception):
        pass

    async def crashing(conn: Any) -> None:
        entries = await search.read_log(conn, 0, 10)
        await search.add(conn, [world.projector.found(entry, {}) for entry in entries])
        raise Crash

    await world.sabotage(
        "TRUNCATE audit_search.found", "UPDATE audit_search.projection SET position = 0"
    )
    with pytest.raises(Crash):
        await in_transaction(world.search_pool, crashing)
    assert await world.projector.project(world.search_pool) == 1
    assert await indexes(world) == [0]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log.entry SET recorded_at = now()",
        "DELETE FROM audit_log.entry",
        "INSERT INTO audit_log.entry (index, recorded_at, leaf) VALUES (0, now(), '')",
        "UPDATE audit_log.log_head SET size = 9",
        "SELECT 1 FROM audit_log.outbox",
        "SELECT 1 FROM audit_log.checkpoint",
    ],
)
async def test_the_projections_role_only_reads_the_log(world: World, statement: str) -> None:
    conn = await asyncpg.connect(world.database["audit_search"])
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)
    finally:
        await conn.close()


async def test_the_projection_names_nobody(story: World) -> None:
    rows = await story.fetch("SELECT found::text AS row FROM audit_search.found")
    assert not any("W-7" in row["row"] or "dana" in row["row"] for row in rows)
    ours = story.projector
    other = Terms(bytes(32)).of_query(Query("cedar-sound", (("worker", "W-7"),)))
    assert other != ours._terms.of_query(Query("cedar-sound", (("worker", "W-7"),)))


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=300), st.text(max_size=40))
def test_every_word_of_a_record_finds_it(text: str, subject: str) -> None:
    leaf = RecordLeaf("o", "hr.worker-events.v1", 0, 0, 0, "clinic", "worker.changed", "", "", "")
    headers = (("ce_subject", subject.encode(errors="replace")),)
    value = orjson.dumps({"note": text.encode(errors="replace").decode()})
    terms = Terms(b"secret")
    found = set(terms.of_record(leaf, Opening(bytes(16), None, headers, value), None))
    words = list(words_of(text.encode(errors="replace").decode()))[:150]
    for word in words:
        assert set(terms.of_query(Query("clinic", text=word))) <= found
    assert not set(terms.of_query(Query("other", text="note"))) & found
