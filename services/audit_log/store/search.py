"""The SQL of the search projection, which lives in a schema and under a role of its own.

Its owner makes the tables, so the projection can be dropped as a whole and made again from the log.
Partitions span fewer entries than those of the log: a search walks them from the newest on, and the
worst that it can do is to read one partition's index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.postgres import Connection

VERSION = 5
"""Of what is projected; another one makes the projection anew."""

PARTITION_ENTRIES = 262_144
NEWEST_ENTRIES = 2_048
"""Looked through one by one first: what is common is found there at once. What is not is rare
enough to be fetched whole from a partition's index, which knows no order."""

CLOCK_SLACK = timedelta(minutes=2)
"""Entries of concurrent batches may carry instants that fall by as much as a transaction takes."""

_TABLES = f"""
CREATE TABLE audit_search.found (
    index bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- 64 bits of a hash of what makes an event the same event again.
    identity bigint,
    terms bigint[] NOT NULL,
    PRIMARY KEY (index)
) PARTITION BY RANGE (index);
-- What waits to be merged into the index is read whole by each search, so little may wait.
CREATE INDEX found_terms ON audit_search.found USING gin (terms)
    WITH (gin_pending_list_limit = 256);
CREATE INDEX found_identity ON audit_search.found (identity);

-- `position` is the first entry that is not projected yet.
CREATE TABLE audit_search.projection (
    name text PRIMARY KEY,
    version integer NOT NULL,
    position bigint NOT NULL,
    pruned bigint NOT NULL DEFAULT 0
);
INSERT INTO audit_search.projection (name, version, position) VALUES ('search', {VERSION}, 0);

-- How far the log is published as OCSF; not forgotten with the projection.
CREATE TABLE IF NOT EXISTS audit_search.published (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position bigint NOT NULL
);
GRANT USAGE ON SCHEMA audit_search TO audit_log, audit_owner;
GRANT SELECT, UPDATE (terms, identity) ON audit_search.found TO audit_log;
GRANT SELECT ON audit_search.found, audit_search.projection TO audit_log, audit_owner;
"""


@dataclass(slots=True)
class Found:
    """An entry as it is searched."""

    index: int
    recorded_at: datetime
    identity: int | None
    terms: list[int]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry as the projection reads it from the log."""

    index: int
    recorded_at: datetime
    key_slot: int | None
    leaf: bytes
    payload: bytes | None


async def prepare(conn: Connection) -> int:
    """Make the projection if it is missing or of another version; where it stands."""
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(7012028)")
        if await is_there(conn):
            version = await conn.fetchval(
                "SELECT version FROM audit_search.projection WHERE name = 'search'"
            )
            if version != VERSION:
                await drop(conn)
        if not await is_there(conn):
            await conn.execute(_TABLES)
    return await position(conn)


async def drop(conn: Connection) -> None:
    """Forget the projection; the log is not touched."""
    await conn.execute("DROP TABLE IF EXISTS audit_search.found, audit_search.projection")


async def is_there(conn: Connection) -> bool:
    """Whether the projection exists."""
    there: bool = await conn.fetchval("SELECT to_regclass('audit_search.projection') IS NOT NULL")
    return there


async def position(conn: Connection) -> int:
    """The first entry that is not projected yet."""
    found: int = await conn.fetchval(
        "SELECT position FROM audit_search.projection WHERE name = 'search'"
    )
    return found


async def lock_position(conn: Connection) -> int:
    """The same, which stays until this transaction ends: two projectors take turns."""
    found: int = await conn.fetchval(
        "SELECT position FROM audit_search.projection WHERE name = 'search' FOR UPDATE"
    )
    return found


async def forget_pruned(conn: Connection) -> None:
    """Forget entries that the log was pruned of, but for those that are held."""
    pruned: int = await conn.fetchval("SELECT pruned FROM audit_log.log_head") or 0
    known = await conn.fetchval("SELECT pruned FROM audit_search.projection WHERE name = 'search'")
    if pruned > known:
        await conn.execute(
            "DELETE FROM audit_search.found WHERE index >= $1 AND index < $2 AND NOT EXISTS"
            " (SELECT 1 FROM audit_log.held_entry WHERE held_entry.index = found.index)",
            known,
            pruned,
        )
        await conn.execute(
            "UPDATE audit_search.projection SET pruned = $1 WHERE name = 'search'", pruned
        )


async def read_log(conn: Connection, start: int, limit: int) -> list[LogEntry]:
    """Entries from `start` on, in order, as far as they exist."""
    rows = await conn.fetch(
        "SELECT index, recorded_at, key_slot, leaf, payload FROM audit_log.entry"
        " WHERE index >= $1 UNION ALL"
        " SELECT index, recorded_at, key_slot, leaf, payload FROM audit_log.held_entry"
        " WHERE index >= $1 ORDER BY index LIMIT $2",
        start,
        limit,
    )
    return [LogEntry(*row.values()) for row in rows]


async def add(conn: Connection, entries: Sequence[Found]) -> None:
    """Project entries that continue the projection, in the caller's transaction."""
    end = entries[-1].index + 1
    number = entries[0].index // PARTITION_ENTRIES
    while number * PARTITION_ENTRIES < end:
        name, first = f"audit_search.found_{number:06}", number * PARTITION_ENTRIES
        if not await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
            await conn.execute(
                f"CREATE TABLE {name} PARTITION OF audit_search.found"
                f" FOR VALUES FROM ({first}) TO ({first + PARTITION_ENTRIES})"
            )
            await conn.execute(f"GRANT SELECT ON {name} TO audit_log, audit_owner")
        number += 1
    await conn.copy_records_to_table(
        "found",
        schema_name="audit_search",
        records=[(each.index, each.recorded_at, each.identity, each.terms) for each in entries],
        columns=("index", "recorded_at", "identity", "terms"),
    )
    await conn.execute(
        "UPDATE audit_search.projection SET position = $1 WHERE name = 'search'", end
    )


