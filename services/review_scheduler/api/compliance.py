"""For the compliance officer: how well reviews are done, and what nobody has looked at."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from services.review_scheduler.api.answering import PAGE_DEFAULT, Commands, answer
from services.review_scheduler.rules.quality import (
    COVERAGE_DAYS,
    REPEATED_KEEPS_MIN,
    Load,
    signals,
)
from services.review_scheduler.store import coverage, quality
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
            year = await quality.reviewers_year(conn, who.organization, since, campaign, now)
            keeps = await quality.dormant_keeps(conn, who.organization, since, REPEATED_KEEPS_MIN)
        reviewers = [{**each, "signals": signals(_load(each))} for each in year]
        reviewers.sort(key=lambda each: (-len(each["signals"]), -each["open_lines"]))
        return answer({"since": since, "reviewers": reviewers, "dormant_keeps": keeps})

    @router.get("/coverage")
    async def read_coverage(
        who: Annotated[Principal, readers],
        limit: Annotated[int, Query(ge=1, le=UNREVIEWED_MAX)] = PAGE_DEFAULT,
    ) -> Response:
        """What is held now, and how much of it somebody decided on within the last rolling year.

        The year is of whole days in UTC, from the beginning of the day of `since`.

        `{"since", "held", "reviewed", "portals": [{"portal", "held", "reviewed"}], "unreviewed":
        [{"worker", "worker_name", "portal", "tin", "function", "since", "asked"}]}`, at most
        `limit`: first those on which nobody ever decided, then by their last decision; of one day
        those held longest.
        """
        async with pool.acquire() as conn:
            today = (await clock.now(conn)).replace(hour=0, minute=0, second=0, microsecond=0)
            since = today - timedelta(days=COVERAGE_DAYS)
            portals = await coverage.coverage_by_portal(conn, who.organization, since.date())
            left = await coverage.unreviewed(conn, who.organization, since.date(), limit)
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


def _load(year: dict[str, Any]) -> Load:
    return Load(year["reviews"], year["late"], year["open_lines"], year["rubber_stamped"])
