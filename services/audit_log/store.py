"""All SQL of the audit log.

Entries and full tiles are only ever inserted. Their dense index is handed out under the lock of the
head row, which is held until the commit, so whoever reads the head sees every entry below it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.audit_log.chain import Growth
from shared.postgres import Connection
from shared.tlog.tiles import Tile

SEARCH_BLOCK_ENTRIES = 1024
"""How finely `search_block` says where a term occurs: coarser saves rows, finer saves reading."""

SEARCH_BLOCKS_PER_READ = 64
PARTITION_ENTRIES = 4_194_304
"""The span of a partition of `entry`, as in the migration that makes them."""


class WrongLog(Exception):
    """The database holds the log of another origin."""


@dataclass(slots=True)
class NewEntry:
    """An entry that has no index yet. Gaps have neither key slot nor payload.

    `organization`, `type`, `topic` and `subject` are what it is searched by; `identity` is 64 bits
    of a hash of what makes its event the same event again, None where that could not be read.
    """

    leaf: bytes
    leaf_hash: bytes
    key_slot: int | None
    payload: bytes | None
    organization: str
    type: str
    topic: str
    subject: str
    identity: int | None


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """What it takes to open an entry."""

    index: int
    key_slot: int | None
    leaf: bytes
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as stored; `recorded_at` is the database's time in UTC.

    `subject` is None where the entry is not searched by one. `same_event` are older entries whose
    event has the same organization, source and id.
    """

    index: int
    recorded_at: datetime
    key_slot: int | None
    leaf: bytes
    payload: bytes | None
    subject: str | None
    same_event: list[int]

    @property
    def sealed(self) -> SealedEntry:
        """Its encrypted part."""
        return SealedEntry(self.index, self.key_slot, self.leaf, self.payload)


@dataclass(frozen=True, slots=True)
class Filter:
    """What a search asks for; None leaves a property open."""

    organization: str
    worker: str | None = None
    type: str | None = None
    topic: str | None = None


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
        "SELECT add_entry_partitions(size + $1) FROM log_head", PARTITION_ENTRIES
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
    await conn.copy_records_to_table(
        "search",
        records=[
            (
                index,
                entry.organization,
                entry.type,
                entry.topic,
                entry.subject,
                entry.identity,
            )
            for index, entry in enumerate(entries, size)
        ],
        columns=("index", "organization", "type", "topic", "subject", "identity"),
    )
    blocks = list(set(_blocks(size, entries)))
    await conn.execute(
        """
        INSERT INTO search_block (term, block)
        SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT DO NOTHING
        """,
        [term for term, _ in blocks],
        [block for _, block in blocks],
    )
    if growth.full:
        await conn.copy_records_to_table(
            "tile",
            records=[(tile.level, tile.index, hashes) for tile, hashes in growth.full],
            columns=("level", "index", "hashes"),
        )
    await conn.execute(
        """
        INSERT INTO tile_edge (level, index, hashes)
        SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
        ON CONFLICT (level) DO UPDATE SET index = excluded.index, hashes = excluded.hashes
        """,
        [tile.level for tile, _ in growth.edges],
        [tile.index for tile, _ in growth.edges],
        [hashes for _, hashes in growth.edges],
    )
    await conn.execute("UPDATE log_head SET size = $1", size + len(entries))


def _blocks(size: int, entries: Sequence[NewEntry]) -> Iterator[tuple[int, int]]:
    terms: dict[tuple[str, str, str], tuple[int, ...]] = {}
    for index, entry in enumerate(entries, size):
        names = (entry.organization, entry.type, entry.topic)
        if names not in terms:
            terms[names] = (
                _term(Filter(entry.organization)),
                _term(Filter(entry.organization, type=entry.type)),
                _term(Filter(entry.organization, topic=entry.topic)),
            )
        for term in terms[names]:
            yield term, index // SEARCH_BLOCK_ENTRIES


def _term(wanted: Filter) -> int:
    """What `search_block` knows of a search: its organization, with its type or else its topic."""
    if wanted.type is not None:
        name = f"{wanted.organization}\x00type\x00{wanted.type}"
    elif wanted.topic is not None:
        name = f"{wanted.organization}\x00topic\x00{wanted.topic}"
    else:
        name = wanted.organization
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


# -- reading

_ENTRY = """
    SELECT entry.index, entry.recorded_at, entry.key_slot, entry.leaf, entry.payload,
        search.subject,
        ARRAY (
            SELECT earlier.index FROM search AS earlier
            WHERE earlier.identity = search.identity AND earlier.index < search.index
            ORDER BY earlier.index LIMIT 8
        ) AS same_event
    FROM entry LEFT JOIN search ON search.index = entry.index
"""

