"""The gateway's outbox relay: `python -m services.gateway.relay`."""

from services.gateway.settings import Settings
from shared.process import run_relay_process

if __name__ == "__main__":
    settings = Settings()
    run_relay_process("gateway", settings.database_url, settings.kafka)
