"""Running a service's own maintenance with the role, keys and folders of this installation."""

import os
import subprocess
import sys
from collections.abc import Sequence

from deploy.errors import CannotStart
from deploy.installation import Installation, first_port_wanted
from deploy.keys import make_secrets
from deploy.processes import Process, StopTurn

KEYS = ("AUDIT_KEYSTORE_DIR", "AUDIT_MASTER_KEY_FILE", "SIGNER_KEY_FILE", "SIGNER_STATE_DIR")
LOG = Process(
    "audit-maintenance",
    "services.audit_log.maintenance",
    "audit_owner",
    StopTurn.SERVICE,
    settings=KEYS,
)
ADMINISTRATOR = Process("audit-schemas", LOG.module, "postgres", StopTurn.SERVICE, settings=KEYS)
SIGNER = Process(
    "audit-signer",
    "services.audit_log.signer",
    "audit_signer",
    StopTurn.SERVICE,
    settings=("SIGNER_KEY_FILE", "SIGNER_STATE_DIR"),
)


def carry_out(process: Process, arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run it to its end; its exit status, what it said, and what it complained of.

    Raises:
        CannotStart: there is no installation here, and the environment names no database either.
    """
    command = [sys.executable, "-m", process.module, *arguments]
    ended = subprocess.run(
        command, env=_environment(process), capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout.strip(), ended.stderr.strip()


def _environment(process: Process) -> dict[str, str]:
    if "PORTALKEEPER_DATABASE_URL" in os.environ:
        return dict(os.environ)
    place = Installation(first_port=first_port_wanted(os.environ))
    if not place.secrets.exists():
        raise CannotStart(
            "There is no installation in this folder. Where it is elsewhere, set the variables of "
            "the audit log's processes, and PORTALKEEPER_DATABASE_URL for the role "
            f"{process.role}."
        )
    return place.environment(process, make_secrets(place.secrets))
