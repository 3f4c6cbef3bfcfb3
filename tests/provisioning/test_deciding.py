"""Events are stored by one transaction and decided about by another: nothing falls in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.provisioning.handlers.deciding import Decider
from services.provisioning.rules.decide import decide
from services.provisioning.store import undecided as undecided_store
from services.provisioning.store import workers as workers_store
from shared.kafka import Batch, Item
from shared.postgres import in_transaction
from tests.provisioning.desk import Desk, hire, hr_record, leave_now, sequence_of
from tests.provisioning.worlds import NOW, ORGANIZATION, day


def billing(worker: str = "w1") -> Any:
    return hr_record(
        "worker.changed",
        worker,
        id_=f"{worker}-moved",
        employment_id=f"{worker}-e1",
        effective_on=day(-5),
        title="Biller",
    )


async def waiting(desk: Desk, *workers: str) -> set[str]:
    """Those of the workers about whom nobody has decided yet."""
    async with desk.pool.acquire() as conn:
        keys = [(ORGANIZATION, worker) for worker in workers or ("w1",)]
        return {worker for _, worker in await undecided_store.undecided_among(conn, keys)}


async def test_however_many_events_wait_a_worker_is_decided_once(desk: Desk) -> None:
    await desk.take_in(hire())
    await desk.take_in(billing())
    assert await waiting(desk) == {"w1"}
    await desk.decide()
    assert await waiting(desk) == set()
    assert len(await desk.published("worker.state")) == 1
    assert {tuple(item["events"]) for item in await desk.work()} == {("w1-hired", "w1-moved")}


async def test_what_waits_undecided_counts_as_behind(desk: Desk) -> None:
    async with desk.pool.acquire() as conn:
        before = await workers_store.count_behind(conn)
        await desk.take_in(hire(), hire("w2"), billing("w2"))
        assert await workers_store.count_behind(conn) == before + 2


async def test_what_was_stored_before_a_crash_is_decided_after_it(desk: Desk) -> None:
    await desk.take_in(hire(), hire("w2"))
    assert await desk.work() == []
    successor = Decider(desk.pool, desk.recompute)
    while await successor.decide_next():
        pass
    assert {item["worker"] for item in await desk.work()} == {"w1", "w2"}


async def test_a_decision_that_fails_to_commit_is_made_again(desk: Desk) -> None:
    await desk.take_in(hire())

    async def crash(conn: Any) -> None:
        locked = await workers_store.lock_workers(conn, [(ORGANIZATION, "w1")])
        await desk.recompute.run(conn, locked, only_timelines_changed=True)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        await in_transaction(desk.pool, crash)
    assert await desk.work() == []
    await desk.decide()
    assert len(await desk.work()) == 3


async def test_a_termination_that_waits_undecided_is_decided_by_the_express_lane(
    desk: Desk,
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    await desk.take_in(leave_now())
    await desk.take_in(leave_now(), lane="express")
    removals = await desk.work()
    assert {item["kind"] for item in removals} == {"suspend"}
    assert {tuple(item["events"]) for item in removals} == {("w1-terminated",)}
    before = await desk.published()
    await desk.decide()
    assert await desk.published() == before


async def test_a_termination_waits_for_no_batch_that_is_being_taken_in(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    handler, stored, ordered = desk.lanes["main"], asyncio.Event(), asyncio.Event()

    async def take_in_slowly(conn: Any) -> None:
        record = billing()
        await handler.apply(conn, Batch([Item(record, handler.parse(record))], []))
        stored.set()
        await ordered.wait()

    slow = asyncio.create_task(in_transaction(desk.pool, take_in_slowly))
    await stored.wait()
    async with asyncio.timeout(5):
        await desk.take_in(leave_now(), lane="express")
    assert {item["kind"] for item in await desk.work()} == {"suspend"}
    ordered.set()
    await slow
    before = sequence_of(await desk.published("operation.requested"))
    await desk.decide()
    assert sequence_of(await desk.published("operation.requested")) == before


async def test_an_order_names_what_was_heard_even_where_somebody_else_decides(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.take_in(billing())

    async def look(conn: Any) -> None:
        locked = await workers_store.lock_workers(conn, [(ORGANIZATION, "w1")])
        await desk.recompute.run(conn, locked)

    await in_transaction(desk.pool, look)
    anew = [item for item in await desk.work() if item["generation"] == 2]
    assert {tuple(item["events"]) for item in anew} == {("w1-moved",)}
    assert await waiting(desk) == set()


async def test_a_worker_whom_nobody_can_decide_about_holds_up_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.take_in(*(hire(f"w{number}") for number in range(1, 6)))

    def stumble(facts: Any, *more: Any) -> Any:
        if facts.person.worker == "w3":
            raise ZeroDivisionError
        return decide(facts, *more)

    monkeypatch.setattr("services.provisioning.handlers.recompute.decide", stumble)
    await desk.decide()
    assert {item["worker"] for item in await desk.work()} == {"w1", "w2", "w4", "w5"}
    async with desk.pool.acquire() as conn:
        assert await undecided_store.count_failed(conn) == 1
    assert await waiting(desk, "w2", "w3", "w4") == {"w3"}
    monkeypatch.undo()
    await desk.hear(billing("w3"))
    assert {tuple(item["events"]) for item in await desk.work("w3")} == {("w3-hired", "w3-moved")}
    assert await waiting(desk, "w3") == set()


async def test_two_deciders_share_the_work_and_say_nothing_twice(desk: Desk) -> None:
    await desk.take_in(*(hire(f"w{number}") for number in range(60)))

    async def work(begin_with: int) -> int:
        decider = Decider(desk.pool, desk.recompute, begin_with=begin_with, most=5)
        total = 0
        while done := await decider.decide_next():
            total += done
        return total

    shares = await asyncio.gather(work(0), work(undecided_store.SHARDS // 2))
    assert all(shares)
    assert len(await desk.published("worker.state")) == 60


async def test_everybody_gets_a_turn_while_new_events_keep_coming(desk: Desk) -> None:
    await desk.take_in(*(hire(f"w{number}") for number in range(40)))
    decider = Decider(desk.pool, desk.recompute, most=4)
    for number in range(25):
        await desk.take_in(
            hr_record(
                "worker.training_completed",
                "w0",
                id_=f"t{number}",
                module="m",
                completed_on=day(-1),
            )
        )
        await decider.decide_next()
    assert len({item["worker"] for item in await desk.work()}) == 40


async def test_asking_what_if_decides_nothing(desk: Desk) -> None:
    await desk.take_in(hire())

    async def look(conn: Any) -> None:
        locked = await workers_store.lock_workers(conn, [(ORGANIZATION, "w1")])
        (compiled,) = (await desk.recompute.directories.current(conn, {ORGANIZATION})).values()
        assert await desk.recompute.look(conn, locked, compiled)

    await in_transaction(desk.pool, look)
    assert await waiting(desk) == {"w1"}


async def test_a_clock_that_is_set_back_takes_nobody_back_in_time(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    decided_at = (await desk.state())["as_of"]
    desk.clock.at -= timedelta(hours=3)
    await desk.hear(leave_now(effective_at=(NOW - timedelta(hours=6)).isoformat()))
    state = await desk.state()
    assert state["status"] == "terminated"
    assert state["as_of"] >= decided_at
    assert {item["kind"] for item in await desk.work()} == {"suspend"}


async def test_a_clock_that_is_set_forward_and_back_leaves_what_was_decided(desk: Desk) -> None:
    await desk.hear(hire(), leave_now(effective_at=(NOW + timedelta(days=2)).isoformat()))
    await desk.pass_time(days=3)
    assert (await desk.state())["status"] == "terminated"
    desk.clock.at -= timedelta(days=3)
    await desk.hear(billing())
    assert (await desk.state())["status"] == "terminated"
