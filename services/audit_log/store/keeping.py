"""The SQL of holds, erasures, and the picture of whose access is in effect."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class WorkerAccess:
    """Whether a worker's access is in effect, as of a published state (`epoch`, `version`).

    `erased` says that the other services have forgotten the worker.
    """

    organization: str
    worker: str
    epoch: int
    version: int
    in_effect: bool
    open_operations: int
    last_in_effect: datetime | None
    aliases: list[str]
    erased: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold: nothing about its subject is erased or pruned while it is active."""

    id: UUID
    organization: str
    kind: str
    subject: str
    reason: str
    set_by: str
    set_at: datetime
    released_by: str | None
    released_at: datetime | None
    release_reason: str | None


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure of a worker; its key is destroyed once it is finished."""

    id: UUID
    organization: str
    worker: str
    reason: str
    requested_by: str
    begun_at: datetime
    finished_at: datetime | None
    keys_destroyed: int | None
    entries_hidden: int | None


async def note_access(conn: Connection, states: Sequence[WorkerAccess]) -> None:
    """Keep newer states; access that ended was last in effect when the state said so.

    Whoever was erased elsewhere keeps their former ids here until the log erases them too.
    """
    await conn.executemany(
        """
        INSERT INTO worker_access AS known (organization, worker, epoch, version, in_effect,
            open_operations, last_in_effect, aliases)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (organization, worker) DO UPDATE
        SET epoch = excluded.epoch, version = excluded.version, in_effect = excluded.in_effect,
            open_operations = excluded.open_operations,
            aliases = CASE WHEN $10 THEN known.aliases ELSE excluded.aliases END,
            last_in_effect = CASE WHEN known.in_effect OR excluded.in_effect
                THEN greatest(known.last_in_effect, $9) ELSE known.last_in_effect END
        WHERE (known.epoch, known.version) < (excluded.epoch, excluded.version)
        """,
        [
            (
                each.organization,
                each.worker,
                each.epoch,
                each.version,
                each.in_effect,
                each.open_operations,
                each.last_in_effect if each.in_effect else None,
                each.aliases,
                each.last_in_effect,
                each.erased,
            )
            for each in states
        ],
    )


async def forget_erased(conn: Connection, states: Sequence[WorkerAccess]) -> None:
    """Forget those of these workers whom the log has erased as well."""
    await conn.execute(
        """
        DELETE FROM worker_access
        USING unnest($1::text[], $2::text[]) AS gone (organization, worker)
        WHERE worker_access.organization = gone.organization AND worker_access.worker = gone.worker
          AND EXISTS (SELECT 1 FROM erasure WHERE erasure.organization = gone.organization
              AND erasure.worker = ANY(worker_access.aliases || gone.worker)
              AND finished_at IS NOT NULL)
        """,
        [each.organization for each in states],
        [each.worker for each in states],
    )


async def forget_person(conn: Connection, organization: str, names: Sequence[str]) -> None:
    """Forget what stands beside the log about somebody by these ids.

    What is known of their access, and whom holds that ended were about. That they were erased
    stays on record, by the id they were erased by.
    """
    await conn.execute(
        "DELETE FROM worker_access WHERE organization = $1 AND worker = ANY($2::text[])",
        organization,
        list(names),
    )
    await conn.execute(
        "UPDATE hold SET subject = '', reason = 'erased', release_reason = 'erased'"
        " WHERE organization = $1 AND kind = 'worker' AND subject = ANY($2::text[])"
        " AND released_at IS NOT NULL",
        organization,
        list(names),
    )
    # Answers to commands that were asked again: which of them name somebody cannot be told.
    await conn.execute("DELETE FROM idempotency WHERE organization = $1", organization)


async def read_access(
    conn: Connection, organization: str, workers: Sequence[str]
) -> list[WorkerAccess]:
    """What is known of the access of workers, and of whom they were merged with."""
    rows = await conn.fetch(
        """
        SELECT organization, worker, epoch, version, in_effect, open_operations, last_in_effect,
            aliases
        FROM worker_access
        WHERE organization = $1 AND (worker = ANY($2::text[]) OR aliases && $2::text[])
        """,
        organization,
        list(workers),
    )
    return [WorkerAccess(*row.values()) for row in rows]


async def kept_for_access(conn: Connection, since: datetime) -> list[tuple[str, str]]:
    """Organization and worker of those whose access is, or was after an instant, in effect."""
    rows = await conn.fetch(
        "SELECT organization, worker FROM worker_access"
        " WHERE in_effect OR open_operations > 0 OR last_in_effect >= $1"
        " UNION SELECT organization, unnest(aliases) FROM worker_access"
        " WHERE in_effect OR open_operations > 0 OR last_in_effect >= $1",
        since,
    )
    return [(row["organization"], row["worker"]) for row in rows]


_HOLD = (
    "id, organization, kind, subject, reason, set_by, set_at, released_by, released_at,"
    " release_reason"
)


async def set_hold(
    conn: Connection,
    organization: str,
    kind: str,
    subject: str,
    reason: str,
    set_by: str,
    now: datetime,
) -> Hold:
    """Set a hold."""
    # An erasure that looked before must have committed, and one that looks later must see it.
    await conn.execute("SELECT pg_advisory_xact_lock(7012029)")
    row: Any = await conn.fetchrow(
        f"INSERT INTO hold (organization, kind, subject, reason, set_by, set_at)"
        f" VALUES ($1, $2, $3, $4, $5, $6) RETURNING {_HOLD}",
        organization,
        kind,
        subject,
        reason,
        set_by,
        now,
    )
    return Hold(*row.values())


async def release_hold(
    conn: Connection, organization: str, id: UUID, by: str, reason: str, now: datetime
) -> Hold | None:
    """Release an active hold; None if there is no such one."""
    row = await conn.fetchrow(
        f"UPDATE hold SET released_by = $3, released_at = $4, release_reason = $5"
        f" WHERE organization = $1 AND id = $2 AND released_at IS NULL RETURNING {_HOLD}",
        organization,
        id,
        by,
        now,
        reason,
    )
    return None if row is None else Hold(*row.values())


async def read_holds(
    conn: Connection, organization: str | None = None, *, active: bool = False
) -> list[Hold]:
    """Holds of an organization (or all), newest first."""
    rows = await conn.fetch(
        f"SELECT {_HOLD} FROM hold WHERE ($1::text IS NULL OR organization = $1)"
        " AND (NOT $2 OR released_at IS NULL) ORDER BY set_at DESC",
        organization,
        active,
    )
    return [Hold(*row.values()) for row in rows]


async def lock_holds(conn: Connection) -> None:
    """Keep holds from being set until this transaction ends."""
    await conn.execute("SELECT pg_advisory_xact_lock(7012029)")


_ERASURE = (
    "id, organization, worker, reason, requested_by, begun_at, finished_at, keys_destroyed,"
    " entries_hidden"
)


async def begin_erasure(
    conn: Connection, organization: str, worker: str, reason: str, by: str, now: datetime
) -> Erasure:
    """Write down that a worker is to be erased."""
    row: Any = await conn.fetchrow(
        f"INSERT INTO erasure (organization, worker, reason, requested_by, begun_at)"
        f" VALUES ($1, $2, $3, $4, $5) RETURNING {_ERASURE}",
        organization,
        worker,
        reason,
        by,
        now,
    )
    return Erasure(*row.values())


async def finish_erasure(
    conn: Connection, id: UUID, keys: int, entries: int, now: datetime
) -> Erasure:
    """Write down that it is done."""
    row: Any = await conn.fetchrow(
        f"UPDATE erasure SET finished_at = $4, keys_destroyed = $2, entries_hidden = $3"
        f" WHERE id = $1 RETURNING {_ERASURE}",
        id,
        keys,
        entries,
        now,
    )
    return Erasure(*row.values())


async def unfinished_erasures(conn: Connection) -> list[Erasure]:
    """Erasures that were begun and not finished."""
    rows = await conn.fetch(f"SELECT {_ERASURE} FROM erasure WHERE finished_at IS NULL")
    return [Erasure(*row.values()) for row in rows]


async def read_erasures(conn: Connection, organization: str) -> list[Erasure]:
    """An organization's erasures, newest first."""
    rows = await conn.fetch(
        f"SELECT {_ERASURE} FROM erasure WHERE organization = $1 ORDER BY begun_at DESC",
        organization,
    )
    return [Erasure(*row.values()) for row in rows]


async def unannounced_keys(conn: Connection) -> list[tuple[str, datetime]]:
    """Signing keys that were named as the next, of which nobody has been told yet."""
    rows = await conn.fetch(
        "SELECT verifier_key, named_at FROM key_succession WHERE NOT announced FOR UPDATE"
    )
    return [(row["verifier_key"], row["named_at"]) for row in rows]


async def mark_announced(conn: Connection, verifier_keys: Sequence[str]) -> None:
    """Everybody has been told of these keys."""
    await conn.execute(
        "UPDATE key_succession SET announced = true WHERE verifier_key = ANY($1::text[])",
        list(verifier_keys),
    )
