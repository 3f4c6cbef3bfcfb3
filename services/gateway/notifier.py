"""The process that tells people: `python -m services.gateway.notifier`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from services.gateway.channels import Channels, load_channels
from services.gateway.handlers.notices import NoticeIntake, Notifier
from services.gateway.sealing import load_body_seal
from services.gateway.settings import Settings
from shared import problems
from shared.auth import Authenticator
from shared.clock import DatabaseClock
from shared.contracts.topics import ACCESS_EVENTS, REVIEW_EVENTS
from shared.ended_sessions import EndedSessions
from shared.kafka import BatchConsumer
from shared.ops import ops_router
from shared.postgres import create_pool
from shared.process import going, run_process
from shared.refusals import Refusals
from shared.serving import serve
from shared.timers import Ticker

SERVICE = "gateway"
GROUP = "gateway-notifier"
IDLE_SECONDS = 2.0
FORGET_IDLE_SECONDS = 3600.0


async def build_app(settings: Settings) -> FastAPI:
    """The consumer, the loops that tell people, and the operational routes.

    Raises:
        ValueError: a key or the file with the channels is missing or wrong.
        OSError, asyncpg.PostgresError: the database does not answer.
    """
    reach = load_channels(settings.notify_file)
    seal = load_body_seal(settings.body_key_file)
    clock = DatabaseClock()
    pool = await create_pool(settings.database_url, max_size=4)
    http = httpx.AsyncClient()
    channels = Channels(reach, http)
    notifier = Notifier(pool, clock, channels, seal, settings.gateway_url)
    consumer = BatchConsumer(
        bootstrap=settings.kafka,
        group=GROUP,
        topics=[ACCESS_EVENTS.name, REVIEW_EVENTS.name],
        pool=pool,
        handler=NoticeIntake(clock, channels),
        service=SERVICE,
    )
    tickers = [
        Ticker("address", notifier.address, idle_seconds=IDLE_SECONDS),
        Ticker("urgent", notifier.tell_urgent, idle_seconds=IDLE_SECONDS),
        Ticker("others", notifier.tell_others, idle_seconds=IDLE_SECONDS),
        Ticker("forget", notifier.forget, idle_seconds=FORGET_IDLE_SECONDS),
    ]

    ended = EndedSessions(settings.kafka)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with pool, http, going(ended, consumer, *tickers):
            yield

    app = FastAPI(title="Portalkeeper gateway, notifier", lifespan=lifespan)
    problems.install(app, Refusals(pool, clock, SERVICE).say)
    app.include_router(
        ops_router(
            service="gateway-notifier",
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
    sys.exit(run_process("gateway-notifier", Settings, run))
