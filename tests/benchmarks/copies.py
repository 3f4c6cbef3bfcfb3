"""Very many workers out of a few who came about as always: hiring so many would take an hour."""

from __future__ import annotations

import asyncpg

# What is copied, and what a copy must have of its own besides the worker id.
_TABLES = {
    "worker": "",
    "worker_event": "",
    "account": "",
    "operation": ", 'operation_id', gen_random_uuid()",
    "listed_worker": (
        ", 'words', replace(old.words, lower(old.worker), lower(old.worker || '-' || number))"
    ),
}
_COPY = """
    INSERT INTO {table}
    SELECT copied.* FROM {table} AS old, generate_series(1, $1::int) AS number,
        jsonb_populate_record(NULL::{table},
            replace(to_jsonb(old)::text, old.worker, old.worker || '-' || number)::jsonb
                || jsonb_build_object('organization', old.organization{own})) AS copied
"""


async def copy_workers(dsn: str, times: int) -> None:
    """Give every worker so many copies, with their events, accounts and operations.

    The copies of `W-1` are called `W-1-1`, `W-1-2` and so on, wherever the id is written.
    """
    conn = await asyncpg.connect(dsn)
    try:
        for table, own in _TABLES.items():
            await conn.execute(_COPY.format(table=table, own=own), times)
            # As autovacuum would have it by and by.
            await conn.execute(f"VACUUM ANALYZE {table}")
    finally:
        await conn.close()
