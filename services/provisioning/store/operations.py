"""Operations: reading, ordering, moving, and what was said about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.provisioning.rules.operations import Operation
from services.provisioning.store.encoding import json_text
from services.provisioning.store.workers import LockedWorker, WorkerKey
from shared.contracts.directory import Function, OperationKind, Step
from shared.contracts.state import (
    AuthorizedBy,
    OperationStatus,
)
from shared.postgres import Connection


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
        json_text(
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
        WHERE status = 'requested' AND kind NOT IN ('appoint_successor', 'keep_alive')
        ORDER BY deadline, rank, operation_id LIMIT $3
        """,
        [organization for organization, _ in portals],
        [portal for _, portal in portals],
        limit,
    )
    return rows
