"""Chores: work on a portal that changes nobody's access and that no HR event asked for.

A chore has a deterministic id, so that asking twice for the same thing leaves one piece of work.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from shared.contracts.directory import Portal
from shared.contracts.envelope import name_uuid
from shared.contracts.state import ChoreKind, ChoreStatus
from shared.values import value_class

CHORE_NAMESPACE = UUID("7a3f1c52-9f0e-5b6d-8a5e-2b6f0d9c4e17")
ACTIVITY_LOG_DAYS = 5
"""Portals' support desks answer in days; auditors count on a week."""


class ChoreMove(StrEnum):
    """What can happen to a chore."""

    CLAIM = "claim"
    RELEASE = "release"
    DONE = "done"
    DECLINE = "decline"


_S, _M = ChoreStatus, ChoreMove

CHORE_LIFE: Mapping[tuple[ChoreStatus, ChoreMove], ChoreStatus] = {
    (_S.REQUESTED, _M.CLAIM): _S.CLAIMED,
    (_S.REQUESTED, _M.DONE): _S.DONE,
    (_S.REQUESTED, _M.DECLINE): _S.DECLINED,
    (_S.CLAIMED, _M.RELEASE): _S.REQUESTED,
    (_S.CLAIMED, _M.DONE): _S.DONE,
    (_S.CLAIMED, _M.DECLINE): _S.DECLINED,
}
"""The life of a chore; a pair that is absent is refused."""

ENDED = frozenset({_S.DONE, _S.DECLINED})


@value_class(frozen=True, slots=True)
class Chore:
    """One piece of work for a portal's administrator. Instants are UTC.

    `worker` is whom it concerns, if anybody; `text` tells what to do, `details` the same for
    programs; `addressed_to` is the administrator it is for.
    """

    chore_id: str
    kind: ChoreKind
    portal: str
    worker: str | None
    text: str
    details: Mapping[str, str]
    addressed_to: str | None
    requested_by: str
    requested_at: datetime
    deadline: datetime
    status: ChoreStatus = ChoreStatus.REQUESTED
    claimed_by: str | None = None


def chore_id(
    organization: str, kind: ChoreKind, portal: str, worker: str | None, occasion: str
) -> str:
    """The id of a chore; `occasion` tells one such chore from the next."""
    return name_uuid(
        CHORE_NAMESPACE, "\x1f".join((organization, kind, portal, worker or "", occasion))
    )


def activity_log_text(
    portal: Portal, *, who: str, login: str, since: datetime, until: datetime, zone: ZoneInfo
) -> str:
    """What to ask a portal for, to learn what somebody did there in a period."""
    first, last = (at.astimezone(zone).strftime("%-d %B %Y %H:%M %Z") for at in (since, until))
    line = f" ({portal.support})" if portal.support else ""
    return (
        f"Ask {portal.name}'s support{line} for its own activity log of {who} ({login}) from"
        f" {first} to {last}: sign-ins, and which screens or records were opened. Attach what it"
        " sends, or the number of the case, as evidence."
    )
