"""The history of entitlements over valid and recorded time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provisioning.rules.history import (
    FOREVER,
    Holding,
    Source,
    Statement,
    as_known,
)
from services.provisioning.store import history as history_store
from shared.contracts.directory import Function
from shared.contracts.envelope import event_id
from shared.contracts.state import AuthorizedBy, Entitlement, Grade
from shared.postgres import Connection, in_transaction
from tests.provisioning.desk import Desk, hire, hr_record, leave_now
from tests.provisioning.worlds import NOW, ORGANIZATION, TIN, day

ELIGIBILITY = Function.ELIGIBILITY
POLICY = AuthorizedBy("policy", "v1", "Dr. Ada Fox")


def at(days: int) -> datetime:
    return NOW + timedelta(days=days)


def said(
    first: int, last: int | None, grade: Grade | None, *, worker: str = "w1", number: int = 1
) -> Statement:
    """That a function was held from day to day on such evidence; on none: that it was not."""
    entitlement = None
    if grade is not None:
        entitlement = Entitlement(TIN, ELIGIBILITY, POLICY, grade, at(first), f"op{number}")
    return Statement(
        worker,
        "hub",
        TIN,
        ELIGIBILITY,
        at(first),
        FOREVER if last is None else at(last),
        entitlement,
        "login" if grade else None,
        Source(f"op{number}", "ann", event_id(str(number))),
    )


def short(holdings: Sequence[Holding]) -> list[Any]:
    return sorted(
        (
            one.worker,
            one.valid_from,
            one.valid_until,
            one.known_from,
            str(one.entitlement),
            str(one.source),
            str(one.ended),
        )
        for one in holdings
    )


async def record(
    pool: asyncpg.Pool[Any], now: datetime, *made: Statement, organization: str = ORGANIZATION
) -> None:
    async def work(conn: Connection) -> None:
        await history_store.record_statements(conn, [(organization, one) for one in made], now)

    await in_transaction(pool, work)


async def known_now(pool: asyncpg.Pool[Any], organization: str = ORGANIZATION) -> Sequence[Holding]:
    async with pool.acquire() as conn:
        return await history_store.known_now(conn, organization)


async def test_a_grant_and_its_end_are_one_closed_stretch(pool: asyncpg.Pool[Any]) -> None:
    await record(pool, at(0), said(0, None, Grade.PERSON))
    await record(pool, at(5), said(5, None, None, number=2))
    [holding] = await known_now(pool)
    assert (holding.valid_from, holding.valid_until) == (at(0), at(5))
    assert holding.ended == Source("op2", "ann", event_id("2"))


async def test_better_evidence_begins_when_it_was_seen_and_the_holding_goes_on(
    pool: asyncpg.Pool[Any],
) -> None:
    await record(pool, at(0), said(0, None, Grade.PERSON))
    held = Entitlement(TIN, ELIGIBILITY, POLICY, Grade.ROSTER, at(0), "op1")
    seen = replace(said(3, None, Grade.ROSTER, number=2), entitlement=held)
    await record(pool, at(5), seen)
    before, after = await known_now(pool)
    assert (before.entitlement.grade, before.valid_until) == (Grade.PERSON, at(3))
    assert before.ended is None
    assert (after.entitlement.grade, after.entitlement.since) == (Grade.ROSTER, at(0))
    assert after.source.id == "op2"
    assert after.entitlement.operation_id == "op1"


@pytest.mark.parametrize("seed", range(40))
async def test_the_tables_know_at_every_instant_what_a_naive_telling_knows(
    pool: asyncpg.Pool[Any], seed: int
) -> None:
    random = Random(seed)
    story: list[tuple[datetime, Statement]] = []
    days = 0
    for number in range(random.randint(1, 12)):
        days += random.choice([0, 0, 1, 2])
        made = [
            said(
                first := random.randint(0, 12),
                random.choice([None, first + random.randint(1, 6)]),
                random.choice([None, *Grade]),
                worker=random.choice(["w1", "w1", "w2"]),
                number=number,
            )
            for _ in range(random.randint(1, 3))
        ]
        await record(pool, at(days), *made)
        story += [(at(days), one) for one in made]
    assert short(await known_now(pool)) == short(as_known(story, at(days)))
    async with pool.acquire() as conn:
        for known_at in range(-1, days + 2):
            for valid_at in range(-1, 22):
                moment = history_store.Moment(ORGANIZATION, "hub", None, at(valid_at), at(known_at))
                found = await history_store.held_at(conn, moment, ["w1", "w2"])
                holders = await history_store.holders(conn, moment, after="", limit=9)
                grades, _ = await history_store.count_holders(conn, moment)
                assert holders == sorted({one.worker for one in found})
                assert sum(row["people"] for row in grades) == len(holders)
                naive = [
                    one
                    for one in as_known(story, at(known_at))
                    if one.valid_from <= at(valid_at) < one.valid_until
                ]
                assert sorted((one.worker, one.valid_from) for one in found) == sorted(
                    (one.worker, one.valid_from) for one in naive
                )


statements = st.builds(
    lambda first, length, grade, worker, number: said(
        first, None if length is None else first + length, grade, worker=worker, number=number
    ),
    st.integers(0, 20),
    st.none() | st.integers(1, 8),
    st.none() | st.sampled_from(Grade),
    st.sampled_from(["w1", "w2"]),
    st.integers(1, 50),
)
stories = st.lists(st.tuples(st.integers(0, 3), st.lists(statements, max_size=4)), max_size=8)


def told(story: list[tuple[int, list[Statement]]]) -> list[tuple[datetime, list[Statement]]]:
    """The story with the instants at which its parts became known; some share one."""
    days, rounds = 0, []
    for later, made in story:
        days += later
        rounds.append((at(days), made))
    return rounds


@given(stories)
def test_what_is_known_never_speaks_twice_of_one_stretch(
    story: list[tuple[int, list[Statement]]],
) -> None:
    flat = [(now, one) for now, made in told(story) for one in made]
    known = as_known(flat, at(1000))
    for one in known:
        assert one.valid_from < one.valid_until
        for other in known:
            apart = one.valid_until <= other.valid_from or other.valid_until <= one.valid_from
            assert one is other or one.key != other.key or apart


async def test_what_operations_bring_and_take_is_in_the_history(desk: Desk) -> None:
    await desk.hear(hire())
    assert await known_now(desk.pool) == []
    await desk.finish_all()
    began = desk.clock.at
    await desk.pass_time(days=3)
    await desk.hear(leave_now(effective_at=desk.clock.at.isoformat(), time=desk.clock.at))
    assert all(one.valid_until == FOREVER for one in await known_now(desk.pool))
    await desk.pass_time(hours=2)
    await desk.finish_all()
    known = await known_now(desk.pool)
    assert {(one.portal, one.function) for one in known} == {
        ("hub", "eligibility"),
        ("hub", "benefits"),
        ("mac", "eligibility"),
        ("gate", "sign_on"),
    }
    confirmed = {event["ce_id"] for event in await desk.published("operation.confirmed")}
    for one in known:
        assert (one.valid_from, one.valid_until) == (began, began + timedelta(days=3, hours=2))
        assert one.entitlement.grade is Grade.PERSON
        assert one.entitlement.authorized_by == POLICY
        assert one.ended is not None
        assert {one.source.event_id, one.ended.event_id} <= confirmed
        assert one.source.said_by == one.ended.said_by == "admin-1"


async def test_what_hr_sends_writes_no_history(desk: Desk) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    before = await known_now(desk.pool)
    await desk.hear(
        hr_record(
            "worker.changed", id_="c", employment_id="w1-e1", effective_on=day(0), title="Biller"
        )
    )
    await desk.hear(leave_now())
    assert await known_now(desk.pool) == before
