"""Writes an empty database anew: `python -m services.review_scheduler.rebuild`.

For an installation whose review scheduler lost its database, before its process is started again.
It reads `review.events.v1`: as far as that reaches back nothing is asked twice and nothing decided
is lost. Who holds what comes from the compacted topics, as ever.
"""

import sys

import structlog
from aiokafka import AIOKafkaConsumer
from pydantic import ValidationError

from services.review_scheduler.handlers.rebuilding import write_anew
from services.review_scheduler.rules.retelling import Retold
from services.review_scheduler.settings import Settings
from services.review_scheduler.store.rebuilding import hold_nothing
from shared.clock import DatabaseClock
from shared.contracts.envelope import read_event
from shared.contracts.review import REVIEW_EVENT_MODELS
from shared.contracts.topics import REVIEW_EVENTS
from shared.errors import Rejected, Unusable
from shared.kafka import Record
from shared.postgres import Connection, create_pool, in_transaction
from shared.process import run_process

logger = structlog.get_logger(__name__)

NOT_EMPTY = "The review scheduler's database is not empty; only an empty one is written anew."


def tell(told: Retold, record: Record) -> None:
    """Go on with a record; one that nobody could read is left out, and said."""
    try:
        event = read_event(record)
        model = REVIEW_EVENT_MODELS.get(event.type)
        if model is not None:
            told.tell(event.organization, model.model_validate_json(event.data))
    except (Rejected, ValidationError, KeyError) as error:
        logger.warning("rebuild.left_out", offset=record.offset, error=type(error).__name__)


async def read_all(kafka: str) -> Retold:
    """What the whole topic tells, up to its end now."""
    told = Retold()
    consumer = AIOKafkaConsumer(
        REVIEW_EVENTS.name,
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        for partition in ends:
            await consumer.seek_to_beginning(partition)
        while any([await consumer.position(each) < end for each, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    tell(told, record)
    finally:
        await consumer.stop()
    return told


async def run(settings: Settings) -> None:
    """Rebuild.

    Raises:
        Unusable: the database is not empty.
    """
    async with await create_pool(settings.database_url) as pool:
        async with pool.acquire() as conn:
            if not await hold_nothing(conn):
                raise Unusable(NOT_EMPTY)
        told = await read_all(settings.kafka)

        async def work(conn: Connection) -> None:
            await write_anew(conn, told, await DatabaseClock().now(conn))

        await in_transaction(pool, work)
        logger.info("rebuild.done", campaigns=len(told.campaigns), reviews=len(told.reviews))


if __name__ == "__main__":
    sys.exit(run_process("review_scheduler", Settings, run))
