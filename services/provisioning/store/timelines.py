"""HR events as they were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import orjson

from services.provisioning.rules.timeline import TimelineEvent
from services.provisioning.store.undecided import shard_of
from services.provisioning.store.workers import LockedWorker, WorkerKey
from shared.contracts.hr import HrEvent
from shared.postgres import Connection, TryAgain


async def contents_of(
    conn: Connection, events: Sequence[HrEvent]
) -> dict[tuple[str, str, str], set[bytes]]:
    """Fingerprints stored under the (organization, source, id) of these events."""
    rows = await conn.fetch(
        """
        SELECT organization, source, id, fingerprint
        FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (organization, source, id),
            LATERAL (
                SELECT fingerprint FROM worker_event AS event
                WHERE event.organization = wanted.organization
                  AND event.source = wanted.source AND event.id = wanted.id
                OFFSET 0
            ) AS stored
        """,
        [event.organization for event in events],
        [event.source for event in events],
        [event.id for event in events],
    )
    found: dict[tuple[str, str, str], set[bytes]] = {}
    for organization, source, id_, fingerprint in rows:
        found.setdefault((organization, source, id_), set()).add(fingerprint)
    return found


async def add_events(
    conn: Connection,
    events: Sequence[tuple[HrEvent, datetime | None, str]],
    variants: Sequence[int],
    *,
    lane: str,
    now: datetime,
) -> None:
    """Store (event, effective instant, zone), none of which is stored yet.

    Args:
        variants: for each, how many other events its source has given the same id before.

    Raises:
        TryAgain: somebody else has just stored one of these ids.
    """
    try:
        await conn.copy_records_to_table(
            "worker_event",
            columns=(
                "organization",
                "source",
                "id",
                "fingerprint",
                "worker",
                "type",
                "time",
                "effective_at",
                "zone",
                "data",
                "entered_by",
                "variant",
                "conflicting",
                "lane",
                "recorded_at",
            ),
            records=[
                (
                    event.organization,
                    event.source,
                    event.id,
                    event.fingerprint,
                    event.worker,
                    event.type,
                    event.time,
                    effective_at,
                    zone,
                    orjson.Fragment(event.canonical),
                    event.entered_by,
                    variant,
                    variant > 0,
                    lane,
                    now,
                )
                for (event, effective_at, zone), variant in zip(events, variants, strict=True)
            ],
        )
    except asyncpg.UniqueViolationError as error:
        raise TryAgain("somebody else has just stored one of these events") from error


async def mark_conflicts(conn: Connection, events: Sequence[HrEvent]) -> list[WorkerKey]:
    """Mark events that share source and id with other content; the workers they concern."""
    rows = await conn.fetch(
        """
        UPDATE worker_event AS event SET conflicting = true
        FROM (
            SELECT organization, source, id FROM worker_event
            WHERE (organization, source, id) IN (
                SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
            )
            GROUP BY organization, source, id HAVING count(*) > 1
        ) AS doubled
        WHERE event.organization = doubled.organization AND event.source = doubled.source
          AND event.id = doubled.id AND NOT event.conflicting
        RETURNING event.organization, event.worker
        """,
        [event.organization for event in events],
        [event.source for event in events],
        [event.id for event in events],
    )
    return [(row["organization"], row["worker"]) for row in rows]


_OF_WANTED = """
    SELECT event.* FROM wanted,
        LATERAL (
            SELECT organization, worker, source, id, fingerprint, type, time, effective_at,
                   data, entered_by, conflicting
            FROM worker_event AS event
            WHERE event.organization = wanted.organization AND event.worker = wanted.worker
            OFFSET 0
        ) AS event
"""


async def timelines(
    conn: Connection, workers: Sequence[LockedWorker]
) -> dict[WorkerKey, list[TimelineEvent]]:
    """Every stored event of these workers, for looking only."""
    rows = await conn.fetch(
        """
        WITH wanted AS (
            SELECT * FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker)
        )
        """
        + _OF_WANTED,
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[TimelineEvent]] = {}
    for organization, *said in rows:
        event = TimelineEvent(*said)
        found.setdefault((organization, event.worker), []).append(event)
    return found


async def timelines_to_decide(
    conn: Connection, workers: Sequence[LockedWorker]
) -> tuple[dict[WorkerKey, list[TimelineEvent]], dict[WorkerKey, tuple[str, ...]]]:
    """Every stored event of these locked workers, and the ids of those nobody had decided about.

    The caller decides about them now. One statement, so that what is taken as undecided is among
    the events: they are stored by transactions that hold no lock on the worker.
    """
    rows = await conn.fetch(
        """
        WITH wanted AS MATERIALIZED (
            SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[])
                AS wanted (shard, organization, worker)
        ), taken AS (
            DELETE FROM undecided WHERE ctid = ANY (ARRAY(
                SELECT heard.place FROM wanted, LATERAL (
                    SELECT ctid AS place FROM undecided
                    WHERE undecided.shard = wanted.shard
                      AND undecided.organization = wanted.organization
                      AND undecided.worker = wanted.worker
                    OFFSET 0
                ) AS heard
            ))
            RETURNING organization, worker, events
        ), event AS (
        """
        + _OF_WANTED
        + """
        )
        SELECT *, NULL FROM event
        UNION ALL
        SELECT organization, worker, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, events
        FROM taken
        """,
        [shard_of(worker.key) for worker in workers],
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[TimelineEvent]] = {}
    undecided: dict[WorkerKey, tuple[str, ...]] = {}
    for organization, *said, ids in rows:
        if ids is None:
            event = TimelineEvent(*said)
            found.setdefault((organization, event.worker), []).append(event)
        else:
            key = (organization, said[0])
            undecided[key] = (*undecided.get(key, ()), *ids)
    return found, undecided
