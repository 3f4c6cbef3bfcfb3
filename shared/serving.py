"""Serving HTTP: what relays, deciders and the signer start sooner without."""

import uvicorn
from fastapi import FastAPI

from shared.process import spare_the_collector

SHUTDOWN_SECONDS = 5

KEEP_ALIVE_SECONDS = 30
"""Longer than our own clients keep an idle connection (5 s): if both ended it at the same age, a
request could meet a connection that is just being closed, and would look like no answer."""


async def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve `app` until SIGTERM or SIGINT; its lifespan starts and stops what belongs to it."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
    )
    spare_the_collector()
    await uvicorn.Server(config).serve()
