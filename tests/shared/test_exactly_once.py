"""Records take effect once and in order, whoever crashes, freezes, commits or rebalances."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from shared.kafka import Record
from shared.postgres import TryAgain
from tests.shared.worlds import Notes, World, eventually


async def test_a_backlog_is_applied_once_and_in_order(world: World) -> None:
    await world.send(range(0, 1200))
    await world.send(range(2000, 2700), partition=1)
    async with world.consuming():
        await world.until_seen(1900)
    assert await world.seen(0) == list(range(1200))
    assert await world.seen(1) == list(range(2000, 2700))
    assert await world.gaps() == []


async def test_a_crash_after_the_commit_and_before_any_acknowledgement_applies_nothing_twice(
    world: World,
) -> None:
    await world.send(range(10))
    async with world.consuming():
        await world.until_stored(10)
    # Whatever the first one told Kafka, Kafka has forgotten it.
    await world.commit_in_kafka(0)
    await world.send(range(10, 20))
    async with world.consuming():
        await world.until_seen(20)
    assert await world.seen() == list(range(20))


async def test_a_consumer_killed_inside_its_transaction_leaves_no_trace_of_it(
    world: World,
) -> None:
    await world.send(range(10))
    world.handler.gate.clear()
    consumer = world.consumer()
    await consumer.start()
    await asyncio.wait_for(world.handler.entered.wait(), 30)
    await world.pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE state = 'idle in transaction' AND datname = current_database()"
    )
    await consumer.stop()
    world.handler.gate.set()
    assert await world.seen() == []
    async with world.consuming():
        await world.until_seen(10)
    assert await world.seen() == list(range(10))


async def test_a_commit_in_kafka_ahead_of_the_stored_offset_loses_nothing(world: World) -> None:
    await world.send(range(5))
    async with world.consuming():
        await world.until_stored(5)
    await world.send(range(5, 15))
    await world.commit_in_kafka(15)
    async with world.consuming():
        await world.until_seen(15)
    assert await world.seen() == list(range(15))


async def test_a_first_start_reads_from_the_logs_beginning_whatever_kafka_says(
    world: World,
) -> None:
    await world.send(range(5))
    await world.commit_in_kafka(4)
    async with world.consuming():
        await world.until_seen(5)
    assert await world.seen() == list(range(5))


async def test_kafka_is_told_how_far_we_are_for_lag_monitors(world: World) -> None:
    await world.send(range(7))

    async def told() -> bool:
        return await world.committed_in_kafka() == 7

    async with world.consuming():
        await eventually(told)


async def test_two_consumers_on_one_partition_apply_each_record_once(
    world: World, fresh_database: Any
) -> None:
    """The first one freezes inside its transaction's work while the second takes over."""
    await world.send(range(1000))
    frozen = Notes()
    frozen.gate.clear()
    first = world.consumer(handler=frozen, batch_max_records=50)
    await first.start()
    await asyncio.wait_for(frozen.entered.wait(), 30)
    # Its session is over for Kafka, and it does not know: nobody tells its listener.
    states = dict(first._partitions)
    async with world.consuming(batch_max_records=50):
        await asyncio.sleep(1)
        for tp, state in states.items():
            # What it had queued is its own still, as after waking up.
            first._partitions[tp] = state
        frozen.gate.set()
        await world.until_seen(1000)
        await world.send(range(1000, 1100))
        await world.until_seen(1100)
    await first.stop()
    assert await world.seen() == list(range(1100))


async def test_a_rebalance_in_the_middle_of_a_backlog_applies_everything_once(
    world: World,
) -> None:
    await world.send(range(0, 3000))
    await world.send(range(5000, 8000), partition=1)
    world.handler.pause_seconds = 0.02
    async with world.consuming(batch_max_records=100):
        await world.until_seen(300)
        async with world.consuming(batch_max_records=100):
            await world.until_seen(2000)
        await world.until_seen(6000)
    assert await world.seen(0) == list(range(3000))
    assert await world.seen(1) == list(range(5000, 8000))


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), asyncpg.QueryCanceledError(), TryAgain("others hold it")]
)
async def test_transient_errors_are_retried_whole_and_never_split(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.consumer.RETRY_SECONDS", (0.05,))
    world.handler.transient_error = error
    world.handler.fail_transiently = 10
    await world.send(range(40))
    async with world.consuming():
        await world.until_seen(40)
    assert await world.seen() == list(range(40))
    assert await world.dead_letters() == []
    assert set(world.handler.batches) == {40}


async def test_the_connections_of_a_stopped_database_are_replaced(
    world: World, fresh_database: Any
) -> None:
    admin = await asyncpg.connect(fresh_database["admin"])
    async with world.consuming(batch_max_records=50):
        for start in range(0, 500, 100):
            await world.send(range(start, start + 100))
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.2)
        await eventually(lambda: seen_all(world, 500))
    await admin.close()
    assert await world.seen() == list(range(500))


