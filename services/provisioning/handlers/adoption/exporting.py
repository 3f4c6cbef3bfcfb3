"""The sheet of who has which login where, in the shape in which it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from services.provisioning.rules.adoption import LONG_COLUMNS, write_cell
from services.provisioning.rules.operations import Account
from shared.contracts.directory import Portal
from shared.contracts.state import AccountStatus


def sheet_of(
    accounts: Sequence[Account],
    people_known: Mapping[str, tuple[str, str]],
    portals: Sequence[Portal],
    zone: Any,
    shape: str,
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of who has which login where, in the shape that `adopt` takes.

    Args:
        people_known: name and e-mail address by worker.
    """
    shown = [account for account in accounts if account.status is not AccountStatus.NONE]
    names = {portal.id: portal.name for portal in portals}
    if shape == "long":
        return LONG_COLUMNS, [
            row for account in shown for row in _long_rows(account, people_known, names, zone)
        ]
    used = [portal for portal in portals if any(a.portal == portal.id for a in shown)]
    by_worker: dict[str, dict[str, Account]] = {}
    for account in shown:
        by_worker.setdefault(account.worker, {})[account.portal] = account
    rows = []
    for worker in sorted(by_worker):
        name, email = people_known.get(worker, ("", ""))
        cells = []
        for portal in used:
            own = by_worker[worker].get(portal.id)
            cells.append(
                write_cell(own.login_id, own.status, list(own.rights), _first_day(own, zone))
                if own
                else ""
            )
        rows.append([worker, name, email, *cells])
    return ["Worker", "Name", "E-mail", *(portal.name for portal in used)], rows


def _first_day(account: Account, zone: Any) -> date | None:
    since = [own.since for own in account.rights.values() if own.since is not None]
    return min(since).astimezone(zone).date() if since else None


def _long_rows(
    account: Account,
    people_known: Mapping[str, tuple[str, str]],
    names: Mapping[str, str],
    zone: Any,
) -> list[list[str]]:
    name, email = people_known.get(account.worker, ("", ""))
    since = _first_day(account, zone)
    by_tin: dict[str, list[str]] = {}
    for tin, function in sorted(account.rights):
        by_tin.setdefault(tin, []).append(function.value.replace("_", " "))
    last = account.last_login_at.astimezone(zone) if account.last_login_at else None
    return [
        [
            account.worker,
            name,
            email,
            names.get(account.portal, account.portal),
            account.login_id or "",
            "active" if account.status is AccountStatus.ACTIVE else "inactive",
            tin,
            ", ".join(functions),
            since.isoformat() if since else "",
            "",
            last.strftime("%Y-%m-%d %H:%M") if last else "",
            account.grade.value if account.grade else "",
        ]
        for tin, functions in (by_tin or {"": []}).items()
    ]
