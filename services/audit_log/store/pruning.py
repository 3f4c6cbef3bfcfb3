"""The SQL of pruning, for the owner of the log's tables alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Partition:
    """A full partition of `entry`: its entries `[first, end)`, and when the newest was recorded."""

    name: str
    first: int
    end: int
    newest_recorded_at: datetime


async def oldest_partition(conn: Connection) -> Partition | None:
    """The partition at the log's beginning, if it is full; nothing is appended meanwhile."""
    head = await conn.fetchrow("SELECT size, pruned FROM log_head FOR UPDATE")
    span = await conn.fetchval("SELECT span FROM log_shape")
    if head is None or head["pruned"] + span > head["size"]:
        return None
    first = head["pruned"]
    name = f"entry_{first // span:06}"
    newest = await conn.fetchval(f"SELECT max(recorded_at) FROM {name}")
    return Partition(name, first, first + span, newest)


async def drop(conn: Connection, partition: Partition, kept: Sequence[int]) -> None:
    """Drop a partition, once the entries to be kept are aside."""
    await conn.execute(
        f"INSERT INTO held_entry SELECT * FROM {partition.name} WHERE index = ANY($1::bigint[])",
        list(kept),
    )
    await conn.execute(f"ALTER TABLE entry DETACH PARTITION {partition.name}")
    await conn.execute(f"DROP TABLE {partition.name}")
    await conn.execute("UPDATE log_head SET pruned = $1", partition.end)
