"""For the compliance officer: how well reviews are done, and what nobody has looked at."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from services.review_scheduler.api.answering import PAGE_DEFAULT, Commands, answer
from services.review_scheduler.rules.quality import (
    COVERAGE_DAYS,
    REPEATED_KEEPS_MIN,
    Load,
    Pace,
    is_rubber_stamp,
    seconds_per_line,
    signals,
)
from services.review_scheduler.store import quality
from shared.auth import Authenticator, Principal

UNREVIEWED_MAX = 1_000


def compliance_router(commands: Commands, authenticator: Authenticator) -> APIRouter:
    """The routes `/review/v1/quality` and `/review/v1/coverage`."""
    router = APIRouter(prefix="/review/v1", tags=["compliance"])
    pool, clock = commands.pool, commands.clock
    readers = Depends(authenticator.requires("audit:read", "review:admin"))

    @router.get("/quality")
    async def read_quality(
        who: Annotated[Principal, readers], campaign: UUID | None = None
    ) -> Response:
        """`{"since", "reviewers": [..], "dormant_keeps": [..]}` of the last rolling year.

        A reviewer is {"reviewer", "reviewer_name", "reviews", "late", "lines", "open_lines",
        "decided", "kept", "rubber_stamped": reviews, "seconds_per_line": median or null,
        "signals": ["rubber_stamping" | "late" | "overloaded"]}, those with signals first. A dormant
        keep is access that was kept more than once although its login was dormant each time.
        """
        async with pool.acquire() as conn:
            now = await clock.now(conn)
            since = now - timedelta(days=COVERAGE_DAYS)
            worked = await quality.reviews_worked(conn, who.organization, since, campaign)
            keeps = await quality.dormant_keeps(conn, who.organization, since, REPEATED_KEEPS_MIN)
        by_reviewer: dict[str, list[dict[str, Any]]] = {}
        for review in worked:
            by_reviewer.setdefault(review["reviewer"], []).append(review)
        reviewers = [_reviewer(reviews, now) for reviews in by_reviewer.values()]
        reviewers.sort(key=lambda each: (-len(each["signals"]), -each["open_lines"]))
        return answer({"since": since, "reviewers": reviewers, "dormant_keeps": keeps})

    @router.get("/coverage")
    async def read_coverage(
        who: Annotated[Principal, readers],
        limit: Annotated[int, Query(ge=1, le=UNREVIEWED_MAX)] = PAGE_DEFAULT,
    ) -> Response:
        """What is held now, and how much of it somebody decided on within the last rolling year.

        `{"since", "held", "reviewed", "portals": [{"portal", "held", "reviewed"}], "unreviewed":
        [{"worker", "worker_name", "portal", "tin", "function", "since", "asked"}]}`, those held
        longest first, at most `limit`.
        """
        async with pool.acquire() as conn:
            since = await clock.now(conn) - timedelta(days=COVERAGE_DAYS)
            portals = await quality.coverage_by_portal(conn, who.organization, since)
            left = await quality.unreviewed(conn, who.organization, since, limit)
        return answer(
            {
                "since": since,
                "held": sum(each["held"] for each in portals),
                "reviewed": sum(each["reviewed"] for each in portals),
                "portals": portals,
                "unreviewed": left,
            }
        )

    return router


def _reviewer(reviews: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    """One reviewer's year."""
    paces = [
        Pace(each["decided"], each["kept"], each["read_at"], each["last_decided_at"])
        for each in reviews
    ]
    took = sorted(each for pace in paces if (each := seconds_per_line(pace)) is not None)
    open_lines = sum(each["undecided"] for each in reviews)
    late = sum(
        (now if each["undecided"] else each["last_decided_at"] or each["due_at"]) > each["due_at"]
        for each in reviews
    )
    stamped = sum(is_rubber_stamp(pace) for pace in paces)
    return {
        "reviewer": reviews[0]["reviewer"],
        "reviewer_name": reviews[0]["reviewer_name"],
        "reviews": len(reviews),
        "late": late,
        "lines": sum(each["lines"] for each in reviews),
        "open_lines": open_lines,
        "decided": sum(pace.decided for pace in paces),
        "kept": sum(pace.kept for pace in paces),
        "rubber_stamped": stamped,
        "seconds_per_line": round(took[len(took) // 2], 1) if took else None,
        "signals": signals(Load(len(reviews), late, open_lines, stamped)),
    }
