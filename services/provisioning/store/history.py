"""What portals held for whom, over valid and recorded time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.provisioning.rules.history import (
    FOREVER,
    Holding,
    Source,
    Statement,
    in_rounds,
    newly_held,
    overtake,
)
from services.provisioning.store.encoding import json_text
from shared.contracts.directory import Function
from shared.contracts.state import AuthorizedBy, Entitlement, Grade
from shared.postgres import Connection

COLUMNS = (
    "organization",
    "worker",
    "portal",
    "tin",
    "function",
    "valid_from",
    "valid_until",
    "known_from",
    "held_since",
    "grade",
    "authority_kind",
    "authority_reference",
    "authority_by",
    "login_id",
    "granted_by",
    "source_id",
    "said_by",
    "source_event",
    "ended_by",
    "end_said_by",
    "ending_event",
)


async def record_statements(
    conn: Connection, said: Sequence[tuple[str, Statement]], now: datetime
) -> None:
    """Write (organization, statement) into the history, in the order in which they were made.

    The workers concerned are locked by the caller; `now` is when this becomes known.
    """
    organizations = {id(statement): organization for organization, statement in said}
    for each in in_rounds(statement for _, statement in said):
        await _record(conn, [(organizations[id(one)], one) for one in each], now)


async def _record(conn: Connection, said: Sequence[tuple[str, Statement]], now: datetime) -> None:
    """Write statements about different entitlements."""
    by_key = {(organization, *statement.key): statement for organization, statement in said}
    rows = await conn.fetch(
        """
        WITH said AS (
            SELECT * FROM json_to_recordset($1::text::json)
                AS new (organization text, worker text, portal text, tin text, function text,
                        valid_from timestamptz, valid_until timestamptz)
        ), about AS (
            SELECT old.organization, old.worker, old.portal, old.tin, old.function,
                   old.valid_from, old.known_from
            FROM said, LATERAL (
                SELECT * FROM entitlement_history AS known
                WHERE known.organization = said.organization AND known.worker = said.worker
                  AND known.portal = said.portal AND known.tin = said.tin
                  AND known.function = said.function
                OFFSET 0
            ) AS old
            WHERE old.known_until = 'infinity'
              AND old.valid_from < coalesce(said.valid_until, 'infinity')
              AND said.valid_from < old.valid_until
        ), unsaid AS (
            -- What is corrected in the instant in which it was said was never known.
            DELETE FROM entitlement_history AS old USING about
            WHERE (old.organization, old.worker, old.portal, old.tin, old.function,
                   old.valid_from, old.known_from)
                = (about.organization, about.worker, about.portal, about.tin, about.function,
                   about.valid_from, about.known_from)
              AND old.known_from >= $2
            RETURNING old.*
        ), overtaken AS (
            UPDATE entitlement_history AS old SET known_until = $2 FROM about
            WHERE (old.organization, old.worker, old.portal, old.tin, old.function,
                   old.valid_from, old.known_from)
                = (about.organization, about.worker, about.portal, about.tin, about.function,
                   about.valid_from, about.known_from)
              AND old.known_from < $2
            RETURNING old.*
        )
        SELECT * FROM unsaid UNION ALL SELECT * FROM overtaken
        """,
        json_text(
            [
                {
                    "organization": organization,
                    "worker": one.worker,
                    "portal": one.portal,
                    "tin": one.tin,
                    "function": one.function,
                    "valid_from": one.valid_from,
                    "valid_until": None if one.valid_until == FOREVER else one.valid_until,
                }
                for organization, one in said
            ]
        ),
        now,
    )
    new: list[tuple[str, Holding]] = []
    for row in rows:
        known = holding_from(row)
        for rest in overtake(known, by_key[row["organization"], *known.key], now):
            new.append((row["organization"], rest))
    for organization, one in said:
        holding = newly_held(one, now)
        if holding is not None:
            new.append((organization, holding))
    if new:
        await conn.copy_records_to_table(
            "entitlement_history",
            columns=COLUMNS,
            records=[_record_of(organization, holding) for organization, holding in new],
        )


def _record_of(organization: str, holding: Holding) -> tuple[Any, ...]:
    entitlement, ended = holding.entitlement, holding.ended
    authority = entitlement.authorized_by
    return (
        organization,
        holding.worker,
        holding.portal,
        holding.tin,
        holding.function,
        holding.valid_from,
        holding.valid_until,
        holding.known_from,
        entitlement.since or holding.valid_from,
        entitlement.grade or Grade.ASSUMED,
        authority.kind if authority else None,
        authority.reference if authority else None,
        authority.by if authority else None,
        holding.login_id,
        entitlement.operation_id or holding.source.id,
        holding.source.id,
        holding.source.said_by,
        holding.source.event_id,
        ended.id if ended else None,
        ended.said_by if ended else None,
        ended.event_id if ended else None,
    )


def holding_from(row: Any) -> Holding:
    """The holding in a row of the table."""
    function = Function(row["function"])
    return Holding(
        row["worker"],
        row["portal"],
        row["tin"],
        function,
        row["valid_from"],
        _end(row["valid_until"]),
        row["known_from"],
        Entitlement(
            row["tin"],
            function,
            authority_from(row),
            Grade(row["grade"]),
            row["held_since"],
            row["granted_by"],
        ),
        row["login_id"],
        Source(row["source_id"], row["said_by"], str(row["source_event"])),
        Source(row["ended_by"], row["end_said_by"], str(row["ending_event"]))
        if row["ended_by"]
        else None,
    )


def authority_from(row: Any) -> AuthorizedBy | None:
    """Who answers for what a row tells."""
    if row["authority_kind"] is None:
        return None
    return AuthorizedBy(row["authority_kind"], row["authority_reference"], row["authority_by"])


def _end(instant: datetime) -> datetime:
    """PostgreSQL's infinity, which the driver gives as the greatest instant there is."""
    return FOREVER if instant.year == FOREVER.year else instant


