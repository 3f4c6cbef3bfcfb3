"""How a service's processes run: serve until asked to stop, relay until asked to stop."""

import asyncio
import gc
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

from shared.outbox import run_relay
from shared.telemetry import configure_logging

SHUTDOWN_SECONDS = 5
COLLECT_AFTER_OBJECTS = 100_000
"""A batch makes tens of thousands of objects that all die with it; looking at them is waste."""


def spare_the_collector() -> None:
    """Let the cyclic collector leave alone what lives as long as the process, and look rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 50)


async def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve `app` until SIGTERM or SIGINT; its lifespan starts and stops what belongs to it."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        server_header=False,
    )
    spare_the_collector()
    await uvicorn.Server(config).serve()


def run_until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it ends or SIGTERM or SIGINT cancels it."""

    async def run() -> None:
        task = asyncio.create_task(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with suppress(asyncio.CancelledError):
            await task

    uvloop.run(run())


def run_relay_process(service: str, database_url: str, kafka: str) -> None:
    """Relay the outbox of one service's schema until SIGTERM or SIGINT."""
    configure_logging(f"{service}-relay")
    run_until_stopped(run_relay(database_url, kafka))
