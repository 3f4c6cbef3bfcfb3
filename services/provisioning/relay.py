"""Provisioning's outbox relay: `python -m services.provisioning.relay`."""

from services.provisioning.settings import Settings
from shared.process import run_relay_process

if __name__ == "__main__":
    settings = Settings()
    run_relay_process("provisioning", settings.database_url, settings.kafka)
