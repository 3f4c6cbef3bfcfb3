"""Locking, loading and writing what decisions and commands need, set-based.

`LATERAL (... OFFSET 0)` is one index lookup per wanted row, whatever the planner believes of a
table that has grown since anybody analyzed it: it would read all of it for each batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from services.provisioning.rules.decide import ReviewRemoval, Standing
from services.provisioning.rules.desired import Removal
from services.provisioning.rules.guards import AdministratorStanding
from services.provisioning.rules.operations import Account, Operation, Target
from services.provisioning.rules.timeline import TimelineEvent
from shared.contracts.directory import Function, OperationKind, Step
from shared.contracts.hr import HrEvent
from shared.contracts.state import (
    AccountStatus,
    AuthorizedBy,
    Entitlement,
    Finding,
    Grade,
    OperationStatus,
)
from shared.postgres import Connection, TryAgain
from shared.values import value_class

WorkerKey = tuple[str, str]
"""(organization, worker)."""

OPEN = ("requested", "claimed", "superseded")


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


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


# -- workers


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
    locked = [
        LockedWorker(
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
            Standing(row["portals_basis"], row["portals_change_at"])
            if row["portals_basis"]
            else None,
        )
        for row in rows
    ]
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
    """Workers last decided with an older directory, or asked for by another worker's change."""
    rows = await conn.fetch(
        """
        (SELECT organization, worker FROM recompute_request LIMIT $1)
        UNION
        (SELECT worker.organization, worker.worker
         FROM directory_head JOIN worker
           ON worker.organization = directory_head.organization
          AND worker.directory_version < directory_head.version
         LIMIT $1)
        LIMIT $1
        """,
        limit,
    )
    return [(row["organization"], row["worker"]) for row in rows]


async def count_behind(conn: Connection) -> int:
    """How many workers the sweep has yet to look at."""
    count: int = await conn.fetchval(
        """
        SELECT (SELECT count(DISTINCT (organization, worker)) FROM recompute_request)
             + (SELECT count(*) FROM directory_head JOIN worker
                  ON worker.organization = directory_head.organization
                 AND worker.directory_version < directory_head.version)
             + (SELECT count(*) FROM worker WHERE next_change_at <= clock_timestamp())
        """
    )
    return count


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
            [_json([[f.rule, f.detail] for f in update.findings]) for update in updates],
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


