"""Topics on a Kafka cluster: waiting for it, and creating what is missing."""

import asyncio
import contextlib
from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from deploy.errors import CannotStart
from shared.contracts.topics import Topic

REQUEST_TIMEOUT_MS = 15_000
POLL_SECONDS = 0.2


async def wait_for_kafka(bootstrap: str, seconds: float) -> None:
    """Wait until a broker answers.

    Raises:
        CannotStart: none did.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while not await has_broker(bootstrap):
        if asyncio.get_running_loop().time() > deadline:
            raise CannotStart(f"No Kafka answered at {bootstrap} within {seconds:.0f} s.")
        await asyncio.sleep(POLL_SECONDS)


async def has_broker(bootstrap: str) -> bool:
    """Whether a Kafka at `bootstrap` answers and has a live broker."""
    # The client logs each refused connection as an error, which here is only "not yet".
    if not await _is_listening(bootstrap):
        return False
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
        return bool(cluster["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await admin.close()


async def create_topics(bootstrap: str, topics: Iterable[Topic], replication: int) -> list[str]:
    """Create the topics that do not exist yet and return their names.

    A topic that exists keeps its settings: on an organization's own cluster they belong to whoever
    runs it.

    Raises:
        CannotStart: Kafka refuses one, or one exists with another number of partitions, which
            would break the order per worker.
    """
    topics = list(topics)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in topics if topic.name not in existing]
        if missing:
            answer = await admin.create_topics(
                [
                    NewTopic(t.name, t.partitions, replication, topic_configs=t.config)
                    for t in missing
                ]
            )
            for name, code, *detail in answer.topic_errors:
                error = for_code(code)
                # Another preparation may have been a moment faster.
                if code and error is not TopicAlreadyExistsError:
                    raise CannotStart(f"Kafka refused topic {name}: {error.__name__} {detail}")
        partitions = await wait_for_topics(admin, [topic.name for topic in topics])
    finally:
        await admin.close()
    for topic in topics:
        if partitions[topic.name] != topic.partitions:
            raise CannotStart(
                f"Topic {topic.name} has {partitions[topic.name]} partitions and needs "
                f"{topic.partitions}: changing them would break the order per worker."
            )
    return [topic.name for topic in missing]


async def wait_for_topics(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Wait until the broker knows the topics, each partition with a leader; return partitions.

    Creating a topic is answered a moment before it can be used.

    Raises:
        CannotStart: it took too long.
    """
    deadline = asyncio.get_running_loop().time() + REQUEST_TIMEOUT_MS / 1000
    while True:
        topics = await admin.describe_topics(names)
        if all(
            topic["error_code"] == 0 and all(p["leader"] >= 0 for p in topic["partitions"])
            for topic in topics
        ):
            return {topic["topic"]: len(topic["partitions"]) for topic in topics}
        if asyncio.get_running_loop().time() > deadline:
            raise CannotStart(f"Kafka has no leader for some of these topics: {', '.join(names)}")
        await asyncio.sleep(POLL_SECONDS)


async def _is_listening(bootstrap: str) -> bool:
    for server in bootstrap.split(","):
        host, _, port = server.rpartition(":")
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
            return True
    return False
