"""Tells everybody of keys that were replaced where no service was running, or by the signer."""

from datetime import datetime

import structlog

from services.audit_log.context import Reading
from services.audit_log.store import keeping
from shared.contracts.admin import INSTALLATION, KeyRotated
from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection, in_transaction

logger = structlog.get_logger(__name__)


async def announce_rotations(reading: Reading) -> int:
    """Say `key.rotated` of each key that was replaced and not told of yet; how many."""

    async def announce(conn: Connection) -> int:
        signing = await keeping.unannounced_keys(conn)
        masters = reading.keys.unannounced_rotations()
        now = await reading.clock.now(conn)
        events = [_rotated("signing", key, now) for key, _ in signing]
        events += [_rotated("master", key, now) for key in masters]
        await enqueue(conn, events)
        await keeping.mark_announced(conn, [key for key, _ in signing])
        # Said again after a crash here, under the same id, which consumers know already.
        reading.keys.mark_rotations_announced()
        return len(events)

    return await in_transaction(reading.pool, announce)


def _rotated(kind: str, key: str, now: datetime) -> OutboxMessage:
    return fact(
        ADMIN_EVENTS,
        "key.rotated",
        source="/portalkeeper/audit_log",
        organization=INSTALLATION,
        subject="audit_log",
        cause=(kind, key),
        time=now,
        data=KeyRotated(kind, key),
    )