# -- timelines


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
    contradicts: Sequence[bool],
    *,
    lane: str,
    now: datetime,
) -> None:
    """Store (event, effective instant, zone), none of which is stored yet.

    Args:
        contradicts: for each, whether its source has used its id for something else before.

    Raises:
        TryAgain: somebody else has just stored one of these ids with other content.
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
                    conflicting,
                    lane,
                    now,
                )
                for (event, effective_at, zone), conflicting in zip(
                    events, contradicts, strict=True
                )
            ],
        )
    except asyncpg.UniqueViolationError as error:
        raise TryAgain("an id was given to two events at once") from error


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


async def timelines(
    conn: Connection, workers: Sequence[LockedWorker]
) -> dict[WorkerKey, list[TimelineEvent]]:
    """Every stored event of these workers."""
    rows = await conn.fetch(
        """
        SELECT event.*
        FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker),
            LATERAL (
                SELECT organization, worker, source, id, fingerprint, type, time, effective_at,
                       data, entered_by, conflicting
                FROM worker_event AS event
                WHERE event.organization = wanted.organization AND event.worker = wanted.worker
                OFFSET 0
            ) AS event
        """,
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[TimelineEvent]] = {}
    for organization, *said in rows:
        event = TimelineEvent(*said)
        found.setdefault((organization, event.worker), []).append(event)
    return found


# -- accounts and operations


def _account(row: Any) -> Account:
    return Account(
        row["worker"],
        row["portal"],
        AccountStatus(row["status"]),
        Grade(row["grade"]) if row["grade"] else None,
        row["login_id"],
        {
            (own["tin"], Function(own["function"])): Entitlement(
                own["tin"],
                Function(own["function"]),
                AuthorizedBy(**own["authorized_by"]) if own["authorized_by"] else None,
                Grade(own["grade"]),
                datetime.fromisoformat(own["since"]),
                own["operation_id"],
            )
            for own in row["rights"]
        },
        {
            key: Target(
                target["generation"],
                OperationKind(target["retry_kind"]) if target["retry_kind"] else None,
                datetime.fromisoformat(target["retry_at"]) if target["retry_at"] else None,
            )
            for key, target in row["targets"].items()
        },
        row["exposed_since"],
    )


async def accounts(
    conn: Connection, workers: Sequence[LockedWorker]
) -> dict[WorkerKey, list[Account]]:
    """The accounts of these workers."""
    rows = await conn.fetch(
        """
        SELECT account.*
        FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker),
            LATERAL (
                SELECT * FROM account
                WHERE account.organization = wanted.organization
                  AND account.worker = wanted.worker
                OFFSET 0
            ) AS account
        """,
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[Account]] = {}
    for row in rows:
        found.setdefault((row["organization"], row["worker"]), []).append(_account(row))
    return found


async def add_accounts(conn: Connection, begun: Sequence[tuple[str, Account]]) -> None:
    """Store (organization, account), none of which is stored yet."""
    if not begun:
        return
    await conn.copy_records_to_table(
        "account",
        columns=(
            "organization",
            "worker",
            "portal",
            "status",
            "grade",
            "login_id",
            "rights",
            "targets",
            "exposed_since",
        ),
        records=[
            (
                organization,
                account.worker,
                account.portal,
                account.status,
                account.grade,
                account.login_id,
                list(account.rights.values()),
                account.targets,
                account.exposed_since,
            )
            for organization, account in begun
        ],
    )


async def save_accounts(conn: Connection, changed: Sequence[tuple[str, Account]]) -> None:
    """Write (organization, account)."""
    if not changed:
        return
    await conn.execute(
        """
        INSERT INTO account (organization, worker, portal, status, grade, login_id, rights,
            targets, exposed_since)
        SELECT * FROM json_to_recordset($1::text::json)
            AS new (organization text, worker text, portal text, status text, grade text,
                    login_id text, rights jsonb, targets jsonb, exposed_since timestamptz)
        ON CONFLICT (organization, worker, portal) DO UPDATE SET
            status = excluded.status, grade = excluded.grade, login_id = excluded.login_id,
            rights = excluded.rights, targets = excluded.targets,
            exposed_since = excluded.exposed_since
        """,
        _json(
            [
                {
                    "organization": organization,
                    "worker": account.worker,
                    "portal": account.portal,
                    "status": account.status,
                    "grade": account.grade,
                    "login_id": account.login_id,
                    "rights": list(account.rights.values()),
                    "targets": account.targets,
                    "exposed_since": account.exposed_since,
                }
                for organization, account in changed
            ]
        ),
    )


def operation_from(row: Any) -> Operation:
    """The operation in a row of the table."""
    return Operation(
        operation_id=str(row["operation_id"]),
        worker=row["worker"],
        portal=row["portal"],
        kind=OperationKind(row["kind"]),
        tin=row["tin"],
        function=Function(row["function"]) if row["function"] else None,
        generation=row["generation"],
        status=OperationStatus(row["status"]),
        rights=tuple((tin, Function(function)) for tin, function in row["rights"]),
        authorized_by=AuthorizedBy(**row["authorized_by"]) if row["authorized_by"] else None,
        rule=row["rule"],
        events=tuple(row["events"]),
        steps=tuple(Step.model_construct(**step) for step in row["steps"]),
        requested_at=row["requested_at"],
        deadline=row["deadline"],
        rank=row["rank"],
        claimed_by=row["claimed_by"],
        overdue=row["overdue"],
    )


async def open_operations(
    conn: Connection, workers: Sequence[LockedWorker]
) -> dict[WorkerKey, list[Operation]]:
    """The operations of these workers that have not ended."""
    rows = await conn.fetch(
        """
        SELECT operation.*
        FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker),
            LATERAL (
                SELECT * FROM operation
                WHERE operation.organization = wanted.organization
                  AND operation.worker = wanted.worker
                OFFSET 0
            ) AS operation
        WHERE operation.status IN ('requested', 'claimed', 'superseded')
        """,
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[Operation]] = {}
    for row in rows:
        found.setdefault((row["organization"], row["worker"]), []).append(operation_from(row))
    return found


async def add_operations(conn: Connection, ordered: Sequence[tuple[str, Operation]]) -> None:
    """Store (organization, operation), none of which is stored yet."""
    if not ordered:
        return
    await conn.copy_records_to_table(
        "operation",
        columns=(
            "operation_id",
            "organization",
            "worker",
            "portal",
            "kind",
            "tin",
            "function",
            "generation",
            "status",
            "rights",
            "authorized_by",
            "rule",
            "events",
            "steps",
            "requested_at",
            "deadline",
            "rank",
            "claimed_by",
            "overdue",
        ),
        records=[
            (
                operation.operation_id,
                organization,
                operation.worker,
                operation.portal,
                operation.kind,
                operation.tin,
                operation.function,
                operation.generation,
                operation.status,
                operation.rights,
                operation.authorized_by,
                operation.rule,
                operation.events,
                [step.__dict__ for step in operation.steps],
                operation.requested_at,
                operation.deadline,
                operation.rank,
                operation.claimed_by,
                operation.overdue,
            )
            for organization, operation in ordered
        ],
    )


async def save_operations(
    conn: Connection, changed: Sequence[tuple[str, Operation]], now: datetime
) -> None:
    """Write (organization, operation); one that ends gets its time."""
    if not changed:
        return
    await conn.execute(
        """
        INSERT INTO operation (operation_id, organization, worker, portal, kind, tin, function,
            generation, status, rights, authorized_by, rule, events, steps, requested_at,
            deadline, rank, claimed_by, overdue, ended_at)
        SELECT operation_id, organization, worker, portal, kind, tin, function, generation,
               status, rights, authorized_by, rule, events, steps, requested_at, deadline, rank,
               claimed_by, overdue,
               CASE WHEN status IN ('requested', 'claimed', 'superseded') THEN NULL
                    ELSE $2::timestamptz END
        FROM json_to_recordset($1::text::json)
            AS new (operation_id uuid, organization text, worker text, portal text, kind text,
                    tin text, function text, generation int, status text, rights jsonb,
                    authorized_by jsonb, rule text, events text[], steps jsonb,
                    requested_at timestamptz, deadline timestamptz, rank int, claimed_by text,
                    overdue boolean)
        ON CONFLICT (operation_id) DO UPDATE SET
            status = excluded.status, claimed_by = excluded.claimed_by,
            overdue = excluded.overdue, ended_at = excluded.ended_at
        """,
        _json(
            [
                {
                    "operation_id": operation.operation_id,
                    "organization": organization,
                    "worker": operation.worker,
                    "portal": operation.portal,
                    "kind": operation.kind,
                    "tin": operation.tin,
                    "function": operation.function,
                    "generation": operation.generation,
                    "status": operation.status,
                    "rights": operation.rights,
                    "authorized_by": operation.authorized_by,
                    "rule": operation.rule,
                    "events": operation.events,
                    "steps": [step.__dict__ for step in operation.steps],
                    "requested_at": operation.requested_at,
                    "deadline": operation.deadline,
                    "rank": operation.rank,
                    "claimed_by": operation.claimed_by,
                    "overdue": operation.overdue,
                }
                for organization, operation in changed
            ]
        ),
        now,
    )


async def find_operation(conn: Connection, organization: str, operation_id: str) -> Any | None:
    """One operation's row, unlocked: its worker must be locked before anything is decided."""
    return await conn.fetchrow(
        "SELECT * FROM operation WHERE organization = $1 AND operation_id = $2::uuid",
        organization,
        operation_id,
    )