async def find(
    conn: Connection,
    terms: Sequence[int],
    *,
    before: int,
    limit: int,
    since: datetime | None = None,
    until: datetime | None = None,
    lowest: int = 0,
) -> list[int]:
    """Up to `limit` entries below the index `before` that have all terms, newest first."""
    low = max(lowest, 0 if since is None else await _first_after(conn, since - CLOCK_SLACK))
    high = min(before, await position(conn))
    if until is not None:
        high = min(high, await _first_after(conn, until + CLOCK_SLACK))
    wanted = list(terms)
    newest = max(low, high - NEWEST_ENTRIES)
    found = await _look_through(conn, wanted, newest, high, since, until, limit)
    high = newest
    there = await _partitions(conn)
    while high > low and len(found) < limit:
        number = (high - 1) // PARTITION_ENTRIES
        if number not in there:
            high = number * PARTITION_ENTRIES
            continue
        start = max(low, number * PARTITION_ENTRIES)
        room = limit - len(found)
        found += await _look_up(conn, number, wanted, start, high, since, until, room)
        high = start
    return found


async def _partitions(conn: Connection) -> set[int]:
    """The numbers of the partitions there are: a pruned log is projected from where it begins."""
    rows = await conn.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'audit_search.found'::regclass"
    )
    return {int(row["name"].rpartition("_")[2]) for row in rows}


_BETWEEN = """
    index >= $2 AND index < $3
    AND ($4::timestamptz IS NULL OR recorded_at >= $4)
    AND ($5::timestamptz IS NULL OR recorded_at < $5)
    ORDER BY index DESC LIMIT $6
"""


