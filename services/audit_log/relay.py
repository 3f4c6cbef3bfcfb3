"""The audit log's outbox relay: `python -m services.audit_log.relay`."""

import asyncio
import signal

from services.audit_log.settings import Settings
from shared.outbox import run_relay
from shared.telemetry import configure_logging


async def relay(settings: Settings) -> None:
    """Relay until the process is asked to stop."""
    task = asyncio.create_task(run_relay(settings.database_url, settings.kafka))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    configure_logging("audit-relay")
    asyncio.run(relay(Settings()))
