"""What is done to the log by hand, where its processes run.

    python -m services.audit_log.maintenance COMMAND

    backup-log FOLDER             every table of the log, as of one moment; no keys
    backup-keys FOLDER            the key store; keep it no longer than an erasure may take
    restore-log FOLDER [--in-place-of ORIGIN]
                                  into an empty, prepared database, or once the named log, which is
                                  there, is put aside
    restore-keys FOLDER           into an empty key store
    succeed ORIGIN                after a restore that lost signed entries: freeze, and begin anew
    prune                         drop what need not be kept any longer, but for what is held
    rotate-master NEW_KEY_FILE    wrap all keys by another master key; the services must be stopped

Those that change tables need `PORTALKEEPER_DATABASE_URL` of the role `audit_owner`; `restore-log`
and `succeed` the administrator's.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

import asyncpg
from pydantic import ValidationError

from services.audit_log.crypto import KeyStore, KeyStoreError, read_master_key, rotate_master_key
from services.audit_log.handlers import backup
from services.audit_log.handlers.pruning import CannotPrune, prune_next
from services.audit_log.handlers.succeeding import CannotSucceed, open_successor
from services.audit_log.rules.terms import SECRET_LABEL, Terms
from services.audit_log.settings import Settings
from services.audit_log.signer import Refused, read_key
from shared.postgres import create_pool, in_transaction
from shared.tlog.leaf import LeafError


def rotate_master(settings: Settings, new_key_file: Path) -> str:
    """Wrap all keys by the master key in `new_key_file`; what to do next.

    Raises:
        KeyStoreError: a process uses the key store, or a key is not what it should be.
    """
    fingerprint = rotate_master_key(
        settings.audit_keystore_dir,
        read_master_key(settings.audit_master_key_file),
        read_master_key(new_key_file),
    )
    return (
        f"All keys are wrapped by the master key {fingerprint}. Put it where the audit log and its"
        f" projector look for it ({settings.audit_master_key_file}), start them, and destroy the"
        " one before with its copies."
    )


async def back_up_log(settings: Settings, folder: Path) -> str:
    """Back the log up; a sentence about it."""
    conn: asyncpg.Connection[Any] = await asyncpg.connect(settings.database_url)
    try:
        rows = await backup.back_up_log(conn, folder)
    finally:
        await conn.close()
    return f"{rows['entry'] + rows['held_entry']} entries are backed up in {folder}, without keys."


async def restore_log(settings: Settings, folder: Path, in_place_of: str | None) -> str:
    """Restore the log; what was done, and what to do next."""
    conn: asyncpg.Connection[Any] = await asyncpg.connect(settings.database_url)
    try:
        rows, aside = await backup.restore_log(conn, folder, in_place_of)
    finally:
        await conn.close()
    said = (
        f"{rows['entry'] + rows['held_entry']} entries are restored. If the signer refuses to go"
        " on, entries that it signed are lost: see succeed."
    )
    if not aside:
        return said
    return (
        f"{said} What was there is not deleted: it is in {', '.join(aside)} of the database. Once"
        f" nobody needs it: DROP SCHEMA {', '.join(aside)} CASCADE;"
    )


def back_up_keys(settings: Settings, folder: Path) -> str:
    """Copy the key store; a sentence about it."""
    keys = KeyStore(settings.audit_keystore_dir, read_master_key(settings.audit_master_key_file))
    files = backup.back_up_keys(keys, folder)
    return f"{files} files are in {folder}, wrapped by the master key, which is not among them."


def restore_keys(settings: Settings, folder: Path) -> str:
    """Restore the key store; a sentence about it."""
    files = backup.restore_keys(folder, settings.audit_keystore_dir)
    return f"{files} files are restored to {settings.audit_keystore_dir}."


async def succeed(settings: Settings, origin: str) -> str:
    """Open a successor; what to do next."""
    paths = (settings.signer_key_file, settings.signer_previous_key_file)
    keys = [read_key(path, origin).private for path in paths if path == paths[0] or path.exists()]
    conn: asyncpg.Connection[Any] = await asyncpg.connect(settings.database_url)
    try:
        opened = await open_successor(conn, settings.signer_state_dir, origin, keys)
    finally:
        await conn.close()
    named = (
        "Its key names the new log's: whoever knows it needs to be told nothing."
        if opened.named
        else "The key that signed it is not here, so nothing names the new log's: tell auditors."
    )
    return (
        f"{opened.old_origin} is frozen with {opened.stored_size} of {opened.signed_size} signed"
        f" entries. Set PORTALKEEPER_LOG_ORIGIN={opened.origin} and start the signer and the audit"
        f" log: the first entry carries the last checkpoint of the log before. {named}"
    )


async def prune(settings: Settings) -> str:
    """Prune as far as may be; a sentence about it."""
    keys = KeyStore(settings.audit_keystore_dir, read_master_key(settings.audit_master_key_file))
    terms, years = Terms(keys.derive(SECRET_LABEL)), settings.audit_retention_years
    pool = await create_pool(settings.database_url, max_size=1)
    entries = kept = 0
    try:
        while pruned := await in_transaction(pool, lambda conn: prune_next(conn, terms, years)):
            entries += pruned.end - pruned.first
            kept += pruned.kept
    finally:
        await pool.close()
    return f"{entries} entries are pruned; {kept} of them are held and kept aside."


def main() -> int:
    """Do what the command line says; the exit status is 0, or 1 after a sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("backup-log", "backup-keys", "restore-keys"):
        commands.add_parser(name).add_argument("folder", type=Path)
    restored = commands.add_parser("restore-log")
    restored.add_argument("folder", type=Path)
    restored.add_argument("--in-place-of")
    commands.add_parser("succeed").add_argument("origin")
    commands.add_parser("prune")
    commands.add_parser("rotate-master").add_argument("new_key_file", type=Path)
    given = parser.parse_args()
    try:
        settings = Settings()
        print(_carry_out(given, settings))
    except (
        ValidationError,
        KeyStoreError,
        backup.CannotRestore,
        CannotPrune,
        CannotSucceed,
        Refused,
        LeafError,
        asyncpg.PostgresError,
        OSError,
    ) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _carry_out(given: argparse.Namespace, settings: Settings) -> str:
    match given.command:
        case "backup-log":
            return asyncio.run(back_up_log(settings, given.folder))
        case "restore-log":
            return asyncio.run(restore_log(settings, given.folder, given.in_place_of))
        case "backup-keys":
            return back_up_keys(settings, given.folder)
        case "restore-keys":
            return restore_keys(settings, given.folder)
        case "succeed":
            return asyncio.run(succeed(settings, given.origin))
        case "prune":
            return asyncio.run(prune(settings))
        case _:
            return rotate_master(settings, given.new_key_file)


if __name__ == "__main__":
    sys.exit(main())
