"""Asks for chores that come due, and withdraws those that lost their reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg

from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.handlers.recompute import SOURCE, Recompute
from services.provisioning.rules.chores import Chore, ChoreMove
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.recurring import (
    PORTAL_CLOCKS,
    clock_due,
    fetch_chore,
    password_chores,
    portal_clock_chores,
)
from services.provisioning.store import chores as chores_store
from services.provisioning.store import clocks as clocks_store
from services.provisioning.store import directories as directories_store
from services.provisioning.store import logins as logins_store
from shared.contracts.directory import PortalClock, RuleName
from shared.contracts.envelope import event_key
from shared.contracts.facts import fact, to_json
from shared.contracts.state import ChoreKind
from shared.contracts.topics import DIRECTORY_EVENTS
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

NOT_AT_WORK = "whose password it is does not work, or use the portal, any more"


class RecurringChores:
    """Lists to fetch, what portals want by a date of their own, and passwords about to expire."""

    def __init__(
        self, pool: asyncpg.Pool[Any], recompute: Recompute, chores: ChoreCommands
    ) -> None:
        self._pool = pool
        self._recompute = recompute
        self._chores = chores

    async def ask(self) -> int:
        """Ask for everything that is due; how much was not asked for yet."""

        async def work(conn: Connection) -> int:
            organizations = await directories_store.organizations(conn)
            compiled = await self._recompute.directories.current(conn, organizations)
            now = await self._recompute.clock.now(conn)
            asked = 0
            for organization in sorted(compiled):
                async for chore in self._due(conn, organization, compiled[organization], now):
                    asked += await self._chores.request(conn, organization, chore)
                await self._withdraw(conn, organization)
                await self._say_dates(conn, organization, compiled[organization], now)
            return asked

        return await in_transaction(self._pool, work)

    async def _due(
        self, conn: Connection, organization: str, compiled: CompiledDirectory, now: datetime
    ) -> AsyncIterator[Chore]:
        clocks = [kind for kind, *_ in PORTAL_CLOCKS]
        latest = await logins_store.latest_rosters(conn, organization)
        done = {kind: await chores_store.last_done(conn, organization, kind) for kind in clocks}
        waiting = {
            kind: await chores_store.waiting_on(conn, organization, kind)
            for kind in (ChoreKind.FETCH_ROSTER, *clocks)
        }
        for portal in compiled.directory.portals:
            done_at = {kind: done[kind][portal.id] for kind in clocks if portal.id in done[kind]}
            fetching = fetch_chore(
                organization,
                portal,
                compiled,
                latest.get(portal.id),
                requested_by=SOURCE,
                now=now,
            )
            recurring = portal_clock_chores(
                organization, portal, compiled, done_at, requested_by=SOURCE, now=now
            )
            for chore in (fetching, *recurring):
                if chore is not None and portal.id not in waiting[chore.kind]:
                    yield chore
            if compiled.number(portal, RuleName.PASSWORD_DAYS, now) is not None:
                ages = await chores_store.password_ages(
                    conn, organization, portal.id, apart_from=SOURCE
                )
                for chore in password_chores(
                    organization, portal, compiled, ages, requested_by=SOURCE, now=now
                ):
                    yield chore

    async def _say_dates(
        self, conn: Connection, organization: str, compiled: CompiledDirectory, now: datetime
    ) -> None:
        """Publish by when portals want their users confirmed, where that has changed."""
        done = await chores_store.last_done(conn, organization, ChoreKind.RECERTIFY)
        rule = RuleName.RECERTIFICATION_DAYS
        dues = {
            portal.id: due.astimezone(compiled.zone).date()
            for portal in compiled.directory.portals
            if (due := clock_due(portal, rule, compiled, done.get(portal.id), now))
        }
        said = [
            fact(
                DIRECTORY_EVENTS,
                "portal_clock.set",
                source=SOURCE,
                organization=organization,
                key=event_key(organization, "portal_clock", portal),
                subject=f"portal_clock/{portal}",
                cause=("portal_clock", portal, str(version)),
                time=now,
                data=to_json(PortalClock(portal=portal, recertify_by=dues[portal])),
                extensions={"version": str(version), "epoch": "1"},
            )
            for portal, version in await clocks_store.save_recertifications(
                conn, organization, dues
            )
        ]
        await enqueue(conn, said)

    async def _withdraw(self, conn: Connection, organization: str) -> None:
        """On leave passwords expire and are changed after the return; who left needs none."""
        for chore_id in await chores_store.passwords_without_holder(conn, organization):
            word = ChoreWord(ChoreMove.DECLINE, SOURCE, reason=NOT_AT_WORK)
            await self._chores.say(conn, organization, chore_id, word)
