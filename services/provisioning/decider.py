"""More deciders, in a process of their own: `python -m services.provisioning.decider`.

The main process decides as well; this one takes its share of a backlog to another core, and as many
of it may run as there are shards to work at.
"""

from __future__ import annotations

import asyncio
import os

from services.provisioning.handlers.deciding import DECIDERS, decide_tickers
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.settings import Settings
from shared.clock import DatabaseClock
from shared.postgres import create_pool
from shared.process import run_until_stopped, spare_the_collector
from shared.telemetry import configure_logging

NICENESS = 10
"""A backlog may wait for the processor; whoever serves people and terminations may not."""


async def run(settings: Settings) -> None:
    """Decide until cancelled; what is under way is rolled back, and decided by others."""
    pool = await create_pool(settings.database_url, max_size=DECIDERS)
    deciders = decide_tickers(pool, Recompute(DatabaseClock()), begin_with=1)
    spare_the_collector()
    os.nice(NICENESS)
    try:
        for decider in deciders:
            decider.start()
        await asyncio.Event().wait()
    finally:
        for decider in deciders:
            await decider.stop()
        await pool.close()


if __name__ == "__main__":
    configure_logging("provisioning-decider")
    run_until_stopped(run(Settings()))
