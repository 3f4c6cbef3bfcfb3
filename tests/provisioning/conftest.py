from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio

from shared.postgres import create_pool
from tests.provisioning.asking import Asking
from tests.provisioning.desk import Desk


@pytest_asyncio.fixture(loop_scope="session")
async def pool(fresh_database: Mapping[str, str]) -> AsyncIterator[asyncpg.Pool[Any]]:
    pool = await create_pool(fresh_database["provisioning"], max_size=8)
    yield pool
    await pool.close()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(pool: asyncpg.Pool[Any]) -> Desk:
    """Provisioning with a clock that stands still until it is told otherwise."""
    desk = Desk(pool)
    await desk.apply_directory()
    return desk


@pytest_asyncio.fixture(loop_scope="session")
async def asking(desk: Desk, tmp_path: Path) -> AsyncIterator[Asking]:
    """Provisioning's API."""
    asking = Asking.of(desk, tmp_path)
    yield asking
    await asking.http.aclose()
