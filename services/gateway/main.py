"""The gateway process: `python -m services.gateway.main`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
from fastapi import FastAPI

from services.gateway.adapters import vendors
from services.gateway.api import (
    ingress_router,
    rejected_router,
    session_router,
)
from services.gateway.api.adapters import adapters_router
from services.gateway.api.clients import clients_router, token_router
from services.gateway.api.entries import entries_router
from services.gateway.api.maintenance import maintenance_router
from services.gateway.api.rosters import rosters_router
from services.gateway.api.secrets import secrets_router
from services.gateway.channels import Channels, load_channels
from services.gateway.console.app import console_app
from services.gateway.console.hr_lists import HrDesk
from services.gateway.handlers.clients import Clients
from services.gateway.handlers.deliveries import LOOK_IDLE_SECONDS, Deliveries
from services.gateway.handlers.entries import OPEN_IDLE_SECONDS, Entries
from services.gateway.handlers.hr_alarms import HrAlarms
from services.gateway.handlers.ingress import Ingress
from services.gateway.handlers.notices import Notifier
from services.gateway.handlers.picture import PictureHandler
from services.gateway.handlers.provider_sign_in import ProviderSignIn
from services.gateway.handlers.questions import Questions
from services.gateway.handlers.rejected import RejectedEvents
from services.gateway.handlers.roster_publishing import PUBLISH_IDLE_SECONDS, publish_next
from services.gateway.handlers.rosters import Rosters
from services.gateway.handlers.sign_in import Doorkeeper
from services.gateway.handlers.source_health import CHECK_IDLE_SECONDS, SourceHealth
from services.gateway.handlers.source_secrets import SourceSecrets
from services.gateway.provider import load_provider
from services.gateway.publisher import Publisher
from services.gateway.purge import PURGE_IDLE_SECONDS, purge_once
from services.gateway.rules.rates import Rates
from services.gateway.sealing import load_body_seal
from services.gateway.services import Services
from services.gateway.settings import Settings
from services.gateway.sources import load_sources
from services.gateway.store import notices as notices_store
from services.gateway.tokens import load_key
from shared import problems
from shared.auth import Authenticator
from shared.clock import DatabaseClock
from shared.contracts.topics import DIRECTORY_EVENTS, WORKER_STATE
from shared.ended_sessions import EndedSessions
from shared.kafka import BatchConsumer
from shared.ops import ops_router
from shared.postgres import Connection, create_pool
from shared.process import going, run_process
from shared.refusals import Refusals
from shared.serving import serve
from shared.timers import Ticker

SERVICE = "gateway"
GROUP = "gateway"
SERVICE_TIMEOUT_SECONDS = 10
LATE_MINUTES = 10
"""An urgent matter that nobody took for so long is one that an operator should know of."""


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[FastAPI]:
    """The whole application, with everything that it needs opened, and closed at the end.

    What it consumes is in `app.state.consumers`, for whoever runs it to start and stop.

    Raises:
        ValueError: a key or the sources file is missing or wrong.
        OSError, asyncpg.PostgresError: the database does not answer.
    """
    key = load_key(settings.jwt_key_file)
    sources = load_sources(settings.sources_file)
    provider = load_provider(settings.oidc_file, settings.gateway_url)
    seal = load_body_seal(settings.body_key_file)
    clock = DatabaseClock()
    publisher = Publisher(settings.kafka, settings.acknowledgement_seconds)
    async with (
        await create_pool(settings.database_url) as pool,
        httpx.AsyncClient(timeout=SERVICE_TIMEOUT_SECONDS) as http,
    ):
        channels = Channels(load_channels(settings.notify_file), http)
        doorkeeper = Doorkeeper(pool, clock, settings)
        sign_in = ProviderSignIn(pool, clock, doorkeeper, provider) if provider else None
        ingress = Ingress(pool, publisher, seal, clock)
        app = FastAPI(title="Portalkeeper gateway", docs_url=None, redoc_url=None)
        refusals = Refusals(pool, clock, SERVICE)
        problems.install(app, refusals.say)
        secrets = SourceSecrets(pool, sources, seal, clock)
        health = SourceHealth(pool, sources, clock)
        alarms = HrAlarms(pool, clock, health, channels.reach)
        rates = Rates(settings.source_events_per_minute)
        ended = EndedSessions(settings.kafka)
        authenticator = Authenticator(settings.jwks_file, ended)
        clients = Clients(pool, clock, doorkeeper)
        app.include_router(
            ingress_router(ingress, sources, secrets, rates, health, clients, authenticator)
        )
        app.include_router(token_router(clients, key))
        app.include_router(clients_router(clients, authenticator))
        app.include_router(secrets_router(secrets, authenticator))
        app.include_router(maintenance_router(pool, clock, authenticator))
        deliveries = Deliveries(pool, sources, vendors(), ingress, seal, clock, http)
        app.include_router(adapters_router(deliveries, rates, health, authenticator))
        services = Services(http, key, settings)
        entries = Entries(pool, ingress, seal, clock, services, doorkeeper)
        app.include_router(entries_router(entries, authenticator))
        rejected = RejectedEvents(pool, ingress, publisher, seal, clock, sources)
        app.include_router(rejected_router(rejected, authenticator))
        rosters = Rosters(pool, sources, seal, clock)
        questions = Questions(pool, rosters, clock)
        app.include_router(
            rosters_router(rosters, questions, health, sources, secrets, clients, authenticator)
        )
        picture = BatchConsumer(
            bootstrap=settings.kafka,
            group=GROUP,
            topics=[DIRECTORY_EVENTS.name, WORKER_STATE.name],
            pool=pool,
            handler=PictureHandler(doorkeeper.close_all_of),
            service=SERVICE,
        )
        app.state.consumers = {GROUP: picture}
        app.include_router(session_router(doorkeeper, key, settings))
        app.include_router(
            ops_router(
                service=SERVICE,
                pool=pool,
                authenticator=authenticator,
                consumers=app.state.consumers,
                more_status=partial(_telling, channels),
            )
        )
        app.mount(
            "/",
            console_app(
                doorkeeper,
                services,
                pool,
                sources,
                entries,
                HrDesk(rosters, questions, health, deliveries, rejected),
                Notifier(pool, clock, channels, seal, settings.gateway_url),
                refusals,
                sign_in,
                settings,
            ),
        )
        tickers = [
            Ticker(
                "purge",
                partial(purge_once, pool, clock, doorkeeper),
                idle_seconds=PURGE_IDLE_SECONDS,
            ),
            Ticker("rosters", partial(publish_next, pool, seal), idle_seconds=PUBLISH_IDLE_SECONDS),
            Ticker("deliveries", deliveries.look_into_next, idle_seconds=LOOK_IDLE_SECONDS),
            Ticker("embargo", entries.open_due, idle_seconds=OPEN_IDLE_SECONDS),
            Ticker("hr-health", health.check, idle_seconds=CHECK_IDLE_SECONDS),
            Ticker("hr-alarms", alarms.check, idle_seconds=CHECK_IDLE_SECONDS),
        ]
        try:
            async with going(ended, *tickers):
                yield app
        finally:
            await publisher.close()


async def _telling(channels: Channels, conn: Connection) -> dict[str, Any]:
    """How telling people fares, for operators."""
    late = await notices_store.count_late(conn, LATE_MINUTES)
    return {"notifications": {"reaches_anybody": bool(channels.reach), "late": late}}


async def run(settings: Settings) -> None:
    """Follow what the other services publish and serve, until the process is asked to stop."""
    async with gateway(settings) as app, going(*app.state.consumers.values()):
        await serve(app, settings.host, settings.port)


if __name__ == "__main__":
    sys.exit(run_process(SERVICE, Settings, run))
