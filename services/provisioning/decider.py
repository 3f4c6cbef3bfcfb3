"""More deciders, in a process of their own: `python -m services.provisioning.decider`.

The main process decides as well; this one takes its share of a backlog to another core, and as many
of it may run as there are shards to work at.
"""

from __future__ import annotations

import asyncio
import signal

import uvloop

from services.provisioning.handlers.deciding import decide_tickers
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.settings import Settings
from shared.clock import DatabaseClock
from shared.postgres import create_pool
from shared.process import spare_the_collector
from shared.telemetry import configure_logging


async def run(settings: Settings) -> None:
    """Decide until SIGTERM or SIGINT; what is under way is rolled back and decided by others."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    pool = await create_pool(settings.database_url, max_size=4)
    deciders = decide_tickers(pool, Recompute(DatabaseClock()), begin_with=1)
    spare_the_collector()
    for decider in deciders:
        decider.start()
    await stopped.wait()
    for decider in deciders:
        await decider.stop()
    await pool.close()


if __name__ == "__main__":
    configure_logging("provisioning-decider")
    uvloop.run(run(Settings()))
