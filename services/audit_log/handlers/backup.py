"""Backing the log up into a folder, and restoring it into an empty database.

Nothing is ever dropped for a restore: a log that is in its way is put aside once it was named.

The log's backup holds every table of the log and of those before it as of one moment, with where
each Kafka partition was read up to. It holds no keys and not what the signer remembers. Keys have a
backup of their own, which must not outlive an erasure by more than some days: what is erased is
erased once its last copy is gone. The signer's memory belongs in no backup, so that a restored log
that lost entries is noticed: the signer refuses it, and a successor is opened.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from services.audit_log.crypto import KeyStore
from services.audit_log.handlers.succeeding import migrations
from services.audit_log.store import backups, succession
from shared.postgres import Connection

MANIFEST = "manifest.json"

Tables: TypeAlias = dict[str, dict[str, Any]]
"""Of each table: how many rows, of which columns, and the SHA-256 of the file."""


class CannotRestore(Exception):
    """A backup is damaged, or the database is not empty."""


async def back_up_log(conn: Connection, folder: Path) -> dict[str, int]:
    """Write every table of the log, and of those before it, as of one moment.

    Returns:
        How many rows each table has, over all logs.

    Raises:
        CannotRestore: the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CannotRestore(f"{folder} is not empty: give each backup a folder of its own")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    frozen: dict[str, Tables] = {}
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        tables = await _copy_out(conn, backups.TABLES, folder)
        for before in await succession.read_predecessors(conn):
            async with succession.turned_to(conn, before.schema):
                inner = folder / before.schema
                inner.mkdir(mode=0o700)
                frozen[before.schema] = await _copy_out(conn, backups.FROZEN_TABLES, inner)
    manifest = {
        "version": 2,
        "migrations": backups.MIGRATIONS,
        "tables": tables,
        "frozen": frozen,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    for each in (*(folder / schema for schema in frozen), folder):
        _sync(each)
    return _rows(manifest)


async def restore_log(
    conn: Connection, folder: Path, in_place_of: str | None = None
) -> tuple[dict[str, int], list[str]]:
    """Fill an empty, prepared database from a backup.

    Call it as the database's administrator; as the owner of the log's tables where nothing is put
    aside and the backup holds no log before this one.

    Args:
        in_place_of: the log that is in the database; it and those before it are put aside.

    Returns:
        How many rows each table has, over all logs, and in which schemas is what was put aside.

    Raises:
        CannotRestore: the backup is damaged or of another version, or there is a log already that
            nobody named.
    """
    manifest = _checked_manifest(folder)
    aside: list[str] = []
    async with conn.transaction():
        here = await backups.origin_here(conn)
        if here is not None and here != in_place_of:
            named = f"the log {here}" if here else "what was read for a log"
            raise CannotRestore(
                f"the database holds {named} already: prepare an empty one, or put it aside with"
                f" --in-place-of {here or 'NAME'}"
            )
        if in_place_of is not None:
            if here is None:
                raise CannotRestore(f"the database does not hold the log {in_place_of}")
            aside = await succession.put_aside(conn)
            await succession.make_schema(conn, "audit_log", migrations())
        async with succession.as_owner(conn, "audit_log"):
            await _copy_in(conn, manifest["tables"], folder)
        for schema, tables in manifest["frozen"].items():
            await succession.make_schema(conn, schema, migrations())
            async with succession.as_owner(conn, schema):
                await _copy_in(conn, tables, folder / schema)
            await succession.close(conn, schema)
        if aside:
            await succession.forget_search(conn)
    return _rows(manifest), aside


async def _copy_out(conn: Connection, names: Sequence[str], folder: Path) -> Tables:
    tables: Tables = {}
    for table in names:
        path, columns = folder / f"{table}.copy", await backups.columns_of(conn, table)
        rows = await backups.copy_out(conn, table, columns, path)
        tables[table] = {"rows": rows, "columns": columns, "sha256": _sha256_of(path)}
    return tables


async def _copy_in(conn: Connection, tables: Tables, folder: Path) -> None:
    for table, known in tables.items():
        await backups.copy_in(conn, table, known["columns"], folder / f"{table}.copy")


def _checked_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise CannotRestore(f"{folder} holds no backup: {error}") from error
    if (manifest["version"], manifest["migrations"]) != (2, backups.MIGRATIONS):
        raise CannotRestore("the backup is of another version: restore it with that one")
    for inner, tables in {".": manifest["tables"], **manifest["frozen"]}.items():
        for table, known in tables.items():
            path = folder / inner / f"{table}.copy"
            if _sha256_of(path) != known["sha256"]:
                raise CannotRestore(f"{path} is damaged")
    return manifest


def _rows(manifest: dict[str, Any]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for tables in (manifest["tables"], *manifest["frozen"].values()):
        counts.update({table: each["rows"] for table, each in tables.items()})
    return dict(counts)


def back_up_keys(keys: KeyStore, folder: Path) -> int:
    """Copy the key store while nobody writes to it; how many files.

    Raises:
        CannotRestore: the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CannotRestore(f"{folder} is not empty: give each backup a folder of its own")
    return keys.copy_to(folder)


def restore_keys(folder: Path, keystore: Path) -> int:
    """Put a copied key store in the place of a missing one; how many files.

    Raises:
        CannotRestore: there is a key store already.
    """
    if any(keystore.glob("*.seg")):
        raise CannotRestore(f"{keystore} holds keys already: move them away first")
    keystore.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = [path.name for path in folder.iterdir() if path.suffix in (".seg", ".key", ".json")]
    for name in names:
        shutil.copyfile(folder / name, keystore / name)
        (keystore / name).chmod(0o600)
    _sync(keystore)
    return len(names)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    for path in filter(Path.is_file, folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