_MATCHES = """
    search.organization = $1
    AND ($2::text IS NULL OR search.subject = $2)
    AND ($3::text IS NULL OR search.type = $3)
    AND ($4::text IS NULL OR search.topic = $4)
"""


def _stored(rows: Iterable[Any]) -> list[StoredEntry]:
    return [StoredEntry(*row.values()) for row in rows]


async def read_entry(conn: Connection, index: int) -> StoredEntry | None:
    """One entry; None if the log does not reach so far."""
    rows = await conn.fetch(f"{_ENTRY} WHERE entry.index = $1", index)
    return _stored(rows)[0] if rows else None


async def search(
    conn: Connection, wanted: Filter, before: int, limit: int
) -> tuple[list[StoredEntry], int | None]:
    """Up to `limit` matching entries below the index `before`, newest first, and where to go on."""
    if wanted.worker is not None:
        indexes = await _indexes_of_worker(conn, wanted, before, limit)
    else:
        indexes = await _indexes_by_block(conn, wanted, before, limit)
    rows = await conn.fetch(
        f"{_ENTRY} WHERE entry.index = ANY($1::bigint[]) ORDER BY entry.index DESC", indexes
    )
    return _stored(rows), indexes[-1] if len(indexes) == limit else None


async def _indexes_of_worker(
    conn: Connection, wanted: Filter, before: int, limit: int
) -> list[int]:
    rows = await conn.fetch(
        f"""
        SELECT search.index FROM search
        WHERE hashtextextended(search.subject, 0) = hashtextextended($2::text, 0)
          AND {_MATCHES} AND search.index < $5
        ORDER BY search.index DESC LIMIT $6
        """,
        wanted.organization,
        wanted.worker,
        wanted.type,
        wanted.topic,
        before,
        limit,
    )
    return [row["index"] for row in rows]


async def _indexes_by_block(conn: Connection, wanted: Filter, before: int, limit: int) -> list[int]:
    """Walk the blocks that hold the term from the newest on, until there are enough matches."""
    found: list[int] = []
    below = (before - 1) // SEARCH_BLOCK_ENTRIES + 1
    while True:
        blocks = await conn.fetch(
            "SELECT block FROM search_block WHERE term = $1 AND block < $2"
            " ORDER BY block DESC LIMIT $3",
            _term(wanted),
            below,
            SEARCH_BLOCKS_PER_READ,
        )
        for block in (row["block"] for row in blocks):
            rows = await conn.fetch(
                f"""
                SELECT search.index FROM search
                WHERE {_MATCHES} AND search.index >= $5 AND search.index < $6
                ORDER BY search.index DESC LIMIT $7
                """,
                wanted.organization,
                None,
                wanted.type,
                wanted.topic,
                block * SEARCH_BLOCK_ENTRIES,
                min(before, (block + 1) * SEARCH_BLOCK_ENTRIES),
                limit - len(found),
            )
            found += [row["index"] for row in rows]
            if len(found) == limit:
                return found
        if len(blocks) < SEARCH_BLOCKS_PER_READ:
            return found
        below = blocks[-1]["block"]


async def read_range(conn: Connection, start: int, end: int) -> list[StoredEntry]:
    """The entries `[start, end)` in order, as far as they exist."""
    rows = await conn.fetch(
        f"{_ENTRY} WHERE entry.index >= $1 AND entry.index < $2 ORDER BY entry.index", start, end
    )
    return _stored(rows)


async def read_sealed(conn: Connection, indexes: Iterable[int]) -> list[SealedEntry]:
    """Entries by index, in order, as far as they exist."""
    rows = await conn.fetch(
        "SELECT index, key_slot, leaf, payload FROM entry WHERE index = ANY($1::bigint[])"
        " ORDER BY index",
        list(indexes),
    )
    return [SealedEntry(*row.values()) for row in rows]


async def read_sealed_range(conn: Connection, start: int, end: int) -> list[SealedEntry]:
    """The entries `[start, end)` in order, as far as they exist."""
    rows = await conn.fetch(
        "SELECT index, key_slot, leaf, payload FROM entry"
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
        "SELECT size, note, verifier_key FROM checkpoint ORDER BY size DESC LIMIT 1"
    )
    return None if row is None else SignedCheckpoint(*row.values())


async def store_checkpoint(conn: Connection, signed: SignedCheckpoint) -> None:
    """Keep a checkpoint for readers; the same size again changes nothing."""
    await conn.execute(
        "INSERT INTO checkpoint (size, note, verifier_key) VALUES ($1, $2, $3)"
        " ON CONFLICT (size) DO NOTHING",
        signed.size,
        signed.note,
        signed.verifier_key,
    )
