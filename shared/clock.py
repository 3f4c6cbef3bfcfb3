"""Time is handed in: nothing in rules or handlers asks the machine."""

from datetime import UTC, datetime
from typing import Protocol

from shared.postgres import Connection


class Clock(Protocol):
    """Where a transaction learns the present instant."""

    async def now(self, conn: Connection) -> datetime:
        """The present, in UTC, as seen inside the transaction on `conn`."""
        ...


class DatabaseClock:
    """The database's own clock, so that every process of an installation agrees on the time."""

    async def now(self, conn: Connection) -> datetime:
        """`clock_timestamp()`, which moves during a transaction, unlike `now()`."""
        value: datetime = await conn.fetchval("SELECT clock_timestamp()")
        return value.astimezone(UTC)
