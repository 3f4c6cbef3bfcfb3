from collections.abc import AsyncIterator, Mapping

import pytest_asyncio

from shared.postgres import create_pool
from tests.review_scheduler.worlds import SetClock, World


@pytest_asyncio.fixture(loop_scope="session")
async def world(fresh_database: Mapping[str, str]) -> AsyncIterator[World]:
    """An installation of one test's own that knows nothing yet."""
    pool = await create_pool(fresh_database["review_scheduler"])
    try:
        yield World(pool, SetClock())
    finally:
        await pool.close()
