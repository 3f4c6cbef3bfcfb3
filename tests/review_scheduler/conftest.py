import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest_asyncio
from fastapi import FastAPI
from joserfc.jwk import OKPKey

from services.review_scheduler.api.routers import routers
from shared import problems
from shared.auth import Authenticator
from shared.postgres import create_pool
from tests.review_scheduler.clinic import Clinic
from tests.review_scheduler.worlds import SetClock, World, holds, state


@pytest_asyncio.fixture(loop_scope="session")
async def world(fresh_database: Mapping[str, str]) -> AsyncIterator[World]:
    """An installation of one test's own that knows nothing yet."""
    pool = await create_pool(fresh_database["review_scheduler"])
    try:
        yield World(pool, SetClock())
    finally:
        await pool.close()


@pytest_asyncio.fixture(loop_scope="session")
async def clinic(world: World, tmp_path: Path) -> AsyncIterator[Clinic]:
    """Ana holds eligibility and remittance on a portal; sam, her supervisor, is asked."""
    key = OKPKey.generate_key("Ed25519", {"kid": "k1"})
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    app = FastAPI()
    problems.install(app)
    for router in routers(world.pool, world.clock, Authenticator(jwks)):
        app.include_router(router)
    await world.begin(
        state("sam", supervisor=None),
        state("ana", access=[holds("noridian", "eligibility", "remittance")]),
    )
    await world.open_campaign()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield Clinic(http, key)
