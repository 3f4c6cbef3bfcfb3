"""Rejected events, judged again once what was wrong is put right: a source bound, a type known."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from services.gateway import store
from services.gateway.handlers.activity import activity
from services.gateway.handlers.ingress import Ingress, Unacknowledged, hr_record
from services.gateway.publisher import Publisher
from services.gateway.sealing import BodySeal, CannotOpen
from services.gateway.sources import Sources
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import CommandAccepted, CommandRefused
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

COMMAND = "hr.rejected.replay"


class RejectedEvents:
    """What sources that speak for an organization sent in vain, as long as it is kept."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        ingress: Ingress,
        publisher: Publisher,
        seal: BodySeal,
        clock: Clock,
        sources: Sources,
    ) -> None:
        self._pool = pool
        self._ingress = ingress
        self._publisher = publisher
        self._seal = seal
        self._clock = clock
        self._sources = sources

    async def list(self, organization: str, limit: int) -> Sequence[store.Rejection]:
        """The latest, newest first; nothing of what they say."""
        async with self._pool.acquire() as conn:
            return await store.recent_rejections(
                conn, organization, self._sources.names(organization), limit
            )

    async def replay(self, who: Principal, reference: UUID) -> str:
        """Judge a kept event by today's rules and publish it; the event's id.

        What the signature proved when it came still counts; which organizations its source may
        speak for is asked anew. Replaying twice does no harm: an event is known by its id.

        Raises:
            Problem: 404 for what is not kept for this organization, 422 with the rule that still
                refuses it.
            Unacknowledged: whether it was written is unknown; ask again.
        """
        async with self._pool.acquire() as conn:
            kept = await store.find_rejected(
                conn, reference, who.organization, self._sources.names(who.organization)
            )
        if kept is None or kept.source is None:
            raise Problem(
                404, "no_such_rejection", "Nothing is kept under this reference; list them again."
            )
        document = orjson.loads(self._open(kept))
        bound = {kept.source: frozenset({who.organization})}
        accepted, refused = await self._ingress.judge([document], bound)
        if refused:
            problem = Problem(422, refused[0].code, f"{refused[0].detail}.")
            await self._say(who, reference, problem)
            raise problem
        if not await self._publisher.publish([hr_record(accepted[0])]):
            raise Unacknowledged
        await self._say(who, reference, None)
        return accepted[0].event.id

    def _open(self, kept: store.RejectedBody) -> bytes:
        try:
            return self._seal.open(str(kept.reference), kept.nonce, kept.sealed)
        except CannotOpen as error:
            raise Problem(
                422, "cannot_be_opened", "It was sealed with another key, or was altered."
            ) from error

    async def _say(self, who: Principal, reference: UUID, refusal: Problem | None) -> None:
        """Remember what came of it, and say so in the same transaction."""
        target = str(reference)
        data: CommandAccepted | CommandRefused = CommandAccepted(COMMAND, target)
        if refusal is not None:
            data = CommandRefused(COMMAND, target, refusal.code, refusal.status)

        async def say(conn: Connection) -> None:
            now = await self._clock.now(conn)
            if refusal is None:
                await store.note_replayed(conn, reference, who.subject, now)
            kind = "command.accepted" if refusal is None else "command.refused"
            cause = (COMMAND, target, str(now))
            said = activity(kind, who.organization, who.subject, cause, now, data)
            await enqueue(conn, [said])

        await in_transaction(self._pool, say)
