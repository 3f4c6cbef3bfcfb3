"""What portals held for whom, over valid and recorded time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    "authorized_by",
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
        entitlement.authorized_by,
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
            AuthorizedBy(**row["authorized_by"]) if row["authorized_by"] else None,
            Grade(row["grade"]),
            row["held_since"],
            row["granted_by"],
        ),
        row["login_id"],
        Source(row["source_id"], row["said_by"], row["source_event"]),
        Source(row["ended_by"], row["end_said_by"], row["ending_event"])
        if row["ended_by"]
        else None,
    )


def _end(instant: datetime) -> datetime:
    """PostgreSQL's infinity, which the driver gives as the greatest instant there is."""
    return FOREVER if instant.year == FOREVER.year else instant


async def held_at(
    conn: Connection, organization: str, portal: str, *, at: datetime, known_at: datetime
) -> list[Holding]:
    """What a portal held for anybody at `at`, as it was known at `known_at`."""
    rows: Iterable[Any] = await conn.fetch(
        """
        SELECT * FROM entitlement_history
        WHERE organization = $1 AND portal = $2
          AND valid_from <= $3 AND $3 < valid_until AND known_from <= $4 AND $4 < known_until
        ORDER BY worker, tin, function
        """,
        organization,
        portal,
        at,
        known_at,
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
