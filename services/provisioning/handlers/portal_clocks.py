"""Clocks of portals themselves: confirming their users, and the organization's profile, in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import asyncpg

from services.provisioning.handlers.chores import ChoreCommands
from services.provisioning.handlers.recompute import SOURCE, Recompute
from services.provisioning.rules.chores import Chore, chore_id
from services.provisioning.rules.desired import CompiledDirectory
from services.provisioning.store import chores as chores_store
from services.provisioning.store import directories as directories_store
from shared.contracts import directory as contract
from shared.contracts.directory import Portal, RuleName
from shared.contracts.state import ChoreKind
from shared.postgres import Connection, in_transaction

AHEAD_DAYS = 45
"""When no window is known: Noridian opens its recertification so long before the date."""

CLOCKS = (
    (
        ChoreKind.RECERTIFY,
        contract.Chore.RECERTIFY,
        RuleName.RECERTIFICATION_DAYS,
        "Confirm every user of {portal} there; whoever is not confirmed loses the login.",
    ),
    (
        ChoreKind.PROFILE_CHECK,
        contract.Chore.PROFILE_CHECK,
        RuleName.PROFILE_CHECK_DAYS,
        "Confirm the organization's profile at {portal}.",
    ),
)


class PortalClocks:
    """Asks for what a portal's own rules want by a date, as long ahead as the portal allows."""

    def __init__(
        self, pool: asyncpg.Pool[Any], recompute: Recompute, chores: ChoreCommands
    ) -> None:
        self._pool = pool
        self._recompute = recompute
        self._chores = chores

    async def ask(self) -> int:
        """Ask for what is due; how much was not asked for yet."""

        async def work(conn: Connection) -> int:
            organizations = await directories_store.organizations(conn)
            compiled = await self._recompute.directories.current(conn, organizations)
            now = await self._recompute.clock.now(conn)
            asked = 0
            for organization in sorted(compiled):
                for kind, steps, rule, text in CLOCKS:
                    done = await chores_store.last_done(conn, organization, kind)
                    waiting = await chores_store.waiting_on(conn, organization, kind)
                    for portal in compiled[organization].directory.portals:
                        due = due_at(portal, rule, compiled[organization], done.get(portal.id), now)
                        if due is None or portal.id in waiting:
                            continue
                        how = " ".join(step.text for step in portal.chores.get(steps, ()))
                        chore = Chore(
                            chore_id(organization, kind, portal.id, None, due.isoformat()),
                            kind,
                            portal.id,
                            None,
                            f"{text.format(portal=portal.name)} {how}".strip(),
                            {"rule": rule.value},
                            compiled[organization].administrator(portal.id, now),
                            SOURCE,
                            now,
                            due,
                        )
                        asked += await self._chores.request(conn, organization, chore)
            return asked

        return await in_transaction(self._pool, work)


def due_at(
    portal: Portal,
    rule: RuleName,
    compiled: CompiledDirectory,
    done_at: datetime | None,
    now: datetime,
) -> datetime | None:
    """By when a portal's clock has to be wound again, once it is time to ask for it.

    Args:
        done_at: when it was last done, as far as known; else the portal's first day here counts.
    """
    days = compiled.number(portal, rule, now)
    known = compiled.knowledge.get(portal.id)
    if days is None or known is None:
        return None
    due = (done_at or known.since) + timedelta(days=days)
    ahead = compiled.number(portal, RuleName.RECERTIFICATION_WINDOW_DAYS, now) or AHEAD_DAYS
    return due if due - timedelta(days=ahead) <= now else None
