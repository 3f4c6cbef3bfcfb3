"""Small worlds for the review scheduler's tests: workers, what they hold, and records of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from aiokafka import ConsumerRecord

from services.review_scheduler.api.campaigns import CampaignOrder, campaign_planned
from services.review_scheduler.handlers.calendars import open_due_campaigns
from services.review_scheduler.handlers.campaigns import (
    known_directory,
    open_by_command,
    open_next_chunk,
)
from services.review_scheduler.handlers.ladder import climb, say_what_expired
from services.review_scheduler.handlers.looking import look_again
from services.review_scheduler.handlers.picture import Change, PictureHandler
from services.review_scheduler.handlers.reassigning import reassign_next
from shared.auth import Principal
from shared.contracts.directory import Administrator, DirectoryObject, Function, Organization
from shared.contracts.envelope import event_key
from shared.contracts.facts import to_json
from shared.contracts.state import (
    AccountStatus,
    AuthorizedBy,
    DecisionApplied,
    Employment,
    Entitlement,
    Grade,
    PortalAccess,
    WorkerState,
    WorkerStatus,
)
from shared.contracts.topics import DIRECTORY_EVENTS, WORKER_STATE
from shared.kafka import Batch, Item
from shared.postgres import Connection, in_transaction

ORGANIZATION = "fern-clinic"
TIN = "91-1234567"
START = datetime(2026, 11, 23, 16, tzinfo=UTC)
"""A Monday, 08:00 in Los Angeles."""

CHUNKS_MAX = 100
BY_TIME = (
    open_due_campaigns,
    open_next_chunk,
    look_again,
    climb,
    say_what_expired,
    reassign_next,
)
"""Everything that the service does by itself."""

ZONE = "America/Los_Angeles"


class SetClock:
    """A clock that stands where the test puts it."""

    def __init__(self, now: datetime = START) -> None:
        self.instant = now

    async def now(self, conn: Connection) -> datetime:
        """The instant set."""
        return self.instant


def holds(
    portal: str,
    *functions: str,
    operation: str | None = "op-1",
    beyond: Sequence[str] = (),
    **more: Any,
) -> PortalAccess:
    """What a worker effectively holds on a portal; policy gives all of it but what is `beyond`."""
    policy = AuthorizedBy("policy", "7", "Dr. Reyes")
    held = [Function(function) for function in functions or ("eligibility",)]
    return PortalAccess(
        portal,
        AccountStatus.ACTIVE,
        Grade.PERSON,
        None,
        tuple(Entitlement(TIN, each, policy) for each in held if each not in beyond),
        tuple(Entitlement(TIN, each, policy, Grade.PERSON, START, operation) for each in held),
        (),
        (),
        None,
        **more,
    )


def state(
    worker: str,
    version: int = 1,
    *,
    access: Sequence[PortalAccess] = (),
    title: str = "Biller",
    duties: Sequence[str] = ("billing",),
    sites: Sequence[str] = ("tacoma",),
    supervisor: str | None = "sam",
    status: WorkerStatus = WorkerStatus.ACTIVE,
    decisions: Sequence[DecisionApplied] = (),
    **more: Any,
) -> WorkerState:
    """A worker's state as provisioning would publish it."""
    gone = status in (WorkerStatus.TERMINATED, WorkerStatus.ERASED)
    employment = Employment(
        "e1", title, None, tuple(sites), supervisor, "employee", START, None, not gone, False
    )
    return replace(
        WorkerState(
            ORGANIZATION,
            worker,
            1,
            version,
            START,
            status,
            name=worker.title(),
            employments=(employment,),
            duties=() if gone else tuple(duties),
            portals=tuple(access),
            decisions=tuple(decisions),
        ),
        **more,
    )


def state_record(of: WorkerState, offset: int = 0) -> "ConsumerRecord[Any, Any]":
    """The record that carries a state."""
    return _record(
        WORKER_STATE.name, event_key(of.organization, of.worker), to_json(of), {}, offset
    )


def directory_record(
    kind: str, id: str, value: DirectoryObject | None, version: int = 1
) -> "ConsumerRecord[Any, Any]":
    """The record that carries a directory object; None for a removed one."""
    headers = {
        "ce_type": f"{kind}.{'set' if value else 'removed'}",
        "ce_epoch": "1",
        "ce_version": str(version),
    }
    body = value.model_dump_json().encode() if value else None
    return _record(DIRECTORY_EVENTS.name, event_key(ORGANIZATION, kind, id), body, headers, 0)


