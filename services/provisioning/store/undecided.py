"""Workers of whom something was heard that nobody has decided about yet.

Rows are added without any lock on the worker, and taken by `timelines`, which holds it: a row is
taken together with exactly those events that the decision sees.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from services.provisioning.store.workers import WorkerKey
from shared.postgres import Connection

SHARDS = 8
"""As many deciders can work at once. Fixed, for rows carry their shard."""


Place = tuple[int, str, str]
"""(shard, organization, worker): where a worker comes in the round that deciders make."""


@lru_cache(maxsize=100_000)
def shard_of(key: WorkerKey) -> int:
    """The shard of a worker, equal in every process."""
    return zlib.crc32("/".join(key).encode()) % SHARDS


async def add_undecided(conn: Connection, heard: Mapping[WorkerKey, Sequence[str]]) -> None:
    """Note workers to decide about, each with the ids of the events that call for it."""
    if heard:
        await conn.copy_records_to_table(
            "undecided",
            columns=("shard", "organization", "worker", "events"),
            records=[(shard_of(key), *key, heard[key]) for key in sorted(heard)],
        )


async def hold_shard(conn: Connection, shard: int) -> bool:
    """Whether this transaction now is the only one that picks workers of a shard."""
    held: bool = await conn.fetchval(
        "SELECT pg_try_advisory_xact_lock(hashtext(current_schema() || '.undecided'), $1)", shard
    )
    return held


async def next_undecided(conn: Connection, behind: Place, limit: int) -> list[Place]:
    """The next undecided places of a shard behind one of them, in order; nothing is locked."""
    shard, organization, worker = behind
    rows = await conn.fetch(
        """
        SELECT DISTINCT organization, worker FROM undecided
        WHERE shard = $1 AND (organization, worker) > ($2, $3) AND failed IS NULL
        ORDER BY organization, worker LIMIT $4
        """,
        shard,
        organization,
        worker,
        limit,
    )
    return [(shard, row["organization"], row["worker"]) for row in rows]


async def next_shard(conn: Connection, after: int) -> int | None:
    """The next shard that holds anything, going round."""
    shard: int | None = await conn.fetchval(
        """
        SELECT coalesce(
            (SELECT shard FROM undecided WHERE shard > $1 ORDER BY shard LIMIT 1),
            (SELECT shard FROM undecided ORDER BY shard LIMIT 1)
        )
        """,
        after,
    )
    return shard


async def undecided_among(conn: Connection, keys: Iterable[WorkerKey]) -> set[WorkerKey]:
    """Those of these workers about whom somebody has yet to decide."""
    wanted = sorted(set(keys))
    rows = await conn.fetch(
        """
        SELECT organization, worker FROM undecided
        JOIN unnest($1::smallint[], $2::text[], $3::text[]) AS wanted (shard, organization, worker)
            USING (shard, organization, worker)
        """,
        [shard_of(key) for key in wanted],
        [key[0] for key in wanted],
        [key[1] for key in wanted],
    )
    return {(row["organization"], row["worker"]) for row in rows}


async def set_aside(conn: Connection, place: Place, why: str) -> None:
    """Leave a locked worker about whom deciding failed alone until something is heard of it."""
    await conn.execute(
        "UPDATE undecided SET failed = $4"
        " WHERE shard = $1 AND organization = $2 AND worker = $3 AND failed IS NULL",
        *place,
        why,
    )


async def count_failed(conn: Connection) -> int:
    """How many workers deciding failed for."""
    count: int = await conn.fetchval(
        "SELECT count(DISTINCT (organization, worker)) FROM undecided WHERE failed IS NOT NULL"
    )
    return count
