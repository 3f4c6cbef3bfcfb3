"""A log that is not the one we read before stops its partition, loudly; the others go on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiokafka.admin import NewTopic
from fastapi import FastAPI
from joserfc.jwk import OKPKey

from shared import problems
from shared.auth import Authenticator
from shared.contracts.topics import ACCESS_EVENTS
from shared.kafka import BatchConsumer
from shared.ops import ops_router
from tests.shared.tokens import bearer, write_keys
from tests.shared.worlds import SERVICE, World, eventually, no_fact


async def recreate(world: World) -> None:
    """Delete the topic and make it again under its name, empty."""
    async with world.admin() as admin:
        await admin.delete_topics([world.topic])

        async def created() -> bool:
            answer = await admin.create_topics([NewTopic(world.topic, 2, 1)])
            return all(code == 0 for _, code, *_ in answer.topic_errors)

        await eventually(created)


@asynccontextmanager
async def served(
    world: World, consumer: BatchConsumer[dict[str, object]], folder: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """The operational routes of a service with this consumer."""
    key = OKPKey.generate_key("Ed25519", {"kid": "one"})
    app = FastAPI()
    problems.install(app)
    app.include_router(
        ops_router(
            service=SERVICE,
            pool=world.pool,
            authenticator=Authenticator(write_keys(folder / "jwks.json", key)),
            consumers={world.group: consumer},
        )
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://ops",
        headers=bearer(key, scopes={"ops:admin"}),
    ) as client:
        yield client


async def test_a_shorter_log_under_the_same_name_is_refused_until_somebody_accepts_it(
    world: World, tmp_path: Path
) -> None:
    await world.send(range(10))
    await world.send(range(10, 20), partition=1)
    async with world.consuming():
        await world.until_seen(20)
    await recreate(world)
    await world.send(range(100, 105))
    await world.send(range(200, 215), partition=1)
    other = await world.make_topic(1)
    await world.send(range(300, 310), topic=other)
    async with world.consuming(topics=[world.topic, other]) as consumer:
        await world.until_seen(30)

        async def both() -> bool:
            return len(await consumer.refusals()) == 2

        await eventually(both)
        shorter, longer = await consumer.refusals()
        assert shorter["reason"] == "offset_beyond_end"
        assert longer["reason"] == "another_log"
        async with served(world, consumer, tmp_path) as client:
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            assert f"{world.topic}/0: offset_beyond_end" in ready.text
            assert f"{world.topic}/1: another_log" in ready.text
            for partition in (0, 1):
                answer = await client.post(
                    "/ops/v1/accept-gap",
                    json={"group": world.group, "topic": world.topic, "partition": partition},
                )
                assert answer.json()["next_offset"] == 0
            await world.until_seen(50)
            assert (await client.get("/readyz")).status_code == 200
    assert await world.seen(1) == [*range(10, 20), *range(200, 215)]
    facts = await world.pool.fetch(
        "SELECT convert_from(headers, 'UTF8') AS headers FROM outbox WHERE topic = $1",
        ACCESS_EVENTS.name,
    )
    assert len(facts) == 2
    assert all("gap.accepted" in row["headers"] for row in facts)


async def test_a_topic_recreated_under_a_running_consumer_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.consumer.METADATA_MAX_AGE_MS", 1000)
    await world.send(range(10))
    async with world.consuming() as consumer:
        await world.until_stored(10)
        await recreate(world)
        await world.send(range(100, 103))
        refusal = await world.until_refused(consumer)
        assert refusal["reason"] == "offset_beyond_end"
    assert await world.seen() == list(range(10))


async def test_records_that_retention_ate_unread_are_refused_and_accepted_as_a_gap(
    world: World,
) -> None:
    await world.send(range(5))
    async with world.consuming():
        await world.until_stored(5)
    await world.send(range(5, 30))
    await world.delete_records(20)
    heard = []

    async def record_fact(_conn: object, gap: object, reason: str) -> None:
        heard.append((gap, reason))

    async with world.consuming() as consumer:
        refusal = await world.until_refused(consumer)
        assert refusal["reason"] == "records_lost"
        gap = await consumer.accept_gap(world.topic, 0, record_fact)
        assert (gap.first, gap.last) == (5, 19)
        assert heard == [(gap, "records_lost")]
        await world.until_seen(15)
    assert await world.seen() == [*range(5), *range(20, 30)]
    assert await world.gaps() == [(5, 19)]


async def test_records_eaten_before_a_running_consumer_read_them_are_no_natural_hole(
    world: World,
) -> None:
    """aiokafka moves to the log's start by itself, which looks like a hole in the log."""
    await world.send(range(5))
    async with world.consuming() as consumer:
        await world.until_stored(5)
        tp = await world.pause(consumer)
        await world.send(range(5, 30))
        await world.delete_records(20)
        consumer._consumer.resume(tp)
        refusal = await world.until_refused(consumer)
    assert refusal["reason"] == "records_lost"
    assert await world.seen() == list(range(5))
    assert await world.gaps() == []


