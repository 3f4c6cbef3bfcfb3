"""What a line of a review becomes: decided by a person, then followed until it is carried out."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from services.review_scheduler.rules.live import Login, login_for, logins_in
from services.review_scheduler.rules.roles import Holding
from shared.contracts.directory import Function
from shared.contracts.review import Decision, MootReason
from shared.contracts.state import DecisionApplied, Grade, WorkerState, WorkerStatus


class LineStatus(StrEnum):
    """Where one line of a review stands."""

    UNDECIDED = "undecided"
    KEPT = "kept"
    REMOVAL_DECIDED = "removal_decided"
    REMOVAL_ORDERED = "removal_ordered"
    REMOVAL_CONFIRMED = "removal_confirmed"
    MOOT = "moot"


class LineMove(StrEnum):
    """What happens to a line: a person decides (keep, remove), nobody does in time (expire), or
    provisioning reports."""

    KEEP = "keep"
    REMOVE = "remove"
    EXPIRE = "expire"
    ORDER = "order"
    CONFIRM = "confirm"
    LAPSE = "lapse"


LINE_MOVES: dict[LineStatus, dict[LineMove, LineStatus]] = {
    LineStatus.UNDECIDED: {
        LineMove.KEEP: LineStatus.KEPT,
        LineMove.REMOVE: LineStatus.REMOVAL_DECIDED,
        LineMove.EXPIRE: LineStatus.REMOVAL_DECIDED,
        LineMove.LAPSE: LineStatus.MOOT,
    },
    LineStatus.KEPT: {
        LineMove.KEEP: LineStatus.KEPT,
        LineMove.REMOVE: LineStatus.REMOVAL_DECIDED,
    },
    LineStatus.REMOVAL_DECIDED: {
        LineMove.KEEP: LineStatus.KEPT,
        LineMove.REMOVE: LineStatus.REMOVAL_DECIDED,
        LineMove.ORDER: LineStatus.REMOVAL_ORDERED,
        LineMove.CONFIRM: LineStatus.REMOVAL_CONFIRMED,
        LineMove.LAPSE: LineStatus.MOOT,
    },
    LineStatus.REMOVAL_ORDERED: {
        LineMove.KEEP: LineStatus.KEPT,
        LineMove.REMOVE: LineStatus.REMOVAL_ORDERED,
        LineMove.ORDER: LineStatus.REMOVAL_ORDERED,
        LineMove.CONFIRM: LineStatus.REMOVAL_CONFIRMED,
        LineMove.LAPSE: LineStatus.MOOT,
    },
    LineStatus.REMOVAL_CONFIRMED: {},
    LineStatus.MOOT: {},
}
"""Every move a line can make; whatever is absent is refused or ignored."""


MOOT_IN_WORDS: dict[MootReason, str] = {
    "worker_left": "The worker left; removal of everything was ordered then.",
    "worker_merged": "The worker id was merged into another, which is reviewed instead.",
    "revoked": "The access was revoked before anybody decided.",
    "granted_anew": "The access was revoked and granted anew by another operation.",
    "reviewed_again": "Something else changed; a later review asks about this access.",
    "brake_rejected": "Nobody answered, and somebody decided that the access stays.",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line that may still move, with the review it belongs to."""

    line_id: UUID
    review_id: UUID
    campaign_id: UUID | None
    organization: str
    worker: str
    portal: str
    tin: str
    function: Function
    operation_id: str | None
    status: LineStatus
    detail: str | None = None
    decision: Decision | None = None
    reason: str | None = None
    revision: int = 0
    decided_by: str | None = None
    decided_at: datetime | None = None
    ordered_at: datetime | None = None
    removal_due_at: datetime | None = None

    @property
    def target(self) -> tuple[str, str, Function]:
        """What the line asks about."""
        return (self.portal, self.tin, self.function)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The move a line makes and why, in words; `moot` names the reason when it lapses.

    `due_at` (UTC) is by when the portal must show a removal that is ordered, `grade` how one that
    is confirmed is known.
    """

    move: LineMove
    detail: str | None = None
    moot: MootReason | None = None
    due_at: datetime | None = None
    grade: Grade | None = None


def lapse(reason: MootReason, detail: str | None = None) -> Outcome:
    """The outcome of a line that needs nobody's decision any more."""
    return Outcome(LineMove.LAPSE, detail or MOOT_IN_WORDS.get(reason), reason)


