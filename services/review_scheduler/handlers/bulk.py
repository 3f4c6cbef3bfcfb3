"""Deciding on many lines at once: all that a selection finds, and only if it is as many as said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.review_scheduler.handlers.decisions import (
    Wish,
    lay_out,
    record_decisions,
    refuse_person,
    refuse_wishes,
)
from services.review_scheduler.handlers.delegations import asked_for, own_ids
from services.review_scheduler.handlers.live import Look, look
from services.review_scheduler.handlers.refusing import refused
from services.review_scheduler.rules.deciding import RefusalRule
from services.review_scheduler.store.reviews import opened_lines
from services.review_scheduler.store.views import list_undecided
from services.review_scheduler.store.workers import lock_workers
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.review import Advice, Decision
from shared.postgres import Connection

BULK_LINES_MAX = 1_000
"""More than anybody can answer for in one go."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Undecided lines that fit everything given; `advice` is what is recommended for them now."""

    campaign_id: UUID | None = None
    review_id: UUID | None = None
    worker: str | None = None
    portal: str | None = None
    function: str | None = None
    advice: Advice | None = None


async def select_lines(
    conn: Connection, clock: Clock, who: Principal, selection: Selection
) -> tuple[list[dict[str, Any]], Look | None]:
    """The undecided lines before somebody that fit, as stored; never any about themselves.

    At most one more than may be decided on at once. Where what they look like now was needed to
    find them, that comes with them.
    """
    mine = await own_ids(conn, who)
    found = await list_undecided(
        conn,
        who.organization,
        only_for=None if who.may("review:admin") else await asked_for(conn, clock, who),
        not_about=mine,
        campaign_id=selection.campaign_id,
        review_id=selection.review_id,
        worker=selection.worker,
        portal=selection.portal,
        function=selection.function,
        limit=BULK_LINES_MAX + 1,
    )
    if selection.advice is None:
        return found, None
    opened = opened_lines(found)
    seen = await look(conn, clock, who.organization, opened)
    fitting = [
        line
        for line_id, line in zip(opened, found, strict=True)
        if seen.live[line_id].recommendation.advice == selection.advice
    ]
    return fitting, seen


async def decide_in_bulk(
    conn: Connection,
    clock: Clock,
    who: Principal,
    selection: Selection,
    decision: Decision,
    reason: str | None,
    count: int,
) -> RefusalRule | None:
    """Decide the same on all lines that a selection finds, if they are `count`.

    Returns:
        The rule that refuses it, written as a fact, or None.
    """
    found, _ = await select_lines(conn, clock, who, selection)
    await lock_workers(conn, [(who.organization, line["worker"]) for line in found])
    # Found again, because lines may have moved before the locks were had.
    found, _ = await select_lines(conn, clock, who, selection)
    refusal = None
    if len(found) > BULK_LINES_MAX:
        refusal = RefusalRule.TOO_MANY
    elif len(found) != count:
        refusal = RefusalRule.COUNT_DIFFERS
    desks = []
    for review_id, lines in _by_review(found).items() if refusal is None else ():
        desk = await lay_out(conn, clock, who.organization, review_id)
        wishes = [Wish(line_id, decision, reason) for line_id in lines]
        refusal = await refuse_person(conn, clock, who, desk.review) or refuse_wishes(
            desk, who, wishes
        )
        if refusal is not None:
            break
        desks.append((desk, wishes))
    if refusal is not None:
        now = await clock.now(conn)
        return await refused(conn, who, "review.decide_in_bulk", who.subject, refusal, now)
    for desk, wishes in desks:
        await record_decisions(conn, who, desk, wishes)
    return None


def _by_review(found: Sequence[dict[str, Any]]) -> dict[UUID, list[UUID]]:
    lines: dict[UUID, list[UUID]] = {}
    for line in found:
        lines.setdefault(UUID(line["review_id"]), []).append(UUID(line["line_id"]))
    return lines