async def _look_through(
    conn: Connection,
    terms: list[int],
    low: int,
    high: int,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> list[int]:
    rows = await conn.fetch(
        "SELECT index FROM audit_search.found WHERE terms @> $1::bigint[] AND" + _BETWEEN,
        terms,
        low,
        high,
        since,
        until,
        limit,
    )
    return [row["index"] for row in rows]


async def _look_up(
    conn: Connection,
    number: int,
    terms: list[int],
    low: int,
    high: int,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> list[int]:
    # Materialized, because the planner would rather read a partition backwards: it does not know
    # how rare a term is.
    rows = await conn.fetch(
        f"""
        WITH matching AS MATERIALIZED (
            SELECT index, recorded_at FROM audit_search.found_{number:06}
            WHERE terms @> $1::bigint[]
        )
        SELECT index FROM matching WHERE {_BETWEEN}
        """,
        terms,
        low,
        high,
        since,
        until,
        limit,
    )
    return [row["index"] for row in rows]


async def _first_after(conn: Connection, instant: datetime) -> int:
    """The first entry recorded at or after an instant, found by halving the log."""
    low, high = 0, await position(conn)
    while low < high:
        middle = (low + high) // 2
        row = await conn.fetchrow(
            "SELECT index, recorded_at FROM audit_search.found WHERE index <= $1 AND index >= $2"
            " ORDER BY index DESC LIMIT 1",
            middle,
            low,
        )
        if row is None or row["recorded_at"] < instant:
            low = middle + 1
        else:
            high = row["index"]
    return low


async def same_events(conn: Connection, wanted: dict[int, int]) -> dict[int, list[int]]:
    """For entries with the identity of their event, older entries with the same, eight at most."""
    rows = await conn.fetch(
        """
        SELECT asked.index, found.index AS earlier
        FROM unnest($1::bigint[], $2::bigint[]) AS asked (index, identity)
        CROSS JOIN LATERAL (
            SELECT index FROM audit_search.found
            WHERE identity = asked.identity AND index < asked.index ORDER BY index LIMIT 8
        ) AS found
        """,
        list(wanted),
        list(wanted.values()),
    )
    same: dict[int, list[int]] = {}
    for row in rows:
        same.setdefault(row["index"], []).append(row["earlier"])
    return same


async def first_of_events(conn: Connection, identities: Sequence[int]) -> dict[int, int]:
    """The first entry of each event, by its identity; what is not projected is left out."""
    rows = await conn.fetch(
        """
        SELECT asked.identity, found.index
        FROM unnest($1::bigint[]) AS asked (identity)
        CROSS JOIN LATERAL (
            SELECT index FROM audit_search.found
            WHERE identity = asked.identity ORDER BY index LIMIT 1
        ) AS found
        """,
        list(identities),
    )
    return {row["identity"]: row["index"] for row in rows}


async def replace_terms(conn: Connection, terms: dict[int, list[int]]) -> None:
    """Let entries be found by these terms alone, and no longer by their event."""
    await conn.executemany(
        "UPDATE audit_search.found SET terms = $2, identity = NULL WHERE index = $1",
        list(terms.items()),
    )


async def remove_terms(conn: Connection, indexes: Sequence[int], terms: set[int]) -> None:
    """Let entries be found by the rest of their terms only."""
    await conn.execute(
        "UPDATE audit_search.found SET terms = ARRAY(SELECT term FROM unnest(terms) AS term"
        " WHERE term <> ALL($2::bigint[])) WHERE index = ANY($1::bigint[])",
        list(indexes),
        list(terms),
    )


async def erased(conn: Connection) -> list[tuple[str, str, datetime]]:
    """Organization and worker of every erasure, and when it was begun."""
    rows = await conn.fetch("SELECT organization, worker, begun_at FROM audit_log.erasure")
    return [(row["organization"], row["worker"], row["begun_at"]) for row in rows]


async def published(conn: Connection) -> int:
    """The first entry that is not published as OCSF yet; a log that exists begins at its end."""
    found: int = await conn.fetchval(
        "INSERT INTO audit_search.published AS known (position)"
        " SELECT coalesce((SELECT size FROM audit_log.log_head), 0)"
        " ON CONFLICT (singleton) DO UPDATE SET position = known.position RETURNING position"
    )
    return found


async def note_published(conn: Connection, position: int) -> None:
    """Kafka has everything before this entry."""
    await conn.execute("UPDATE audit_search.published SET position = $1", position)


async def footprint(conn: Connection) -> Any:
    """Bytes of the projection with its indexes."""
    return await conn.fetchval(
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class"
        " WHERE relnamespace = 'audit_search'::regnamespace AND relkind = 'r'"
    )
