"""Sessions that have ended, so that no service takes a token that outlived its own."""

import asyncio
import time
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from pydantic import TypeAdapter, ValidationError

from shared.auth import CLOCK_LEEWAY_SECONDS, MAX_TOKEN_LIFETIME_SECONDS
from shared.contracts.admin import SessionClosed
from shared.contracts.envelope import read_event
from shared.contracts.topics import ADMIN_EVENTS
from shared.errors import Rejected

logger = structlog.get_logger(__name__)

KEPT_SECONDS = MAX_TOKEN_LIFETIME_SECONDS + CLOCK_LEEWAY_SECONDS
"""From then on every token of a session that ended has expired by itself."""

FETCH_WAIT_MS = 5_000
"""Kafka answers as soon as there is a record; asked seldom, it has nothing to do for a follower."""

RETRY_SECONDS = 2.0

_CLOSED = TypeAdapter(SessionClosed)


class EndedSessions:
    """Which sessions ended within a token's lifetime, as the gateway's topic tells.

    It is kept in memory: a process that starts reads what was told since the oldest token that may
    still be in use was made. While Kafka does not answer nothing is heard of, and a token lasts
    until it expires.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._until: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, session: object) -> bool:
        """Whether a session, by its public id, has ended."""
        return session in self._until

    async def start(self) -> None:
        """Begin to follow; nobody has to wait for Kafka."""
        self._task = asyncio.create_task(self._follow(), name="ended-sessions")

    async def stop(self) -> None:
        """Follow no longer."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except (KafkaError, OSError) as error:
                logger.warning("ended_sessions.wait", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            ADMIN_EVENTS.name,
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        await consumer.start()
        try:
            # The ends are asked for first: what is told meanwhile lies behind them.
            ends = await consumer.end_offsets(consumer.assignment())
            since = int((time.time() - KEPT_SECONDS) * 1000)
            found = await consumer.offsets_for_times(dict.fromkeys(ends, since))
            for partition, end in ends.items():
                first = found.get(partition)
                consumer.seek(partition, first.offset if first else end)
            async for record in consumer:
                self._note(record)
        finally:
            await consumer.stop()

    def _note(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        now = time.monotonic()
        while self._until and (oldest := next(iter(self._until.items())))[1] < now:
            del self._until[oldest[0]]
        with suppress(Rejected, ValidationError):
            event = read_event(record)
            if event.type == "session.closed":
                self._until[_CLOSED.validate_json(event.data).session] = now + KEPT_SECONDS
