from collections.abc import AsyncIterator, Mapping

import pytest_asyncio

from shared.postgres import create_pool
from tests.servers import TopicMaker
from tests.shared.worlds import SERVICE, TABLES, World


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    fresh_database: Mapping[str, str], make_topic: TopicMaker, kafka: str
) -> AsyncIterator[World]:
    """A topic with two partitions, and a database with tables for what is seen of it."""
    pool = await create_pool(fresh_database[SERVICE])
    try:
        await pool.execute(TABLES)
        yield World(kafka, pool, make_topic, await make_topic(2))
    finally:
        await pool.close()