async def save_step(conn: Connection, operation_id: str, index: int, by: str, at: datetime) -> None:
    """Remember that a step of an operation was taken, by whom and when."""
    await conn.execute(
        "UPDATE operation SET steps_done = steps_done || $2 WHERE operation_id = $1::uuid",
        operation_id,
        {str(index): {"done_by": by, "done_at": at.isoformat()}},
    )


async def save_outcome(
    conn: Connection, operation_id: str, evidence: Mapping[str, str] | None, outcome: str
) -> None:
    """Keep the evidence an operation ended with, and what was said."""
    await conn.execute(
        "UPDATE operation SET evidence = coalesce($2, evidence), outcome = $3"
        " WHERE operation_id = $1::uuid",
        operation_id,
        evidence,
        outcome,
    )


async def operations_for_connector(
    conn: Connection, portals: Sequence[tuple[str, str]], limit: int
) -> list[Any]:
    """Open, unclaimed operations of (organization, portal), removals first; nothing is locked."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT operation.* FROM operation
        JOIN unnest($1::text[], $2::text[]) AS served (organization, portal)
            USING (organization, portal)
        WHERE status = 'requested' AND kind <> 'appoint_successor'
        ORDER BY deadline, rank, operation_id LIMIT $3
        """,
        [organization for organization, _ in portals],
        [portal for _, portal in portals],
        limit,
    )
    return rows


# -- reviews


