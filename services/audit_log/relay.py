"""The audit log's outbox relay: `python -m services.audit_log.relay`."""

from services.audit_log.settings import Settings
from shared.process import run_relay_process

if __name__ == "__main__":
    settings = Settings()
    run_relay_process("audit", settings.database_url, settings.kafka)
