"""Where a log ends, asked of a real Kafka."""

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from shared.kafka.ends import log_ends
from tests.shared.worlds import World


async def test_each_partition_ends_behind_its_last_record(world: World) -> None:
    await world.send(range(7), partition=1)
    assert await log_ends(world.kafka, world.topic) == {0: 0, 1: 7}


async def test_a_topic_that_is_not_there_has_no_ends(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.ends.ANSWER_MS", 1_000)
    with pytest.raises(UnknownTopicOrPartitionError):
        await log_ends(kafka, "nothing.of-this-name.v1")
