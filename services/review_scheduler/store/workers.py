"""The picture of workers: who they are, what they do and what they hold."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import orjson
from pydantic import TypeAdapter

from services.review_scheduler.rules.live import Login
from services.review_scheduler.rules.occasions import Known, Waiting
from services.review_scheduler.rules.opening import Holder
from services.review_scheduler.rules.reviewers import Person
from services.review_scheduler.rules.roles import Holding, Role
from services.review_scheduler.store.directory import DirectoryView
from shared.contracts.state import WorkerStatus
from shared.postgres import Connection

WorkerKey = tuple[str, str]
"""Organization and worker id."""

_HOLDINGS = TypeAdapter(tuple[Holding, ...])
_LOGINS = TypeAdapter(tuple[Login, ...])
_ROLE = TypeAdapter(Role)
_KNOWN = TypeAdapter(Known)
_WAITING = TypeAdapter(tuple[Waiting, ...])


def to_text(value: object) -> str:
    """JSON for a parameter that is a list in an array: asyncpg would take it for a dimension."""
    return orjson.dumps(value).decode()


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """What was known of a worker before; `version` is -1 for one never seen."""

    organization: str
    worker: str
    epoch: int
    version: int
    role: Role | None
    known: Known | None
    waiting: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class WorkerPicture:
    """A worker's newest state, reduced to what reviews need."""

    organization: str
    worker: str
    epoch: int
    version: int
    status: WorkerStatus
    name: str | None
    merged_into: str | None
    supervisor: str | None
    role: Role | None
    effective: tuple[Holding, ...]
    logins: tuple[Login, ...]
    known: Known
    waiting: tuple[Waiting, ...]


async def lock_workers(conn: Connection, keys: Collection[WorkerKey]) -> dict[WorkerKey, WorkerRow]:
    """Lock worker rows in order until the transaction ends, making those that are missing."""
    ordered = sorted(set(keys))
    organizations, workers = [key[0] for key in ordered], [key[1] for key in ordered]
    await conn.execute(
        """
        INSERT INTO worker (organization, worker)
        SELECT * FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker)
        ORDER BY organization, worker
        ON CONFLICT DO NOTHING
        """,
        organizations,
        workers,
    )
    rows = await conn.fetch(
        """
        SELECT organization, worker, epoch, version, role, known, waiting FROM worker
        WHERE (organization, worker) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        ORDER BY organization, worker FOR UPDATE
        """,
        organizations,
        workers,
    )
    return {
        (row["organization"], row["worker"]): WorkerRow(
            row["organization"],
            row["worker"],
            row["epoch"],
            row["version"],
            None if row["role"] is None else _ROLE.validate_python(row["role"]),
            None if row["known"] is None else _KNOWN.validate_python(row["known"]),
            _WAITING.validate_python(row["waiting"]),
        )
        for row in rows
    }


async def store_pictures(conn: Connection, pictures: Sequence[WorkerPicture]) -> None:
    """Replace the pictures of workers whose rows are locked."""
    await conn.execute(
        """
        UPDATE worker SET epoch = new.epoch, version = new.version, status = new.status,
            name = new.name, merged_into = new.merged_into, supervisor = new.supervisor,
            role = new.role, effective = new.effective::jsonb, logins = new.logins::jsonb,
            known = new.known, waiting = new.waiting::jsonb
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
            $7::text[], $8::text[], $9::jsonb[], $10::text[], $11::text[], $12::jsonb[],
            $13::text[])
            AS new (organization, worker, epoch, version, status, name, merged_into, supervisor,
                role, effective, logins, known, waiting)
        WHERE worker.organization = new.organization AND worker.worker = new.worker
        """,
        [each.organization for each in pictures],
        [each.worker for each in pictures],
        [each.epoch for each in pictures],
        [each.version for each in pictures],
        [each.status for each in pictures],
        [each.name for each in pictures],
        [each.merged_into for each in pictures],
        [each.supervisor for each in pictures],
        [each.role for each in pictures],
        [to_text(each.effective) for each in pictures],
        [to_text(each.logins) for each in pictures],
        [each.known for each in pictures],
        [to_text(each.waiting) for each in pictures],
    )


