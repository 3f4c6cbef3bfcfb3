"""A record that cannot be applied is kept whole, and stops nobody behind it."""

import json
from hashlib import sha256

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

from shared.contracts.topics import DEAD_LETTERS
from shared.outbox import MAX_MESSAGE_BYTES
from tests.shared.worlds import World


async def test_a_record_that_breaks_a_rule_is_dead_lettered_whole(world: World) -> None:
    await world.send([1])
    await world.send_raw(
        ['{"broken": "Zürich'.encode()], key=b"org/w1", headers=[("ce_type", b"worker.hired")]
    )
    await world.send([2])
    async with world.consuming():
        await world.until_seen(2)
    assert await world.seen() == [1, 2]
    [(headers, value)] = await world.dead_letters()
    assert value == '{"broken": "Zürich'.encode()
    assert headers["dl_reason"] == "not_json"
    assert headers["dl_offset"] == "1"
    assert bytes.fromhex(headers["dl_key"]) == b"org/w1"
    assert bytes.fromhex(headers["dl_header_ce_type"]) == b"worker.hired"
    assert headers["dl_sha256"] == sha256(value).hexdigest()


async def test_a_handler_hands_back_one_record_and_the_others_are_applied(world: World) -> None:
    await world.send([1])
    await world.send([2], do="reject")
    await world.send([3])
    async with world.consuming():
        await world.until_seen(2)
    assert await world.seen() == [1, 3]
    [(headers, _)] = await world.dead_letters()
    assert headers["dl_reason"] == "refused_by_rule"


async def test_an_unforeseen_error_is_narrowed_down_to_its_record(world: World) -> None:
    await world.send(range(100))
    await world.send([100], do="raise")
    await world.send(range(101, 200))
    async with world.consuming():
        await world.until_seen(199)
    assert await world.seen() == [*range(100), *range(101, 200)]
    [(headers, value)] = await world.dead_letters()
    assert headers["dl_reason"] == "unknown_error"
    assert json.loads(value)["number"] == 100


async def test_a_named_refusal_that_a_handler_raises_keeps_its_name(world: World) -> None:
    await world.send([1])
    await world.send([2], do="raise_rejected")
    async with world.consuming():
        await world.until_stored(2)
    assert [headers["dl_reason"] for headers, _ in await world.dead_letters()] == ["named"]


async def test_a_value_that_postgresql_cannot_take_is_the_records_fault(world: World) -> None:
    await world.send([1], do="huge_number")
    await world.send([2])
    async with world.consuming():
        await world.until_seen(1)
    assert [headers["dl_reason"] for headers, _ in await world.dead_letters()] == ["unknown_error"]


async def test_a_poison_record_in_one_partition_does_not_hold_up_the_other(world: World) -> None:
    await world.send([1, 2, 3], do="raise")
    await world.send(range(50), partition=1)
    async with world.consuming():
        await world.until_seen(50, 1)
        await world.until_stored(3)
    assert await world.seen(1) == list(range(50))
    assert len(await world.dead_letters()) == 3


async def test_too_many_unforeseen_errors_stop_the_partition_and_dead_letter_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.consumer.UNKNOWN_ERRORS_PER_MINUTE", 3)
    await world.send(range(10), do="raise")
    await world.send(range(10, 20), partition=1)
    async with world.consuming() as consumer:
        refusal = await world.until_refused(consumer)
        await world.until_seen(10, 1)
        assert (refusal["partition"], refusal["reason"]) == (0, "too_many_unknown_errors")
        assert await world.stored() == 3
    assert len(await world.dead_letters()) == 3


