"""Time travel over HTTP: who had access to a portal, then, as it was known then or since."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import asyncpg
from fastapi import APIRouter, Depends, Query

from services.provisioning.api.paging import Limit, cursor_of, cursor_parts
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.handlers.refusals import no_such_portal
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.history import FOREVER, Holding
from services.provisioning.rules.who_had_access import (
    GIVEN_LATER_DAYS,
    PendingRemoval,
    gaps_of_person,
    gaps_of_portal,
    weakest,
)
from services.provisioning.store import history as history_store
from services.provisioning.store import views
from services.provisioning.store.history import Moment
from shared.auth import Authenticator, Principal
from shared.contracts.directory import Function
from shared.contracts.state import Grade
from shared.errors import Problem
from shared.postgres import Connection

Instant = Annotated[
    str, Query(max_length=40, description="RFC 3339; without an offset, in the organization's zone")
]

YEARS = range(1900, 2200)
"""Beyond these somebody has mistyped."""


def history_router(
    pool: "asyncpg.Pool[Any]", authenticator: Authenticator, recompute: Recompute
) -> APIRouter:
    """The routes that answer for a moment in the past."""
    router = APIRouter(prefix="/access/v1", tags=["history"])
    reads = authenticator.requires("access:read", "access:admin", "audit:read")

    @router.get("/who-had-access")
    async def who_had_access(
        who: Annotated[Principal, Depends(reads)],
        portal: str,
        at: Instant,
        known_at: Instant | None = None,
        function: Function | None = None,
        cursor: str | None = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Who could use a portal at a moment, who answers for it, and how it is known."""
        after = cursor_parts(cursor)
        async with pool.acquire() as conn:
            compiled = await recompute.directories.of(conn, who.organization)
            if compiled is None:
                raise Problem(404, "no_directory", "Apply one: portalkeeper directory apply FILE.")
            now = await recompute.clock.now(conn)
            moment = Moment(
                who.organization,
                portal,
                function,
                read_instant(at, compiled.zone),
                read_instant(known_at, compiled.zone) if known_at else now,
            )
            if moment.at > now:
                raise Problem(422, "lies_ahead", "Nobody knows yet who will have access then.")
            answer = await _answer(conn, moment, compiled, first=after is None)
            workers = await history_store.holders(
                conn, moment, after=str(after[0]) if after else "", limit=limit
            )
            people = await _people(conn, moment, workers, compiled.zone)
        return {
            **answer,
            "as_of": now,
            "people": people,
            "next_cursor": cursor_of(workers[-1]) if len(workers) == limit else None,
        }

    return router


def read_instant(text: str, zone: ZoneInfo) -> datetime:
    """The instant that somebody wrote, in UTC; without an offset it is in `zone`.

    Raises:
        Problem: 422 for what is no date and time.
    """
    try:
        # A plus sign in an address is a space unless it is escaped.
        read = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
        if read.year not in YEARS:
            raise ValueError(f"the year {read.year}")
        return (read if read.tzinfo else read.replace(tzinfo=zone)).astimezone(UTC)
    except ValueError as error:
        raise Problem(
            422, "invalid_instant", f"{text} is no date and time, such as 2026-03-14T09:00."
        ) from error


async def _answer(
    conn: Connection, moment: Moment, compiled: CompiledDirectory, *, first: bool
) -> dict[str, Any]:
    """All but the people; what is counted comes with the first page only."""
    known = compiled.portals.get(moment.portal)
    began = await history_store.recording_began(conn, moment.organization, moment.portal)
    if known is None and began is None:
        raise no_such_portal(compiled, moment.portal)
    answer: dict[str, Any] = {
        "portal": moment.portal,
        "portal_name": known.name if known else moment.portal,
        "function": moment.function,
        "at": moment.at,
        "known_at": moment.known_at,
        "zone": compiled.zone.key,
    }
    if not first:
        return answer
    grades, authorities = await history_store.count_holders(conn, moment)
    seen = await history_store.seen_on_a_list_until(
        conn, moment.organization, moment.portal, moment.at, moment.known_at
    )
    given_later = await history_store.given_later(
        conn, moment, moment.at + timedelta(days=GIVEN_LATER_DAYS)
    )
    names = await views.people(conn, moment.organization, [row["worker"] for row in given_later])
    answer["summary"] = {
        "people": sum(row["people"] for row in grades),
        "by_grade": {row["grade"]: row["people"] for row in grades},
        "authorities": [
            {
                "authorized_by": (
                    {
                        "kind": row["authority_kind"],
                        "reference": row["authority_reference"],
                        "by": row["authority_by"],
                    }
                    if row["authority_kind"]
                    else None
                ),
                "people": row["people"],
            }
            for row in authorities
        ],
    }
    answer["gaps"] = gaps_of_portal(
        at=moment.at,
        recording_began=began,
        seen_until=seen,
        knowledge=compiled.had_users_before(moment.portal),
        zone=compiled.zone,
    )
    answer["perhaps"] = [{**dict(row), "name": _name(names, row["worker"])} for row in given_later]
    return answer


async def _people(
    conn: Connection, moment: Moment, workers: Sequence[str], zone: ZoneInfo
) -> list[dict[str, Any]]:
    if not workers:
        return []
    names = await views.people(conn, moment.organization, workers)
    held: dict[str, list[Holding]] = {}
    for holding in await history_store.held_at(conn, moment, workers):
        held.setdefault(holding.worker, []).append(holding)
    known = await history_store.first_known(conn, moment, workers)
    removals: dict[str, list[PendingRemoval]] = {}
    for row in await history_store.removals_under_way(conn, moment, workers):
        removals.setdefault(row["worker"], []).append(PendingRemoval(*row.values()))
    people = []
    for worker in workers:
        own = held[worker]
        gaps = gaps_of_person(
            own,
            removals.get(worker, ()),
            at=moment.at,
            first_known=known[worker],
            zone=zone,
        )
        people.append(
            {
                "worker": worker,
                "name": _name(names, worker),
                "merged_into": names[worker]["merged_into"] if worker in names else None,
                "grade": weakest(own),
                "since": min(one.entitlement.since or one.valid_from for one in own),
                "holdings": [shown(one) for one in own],
                "gaps": gaps,
            }
        )
    return people


def _name(names: Mapping[str, Any], worker: str) -> str | None:
    return names[worker]["name"] if worker in names else None


def shown(one: Holding) -> dict[str, Any]:
    """A holding as the API answers it; `until` is absent while it goes on as far as is known."""
    own = one.entitlement
    return {
        "tin": one.tin,
        "function": one.function,
        "login_id": one.login_id,
        "grade": own.grade or Grade.ASSUMED,
        "authorized_by": own.authorized_by,
        "since": own.since,
        "until": None if one.valid_until == FOREVER else one.valid_until,
        "granted_by": own.operation_id,
        "known_by": one.source,
        "known_from": one.known_from,
        "ended_by": one.ended,
    }