async def store_waiting(conn: Connection, key: WorkerKey, waiting: Sequence[Waiting]) -> None:
    """Note what still waits of a worker whose row is locked."""
    await conn.execute(
        "UPDATE worker SET waiting = $3::text::jsonb WHERE organization = $1 AND worker = $2",
        *key,
        to_text(waiting),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """How a worker and what they hold stand now."""

    status: WorkerStatus
    duties: tuple[str, ...]
    holdings: tuple[Holding, ...]
    logins: tuple[Login, ...]


async def load_standings(
    conn: Connection, organization: str, workers: Collection[str]
) -> dict[str, Standing]:
    """How workers stand; who is not known is absent."""
    rows = await conn.fetch(
        """
        SELECT worker, status, role, effective, logins FROM worker
        WHERE organization = $1 AND worker = ANY($2::text[])
        """,
        organization,
        list(workers),
    )
    return {
        row["worker"]: Standing(
            WorkerStatus(row["status"]),
            tuple(row["role"]["duties"]) if row["role"] else (),
            _HOLDINGS.validate_python(row["effective"]),
            _LOGINS.validate_python(row["logins"]),
        )
        for row in rows
    }


async def load_people(
    conn: Connection, organization: str, workers: Collection[str]
) -> dict[str, Person]:
    """The workers named, those above them, and the ids they are known by now."""
    rows = await conn.fetch(
        """
        WITH RECURSIVE known AS (
            SELECT worker, status, supervisor, merged_into FROM worker
            WHERE organization = $1 AND worker = ANY($2::text[])
            UNION
            SELECT above.worker, above.status, above.supervisor, above.merged_into
            FROM known JOIN worker AS above
                ON above.organization = $1
                AND above.worker IN (known.supervisor, known.merged_into)
        )
        SELECT * FROM known
        """,
        organization,
        list(workers),
    )
    return {
        row["worker"]: Person(
            row["supervisor"], row["status"] == WorkerStatus.ACTIVE, row["merged_into"]
        )
        for row in rows
    }


async def load_people_around(
    conn: Connection, organization: str, holders: Collection[WorkerKey], directory: DirectoryView
) -> dict[str, Person]:
    """Everybody who may have to review what `holders` hold."""
    appointed = {
        worker
        for each in directory.administrators
        for worker in (each.worker, each.deputy)
        if worker is not None
    }
    return await load_people(conn, organization, appointed | {worker for _, worker in holders})


async def next_holders(
    conn: Connection, organization: str, after: str, limit: int, *, waves: int = 1, wave: int = 0
) -> list[WorkerKey]:
    """The next workers by id who hold something effective; nothing is locked.

    Args:
        waves: into how many shares the workers are parted by their ids; `wave` is the one asked.
    """
    rows = await conn.fetch(
        """
        SELECT organization, worker FROM worker
        WHERE organization = $1 AND worker > $2 AND effective <> '[]'
            AND ($4 = 1 OR (hashtext(worker)::bigint & 2147483647) % $4 = $5)
        ORDER BY organization, worker LIMIT $3
        """,
        organization,
        after,
        limit,
        waves,
        wave,
    )
    return [(row["organization"], row["worker"]) for row in rows]


async def count_holders(conn: Connection, organization: str) -> int:
    """How many workers hold something effective."""
    found: int = await conn.fetchval(
        "SELECT count(*) FROM worker WHERE organization = $1 AND effective <> '[]'", organization
    )
    return found


async def load_names(
    conn: Connection, organization: str, workers: Collection[str]
) -> dict[str, str | None]:
    """What workers are called."""
    rows = await conn.fetch(
        "SELECT worker, name FROM worker WHERE organization = $1 AND worker = ANY($2::text[])",
        organization,
        list(workers),
    )
    return {row["worker"]: row["name"] for row in rows}


async def load_holders(conn: Connection, keys: Collection[WorkerKey]) -> list[Holder]:
    """Those of the workers, locked before, who hold something effective, by id."""
    rows = await conn.fetch(
        """
        SELECT organization, worker, role, effective, known FROM worker
        WHERE (organization, worker) IN (SELECT * FROM unnest($1::text[], $2::text[]))
            AND effective <> '[]'
        ORDER BY organization, worker
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    return [
        Holder(
            row["organization"],
            row["worker"],
            tuple(row["role"]["duties"]) if row["role"] else (),
            _HOLDINGS.validate_python(row["effective"]),
            tuple(row["role"]["sites"]) if row["role"] else (),
            _KNOWN.validate_python(row["known"]).kinds if row["known"] else (),
        )
        for row in rows
    ]
