"""Provisioning's own API beside a gateway, for what the gateway asks of it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from fastapi import FastAPI

from services.gateway.settings import Settings
from services.provisioning.api.routers import routers
from services.provisioning.handlers.directory import DirectoryCommands
from shared import problems
from shared.auth import Authenticator
from shared.contracts.directory import Directory
from shared.postgres import create_pool, in_transaction
from tests.audit_log.worlds import serving
from tests.gateway.conftest import ORGANIZATION
from tests.provisioning.desk import ADMINISTRATOR, Desk
from tests.provisioning.worlds import directory


def harbor() -> Directory:
    """The small directory of provisioning's tests, for the gateway tests' organization."""
    document = directory().model_dump(mode="json", exclude_none=True)
    document["organization"]["id"] = ORGANIZATION
    return Directory.model_validate(document)


@asynccontextmanager
async def provisioning(
    settings: Settings, database: Mapping[str, str]
) -> AsyncIterator[tuple[Desk, Settings]]:
    """Its API on loopback, with a desk behind it, and settings of a gateway that asks there."""
    async with await create_pool(database["provisioning"], max_size=4) as pool:
        desk = Desk(pool)
        commands = DirectoryCommands(desk.recompute)
        who = replace(ADMINISTRATOR, organization=ORGANIZATION)
        await in_transaction(pool, lambda conn: commands.apply(conn, harbor(), who))
        app = FastAPI()
        problems.install(app)
        for router in routers(
            pool, Authenticator(settings.jwks_file), desk.recompute, desk.operations, desk.brake
        ):
            app.include_router(router)
        async with serving(app) as url:
            yield desk, settings.model_copy(update={"provisioning_url": url})
