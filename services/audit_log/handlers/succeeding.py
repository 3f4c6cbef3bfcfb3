"""Opening a successor, after a restore that lost entries which were signed.

The log that was restored cannot go on under its name: somebody holds a checkpoint of entries that
are gone. So it is frozen as it is, in a schema of its own, and still served; and a new log begins,
whose first entry carries the last checkpoint that the signer remembers of the old one, and a note
by which the old log's key names the new log's, so that nobody else need be believed. Kafka is
read on from where the restored database was, so what was lost comes in again as far as Kafka keeps
it.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit_log.signer import SignerState
from services.audit_log.store import succession
from shared.postgres import Connection
from shared.tlog.leaf import check_origin
from shared.tlog.note import NoteError, SignerKey, name_next_log, open_note

MIGRATIONS = Path(__file__).parents[1] / "migrations"
_APPLY = re.compile(r"-- migrate: apply\n(.*?)(?:-- migrate: rollback|\Z)", re.DOTALL)


class CannotSucceed(Exception):
    """No successor can be opened; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A successor: what it follows, in which schema that is, and how much of it was lost.

    `named` says whether a key of the old log names the new one's.
    """

    origin: str
    old_origin: str
    old_schema: str
    signed_size: int
    stored_size: int
    named: bool


async def open_successor(
    conn: Connection, state_folder: Path, origin: str, keys: Sequence[Ed25519PrivateKey]
) -> Opened:
    """Freeze the log and open a successor called `origin`.

    Call it as the database's administrator, while neither the audit log nor its signer runs.

    Args:
        keys: the key that the successor will be signed with; then others, if any, that the old log
            was signed with.

    Raises:
        CannotSucceed: nothing is lost, nothing is remembered, or the name is taken.
        Refused: a signer runs.
        LeafError: the name cannot be a log's.
    """
    check_origin(origin)
    state = SignerState(state_folder)
    try:
        note = state.remembered_note()
        if note is None:
            raise CannotSucceed(f"{state_folder} remembers no checkpoint: nothing to follow")
        old_origin, size = note.split("\n")[0], int(note.split("\n")[1])
        async with conn.transaction():
            # After a crash behind the commit only the signer's memory is left to be set aside.
            frozen = await succession.read_frozen(conn, note)
            if frozen is None:
                statement = _name_next(note, old_origin, origin, keys)
                frozen = await _freeze(conn, origin, old_origin, size, note, statement)
        state.set_aside(old_origin)
        before, stored = frozen
        named = before.statement is not None
        return Opened(origin, old_origin, before.schema, size, stored, named)
    finally:
        state.close()


def migrations() -> list[str]:
    """The statements that make the tables of a log, in their order."""
    found = [_APPLY.search(path.read_text()) for path in sorted(MIGRATIONS.glob("*.sql"))]
    return [each[1] for each in found if each is not None]


def _name_next(
    note: str, old_origin: str, origin: str, keys: Sequence[Ed25519PrivateKey]
) -> str | None:
    """The note that names the new log's key, by a key that signed the old one's last `note`."""
    following = SignerKey(origin, keys[0]).verifier
    for key in (SignerKey(old_origin, each) for each in keys):
        with suppress(NoteError):
            open_note(note, key.verifier)
            return name_next_log(key, following)
    return None


async def _freeze(
    conn: Connection, origin: str, old_origin: str, size: int, note: str, statement: str | None
) -> tuple[succession.Predecessor, int]:
    """Put the old log aside and make the tables of the new one; the old one and its size."""
    stored = await succession.read_log(conn)
    if stored is None or stored[0] != old_origin:
        raise CannotSucceed(f"the database does not hold the log {old_origin}")
    if origin == old_origin:
        raise CannotSucceed("a successor needs another name")
    if stored[1] >= size and await succession.holds_checkpoint(conn, note):
        raise CannotSucceed(f"nothing is lost: all {size} signed entries are there")
    schema = await succession.freeze(conn)
    await succession.make_schema(conn, "audit_log", migrations())
    before = succession.Predecessor(old_origin, schema, note, statement)
    await succession.carry_over(conn, before)
    return before, stored[1]
