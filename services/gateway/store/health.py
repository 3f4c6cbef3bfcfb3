"""SQL of how HR's sources fare: the days on which they were heard, and which lists are expected."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from services.gateway.rules.schedule import USUAL_DAYS, Expected
from shared.postgres import Connection

KEPT_DAYS = 400
"""A year's habits, and some."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A source of which a list is expected, and when the last readable one came (UTC)."""

    organization: str
    source: str
    expected: Expected
    late_since: datetime | None
    last_list_at: datetime | None


async def note_day(
    conn: Connection, organization: str, source: str, now: datetime, **counts: int
) -> None:
    """Add to what came from a source on the day of `now`, by UTC.

    Args:
        counts: `accepted`, `rejected`, `wrong_signatures`.
    """
    await conn.execute(
        """
        INSERT INTO source_day AS known
            (organization, source, day, accepted, rejected, wrong_signatures)
        VALUES ($1, $2, ($3::timestamptz AT TIME ZONE 'UTC')::date, $4, $5, $6)
        ON CONFLICT (organization, source, day) DO UPDATE SET
            accepted = known.accepted + excluded.accepted,
            rejected = known.rejected + excluded.rejected,
            wrong_signatures = known.wrong_signatures + excluded.wrong_signatures
        """,
        organization,
        source,
        now,
        counts.get("accepted", 0),
        counts.get("rejected", 0),
        counts.get("wrong_signatures", 0),
    )


async def forget_days(conn: Connection, now: datetime) -> int:
    """Forget the days that are past looking back at; how many those were."""
    status = await conn.execute(
        "DELETE FROM source_day WHERE day < $1::date - $2::integer", now.date(), KEPT_DAYS
    )
    return int(status.rpartition(" ")[2])


async def days_heard(conn: Connection, organization: str, today: date) -> dict[str, list[date]]:
    """By source, the days of late on which something good came."""
    rows = await conn.fetch(
        "SELECT source, day FROM source_day WHERE organization = $1 AND accepted > 0"
        " AND day > $2::date - $3::integer ORDER BY day",
        organization,
        today,
        USUAL_DAYS,
    )
    found: dict[str, list[date]] = {}
    for row in rows:
        found.setdefault(row["source"], []).append(row["day"])
    return found


async def wrong_signatures(conn: Connection, since: date) -> int:
    """How many requests were signed with no secret of ours, since a day."""
    count: int = await conn.fetchval(
        "SELECT coalesce(sum(wrong_signatures), 0)::bigint FROM source_day WHERE day >= $1", since
    )
    return count


async def waiting_for_lists(conn: Connection) -> list[Waiting]:
    """Every source of which a list is expected."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT organization, source, expected, late_since,
            (SELECT max(received_at) FROM roster
             WHERE roster.organization = hr_source.organization
               AND roster.source = hr_source.source AND status <> 'unreadable') AS last_list_at
        FROM hr_source WHERE expected IS NOT NULL ORDER BY organization, source
        """
    )
    return [
        Waiting(**{**row, "expected": Expected.model_validate(row["expected"])}) for row in rows
    ]


async def set_late(
    conn: Connection, organization: str, source: str, since: datetime | None
) -> bool:
    """Remember since when a list is late, or that none is; false if that was known."""
    changed = await conn.fetchval(
        "UPDATE hr_source SET late_since = $3 WHERE organization = $1 AND source = $2"
        " AND late_since IS DISTINCT FROM $3 RETURNING 1",
        organization,
        source,
        since,
    )
    return changed is not None


async def expect(
    conn: Connection, organization: str, source: str, expected: Expected | None
) -> None:
    """Expect a source's lists so, or not any more."""
    await conn.execute(
        "UPDATE hr_source SET expected = $3, late_since = NULL"
        " WHERE organization = $1 AND source = $2",
        organization,
        source,
        expected.model_dump(mode="json") if expected else None,
    )
