"""Entries are found by the events that somebody knows, many at a time."""

from typing import Any

from tests.audit_log.worlds import World, hired


async def look_up(world: World, *ids: str, source: str = "hr-suite", status: int = 200) -> Any:
    wanted = {"events": [{"source": source, "id": id_} for id_ in ids]}
    async with world.client() as http:
        answer = await http.post("/audit/v1/lookup", json=wanted)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_events_are_found_by_source_and_id_and_what_is_not_there_is_left_out(
    world: World,
) -> None:
    await world.append(hired(0, id="a"), hired(1, "W-2", id="b"), hired(2, id="a"))
    found = (await look_up(world, "b", "a", "nowhere"))["entries"]
    assert [(each["id"], each["index"], each["type"]) for each in found] == [
        ("b", 1, "worker.hired"),
        ("a", 0, "worker.hired"),
    ]
    assert (await look_up(world, "a", source="another"))["entries"] == []


async def test_another_organizations_events_are_not_found(world: World) -> None:
    await world.append(hired(0, id="a", organization="other-clinic"))
    assert (await look_up(world, "a"))["entries"] == []


async def test_a_lookup_is_recorded_once_and_bounded(world: World) -> None:
    await world.append(hired(0, id="a"))
    await look_up(world, "a", "b")
    rows = await world.pool.fetch("SELECT value FROM outbox WHERE topic LIKE 'admin%'")
    assert len(rows) == 1
    assert b'"lookup"' in rows[0]["value"]
    await look_up(world, *map(str, range(501)), status=422)
