"""Deciding on the lines of a review: by a person, explicitly, and never on their own access."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from services.review_scheduler import events
from services.review_scheduler.handlers.delegations import covering
from services.review_scheduler.handlers.live import LiveLine, look_at
from services.review_scheduler.handlers.opening import open_reviews
from services.review_scheduler.handlers.refusing import refused
from services.review_scheduler.handlers.removals import removal_due, watch_removals
from services.review_scheduler.handlers.settling import settle_reviews
from services.review_scheduler.rules.deciding import (
    RefusalRule,
    refuse_decision,
    refuse_reviewer,
)
from services.review_scheduler.rules.lines import LINE_MOVES, Line, LineMove, ReviewStatus
from services.review_scheduler.rules.opening import (
    NewLine,
    NewReview,
    Occasion,
    authorizers,
    derive_id,
)
from services.review_scheduler.rules.reviewers import identify
from services.review_scheduler.store.coverage import note_decided
from services.review_scheduler.store.directory import DirectoryView, load_directory
from services.review_scheduler.store.reviews import (
    LineDecision,
    ReviewRow,
    load_lines,
    load_opened,
    load_review,
    mark_read,
    store_decisions,
)
from services.review_scheduler.store.workers import load_people, lock_workers
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.review import Decision
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to decide on one line."""

    line_id: UUID
    decision: Decision
    reason: str | None


@dataclass(frozen=True, slots=True)
class Desk:
    """A review as it lies before whoever decides: locked, with its lines as they are at `at`."""

    review: ReviewRow
    directory: DirectoryView
    lines: Mapping[UUID, Line]
    live: Mapping[UUID, LiveLine]
    at: datetime

    @property
    def today(self) -> date:
        """The calendar day in the organization's zone."""
        return self.directory.calendar.day(self.at)


async def lay_out(conn: Connection, clock: Clock, organization: str, review_id: UUID) -> Desk:
    """Lock a review by its holder and read it.

    Raises:
        Problem: 404 when the organization has no such review.
    """
    review = await load_review(conn, organization, review_id)
    if review is None:
        raise Problem(404, "no_such_review", "There is no such review; list the reviews again.")
    await lock_workers(conn, [(review.organization, review.worker)])
    # Read again, because its lines may have moved before the lock was had.
    review = await load_review(conn, organization, review_id) or review
    lines = await load_lines(conn, review_id)
    at = await clock.now(conn)
    directory = await load_directory(conn, organization)
    live = await look_at(conn, organization, directory, await load_opened(conn, lines), at)
    return Desk(review, directory, lines, live, at)


async def decide_lines(
    conn: Connection, clock: Clock, who: Principal, review_id: UUID, wishes: Sequence[Wish]
) -> UUID | RefusalRule:
    """Decide on lines of one review, all or none.

    Returns:
        The review in which it is decided: this one, or a new one about the same access if this one
        is closed. Or the rule that refuses it; the refusal is then written as a fact and nothing
        is decided.

    Raises:
        Problem: 404 when the organization has no such review.
    """
    desk = await lay_out(conn, clock, who.organization, review_id)
    refusal = await refuse_person(conn, clock, who, desk.review) or refuse_wishes(desk, who, wishes)
    if refusal is not None:
        return await refused(conn, who, "review.decide", str(review_id), refusal, desk.at)
    news = [wish for wish in wishes if _says_something_new(desk.lines[wish.line_id], wish)]
    if desk.review.status is ReviewStatus.CLOSED and news:
        desk, news = await _open_anew(conn, clock, desk, news)
    if news:
        await record_decisions(conn, who, desk, news)
    return desk.review.review_id


async def record_decisions(
    conn: Connection, who: Principal, desk: Desk, news: Sequence[Wish]
) -> None:
    """Write decisions that nothing refuses, and what follows from them."""
    assert who.worker is not None, "the rule refuses those without"
    decided = {
        desk.lines[wish.line_id]: LineDecision(
            wish.line_id,
            LINE_MOVES[desk.lines[wish.line_id].status][LineMove(wish.decision)],
            wish.decision,
            wish.reason,
            desk.live[wish.line_id].risks,
            desk.live[wish.line_id].recommendation.advice,
            removal_due(desk.at) if wish.decision == "remove" else None,
        )
        for wish in news
    }
    await store_decisions(conn, list(decided.values()), who.worker, desk.at)
    await note_decided(conn, [line.line_id for line in decided], desk.at)
    await watch_removals(conn, decided.values())
    await enqueue(
        conn,
        [events.line_decided(line, new, who.worker, desk.at) for line, new in decided.items()],
        held=True,
    )
    await settle_reviews(conn, [desk.review.review_id], desk.at)


