"""Reading the compacted topics: the newest state of each thing, whoever keeps a picture of it.

Records of a key are applied only when their (epoch, version) is higher than what is known.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError

from shared.contracts.directory import CLOCK_MODELS, DIRECTORY_MODELS, DirectoryObject
from shared.contracts.envelope import ORGANIZATION, event_key
from shared.contracts.hr import describe
from shared.contracts.state import WorkerState, WorkerStatus
from shared.errors import Rejected
from shared.kafka import Record

_STATE = TypeAdapter(WorkerState)
_MODELS = DIRECTORY_MODELS | CLOCK_MODELS


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """The state of one directory object; `value` is None once it was removed."""

    organization: str
    kind: str
    id: str
    epoch: int
    version: int
    value: DirectoryObject | None


def read_worker_state(record: Record) -> WorkerState:
    """The state in a record; a tombstone reads as the state of somebody erased.

    Raises:
        Rejected: the record has another key than its content, or no version, or is malformed.
    """
    if record.value is None:
        organization, worker = read_key(record, 2)
        epoch, version = read_version(record)
        as_of = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        return WorkerState(organization, worker, epoch, version, as_of, WorkerStatus.ERASED)
    try:
        state = _STATE.validate_json(record.value)
    except ValidationError as error:
        raise Rejected("invalid_data", describe(error)) from error
    if record.key != event_key(state.organization, state.worker).encode():
        raise Rejected("key_mismatch", "the record's key is not organization/worker")
    return state


def read_directory_object(record: Record, kinds: Collection[str]) -> DirectoryChange | None:
    """The object in a record, removed if the record is a tombstone or says so.

    None for other kinds than `kinds`.

    Raises:
        Rejected: as `read_worker_state`.
    """
    organization, kind, id = read_key(record, 3)
    if kind not in kinds:
        return None
    epoch, version = read_version(record)
    removed = record.value is None or read_header(record, "ce_type") == f"{kind}.removed"
    if removed or record.value is None:
        return DirectoryChange(organization, kind, id, epoch, version, None)
    try:
        value = _MODELS[kind].model_validate_json(record.value)
    except ValidationError as error:
        raise Rejected("invalid_data", describe(error)) from error
    return DirectoryChange(organization, kind, id, epoch, version, value)


def read_key(record: Record, parts: int) -> list[str]:
    """The parts of a record's key, decoded; the first is the organization.

    Raises:
        Rejected: it has another number of parts, or one that is no text.
    """
    try:
        found = [unquote(each, errors="strict") for each in (record.key or b"").decode().split("/")]
    except UnicodeDecodeError as error:
        raise Rejected("invalid_key", "the record's key is not UTF-8 text") from error
    if len(found) != parts or not all(found) or not ORGANIZATION.fullmatch(found[0]):
        raise Rejected("invalid_key", f"the record's key does not have {parts} parts")
    if "\x00" in "".join(found):
        raise Rejected("invalid_key", "the record's key holds a NUL character")
    return found


def read_version(record: Record) -> tuple[int, int]:
    """The record's (epoch, version), which only grow.

    Raises:
        Rejected: it has none.
    """
    try:
        return int(read_header(record, "ce_epoch")), int(read_header(record, "ce_version"))
    except ValueError as error:
        raise Rejected("missing_version", "ce_epoch or ce_version is not a number") from error


def read_header(record: Record, name: str) -> str:
    """A header's text; "" where it is missing."""
    for header, value in record.headers:
        if header == name:
            return bytes(value).decode(errors="replace")
    return ""


class _Versioned(Protocol):
    @property
    def epoch(self) -> int: ...
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=_Versioned)
K = TypeVar("K")


def newest(changes: Iterable[V], key: Callable[[V], K]) -> dict[K, V]:
    """Of each thing, by its key, the change with the highest version."""
    found: dict[K, V] = {}
    for change in changes:
        known = found.get(key(change))
        if known is None or (known.epoch, known.version) < (change.epoch, change.version):
            found[key(change)] = change
    return found
