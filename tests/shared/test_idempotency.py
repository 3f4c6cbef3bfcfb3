"""The same command sent again changes nothing, and gets the answer of the first time."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.auth import Principal
from shared.errors import Problem
from shared.idempotency import forget, once
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
