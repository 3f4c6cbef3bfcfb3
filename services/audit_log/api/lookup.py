"""Finding the entries of events that somebody already knows by source and id, many at a time."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from services.audit_log import store
from services.audit_log.context import Reading
from services.audit_log.reading import Showing
from services.audit_log.rules.chain import event_names
from services.audit_log.store import search
from shared.auth import Authenticator, Principal
from shared.errors import Problem
from shared.postgres import Connection, in_transaction

MAX_EVENTS = 500
MAX_NAMED_IN_RECORD = 20


class EventName(BaseModel):
    """What makes an event of one's own organization the same event again."""

    source: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")
    id: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")


class WantedEvents(BaseModel):
    """The events to find."""

    events: Annotated[list[EventName], Field(min_length=1, max_length=MAX_EVENTS)]


def lookup_router(reading: Reading, authenticator: Authenticator) -> APIRouter:
    """The route that finds entries by event."""
    router = APIRouter(prefix="/audit/v1", tags=["audit"])
    Reader = Annotated[Principal, Depends(authenticator.requires("audit:read"))]

    @router.post("/lookup")
    async def lookup(who: Reader, wanted: WantedEvents) -> dict[str, Any]:
        """The first entry of each event, in the order asked for; what is not there is left out."""
        named = {identity_of(who.organization, each): each for each in wanted.events}

        async def read(conn: Connection) -> dict[str, Any]:
            if not await search.is_there(conn):
                raise Problem(503, "search_not_ready", "Search is being made anew; ask later.")
            ids = [each.id for each in wanted.events[:MAX_NAMED_IN_RECORD]]
            asked = {"form": "lookup", "events": len(wanted.events), "ids": ",".join(ids)}
            await reading.record(conn, who, "entries", asked)
            found = await search.first_of_events(conn, list(named))
            shown = await _shown(reading, conn, who, list(found.values()))
            return {
                "entries": [
                    {"source": each.source, "id": each.id, **shown[found[identity]]}
                    for identity, each in named.items()
                    if identity in found
                ]
            }

        return await in_transaction(reading.pool, read)

    return router


def identity_of(organization: str, event: EventName) -> int:
    """The identity by which an organization's event is projected."""
    _, identity = event_names(
        {
            "ce_organization": organization.encode(),
            "ce_source": event.source.encode(),
            "ce_id": event.id.encode(),
        },
        None,
    )
    assert identity is not None
    return identity


async def _shown(
    reading: Reading, conn: Connection, who: Principal, indexes: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """What identifies each entry to a reader, without its payload."""
    entries = await store.read_entries(conn, indexes)
    shown = await Showing(reading.keys, who).show(conn, entries, payloads=False)
    return {
        each["index"]: {name: each[name] for name in ("index", "type", "recorded_at", "leaf_hash")}
        for each in shown
    }
