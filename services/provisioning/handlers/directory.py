"""Applying a directory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from services.provisioning.handlers.recompute import SOURCE, Recompute
from services.provisioning.rules.desired import CompiledDirectory
from services.provisioning.rules.guards import AdministratorStanding
from services.provisioning.store import directories as directories_store
from services.provisioning.store import workers as workers_store
from shared.auth import Principal
from shared.contracts.access import Evidence as Evidence
from shared.contracts.directory import Directory
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

    async def apply(self, conn: Connection, directory: Directory, who: Principal) -> dict[str, Any]:
        """Put a directory in force and say what changed.

        Raises:
            Problem: 403 for another organization's directory, 409 when a portal that is in use
                would disappear.
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
        previous: dict[tuple[str, str], Any] = {}
        if version:
            row = await directories_store.directory_document(conn, organization, version)
            previous = {
                (kind, id_): model
                for kind, id_, model in Directory.model_validate(row["document"]).objects()
            }
        current = {(kind, id_): model for kind, id_, model in directory.objects()}
        await self._refuse_orphans(conn, organization, current, previous)
        changed = [
            (*name, "set" if name not in previous else "changed")
            for name, model in current.items()
            if previous.get(name) != model
        ]
        changed += [(*name, "removed") for name in previous if name not in current]
        now = await self._recompute.clock.now(conn)
        if changed or not version:
            version += 1
            document = directory.model_dump(mode="json", exclude_none=True)
            await directories_store.save_directory(
                conn, organization, version, document, who.subject, now
            )
            compiled = CompiledDirectory(directory, version)
            await directories_store.save_standings(conn, organization, _standings(compiled))
            await enqueue(
                conn,
                [
                    _directory_fact(organization, version, kind, id_, change, current, who, now)
                    for kind, id_, change in changed
                ],
            )
        return {
            "version": version,
            "changed": [
                {"kind": kind, "id": id_, "change": change} for kind, id_, change in changed
            ],
            "workers_behind": await workers_store.count_behind(conn),
        }

    async def _refuse_orphans(
        self,
        conn: Connection,
        organization: str,
        current: dict[tuple[str, str], Any],
        previous: dict[tuple[str, str], Any],
    ) -> None:
        gone = {id_ for kind, id_ in previous if kind == "portal" and (kind, id_) not in current}
        in_use = (
            sorted(gone & await directories_store.portals_in_use(conn, organization))
            if gone
            else []
        )
        if in_use:
            raise Problem(
                409,
                "portal_in_use",
                f"People still have logins on {', '.join(in_use)}; end the contracts that need"
                " it, see the access removed, and then take the portal out.",
            )


def _standings(compiled: CompiledDirectory) -> list[AdministratorStanding]:
    """The appointments; of several that begin together on one portal, the one that lasts."""
    lasting: dict[tuple[str, str, datetime], datetime | None] = {}
    for worker, spans in compiled.administrators.items():
        for portal, since, until in spans:
            key = (portal, worker, since)
            other = lasting.get(key, until)
            lasting[key] = None if until is None or other is None else max(until, other)
    return [AdministratorStanding(*key, until, None) for key, until in lasting.items()]


def _directory_fact(
    organization: str,
    version: int,
    kind: str,
    id_: str,
    change: str,
    current: dict[tuple[str, str], Any],
    who: Principal,
    now: datetime,
) -> OutboxMessage:
    removed = change == "removed"
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
        extensions={"version": str(version), "epoch": "1", "appliedby": who.subject},
    )
    return replace(message, value=None) if removed else message
