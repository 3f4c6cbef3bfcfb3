from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest_asyncio

from tests.audit_log.worlds import World, make_world


@pytest_asyncio.fixture(loop_scope="session")
async def world(fresh_database: Mapping[str, str], tmp_path: Path) -> AsyncIterator[World]:
    """An empty audit log of this test's own, served over HTTP."""
    async with make_world(fresh_database, tmp_path) as made:
        yield made
