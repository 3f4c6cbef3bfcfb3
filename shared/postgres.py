"""Connections and transactions: READ COMMITTED, retried whole when PostgreSQL asks for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import asyncpg
import orjson
import structlog

logger = structlog.get_logger(__name__)

R = TypeVar("R")

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
"""A connection, whether taken from a pool or opened alone."""

TRANSACTION_ATTEMPTS = 8
"""Deadlocks are prevented by one lock order; what remains is rare and short."""

STATEMENT_TIMEOUT_MS = 60_000
TRANSACTION_TIMEOUT_MS = 120_000
"""For a process frozen in the middle of asking something, which is not idle. PostgreSQL looks at it
between messages only: whoever is frozen inside a COPY holds its locks until it is ended."""


async def _prepare_connection(conn: asyncpg.Connection[Any]) -> None:
    await conn.set_type_codec(
        "json", encoder=orjson.dumps, decoder=orjson.loads, schema="pg_catalog", format="binary"
    )
    # In binary a version, which is 1, precedes the text.
    await conn.set_type_codec(
        "jsonb",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda sent: orjson.loads(memoryview(sent)[1:]),
        schema="pg_catalog",
        format="binary",
    )


async def create_pool(dsn: str, *, min_size: int = 1, max_size: int = 8) -> asyncpg.Pool[Any]:
    """A pool whose connections speak jsonb as Python values and never wait forever.

    Raises:
        OSError, asyncpg.PostgresError: the server does not answer or refuses the role.
    """
    settings = {
        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        # A process frozen inside a transaction must not keep its offset rows for ever.
        "idle_in_transaction_session_timeout": str(STATEMENT_TIMEOUT_MS),
        "timezone": "UTC",
        # A table that was empty when a statement was prepared would otherwise be scanned
        # sequentially for the life of the connection.
        "plan_cache_mode": "force_custom_plan",
    }

    async def open_with(more: Mapping[str, str]) -> asyncpg.Pool[Any]:
        return await asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            init=_prepare_connection,
            server_settings={**settings, **more},
        )

    try:
        return await open_with({"transaction_timeout": str(TRANSACTION_TIMEOUT_MS)})
    except asyncpg.UndefinedObjectError:
        # Before version 17.
        return await open_with({})


def is_transient(error: BaseException) -> bool:
    """Whether trying the same transaction again may succeed."""
    return isinstance(
        error,
        asyncpg.DeadlockDetectedError
        | asyncpg.SerializationError
        | asyncpg.PostgresConnectionError
        | asyncpg.CannotConnectNowError
        | asyncpg.TooManyConnectionsError
        | asyncpg.AdminShutdownError
        | asyncpg.CrashShutdownError
        | asyncpg.QueryCanceledError
        | asyncpg.LockNotAvailableError
        | asyncpg.DiskFullError
        | asyncpg.InterfaceError
        | OSError
        | TimeoutError,
    )


class TryAgain(Exception):
    """Raised by `work` when it must start over, e.g. because it has to lock more rows."""


async def in_transaction(pool: asyncpg.Pool[Any], work: Callable[[Connection], Awaitable[R]]) -> R:
    """Run `work` in one READ COMMITTED transaction; deadlock and `TryAgain` repeat it whole.

    Raises:
        whatever `work` raises, after rolling back.
    """
    for attempt in range(1, TRANSACTION_ATTEMPTS + 1):
        try:
            async with pool.acquire() as conn, conn.transaction():
                return await work(conn)
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, TryAgain) as error:
            if attempt == TRANSACTION_ATTEMPTS:
                raise
            logger.info("transaction.again", attempt=attempt, why=type(error).__name__)
            # Whoever was first has let go by now; only those who meet again should draw apart.
            await asyncio.sleep(random.uniform(0, 0.02 * (attempt - 1)))
    raise AssertionError("unreachable")
