"""Receiving HR events: judge, keep what is refused, publish, and only then answer."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import structlog

from services.gateway import store
from services.gateway.publisher import Publisher, Record
from services.gateway.rules.intake import (
    Accepted,
    Refused,
    entry_document,
    hold_to_directories,
    judge,
)
from services.gateway.sealing import BodySeal
from services.gateway.store import picture as picture_store
from services.gateway.store import rosters as rosters_store
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.envelope import event_key, rfc3339
from shared.contracts.hr import CONSOLE_SOURCE, HrEvent
from shared.contracts.topics import DEAD_LETTERS, HR_EVENTS
from shared.errors import Problem
from shared.postgres import Connection, in_transaction, is_transient

logger = structlog.get_logger(__name__)

REJECTED_BODY_DAYS = 30
"""As long as Kafka keeps the dead letter that refers to it."""

RETRY_AFTER_SECONDS = 5

DIRECTORY_LOOKS = 15
"""How often the directory is looked for before events are refused for want of it: one that was
applied a moment ago is on its way here."""

DIRECTORY_LOOK_SECONDS = 0.2


class Unacknowledged(Exception):
    """Something that must be durable before an answer is not: the sender asks again."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a request's events; every one of them is durable somewhere."""

    accepted: Sequence[Accepted]
    refused: Sequence[Refused]


class Ingress:
    """The way from a verified request to Kafka."""

    def __init__(
        self, pool: "asyncpg.Pool[Any]", publisher: Publisher, seal: BodySeal, clock: Clock
    ) -> None:
        self._pool = pool
        self._publisher = publisher
        self._seal = seal
        self._clock = clock

    async def receive(
        self,
        documents: Sequence[Any],
        speaks_for: Mapping[str, frozenset[str]],
        entered_by: str | None = None,
    ) -> Receipt:
        """Publish the acceptable events and dead-letter the others.

        Raises:
            Unacknowledged: Kafka or the gateway's database did not answer in time; whether the
                events were written is unknown, and sending the same ids again is safe.
        """
        try:
            accepted, refused = await self.judge(documents, speaks_for, entered_by)
            if refused:
                await in_transaction(self._pool, lambda conn: self._keep(conn, refused))
        except Exception as error:
            if not is_transient(error):
                raise
            raise Unacknowledged from error
        records = [hr_record(each) for each in accepted] + [_dead_letter(each) for each in refused]
        if not await self._publisher.publish(records):
            raise Unacknowledged
        await self._note_heard(accepted, refused)
        logger.info("hr.received", accepted=len(accepted), refused=len(refused))
        return Receipt(accepted, refused)

    async def judge(
        self,
        documents: Sequence[Any],
        speaks_for: Mapping[str, frozenset[str]],
        entered_by: str | None = None,
    ) -> tuple[list[Accepted], list[Refused]]:
        """Sort events by what they say, by who sent them, and by the directories in force."""
        accepted, refused = judge(documents, speaks_for, entered_by)
        organizations = {each.event.organization for each in accepted}
        for look in range(DIRECTORY_LOOKS):
            if look:
                await asyncio.sleep(DIRECTORY_LOOK_SECONDS)
            async with self._pool.acquire() as conn:
                in_force = await picture_store.in_force(conn, organizations)
            kept, held = hold_to_directories(documents, accepted, in_force)
            if not held:
                break
        return kept, [*refused, *held]

    async def enter(
        self, who: Principal, type_: str, worker: str, data: Mapping[str, Any], key: str
    ) -> HrEvent:
        """Publish what a person says of somebody else; the event, of one id for one key.

        Raises:
            Problem: 403 about oneself, 422 for what is no event.
            Unacknowledged: whether it was written is unknown; the same key again is safe.
        """
        document = entry_document(who, type_, worker, data, key, rfc3339(datetime.now(UTC)))
        bound = {CONSOLE_SOURCE: frozenset({who.organization})}
        receipt = await self.receive([document], bound, who.worker or who.subject)
        if receipt.refused:
            refused = receipt.refused[0]
            raise Problem(422, refused.code, f"{refused.detail}.")
        return receipt.accepted[0].event

    async def _keep(self, conn: Connection, refused: Sequence[Refused]) -> None:
        now = await self._clock.now(conn)
        bodies = []
        for each in refused:
            nonce, sealed = self._seal.seal(str(each.reference), each.body)
            bodies.append(
                store.RejectedBody(
                    each.reference,
                    each.source,
                    each.organization,
                    each.code,
                    each.detail,
                    each.sha256,
                    nonce,
                    sealed,
                )
            )
        await store.keep_rejected(conn, bodies, now, now + timedelta(days=REJECTED_BODY_DAYS))

    async def _note_heard(self, accepted: Sequence[Accepted], refused: Sequence[Refused]) -> None:
        good = Counter((each.event.organization, each.event.source) for each in accepted)
        bad = Counter(
            (each.organization, each.source)
            for each in refused
            if each.organization and each.source
        )
        heard = [(*pair, good[pair], bad[pair]) for pair in good.keys() | bad.keys()]

        named = [
            (each.event.organization, each.event.source, each.event.worker) for each in accepted
        ]

        async def note(conn: Connection) -> None:
            await store.note_heard(conn, heard, await self._clock.now(conn))
            await rosters_store.note_workers(conn, named)

        try:
            await in_transaction(self._pool, note)
        except Exception as error:
            if not is_transient(error):
                raise
            # The events are on Kafka: a missed count must not turn their 202 into an error.
            logger.warning("source_heard.missed", error=repr(error))


def hr_record(accepted: Accepted) -> Record:
    """An acceptable event as it travels."""
    event = accepted.event
    return Record(
        HR_EVENTS.name,
        event_key(event.organization, event.worker),
        accepted.headers,
        accepted.value,
    )


def _dead_letter(refused: Refused) -> Record:
    """Names the rule and the hash; the bytes may hold anything, so they never travel."""
    document = {
        "reason": refused.code,
        "detail": refused.detail,
        "sha256": refused.sha256.hex(),
        "reference": str(refused.reference),
        "source": refused.source,
        "organization": refused.organization,
        "type": refused.type,
    }
    headers = {
        "dl_reason": refused.code,
        "dl_detail": refused.detail,
        "dl_service": "gateway",
        "dl_sha256": refused.sha256.hex(),
        "dl_reference": str(refused.reference),
        "content-type": "application/json",
    }
    if refused.organization is not None:
        headers["ce_organization"] = refused.organization
    return Record(DEAD_LETTERS.name, f"{HR_EVENTS.name}/gateway", headers, orjson.dumps(document))


def unacknowledged_problem() -> Problem:
    """What a sender is told when the fate of its events is unknown."""
    return Problem(
        503,
        "not_acknowledged",
        "It is unknown whether these events were stored. Send the same events with the same ids "
        "again; what was stored already is recognized.",
    )
