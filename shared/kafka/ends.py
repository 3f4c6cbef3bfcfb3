"""Where a topic's log ends, asked of the brokers at this moment."""

from aiokafka import AIOKafkaConsumer

ANSWER_MS = 10_000
"""How long a broker may take, and a topic may be unknown, before there is no answer."""


async def log_ends(bootstrap: str, topic: str) -> dict[int, int]:
    """The offset after the last record, by partition.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer, or have no such topic.
    """
    # Only a consumer that was given the topic knows its partitions.
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        request_timeout_ms=ANSWER_MS,
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        return {tp.partition: end for tp, end in ends.items()}
    finally:
        await consumer.stop()
