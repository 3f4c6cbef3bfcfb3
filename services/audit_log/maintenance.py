"""What is done to the log by hand, where its processes run.

    python -m services.audit_log.maintenance COMMAND

rotate-master NEW_KEY_FILE    wrap all keys by another master key; the services must be stopped
"""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from services.audit_log.crypto import KeyStoreError, read_master_key, rotate_master_key
from services.audit_log.settings import Settings


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


def main() -> int:
    """Do what the command line says; the exit status is 0, or 1 after a sentence."""
    parser = argparse.ArgumentParser(description="Maintain the audit log.")
    commands = parser.add_subparsers(dest="command", required=True)
    rotate = commands.add_parser("rotate-master", help="wrap all keys by another master key")
    rotate.add_argument("new_key_file", type=Path)
    given = parser.parse_args()
    try:
        print(rotate_master(Settings(), given.new_key_file))
    except (ValidationError, KeyStoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
