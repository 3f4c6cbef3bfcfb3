"""All SQL of the audit log.

Entries and full tiles are only ever inserted. Their dense index is handed out under the lock of the
head row, which is held until the commit, so whoever reads the head sees every entry below it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.audit_log.rules.chain import Growth
from shared.errors import Unusable
from shared.postgres import Connection
from shared.tlog.tiles import Tile


class WrongLog(Unusable):
    """The database holds the log of another origin."""


@dataclass(slots=True)
class NewEntry:
    """An entry that has no index yet. Gaps have neither key slot nor payload."""

    leaf: bytes
    leaf_hash: bytes
    key_slot: int | None
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """What it takes to open an entry."""

    index: int
    key_slot: int | None
    leaf: bytes
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as stored; `recorded_at` is the database's time in UTC."""

    index: int
    recorded_at: datetime
    key_slot: int | None
    leaf: bytes
    payload: bytes | None

    @property
    def sealed(self) -> SealedEntry:
        """Its encrypted part."""
        return SealedEntry(self.index, self.key_slot, self.leaf, self.payload)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A signed note and the key it verifies with."""

    size: int
    note: str
    verifier_key: str


async def open_log(conn: Connection, origin: str) -> None:
    """Make the head row of a new log, or check that the existing one is ours.

    Raises:
        WrongLog: the database holds another origin's log.
    """
    await conn.execute(
        "INSERT INTO log_head (origin) VALUES ($1) ON CONFLICT (singleton) DO NOTHING", origin
    )
    found = await conn.fetchval("SELECT origin FROM log_head")
    if found != origin:
        raise WrongLog(f"this database holds the log {found}, not {origin}")


async def make_partitions_ahead(conn: Connection) -> int:
    """Make room for a whole partition beyond the one being filled; how many were made."""
    made: int = await conn.fetchval(
        "SELECT add_entry_partitions(size + span) FROM log_head, log_shape"
    )
    return made


async def read_head(conn: Connection) -> tuple[str, int] | None:
    """Origin and size of the log; None before it was opened."""
    row = await conn.fetchrow("SELECT origin, size FROM log_head")
    return None if row is None else (row["origin"], row["size"])


async def lock_head(conn: Connection) -> int:
    """The log's size, which stays until this transaction ends. Take this lock last."""
    size: int = await conn.fetchval("SELECT size FROM log_head FOR UPDATE")
    return size


async def read_edges(conn: Connection) -> dict[int, bytes]:
    """The partial tiles by level."""
    rows = await conn.fetch("SELECT level, hashes FROM tile_edge")
    return {row["level"]: row["hashes"] for row in rows}


async def append(
    conn: Connection,
    size: int,
    entries: Sequence[NewEntry],
    growth: Growth,
    recorded_at: datetime,
) -> None:
    """Append entries to the log of `size`, whose head the caller holds locked."""
    await conn.copy_records_to_table(
        "entry",
        records=[
            (index, recorded_at, entry.key_slot, entry.leaf, entry.payload)
            for index, entry in enumerate(entries, size)
        ],
        columns=("index", "recorded_at", "key_slot", "leaf", "payload"),
    )
    if growth.full:
        await conn.copy_records_to_table(
            "tile",
            records=[(tile.level, tile.index, hashes) for tile, hashes in growth.full],
            columns=("level", "index", "hashes"),
        )
    await conn.execute(
        """
        WITH moved AS (
            INSERT INTO tile_edge (level, index, hashes)
            SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
            ON CONFLICT (level) DO UPDATE SET index = excluded.index, hashes = excluded.hashes
        )
        UPDATE log_head SET size = $4
        """,
        [tile.level for tile, _ in growth.edges],
        [tile.index for tile, _ in growth.edges],
        [hashes for _, hashes in growth.edges],
        size + len(entries),
    )


# -- reading

_ENTRY = """
    SELECT index, recorded_at, key_slot, leaf, payload FROM (
        SELECT index, recorded_at, key_slot, leaf, payload FROM entry
        UNION ALL SELECT index, recorded_at, key_slot, leaf, payload FROM held_entry
    ) AS entry
"""
"""Entries, also those that are held although the log around them was pruned."""


def _stored(rows: Iterable[Any]) -> list[StoredEntry]:
    return [StoredEntry(*row.values()) for row in rows]


async def read_entry(conn: Connection, index: int) -> StoredEntry | None:
    """One entry; None if the log does not reach so far."""
    rows = await conn.fetch(f"{_ENTRY} WHERE index = $1", index)
    return _stored(rows)[0] if rows else None