def follow(
    line: Line, state: WorkerState, holdings: Sequence[Holding], *, moved: bool
) -> Outcome | None:
    """What a person's newer state makes of a line, or None: it stays as it is.

    A removal decided under an id that was merged away is followed in the state of the id in use,
    which has the access; that the other one has none any more is no evidence.

    Args:
        moved: their role changed with it, so that a new micro-review asks about all they hold.
    """
    held = next((each for each in holdings if each.target == line.target), None)
    unchanged = held is not None and held.entitlement.operation_id == line.operation_id
    if line.status is LineStatus.UNDECIDED:
        if state.merged_into is not None or state.worker != line.worker:
            return lapse("worker_merged")
        outcome = _follow_undecided(state, held, unchanged)
        return outcome or (lapse("reviewed_again") if moved and line.campaign_id is None else None)
    if LineMove.CONFIRM in LINE_MOVES[line.status] and state.merged_into is None:
        login = login_for(logins_in(state), *line.target)
        outcome = _follow_removal(line, state.decisions, held, login, unchanged)
        news = outcome and (outcome.move is not LineMove.ORDER or outcome.detail != line.detail)
        return outcome if news or line.status is LineStatus.REMOVAL_DECIDED else None
    return None


def _follow_undecided(state: WorkerState, held: Holding | None, unchanged: bool) -> Outcome | None:
    if state.status in (WorkerStatus.TERMINATED, WorkerStatus.ERASED):
        return lapse("worker_left")
    if held is None:
        return lapse("revoked")
    return None if unchanged else lapse("granted_anew")


def _follow_removal(
    line: Line,
    decisions: Iterable[DecisionApplied],
    held: Holding | None,
    login: Login | None,
    unchanged: bool,
) -> Outcome | None:
    """A removal is confirmed only once the portal, as far as evidence tells, no longer has it."""
    applied = _applied_to(line, decisions)
    said = applied.status if applied else None
    detail = (applied.detail if applied else None) or None
    if held is None or (said == "confirmed" and not unchanged):
        return Outcome(LineMove.CONFIRM, detail, grade=login.grade if login else None)
    if said == "moot":
        return lapse("overtaken", detail)
    if said == "rejected":
        return lapse("brake_rejected", detail)
    if said == "parked":
        return None
    if said is None:
        return None if unchanged else lapse("granted_anew")
    order = login.removal_of(line.tin, line.function) if login else None
    return Outcome(LineMove.ORDER, detail, due_at=order.deadline if order else None)


def _applied_to(line: Line, decisions: Iterable[DecisionApplied]) -> DecisionApplied | None:
    wanted = (str(line.review_id), str(line.line_id))
    return next((each for each in decisions if (each.review_id, each.line_id) == wanted), None)


class ReviewStatus(StrEnum):
    """Where a review stands: to be decided, decided but not yet carried out, or finished."""

    OPEN = "open"
    DECIDED = "decided"
    CLOSED = "closed"


def review_status(lines: Collection[LineStatus]) -> ReviewStatus:
    """Where a review with these lines stands; it is closed only once nothing is left to happen."""
    if LineStatus.UNDECIDED in lines:
        return ReviewStatus.OPEN
    if LineStatus.REMOVAL_DECIDED in lines or LineStatus.REMOVAL_ORDERED in lines:
        return ReviewStatus.DECIDED
    return ReviewStatus.CLOSED
