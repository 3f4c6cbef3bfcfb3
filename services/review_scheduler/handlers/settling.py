"""After lines moved: where their reviews stand, which close, and which campaigns with them."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from services.review_scheduler import events
from services.review_scheduler.rules.lines import ReviewStatus, review_status
from services.review_scheduler.store.campaigns import close_finished_campaigns
from services.review_scheduler.store.counts import count_lines
from services.review_scheduler.store.reviews import load_standing, store_review_statuses
from shared.outbox import enqueue
from shared.postgres import Connection


async def settle_reviews(conn: Connection, review_ids: Collection[UUID], now: datetime) -> None:
    """Bring reviews into line with their lines; the caller holds the locks of their workers."""
    if not review_ids:
        return
    await count_lines(conn, review_ids)
    moved: dict[UUID, ReviewStatus] = {}
    closed = []
    for review, lines in await load_standing(conn, review_ids):
        status = review_status(lines)
        if status is not review.status:
            moved[review.review_id] = status
            if status is ReviewStatus.CLOSED:
                closed.append((review, lines))
    if not moved:
        return
    await store_review_statuses(conn, moved, now)
    await enqueue(
        conn, [events.review_closed(review, lines, now) for review, lines in closed], held=True
    )
    await settle_campaigns(
        conn, {review.campaign_id for review, _ in closed if review.campaign_id}, now
    )


async def settle_campaigns(conn: Connection, campaign_ids: Collection[UUID], now: datetime) -> None:
    """Close the campaigns of which no review is left."""
    if campaign_ids:
        closed = await close_finished_campaigns(conn, campaign_ids, now)
        await enqueue(conn, [events.campaign_closed(each, now) for each in closed], held=True)
