"""The SQL of backups, for the owner of the log's tables alone."""

from pathlib import Path

from shared.postgres import Connection

MIGRATIONS = sorted(path.stem for path in (Path(__file__).parent.parent / "migrations").glob("*"))

TABLES = (
    "log_head", "entry", "held_entry", "tile", "tile_edge", "checkpoint", "key_succession",
    "predecessor", "source_offset", "outbox", "hold", "erasure", "worker_access",
)  # fmt: skip
"""What is backed up, in the order in which it is restored. Exports and answers to commands are
short-lived, refusals are found again, and the search projection is made again."""

_GENERATED = {"outbox": ("shard", "topic", "key", "headers", "value")}
"""Columns to copy where the database numbers rows itself."""


async def copy_out(conn: Connection, table: str, path: Path) -> int:
    """Write a table to a file; how many rows."""
    columns = ", ".join(_GENERATED.get(table, ("*",)))
    with path.open("wb") as file:
        done = await conn.copy_from_query(
            f"SELECT {columns} FROM {table} ORDER BY 1", output=file, format="binary"
        )
    return int(done.rpartition(" ")[2])


async def copy_in(conn: Connection, table: str, path: Path) -> None:
    """Read a table from a file."""
    if table == "entry":
        await conn.execute("SELECT add_entry_partitions(size + span) FROM log_head, log_shape")
    with path.open("rb") as file:
        await conn.copy_to_table(table, source=file, format="binary", columns=_GENERATED.get(table))


async def is_used(conn: Connection) -> bool:
    """Whether the database holds a log, or anything was read for one."""
    used: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT 1 FROM log_head) OR EXISTS (SELECT 1 FROM source_offset)"
        " OR EXISTS (SELECT 1 FROM entry)"
    )
    return used
