"""Whose access is in effect, from the states that provisioning publishes.

Only two things need it: an erasure is refused while access or operations are open, and what is kept
for six years is kept from when access was last in effect.
"""

from dataclasses import dataclass

from aiokafka import ConsumerRecord

from services.audit_log.store import keeping
from services.audit_log.store.keeping import WorkerAccess
from shared.contracts.state import AccountStatus, WorkerState, WorkerStatus
from shared.kafka import Batch
from shared.kafka.compacted import newest, read_worker_state
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class PictureHandler:
    """Keeps what the audit log must know of each worker."""

    def parse(self, record: ConsumerRecord[bytes | None, bytes | None]) -> WorkerAccess:
        """What a state says of access; after a tombstone nothing is in effect.

        Raises:
            Rejected: the record is no state, or its key is another worker's.
        """
        return access_in(read_worker_state(record))

    async def apply(self, conn: Connection, batch: Batch[WorkerAccess]) -> None:
        """Keep the newest state of each worker, and forget whom the log has erased."""
        found = newest(
            (item.parsed for item in batch.items), lambda each: (each.organization, each.worker)
        )
        states = [found[place] for place in sorted(found)]
        await keeping.note_access(conn, states)
        await keeping.forget_erased(conn, [each for each in states if each.erased])


def access_in(state: WorkerState) -> WorkerAccess:
    """What a worker's state says of access; `last_in_effect` is the state's own instant."""
    in_effect = any(
        portal.effective or portal.status is AccountStatus.ACTIVE for portal in state.portals
    )
    operations = sum(len(portal.operations) for portal in state.portals)
    return WorkerAccess(
        state.organization,
        state.worker,
        state.epoch,
        state.version,
        in_effect,
        operations,
        state.as_of,
        list(state.aliases),
        state.status is WorkerStatus.ERASED,
    )