async def test_errors_while_reading_count_against_the_same_budget(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.consumer.UNKNOWN_ERRORS_PER_MINUTE", 3)
    await world.send([0])
    await world.send(range(1, 50), do="raise_reading")
    async with world.consuming() as consumer:
        refusal = await world.until_refused(consumer)
        assert refusal["reason"] == "too_many_unknown_errors"
    assert await world.seen() == [0]
    assert len(await world.dead_letters()) == 3


async def test_values_and_keys_may_be_null_and_headers_anything(world: World) -> None:
    await world.send_raw([None])
    await world.send_raw(
        [b'{"number": 1}'], key=None, headers=[("naïve", b"\xff\xfe"), ("", b""), ("a", b"\x00")]
    )
    await world.send_raw([b"\xff\x00"], headers=[("bin", b"\xff\x00")])
    async with world.consuming():
        await world.until_stored(3)
    assert await world.seen() == [1]
    null, bytes_ = await world.dead_letters()
    assert null[0]["dl_value_is_null"] == "true"
    assert null[1] == b""
    assert bytes_[0]["dl_header_bin"] == "ff00"
    assert bytes_[1] == b"\xff\x00"


async def test_a_value_of_one_mebibyte_passes_and_is_dead_lettered_whole(world: World) -> None:
    good = json.dumps({"number": 1, "ballast": "x" * 1024 * 1024}).encode()
    await world.send_raw([good, b"y" * 1024 * 1024])
    async with world.consuming():
        await world.until_stored(2)
    assert await world.seen() == [1]
    [(_, value)] = await world.dead_letters()
    assert value == b"y" * 1024 * 1024


async def test_a_dead_letter_always_fits_its_topic_and_says_what_was_cut(
    world: World, prepared_kafka: str
) -> None:
    topic = world.topic = await world.make_topic(1, {"max.message.bytes": str(2**21)})
    room = 2**21 - 1024
    await world.send_raw([b"v" * room])
    await world.send_raw([b"k"], key=b"k" * (room - 10))
    await world.send_raw([b"h"], headers=[(f"header-{n}", b"x" * 300) for n in range(5000)])
    async with world.consuming():
        await world.until_stored(3)
    letters = await world.dead_letters()
    assert len(letters) == 3
    async with AIOKafkaProducer(
        bootstrap_servers=prepared_kafka, acks="all", max_request_size=2**21
    ) as producer:
        for headers, value in letters:
            assert len(value) + sum(len(n) + len(v) for n, v in headers.items()) < MAX_MESSAGE_BYTES
            await producer.send_and_wait(
                DEAD_LETTERS.name,
                value,
                f"{topic}/0".encode(),
                headers=[(name, text.encode()) for name, text in headers.items()],
            )
    assert f"value of {room} bytes" in letters[0][0]["dl_cut"]
    assert f"key of {room - 10} bytes" in letters[1][0]["dl_cut"]
    assert letters[2][0]["dl_headers_cut"] == "5000 headers"


async def test_a_record_that_aiokafka_cannot_read_costs_the_other_partition_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header name that is not UTF-8 raises inside aiokafka, which drops what it had at hand."""
    await world.send(range(300))
    await world.send(range(1000, 1020), partition=1)
    await send_with_broken_header_name(world, monkeypatch, partition=1)
    async with world.consuming() as consumer:
        await world.send(range(300, 600))
        refusal = await world.until_refused(consumer)
        await world.send(range(600, 900))
        await world.until_seen(900, 0)
        await world.until_seen(20, 1)
    assert (refusal["partition"], refusal["reason"]) == (1, "unreadable_record")
    assert await world.seen(0) == list(range(900))
    assert await world.seen(1) == list(range(1000, 1020))
    assert await world.gaps() == []


async def send_with_broken_header_name(
    world: World, monkeypatch: pytest.MonkeyPatch, partition: int
) -> None:
    build = BatchBuilder._build

    def build_broken(builder: BatchBuilder) -> bytearray:
        batch = bytearray(build(builder)).replace(b"MARK", b"\xff\xfeRK")
        # The checksum covers everything behind itself.
        batch[17:21] = calc_crc32c(bytes(batch[21:])).to_bytes(4, "big")
        builder._buffer = batch
        return batch

    with monkeypatch.context() as patch:
        patch.setattr(BatchBuilder, "_build", build_broken)
        await world.send_raw([b"{}"], partition=partition, headers=[("MARK", b"")])
