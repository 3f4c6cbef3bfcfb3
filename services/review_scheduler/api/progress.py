"""How far a campaign is, day by day and reviewer by reviewer."""

from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Response

from services.review_scheduler.api.answering import Commands, answer
from services.review_scheduler.rules.progress import forecast, remaining
from services.review_scheduler.store import progress
from services.review_scheduler.store.directory import load_directory
from shared.auth import Authenticator, Principal
from shared.errors import Problem


def progress_router(commands: Commands, authenticator: Authenticator) -> APIRouter:
    """The route `/review/v1/campaigns/{campaign_id}/progress`."""
    router = APIRouter(prefix="/review/v1/campaigns", tags=["campaigns"])
    readers = Depends(authenticator.requires("review:admin", "access:read", "audit:read"))

    @router.get("/{campaign_id}/progress")
    async def read_progress(who: Annotated[Principal, readers], campaign_id: UUID) -> Response:
        """The pace of a campaign, and who is how far; 404 `no_such_campaign`.

        `{"remaining": [{"day", "lines"}]: left at the end of each day in the organization's zone,
        "forecast": {"lines_per_day", "done_at": null while nobody decides, "in_time"},
        "reviewers": [{"reviewer", "reviewer_name", "reviews", "lines", "undecided", "moot",
        "overdue": reviews, "delayed": removals past their date}]}`, those with most left
        first; a reviewer of null is the queue of review:admin.
        """
        async with commands.pool.acquire() as conn:
            campaign = await progress.opened_and_due(conn, who.organization, campaign_id)
            if campaign is None:
                raise Problem(
                    404, "no_such_campaign", "There is no such campaign; list them again."
                )
            now = await commands.clock.now(conn)
            known = (await load_directory(conn, who.organization)).organization
            zone = ZoneInfo(known.zone if known else "UTC")
            decided = await progress.decided_by_day(conn, campaign_id, zone.key)
            reviewers = await progress.reviewers_of(conn, campaign_id, now)
        opened_at, due_at = campaign
        lines = sum(each["lines"] - each["moot"] for each in reviewers)
        days = remaining(decided, lines)
        return answer(
            {
                "remaining": [{"day": day, "lines": left} for day, left in days],
                "forecast": forecast(
                    decided,
                    sum(each["undecided"] for each in reviewers),
                    opened_at,
                    now,
                    due_at,
                    now.astimezone(zone).date(),
                ),
                "reviewers": reviewers,
            }
        )

    return router
