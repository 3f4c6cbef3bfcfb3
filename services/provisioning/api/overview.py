"""What needs somebody now, in one answer, and the lists behind its numbers."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Depends

from services.provisioning.api.paging import Limit, cursor_of, cursor_parts
from services.provisioning.api.work import Portals, all_work, work_item
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.guards import AdministratorStanding, without_administrator
from services.provisioning.rules.removal_times import spread
from services.provisioning.store import directories as directories_store
from services.provisioning.store import listed as listed_store
from services.provisioning.store import views
from shared.auth import Authenticator, Principal
from shared.contracts.directory import Deadlines
from shared.postgres import Connection

REMOVALS_WINDOW_DAYS = 365
REMOVALS_LATEST = 1_000
"""How soon removals come is told of so many at most, so that it tells of lately."""

LAPSES_AHEAD_DAYS = 7
SHOWN = 50
"""Rows of a list within the overview; the rest has a page of its own."""

ASKED_TITLES = 500
"""Of how many workers titles without a duty are gathered."""


def overview_router(
    pool: "asyncpg.Pool[Any]", authenticator: Authenticator, recompute: Recompute
) -> APIRouter:
    """The overview, exposures, questions and findings under `/access/v1`."""
    router = APIRouter(prefix="/access/v1", tags=["access"])
    reads = authenticator.requires("access:read", "access:admin")

    @router.get("/overview")
    async def overview(who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        """Lists are cut after some rows; counts of what waits stop beyond `counted_up_to`.

        A portal is without an administrator for the `tins` for which nobody administers it now.
        """
        organization = who.organization
        async with pool.acquire() as conn:
            now = await recompute.clock.now(conn)
            compiled = await recompute.directories.of(conn, organization)
            portals = Portals(compiled)
            directory = compiled.directory if compiled else None
            served = (
                {each: compiled.tins_served(each) for each in compiled.portals} if compiled else {}
            )
            deadlines = directory.organization.deadlines if directory else Deadlines()
            counts = await listed_store.counts(conn, organization)
            overdue = await all_work(
                conn,
                organization,
                ended=False,
                portal=None,
                worker=None,
                overdue=now,
                after=None,
                limit=SHOWN,
            )
            removals = await views.removal_times(
                conn, organization, now - timedelta(days=REMOVALS_WINDOW_DAYS), REMOVALS_LATEST
            )
            standings = await directories_store.standings(conn, organization)
            attention = dict(
                await views.attention(
                    conn,
                    organization,
                    now=now,
                    lapses_until=now + timedelta(days=LAPSES_AHEAD_DAYS),
                    left_since=now - timedelta(days=REMOVALS_WINDOW_DAYS),
                    notice_hours=deadlines.notice_hours,
                )
            )
            exposed = await exposures_of(
                conn, who, portals, standings, now, after=None, limit=SHOWN
            )
            asked = await questions_of(conn, who)
        minutes = removals["confirmed_minutes"] or ()
        return {
            "organization": (
                {
                    "id": directory.organization.id,
                    "name": directory.organization.name,
                    "zone": directory.organization.zone,
                }
                if directory
                else None
            ),
            "counts": {
                "workers": counts["workers"],
                "portal_users": counts["portal_users"],
                "events": attention.pop("events"),
                "portals": len(directory.portals) if directory else 0,
                "carriers": len(directory.carriers) if directory else 0,
            },
            "counted_up_to": views.COUNTED_UP_TO,
            "exposed": attention.pop("exposed"),
            "exposures": exposed,
            "work_overdue": attention.pop("operations_overdue") + attention.pop("chores_overdue"),
            "overdue": [work_item(row, portals, now) for row in overdue],
            "work_open": attention.pop("operations_open") + attention.pop("chores_open"),
            "attention": {**attention, "findings": counts["findings"]},
            "portals_without_administrator": [
                {"portal": portal, "name": portals.name(portal), "tins": tins}
                for portal, tins in without_administrator(standings, served, now).items()
            ],
            "questions": asked,
            "removals": {
                **{name: value for name, value in removals.items() if name != "confirmed_minutes"},
                "promised_hours": deadlines.removal_hours,
                "spread": [
                    {"up_to_minutes": bound, "removals": number}
                    for bound, number in spread(minutes)
                ],
            },
            "as_of": now,
        }

    @router.get("/exposures")
    async def exposures(
        who: Annotated[Principal, Depends(reads)], cursor: str | None = None, limit: Limit = 50
    ) -> dict[str, Any]:
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            now = await recompute.clock.now(conn)
            portals = Portals(await recompute.directories.of(conn, who.organization))
            position = (datetime.fromisoformat(after[0]), *after[1:]) if after else None
            standings = await directories_store.standings(conn, who.organization)
            rows = await exposures_of(
                conn, who, portals, standings, now, after=position, limit=limit
            )
        last = rows[-1] if len(rows) == limit else None
        return {
            "exposures": rows,
            "next_cursor": (
                cursor_of(last["since"], last["worker"], last["portal"]) if last else None
            ),
        }

    @router.get("/questions")
    async def questions(who: Annotated[Principal, Depends(reads)]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            return {"questions": await questions_of(conn, who)}

    @router.get("/findings")
    async def findings(
        who: Annotated[Principal, Depends(reads)], cursor: str | None = None, limit: Limit = 50
    ) -> dict[str, Any]:
        """By worker; `limit` is a number of workers."""
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            rows = await listed_store.findings(
                conn, who.organization, after=str(after[0]) if after else "", limit=limit
            )
        return {
            "findings": [
                {
                    "subject": row["worker"],
                    "name": row["name"],
                    "rule": row["rule"],
                    "detail": row["detail"],
                    "since": row["since"],
                }
                for row in rows
            ],
            "next_cursor": (
                cursor_of(rows[-1]["worker"])
                if len({row["worker"] for row in rows}) == limit
                else None
            ),
        }

    return router


async def exposures_of(
    conn: Connection,
    who: Principal,
    portals: Portals,
    standings: Iterable[AdministratorStanding],
    now: datetime,
    *,
    after: tuple[Any, ...] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """What must be gone and is not, each with whoever sees to it."""
    rows = await views.exposures(conn, who.organization, after=after, limit=limit)
    left = {each.worker for each in standings if each.leaves_at and each.leaves_at <= now}
    owners = [_owner(row, portals, left, now) for row in rows]
    names = await views.names(conn, who.organization, [own for own in owners if own])
    return [_exposure(row, portals, owner, names) for row, owner in zip(rows, owners, strict=True)]


async def questions_of(conn: Connection, who: Principal) -> list[dict[str, Any]]:
    """Titles that nobody has mapped to job duties, with how many workers have them."""
    return _questions(await listed_store.unmapped_titles(conn, who.organization, ASKED_TITLES))


def _owner(row: Any, portals: Portals, left: set[str], now: datetime) -> str | None:
    """Who sees to an exposure: whoever claimed it or runs the portal, and is not who left."""
    gone = left | {row["worker"]}
    if row["claimed_by"] is not None and row["claimed_by"] not in gone:
        claimed: str = row["claimed_by"]
        return claimed
    return portals.administrator(row["portal"], now, gone)


def _exposure(
    row: Any, portals: Portals, owner: str | None, names: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "worker": row["worker"],
        "name": row["name"],
        "portal": row["portal"],
        "portal_name": portals.name(row["portal"]),
        "since": row["exposed_since"],
        "owner": owner,
        "owner_name": names.get(owner or "", owner),
        "functions": sorted({own["function"] for own in row["rights"]}),
        "operation_id": row["operation_id"],
        "deadline": row["deadline"],
    }


def _questions(found: Iterable[Any]) -> list[dict[str, Any]]:
    counted: dict[str, int] = {}
    for row in found:
        for employment in row["employments"]:
            if employment["open"] and repr(employment["title"]) in row["detail"]:
                title = str(employment["title"])
                counted[title] = counted.get(title, 0) + 1
    return [{"title": title, "workers": number} for title, number in sorted(counted.items())]
