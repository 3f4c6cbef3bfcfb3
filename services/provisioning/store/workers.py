"""Worker rows: locking them with all their aliases, finding who must be decided about, writing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.provisioning.rules.facts import Standing
from services.provisioning.store.encoding import json_text
from shared.contracts.state import (
    Finding,
)
from shared.postgres import Connection, TryAgain
from shared.values import value_class

WorkerKey = tuple[str, str]
"""(organization, worker)."""


@value_class(frozen=True, slots=True)
class LockedWorker:
    """A worker row, locked for this transaction."""

    organization: str
    worker: str
    cluster: str
    epoch: int
    version: int
    as_of: datetime | None
    directory_version: int
    findings: frozenset[Finding]
    digest: bytes | None
    portals: bytes
    """What the published state says of portals, as JSON."""
    standing: Standing | None

    @property
    def key(self) -> WorkerKey:
        """(organization, worker)."""
        return (self.organization, self.worker)


async def lock_workers(
    conn: Connection, keys: Iterable[WorkerKey], merges: Iterable[tuple[str, str, str]] = ()
) -> list[LockedWorker]:
    """Lock these workers with every id ever merged with them, creating rows that are missing.

    Args:
        merges: (organization, worker, previous worker) newly heard of; their ids stay together
            from now on, whatever is withdrawn later.

    Raises:
        TryAgain: the set grew while waiting for the locks.
    """
    merges = list(merges)
    wanted = sorted({*keys, *((org, id_) for org, one, other in merges for id_ in (one, other))})
    await _insert_missing(conn, wanted)
    locked = await _lock_clusters(conn, wanted)
    if merges and await _join_clusters(conn, locked, merges):
        locked = await _lock_clusters(conn, wanted)
    return locked


async def _insert_missing(conn: Connection, wanted: Sequence[WorkerKey]) -> None:
    organizations, workers = [key[0] for key in wanted], [key[1] for key in wanted]
    found = await conn.fetchval(
        """
        SELECT count(*) FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker)
        JOIN worker USING (organization, worker)
        """,
        organizations,
        workers,
    )
    if found < len(wanted):
        await conn.execute(
            """
            INSERT INTO worker (organization, worker, cluster)
            SELECT organization, worker, worker
            FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker)
            ORDER BY organization, worker
            ON CONFLICT DO NOTHING
            """,
            organizations,
            workers,
        )


async def _lock_clusters(conn: Connection, wanted: Sequence[WorkerKey]) -> list[LockedWorker]:
    organizations, workers = [key[0] for key in wanted], [key[1] for key in wanted]
    rows = await conn.fetch(
        """
        SELECT organization, worker, cluster, epoch, version, as_of, directory_version, findings,
               digest, portals::text, portals_basis, portals_change_at
        FROM worker
        WHERE (organization, cluster) IN (
            SELECT organization, cluster
            FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker)
            JOIN worker USING (organization, worker)
        )
        ORDER BY organization, worker
        FOR UPDATE
        """,
        organizations,
        workers,
    )
    locked = [worker_from(row) for row in rows]
    # Somebody may have merged one of these with another id while we waited: the rows returned
    # after waiting then carry a cluster whose other members were not selected.
    complete = {row.key for row in locked}
    if any(key not in complete for key in wanted):
        raise TryAgain("a worker changed its cluster while its lock was awaited")
    members = await conn.fetchval(
        """
        SELECT count(*) FROM worker WHERE (organization, cluster) IN (
            SELECT DISTINCT organization, cluster
            FROM unnest($1::text[], $2::text[]) AS held (organization, cluster)
        )
        """,
        [row.organization for row in locked],
        [row.cluster for row in locked],
    )
    if members != len(locked):
        raise TryAgain("a cluster grew while its lock was awaited")
    return locked


def worker_from(row: Any) -> LockedWorker:
    """The worker in a row of the table."""
    return LockedWorker(
        row["organization"],
        row["worker"],
        row["cluster"],
        row["epoch"],
        row["version"],
        row["as_of"],
        row["directory_version"],
        frozenset(Finding(rule, detail) for rule, detail in row["findings"]),
        row["digest"],
        row["portals"].encode(),
        Standing(row["portals_basis"], row["portals_change_at"]) if row["portals_basis"] else None,
    )


async def _join_clusters(
    conn: Connection, locked: Sequence[LockedWorker], merges: Sequence[tuple[str, str, str]]
) -> bool:
    cluster_of = {row.key: row.cluster for row in locked}
    changed = False
    for organization, worker, previous in merges:
        one, other = cluster_of[organization, worker], cluster_of[organization, previous]
        if one != other:
            keep, drop = sorted((one, other))
            cluster_of.update(
                {
                    key: keep
                    for key, cluster in cluster_of.items()
                    if key[0] == organization and cluster == drop
                }
            )
            await conn.execute(
                "UPDATE worker SET cluster = $3 WHERE organization = $1 AND cluster = $2",
                organization,
                drop,
                keep,
            )
            changed = True
    return changed


async def is_known(conn: Connection, organization: str, worker: str) -> bool:
    """Whether HR has sent anything about the worker."""
    known: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM worker WHERE organization = $1 AND worker = $2"
        " AND state IS NOT NULL)",
        organization,
        worker,
    )
    return known


async def due_workers(conn: Connection, now: datetime, limit: int) -> list[WorkerKey]:
    """Workers for whom a dated input has come due; nothing is locked."""
    rows = await conn.fetch(
        "SELECT organization, worker FROM worker WHERE next_change_at <= $1"
        " ORDER BY next_change_at LIMIT $2",
        now,
        limit,
    )
    return [(row["organization"], row["worker"]) for row in rows]


async def workers_behind(conn: Connection, limit: int) -> list[WorkerKey]:
    """Workers last decided with an older directory, or before another worker's change."""
    rows = await conn.fetch(
        """
        (SELECT organization, worker FROM recompute_request LIMIT $1)
        UNION
        (SELECT worker.organization, worker.worker
         FROM directory_head JOIN worker
           ON worker.organization = directory_head.organization
          AND worker.directory_version < directory_head.version
         LIMIT $1)
        UNION
        (SELECT sponsorship.organization, sponsorship.worker
         FROM sponsorship
         JOIN worker USING (organization, worker)
         JOIN worker AS sponsor
           ON sponsor.organization = sponsorship.organization
          AND sponsor.worker = sponsorship.sponsor
          AND sponsorship.has_left <> (sponsor.status IN ('terminated', 'erased'))
         WHERE worker.status <> 'erased'
         LIMIT $1)
        LIMIT $1
        """,
        limit,
    )
    return [(row["organization"], row["worker"]) for row in rows]