async def seen_all(world: World, count: int) -> bool:
    try:
        return len(await world.seen()) == count
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False


async def test_the_queue_stays_bounded_while_the_handler_is_slow(world: World) -> None:
    await world.send(range(3000))
    world.handler.gate.clear()
    consumer = world.consumer(batch_max_records=50)
    await consumer.start()
    await asyncio.wait_for(world.handler.entered.wait(), 30)
    await asyncio.sleep(1)
    queued = sum(
        len(chunk.records) for state in consumer._partitions.values() for chunk in state.queue
    )
    assert 0 < queued <= 5 * 50
    world.handler.gate.set()
    await world.until_seen(3000)
    await consumer.stop()
    assert await world.seen() == list(range(3000))


async def test_the_queue_is_bounded_in_bytes_as_well(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.consumer.BATCH_MAX_BYTES", 1024 * 1024)
    large = [
        json.dumps({"number": number, "ballast": "x" * 250_000}).encode() for number in range(40)
    ]
    await world.send_raw(large)
    world.handler.gate.clear()
    consumer = world.consumer()
    await consumer.start()
    await asyncio.wait_for(world.handler.entered.wait(), 30)
    await asyncio.sleep(1)
    queued = sum(
        chunk.size_bytes for state in consumer._partitions.values() for chunk in state.queue
    )
    assert 0 < queued <= 6 * 1024 * 1024
    world.handler.gate.set()
    await world.until_seen(40)
    await consumer.stop()
    assert await world.seen() == list(range(40))
    assert max(world.handler.batches) <= 8


async def test_stopping_leaves_no_task_behind(world: World) -> None:
    await world.send(range(500))
    before = asyncio.all_tasks()
    world.handler.pause_seconds = 0.05
    async with world.consuming(batch_max_records=50):
        await world.until_seen(50)
    await asyncio.sleep(0)
    assert {task.get_name() for task in asyncio.all_tasks() - before} == set()


async def test_a_consumer_started_before_kafka_waits_for_it(world: World) -> None:
    kafka, world.kafka = world.kafka, "127.0.0.1:9"
    consumer = world.consumer()
    before = asyncio.all_tasks()
    await consumer.start()
    with pytest.raises(Exception, match="not joined"):
        await consumer.status()
    await consumer.stop()
    await asyncio.sleep(0.1)
    assert {task.get_name() for task in asyncio.all_tasks() - before} == set()
    world.kafka = kafka


# -- the scanning lane


def is_third(record: Record) -> bool:
    """Whether the scanning lane of these tests takes a record."""
    return bool(json.loads(record.value or b"{}").get("number", 1) % 3 == 0)


async def test_the_scanning_lane_applies_its_matches_only_and_stores_its_position(
    world: World,
) -> None:
    await world.send(range(1000))
    async with world.consuming(matches=is_third):
        await world.until_seen(334)
    assert await world.seen() == list(range(0, 1000, 3))
    assert await world.dead_letters() == []
    assert await world.gaps() == []


async def test_a_restarted_scanning_lane_applies_no_match_twice(world: World) -> None:
    await world.send(range(301))
    async with world.consuming(matches=is_third):
        await world.until_stored(301)
    await world.send(range(301, 400))
    async with world.consuming(matches=is_third):
        await world.until_seen(134)
    assert await world.seen() == list(range(0, 400, 3))


async def test_the_scanning_lane_remembers_its_position_without_storing_it_each_time(
    world: World,
) -> None:
    async with world.consuming(matches=lambda _record: False) as consumer:
        await world.send(range(10))
        await world.until_stored(10)
        await world.send(range(10))

        async def scanned() -> bool:
            return bool((await consumer.status())["partitions"][0]["next_offset"] == 20)

        await eventually(scanned)
        assert await world.stored() == 10


async def test_the_scanning_lane_leaves_bad_records_to_the_other(world: World) -> None:
    await world.send([0], do="raise")
    await world.send_raw([b"not JSON"])
    await world.send([3], do="reject")
    await world.send([6], do="raise_reading")
    await world.send([9])
    async with world.consuming(matches=lambda _record: True):
        await world.until_seen(1)
    assert await world.seen() == [9]
    assert await world.dead_letters() == []
