"""The review scheduler's outbox relay: `python -m services.review_scheduler.relay`."""

from services.review_scheduler.settings import Settings
from shared.process import run_relay_process

if __name__ == "__main__":
    settings = Settings()
    run_relay_process("review", settings.database_url, settings.kafka)