WAS_HELD = """
    organization = $1 AND portal = $2 AND ($3::text IS NULL OR function = $3)
    AND valid_from <= $4 AND $4 < valid_until AND known_from <= $5 AND $5 < known_until
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """A question about a portal: who held `function` (None: anything) there at `at`, as it was
    known at `known_at`."""

    organization: str
    portal: str
    function: str | None
    at: datetime
    known_at: datetime

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What `WAS_HELD` is asked with."""
        return (self.organization, self.portal, self.function, self.at, self.known_at)


async def held_at(conn: Connection, moment: Moment, workers: Sequence[str]) -> list[Holding]:
    """What these workers held."""
    rows: Iterable[Any] = await conn.fetch(
        f"""
        SELECT entitlement_history.* FROM unnest($6::text[]) AS wanted (worker), LATERAL (
            SELECT * FROM entitlement_history AS known
            WHERE known.organization = $1 AND known.worker = wanted.worker AND known.portal = $2
            OFFSET 0
        ) AS entitlement_history
        WHERE {WAS_HELD} ORDER BY worker, tin, function
        """,
        *moment.arguments,
        list(workers),
    )
    return [holding_from(row) for row in rows]


async def holders(conn: Connection, moment: Moment, *, after: str, limit: int) -> list[str]:
    """Workers who held anything, by id."""
    rows = await conn.fetch(
        f"""
        SELECT DISTINCT worker FROM entitlement_history WHERE {WAS_HELD} AND worker > $6
        ORDER BY worker LIMIT $7
        """,
        *moment.arguments,
        after,
        limit,
    )
    return [row["worker"] for row in rows]


async def count_holders(conn: Connection, moment: Moment) -> tuple[list[Any], list[Any]]:
    """How many people by the weakest grade of evidence, and by who answers for it."""
    grades = await conn.fetch(
        f"""
        SELECT grade, count(*) AS people FROM (
            SELECT DISTINCT ON (worker) worker, grade FROM entitlement_history WHERE {WAS_HELD}
            ORDER BY worker, array_position($6::text[], grade) DESC
        ) AS person GROUP BY grade ORDER BY array_position($6::text[], grade)
        """,
        *moment.arguments,
        [grade.value for grade in Grade],
    )
    authorities = await conn.fetch(
        f"""
        SELECT authority_kind, authority_reference, authority_by, count(*) AS people FROM (
            SELECT DISTINCT worker, authority_kind, authority_reference, authority_by
            FROM entitlement_history WHERE {WAS_HELD}
        ) AS person
        GROUP BY authority_kind, authority_reference, authority_by
        ORDER BY people DESC, authority_kind, authority_reference
        """,
        *moment.arguments,
    )
    return list(grades), list(authorities)


async def recording_began(conn: Connection, organization: str, portal: str) -> datetime | None:
    """When anything first became known of a portal."""
    began: datetime | None = await conn.fetchval(
        "SELECT min(known_from) FROM entitlement_history WHERE organization = $1 AND portal = $2",
        organization,
        portal,
    )
    return began


