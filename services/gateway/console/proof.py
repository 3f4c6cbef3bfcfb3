"""What the audit log holds of events that a page shows, with its proofs checked here."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from services.gateway.console.commands import fresh_key
from services.gateway.console.visitor import Visitor
from services.gateway.services import ServiceDown, Services
from shared.errors import Problem
from shared.tlog.merkle import ProofError
from shared.tlog.note import NoteError
from shared.tlog.proved import Proved, check_proofs

LOOKUP_EVENTS = 500
MAX_PROOFS = 1_000
T = TypeVar("T")


@dataclass(slots=True)
class Audited:
    """What the audit log holds of events: entries by event id, and what is proved of them.

    `why_not` says, where nothing could be asked or proved, why.
    """

    entries: dict[str, int] = field(default_factory=dict)
    proved: Proved | None = None
    why_not: str | None = None


async def look_up(
    services: Services, visitor: Visitor, events: Sequence[tuple[str, str]]
) -> Audited:
    """The audit entries of events by (source, id), with their inclusion checked here."""
    who = visitor.principal
    if not events:
        return Audited()
    if not who.may("audit:read"):
        return Audited(why_not="Audit entries are shown to whoever may read the audit log.")
    try:
        entries: dict[str, int] = {}
        for some in batched(dict.fromkeys(events), LOOKUP_EVENTS):
            wanted = {"events": [{"source": source, "id": id_} for source, id_ in some]}
            found = await services.post(who, "audit", "/audit/v1/lookup", wanted, fresh_key())
            entries |= {each["id"]: each["index"] for each in found["entries"]}
        log = await services.get(who, "audit", "/audit/v1/log")
        signed = [index for index in entries.values() if index < (log["checkpoint_size"] or 0)]
        if not signed:
            return Audited(entries, why_not="No signed checkpoint covers these entries yet.")
        answer = await services.post(
            who, "audit", "/audit/v1/proofs", {"indexes": signed[:MAX_PROOFS]}, fresh_key()
        )
        return Audited(entries, check_proofs(answer))
    except ServiceDown:
        return Audited(why_not="The audit log does not answer; the entries are missing here.")
    except Problem as problem:
        return Audited(why_not=f"The audit log refused: {problem.detail}")
    except (ProofError, NoteError, KeyError, ValueError) as error:
        return Audited(entries, why_not=f"The proofs of the audit log are WRONG: {error}")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in lists of at most `size`."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