async def read_entries(conn: Connection, indexes: Iterable[int]) -> list[StoredEntry]:
    """Entries by index, newest first, as far as they exist."""
    rows = await conn.fetch(
        f"{_ENTRY} WHERE index = ANY($1::bigint[]) ORDER BY index DESC", list(indexes)
    )
    return _stored(rows)


async def read_range(conn: Connection, start: int, end: int) -> list[StoredEntry]:
    """The entries `[start, end)` in order, as far as they exist."""
    rows = await conn.fetch(f"{_ENTRY} WHERE index >= $1 AND index < $2 ORDER BY index", start, end)
    return _stored(rows)


async def read_sealed(conn: Connection, indexes: Iterable[int]) -> list[SealedEntry]:
    """Entries by index, in order, as far as they exist."""
    rows = await conn.fetch(
        f"SELECT index, key_slot, leaf, payload FROM ({_ENTRY}) AS entry"
        " WHERE index = ANY($1::bigint[]) ORDER BY index",
        list(indexes),
    )
    return [SealedEntry(*row.values()) for row in rows]


async def read_sealed_range(conn: Connection, start: int, end: int) -> list[SealedEntry]:
    """The entries `[start, end)` in order, as far as they exist."""
    rows = await conn.fetch(
        f"SELECT index, key_slot, leaf, payload FROM ({_ENTRY}) AS entry"
        " WHERE index >= $1 AND index < $2 ORDER BY index",
        start,
        end,
    )
    return [SealedEntry(*row.values()) for row in rows]


async def read_leaves(conn: Connection, start: int, end: int) -> list[tuple[int, bytes]]:
    """Index and leaf of the entries `[start, end)` in order, as far as they exist."""
    rows = await conn.fetch(
        "SELECT index, leaf FROM entry WHERE index >= $1 AND index < $2 ORDER BY index", start, end
    )
    return [(row["index"], row["leaf"]) for row in rows]


async def read_tiles(conn: Connection, tiles: Iterable[Tile]) -> dict[Tile, bytes]:
    """Tiles, full or as far as they have grown; missing ones are left out."""
    wanted = list(tiles)
    # One statement, one snapshot: a tile must not become full between two.
    rows = await conn.fetch(
        """
        SELECT level, index, hashes FROM tile JOIN unnest($1::smallint[], $2::bigint[])
            AS wanted (level, index) USING (level, index)
        UNION ALL
        SELECT level, index, hashes FROM tile_edge JOIN unnest($1::smallint[], $2::bigint[])
            AS wanted (level, index) USING (level, index)
        """,
        [tile.level for tile in wanted],
        [tile.index for tile in wanted],
    )
    return {Tile(row["level"], row["index"]): row["hashes"] for row in rows}


async def read_pruned(conn: Connection) -> int:
    """Below which index entries were pruned; their hashes are all there."""
    pruned: int | None = await conn.fetchval("SELECT pruned FROM log_head")
    return pruned or 0


async def read_succession(conn: Connection) -> list[str]:
    """The notes by which the log's keys named those that followed them."""
    rows = await conn.fetch("SELECT note FROM key_succession ORDER BY named_at")
    return [row["note"] for row in rows]


async def latest_checkpoint(conn: Connection) -> SignedCheckpoint | None:
    """What the signer signed last."""
    row = await conn.fetchrow(
        "SELECT size, note, verifier_key FROM checkpoint ORDER BY size DESC, signed_at DESC LIMIT 1"
    )
    return None if row is None else SignedCheckpoint(*row.values())


async def provable_checkpoint(conn: Connection) -> SignedCheckpoint | None:
    """What the signer signed last of what is there: a restore may have lost later entries."""
    row = await conn.fetchrow(
        "SELECT size, note, verifier_key FROM checkpoint"
        " WHERE size <= (SELECT size FROM log_head) ORDER BY size DESC, signed_at DESC LIMIT 1"
    )
    return None if row is None else SignedCheckpoint(*row.values())


async def name_key(conn: Connection, verifier_key: str, note: str) -> None:
    """Keep the note by which a key names the one that follows it."""
    await conn.execute(
        "INSERT INTO key_succession (verifier_key, note) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        verifier_key,
        note,
    )


async def store_checkpoint(conn: Connection, signed: SignedCheckpoint) -> None:
    """Keep a checkpoint for readers; the same size under the same key again changes nothing."""
    await conn.execute(
        "INSERT INTO checkpoint (size, note, verifier_key) VALUES ($1, $2, $3)"
        " ON CONFLICT (size, verifier_key) DO NOTHING",
        signed.size,
        signed.note,
        signed.verifier_key,
    )
