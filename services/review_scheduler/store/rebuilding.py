"""Writing tables that are empty anew."""

from collections.abc import Sequence
from typing import Any

from shared.contracts.facts import to_json
from shared.postgres import Connection

TABLES = ("campaign", "review", "line", "delegation", "question")
"""In an order in which none refers to a later one."""

ROWS_AT_A_TIME = 5_000


async def hold_nothing(conn: Connection) -> bool:
    """Whether nothing was ever opened here, and nothing has been heard of."""
    for table in (*TABLES, "worker", "source_offset"):
        if await conn.fetchval(f"SELECT EXISTS (SELECT FROM {table})"):
            return False
    return True


async def add_rows(conn: Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Store rows whose columns are called as their keys are."""
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        await conn.execute(
            f"INSERT INTO {table} SELECT * FROM"
            # Named with the schema: PostgreSQL has a type `line` of its own.
            f" jsonb_populate_recordset(NULL::review_scheduler.{table}, $1::text::jsonb)",
            to_json(rows[start : start + ROWS_AT_A_TIME]).decode(),
        )
