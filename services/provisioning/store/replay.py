"""Published events beside the tables that they tell of, for one connection's temporary table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from services.provisioning.rules.replay import Told
from services.provisioning.rules.replay_beside import OF_PORTALS
from shared.contracts.facts import to_json
from shared.contracts.topics import ACCESS_EVENTS, DIRECTORY_EVENTS
from shared.postgres import Connection


async def begin(conn: Connection) -> None:
    """Make room for told events; it goes with the connection's next `end` or with itself."""
    await end(conn)
    await conn.execute(
        """
        CREATE TEMPORARY TABLE told (
            seq bigint GENERATED ALWAYS AS IDENTITY,
            id text NOT NULL,
            type text NOT NULL,
            time timestamptz NOT NULL,
            worker text NOT NULL,
            data json NOT NULL
        );
        CREATE INDEX ON told (worker);
        CREATE TEMPORARY TABLE told_hr (
            worker text NOT NULL,
            source text NOT NULL,
            id text NOT NULL,
            fingerprint bytea NOT NULL
        );
        CREATE INDEX ON told_hr (worker);
        CREATE TEMPORARY TABLE told_directory (
            subject text NOT NULL,
            version integer NOT NULL,
            object json
        );
        """
    )


async def end(conn: Connection) -> None:
    """Forget what was told."""
    await conn.execute("DROP TABLE IF EXISTS pg_temp.told, pg_temp.told_hr, pg_temp.told_directory")


async def add_told(conn: Connection, events: Sequence[tuple[str, Told]]) -> None:
    """Keep (worker, event) in the order in which they come."""
    await conn.copy_records_to_table(
        "told",
        schema_name="pg_temp",
        columns=("id", "type", "time", "worker", "data"),
        records=[(one.id, one.type, one.time, worker, one.data) for worker, one in events],
    )


async def add_told_hr(conn: Connection, events: Sequence[tuple[str, str, str, bytes]]) -> None:
    """Keep (worker, source, id, fingerprint) of HR events."""
    await conn.copy_records_to_table(
        "told_hr",
        schema_name="pg_temp",
        columns=("worker", "source", "id", "fingerprint"),
        records=list(events),
    )


async def add_told_directory(conn: Connection, objects: Sequence[tuple[str, int, Any]]) -> None:
    """Keep (kind/id, version, object) of directory events; None for what was removed."""
    await conn.copy_records_to_table(
        "told_directory",
        schema_name="pg_temp",
        columns=("subject", "version", "object"),
        records=list(objects),
    )


async def told_directory(conn: Connection, organization: str, version: int) -> dict[str, Any]:
    """The objects of a directory's version by kind/id, as events told them or wait to."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT ON (subject) subject, object FROM (
            SELECT subject, version, object FROM pg_temp.told_directory
            UNION ALL
            SELECT headers ->> 'ce_subject', (headers ->> 'ce_version')::int, object
            FROM (
                SELECT convert_from(headers, 'UTF8')::json AS headers,
                       convert_from(value, 'UTF8')::json AS object
                FROM outbox WHERE topic = $1 AND key LIKE $2
            ) AS waiting
        ) AS told
        WHERE version <= $3 ORDER BY subject, version DESC
        """,
        DIRECTORY_EVENTS.name,
        f"{organization}/%",
        version,
    )
    return {row["subject"]: row["object"] for row in rows if row["object"] is not None}


def instant(text: str) -> datetime:
    """An event's time as its header has it."""
    return datetime.fromisoformat(text)


async def told(conn: Connection, workers: Sequence[str]) -> list[tuple[str, Told]]:
    """(worker, event) of what was told of these workers, each event once, in order."""
    rows = await conn.fetch(
        """
        SELECT worker, id, type, time, data FROM (
            SELECT DISTINCT ON (id) seq, worker, id, type, time, data FROM pg_temp.told
            WHERE worker = ANY($1::text[]) ORDER BY id, seq
        ) AS once ORDER BY time, seq
        """,
        list(workers),
    )
    return [(row["worker"], Told(row["id"], row["type"], row["time"], row["data"])) for row in rows]


async def erased(conn: Connection, organization: str, workers: Sequence[str]) -> set[str]:
    """Those of these workers whose records were erased: nothing can be told of them."""
    rows = await conn.fetch(
        "SELECT worker FROM worker WHERE organization = $1 AND worker = ANY($2::text[])"
        " AND status = 'erased'",
        organization,
        list(workers),
    )
    return {row["worker"] for row in rows}


async def unpublished(conn: Connection, keys: Sequence[str]) -> list[tuple[dict[str, str], Any]]:
    """Headers and data of access events with these keys that the relay has yet to publish."""
    rows = await conn.fetch(
        """
        SELECT convert_from(headers, 'UTF8')::json AS headers,
               convert_from(value, 'UTF8')::json AS value
        FROM outbox WHERE topic = $1 AND key = ANY($2::text[]) ORDER BY id
        """,
        ACCESS_EVENTS.name,
        list(keys),
    )
    return [(row["headers"], row["value"]) for row in rows]


