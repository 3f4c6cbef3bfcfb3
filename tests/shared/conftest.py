from collections.abc import AsyncIterator, Mapping

import pytest_asyncio

from tests.servers import TopicMaker
from tests.shared.worlds import SERVICE, World, open_world


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    fresh_database: Mapping[str, str], make_topic: TopicMaker, kafka: str
) -> AsyncIterator[World]:
    async with open_world(kafka, fresh_database[SERVICE], make_topic) as world:
        yield world
