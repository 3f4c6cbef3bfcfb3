"""Fetching portals' user lists is recurring work: asked for in time, closed by importing one."""

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
from services.provisioning.store import logins as logins_store
from shared.contracts import directory as contract
from shared.contracts.directory import Portal
from shared.contracts.state import ChoreKind
from shared.postgres import Connection, in_transaction

FETCH_DAYS = 3
"""From when a list is due until it is overdue: portals mail some lists only on workdays."""


class RosterFetching:
    """Asks for each portal's list when it is due; for the first one of a portal in use, at once."""

    def __init__(
        self, pool: asyncpg.Pool[Any], recompute: Recompute, chores: ChoreCommands
    ) -> None:
        self._pool = pool
        self._recompute = recompute
        self._chores = chores

    async def ask(self) -> int:
        """Ask for every list that is due; how many were not asked for yet."""

        async def work(conn: Connection) -> int:
            organizations = await directories_store.organizations(conn)
            compiled = await self._recompute.directories.current(conn, organizations)
            now = await self._recompute.clock.now(conn)
            asked = 0
            for organization in sorted(compiled):
                latest = await logins_store.latest_rosters(conn, organization)
                waiting = await chores_store.waiting_on(conn, organization, ChoreKind.FETCH_ROSTER)
                for portal in compiled[organization].directory.portals:
                    if portal.id in waiting:
                        continue
                    chore = fetch_chore(
                        organization, portal, compiled[organization], latest.get(portal.id), now
                    )
                    if chore is not None:
                        asked += await self._chores.request(conn, organization, chore)
            return asked

        return await in_transaction(self._pool, work)


def fetch_chore(
    organization: str,
    portal: Portal,
    compiled: CompiledDirectory,
    latest: datetime | None,
    now: datetime,
) -> Chore | None:
    """The fetching of a list that is due now; None while it is not.

    Args:
        latest: the instant for which the latest imported list was right, if there is one.
    """
    days = portal.roster_interval_days or compiled.directory.organization.roster_interval_days
    interval = timedelta(days=days)
    known = compiled.knowledge.get(portal.id)
    if known is None:
        return None
    observed = portal.id in compiled.observed_since
    due = known.since if latest is None and observed else (latest or known.since) + interval
    if due > now:
        return None
    # Declined, it is asked for again once another interval is over.
    round_ = (now - due) // interval
    occasion = f"{latest.isoformat() if latest else 'first'}/{round_}"
    steps = portal.chores.get(contract.Chore.FETCH_ROSTER, ())
    how = " ".join(step.text for step in steps) or "Take the list of users from the portal."
    why = (
        "Nothing is ordered there for what may exist already before its first list is imported."
        if observed
        else f"It is fetched every {days} days."
    )
    return Chore(
        chore_id(organization, ChoreKind.FETCH_ROSTER, portal.id, None, occasion),
        ChoreKind.FETCH_ROSTER,
        portal.id,
        None,
        f"Fetch {portal.name}'s list of users and import it. {how} {why}",
        {"interval_days": str(days)},
        compiled.administrator(portal.id, now),
        SOURCE,
        now,
        due + round_ * interval + timedelta(days=FETCH_DAYS),
    )