def _record(
    topic: str, key: str, value: bytes | None, headers: Mapping[str, str], offset: int
) -> "ConsumerRecord[Any, Any]":
    encoded = tuple((name, text.encode()) for name, text in headers.items())
    instant = int(START.timestamp() * 1000)
    return ConsumerRecord(
        topic, 0, offset, instant, 1, key.encode(), value, None, 0, len(value or b""), encoded
    )


def organization(zone: str = ZONE) -> Organization:
    """The example organization."""
    return Organization(id=ORGANIZATION, name="Cedar Sound", zone=zone, tins=(TIN,))


def administrator(portal: str, worker: str, **more: Any) -> Administrator:
    """An appointment that has been in force for long."""
    given: dict[str, Any] = {"since": date(2024, 1, 1), **more}
    return Administrator(id=f"{portal}-{worker}", portal=portal, worker=worker, **given)


def person(worker: str | None, *scopes: str, subject: str = "someone") -> Principal:
    """Somebody who is signed in."""
    held = frozenset(scopes or ("review:decide",))
    return Principal(ORGANIZATION, worker or subject, worker, held, worker or subject)


@dataclass
class World:
    """One installation on a real database, fed by the test."""

    pool: "asyncpg.Pool[Any]"
    clock: SetClock

    async def hear(self, *said: "WorkerState | ConsumerRecord[Any, Any]") -> None:
        """Apply states and records as one batch."""
        handler = PictureHandler(self.clock)
        records = [state_record(each) if isinstance(each, WorkerState) else each for each in said]
        items: list[Item[Change]] = [Item(each, handler.parse(each)) for each in records]
        await in_transaction(self.pool, lambda conn: handler.apply(conn, Batch(items, [])))

    async def begin(self, *said: "WorkerState | ConsumerRecord[Any, Any]") -> None:
        """Let the organization be known, and then the rest."""
        await self.hear(directory_record("organization", ORGANIZATION, organization()), *said)

    async def begin_campaign(self, **order: Any) -> UUID:
        """Begin a campaign by command, as somebody orders it over HTTP."""

        async def work(conn: Connection) -> UUID:
            directory = await known_directory(conn, ORGANIZATION)
            now = await self.clock.now(conn)
            plan = campaign_planned(CampaignOrder.model_validate(order), directory, now)
            return await open_by_command(conn, self.clock, plan, "ada", directory)

        return await in_transaction(self.pool, work)

    async def open_campaign(self, **order: Any) -> UUID:
        """Open a campaign by command, to its end."""
        campaign_id = await self.begin_campaign(**order)
        await self.finish_opening()
        return campaign_id

    async def at(self, instant: datetime) -> None:
        """Let it be an instant, and everything happen that is due by then."""
        self.clock.instant = instant
        for _ in range(CHUNKS_MAX):
            done = [await work(self.pool, self.clock) for work in BY_TIME]
            if not any(done):
                return
        raise AssertionError("something is due for ever")

    async def finish_opening(self) -> None:
        """Open chunk after chunk until nothing is opening."""
        for _ in range(CHUNKS_MAX):
            if not await open_next_chunk(self.pool, self.clock):
                return
        raise AssertionError("the campaign never finished opening")

    async def rows(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """What the database says."""
        async with self.pool.acquire() as conn:
            return [dict(row) for row in await conn.fetch(query, *args)]

    async def lines(self, **where: Any) -> list[dict[str, Any]]:
        """Lines with their reviews, by portal and function, that match."""
        rows = await self.rows(
            """
            SELECT line.*, review.worker, review.reviewer, review.reviewer_rule,
                review.status AS review_status, review.campaign_id, review.reason AS review_reason
            FROM line JOIN review USING (review_id)
            ORDER BY review.opened_at, worker, portal, function
            """
        )
        return [row for row in rows if all(row[name] == value for name, value in where.items())]

    async def said(self, type: str | None = None) -> list[dict[str, Any]]:
        """Data of the events in the outbox, oldest first."""
        rows = await self.rows("SELECT headers, value FROM outbox ORDER BY id")
        return [
            orjson.loads(row["value"])
            for row in rows
            if type is None or orjson.loads(row["headers"])["ce_type"] == type
        ]