async def save_review_decision(
    conn: Connection,
    organization: str,
    *,
    review_id: str,
    line_id: str,
    worker: str,
    portal: str,
    tin: str | None,
    function: str | None,
    operation_id: str | None,
    decided_by: str,
    decided_at: datetime,
    decision: str,
) -> bool:
    """Keep the latest decision per line; whether this one is news."""
    stored = await conn.fetchval(
        """
        INSERT INTO review_decision (organization, review_id, line_id, worker, portal, tin,
            function, operation_id, decided_by, decided_at, status)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
                CASE WHEN $11 = 'remove' THEN 'new' ELSE 'kept' END)
        ON CONFLICT (organization, review_id, line_id) DO UPDATE SET
            decided_by = excluded.decided_by, decided_at = excluded.decided_at,
            status = excluded.status, operation_id = excluded.operation_id, detail = ''
        WHERE review_decision.decided_at < excluded.decided_at
        RETURNING true
        """,
        organization,
        review_id,
        line_id,
        worker,
        portal,
        tin,
        function,
        operation_id,
        decided_by,
        decided_at,
        decision,
    )
    return bool(stored)


async def review_removals(
    conn: Connection, workers: Sequence[LockedWorker]
) -> dict[WorkerKey, list[ReviewRemoval]]:
    """Review decisions to remove something from these workers."""
    rows = await conn.fetch(
        """
        SELECT decision.*
        FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker),
            LATERAL (
                SELECT * FROM review_decision AS decision
                WHERE decision.organization = wanted.organization
                  AND decision.worker = wanted.worker
                OFFSET 0
            ) AS decision
        WHERE decision.status <> 'kept'
        ORDER BY review_id, line_id
        """,
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[ReviewRemoval]] = {}
    for row in rows:
        found.setdefault((row["organization"], row["worker"]), []).append(
            ReviewRemoval(
                Removal(
                    row["review_id"],
                    row["line_id"],
                    row["portal"],
                    row["tin"],
                    row["function"],
                    row["decided_by"],
                ),
                row["operation_id"],
                row["status"],
                row["detail"],
            )
        )
    return found


async def settle_reviews(conn: Connection, judged: Sequence[tuple[str, ReviewRemoval]]) -> None:
    """Remember whether review decisions stand or are moot."""
    if judged:
        await conn.execute(
            """
            UPDATE review_decision AS decision SET status = new.status, detail = new.detail
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                AS new (organization, review_id, line_id, status, detail)
            WHERE decision.organization = new.organization
              AND decision.review_id = new.review_id AND decision.line_id = new.line_id
            """,
            [organization for organization, _ in judged],
            [review.removal.review_id for _, review in judged],
            [review.removal.line_id for _, review in judged],
            [review.status for _, review in judged],
            [review.detail for _, review in judged],
        )


# -- directory and administrators


async def directory_versions(conn: Connection, organizations: Iterable[str]) -> dict[str, int]:
    """The directory version in force per organization."""
    rows = await conn.fetch(
        "SELECT organization, version FROM directory_head WHERE organization = ANY($1::text[])",
        sorted(set(organizations)),
    )
    return {row["organization"]: row["version"] for row in rows}


async def directory_document(conn: Connection, organization: str, version: int) -> Any:
    """One version's document with who applied it and when, or None."""
    return await conn.fetchrow(
        "SELECT document, applied_at, applied_by FROM directory_version"
        " WHERE organization = $1 AND version = $2",
        organization,
        version,
    )


async def lock_directory(conn: Connection, organization: str) -> int:
    """Lock the head for an apply; the version in force, 0 if there is none yet."""
    await conn.execute(
        "INSERT INTO directory_head (organization, version) VALUES ($1, 0) ON CONFLICT DO NOTHING",
        organization,
    )
    version: int = await conn.fetchval(
        "SELECT version FROM directory_head WHERE organization = $1 FOR UPDATE", organization
    )
    return version


async def save_directory(
    conn: Connection, organization: str, version: int, document: Any, by: str, at: datetime
) -> None:
    """Store a version and put it in force; the sweep finds whoever is behind."""
    await conn.execute(
        "INSERT INTO directory_version (organization, version, document, applied_at, applied_by)"
        " VALUES ($1, $2, $3, $4, $5)",
        organization,
        version,
        document,
        at,
        by,
    )
    await conn.execute(
        "UPDATE directory_head SET version = $2 WHERE organization = $1", organization, version
    )


