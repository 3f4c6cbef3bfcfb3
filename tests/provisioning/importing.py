"""Adopts sheets and imports user lists at the desk."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from services.provisioning.handlers.adoption.commands import AdoptionCommands
from services.provisioning.handlers.chores import ChoreCommands
from services.provisioning.handlers.imports import Upload
from services.provisioning.handlers.rosters.commands import RosterCommands
from services.provisioning.handlers.rosters.meaning import RosterUpload
from shared.contracts.directory import Directory
from shared.postgres import in_transaction
from tests.provisioning.desk import ADMINISTRATOR, Desk
from tests.provisioning.worlds import NOW, directory


def existing(*portals: str) -> Directory:
    """The directory with these portals in use before Portalkeeper."""
    document = directory().model_dump(mode="json", exclude_none=True)
    for portal in document["portals"]:
        portal["starts"] = "existing" if portal["id"] in portals else "new"
    return Directory.model_validate(document)


class Importing:
    """What an administrator does with files."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._adoption = AdoptionCommands(desk.recompute)
        self._rosters = RosterCommands(
            desk.recompute, desk.operations, ChoreCommands(desk.recompute)
        )

    async def preview_adoption(
        self, sheet: str | bytes, *, as_of: date, answers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        content = sheet.encode() if isinstance(sheet, str) else sheet
        upload = Upload("sheet.csv", content, answers or {})
        return await in_transaction(
            self.desk.pool,
            lambda conn: self._adoption.preview(conn, ADMINISTRATOR, upload, as_of),
        )

    async def apply_adoption(self, plan: str) -> dict[str, Any]:
        return await in_transaction(
            self.desk.pool, lambda conn: self._adoption.apply(conn, ADMINISTRATOR, plan)
        )

    async def adopt(
        self, sheet: str | bytes, *, as_of: date, answers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        preview = await self.preview_adoption(sheet, as_of=as_of, answers=answers)
        answer = await self.apply_adoption(preview["plan"])
        await self.desk.pass_time()
        return answer

    async def preview_roster(
        self, portal: str, roster: str | bytes, *, as_of: datetime | None = None, **more: Any
    ) -> dict[str, Any]:
        content = roster.encode() if isinstance(roster, str) else roster
        answers = more.pop("answers", {})
        upload = RosterUpload(portal, Upload("list.csv", content, answers), as_of or NOW, **more)
        return await in_transaction(
            self.desk.pool, lambda conn: self._rosters.preview(conn, ADMINISTRATOR, upload)
        )

    async def apply_roster(self, plan: str) -> dict[str, Any]:
        return await in_transaction(
            self.desk.pool, lambda conn: self._rosters.apply(conn, ADMINISTRATOR, plan)
        )

    async def import_roster(
        self, portal: str, roster: str | bytes, *, as_of: datetime | None = None, **more: Any
    ) -> dict[str, Any]:
        preview = await self.preview_roster(portal, roster, as_of=as_of, **more)
        answer = await self.apply_roster(preview["plan"])
        await self.desk.pass_time()
        return answer
