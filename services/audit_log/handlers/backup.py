"""Backing the log up into a folder, and restoring it into an empty database.

The log's backup holds every table of the log as of one moment, with where each Kafka partition was
read up to. It holds no keys and not what the signer remembers. Keys have a backup of their own,
which must not outlive an erasure by more than some days: what is erased is erased once its last
copy is gone. The signer's memory belongs in no backup, so that a restored log that lost entries is
noticed: the signer refuses it, and a successor is opened.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from services.audit_log.crypto import KeyStore
from services.audit_log.store import backups
from shared.postgres import Connection

MANIFEST = "manifest.json"


class CannotRestore(Exception):
    """A backup is damaged, or the database is not empty."""


async def back_up_log(conn: Connection, folder: Path) -> dict[str, int]:
    """Write every table of the log as of one moment; how many rows each has.

    Raises:
        CannotRestore: the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CannotRestore(f"{folder} is not empty: give each backup a folder of its own")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files: dict[str, Any] = {}
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        for table in backups.TABLES:
            path = folder / f"{table}.copy"
            rows = await backups.copy_out(conn, table, path)
            files[table] = {"rows": rows, "sha256": _sha256_of(path)}
    manifest = {"version": 1, "migrations": backups.MIGRATIONS, "tables": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    _sync(folder)
    return {table: each["rows"] for table, each in files.items()}


async def restore_log(conn: Connection, folder: Path) -> dict[str, int]:
    """Fill an empty, prepared database from a backup; how many rows each table has.

    Raises:
        CannotRestore: the backup is damaged or of another version, or there is a log already.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise CannotRestore(f"{folder} holds no backup: {error}") from error
    if manifest["migrations"] != backups.MIGRATIONS:
        raise CannotRestore("the backup is of another version: restore it with that one")
    for table, known in manifest["tables"].items():
        if _sha256_of(folder / f"{table}.copy") != known["sha256"]:
            raise CannotRestore(f"{folder / table}.copy is damaged")
    async with conn.transaction():
        if await backups.is_used(conn):
            raise CannotRestore("the database holds a log already: prepare an empty one")
        for table in backups.TABLES:
            await backups.copy_in(conn, table, folder / f"{table}.copy")
    return {table: known["rows"] for table, known in manifest["tables"].items()}


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
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
