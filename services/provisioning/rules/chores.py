"""Chores: work on a portal that changes nobody's access and that no HR event asked for.

A chore has a deterministic id, so that asking twice for the same thing leaves one piece of work.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from services.provisioning.rules.findings import FindingRule, PortalFinding
from shared.contracts.directory import Portal
from shared.contracts.envelope import name_uuid
from shared.contracts.state import ChoreKind, ChoreStatus
from shared.values import value_class

CHORE_NAMESPACE = UUID("7a3f1c52-9f0e-5b6d-8a5e-2b6f0d9c4e17")
ACTIVITY_LOG_DAYS = 5
"""Portals' support desks answer in days; auditors count on a week."""

FINDING_DAYS: Mapping[FindingRule, int] = {
    FindingRule.ORPHAN: 3,
    FindingRule.GENERIC: 14,
    FindingRule.SHARED: 14,
    FindingRule.SECOND_LOGIN: 14,
    FindingRule.DORMANT: 14,
    FindingRule.RULE_CONTRADICTED: 30,
}
"""Days for looking into a finding: soonest where nobody knows who signs in.

What is absent has orders of its own: `still_active` a removal, `drift` grants and revokes.
"""

DECLINED_FOR_DAYS = 91
"""What somebody decided to live with is asked again after a quarter, like access in reviews."""


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


FindingKey = tuple[str, FindingRule]
"""Subject and rule of a finding: what it says of them may change from one list to the next."""


@value_class(frozen=True, slots=True)
class FindingWork:
    """The latest work on a finding."""

    chore_id: str
    status: ChoreStatus
    ended_at: datetime | None

    def is_answered(self, as_of: datetime, now: datetime) -> bool:
        """Whether a list that was right at `as_of` has nothing new to ask; instants are UTC."""
        if self.ended_at is None:
            return True
        if self.status is ChoreStatus.DECLINED:
            return now < self.ended_at + timedelta(days=DECLINED_FOR_DAYS)
        return as_of <= self.ended_at


def finding_chores(
    organization: str,
    portal: str,
    found: Iterable[PortalFinding],
    known: Mapping[FindingKey, FindingWork],
    *,
    source_id: str,
    as_of: datetime,
    addressed_to: str | None,
    requested_by: str,
    now: datetime,
) -> list[Chore]:
    """The work that a list opens: one chore for each finding that nobody works on or answered."""
    asked: dict[FindingKey, Chore] = {}
    for finding in found:
        key = (finding.subject, finding.rule)
        days = FINDING_DAYS.get(finding.rule)
        work = known.get(key)
        if days is None or key in asked or (work and work.is_answered(as_of, now)):
            continue
        occasion = f"{finding.rule.value}/{finding.subject}/{source_id}"
        asked[key] = Chore(
            chore_id(organization, ChoreKind.FINDING, portal, finding.worker, occasion),
            ChoreKind.FINDING,
            portal,
            finding.worker,
            f"{finding.detail} {finding.next_step}",
            {"subject": finding.subject, "rule": finding.rule.value},
            addressed_to,
            requested_by,
            now,
            now + timedelta(days=days),
        )
    return list(asked.values())


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
