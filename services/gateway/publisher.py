"""Records go to Kafka with acks=all and idempotence, and nothing is claimed before it answered."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

logger = structlog.get_logger(__name__)

REQUEST_MAX_BYTES = 2 * 1024 * 1024 - 16 * 1024
CLOSE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Record:
    """One record to publish."""

    topic: str
    key: str
    headers: Mapping[str, str]
    value: bytes


class Publisher:
    """One producer for all requests, replaced whenever a send fails.

    An idempotent producer that lost a batch cannot continue its sequence, and one that timed out
    may still deliver: it is closed and the next request opens another. Consumers recognize an event
    that arrives twice.

    Args:
        acknowledgement_seconds: how long `publish` waits for Kafka, opening a producer included.
    """

    def __init__(self, bootstrap: str, acknowledgement_seconds: float) -> None:
        self._bootstrap = bootstrap
        self._seconds = acknowledgement_seconds
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def publish(self, records: Sequence[Record]) -> bool:
        """Publish in order; whether Kafka acknowledged every one in time.

        False means "unknown": some may have been written or still be.
        """
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._seconds):
                producer = await self._open()
                pending = [await _send(producer, record) for record in records]
                await asyncio.gather(*pending)
        except (KafkaError, OSError, TimeoutError) as error:
            logger.warning("publish.unacknowledged", records=len(records), error=repr(error))
            self._discard(producer)
            return False
        return True

    async def close(self) -> None:
        """Flush and close."""
        self._discard(self._producer)
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _open(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=REQUEST_MAX_BYTES,
                    request_timeout_ms=int(self._seconds * 1000),
                    linger_ms=2,
                )
                try:
                    await producer.start()
                except BaseException:
                    self._close_later(producer)
                    raise
                self._producer = producer
            return self._producer

    def _discard(self, producer: AIOKafkaProducer | None) -> None:
        if producer is not None:
            if self._producer is producer:
                self._producer = None
            self._close_later(producer)

    def _close_later(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(_close(producer))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _send(producer: AIOKafkaProducer, record: Record) -> "asyncio.Future[object]":
    future: asyncio.Future[object] = await producer.send(
        record.topic,
        value=record.value,
        key=record.key.encode(),
        headers=[(name, value.encode()) for name, value in record.headers.items()],
    )
    return future


async def _close(producer: AIOKafkaProducer) -> None:
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            await producer.stop()
