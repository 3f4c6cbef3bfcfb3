"""A lost database is written anew from what the service itself has said."""

from typing import Any

import orjson
import pytest

from services.review_scheduler.handlers.rebuilding import write_anew
from services.review_scheduler.rules.retelling import Retold
from services.review_scheduler.store.rebuilding import hold_nothing
from shared.contracts.review import REVIEW_EVENT_MODELS
from shared.postgres import Connection, in_transaction
from tests.review_scheduler.test_model import Model, everything_ends
from tests.review_scheduler.worlds import ORGANIZATION, World

COMPARED = {
    "campaign": "campaign_id, organization, title, opened_by, opened_at, due_at, calendar, scope,"
    " no_answer, closed_at, counted",
    "review": "review_id, campaign_id, worker, reviewer, reviewer_rule, reason, rule, no_answer,"
    " opened_at, due_at, status, closed_at, read_at, expired_at, escalations, declined, lines,"
    " undecided, kept, removal_confirmed, moot, removal_decided + removal_ordered AS removing,"
    " worked_lines, worked_kept, worked_until",
    "line": "line_id, review_id, portal, tin, function, operation_id, grade, since, authorized_by,"
    " duties, decision, decided_by, decided_at, reason, revision, expired_at, removed_at,"
    " replace(status, 'removal_ordered', 'removal_decided') AS standing",
    "pace": "*",
    "delegation": "*",
    "question": "*",
}
"""What events tell; that a removal is ordered, the next state tells again."""


async def retell(world: World) -> Retold:
    told = Retold()
    rows = await world.rows("SELECT headers, value FROM outbox ORDER BY id")
    for row in rows:
        model = REVIEW_EVENT_MODELS.get(orjson.loads(row["headers"])["ce_type"])
        if model is not None:
            told.tell(ORGANIZATION, model.model_validate_json(row["value"]))
    return told


async def contents(conn: Connection) -> dict[str, list[dict[str, Any]]]:
    return {
        table: sorted(
            (dict(row) for row in await conn.fetch(f"SELECT {columns} FROM {table}")),
            key=lambda row: str(list(row.values())[:3]),
        )
        for table, columns in COMPARED.items()
    }


async def forget_everything(conn: Connection) -> None:
    await conn.execute("TRUNCATE campaign, review, line, pace, delegation, question, timer CASCADE")


@pytest.mark.parametrize("seed", range(100, 104))
async def test_what_was_said_tells_the_tables_and_everything_goes_on(
    world: World, seed: int
) -> None:
    model = Model(world, seed)
    await model.play(40)
    told = await retell(world)
    async with world.pool.acquire() as conn:
        before = await contents(conn)
        await forget_everything(conn)

    await in_transaction(world.pool, lambda conn: write_anew(conn, told, world.clock.instant))

    async with world.pool.acquire() as conn:
        assert await contents(conn) == before
    await world.at(world.clock.instant)
    await model.check()
    await everything_ends(model)


async def test_only_an_empty_database_is_written_anew(world: World) -> None:
    async with world.pool.acquire() as conn:
        assert await hold_nothing(conn)
    await world.begin()
    model = Model(world, 1)
    await model.begin()
    async with world.pool.acquire() as conn:
        assert not await hold_nothing(conn)
