"""Whoever leaves, by whatever source HR says so, is signed out at once and not let in again."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from services.gateway import links
from services.gateway.handlers.picture import PictureHandler
from services.gateway.handlers.sign_in import Doorkeeper
from shared.clock import DatabaseClock
from shared.contracts.facts import to_json
from shared.contracts.state import WorkerState, WorkerStatus
from shared.contracts.topics import WORKER_STATE
from shared.kafka import Batch, Item
from shared.postgres import create_pool, in_transaction
from tests.audit_log.worlds import raw_record
from tests.gateway.conftest import ORGANIZATION, Door
from tests.gateway.lists import left, state


async def publish(door: Door, *states: WorkerState) -> None:
    """Let the gateway hear what provisioning publishes, as records of its topic."""
    async with await create_pool(door.settings.database_url, max_size=1) as pool:
        clock = DatabaseClock()
        handler = PictureHandler(Doorkeeper(pool, clock, door.settings).close_all_of)
        items = []
        for each in states:
            key = f"{each.organization}/{each.worker}".encode()
            record = raw_record(0, key, to_json(each), topic=WORKER_STATE.name)
            items.append(Item(record, handler.parse(record)))
        await in_transaction(pool, lambda conn: handler.apply(conn, Batch(items, [])))


async def token(door: Door, secret: str) -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    return (await door.http.post("/session/token", headers=headers)).status_code


async def use(door: Door, link: str) -> Any:
    return await door.http.post("/session", json={"code": link.rpartition("/")[2]})


async def test_a_departure_from_the_feed_ends_sessions_and_links_at_once(fresh_door: Door) -> None:
    await publish(fresh_door, state("w1"), state("w2"))
    gone, stays = [await fresh_door.secret(f"administrator={worker}") for worker in ("w1", "w2")]
    link = await fresh_door.link("worker=w1")
    assert [await token(fresh_door, secret) for secret in (gone, stays)] == [200, 200]
    await publish(fresh_door, state("w1", ends_at=left(1), version=2), state("w2", version=2))
    assert [await token(fresh_door, secret) for secret in (gone, stays)] == [401, 200]
    assert (await use(fresh_door, link)).json()["code"] == "link_expired"
    (closed,) = [data for kind, data in await fresh_door.activity() if kind == "session.closed"]
    assert closed["reason"] == "left"


async def test_nobody_is_let_in_under_the_name_of_who_has_left(fresh_door: Door) -> None:
    await publish(fresh_door, state("w1", ends_at=left(1)))
    refused = await use(fresh_door, await fresh_door.link("administrator=w1"))
    assert (refused.status_code, refused.json()["code"]) == (403, "has_left")
    assert "ask HR" in refused.json()["detail"]
    await publish(fresh_door, state("w1", version=2))
    assert (await use(fresh_door, await fresh_door.link("administrator=w1"))).status_code == 201


async def test_a_departure_under_one_id_ends_what_another_id_of_the_person_opened(
    fresh_door: Door,
) -> None:
    secret = await fresh_door.secret("administrator=w-old")
    await publish(fresh_door, replace(state("w-old"), merged_into="w1"), state("w1"))
    await publish(fresh_door, state("w1", ends_at=left(1), version=2))
    assert await token(fresh_door, secret) == 401


async def test_an_old_word_that_comes_late_signs_nobody_out(fresh_door: Door) -> None:
    await publish(fresh_door, state("w1", version=3))
    secret = await fresh_door.secret("administrator=w1")
    await publish(fresh_door, state("w1", ends_at=left(9), version=2))
    assert await token(fresh_door, secret) == 200


@pytest.mark.parametrize("status", [WorkerStatus.ON_LEAVE, WorkerStatus.EXPECTED])
async def test_who_is_on_leave_or_has_not_begun_is_not_signed_out(
    fresh_door: Door, status: WorkerStatus
) -> None:
    secret = await fresh_door.secret("worker=w1")
    await publish(fresh_door, replace(state("w1"), status=status))
    assert await token(fresh_door, secret) == 200


async def test_whoever_makes_a_session_for_somebody_who_left_is_told_so_in_a_sentence(
    fresh_door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await publish(fresh_door, state("w1", ends_at=left(1)))
    monkeypatch.setattr(links, "Settings", lambda: fresh_door.settings)
    arguments = ["--organization", ORGANIZATION, "--session", "worker=w1"]
    assert await asyncio.to_thread(links.main, arguments) == 1
    assert capsys.readouterr().err.startswith("By what HR says you no longer work here")