async def count_behind(conn: Connection) -> int:
    """How many workers somebody has yet to decide about, for news, a directory, or a date."""
    count: int = await conn.fetchval(
        """
        SELECT (SELECT count(DISTINCT (organization, worker)) FROM recompute_request)
             + (SELECT count(DISTINCT (organization, worker)) FROM undecided)
             + (SELECT count(*) FROM directory_head JOIN worker
                  ON worker.organization = directory_head.organization
                 AND worker.directory_version < directory_head.version)
             + (SELECT count(*) FROM worker WHERE next_change_at <= clock_timestamp())
        """
    )
    return count


async def have_left(conn: Connection, keys: Iterable[WorkerKey]) -> set[WorkerKey]:
    """Who of these works here no more; nothing is locked, and the sweep looks again."""
    wanted = sorted(set(keys))
    rows = await conn.fetch(
        """
        SELECT organization, worker FROM worker
        WHERE (organization, worker) IN (SELECT * FROM unnest($1::text[], $2::text[]))
          AND status IN ('terminated', 'erased')
        """,
        [key[0] for key in wanted],
        [key[1] for key in wanted],
    )
    return {(row["organization"], row["worker"]) for row in rows}


async def note_sponsors(
    conn: Connection, noted: Sequence[tuple[WorkerKey, Mapping[str, bool]]]
) -> None:
    """Keep who answers for these locked workers, and whether they had left by this decision."""
    rows = [(*key, sponsor, left) for key, sponsors in noted for sponsor, left in sponsors.items()]
    await conn.execute(
        """
        INSERT INTO sponsorship (organization, worker, sponsor, has_left)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
        ON CONFLICT (organization, worker, sponsor) DO UPDATE SET has_left = excluded.has_left
        WHERE sponsorship.has_left <> excluded.has_left
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def request_recompute(conn: Connection, keys: Iterable[WorkerKey]) -> None:
    """Ask the sweep to decide about workers that this transaction has not locked."""
    wanted = sorted(set(keys))
    await conn.execute(
        """
        INSERT INTO recompute_request (organization, worker)
        SELECT * FROM unnest($1::text[], $2::text[])
        """,
        [key[0] for key in wanted],
        [key[1] for key in wanted],
    )


async def forget_recompute_requests(conn: Connection, keys: Sequence[WorkerKey]) -> None:
    """These locked workers are decided about now, with everything that has committed by now."""
    await conn.execute(
        """
        DELETE FROM recompute_request
        WHERE (organization, worker) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )


