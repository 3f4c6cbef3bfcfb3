"""Outages that an administrator declares, and incidents that anybody reports."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg

from services.provisioning.handlers.recompute import SOURCE, Recompute
from services.provisioning.handlers.refusals import no_such_portal
from services.provisioning.rules.outages import Incident, Outage, Trouble, postponed
from services.provisioning.store import operations as operations_store
from services.provisioning.store import outages as outages_store
from services.provisioning.store import workers as workers_store
from shared.auth import Principal
from shared.contracts.access.portals import IncidentReported, OutageEnded, OutageStarted
from shared.contracts.envelope import name_uuid
from shared.contracts.facts import fact
from shared.contracts.topics import ACCESS_EVENTS
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection

OUTAGE_NAMESPACE = UUID("2f3f5b52-4b1d-5c9e-9e43-6a5e0b1f7c61")


class OutageCommands:
    """Each in the caller's transaction."""

    def __init__(self, recompute: Recompute) -> None:
        self._recompute = recompute

    async def report(
        self, conn: Connection, who: Principal, portal: str, kind: Trouble, note: str
    ) -> dict[str, Any]:
        """Keep that somebody cannot work on a portal; nothing else changes by it.

        Raises:
            Problem: 404 for a portal that is not in the directory.
        """
        await self._need_portal(conn, who.organization, portal)
        now = await self._recompute.clock.now(conn)
        by = who.worker or who.subject
        name = "\x1f".join((who.organization, portal, by, kind, str(now)))
        incident = Incident(
            name_uuid(OUTAGE_NAMESPACE, name), portal, who.worker, kind, note, by, now
        )
        await outages_store.save_incident(conn, who.organization, incident)
        said = IncidentReported(incident.incident_id, portal, kind.value, who.worker, note, by)
        await enqueue(
            conn, [self._fact(who, "incident.reported", portal, incident.incident_id, now, said)]
        )
        return {"incident_id": incident.incident_id}

    async def begin(
        self, conn: Connection, who: Principal, portal: str, kind: Trouble, note: str
    ) -> dict[str, Any]:
        """Declare that a portal does not work: deadlines of work there stand still from now on.

        Raises:
            Problem: 404 for an unknown portal, 409 when its outage is known already.
        """
        await self._need_portal(conn, who.organization, portal)
        now = await self._recompute.clock.now(conn)
        by = who.worker or who.subject
        name = "\x1f".join((who.organization, portal, str(now)))
        outage = Outage(name_uuid(OUTAGE_NAMESPACE, name), portal, kind, note, by, now)
        if not await outages_store.begin_outage(conn, who.organization, outage):
            raise Problem(409, "outage_known", "An outage of this portal is going on already.")
        said = OutageStarted(outage.outage_id, portal, kind.value, note, by, now)
        await enqueue(
            conn, [self._fact(who, "outage.started", portal, outage.outage_id, now, said)]
        )
        return {"outage_id": outage.outage_id}

    async def end(self, conn: Connection, who: Principal, outage_id: str) -> dict[str, Any]:
        """Say that the portal works again; its open work gets the time back.

        Raises:
            Problem: 404 for an unknown outage, 409 when it has ended.
        """
        try:
            outage = await outages_store.find_outage(conn, who.organization, outage_id)
        except asyncpg.DataError:
            outage = None
        if outage is None:
            raise Problem(404, "no_such_outage", "No outage has this id; see portal outage list.")
        if outage.ended_at is not None:
            raise Problem(409, "outage_over", "It has ended already.")
        waiting = await outages_store.workers_waiting(conn, who.organization, outage.portal)
        locked = await workers_store.lock_workers(
            conn, [(who.organization, worker) for worker in waiting]
        )
        now = await self._recompute.clock.now(conn)
        found = await operations_store.open_operations(conn, locked)
        deadlines = {
            operation.operation_id: postponed(operation, outage.started_at, now)
            for own in found.values()
            for operation in own
            if operation.portal == outage.portal
        }
        await outages_store.postpone(conn, who.organization, deadlines)
        by = who.worker or who.subject
        await outages_store.end_outage(conn, who.organization, outage_id, by, now)
        said = OutageEnded(
            outage_id,
            outage.portal,
            outage.started_at,
            now,
            by,
            tuple(sorted(deadlines)),
            deadlines,
        )
        await enqueue(conn, [self._fact(who, "outage.ended", outage.portal, outage_id, now, said)])
        await self._recompute.run(conn, locked)
        return {"outage_id": outage_id, "catch_up": sorted(deadlines)}

    async def _need_portal(self, conn: Connection, organization: str, portal: str) -> None:
        compiled = await self._recompute.directories.of(conn, organization)
        if compiled is None or portal not in compiled.portals:
            raise no_such_portal(compiled, portal)

    def _fact(
        self, who: Principal, type_: str, portal: str, cause: str, at: Any, said: object
    ) -> OutboxMessage:
        return fact(
            ACCESS_EVENTS,
            type_,
            source=SOURCE,
            organization=who.organization,
            subject=portal,
            cause=(cause, type_),
            time=at,
            data=said,
        )
