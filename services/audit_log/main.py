"""The audit log's process: `python -m services.audit_log.main`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import structlog
from fastapi import FastAPI

from services.audit_log import store
from services.audit_log.api import Reading, routers
from services.audit_log.crypto import KeyStore, read_master_key
from services.audit_log.handlers.announcing import announce_rotations
from services.audit_log.handlers.appending import AuditHandler, Draft
from services.audit_log.handlers.erasing import Eraser
from services.audit_log.handlers.exporting import Exporter
from services.audit_log.handlers.picture import PictureHandler
from services.audit_log.rules.terms import SECRET_LABEL, Terms
from services.audit_log.settings import Settings
from services.audit_log.store.keeping import WorkerAccess
from shared import problems
from shared.auth import Authenticator
from shared.clock import DatabaseClock
from shared.contracts.topics import AUDITED_TOPICS, WORKER_STATE
from shared.ended_sessions import EndedSessions
from shared.kafka import BatchConsumer
from shared.ops import ops_router
from shared.postgres import Connection, create_pool
from shared.process import going, run_process
from shared.refusals import Refusals
from shared.serving import serve

logger = structlog.get_logger(__name__)

SERVICE = "audit_log"
CONSUMER_GROUP = "audit-log"
PICTURE_GROUP = "audit-log-picture"
PROMISE_CHECK_SECONDS = 30.0
BATCH_MAX_RECORDS = 1_000
"""Nobody waits for an entry; but the next batch is hashed while this one is written, and with
larger ones the two take turns."""

SIGNER_POLL_SECONDS = 0.2
PARTITION_CHECK_SECONDS = 60.0
"""A partition ahead holds 4 million entries: more than arrive between two checks."""


async def build_app(settings: Settings, pool: "asyncpg.Pool[Any]") -> FastAPI:
    """The service with its consumer, which starts and stops with the app.

    Raises:
        KeyStoreError: the master key or the key store cannot be used.
        WrongLog: the database holds another origin's log.
    """
    keys = KeyStore(settings.audit_keystore_dir, read_master_key(settings.audit_master_key_file))
    clock = DatabaseClock()
    async with pool.acquire() as conn:
        await store.open_log(conn, settings.log_origin)
    handler = AuditHandler(settings.log_origin, keys, clock)
    reading = Reading(pool, keys, clock, settings.log_origin, Terms(keys.derive(SECRET_LABEL)))
    exporter = Exporter(reading, settings.audit_exports_dir)
    picture: BatchConsumer[WorkerAccess] = BatchConsumer(
        bootstrap=settings.kafka,
        group=PICTURE_GROUP,
        topics=[WORKER_STATE.name],
        pool=pool,
        handler=PictureHandler(),
        service=SERVICE,
    )
    consumer: BatchConsumer[Draft] = BatchConsumer(
        bootstrap=settings.kafka,
        group=CONSUMER_GROUP,
        topics=[topic.name for topic in AUDITED_TOPICS],
        pool=pool,
        handler=handler,
        service=SERVICE,
        batch_max_records=BATCH_MAX_RECORDS,
    )

    async def caught_up() -> bool:
        found = await picture.status()
        lags = [each["lag"] for each in found["partitions"]]
        return len(lags) == WORKER_STATE.partitions and not any(lag != 0 for lag in lags)

    eraser = Eraser(reading, settings.audit_retention_years, caught_up)
    ended = EndedSessions(settings.kafka)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(_consume_once_signed(pool, handler, consumer)),
            asyncio.create_task(_keep_partitions_ahead(pool)),
            asyncio.create_task(exporter.run()),
            asyncio.create_task(_keep_promises(reading, eraser)),
            asyncio.create_task(picture.start()),
        ]
        try:
            async with going(ended):
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(consumer.stop(), picture.stop())

    app = FastAPI(title="Portalkeeper audit log", lifespan=lifespan)
    problems.install(app, Refusals(pool, DatabaseClock(), SERVICE).say)
    authenticator = Authenticator(settings.jwks_file, ended)
    for router in routers(reading, exporter, eraser, authenticator):
        app.include_router(router)
    app.include_router(
        ops_router(
            service=SERVICE,
            pool=pool,
            authenticator=authenticator,
            consumers={CONSUMER_GROUP: consumer, PICTURE_GROUP: picture},
            more_status=_log_status,
            on_gap_accepted=handler.mark_restart,
        )
    )
    return app


async def _consume_once_signed(
    pool: "asyncpg.Pool[Any]", handler: AuditHandler, consumer: BatchConsumer[Draft]
) -> None:
    """Append nothing before the signer has signed the empty tree: then no entry was ever unseen."""
    waited = False
    while True:
        with suppress(asyncpg.PostgresError, OSError):
            async with pool.acquire() as conn:
                if await store.latest_checkpoint(conn) is not None:
                    async with conn.transaction():
                        await handler.begin_successor(conn)
                    break
        if not waited:
            waited = True
            logger.info("log.waits_for_signer")
        await asyncio.sleep(SIGNER_POLL_SECONDS)
    await consumer.start()


async def _keep_partitions_ahead(pool: "asyncpg.Pool[Any]") -> None:
    while True:
        try:
            async with pool.acquire() as conn:
                await store.make_partitions_ahead(conn)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("partitions.not_made", error=repr(error))
        await asyncio.sleep(PARTITION_CHECK_SECONDS)


async def _keep_promises(reading: Reading, eraser: Eraser) -> None:
    """Finish erasures that a crash interrupted, and tell of keys that were replaced."""
    while True:
        try:
            await eraser.finish_all()
            await announce_rotations(reading)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("promises.wait", error=repr(error))
        await asyncio.sleep(PROMISE_CHECK_SECONDS)


async def _log_status(conn: Connection) -> dict[str, Any]:
    head = await store.read_head(conn)
    signed = await store.latest_checkpoint(conn)
    return {
        "log": {
            "origin": head[0] if head else None,
            "size": head[1] if head else 0,
            "checkpoint_size": signed.size if signed else None,
        }
    }


async def run(settings: Settings) -> None:
    """Serve until the process is asked to stop.

    Raises:
        KeyStoreError, WrongLog: see `build_app`.
    """
    async with await create_pool(settings.database_url) as pool:
        await serve(await build_app(settings, pool), settings.host, settings.port)


if __name__ == "__main__":
    sys.exit(run_process(SERVICE, Settings, run))
