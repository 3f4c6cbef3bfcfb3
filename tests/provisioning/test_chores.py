"""Chores: work that changes nobody's access."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.rules.chores import Chore, ChoreMove
from services.provisioning.store import chores as chores_store
from shared.contracts.access.evidence import Evidence
from shared.errors import Problem
from shared.postgres import in_transaction
from tests.provisioning.desk import ADMINISTRATOR, Desk, hire
from tests.provisioning.worlds import ORGANIZATION, ago, directory


@dataclass
class Chores:
    """Chores as people ask for them and do them."""

    desk: Desk

    @property
    def commands(self) -> ChoreCommands:
        return ChoreCommands(self.desk.recompute)

    async def activity_log(self, worker: str = "w1", **changes: Any) -> Chore:
        period = {"since": ago(days=1), "until": ago(days=0), **changes}
        return await in_transaction(
            self.desk.pool,
            lambda conn: self.commands.request_activity_log(
                conn, ADMINISTRATOR, portal="mac", worker=worker, **period
            ),
        )

    async def say(self, chore: Chore, move: ChoreMove, by: str = "admin-1") -> Chore:
        word = ChoreWord(
            move,
            by,
            Evidence(kind="note", text="case 17") if move is ChoreMove.DONE else None,
            "they keep none" if move is ChoreMove.DECLINE else None,
        )
        return await in_transaction(
            self.desk.pool,
            lambda conn: self.commands.say(conn, ORGANIZATION, chore.chore_id, word),
        )

    async def listed(self, *, ended: bool = False) -> list[Any]:
        async with self.desk.pool.acquire() as conn:
            return await chores_store.chores(
                conn, ORGANIZATION, ended=ended, portal=None, worker=None, limit=50
            )


@pytest.fixture
def chores(desk: Desk) -> Chores:
    return Chores(desk)


async def test_a_request_for_the_portals_own_log_goes_to_its_administrator(
    desk: Desk, chores: Chores
) -> None:
    appointment = {"id": "mac-w4", "portal": "mac", "worker": "w4", "since": "2026-01-01"}
    await desk.apply_directory(directory(administrators=[appointment]))
    await desk.hear(hire())
    chore = await chores.activity_log()
    assert chore.addressed_to == "w4"
    assert "Name of w1" in chore.text
    assert "800-555-0100" in chore.text
    [event] = await desk.published("chore.requested")
    assert event["data"]["details"]["since"] == ago(days=1).isoformat()


async def test_asking_twice_for_one_period_leaves_one_piece_of_work(
    desk: Desk, chores: Chores
) -> None:
    await desk.hear(hire())
    await chores.activity_log()
    await chores.activity_log()
    assert len(await chores.listed()) == len(await desk.published("chore.requested")) == 1
    await chores.activity_log(since=ago(days=2))
    assert len(await chores.listed()) == 2


async def test_a_chore_is_claimed_and_done_with_evidence_once(desk: Desk, chores: Chores) -> None:
    await desk.hear(hire())
    chore = await chores.activity_log()
    await chores.say(chore, ChoreMove.CLAIM)
    with pytest.raises(Problem, match="The chore is claimed"):
        await chores.say(chore, ChoreMove.CLAIM, by="somebody")
    await chores.say(chore, ChoreMove.DONE)
    with pytest.raises(Problem):
        await chores.say(chore, ChoreMove.DECLINE)
    [ended] = await chores.listed(ended=True)
    assert (ended["evidence"]["text"], ended["ended_by"]) == ("case 17", "admin-1")
    assert await chores.listed() == []


async def test_nothing_is_asked_about_somebody_the_portal_never_knew(
    desk: Desk, chores: Chores
) -> None:
    with pytest.raises(Problem, match="never known"):
        await chores.activity_log("w7")
    await desk.hear(hire())
    with pytest.raises(Problem, match="period"):
        await chores.activity_log(since=ago(days=0), until=ago(days=0) - timedelta(hours=1))