async def test_a_log_emptied_under_a_running_consumer_is_noticed_without_a_new_record(
    world: World,
) -> None:
    await world.send(range(5))
    async with world.consuming() as consumer:
        await world.until_stored(5)
        tp = await world.pause(consumer)
        await world.send(range(5, 30))
        await world.delete_records(30)
        consumer._consumer.resume(tp)
        refusal = await world.until_refused(consumer)
    assert refusal["reason"] == "records_lost"


async def test_expired_records_that_were_applied_are_nobodys_loss(world: World) -> None:
    await world.send(range(10))
    async with world.consuming():
        await world.until_stored(10)
    await world.delete_records(10)
    await world.send(range(10, 20))
    async with world.consuming() as consumer:
        await world.until_seen(20)
        assert await consumer.refusals() == []


async def test_a_refused_partition_stays_refused_over_restarts_and_rebalances(
    world: World,
) -> None:
    await world.send(range(10))
    async with world.consuming():
        await world.until_stored(10)
    await recreate(world)
    async with world.consuming() as consumer:
        await world.until_refused(consumer)
    # By now the new log reaches further than the old offset: only the refusal keeps us out.
    await world.send(range(100, 130))
    async with world.consuming():
        async with world.consuming():
            await world.send(range(500, 510), partition=1)
            await world.until_seen(10, 1)
        await world.send(range(510, 520), partition=1)
        await world.until_seen(20, 1)
    assert await world.seen(0) == list(range(10))


async def test_a_gap_is_only_accepted_where_a_partition_is_refused(world: World) -> None:
    async with world.consuming() as consumer:
        with pytest.raises(LookupError):
            await consumer.accept_gap(world.topic, 0, no_fact)


async def test_too_many_errors_accepted_by_an_operator_are_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.consumer.UNKNOWN_ERRORS_PER_MINUTE", 2)
    await world.send([0, 1, 2], do="raise")
    await world.send([3])
    async with world.consuming() as consumer:
        await world.until_refused(consumer)
        gap = await consumer.accept_gap(world.topic, 0, no_fact)
        assert gap.last < gap.first
        await world.until_seen(1)
    assert await world.seen() == [3]
    assert len(await world.dead_letters()) == 3


# -- holes that the log explains


async def test_control_records_are_a_natural_hole_that_the_handler_hears_of(world: World) -> None:
    await world.send_in_transactions([0, 1], [2, 3], [4], abort={1})
    await world.send([5])
    async with world.consuming() as consumer:
        await world.until_seen(4)
        assert await consumer.refusals() == []
    assert await world.seen() == [0, 1, 4, 5]
    # 2: a commit; 3 and 4 with 5: two aborted and their marker; 7: a commit.
    assert await world.gaps() == [(2, 5), (7, 7)]


async def test_a_log_that_ends_in_control_records_has_no_lag(world: World) -> None:
    await world.send_in_transactions([0, 1], [2], abort={1})
    async with world.consuming() as consumer:
        await world.until_stored(5)
        status = await consumer.status()
        assert status["partitions"][0]["lag"] == 0
        await world.send([7])
        await world.until_seen(3)
    assert await world.seen() == [0, 1, 7]
    assert await world.gaps() == [(2, 4)]
    async with world.consuming() as consumer:
        await world.send([8])
        await world.until_seen(4)
        assert await consumer.refusals() == []


async def test_compaction_leaves_natural_holes(world: World) -> None:
    world.topic = await world.make_topic(
        1,
        {
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.001",
            "segment.ms": "100",
            "max.compaction.lag.ms": "100",
            "delete.retention.ms": "0",
        },
    )
    await world.send([0])
    async with world.consuming():
        await world.until_stored(1)
    for number in range(1, 4):
        await world.send(range(number * 10, number * 10 + 10))
    await world.send([99])

    async def compacted() -> bool:
        await world.send([100])
        world.group += "x"
        await world.pool.execute("TRUNCATE seen; TRUNCATE gap")
        async with world.consuming():
            end = await eventually(lambda: last_is(world, 100))
            assert end
        return bool(await world.gaps())

    await eventually(compacted, 120)
    missing = sum(last - first + 1 for first, last in await world.gaps())
    assert len(await world.seen()) + missing == await world.stored()


async def last_is(world: World, number: int) -> bool:
    return number in await world.seen()