TOLD_OR_WAITING = """
    SELECT id, type, time, data FROM pg_temp.told
    UNION ALL
    SELECT headers ->> 'ce_id', headers ->> 'ce_type', (headers ->> 'ce_time')::timestamptz, value
    FROM (
        SELECT convert_from(headers, 'UTF8')::json AS headers,
               convert_from(value, 'UTF8')::json AS value
        FROM outbox WHERE topic = $1 AND key LIKE $2 || '/%'
    ) AS waiting
"""
"""What an organization's log tells and what waits for the relay, some of it twice."""


async def told_of_portals(conn: Connection, organization: str) -> list[Told]:
    """What was told of portals themselves, each once and in order."""
    rows = await conn.fetch(
        f"""
        SELECT DISTINCT ON (time, id) id, type, time, data FROM ({TOLD_OR_WAITING}) AS said
        WHERE type = ANY($3::text[]) ORDER BY time, id
        """,
        ACCESS_EVENTS.name,
        organization,
        sorted(OF_PORTALS),
    )
    return [Told(row["id"], row["type"], row["time"], row["data"]) for row in rows]


async def told_of_adoptions(conn: Connection, organization: str) -> dict[str, datetime]:
    """When the first login of each portal was told to be taken over from a sheet."""
    rows = await conn.fetch(
        f"""
        SELECT data ->> 'portal' AS portal, min(time) AS first FROM ({TOLD_OR_WAITING}) AS said
        WHERE type = $3 AND data ->> 'account' IS NOT NULL GROUP BY 1
        """,
        ACCESS_EVENTS.name,
        organization,
        "account.adopted",
    )
    return {row["portal"]: row["first"] for row in rows}


async def outages(conn: Connection, organization: str) -> dict[str, Any]:
    """Every outage by its id, as JSON."""
    rows = await conn.fetch(
        "SELECT outage_id::text AS outage_id, portal, kind, note, started_by, started_at,"
        " ended_by, ended_at FROM outage WHERE organization = $1",
        organization,
    )
    return {row["outage_id"]: orjson.loads(to_json(dict(row))) for row in rows}


async def incidents(conn: Connection, organization: str) -> frozenset[str]:
    """The ids of every incident."""
    rows = await conn.fetch(
        "SELECT incident_id::text AS id FROM incident WHERE organization = $1", organization
    )
    return frozenset(row["id"] for row in rows)


async def operations(conn: Connection, organization: str, workers: Sequence[str]) -> list[Any]:
    """Every operation of these workers."""
    rows: list[Any] = await conn.fetch(
        "SELECT * FROM operation WHERE organization = $1 AND worker = ANY($2::text[])",
        organization,
        list(workers),
    )
    return rows


async def chores(conn: Connection, organization: str, workers: Sequence[str]) -> list[Any]:
    """Every chore that concerns these workers."""
    rows: list[Any] = await conn.fetch(
        "SELECT * FROM chore WHERE organization = $1 AND worker = ANY($2::text[])",
        organization,
        list(workers),
    )
    return rows


async def unsettled(
    conn: Connection, organization: str, workers: Sequence[str], now: datetime
) -> set[str]:
    """Those of these workers about whom something has yet to be decided."""
    rows = await conn.fetch(
        """
        SELECT worker FROM worker JOIN directory_head USING (organization)
        WHERE organization = $1 AND worker = ANY($2::text[])
          AND (worker.directory_version < directory_head.version OR next_change_at <= $3)
        UNION SELECT worker FROM undecided
        WHERE organization = $1 AND worker = ANY($2::text[])
        UNION SELECT worker FROM recompute_request
        WHERE organization = $1 AND worker = ANY($2::text[])
        """,
        organization,
        list(workers),
        now,
    )
    return {row["worker"] for row in rows}


async def compare_timelines(
    conn: Connection, organization: str, workers: Sequence[str]
) -> list[Any]:
    """HR events of these workers that only the timeline has, or only the log."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT coalesce(kept.worker, told.worker) AS worker, source, id,
               told.worker IS NOT NULL AS told
        FROM (SELECT * FROM worker_event
              WHERE organization = $1 AND worker = ANY($2::text[])) AS kept
        FULL JOIN (SELECT DISTINCT * FROM pg_temp.told_hr
                   WHERE worker = ANY($2::text[])) AS told USING (source, id, fingerprint)
        WHERE kept.worker IS NULL OR told.worker IS NULL
        ORDER BY 1, source, id
        """,
        organization,
        list(workers),
    )
    return rows


async def told_of_nobody(conn: Connection, organization: str) -> list[str]:
    """Workers that events were told of, and that have no row."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT told.worker FROM pg_temp.told
        LEFT JOIN worker ON worker.organization = $1 AND worker.worker = told.worker
        WHERE worker.worker IS NULL AND told.type LIKE 'operation.%' ORDER BY 1 LIMIT 100
        """,
        organization,
    )
    return [row["worker"] for row in rows]
