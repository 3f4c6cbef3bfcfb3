"""The audit log's outbox relay: `python -m services.audit_log.relay`."""

import sys

from services.audit_log.settings import Settings
from shared.process import run_relay_process

if __name__ == "__main__":
    sys.exit(run_relay_process("audit", Settings))
