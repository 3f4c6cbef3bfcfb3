"""Applying a directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.provisioning.handlers.recompute import SOURCE, Recompute
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.guards import AdministratorStanding
from services.provisioning.rules.planning import Change, Name, changes_between, objects_of
from services.provisioning.store import directories as directories_store
from services.provisioning.store import workers as workers_store
from shared.auth import Principal
from shared.contracts.directory import Directory, DirectoryObject
from shared.contracts.envelope import event_key
from shared.contracts.facts import fact, to_json
from shared.contracts.topics import DIRECTORY_EVENTS
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection


class DirectoryCommands:
    """Applying a directory: one transaction, one version; the sweep does the rest."""

    def __init__(self, recompute: Recompute) -> None:
        self._recompute = recompute

    async def apply(
        self,
        conn: Connection,
        directory: Directory,
        who: Principal,
        *,
        plan: str | None = None,
        proposed_by: str | None = None,
    ) -> dict[str, Any]:
        """Put a directory in force and say what changed.

        Args:
            plan: the plan that is carried out, if it is one.
            proposed_by: who proposed it, where `who` only approves.

        Raises:
            Problem: 403 for another organization's directory, 409 when a portal that is in use
                would disappear.
        """
        organization = directory.organization.id
        version, before = await self.lock(conn, directory, who)
        await self.refuse_orphans(conn, before, directory)
        changes = changes_between(before, directory)
        now = await self._recompute.clock.now(conn)
        if changes or not version:
            version += 1
            await directories_store.save_directory(
                conn,
                organization,
                version,
                directory.model_dump(mode="json", exclude_none=True),
                proposed_by or who.subject,
                now,
                plan=plan,
                approved_by=who.subject if proposed_by is not None else None,
            )
            compiled = CompiledDirectory(directory, version)
            await directories_store.save_standings(conn, organization, _standings(compiled))
            by = {"appliedby": proposed_by or who.subject}
            if proposed_by is not None:
                by["approvedby"] = who.subject
            current = objects_of(directory)
            await enqueue(
                conn,
                [
                    _directory_fact(organization, version, change, current, by, now)
                    for change in changes
                ],
            )
        return {
            "version": version,
            "changed": [
                {"kind": each.kind, "id": each.id, "change": _SAID[each.change]} for each in changes
            ],
            "workers_behind": await workers_store.count_behind(conn),
        }

    async def lock(
        self, conn: Connection, directory: Directory, who: Principal
    ) -> tuple[int, Directory | None]:
        """Lock what an apply locks; the version in force and its directory.

        Raises:
            Problem: 403 for another organization's directory.
        """
        organization = directory.organization.id
        if organization != who.organization:
            raise Problem(
                403, "other_organization", f"You are signed in for {who.organization} only."
            )
        administered = {administrator.portal for administrator in directory.administrators}
        await directories_store.lock_portals(
            conn, [(organization, portal) for portal in administered]
        )
        version = await directories_store.lock_directory(conn, organization)
        return version, await in_force(conn, organization, version)

    async def refuse_orphans(
        self, conn: Connection, before: Directory | None, after: Directory
    ) -> None:
        """Refuse to take a portal out on which somebody still has a login or open work.

        Raises:
            Problem: 409, naming the portals.
        """
        if before is None:
            return
        gone = {portal.id for portal in before.portals} - {portal.id for portal in after.portals}
        if not gone:
            return
        in_use = sorted(gone & await directories_store.portals_in_use(conn, after.organization.id))
        if in_use:
            raise Problem(
                409,
                "portal_in_use",
                f"People still have logins on {', '.join(in_use)}; end the contracts that need"
                " it, see the access removed, and then take the portal out.",
            )


_SAID = {"created": "set", "changed": "changed", "removed": "removed"}


async def in_force(conn: Connection, organization: str, version: int) -> Directory | None:
    """The directory of a version; None for version 0, when there is none."""
    if not version:
        return None
    row = await directories_store.directory_document(conn, organization, version)
    return Directory.model_validate(row["document"])


def _standings(compiled: CompiledDirectory) -> list[AdministratorStanding]:
    """The appointments per tax id; of several that begin together for one, the one that lasts."""
    lasting: dict[tuple[str, str, str, datetime], datetime | None] = {}
    for worker, appointments in compiled.administrators.items():
        for one in appointments:
            for tin in one.tins or compiled.tins_served(one.portal):
                key = (one.portal, tin, worker, one.since)
                other = lasting.get(key, one.until)
                lasting[key] = None if one.until is None or other is None else max(one.until, other)
    return [AdministratorStanding(*key, until, None) for key, until in lasting.items()]


def _directory_fact(
    organization: str,
    version: int,
    change: Change,
    current: Mapping[Name, DirectoryObject],
    by: Mapping[str, str],
    now: datetime,
) -> OutboxMessage:
    kind, id_ = change.kind, change.id
    removed = change.change == "removed"
    message = fact(
        DIRECTORY_EVENTS,
        f"{kind}.removed" if removed else f"{kind}.set",
        source=SOURCE,
        organization=organization,
        key=event_key(organization, kind, id_),
        subject=f"{kind}/{id_}",
        cause=(kind, id_, str(version)),
        time=now,
        data=b"" if removed else to_json(current[kind, id_]),
        extensions={"version": str(version), "epoch": "1", **by},
    )
    return replace(message, value=None) if removed else message
