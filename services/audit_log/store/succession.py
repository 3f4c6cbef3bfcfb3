"""The SQL of successors: freezing one log's schema and making the next, as the administrator."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.audit_log.store import SealedEntry, StoredEntry
from shared.postgres import Connection

_CARRIED = ("source_offset", "hold", "erasure", "worker_access")
_LEFT = (*_CARRIED, "outbox", "export", "idempotency")
"""What a frozen log has no use for, and which may name people that are erased later."""


_PREDECESSOR = "origin, schema_name, note, statement"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A log before this one: its name, the schema it is in, and its last signed note.

    `statement` is the note by which its key names the key of the log that follows; None where it
    was lost.
    """

    origin: str
    schema: str
    note: str
    statement: str | None


async def read_log(conn: Connection) -> tuple[str, int] | None:
    """Origin and size of the log in the database."""
    row = await conn.fetchrow("SELECT origin, size FROM audit_log.log_head")
    return None if row is None else (row["origin"], row["size"])


async def read_frozen(conn: Connection, note: str) -> tuple[Predecessor, int] | None:
    """The log before whose last signed note this is, once it is frozen, and its size."""
    row = await conn.fetchrow(
        f"SELECT {_PREDECESSOR} FROM audit_log.predecessor WHERE note = $1", note
    )
    if row is None:
        return None
    found = Predecessor(*row.values())
    return found, await conn.fetchval(f"SELECT size FROM {found.schema}.log_head")


async def holds_checkpoint(conn: Connection, note: str) -> bool:
    """Whether the database knows a checkpoint."""
    known: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT 1 FROM audit_log.checkpoint WHERE note = $1)", note
    )
    return known


async def freeze(conn: Connection) -> str:
    """Put the log's schema aside; its name there. What role may read it stays as it is."""
    count: int = await conn.fetchval(
        r"SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'audit\_log\_frozen\_%'"
    )
    name = f"audit_log_frozen_{count + 1}"
    await conn.execute(f"ALTER SCHEMA audit_log RENAME TO {name}")
    await close(conn, name)
    return name


async def close(conn: Connection, schema: str) -> None:
    """Let nobody append to a frozen log any more, whatever runs."""
    await conn.execute(
        f"REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema}"
        " FROM audit_log, audit_signer"
    )


async def make_schema(conn: Connection, schema: str, migrations: Sequence[str]) -> None:
    """Make a schema as the log's is, and run migrations in it, as its owner."""
    await conn.execute(f"CREATE SCHEMA {schema} AUTHORIZATION audit_owner")
    await conn.execute(f"GRANT USAGE ON SCHEMA {schema} TO audit_log, audit_signer, audit_search")
    async with as_owner(conn, schema):
        for statements in migrations:
            await conn.execute(statements)


@asynccontextmanager
async def as_owner(conn: Connection, schema: str) -> AsyncIterator[None]:
    """Let a transaction work in a schema as the owner of its tables within the block."""
    await conn.execute("SET LOCAL ROLE audit_owner")
    await conn.execute(f"SET LOCAL search_path = {schema}")
    yield
    await conn.execute("SET LOCAL search_path TO DEFAULT")
    await conn.execute("RESET ROLE")


async def forget_search(conn: Connection) -> None:
    """Have the log that is there now projected anew, and all that it lacks published as OCSF."""
    await conn.execute("DROP TABLE IF EXISTS audit_search.found, audit_search.projection")
    if await conn.fetchval("SELECT to_regclass('audit_search.published') IS NOT NULL"):
        await conn.execute(
            "UPDATE audit_search.published SET position ="
            " least(position, coalesce((SELECT size FROM audit_log.log_head), 0))"
        )


async def put_aside(conn: Connection) -> list[str]:
    """Put the log and those before it aside under names that nothing reads; what they are."""
    rows = await conn.fetch(
        r"SELECT nspname FROM pg_namespace WHERE nspname = 'audit_log'"
        r" OR nspname LIKE 'audit\_log\_frozen\_%' ORDER BY nspname"
    )
    count: int = await conn.fetchval(
        r"SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'audit\_log\_replaced\_%'"
    )
    names = []
    for number, row in enumerate(rows, count + 1):
        names.append(f"audit_log_replaced_{number}")
        await conn.execute(f"ALTER SCHEMA {row['nspname']} RENAME TO {names[-1]}")
        await close(conn, names[-1])
    return names


async def carry_over(conn: Connection, before: Predecessor) -> None:
    """Let the new log begin where the old one was read up to, and name what it follows."""
    schema = before.schema
    for table in _CARRIED:
        await conn.execute(f"INSERT INTO audit_log.{table} SELECT * FROM {schema}.{table}")
    await conn.execute(
        "INSERT INTO audit_log.outbox (shard, topic, key, headers, value)"
        f" SELECT shard, topic, key, headers, value FROM {schema}.outbox ORDER BY id"
    )
    await conn.execute(f"INSERT INTO audit_log.predecessor SELECT * FROM {schema}.predecessor")
    await conn.execute(
        f"INSERT INTO audit_log.predecessor ({_PREDECESSOR}) VALUES ($1, $2, $3, $4)",
        before.origin,
        schema,
        before.note,
        before.statement,
    )
    await conn.execute("TRUNCATE " + ", ".join(f"{schema}.{table}" for table in _LEFT))
    await forget_search(conn)


async def read_predecessors(conn: Connection) -> list[Predecessor]:
    """The logs before this one, the latest last."""
    rows = await conn.fetch(f"SELECT {_PREDECESSOR} FROM predecessor ORDER BY frozen_at")
    return [Predecessor(*row.values()) for row in rows]


@asynccontextmanager
async def turned_to(conn: Connection, schema: str) -> AsyncIterator[None]:
    """Let a transaction read a frozen log within the block."""
    await conn.execute(f"SET LOCAL search_path = {schema}")
    yield
    # After an error nothing more is asked in this transaction, and its end resets the path.
    await conn.execute("SET LOCAL search_path TO DEFAULT")


async def read_keyed(conn: Connection, schema: str, slots: list[int]) -> list[StoredEntry]:
    """A frozen log's entries under any of these keys; it is read whole."""
    rows = await conn.fetch(
        f"""
        SELECT index, recorded_at, key_slot, leaf, payload FROM {schema}.entry
        WHERE key_slot = ANY($1::bigint[])
        UNION ALL
        SELECT index, recorded_at, key_slot, leaf, payload FROM {schema}.held_entry
        WHERE key_slot = ANY($1::bigint[])
        """,
        slots,
    )
    return [StoredEntry(*row.values()) for row in rows]


async def read_topic(conn: Connection, schema: str, topic: str) -> list[SealedEntry]:
    """A frozen log's entries that have a payload and name a topic somewhere in their leaf."""
    rows = await conn.fetch(
        f"""
        SELECT index, key_slot, leaf, payload FROM {schema}.entry
        WHERE key_slot IS NOT NULL AND position($1::bytea IN leaf) > 0
        UNION ALL
        SELECT index, key_slot, leaf, payload FROM {schema}.held_entry
        WHERE key_slot IS NOT NULL AND position($1::bytea IN leaf) > 0
        """,
        topic.encode(),
    )
    return [SealedEntry(*row.values()) for row in rows]
