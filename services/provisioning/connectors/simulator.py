"""The portal simulator: make-believe portals with a truth of their own, for examples and trials.

It contacts no website. It does what an operation asks to its own logins and answers as an API
would, so that what happens after a confirmation can be seen without a portal.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from services.provisioning.handlers.commands import Evidence, OperationCommands, Said
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.operations import Operation, Transition
from services.provisioning.store import directories as directories_store
from services.provisioning.store import operations as operations_store
from services.provisioning.store import simulated as simulated_store
from shared.contracts.directory import OperationKind
from shared.contracts.state import Grade
from shared.errors import Problem
from shared.postgres import Connection, in_transaction

CONNECTOR = "portal-simulator"
BATCH_OPERATIONS = 50


class PortalSimulator:
    """Carries out operations on portals whose connector is `simulator`."""

    def __init__(
        self, pool: asyncpg.Pool[Any], recompute: Recompute, commands: OperationCommands
    ) -> None:
        self._pool = pool
        self._recompute = recompute
        self._commands = commands

    async def work(self) -> int:
        """Carry out the next operations, removals first; how many."""
        async with self._pool.acquire() as conn:
            organizations = await directories_store.organizations(conn)
            compiled = await self._recompute.directories.current(conn, organizations)
            served = [
                (organization, portal.id)
                for organization, directory in compiled.items()
                for portal in directory.portals.values()
                if portal.connector == "simulator"
            ]
            if not served:
                return 0
            rows = await operations_store.operations_for_connector(conn, served, BATCH_OPERATIONS)
            delays = await simulated_store.delays(conn)
            now = await self._recompute.clock.now(conn)
        rows = [row for row in rows if _is_ready(row, delays, now)]
        done = 0
        for organization in sorted({row["organization"] for row in rows}):
            own = [row for row in rows if row["organization"] == organization]
            done += await self._carry_out(organization, own)
        return done

    async def _carry_out(self, organization: str, rows: list[Any]) -> int:
        async def work(conn: Connection) -> int:
            words = []
            for row in rows:
                operation = operations_store.operation_from(row)
                if await simulated_store.take_rejection(conn, organization, operation.portal):
                    words.append(_rejected(operation))
                    continue
                login_id = await self._portal_does(conn, organization, operation)
                words.append(
                    Said(
                        operation.operation_id,
                        Transition.DONE,
                        CONNECTOR,
                        Grade.API,
                        Evidence(
                            kind="api_answer", text=f"simulated portal answered for {login_id}"
                        ),
                        login_id,
                    )
                )
            await self._commands.say(conn, organization, words)
            return len(words)

        try:
            return await in_transaction(self._pool, work)
        except Problem:
            # One of them was withdrawn or claimed in between: take them one at a time.
            if len(rows) == 1:
                return 0
            done = 0
            for row in rows:
                done += await self._carry_out(organization, [row])
            return done

    async def _portal_does(self, conn: Connection, organization: str, operation: Operation) -> str:
        """Change the make-believe portal; the login id it now knows the worker by."""
        now = await self._recompute.clock.now(conn)
        login = await simulated_store.simulated_login(
            conn, organization, operation.portal, operation.worker
        )
        login_id = login["login_id"] if login else f"{operation.worker}@{operation.portal}"
        functions = {(tin, function) for tin, function in login["functions"]} if login else set()
        active = bool(login and login["active"])
        asked = {(tin, function.value) for tin, function in operation.rights}
        match operation.kind:
            case OperationKind.OPEN | OperationKind.RESUME:
                active, functions = True, asked
            case OperationKind.GRANT:
                active, functions = True, functions | asked
            case OperationKind.SUSPEND:
                active = False
            case OperationKind.REVOKE if operation.tin is not None and operation.function:
                functions.discard((operation.tin, operation.function.value))
            case OperationKind.REVOKE:
                functions = set()
            case OperationKind.ROTATE | OperationKind.CLOSE:
                active, functions = False, set()
        await simulated_store.set_simulated_login(
            conn,
            organization,
            operation.portal,
            operation.worker,
            login_id=login_id,
            active=active,
            functions=sorted(functions),
            at=now,
        )
        return login_id


def _is_ready(row: Any, delays: Mapping[tuple[str, str], int], now: datetime) -> bool:
    """Whether a portal that takes its time has taken it."""
    seconds = delays.get((row["organization"], row["portal"]), 0)
    return bool(row["requested_at"] + timedelta(seconds=seconds) <= now)


def _rejected(operation: Operation) -> Said:
    return Said(
        operation.operation_id,
        Transition.FAIL,
        CONNECTOR,
        Grade.API,
        reason="the simulated portal rejected it",
    )
