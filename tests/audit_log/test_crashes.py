"""Appending, signing and projecting may be cut off before any statement, and are done again.

Each connection breaks before its first statement, then before its second, and so on until nothing
is left to break; what was cut off is then done again as a restarted process does it. Afterwards
the log verifies, and everything happened once.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from asyncpg.connection import Connection

from services.audit_log.handlers.appending import Draft
from shared.kafka import Batch, Gap, Item
from shared.postgres import in_transaction
from tests.audit_log.test_api import indexes
from tests.audit_log.worlds import World, hired

STATEMENTS_MAX = 200


class Cut(asyncpg.InterfaceError):
    """The connection broke."""


class Scissors:
    """Counts statements, and breaks the connection before one of them."""

    def __init__(self) -> None:
        self.left = -1

    def before(self, conn: "Connection[Any]", statement: object) -> None:
        """A statement is about to be sent."""
        if "pg_advisory_unlock_all" in str(statement):
            return  # A pool takes its connection back: everything was committed before.
        if self.left == 0:
            conn.terminate()
            raise Cut("the connection broke")
        self.left -= 1


@pytest.fixture
def scissors(monkeypatch: pytest.MonkeyPatch) -> Scissors:
    """Cuts whatever goes through asyncpg, the statements that begin and commit among them."""
    made = Scissors()
    for name in ("execute", "executemany", "_execute", "copy_records_to_table"):
        real = getattr(Connection, name)

        def cutting(real: Any) -> Any:
            async def statement(conn: "Connection[Any]", *given: Any, **named: Any) -> Any:
                made.before(conn, given[0])
                return await real(conn, *given, **named)

            return statement

        monkeypatch.setattr(Connection, name, cutting(real))
    return made


async def cut_everywhere(
    scissors: Scissors,
    act: Callable[[], Awaitable[Any]],
    after_each: Callable[[], Awaitable[Any]] | None = None,
) -> None:
    """Do something, cut off before its nth statement for every n, until it is done whole."""
    for number in range(STATEMENTS_MAX):
        scissors.left = number
        try:
            await act()
        except asyncpg.InterfaceError:
            scissors.left = -1
            if after_each is not None:
                await after_each()
        else:
            assert number > 2, "nothing was cut"
            scissors.left = -1
            return
    raise AssertionError("it never ended")


async def test_a_batch_is_appended_whole_or_not_at_all(world: World, scissors: Scissors) -> None:
    records = [hired(offset, f"W-{offset % 7}") for offset in range(300)]
    gap = Gap(records[0].topic, 1, 0, 4)

    async def append() -> None:
        batch: Batch[Draft] = Batch(
            [Item(record, world.handler.parse(record)) for record in records], [gap]
        )
        await in_transaction(world.pool, lambda conn: world.handler.apply(conn, batch))

    async def nothing_is_there() -> None:
        assert (await world.fetch("SELECT size FROM log_head"))[0]["size"] == 0
        assert await world.fetch("SELECT 1 FROM entry UNION ALL SELECT 1 FROM tile_edge") == []

    await cut_everywhere(scissors, append, nothing_is_there)
    await world.sign()
    report = await world.verify()
    assert report.good, report.problems
    assert (report.size, report.payloads) == (301, 300)


async def test_a_checkpoint_is_never_contradicted(world: World, scissors: Scissors) -> None:
    await world.append(*[hired(offset) for offset in range(5)])
    await world.sign()
    notes = {await world.sign()}
    for size in range(6, 20):
        await world.append(hired(size - 1))
        scissors.left = size - 6

        async def sign() -> None:
            notes.add(await world.sign())

        try:
            await sign()
        except asyncpg.InterfaceError:
            scissors.left = -1
            # The process begins anew and shows what it remembers.
            await world.start_signer()
            await sign()
        scissors.left = -1
    shown = {row["note"] for row in await world.fetch("SELECT note FROM checkpoint")}
    assert notes <= shown
    sizes = [row["size"] for row in await world.fetch("SELECT size FROM checkpoint ORDER BY size")]
    assert len(sizes) == len(set(sizes))
    assert (await world.verify()).good


async def test_search_misses_and_repeats_nothing(world: World, scissors: Scissors) -> None:
    batch: Batch[Draft] = Batch(
        [Item(record, world.handler.parse(record)) for record in map(hired, range(20))], []
    )
    await in_transaction(world.pool, lambda conn: world.handler.apply(conn, batch))
    await cut_everywhere(scissors, lambda: world.projector.project(world.search_pool))
    assert await indexes(world, worker="W-1") == list(range(19, -1, -1))
