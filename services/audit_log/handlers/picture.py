"""Whose access is in effect, from the states that provisioning publishes.

Only two things need it: an erasure is refused while access or operations are open, and what is kept
for six years is kept from when access was last in effect.
"""

from dataclasses import dataclass

from aiokafka import ConsumerRecord
from pydantic import TypeAdapter, ValidationError

from services.audit_log.store import keeping
from services.audit_log.store.keeping import WorkerAccess
from shared.contracts.envelope import event_key
from shared.contracts.state import AccountStatus, WorkerState
from shared.errors import Rejected
from shared.kafka import Batch
from shared.postgres import Connection

_STATE = TypeAdapter(WorkerState)


@dataclass(frozen=True, slots=True)
class PictureHandler:
    """Keeps what the audit log must know of each worker."""

    def parse(self, record: ConsumerRecord[bytes | None, bytes | None]) -> WorkerAccess | None:
        """What a state says of access; None for a tombstone, after which nothing is in effect.

        Raises:
            Rejected: the record is no state, or its key is another worker's.
        """
        if record.value is None:
            return None
        try:
            state = _STATE.validate_json(record.value)
        except ValidationError as error:
            raise Rejected("invalid_data", f"{error.error_count()} fields are wrong") from error
        if record.key != event_key(state.organization, state.worker).encode():
            raise Rejected("key_mismatch", "the record's key is not organization/worker")
        return access_in(state)

    async def apply(self, conn: Connection, batch: Batch[WorkerAccess | None]) -> None:
        """Keep the newest state of each worker."""
        newest: dict[tuple[str, str], WorkerAccess] = {}
        for item in batch.items:
            if (seen := item.parsed) is not None:
                place = (seen.organization, seen.worker)
                known = newest.get(place)
                if known is None or (known.epoch, known.version) < (seen.epoch, seen.version):
                    newest[place] = seen
        await keeping.note_access(conn, [newest[place] for place in sorted(newest)])


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
    )