@dataclass(slots=True)
class WorkerUpdate:
    """What a decision leaves in a worker row.

    `state` is None when only the bookkeeping moved, `portals` when it says the same of them.
    """

    key: WorkerKey
    as_of: datetime
    next_change_at: datetime | None
    directory_version: int
    standing: Standing | None
    version: int
    status: str
    name: str | None
    merged_into: str | None
    findings: Sequence[Finding]
    digest: bytes
    state: bytes | None
    portals: bytes | None


async def save_workers(conn: Connection, updates: Sequence[WorkerUpdate]) -> None:
    """Write decided workers; those whose published state did not change keep it."""
    await _save_bookkeeping(conn, [update for update in updates if update.state is None])
    await _save_states(conn, [update for update in updates if update.state is not None])


async def _save_bookkeeping(conn: Connection, updates: Sequence[WorkerUpdate]) -> None:
    if updates:
        await conn.execute(
            """
            UPDATE worker SET as_of = new.as_of, next_change_at = new.next_change_at,
                directory_version = new.directory_version, portals_basis = new.portals_basis,
                portals_change_at = new.portals_change_at
            FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::int[],
                        $6::bytea[], $7::timestamptz[])
                AS new (organization, worker, as_of, next_change_at, directory_version,
                        portals_basis, portals_change_at)
            WHERE worker.organization = new.organization AND worker.worker = new.worker
            """,
            *_bookkeeping(updates),
        )


async def _save_states(conn: Connection, updates: Sequence[WorkerUpdate]) -> None:
    if updates:
        await conn.execute(
            """
            UPDATE worker SET as_of = new.as_of, next_change_at = new.next_change_at,
                directory_version = new.directory_version, portals_basis = new.portals_basis,
                portals_change_at = new.portals_change_at, version = new.version,
                status = new.status, name = new.name, merged_into = new.merged_into,
                findings = new.findings::jsonb, digest = new.digest, state = new.state::json,
                portals = coalesce(new.portals::json, worker.portals)
            FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::int[],
                        $6::bytea[], $7::timestamptz[], $8::bigint[], $9::text[], $10::text[],
                        $11::text[], $12::text[], $13::bytea[], $14::text[], $15::text[])
                AS new (organization, worker, as_of, next_change_at, directory_version,
                        portals_basis, portals_change_at, version, status, name, merged_into,
                        findings, digest, state, portals)
            WHERE worker.organization = new.organization AND worker.worker = new.worker
            """,
            *_bookkeeping(updates),
            [update.version for update in updates],
            [update.status for update in updates],
            [update.name for update in updates],
            [update.merged_into for update in updates],
            [json_text([[f.rule, f.detail] for f in update.findings]) for update in updates],
            [update.digest for update in updates],
            [None if update.state is None else update.state.decode() for update in updates],
            [None if update.portals is None else update.portals.decode() for update in updates],
        )


def _bookkeeping(updates: Sequence[WorkerUpdate]) -> list[list[Any]]:
    return [
        [update.key[0] for update in updates],
        [update.key[1] for update in updates],
        [update.as_of for update in updates],
        [update.next_change_at for update in updates],
        [update.directory_version for update in updates],
        [update.standing.basis if update.standing else None for update in updates],
        [update.standing.change_at if update.standing else None for update in updates],
    ]
