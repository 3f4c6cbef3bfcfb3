"""Drives provisioning's real handlers on a real PostgreSQL, with a clock of its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

from services.provisioning.connectors.simulator import PortalSimulator
from services.provisioning.handlers.brake import BrakeHandler
from services.provisioning.handlers.commands import (
    Evidence,
    OperationCommands,
    Said,
)
from services.provisioning.handlers.deciding import Decider
from services.provisioning.handlers.directory import DirectoryCommands
from services.provisioning.handlers.events import (
    HrExpress,
    HrIntake,
    ReviewDecisionHandler,
    TimeHandler,
)
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.operations import Transition
from services.provisioning.store import views
from shared.auth import Principal
from shared.contracts.directory import Directory
from shared.contracts.envelope import binary_headers, event_key
from shared.contracts.hr import HrEvent
from shared.contracts.state import Grade
from shared.kafka import Batch, Handler, Item
from shared.postgres import Connection, in_transaction
from tests.provisioning.worlds import NOW, ORGANIZATION, SOURCE, ago, directory

ADMINISTRATOR = Principal(
    ORGANIZATION, "admin-1", None, frozenset({"access:admin", "work:do"}), "Administrator"
)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as Kafka would deliver it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class StandingClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.at = NOW

    async def now(self, conn: Connection) -> datetime:
        return self.at


offsets = itertools.count()


def hr_record(
    type_: str,
    worker: str = "w1",
    *,
    id_: str,
    time: datetime | None = None,
    source: str = SOURCE,
    organization: str = ORGANIZATION,
    **data: Any,
) -> RawRecord:
    """An HR event in binary mode."""
    headers = binary_headers(
        id=id_,
        type=type_,
        source=source,
        subject=worker,
        time=time or ago(days=100),
        organization=organization,
    )
    return RawRecord(
        "hr.worker-events.v1",
        0,
        next(offsets),
        0,
        event_key(organization, worker).encode(),
        orjson.dumps(data),
        tuple((name, value.encode()) for name, value in headers.items()),
    )


class Desk:
    """Provisioning without Kafka in front of it."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self.pool = pool
        self.clock = StandingClock()
        self.recompute = Recompute(self.clock)
        self.lanes: dict[str, Handler[HrEvent]] = {
            "main": HrIntake(self.recompute),
            "express": HrExpress(self.recompute),
        }
        self.decider = Decider(pool, self.recompute)
        self.reviews = ReviewDecisionHandler(self.recompute)
        self.operations = OperationCommands(pool, self.recompute)
        self.time = TimeHandler(pool, self.recompute)
        self.hr_is_read = True
        self.brake = BrakeHandler(pool, self.recompute, self._main_lane_has_passed)
        self.simulator = PortalSimulator(pool, self.recompute, self.operations)

    async def _main_lane_has_passed(self, conn: Connection) -> bool:
        return self.hr_is_read

    async def apply_directory(self, applied: Directory | None = None) -> dict[str, Any]:
        commands = DirectoryCommands(self.recompute)
        return await in_transaction(
            self.pool, lambda conn: commands.apply(conn, applied or directory(), ADMINISTRATOR)
        )

    async def hear(self, *records: RawRecord, lane: str = "main") -> list[str]:
        """Apply records and decide; codes of those that were refused."""
        rejected = await self.take_in(*records, lane=lane)
        await self.decide()
        return rejected

    async def decide(self) -> None:
        """Decide about everybody of whom something was heard."""
        while await self.decider.decide_next():
            pass

    async def take_in(self, *records: RawRecord, lane: str = "main") -> list[str]:
        """Apply records in one transaction; codes of those that were refused."""
        handler = self.lanes[lane]
        items: list[Item[Any]] = [Item(record, handler.parse(record)) for record in records]
        rejected: list[str] = []

        async def work(conn: Connection) -> None:
            batch: Batch[Any] = Batch(items, [])
            await handler.apply(conn, batch)
            rejected[:] = [why.code for _, why in batch.rejects]

        await in_transaction(self.pool, work)
        return rejected

    async def decide_review(self, **decided: Any) -> None:
        """A review decision, as the review scheduler publishes it."""
        given = {
            "line_id": "l1",
            "worker": "w1",
            "tin": None,
            "function": None,
            "decision": "remove",
            "operation_id": None,
            "decided_by": "w9",
            "decided_at": self.clock.at.isoformat(),
            "reason": "not needed",
        }
        await self.hear_review("review.decided", **given | decided)

    async def hear_review(self, type: str, **told: Any) -> None:
        """What the review scheduler publishes."""
        data = {"review_id": "r1", "campaign_id": None, **told}
        subject = data.get("worker", data["campaign_id"])
        headers = binary_headers(
            id=f"{type}-{next(offsets)}",
            type=type,
            source="/portalkeeper/review_scheduler",
            subject=subject,
            time=self.clock.at,
            organization=ORGANIZATION,
        )
        record = RawRecord(
            "review.events.v1",
            0,
            next(offsets),
            0,
            event_key(ORGANIZATION, subject).encode(),
            json.dumps(data).encode(),
            tuple((name, value.encode()) for name, value in headers.items()),
        )
        item: Item[Any] = Item(record, self.reviews.parse(record))
        await in_transaction(self.pool, lambda conn: self.reviews.apply(conn, Batch([item], [])))

    async def pass_time(self, **parts: float) -> None:
        """Let time pass and do what has come due."""
        self.clock.at += timedelta(**parts)
        while (
            await self.decider.decide_next()
            + await self.time.due()
            + await self.time.sweep()
            + await self.brake.judge()
        ):
            pass

    async def state(self, worker: str = "w1") -> dict[str, Any]:
        async with self.pool.acquire() as conn:
            state: dict[str, Any] | None = await views.worker_state(conn, ORGANIZATION, worker)
        assert state is not None, f"nothing is known of {worker}"
        return state

    async def work(self, worker: str | None = None, *, ended: bool = False) -> list[Any]:
        async with self.pool.acquire() as conn:
            return await views.work(
                conn,
                ORGANIZATION,
                ended=ended,
                portal=None,
                worker=worker,
                overdue=None,
                after=None,
                limit=500,
            )

    async def say(self, operation_id: str, transition: Transition, by: str = "admin-1") -> None:
        said = Said(
            operation_id,
            transition,
            by,
            Grade.PERSON,
            Evidence(kind="note", text="seen") if transition is Transition.DONE else None,
        )
        await in_transaction(
            self.pool, lambda conn: self.operations.say(conn, ORGANIZATION, [said])
        )

    async def finish_all(self, worker: str | None = None) -> None:
        """Do every piece of open work until none is left."""
        for _ in range(20):
            items = await self.work(worker)
            if not items:
                return
            for item in items:
                await self.say(item["operation_id"], Transition.DONE)
        raise AssertionError("work never ends")

    async def effective(self, worker: str = "w1") -> set[tuple[str, str]]:
        """(portal, function) that the worker can use, as far as evidence tells."""
        state = await self.state(worker)
        return {
            (access["portal"], own["function"])
            for access in state["portals"]
            for own in access["effective"]
        }

    async def published(self, type_: str | None = None) -> list[dict[str, Any]]:
        """Events in the outbox, in order, with their headers."""
        async with self.pool.acquire() as conn:
            rows = await conn.fetch("SELECT id, topic, key, headers, value FROM outbox ORDER BY id")
        found = []
        for row in rows:
            headers = orjson.loads(row["headers"])
            if type_ in (None, headers.get("ce_type")):
                data = orjson.loads(row["value"]) if row["value"] else None
                found.append({"topic": row["topic"], "key": row["key"], **headers, "data": data})
        return found


def hire(worker: str = "w1", *, title: str = "Front Desk", **more: Any) -> RawRecord:
    """A hire at the northern site, ninety days ago."""
    values: dict[str, Any] = {
        "id_": f"{worker}-hired",
        "employment_id": f"{worker}-e1",
        "effective_on": "2026-03-01",
        "title": title,
        "sites": ["north"],
        "name": f"Name of {worker}",
        **more,
    }
    return hr_record("worker.hired", worker, **values)


def leave_now(worker: str = "w1", **more: Any) -> RawRecord:
    """An immediate termination."""
    values: dict[str, Any] = {
        "id_": f"{worker}-terminated",
        "employment_id": f"{worker}-e1",
        "effective_at": NOW.isoformat(),
        "immediate": True,
        "voluntary": False,
        "time": NOW,
        **more,
    }
    return hr_record("worker.terminated", worker, **values)


def sequence_of(published: Sequence[dict[str, Any]]) -> list[str]:
    """Types of events, in order."""
    return [event["ce_type"] for event in published]
