"""The same command sent again changes nothing, and gets the answer of the first time."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson
import pytest

from shared.auth import Principal
from shared.clock import DatabaseClock
from shared.errors import Problem
from shared.idempotency import PAYLOAD_MAX_BYTES, carry_out, forget, once
from shared.postgres import Connection, in_transaction
from tests.shared.worlds import World

ANA = Principal("clinic", "p-ana", "w-ana", frozenset(), "Ana")
BEN = Principal("clinic", "p-ben", "w-ben", frozenset(), "Ben")


class Desk:
    """Carries out commands that insert a row each."""

    def __init__(self, world: World) -> None:
        self._pool = world.pool
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def say(
        self,
        who: Principal = ANA,
        key: str | None = "k",
        body: bytes = b"{}",
        route: str = "POST /",
    ) -> dict[str, Any]:
        async def work(conn: Connection) -> dict[str, Any]:
            self.entered.set()
            await self.gate.wait()
            await conn.execute("INSERT INTO seen (number) VALUES (1)")
            return {"count": await conn.fetchval("SELECT count(*) FROM seen")}

        return await in_transaction(
            self._pool, lambda conn: once(conn, who, route, key, body, work)
        )


async def test_a_command_sent_again_gets_its_first_answer(world: World) -> None:
    desk = Desk(world)
    assert await desk.say() == {"count": 1}
    assert await desk.say() == {"count": 1}
    assert len(await world.seen()) == 1


async def test_the_key_belongs_to_one_person_and_one_route(world: World) -> None:
    desk = Desk(world)
    await desk.say()
    assert await desk.say(who=BEN) == {"count": 2}
    assert await desk.say(route="POST /other") == {"count": 3}
    assert await desk.say(key=None) == {"count": 4}
    assert await desk.say(key=None) == {"count": 5}


async def test_a_key_used_for_another_body_is_refused(world: World) -> None:
    desk = Desk(world)
    await desk.say()
    with pytest.raises(Problem, match="idempotency_key_reused") as raised:
        await desk.say(body=b"{...}")
    assert raised.value.status == 422


async def test_a_command_at_work_is_not_started_again(world: World) -> None:
    desk = Desk(world)
    desk.gate.clear()
    first = asyncio.create_task(desk.say())
    await desk.entered.wait()
    with pytest.raises(Problem, match="command_in_progress") as raised:
        await desk.say()
    assert raised.value.status == 409
    desk.gate.set()
    assert await first == await desk.say() == {"count": 1}


async def test_answers_are_forgotten_after_seven_days(world: World) -> None:
    desk = Desk(world)
    await desk.say()
    now = datetime.now(UTC)
    async with world.pool.acquire() as conn:
        assert await forget(conn, now + timedelta(days=6)) == 0
        assert await forget(conn, now + timedelta(days=8)) == 1
    assert await desk.say() == {"count": 2}


class Told:
    """Carries out commands that insert a row each, and say so."""

    def __init__(self, world: World) -> None:
        self._pool = world.pool

    async def command(self, key: str | None, body: bytes, refusal: Problem | None = None) -> None:
        async def work(conn: Connection) -> dict[str, Any]:
            await conn.execute("INSERT INTO seen (number) VALUES (1)")
            if refusal is not None:
                raise refusal
            return {}

        await carry_out(
            self._pool, ANA, "rows/add", key, body, work, source="/test", clock=DatabaseClock()
        )

    async def said(self) -> list[tuple[str, str, dict[str, Any]]]:
        rows = await self._pool.fetch("SELECT key, headers, value FROM outbox ORDER BY id")
        return [
            (orjson.loads(row["headers"])["ce_type"], row["key"], orjson.loads(row["value"]))
            for row in rows
        ]


async def test_a_command_says_once_what_was_asked(world: World) -> None:
    told = Told(world)
    body = b'{"reason":"left"}'
    await told.command("k", body)
    await told.command("k", body)
    ((type_, key, data),) = await told.said()
    assert (type_, key) == ("command.accepted", "clinic/p-ana")
    assert data["command"] == "rows/add"
    assert data["payload"] == {"reason": "left"}
    assert data["sha256"] == sha256(body).hexdigest()


async def test_a_refused_command_changes_nothing_and_is_said_with_its_rule(world: World) -> None:
    told = Told(world)
    with pytest.raises(Problem):
        await told.command("k", b"{}", Problem(409, "too_late", "It is over."))
    assert await world.seen() == []
    ((type_, _, data),) = await told.said()
    assert type_ == "command.refused"
    assert (data["code"], data["status"], data["payload"]) == ("too_late", 409, {})


async def test_of_a_file_an_event_carries_the_hash(world: World) -> None:
    told = Told(world)
    body = orjson.dumps("x" * PAYLOAD_MAX_BYTES)
    await told.command(None, body)
    await told.command(None, b"surname;given name")
    assert [data["payload"] for _, _, data in await told.said()] == [None, None]
    assert [data["sha256"] for _, _, data in await told.said()] == [
        sha256(each).hexdigest() for each in (body, b"surname;given name")
    ]
