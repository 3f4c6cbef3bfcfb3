"""A review as it is shown: what was asked, and what its lines look like now."""

from typing import Any
from uuid import UUID

from services.review_scheduler.handlers.live import LiveLine, Look, look
from services.review_scheduler.rules.deciding import needs_reason
from services.review_scheduler.rules.lines import LINE_MOVES, LineStatus, ReviewStatus
from services.review_scheduler.store import views
from services.review_scheduler.store.questions import questions_about
from services.review_scheduler.store.reviews import load_opened
from services.review_scheduler.store.workers import load_standings
from shared.clock import Clock
from shared.contracts.review_policy import KeepReasons
from shared.errors import Problem
from shared.postgres import Connection


async def show_review(
    conn: Connection, clock: Clock, organization: str, review_id: UUID
) -> dict[str, Any]:
    """One review with its lines as they are now.

    Raises:
        Problem: 404 when the organization has no such review.
    """
    review = await views.read_review(conn, organization, review_id)
    if review is None:
        raise no_such_review()
    closed = review["status"] == ReviewStatus.CLOSED
    return {
        **review,
        "lines": await show_lines(conn, clock, organization, review["lines"], closed=closed),
        "gained": [] if closed else await _gained(conn, organization, review),
    }


async def _gained(
    conn: Connection, organization: str, review: dict[str, Any]
) -> list[dict[str, Any]]:
    """What the holder was given since the review was opened, which it does not ask about."""
    standing = (await load_standings(conn, organization, [review["worker"]])).get(review["worker"])
    asked = {(line["portal"], line["tin"], line["function"]) for line in review["lines"]}
    return [
        {
            "portal": held.portal,
            "tin": held.entitlement.tin,
            "function": held.entitlement.function,
            "since": held.entitlement.since,
        }
        for held in (standing.holdings if standing else ())
        if held.target not in asked
        and held.entitlement.since is not None
        and held.entitlement.since > review["opened_at"]
    ]


async def show_lines(
    conn: Connection,
    clock: Clock,
    organization: str,
    lines: list[dict[str, Any]],
    *,
    closed: bool = False,
    seen: Look | None = None,
) -> list[dict[str, Any]]:
    """Lines as stored, with what is known and recommended now.

    What a `closed` review said is shown as it was; only whether its lines can still be decided on,
    in a new review, is told of now. Lines that were `seen` are not looked at again.
    """
    ids = [UUID(line["line_id"]) for line in lines]
    if seen is None:
        seen = await look(conn, clock, organization, await load_opened(conn, ids))
    asked = await questions_about(conn, ids)
    asks = seen.directory.reviews.keep_reasons
    return [
        {
            **_show(line, seen.live[id], asks, closed=closed),
            "questions": asked.get(id, []),
        }
        for id, line in zip(ids, lines, strict=True)
    ]


def _show(
    line: dict[str, Any], live: LiveLine, asks: KeepReasons, *, closed: bool
) -> dict[str, Any]:
    now, login = live.now, live.now.login
    held = now.held.entitlement if now.held else None
    order = login.removal_of(line["tin"], line["function"]) if login else None
    can_move = bool(LINE_MOVES[LineStatus(line["status"])])
    shown = {
        **line,
        "login": login
        and {
            "status": login.status,
            "last_login_at": login.last_login_at,
            "last_login_grade": login.last_login_grade,
            "last_login_source": login.last_login_source,
            "lapses_at": login.lapses_at,
        },
        "order": order
        and {
            "operation_id": order.operation_id,
            "kind": order.kind,
            "status": order.status,
            "deadline": order.deadline,
            "claimed_by": order.claimed_by,
        },
        "decidable": can_move and (not closed or live.holds(line["operation_id"])),
        "recommendation": live.recommendation,
        "keep_needs_reason": needs_reason(live.risks, asks),
        "changed": live.changed,
    }
    if not closed:
        shown["risks"] = live.risks
        if held is not None:
            shown |= {
                "grade": held.grade,
                "since": held.since,
                "authorized_by": held.authorized_by,
                "duties": now.duties,
            }
    return shown


def no_such_review() -> Problem:
    """The answer for a review that is not there, or is somebody else's."""
    return Problem(404, "no_such_review", "There is no such review; list the reviews again.")
