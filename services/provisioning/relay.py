"""Provisioning's outbox relay: `python -m services.provisioning.relay`."""

import sys

from services.provisioning.settings import Settings
from shared.process import run_relay_process

if __name__ == "__main__":
    sys.exit(run_relay_process("provisioning", Settings))
