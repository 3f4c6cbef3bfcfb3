"""Keeping what provisioning publishes of workers and directory."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from services.gateway.rules.roster_changes import Known
from services.gateway.store import picture as picture_store
from services.gateway.store.picture import WorkerPicture
from shared.contracts.state import WorkerState, WorkerStatus
from shared.contracts.topics import DIRECTORY_EVENTS
from shared.kafka import Batch, Record
from shared.kafka.compacted import (
    DirectoryChange,
    newest,
    read_directory_object,
    read_worker_state,
)
from shared.postgres import Connection

KINDS = frozenset({"organization", "title", "administrator", *picture_store.NAMED})
"""The kinds of directory objects that HR's lists, telling people and names on pages depend on."""

Change: TypeAlias = "WorkerPicture | DirectoryChange | None"


SignOut: TypeAlias = Callable[[Connection, str, Sequence[str]], Awaitable[None]]


class PictureHandler:
    """Applies worker states and directory objects, each only when newer than what is known.

    Args:
        sign_out: ends what lets these workers of an organization in; called for who has left.
    """

    def __init__(self, sign_out: SignOut) -> None:
        self._sign_out = sign_out

    def parse(self, record: Record) -> Change:
        """What a record of either topic tells; None for other kinds of directory objects.

        Raises:
            Rejected: the record has another key than its content, or no version, or is malformed.
        """
        if record.topic == DIRECTORY_EVENTS.name:
            return read_directory_object(record, KINDS)
        return picture_of(read_worker_state(record))

    async def apply(self, conn: Connection, batch: Batch[Change]) -> None:
        """Make the newest of everything in the batch true."""
        changes = [item.parsed for item in batch.items]
        workers = newest(
            (each for each in changes if isinstance(each, WorkerPicture)),
            lambda each: (each.organization, each.worker),
        )
        objects = newest(
            (each for each in changes if isinstance(each, DirectoryChange)),
            lambda each: (each.organization, each.kind, each.id),
        )
        if workers:
            stored = await picture_store.store_workers(conn, list(workers.values()))
            await self._sign_out_who_left(conn, stored)
        if objects:
            await picture_store.store_directory(conn, list(objects.values()))

    async def _sign_out_who_left(self, conn: Connection, stored: Sequence[WorkerPicture]) -> None:
        left: dict[str, list[str]] = {}
        for each in stored:
            if each.has_left:
                left.setdefault(each.organization, []).append(each.worker)
        for organization, workers in left.items():
            ids = await picture_store.ids_of(conn, organization, workers)
            await self._sign_out(conn, organization, ids)


def picture_of(state: WorkerState) -> WorkerPicture:
    """A state reduced to what HR's lists tell of a worker."""
    known = Known(state.worker, state.status, state.name, state.email, state.npi, state.employments)
    return WorkerPicture(
        state.organization,
        state.worker,
        state.epoch,
        state.version,
        state.merged_into,
        None if state.status is WorkerStatus.ERASED else known,
    )
