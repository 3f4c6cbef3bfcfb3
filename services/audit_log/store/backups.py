"""The SQL of backups, for the owner of the log's tables alone."""

from collections.abc import Sequence
from pathlib import Path

from shared.postgres import Connection

MIGRATIONS = sorted(path.stem for path in (Path(__file__).parent.parent / "migrations").glob("*"))

TABLES = (
    "log_head", "entry", "held_entry", "tile", "tile_edge", "checkpoint", "key_succession",
    "predecessor", "source_offset", "outbox", "hold", "erasure", "worker_access",
)  # fmt: skip
"""What is backed up, in the order in which it is restored. Exports and answers to commands are
short-lived, refusals are found again, and the search projection is made again."""

FROZEN_TABLES = TABLES[: TABLES.index("source_offset")]
"""What there is of a log that another one follows."""

_NUMBERED = {"outbox": "id"}
"""Columns that the database numbers itself."""


async def columns_of(conn: Connection, table: str) -> list[str]:
    """The columns of a table that are backed up: one that was frozen may have fewer than today."""
    rows = await conn.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum",
        table,
    )
    return [row["attname"] for row in rows if row["attname"] != _NUMBERED.get(table)]


async def copy_out(conn: Connection, table: str, columns: Sequence[str], path: Path) -> int:
    """Write a table to a file; how many rows."""
    order = _NUMBERED.get(table, "1")
    with path.open("wb") as file:
        done = await conn.copy_from_query(
            f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}",
            output=file,
            format="binary",
        )
    return int(done.rpartition(" ")[2])


async def copy_in(conn: Connection, table: str, columns: Sequence[str], path: Path) -> None:
    """Read a table from a file."""
    if table == "entry":
        await conn.execute("SELECT add_entry_partitions(size + span) FROM log_head, log_shape")
    with path.open("rb") as file:
        await conn.copy_to_table(table, source=file, format="binary", columns=columns)


async def origin_here(conn: Connection) -> str | None:
    """The name of the log in the database; empty if only something was read for one, or None."""
    origin: str | None = await conn.fetchval("SELECT origin FROM audit_log.log_head")
    used = await conn.fetchval(
        "SELECT EXISTS (SELECT 1 FROM audit_log.source_offset)"
        r" OR EXISTS (SELECT 1 FROM pg_namespace WHERE nspname LIKE 'audit\_log\_frozen\_%')"
    )
    return "" if origin is None and used else origin
