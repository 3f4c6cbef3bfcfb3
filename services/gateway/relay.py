"""The gateway's outbox relay: `python -m services.gateway.relay`."""

import sys

from services.gateway.settings import Settings
from shared.process import run_relay_process

if __name__ == "__main__":
    sys.exit(run_relay_process("gateway", Settings))
