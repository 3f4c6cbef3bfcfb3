"""The review scheduler's process: `python -m services.review_scheduler.main`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
from fastapi import FastAPI

from services.review_scheduler.api.routers import routers
from services.review_scheduler.handlers.calendars import open_due_campaigns, set_all_calendars
from services.review_scheduler.handlers.campaigns import open_next_chunk
from services.review_scheduler.handlers.ladder import climb, say_what_expired
from services.review_scheduler.handlers.looking import look_again
from services.review_scheduler.handlers.picture import PictureHandler
from services.review_scheduler.handlers.reassigning import reassign_next
from services.review_scheduler.handlers.removals import say_overdue_removals
from services.review_scheduler.settings import Settings
from services.review_scheduler.store import views
from shared import problems
from shared.auth import Authenticator
from shared.clock import Clock, DatabaseClock
from shared.contracts.topics import DIRECTORY_EVENTS, WORKER_STATE
from shared.ended_sessions import EndedSessions
from shared.idempotency import forget
from shared.kafka import BatchConsumer
from shared.ops import ops_router
from shared.postgres import create_pool
from shared.process import going, run_process
from shared.refusals import Refusals
from shared.serving import serve
from shared.timers import Ticker

SERVICE = "review_scheduler"
GROUP = "review-scheduler"

CALENDAR_IDLE_SECONDS = 10.0
"""A quarter may begin, or a removal be overdue, this late; nobody waits for it."""

TIMER_IDLE_SECONDS = 2.0
"""How late a due instant may be noticed."""

OPENING_IDLE_SECONDS = 0.5
"""Somebody who opened a campaign by command is watching."""

FORGET_IDLE_SECONDS = 3600.0


async def forget_old_commands(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Forget the answers of old commands; 0, because it is done in one go."""
    async with pool.acquire() as conn:
        await forget(conn, await clock.now(conn))
    return 0


async def build_app(settings: Settings) -> FastAPI:
    """The service as one application: its API, its consumer, and the loops that open campaigns.

    Raises:
        OSError, ValueError: PostgreSQL does not answer, or the key set is missing.
    """
    clock = DatabaseClock()
    pool = await create_pool(settings.database_url)
    ended = EndedSessions(settings.kafka)
    authenticator = Authenticator(settings.jwks_file, ended)
    consumer = BatchConsumer(
        bootstrap=settings.kafka,
        group=GROUP,
        topics=[DIRECTORY_EVENTS.name, WORKER_STATE.name],
        pool=pool,
        handler=PictureHandler(clock),
        service=SERVICE,
    )
    tickers = [
        Ticker(
            "calendar", partial(open_due_campaigns, pool, clock), idle_seconds=CALENDAR_IDLE_SECONDS
        ),
        *(
            Ticker(name, partial(work, pool, clock), idle_seconds=TIMER_IDLE_SECONDS)
            for name, work in (
                ("look", look_again),
                ("ladder", climb),
                ("expired", say_what_expired),
                ("reassign", reassign_next),
            )
        ),
        Ticker("opening", partial(open_next_chunk, pool, clock), idle_seconds=OPENING_IDLE_SECONDS),
        Ticker(
            "removals",
            partial(say_overdue_removals, pool, clock),
            idle_seconds=CALENDAR_IDLE_SECONDS,
        ),
        Ticker(
            "forget", partial(forget_old_commands, pool, clock), idle_seconds=FORGET_IDLE_SECONDS
        ),
    ]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await set_all_calendars(pool, clock)
        async with pool, going(ended, consumer, *tickers):
            yield

    app = FastAPI(title="Portalkeeper review scheduler", lifespan=lifespan)
    problems.install(app, Refusals(pool, clock, SERVICE).say)
    for router in routers(pool, clock, authenticator):
        app.include_router(router)
    app.include_router(
        ops_router(
            service=SERVICE,
            pool=pool,
            authenticator=authenticator,
            consumers={GROUP: consumer},
            more_status=views.count_open,
        )
    )
    return app


async def run(settings: Settings) -> None:
    """Serve until the process is asked to stop."""
    await serve(await build_app(settings), settings.host, settings.port)


if __name__ == "__main__":
    sys.exit(run_process(SERVICE, Settings, run))
