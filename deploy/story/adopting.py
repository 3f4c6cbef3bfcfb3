"""Day one of the example: the administrator's old spreadsheet, and what portals' own lists show.

The make-believe portals begin with the logins in `portals/*.csv`, which differ here and there from
the spreadsheet and from policy, as real ones do.
"""

import base64
import csv
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from deploy.story.dates import instant
from deploy.story.quiet import wait_until_quiet
from deploy.story.services import Services

SHEET, ANSWERS, PORTALS = "old-spreadsheet.csv", "old-spreadsheet.answers.yaml", "portals"
SHEET_DAYS_BEFORE = 520
"""The spreadsheet was last kept when the example's HR feed begins."""

NOBODYS = "Casey Duran"
"""Whom the administrator asks about in vain, and takes off the portal by hand."""

Say = Callable[[str], None]


async def check_old_spreadsheet(
    services: Services, folder: Path, played_on: date, zone: ZoneInfo, say: Say
) -> None:
    """Take the spreadsheet over, import every list, see the differences go, import them again.

    What was done before is not done again.
    """
    adopted = (await services.get("provisioning", "/access/v1/adoptions"))["adoptions"]
    if not adopted:
        as_of = played_on - timedelta(days=SHEET_DAYS_BEFORE)
        counts = await _adopt(services, folder, as_of)
        say(f"Took over the old spreadsheet of {as_of:%B %Y}: {counts['logins']} logins.")
        await wait_until_quiet(services)
    files = {file.stem: file for file in sorted((folder / PORTALS).glob("*.csv"))}
    imported = await _imported(services)
    fresh = [portal for portal in files if portal not in imported]
    for portal in fresh:
        await _begin_portal(services, portal, files[portal], played_on, zone)
        await import_list(services, portal, _shared_names(folder, portal))
    if fresh:
        say(f"Imported the user lists of {len(fresh)} portals; the portals are worked on now.")
        await wait_until_quiet(services)
    once = [portal for portal in files if imported.get(portal, 1) < 2]
    for portal in once:
        await _remove_nobodys(services, portal, files[portal])
        await import_list(services, portal, {})
    if once:
        say("Imported them again, to see what was put right on the portals' own lists.")
        await wait_until_quiet(services)


async def _adopt(services: Services, folder: Path, as_of: date) -> Mapping[str, int]:
    body = {
        "name": SHEET,
        "content": _base64((folder / SHEET).read_bytes()),
        "answers": yaml.safe_load((folder / ANSWERS).read_text()),
        "as_of": as_of.isoformat(),
    }
    preview = await services.post("provisioning", "/access/v1/adoptions", body)
    path = f"/access/v1/adoptions/{preview['plan']}/apply"
    counts: Mapping[str, int] = (await services.post("provisioning", path, {}))["counts"]
    return counts


async def _imported(services: Services) -> dict[str, int]:
    """How many lists of each portal were imported."""
    counted: dict[str, int] = {}
    for roster in (await services.get("provisioning", "/access/v1/rosters"))["rosters"]:
        counted[roster["portal"]] = counted.get(roster["portal"], 0) + 1
    return counted


async def _begin_portal(
    services: Services, portal: str, file: Path, today: date, zone: ZoneInfo
) -> None:
    """Have the make-believe portal hold the logins of the example's file."""
    logins = [
        {
            "login_id": row["Login"],
            "worker": row["Worker"],
            "name": row["Name"],
            "active": row["Status"] == "Active",
            "functions": [right.split() for right in row["Rights"].split("; ") if right],
            "last_login_at": instant(row["Last login"], today, zone).isoformat(),
        }
        for row in _rows(file)
    ]
    await _put(services, portal, logins)


async def _remove_nobodys(services: Services, portal: str, file: Path) -> None:
    """What the administrator did at the portal about a login that is nobody's."""
    logins = [
        {"login_id": row["Login"], "name": row["Name"], "active": False}
        for row in _rows(file)
        if not row["Worker"]
    ]
    if logins:
        await _put(services, portal, logins)


async def _put(services: Services, portal: str, logins: list[dict[str, Any]]) -> None:
    path = f"/access/v1/simulator/{portal}/logins"
    await services.post("provisioning", path, {"logins": logins})


async def import_list(services: Services, portal: str, answers: Mapping[str, str]) -> None:
    """Fetch the list that the portal hands out, and import it."""
    lines = await services.content("provisioning", f"/access/v1/simulator/{portal}/roster")
    body = {
        "name": f"{portal}-users.csv",
        "content": _base64(lines),
        "answers": dict(answers),
        "portal": portal,
        "as_of": datetime.now(UTC).isoformat(),
    }
    preview = await services.post("provisioning", "/access/v1/rosters", body)
    await services.post("provisioning", f"/access/v1/rosters/{preview['plan']}/apply", {})


def _shared_names(folder: Path, portal: str) -> dict[str, str]:
    """Whose the logins are now that two people used: the one whose name the portal has."""
    sheet = list(csv.reader((folder / SHEET).read_text(encoding="cp1252").splitlines()))
    logins = [cell for row in sheet[2:] for cell in row[2:] if cell]
    named = {row["Login"]: row for row in _rows(folder / PORTALS / f"{portal}.csv")}
    return {
        f"person:{row['Name']}": row["Worker"]
        for login, row in named.items()
        if row["Worker"] and logins.count(login) and _is_shared(sheet, login)
    }


def _is_shared(sheet: list[list[str]], login: str) -> bool:
    return any(
        sum(1 for row in sheet[2:] if row[column] == login) > 1
        for column in range(2, len(sheet[1]))
    )


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