async def _open_anew(
    conn: Connection, clock: Clock, desk: Desk, wishes: Sequence[Wish]
) -> tuple[Desk, list[Wish]]:
    """A new review of what a closed one kept, so that its record stays as it was signed off."""
    review = desk.review
    policy = desk.directory.reviews
    occasion = Occasion(
        ("anew", str(review.review_id), desk.at.isoformat()),
        None,
        "decided_anew",
        "decided again after the review was closed",
        desk.at,
        desk.directory.calendar.due_after_business_days(desk.at, policy.micro_days_to_decide),
        policy.micro_no_answer,
    )
    lines = []
    for wish in wishes:
        now = desk.live[wish.line_id].now
        assert now.held is not None, "the rule refuses what is held no more"
        line_id = derive_id("line", *occasion.cause, str(wish.line_id))
        lines.append(NewLine(line_id, now.held, now.duties))
    new = NewReview(
        derive_id("review", *occasion.cause),
        review.organization,
        review.worker,
        review.reviewer,
        review.reviewer_rule,
        occasion,
        tuple(lines),
    )
    said = await open_reviews(conn, [new], desk.directory, desk.at)
    await enqueue(conn, said, held=True)
    opened = await lay_out(conn, clock, review.organization, new.review_id)
    moved = [
        Wish(line.line_id, wish.decision, wish.reason)
        for line, wish in zip(lines, wishes, strict=True)
    ]
    return opened, moved


async def note_reading(conn: Connection, clock: Clock, who: Principal, review_id: UUID) -> None:
    """Note that the reviewer looks at their review; nothing for anybody else."""
    review = await load_review(conn, who.organization, review_id)
    if review is None or who.worker is None or who.worker != review.reviewer:
        return
    await lock_workers(conn, [(review.organization, review.worker)])
    now = await clock.now(conn)
    if await mark_read(conn, review_id, now):
        await enqueue(conn, [events.review_read(review, who.worker, now)], held=True)


async def refuse_person(
    conn: Connection, clock: Clock, who: Principal, review: ReviewRow
) -> RefusalRule | None:
    """Why somebody may do nothing about a review, or None: they may."""
    named = [each for each in (who.worker, review.worker, review.reviewer) if each is not None]
    people = await load_people(conn, review.organization, named)
    reviewer = identify(review.reviewer, people) if review.reviewer else None
    return refuse_reviewer(
        identify(who.worker, people) if who.worker else None,
        identify(review.worker, people),
        {reviewer, *await covering(conn, clock, review.organization, reviewer)},
        is_admin=who.may("review:admin"),
    )


def refuse_wishes(desk: Desk, who: Principal, wishes: Sequence[Wish]) -> RefusalRule | None:
    """Why lines cannot be decided on like this, or None: they all can."""
    for wish in wishes:
        line, live = desk.lines.get(wish.line_id), desk.live.get(wish.line_id)
        held = live.now.held if live else None
        may = desk.directory.reviews.authorizer_may_review
        if held is not None and not may and who.worker in authorizers(held):
            return RefusalRule.AUTHORIZER
        refusal = refuse_decision(
            line.status if line else None,
            wish.decision,
            wish.reason,
            live.risks if live else (),
            desk.directory.reviews.keep_reasons,
            is_closed=desk.review.status is ReviewStatus.CLOSED,
            is_held=line is not None and live is not None and live.holds(line.operation_id),
        )
        if refusal is not None:
            return refusal
    return None


async def reduce_access(
    conn: Connection,
    clock: Clock,
    who: Principal,
    review_id: UUID,
    portal: str,
    tin: str,
    functions: Collection[str],
    reason: str,
) -> UUID | RefusalRule:
    """Keep these functions on a portal and remove the others that the review asks about there.

    Returns, raises: as `decide_lines`.
    """
    desk = await lay_out(conn, clock, who.organization, review_id)
    about = {
        line.function: line
        for line in desk.lines.values()
        if (line.portal, line.tin) == (portal, tin) and LINE_MOVES[line.status]
    }
    if not set(functions) <= set(about):
        refusal = RefusalRule.LINE_UNKNOWN
        return await refused(conn, who, "review.decide", str(review_id), refusal, desk.at)
    wishes = [
        Wish(line.line_id, "keep" if function in functions else "remove", reason)
        for function, line in about.items()
    ]
    return await decide_lines(conn, clock, who, review_id, wishes)


def _says_something_new(line: Line, wish: Wish) -> bool:
    return (line.decision, line.reason) != (wish.decision, wish.reason)
