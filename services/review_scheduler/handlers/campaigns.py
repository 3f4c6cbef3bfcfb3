"""Opening campaigns: each quarter by the calendar, in between by command, always in chunks.

An installation begins without one: its first campaign is that of the next quarter, or is opened by
command. A quarter that begins while an earlier campaign is unfinished still gets its own, because
unfinished work must not stop the calendar; a command is refused then, because it would only ask
the same people the same questions twice.
"""

from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg
import structlog

from services.review_scheduler import events
from services.review_scheduler.handlers.settling import settle_campaigns
from services.review_scheduler.rules.calendar import (
    campaign_due,
    next_quarter_start,
    quarter_title,
)
from services.review_scheduler.rules.opening import Occasion, build_reviews, derive_id
from services.review_scheduler.store.campaigns import (
    Campaign,
    OpeningCampaign,
    add_campaign,
    advance_opening,
    first_opening_campaign,
    has_unfinished_campaign,
)
from services.review_scheduler.store.directory import (
    CALENDAR_TIMER,
    load_directory,
    lock_organization,
)
from services.review_scheduler.store.reviews import add_reviews
from services.review_scheduler.store.workers import (
    load_holders,
    load_people_around,
    lock_workers,
    next_holders,
)
from shared.clock import Clock
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction
from shared.timers import Timer, due_keys, set_timers, take

logger = structlog.get_logger(__name__)

OPENING_CHUNK_WORKERS = 50
"""Workers whose reviews one transaction opens; a worker's newer state waits at most for that, a
fraction of a second with a few dozen entitlements each."""

OPENED_BY_CALENDAR = "calendar"


async def open_due_quarters(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Open the campaign of the present quarter where it is due; how many organizations were due.

    After a standstill over more than one turn of a quarter only the present one is opened.
    """
    async with pool.acquire() as conn:
        organizations = await due_keys(conn, CALENDAR_TIMER, await clock.now(conn))

    for organization in sorted(organizations):
        await in_transaction(pool, partial(_open_quarter, clock, organization))
    return len(organizations)


async def _open_quarter(clock: Clock, organization: str, conn: Connection) -> None:
    known = await lock_organization(conn, organization)
    now = await clock.now(conn)
    # Taken even where the organization was removed: its quarters are over then.
    if not await take(conn, CALENDAR_TIMER, [organization], now) or not known:
        return
    zone = await _zone(conn, organization)
    title = quarter_title(now.astimezone(zone).date())
    campaign_id = derive_id("quarter", organization, title)
    await _begin(conn, organization, campaign_id, title, OPENED_BY_CALENDAR, now)
    next_start = next_quarter_start(now, zone)
    await set_timers(conn, [Timer(CALENDAR_TIMER, organization, next_start, {})])


async def open_by_command(
    conn: Connection, clock: Clock, organization: str, opened_by: str, title: str | None
) -> UUID:
    """Begin a campaign now; its reviews follow within seconds.

    Args:
        title: for people; the present quarter, if none is given.

    Raises:
        Problem: 409 while another campaign is not closed, or before the directory is known.
    """
    if not await lock_organization(conn, organization):
        raise Problem(
            409, "organization_unknown", "Apply the organization's directory before reviewing."
        )
    if await has_unfinished_campaign(conn, organization):
        raise Problem(
            409, "campaign_unfinished", "Another campaign is not closed; finish that one first."
        )
    now = await clock.now(conn)
    if title is None:
        title = quarter_title(now.astimezone(await _zone(conn, organization)).date())
    campaign_id = uuid4()
    await _begin(conn, organization, campaign_id, title, opened_by, now)
    return campaign_id


async def _begin(
    conn: Connection, organization: str, campaign_id: UUID, title: str, by: str, now: datetime
) -> None:
    directory = await load_directory(conn, organization)
    campaign = Campaign(
        campaign_id,
        organization,
        title,
        by,
        now,
        campaign_due(now, await _zone(conn, organization)),
        directory.policy.version if directory.policy else None,
    )
    if await add_campaign(conn, campaign):
        await enqueue(conn, [events.campaign_opened(campaign)], held=True)


async def _zone(conn: Connection, organization: str) -> ZoneInfo:
    directory = await load_directory(conn, organization)
    assert directory.organization is not None, "its row is locked"
    return ZoneInfo(directory.organization.zone)


async def open_next_chunk(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Open the reviews of the next workers of a campaign; how many transactions had work.

    Each worker's access is taken as it stands when their turn comes; who first holds something
    after their place in the order was passed is asked about in the next campaign.
    """
    async with pool.acquire() as conn:
        campaign = await first_opening_campaign(conn)
    if campaign is None:
        return 0
    await in_transaction(pool, partial(_open_chunk, clock, campaign))
    return 1


async def _open_chunk(clock: Clock, campaign: OpeningCampaign, conn: Connection) -> None:
    keys = await next_holders(
        conn, campaign.organization, campaign.opened_through, OPENING_CHUNK_WORKERS
    )
    await lock_workers(conn, keys)
    holders = await load_holders(conn, keys)
    through = keys[-1][1] if keys else None
    if not await advance_opening(conn, campaign, through):
        return
    now = await clock.now(conn)
    if through is None:
        await settle_campaigns(conn, [campaign.campaign_id], now)
        return
    directory = await load_directory(conn, campaign.organization)
    people = await load_people_around(conn, campaign.organization, keys, directory)
    today = now.astimezone(await _zone(conn, campaign.organization)).date()
    occasion = Occasion(
        ("campaign", str(campaign.campaign_id)),
        campaign.campaign_id,
        "campaign",
        f"campaign {campaign.title}",
        now,
        campaign.due_at,
        "escalate",
    )
    reviews = [
        review
        for holder in holders
        for review in build_reviews(
            occasion, holder, people, directory.administrators, directory.job_duties, today
        )
    ]
    await add_reviews(conn, reviews)
    await enqueue(conn, [events.review_opened(review) for review in reviews], held=True)
    logger.info(
        "campaign.opening",
        campaign=str(campaign.campaign_id),
        workers=len(keys),
        reviews=len(reviews),
    )