async def lock_portals(conn: Connection, keys: Iterable[tuple[str, str]]) -> None:
    """Lock (organization, portal) rows, in order, creating those that are missing."""
    wanted = sorted(set(keys))
    organizations, portals = [key[0] for key in wanted], [key[1] for key in wanted]
    await conn.execute(
        """
        INSERT INTO portal_lock (organization, portal)
        SELECT * FROM unnest($1::text[], $2::text[]) AS wanted (organization, portal)
        ORDER BY organization, portal ON CONFLICT DO NOTHING
        """,
        organizations,
        portals,
    )
    await conn.execute(
        """
        SELECT 1 FROM portal_lock
        WHERE (organization, portal) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        ORDER BY organization, portal FOR UPDATE
        """,
        organizations,
        portals,
    )


async def save_standings(
    conn: Connection, organization: str, standings: Sequence[AdministratorStanding]
) -> None:
    """Replace the appointments of an organization, keeping what is known of exits."""
    await conn.execute(
        """
        DELETE FROM administrator_standing
        WHERE organization = $1
          AND (portal, worker, since) NOT IN (
              SELECT * FROM unnest($2::text[], $3::text[], $4::timestamptz[])
          )
        """,
        organization,
        [standing.portal for standing in standings],
        [standing.worker for standing in standings],
        [standing.since for standing in standings],
    )
    await conn.execute(
        """
        INSERT INTO administrator_standing (organization, portal, worker, since, until)
        SELECT $1, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
        ON CONFLICT (organization, portal, worker, since) DO UPDATE SET until = excluded.until
        """,
        organization,
        [standing.portal for standing in standings],
        [standing.worker for standing in standings],
        [standing.since for standing in standings],
        [standing.until for standing in standings],
    )


async def note_exit(
    conn: Connection, organization: str, workers: Sequence[str], leaves_at: datetime | None
) -> bool:
    """Remember when administrators leave; whether that is news to their portals."""
    changed = await conn.fetch(
        """
        UPDATE administrator_standing SET leaves_at = $3
        WHERE organization = $1 AND worker = ANY($2::text[]) AND leaves_at IS DISTINCT FROM $3
        RETURNING 1
        """,
        organization,
        list(workers),
        leaves_at,
    )
    return bool(changed)


async def standings(
    conn: Connection, organization: str, portals: Iterable[str] | None = None
) -> list[AdministratorStanding]:
    """Appointments to these portals (to all, if None is given)."""
    rows = await conn.fetch(
        """
        SELECT portal, worker, since, until, leaves_at FROM administrator_standing
        WHERE organization = $1 AND ($2::text[] IS NULL OR portal = ANY($2::text[]))
        ORDER BY portal, worker, since
        """,
        organization,
        None if portals is None else sorted(set(portals)),
    )
    return [
        AdministratorStanding(
            row["portal"], row["worker"], row["since"], row["until"], row["leaves_at"]
        )
        for row in rows
    ]


async def portals_in_use(conn: Connection, organization: str) -> set[str]:
    """Portals on which somebody has an account or an open operation."""
    rows = await conn.fetch(
        """
        SELECT portal FROM account WHERE organization = $1
        UNION
        SELECT portal FROM operation WHERE organization = $1
          AND status IN ('requested', 'claimed', 'superseded')
        """,
        organization,
    )
    return {row["portal"] for row in rows}


# -- the portal simulator's own truth


async def set_simulated_login(
    conn: Connection,
    organization: str,
    portal: str,
    worker: str,
    *,
    login_id: str,
    active: bool,
    functions: Sequence[tuple[str, str]],
    at: datetime,
) -> None:
    """What the make-believe portal holds from now on."""
    await conn.execute(
        """
        INSERT INTO simulated_login (organization, portal, login_id, worker, active, functions,
            changed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (organization, portal, worker) DO UPDATE SET active = excluded.active,
            functions = excluded.functions, changed_at = excluded.changed_at
        """,
        organization,
        portal,
        login_id,
        worker,
        active,
        [list(function) for function in functions],
        at,
    )


async def simulated_login(
    conn: Connection, organization: str, portal: str, worker: str
) -> Any | None:
    """What the make-believe portal holds for a worker."""
    return await conn.fetchrow(
        "SELECT login_id, active, functions FROM simulated_login"
        " WHERE organization = $1 AND portal = $2 AND worker = $3",
        organization,
        portal,
        worker,
    )


async def organizations(conn: Connection) -> set[str]:
    """Organizations that have a directory."""
    rows = await conn.fetch("SELECT organization FROM directory_head WHERE version > 0")
    return {row["organization"] for row in rows}