async def seen_on_a_list_until(
    conn: Connection, organization: str, portal: str, at: datetime, known_at: datetime
) -> datetime | None:
    """The last instant not after `at` at which the portal's own list or API showed anybody."""
    seen: datetime | None = await conn.fetchval(
        """
        SELECT max(valid_from) FROM entitlement_history
        WHERE organization = $1 AND portal = $2 AND valid_from <= $3 AND known_from <= $4
          AND grade IN ('roster', 'api')
        """,
        organization,
        portal,
        at,
        known_at,
    )
    return seen


async def first_known(
    conn: Connection, moment: Moment, workers: Sequence[str]
) -> dict[str, datetime]:
    """When it first became known that these workers held anything at the moment."""
    rows = await conn.fetch(
        """
        SELECT worker, min(known_from) AS known_from FROM entitlement_history
        WHERE organization = $1 AND portal = $2 AND ($3::text IS NULL OR function = $3)
          AND worker = ANY($5::text[]) AND valid_from <= $4 AND $4 < valid_until
        GROUP BY worker
        """,
        moment.organization,
        moment.portal,
        moment.function,
        moment.at,
        list(workers),
    )
    return {row["worker"]: row["known_from"] for row in rows}


async def removals_under_way(conn: Connection, moment: Moment, workers: Sequence[str]) -> list[Any]:
    """Removals of these workers that were ordered by then and not confirmed by then."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT operation.worker, operation.operation_id::text AS operation_id,
               operation.requested_at AS ordered_at,
               CASE WHEN operation.status = 'done' THEN operation.ended_at END AS confirmed_at
        FROM unnest($2::text[]) AS wanted (worker), LATERAL (
            SELECT * FROM operation AS known
            WHERE known.organization = $1 AND known.worker = wanted.worker AND known.portal = $3
            OFFSET 0
        ) AS operation
        WHERE operation.kind IN ('suspend', 'revoke') AND operation.requested_at <= $4
          AND coalesce(operation.ended_at, 'infinity') > $4
          AND operation.status IN ('requested', 'claimed', 'superseded', 'done')
          AND ($5::text IS NULL OR operation.function IS NULL OR operation.function = $5)
        ORDER BY operation.worker, operation.requested_at
        """,
        moment.organization,
        list(workers),
        moment.portal,
        moment.at,
        moment.function,
    )
    return rows


async def given_later(conn: Connection, moment: Moment, until: datetime) -> list[Any]:
    """Whose access was ordered by then and confirmed between then and `until`."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT DISTINCT ON (begun.worker) begun.worker,
               operation.operation_id::text AS operation_id, operation.requested_at AS ordered_at,
               begun.valid_from AS confirmed_at
        FROM entitlement_history AS begun, LATERAL (
            SELECT * FROM operation AS known
            WHERE known.organization = $1 AND known.worker = begun.worker AND known.portal = $2
            OFFSET 0
        ) AS operation
        WHERE begun.organization = $1 AND begun.portal = $2
          AND ($3::text IS NULL OR begun.function = $3)
          AND begun.valid_from > $4 AND begun.valid_from <= $6
          AND begun.known_from <= $5 AND $5 < begun.known_until
          AND begun.valid_from = begun.held_since
          AND operation.operation_id::text = begun.granted_by AND operation.requested_at <= $4
        ORDER BY begun.worker, begun.valid_from LIMIT 100
        """,
        *moment.arguments,
        until,
    )
    return rows


async def holdings_of(
    conn: Connection, organization: str, workers: Sequence[str], portal: str
) -> list[Any]:
    """All that is or ever was known of these worker ids on a portal, in recorded order."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT * FROM entitlement_history
        WHERE organization = $1 AND worker = ANY($2::text[]) AND portal = $3
        ORDER BY known_from, valid_from, tin, function
        """,
        organization,
        list(workers),
        portal,
    )
    return rows


async def known_of(conn: Connection, organization: str, workers: Sequence[str]) -> list[Holding]:
    """Everything that is known now of these workers, ended or not."""
    rows = await conn.fetch(
        "SELECT * FROM entitlement_history WHERE organization = $1 AND worker = ANY($2::text[])"
        " AND known_until = 'infinity' ORDER BY worker, portal, tin, function, valid_from",
        organization,
        list(workers),
    )
    return [holding_from(row) for row in rows]


async def known_now(conn: Connection, organization: str) -> list[Holding]:
    """Everything that is known now of one organization, ended or not."""
    rows: Iterable[Any] = await conn.fetch(
        "SELECT * FROM entitlement_history WHERE organization = $1 AND known_until = 'infinity'"
        " ORDER BY worker, portal, tin, function, valid_from",
        organization,
    )
    return [holding_from(row) for row in rows]
