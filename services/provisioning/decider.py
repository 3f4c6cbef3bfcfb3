"""More deciders, in a process of their own: `python -m services.provisioning.decider`.

The main process decides as well; this one takes its share of a backlog to another core, and as many
of it may run as there are shards to work at.
"""

from __future__ import annotations

import asyncio
import os
import sys

from services.provisioning.handlers.deciding import DECIDERS, decide_tickers
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.settings import Settings
from shared.clock import DatabaseClock
from shared.postgres import create_pool
from shared.process import going, run_process, spare_the_collector, until_stopped

NICENESS = 10
"""A backlog may wait for the processor; whoever serves people and terminations may not."""


async def run(settings: Settings) -> None:
    """Decide until cancelled; what is under way is rolled back, and decided by others."""
    pool = await create_pool(settings.database_url, max_size=DECIDERS)
    deciders = decide_tickers(pool, Recompute(DatabaseClock()), begin_with=1)
    spare_the_collector()
    os.nice(NICENESS)
    async with pool, going(*deciders):
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(
        run_process("provisioning-decider", Settings, lambda settings: until_stopped(run(settings)))
    )
