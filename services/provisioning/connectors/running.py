"""Handing operations to connectors and taking their word, with patience where they have none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog

from services.provisioning.connectors.protocol import Answer, Asked, Connector, Done, NotNow
from services.provisioning.handlers.commands import Evidence, OperationCommands, Said
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.operations import GIVES, Operation, Transition
from services.provisioning.store import directories as directories_store
from services.provisioning.store import operations as operations_store
from services.provisioning.store import views
from shared.contracts.state import Grade
from shared.errors import Problem
from shared.postgres import in_transaction

logger = structlog.get_logger(__name__)

BATCH_OPERATIONS = 20
PAUSE_FIRST_SECONDS = 2.0
PAUSE_MAX_SECONDS = 300.0


class ConnectorRunner:
    """Carries out the operations of portals that have a connector.

    The other side is asked outside any transaction and may be asked again: what it did is taken as
    fact only once it says so. A portal that does not answer is left alone for longer each time.

    Args:
        connectors: by the name that portals give in the directory.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        recompute: Recompute,
        commands: OperationCommands,
        connectors: Mapping[str, Connector],
    ) -> None:
        self._pool = pool
        self._recompute = recompute
        self._commands = commands
        self._connectors = connectors
        self._pauses: dict[tuple[str, str], tuple[float, datetime]] = {}

    async def work(self) -> int:
        """Carry out the next operations, the most urgent first; how many were answered."""
        async with self._pool.acquire() as conn:
            now = await self._recompute.clock.now(conn)
            organizations = await directories_store.organizations(conn)
            compiled = await self._recompute.directories.current(conn, organizations)
            served = {
                (organization, portal.id): self._connectors[portal.connector]
                for organization, directory in compiled.items()
                for portal in directory.portals.values()
                if portal.connector in self._connectors
                and self._ready((organization, portal.id), now)
            }
            if not served:
                return 0
            rows = await operations_store.operations_for_connector(
                conn, list(served), BATCH_OPERATIONS
            )
            asked = [
                await self._asked(conn, row["organization"], operations_store.operation_from(row))
                for row in rows
            ]
        done = 0
        for one in asked:
            portal = (one.organization, one.operation.portal)
            if self._ready(portal, now):
                answer = await served[portal].carry_out(one)
                done += await self._take(one, answer, served[portal].name, now)
        return done

    def _ready(self, portal: tuple[str, str], now: datetime) -> bool:
        return portal not in self._pauses or self._pauses[portal][1] <= now

    async def _asked(self, conn: Any, organization: str, operation: Operation) -> Asked:
        state = await views.worker_state(conn, organization, operation.worker) or {}
        logins = {access["portal"]: access["login_id"] for access in state.get("portals", ())}
        return Asked(
            organization,
            operation,
            logins.get(operation.portal),
            state.get("name"),
            state.get("email"),
        )

    async def _take(self, asked: Asked, answer: Answer, name: str, now: datetime) -> int:
        portal = (asked.organization, asked.operation.portal)
        if isinstance(answer, Done):
            self._pauses.pop(portal, None)
            said = Said(
                asked.operation.operation_id,
                Transition.DONE,
                name,
                Grade.API,
                Evidence(kind="api_answer", text=answer.text),
                answer.login_id,
            )
            return await self._say(asked.organization, said)
        self._leave_alone(portal, answer, now)
        if isinstance(answer, NotNow) or asked.operation.kind not in GIVES:
            # A removal stays open and runs into its deadline, where people see it.
            return 0
        said = Said(
            asked.operation.operation_id,
            Transition.FAIL,
            name,
            Grade.API,
            reason=answer.text,
        )
        return await self._say(asked.organization, said)

    async def _say(self, organization: str, said: Said) -> int:
        try:
            await in_transaction(
                self._pool, lambda conn: self._commands.say(conn, organization, [said])
            )
        except Problem as problem:
            # Withdrawn or claimed in between: what follows from that is decided already.
            logger.info("connector.overtaken", operation=said.operation_id, code=problem.code)
            return 0
        return 1

    def _leave_alone(self, portal: tuple[str, str], answer: Answer, now: datetime) -> None:
        before = self._pauses.get(portal, (PAUSE_FIRST_SECONDS / 2, now))[0]
        pause = min(before * 2, PAUSE_MAX_SECONDS)
        if isinstance(answer, NotNow) and answer.after_seconds is not None:
            pause = min(max(pause, answer.after_seconds), PAUSE_MAX_SECONDS)
        self._pauses[portal] = (pause, now + timedelta(seconds=pause))
        logger.warning("connector.paused", portal=portal[1], seconds=pause)
