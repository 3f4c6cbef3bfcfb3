"""Provisioning's process: `python -m services.provisioning.main`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from fastapi import FastAPI

from services.provisioning.api.routers import routers
from services.provisioning.connectors.running import ConnectorRunner
from services.provisioning.connectors.scim import ScimConnector, load_endpoints
from services.provisioning.connectors.simulator import PortalSimulator
from services.provisioning.handlers.brake import BrakeHandler
from services.provisioning.handlers.chores import ChoreCommands
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.deciding import decide_tickers
from services.provisioning.handlers.directory import DirectoryCommands
from services.provisioning.handlers.enrolment import EnrolmentCommands
from services.provisioning.handlers.events import (
    HrIntake,
    ReviewDecisionHandler,
    TimeHandler,
)
from services.provisioning.handlers.plans import PlanCommands
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.handlers.recurring import RecurringChores
from services.provisioning.settings import Settings
from services.provisioning.store import brake as brake_store
from services.provisioning.store import undecided as undecided_store
from services.provisioning.store import workers as workers_store
from services.provisioning.store.imports import PREVIEWS_KEPT_DAYS, forget_previews
from shared import problems
from shared.auth import Authenticator
from shared.clock import DatabaseClock
from shared.contracts.hr import HrEvent
from shared.contracts.topics import HR_EVENTS, REVIEW_EVENTS
from shared.ended_sessions import EndedSessions
from shared.idempotency import forget
from shared.kafka import BatchConsumer
from shared.kafka.ends import log_ends
from shared.ops import ops_router
from shared.postgres import Connection, create_pool
from shared.process import going, run_process
from shared.refusals import Refusals
from shared.serving import serve
from shared.timers import Ticker

SERVICE = "provisioning"
MAIN_GROUP = "provisioning"
REVIEW_GROUP = "provisioning-reviews"

INTAKE_BATCH_RECORDS = 2_000
"""Intake holds no worker's lock, so nothing but memory speaks against big batches."""

DUE_IDLE_SECONDS = 0.5
SWEEP_IDLE_SECONDS = 0.5
SWEEP_REST = 1.0
"""A new policy may reach the last worker a minute later; a termination may not wait for it."""

BRAKE_IDLE_SECONDS = 1.0
ENROLMENTS_IDLE_SECONDS = 60.0
PLANS_IDLE_SECONDS = 0.5
PLANS_REST = 1.0
"""A simulation may take a minute longer, for the same reason."""

RECURRING_IDLE_SECONDS = 20.0
CONNECTORS_IDLE_SECONDS = 1.0
SIMULATOR_IDLE_SECONDS = 0.2
FORGET_IDLE_SECONDS = 3600.0


def main_lane(
    kafka: str,
    group: str,
    topic: str,
    pool: asyncpg.Pool[Any],
    recompute: Recompute,
    deciders: Sequence[Ticker],
) -> BatchConsumer[HrEvent]:
    """The consumer that takes in every HR event and wakes the deciders."""

    def wake() -> None:
        for decider in deciders:
            decider.wake()

    return BatchConsumer(
        bootstrap=kafka,
        group=group,
        topics=[topic],
        pool=pool,
        handler=HrIntake(recompute),
        service=SERVICE,
        batch_max_records=INTAKE_BATCH_RECORDS,
        applied=wake,
    )


async def build_app(settings: Settings) -> FastAPI:
    """Main lane, review decisions, timers, sweep, simulator and API as one application.

    Raises:
        OSError, ValueError: PostgreSQL does not answer, or the key set is missing.
    """
    pool = await create_pool(settings.database_url, max_size=12)
    ended = EndedSessions(settings.kafka)
    authenticator = Authenticator(settings.jwks_file, ended)
    recompute = Recompute(DatabaseClock())
    operations = OperationCommands(pool, recompute)
    directories = DirectoryCommands(recompute)
    plans = PlanCommands(pool, recompute, directories)
    enrolments = EnrolmentCommands(pool, recompute, directories, ChoreCommands(recompute))
    time = TimeHandler(pool, recompute)
    deciders = decide_tickers(pool, recompute)

    async def main_lane_has_passed(conn: Connection) -> bool:
        ends = await log_ends(settings.kafka, HR_EVENTS.name)
        applied = await brake_store.applied_offsets(conn, MAIN_GROUP, HR_EVENTS.name)
        return (
            all(applied.get(partition, 0) >= end for partition, end in ends.items())
            and await workers_store.count_behind(conn) == 0
        )

    brake = BrakeHandler(pool, recompute, main_lane_has_passed)
    connectors = ConnectorRunner(
        pool, recompute, operations, {"scim": ScimConnector(load_endpoints(settings.scim_file))}
    )
    consumers: dict[str, BatchConsumer[Any]] = {
        MAIN_GROUP: main_lane(
            settings.kafka, MAIN_GROUP, HR_EVENTS.name, pool, recompute, deciders
        ),
        REVIEW_GROUP: BatchConsumer(
            bootstrap=settings.kafka,
            group=REVIEW_GROUP,
            topics=[REVIEW_EVENTS.name],
            pool=pool,
            handler=ReviewDecisionHandler(recompute),
            service=SERVICE,
        ),
    }

    async def forget_old_commands() -> int:
        async with pool.acquire() as conn:
            now = await recompute.clock.now(conn)
            await forget(conn, now)
            await forget_previews(conn, now - timedelta(days=PREVIEWS_KEPT_DAYS))
        return await plans.forget()

    tickers = [
        *deciders,
        Ticker("forget", forget_old_commands, idle_seconds=FORGET_IDLE_SECONDS),
        Ticker("due", time.due, idle_seconds=DUE_IDLE_SECONDS),
        Ticker("enrolments", enrolments.watch, idle_seconds=ENROLMENTS_IDLE_SECONDS),
        Ticker("plans", plans.simulate_next, idle_seconds=PLANS_IDLE_SECONDS, rest=PLANS_REST),
        Ticker("sweep", time.sweep, idle_seconds=SWEEP_IDLE_SECONDS, rest=SWEEP_REST),
        Ticker("brake", brake.judge, idle_seconds=BRAKE_IDLE_SECONDS),
        Ticker(
            "recurring",
            RecurringChores(pool, recompute, ChoreCommands(recompute)).ask,
            idle_seconds=RECURRING_IDLE_SECONDS,
        ),
        Ticker("connectors", connectors.work, idle_seconds=CONNECTORS_IDLE_SECONDS),
        Ticker(
            "simulator",
            PortalSimulator(pool, recompute, operations).work,
            idle_seconds=SIMULATOR_IDLE_SECONDS,
        ),
    ]

    async def more_status(conn: Connection) -> dict[str, Any]:
        return {
            "workers_behind": await workers_store.count_behind(conn),
            "workers_set_aside": await undecided_store.count_failed(conn),
        }

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with pool, going(ended, *consumers.values(), *tickers):
            yield

    app = FastAPI(title="Portalkeeper provisioning", lifespan=lifespan)
    problems.install(app, Refusals(pool, recompute.clock, SERVICE).say)
    for router in routers(pool, authenticator, recompute, operations, brake):
        app.include_router(router)
    app.include_router(
        ops_router(
            service=SERVICE,
            pool=pool,
            authenticator=authenticator,
            consumers=consumers,
            more_status=more_status,
        )
    )
    return app


async def run(settings: Settings) -> None:
    """Serve until the process is asked to stop."""
    await serve(await build_app(settings), settings.host, settings.port)


if __name__ == "__main__":
    sys.exit(run_process(SERVICE, Settings, run))
