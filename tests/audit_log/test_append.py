"""Every record becomes one entry, whatever it holds, in one dense order."""

import asyncio

import pytest

from services.audit_log import store
from services.audit_log.handlers.appending import LogStopped
from shared.contracts.topics import (
    ACCESS_EVENTS,
    ADMIN_EVENTS,
    DEAD_LETTERS,
    DIRECTORY_EVENTS,
    HR_EVENTS,
    REVIEW_EVENTS,
)
from shared.kafka import Batch, Gap, Item
from shared.postgres import in_transaction
from shared.tlog.leaf import GapLeaf, RecordLeaf, SuccessionLeaf, parse_leaf
from tests.audit_log.worlds import Record, World, hired, raw_record


async def leaves(world: World) -> list[RecordLeaf | GapLeaf]:
    async with world.pool.acquire() as conn:
        stored = await store.read_leaves(conn, 0, 10_000)
    assert [index for index, _ in stored] == list(range(len(stored)))
    parsed = [parse_leaf(raw) for _, raw in stored]
    return [leaf for leaf in parsed if not isinstance(leaf, SuccessionLeaf)]


async def test_nulls_and_what_nobody_can_read_are_entries_like_any_other(world: World) -> None:
    await world.append(
        raw_record(0, None, None),
        raw_record(1, b"", b""),
        raw_record(2, b"\xff\x00", b"\xff\xfe\x00", [("ce_id", b"\xff"), ("", b"")]),
        raw_record(3, b"a/b", b"[" * 5_000, [("content-type", b"application/cloudevents+json")]),
        raw_record(4, b"cedar-sound/W-1", b"x" * 1_048_576, [("ce_subject", b"\x00")]),
        hired(5),
    )
    assert [leaf.offset for leaf in await leaves(world)] == [0, 1, 2, 3, 4, 5]
    await world.sign()
    assert (await world.verify(world.token(scope="audit:read ops:admin"))).good


async def test_a_gap_becomes_an_entry_before_the_record_behind_it(world: World) -> None:
    await world.append(hired(7), hired(9), gaps=[Gap(HR_EVENTS.name, 0, 8, 8)])
    await world.append(hired(20), gaps=[Gap(HR_EVENTS.name, 0, 10, 19)])
    found = await leaves(world)
    assert [(type(leaf), leaf.offset) for leaf in found] == [
        (RecordLeaf, 7),
        (GapLeaf, 8),
        (RecordLeaf, 9),
        (GapLeaf, 10),
        (RecordLeaf, 20),
    ]
    await world.sign()
    report = await world.verify()
    assert report.good
    assert (report.entries, report.payloads) == (5, 3)


async def test_the_same_record_delivered_in_another_partition_is_another_entry(
    world: World,
) -> None:
    await world.append(hired(0, id="same"), hired(0, id="same", partition=1))
    assert len(await leaves(world)) == 2


async def test_two_writers_at_once_give_one_dense_order(world: World) -> None:
    async def write(partition: int) -> None:
        for start in range(0, 400, 40):
            await world.append(
                *[hired(offset, f"W-{offset % 7}", partition=partition)
                  for offset in range(start, start + 40)]
            )  # fmt: skip

    await asyncio.gather(write(0), write(1), write(2))
    found = await leaves(world)
    assert len(found) == 1_200
    for partition in range(3):
        offsets = [leaf.offset for leaf in found if leaf.partition == partition]
        assert offsets == list(range(400))
    await world.sign()
    report = await world.verify()
    assert report.good
    assert report.payloads == 1_200


async def test_a_transaction_that_fails_after_appending_leaves_no_trace(world: World) -> None:
    await world.append(hired(0))
    batch = Batch(
        [Item(record, world.handler.parse(record)) for record in (hired(1), hired(2))], []
    )
    async with world.pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await world.handler.apply(conn, batch)
        await transaction.rollback()
    await in_transaction(world.pool, lambda conn: world.handler.apply(conn, batch))
    assert [leaf.offset for leaf in await leaves(world)] == [0, 1, 2]
    await world.sign()
    assert (await world.verify()).good


async def test_a_log_whose_edge_is_damaged_stops_instead_of_setting_records_aside(
    world: World,
) -> None:
    await world.append(hired(0))
    await world.sabotage("UPDATE tile_edge SET hashes = ''")
    with pytest.raises(LogStopped):
        await world.append(hired(1))


async def test_payloads_are_encrypted_per_worker_and_per_record_where_no_worker_is_known(
    world: World,
) -> None:
    await world.append(
        hired(0, "W-1", title="Secret Title"),
        hired(1, "W-2"),
        hired(2, "W-1"),
        hired(0, "W-1", topic=ACCESS_EVENTS.name),
        raw_record(0, b"cedar-sound/site/main", b"{}", topic=DIRECTORY_EVENTS.name),
        raw_record(1, b"cedar-sound/site/main", b"{}", topic=DIRECTORY_EVENTS.name),
        raw_record(0, b"hr.worker-events.v1/0", b"{}", topic=DEAD_LETTERS.name),
    )
    rows = await world.fetch("SELECT key_slot, payload, leaf FROM entry ORDER BY index")
    slots = [row["key_slot"] for row in rows]
    assert slots[0] == slots[2] == slots[3]
    assert len(set(slots)) == 5
    assert not any(b"Secret" in row["payload"] + row["leaf"] for row in rows)


async def test_what_is_called_like_a_worker_does_not_share_the_workers_key(world: World) -> None:
    def named(offset: int, topic: str, type_: str) -> Record:
        headers = [("ce_type", type_.encode()), ("ce_organization", b"cedar-sound")]
        return raw_record(offset, b"cedar-sound/W-1", b"{}", headers, topic)

    await world.append(
        hired(0, "W-1"),
        named(0, ACCESS_EVENTS.name, "operation.requested"),
        named(0, REVIEW_EVENTS.name, "review.opened"),
        named(1, ACCESS_EVENTS.name, "portal.reconciled"),
        named(1, REVIEW_EVENTS.name, "campaign.opened"),
        named(0, ADMIN_EVENTS.name, "session.opened"),
        named(1, ADMIN_EVENTS.name, "command.accepted"),
    )
    rows = await world.fetch("SELECT key_slot FROM entry ORDER BY index")
    hr, operation, review, portal, campaign, session, command = [row["key_slot"] for row in rows]
    assert hr == operation == review
    assert session == command
    assert len({hr, portal, campaign, session}) == 4


async def test_partitions_are_made_ahead_of_the_log(world: World) -> None:
    await world.sabotage("UPDATE log_head SET size = 9000000")
    async with world.pool.acquire() as conn:
        assert await store.make_partitions_ahead(conn) == 2
        assert await store.make_partitions_ahead(conn) == 0


async def test_a_database_with_another_origins_log_is_refused(world: World) -> None:
    async with world.pool.acquire() as conn:
        with pytest.raises(store.WrongLog):
            await store.open_log(conn, "portalkeeper.local/other")
