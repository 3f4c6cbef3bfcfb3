"""The review scheduler's outbox relay: `python -m services.review_scheduler.relay`."""

import sys

from services.review_scheduler.settings import Settings
from shared.process import run_relay_process

if __name__ == "__main__":
    sys.exit(run_relay_process("review_scheduler", Settings))
