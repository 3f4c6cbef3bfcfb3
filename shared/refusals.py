"""Who was refused at a service's door becomes an event: a refusal is never only a log line."""

import math
import time
from typing import Any

import asyncpg
import structlog
import uuid_utils
from fastapi import Request

from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import INSTALLATION, UNKNOWN_ACTOR, CommandRefused
from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction, is_transient

logger = structlog.get_logger(__name__)

AT_THE_DOOR = frozenset({401, 403, 429})
"""Statuses of those who are turned away before, or instead of, a command of theirs."""

REPEAT_SECONDS = 60
"""The same refusal of the same actor is said once in this time: a flood must not fill the log."""

REMEMBERED_MAX = 10_000
TARGET_MAX_CHARACTERS = 300


class Refusals:
    """Says, as `command.refused`, who was turned away from which route and by which rule.

    Args:
        service: who says it, e.g. `provisioning`.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]", clock: Clock, service: str) -> None:
        self._pool = pool
        self._clock = clock
        self._source = f"/portalkeeper/{service}"
        self._said: dict[tuple[str, ...], float] = {}

    async def say(self, request: Request, problem: Problem) -> None:
        """Say it, unless it was said already; the caller is refused even if that fails."""
        if problem.said or problem.status not in AT_THE_DOOR:
            return
        who: Principal | None = getattr(request.state, "principal", None)
        organization, actor = (
            (who.organization, who.subject) if who else (INSTALLATION, UNKNOWN_ACTOR)
        )
        route = request.scope.get("route")
        command = f"{request.method} {getattr(route, 'path', request.url.path)}"
        if not self._is_new((organization, actor, command, problem.code)):
            return
        target = request.url.path[:TARGET_MAX_CHARACTERS]
        refused = CommandRefused(command, target, problem.code, problem.status)
        id_ = str(uuid_utils.uuid7())

        async def enqueue_it(conn: Connection) -> None:
            said = fact(
                ADMIN_EVENTS,
                "command.refused",
                source=self._source,
                organization=organization,
                subject=actor,
                cause=(id_,),
                time=await self._clock.now(conn),
                data=refused,
            )
            await enqueue(conn, [said])

        try:
            await in_transaction(self._pool, enqueue_it)
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("refusal.unrecorded", code=problem.code, error=repr(error))

    def _is_new(self, refusal: tuple[str, ...]) -> bool:
        now = time.monotonic()
        if now - self._said.get(refusal, -math.inf) < REPEAT_SECONDS:
            return False
        self._said.pop(refusal, None)
        self._said[refusal] = now
        if len(self._said) > REMEMBERED_MAX:
            del self._said[next(iter(self._said))]
        return True
