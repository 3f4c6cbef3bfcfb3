"""The events of an applied list: through the outbox in pieces, what waits is kept sealed.

Their ids are made of plan, line and change, so that a piece that leaves twice changes nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from pydantic import TypeAdapter

from services.gateway.handlers.ingress import hr_record
from services.gateway.rules.intake import judge
from services.gateway.rules.roster_changes import Change
from services.gateway.sealing import BodySeal, CannotOpen
from services.gateway.store import rosters as rosters_store
from services.gateway.store.rosters import Roster
from shared.contracts.envelope import name_uuid, rfc3339
from shared.contracts.topics import HR_EVENTS
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection, in_transaction

logger = structlog.get_logger(__name__)

PUBLISH_EVENTS = 500
"""Of an applied list's events, how many leave in one transaction."""

PUBLISH_IDLE_SECONDS = 5.0
"""A list that another process was publishing when it died is taken up again this late."""

LOST = (
    "What was left of it cannot be opened with the body key that the gateway has now. Send the list"
    " again: what has arrived already changes nothing."
)

EVENTS = TypeAdapter(list[tuple[str, dict[str, str], str]])


def messages_of(
    roster: Roster, changes: Sequence[Change], entered_by: str | None
) -> list[OutboxMessage]:
    """What a list's changes say, as HR events of its source.

    Raises:
        Problem: 422 for an event that the rules of HR events refuse, with its line.
    """
    found: list[OutboxMessage] = []
    bound = {roster.source: frozenset({roster.organization})}
    for change in changes:
        documents = [
            {
                "specversion": "1.0",
                "id": name_uuid(roster.plan, f"{change.line}\x1f{type_}"),
                "type": type_,
                "source": roster.source,
                "subject": change.worker,
                "time": rfc3339(roster.received_at),
                "organization": roster.organization,
                "data": data,
            }
            for type_, data in change.events
        ]
        accepted, refused = judge(documents, bound, entered_by)
        if refused:
            raise Problem(422, refused[0].code, f"Line {change.line}: {refused[0].detail}.", [])
        found += _outgoing(accepted)
    return found


def _outgoing(accepted: Sequence[Any]) -> Iterator[OutboxMessage]:
    for each in accepted:
        record = hr_record(each)
        yield OutboxMessage(record.topic, record.key, dict(record.headers), record.value)


def seal_name(plan: UUID) -> str:
    """What a sealed list is bound to, apart from everything else under the same key."""
    return f"roster {plan}"


def sealed(seal: BodySeal, plan: UUID, messages: Sequence[OutboxMessage]) -> tuple[bytes, bytes]:
    """All that a list says, to be published from piece by piece."""
    dumped = EVENTS.dump_json([(m.key, m.headers, (m.value or b"").decode()) for m in messages])
    return seal.seal(seal_name(plan), dumped)


async def publish_piece(
    conn: Connection, plan: UUID, waiting: Sequence[OutboxMessage], done: int = 0
) -> int:
    """Let the first of a list's events leave that wait behind `done` others; how many these are."""
    piece = waiting[:PUBLISH_EVENTS]
    await enqueue(conn, piece)
    await rosters_store.note_published(conn, plan, done + len(piece))
    return len(piece)


async def publish_next(pool: "asyncpg.Pool[Any]", seal: BodySeal) -> int:
    """Publish the next piece of a list that is being applied; how many events that was."""

    async def publish(conn: Connection) -> int:
        applying = await rosters_store.lock_applying(conn)
        if applying is None:
            return 0
        try:
            opened = seal.open(seal_name(applying.plan), applying.nonce, applying.events)
        except CannotOpen:
            logger.error("rosters.cannot_be_opened", plan=str(applying.plan))
            await rosters_store.give_up(conn, applying.plan, LOST)
            return 1
        waiting = EVENTS.validate_json(opened)[applying.done :]
        piece = [
            OutboxMessage(HR_EVENTS.name, key, headers, value.encode())
            for key, headers, value in waiting[:PUBLISH_EVENTS]
        ]
        return await publish_piece(conn, applying.plan, piece, applying.done)

    return await in_transaction(pool, publish)
