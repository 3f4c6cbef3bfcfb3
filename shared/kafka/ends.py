"""Where a topic's log ends, asked of the brokers at this moment."""

from aiokafka import AIOKafkaConsumer, TopicPartition


async def log_ends(bootstrap: str, topic: str) -> dict[int, int]:
    """The offset after the last record, by partition.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        await consumer.topics()
        partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
        ends = await consumer.end_offsets(partitions)
        return {tp.partition: end for tp, end in ends.items()}
    finally:
        await consumer.stop()
