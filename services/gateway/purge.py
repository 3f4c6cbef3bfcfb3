"""The loop that forgets: rejected bodies and undecided lists after 30 days, attempts, sessions."""

from datetime import timedelta
from typing import Any

import asyncpg

from services.gateway import store
from services.gateway.handlers.rosters import NOT_READ, READING_MINUTES
from services.gateway.handlers.sign_in import Doorkeeper
from services.gateway.rules.roles import ATTEMPT_WINDOW_SECONDS
from services.gateway.store.health import forget_days
from services.gateway.store.rosters import expire_rosters, give_up_reading
from shared.clock import Clock
from shared.postgres import Connection, in_transaction

PURGE_BATCH_ROWS = 500
PURGE_IDLE_SECONDS = 60


async def purge_once(pool: "asyncpg.Pool[Any]", clock: Clock, doorkeeper: Doorkeeper) -> int:
    """Delete and close one bounded piece; how much that was."""

    async def purge(conn: Connection) -> int:
        now = await clock.now(conn)
        forget_before = now - timedelta(seconds=ATTEMPT_WINDOW_SECONDS)
        done = await store.purge(conn, now, forget_before, PURGE_BATCH_ROWS)
        done += await expire_rosters(conn, now)
        lost = now - timedelta(minutes=READING_MINUTES)
        await give_up_reading(conn, NOT_READ, before=lost)
        return done + await forget_days(conn, now)

    return await in_transaction(pool, purge) + await doorkeeper.close_expired()
