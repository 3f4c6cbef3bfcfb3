"""Both lanes and the deciders of provisioning on a topic of a test's own, in one process.

python -m tests.faults.lanes KAFKA DSN TOPIC GROUP
"""

import asyncio
import sys

import uvloop

from services.provisioning.handlers.deciding import decide_tickers
from services.provisioning.handlers.events import HrExpress, may_take_access
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.main import SERVICE, main_lane
from shared.clock import DatabaseClock
from shared.kafka import BatchConsumer
from shared.postgres import create_pool
from shared.process import going, until_stopped


async def run(kafka: str, dsn: str, topic: str, group: str) -> None:
    """Take in and decide until cancelled."""
    pool = await create_pool(dsn, max_size=8)
    recompute = Recompute(DatabaseClock())
    deciders = decide_tickers(pool, recompute)
    lanes = [
        main_lane(kafka, group, topic, pool, recompute, deciders),
        BatchConsumer(
            bootstrap=kafka,
            group=f"{group}-express",
            topics=[topic],
            pool=pool,
            handler=HrExpress(recompute),
            service=SERVICE,
            matches=may_take_access,
        ),
    ]
    async with pool, going(*deciders, *lanes):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(until_stopped(run(*sys.argv[1:])))
