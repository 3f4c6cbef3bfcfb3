"""The express lane: `python -m services.provisioning.express`.

A consumer group and process of its own that looks only for events that can take access away, so a
termination is applied while the main lane works through a backlog.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.provisioning.handlers.events import HrExpress, may_take_access
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.settings import Settings
from shared import problems
from shared.auth import Authenticator
from shared.clock import DatabaseClock
from shared.contracts.topics import HR_EVENTS
from shared.ended_sessions import EndedSessions
from shared.kafka import BatchConsumer
from shared.ops import ops_router
from shared.postgres import create_pool
from shared.process import going, run_process
from shared.refusals import Refusals
from shared.serving import serve

SERVICE = "provisioning"
GROUP = "provisioning-express"


async def build_app(settings: Settings) -> FastAPI:
    """The express lane with its operational routes."""
    pool = await create_pool(settings.database_url, max_size=4)
    consumer = BatchConsumer(
        bootstrap=settings.kafka,
        group=GROUP,
        topics=[HR_EVENTS.name],
        pool=pool,
        handler=HrExpress(Recompute(DatabaseClock())),
        service=SERVICE,
        matches=may_take_access,
    )

    ended = EndedSessions(settings.kafka)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with pool, going(ended, consumer):
            yield

    app = FastAPI(title="Portalkeeper provisioning, express lane", lifespan=lifespan)
    problems.install(app, Refusals(pool, DatabaseClock(), SERVICE).say)
    app.include_router(
        ops_router(
            service="provisioning-express",
            pool=pool,
            authenticator=Authenticator(settings.jwks_file, ended),
            consumers={GROUP: consumer},
        )
    )
    return app


async def run(settings: Settings) -> None:
    """Run until the process is asked to stop."""
    await serve(await build_app(settings), settings.host, settings.port)


if __name__ == "__main__":
    sys.exit(run_process("provisioning-express", Settings, run))
