"""A timer fires once, however many replicas look."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.postgres import Connection, in_transaction
from shared.timers import Ticker, Timer, cancel, due_keys, set_timers, take
from tests.shared.worlds import World, eventually

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


def timer(key: str, minutes: int = 0) -> Timer:
    return Timer("close", key, NOON + timedelta(minutes=minutes), {"for": key})


async def test_due_timers_are_seen_oldest_first_and_others_not(world: World) -> None:
    async with world.pool.acquire() as conn:
        await set_timers(conn, [timer("late", 5), timer("b", -1), timer("a", -1), timer("z", -9)])
        assert await due_keys(conn, "close", NOON) == ["z", "a", "b"]
        assert await due_keys(conn, "close", NOON, limit=1) == ["z"]
        assert await due_keys(conn, "other", NOON) == []


async def test_setting_a_timer_again_moves_it_and_the_last_of_several_counts(world: World) -> None:
    async with world.pool.acquire() as conn:
        await set_timers(conn, [timer("a", -1)])
        await set_timers(conn, [timer("a", -3), timer("a", 7)])
        assert await due_keys(conn, "close", NOON) == []
        await set_timers(conn, [])
        await cancel(conn, "close", ["a"])
        assert await due_keys(conn, "close", NOON + timedelta(days=1)) == []


async def test_a_timer_moved_between_the_look_and_the_lock_is_not_taken(world: World) -> None:
    async with world.pool.acquire() as conn:
        await set_timers(conn, [timer("a", -1), timer("b", -1)])
        keys = await due_keys(conn, "close", NOON)
        await set_timers(conn, [timer("a", 30)])
        assert await take(conn, "close", keys, NOON) == [timer("b", -1)]
        assert await take(conn, "close", keys, NOON) == []


async def test_two_tickers_take_each_timer_once(world: World) -> None:
    fired: list[str] = []
    async with world.pool.acquire() as conn:
        await set_timers(conn, [timer(f"{n:03}", -1) for n in range(100)])

    async def work() -> int:
        async with world.pool.acquire() as conn:
            keys = await due_keys(conn, "close", NOON, limit=10)
        # Long enough for the other to see the same keys.
        await asyncio.sleep(0.005)

        async def fire(conn: Connection) -> list[Timer]:
            return await take(conn, "close", keys, NOON)

        taken = await in_transaction(world.pool, fire)
        fired.extend(each.key for each in taken)
        return len(taken)

    tickers = [Ticker(f"t{n}", work, idle_seconds=0.01) for n in range(2)]
    for ticker in tickers:
        await ticker.start()

    async def all_fired() -> bool:
        return len(fired) >= 100

    await eventually(all_fired)
    await asyncio.sleep(0.1)
    for ticker in tickers:
        await ticker.stop()
    assert sorted(fired) == [f"{n:03}" for n in range(100)]


async def test_a_tickers_failure_is_followed_by_another_tick() -> None:
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        return 0

    async def called_again() -> bool:
        return calls > 1

    ticker = Ticker("failing", work, idle_seconds=0.01)
    await ticker.start()
    await eventually(called_again)
    await ticker.stop()


@pytest.mark.parametrize(
    "made", sorted((ROOT / "shared" / "sql").glob("*.sql")), ids=lambda made: made.stem
)
@pytest.mark.parametrize(
    "service", sorted(path.parts[-2] for path in ROOT.glob("services/*/migrations"))
)
def test_every_service_has_the_same_machinery(service: str, made: Path) -> None:
    (copy,) = (ROOT / "services" / service / "migrations").glob(f"*-{made.name}")
    assert copy.read_text() == made.read_text()
