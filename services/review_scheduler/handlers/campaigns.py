"""Campaigns: previewed, begun, and opened in chunks in the background.

A command is refused while a campaign with the same scope is unfinished, because it would only ask
the same people the same questions twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import structlog

from services.review_scheduler import events
from services.review_scheduler.handlers.opening import new_reviews, open_reviews
from services.review_scheduler.handlers.settling import settle_campaigns
from services.review_scheduler.rules.lines import LineStatus
from services.review_scheduler.rules.opening import Holder, NewReview, Occasion, build_reviews
from services.review_scheduler.rules.previewing import Preview
from services.review_scheduler.rules.scope import in_scope
from services.review_scheduler.store.campaigns import (
    Campaign,
    OpeningCampaign,
    Plan,
    Turn,
    add_campaign,
    advance_opening,
    first_opening_campaign,
    has_unfinished_campaign,
)
from services.review_scheduler.store.directory import (
    DirectoryView,
    load_directory,
    lock_organization,
)
from services.review_scheduler.store.reviews import load_unsettled_lines
from services.review_scheduler.store.workers import (
    WorkerKey,
    count_holders,
    load_holders,
    load_names,
    load_people_around,
    lock_workers,
    next_holders,
)
from shared.clock import Clock
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

logger = structlog.get_logger(__name__)

OPENING_CHUNK_WORKERS = 50
"""Workers whose reviews one transaction opens; a worker's newer state waits at most for that, a
fraction of a second with a few dozen entitlements each."""

LOOK_AHEAD_WORKERS = 500
"""Workers looked at, unlocked, to find those in scope: a narrow campaign passes most of them by."""


async def open_by_command(
    conn: Connection, clock: Clock, plan: Plan, opened_by: str, directory: DirectoryView
) -> UUID:
    """Begin a campaign now; its reviews follow within seconds.

    Raises:
        Problem: 409 while another campaign over the same is not closed.
    """
    await lock_organization(conn, plan.organization)
    if await has_unfinished_campaign(conn, plan.organization, plan.scope):
        raise Problem(
            409,
            "campaign_unfinished",
            "Another campaign over the same is not closed; finish that one first.",
        )
    campaign_id = uuid4()
    await begin(conn, plan, campaign_id, opened_by, directory, await clock.now(conn))
    return campaign_id


async def known_directory(conn: Connection, organization: str) -> DirectoryView:
    """The organization's directory.

    Raises:
        Problem: 409 before it is known.
    """
    directory = await load_directory(conn, organization)
    if directory.organization is None:
        raise Problem(
            409, "organization_unknown", "Apply the organization's directory before reviewing."
        )
    return directory


async def begin(
    conn: Connection,
    plan: Plan,
    campaign_id: UUID,
    by: str,
    directory: DirectoryView,
    now: datetime,
) -> None:
    """Begin a campaign whose organization is locked; one that was begun before stays as it is."""
    campaign = Campaign(
        campaign_id,
        plan,
        by,
        now,
        directory.policy.version if directory.policy else None,
        await count_holders(conn, plan.organization),
    )
    if await add_campaign(conn, campaign):
        await enqueue(conn, [events.campaign_opened(campaign)], held=True)


async def preview(
    conn: Connection, plan: Plan, directory: DirectoryView, now: datetime
) -> dict[str, Any]:
    """What a campaign would ask whom, if it were begun now; nothing is locked or stored."""
    seen = Preview()
    after = ""
    while keys := await next_holders(conn, plan.organization, after, LOOK_AHEAD_WORKERS):
        after = keys[-1][1]
        holders, elsewhere = await _in_scope(conn, plan, directory, keys, None)
        occasion = Occasion(("preview",), None, "campaign", "", now, now, plan.no_answer)
        seen.add(await _build(conn, occasion, holders, directory, now), elsewhere)
    names = await load_names(conn, plan.organization, seen.reviewers)
    return seen.told(plan.title, plan.due_at, names)


async def open_next_chunk(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Open the reviews of the next workers of a campaign; how many transactions had work.

    Each worker's access is taken as it stands when their turn comes; who first holds something
    after their place in the order was passed is asked about in the next campaign.
    """
    async with pool.acquire() as conn:
        campaign = await first_opening_campaign(conn, await clock.now(conn))
    if campaign is None:
        return 0
    await in_transaction(pool, partial(_open_chunk, clock, campaign))
    return 1


async def _open_chunk(clock: Clock, campaign: OpeningCampaign, conn: Connection) -> None:
    plan = campaign.plan
    directory = await load_directory(conn, plan.organization)
    keys = await next_holders(
        conn,
        plan.organization,
        campaign.opened_through,
        LOOK_AHEAD_WORKERS,
        waves=plan.waves,
        wave=campaign.wave,
    )
    # Looked at without locks first: a narrow campaign passes most of them by.
    likely, _ = await _in_scope(conn, plan, directory, keys, campaign.campaign_id)
    chunk = [(each.organization, each.worker) for each in likely[:OPENING_CHUNK_WORKERS]]
    whole = len(likely) <= OPENING_CHUNK_WORKERS
    through = keys[-1][1] if whole and keys else chunk[-1][1] if chunk else None
    seen = keys if whole else [key for key in keys if key[1] <= chunk[-1][1]]
    await lock_workers(conn, chunk)
    holders, elsewhere = await _in_scope(conn, plan, directory, chunk, campaign.campaign_id)
    now = await clock.now(conn)
    turn = Turn(through, len(seen), elsewhere, _next_wave(campaign, directory, through))
    if not await advance_opening(conn, campaign, turn):
        return
    if through is None:
        await settle_campaigns(conn, [campaign.campaign_id], now)
        return
    occasion = Occasion(
        ("campaign", str(campaign.campaign_id)),
        campaign.campaign_id,
        "campaign",
        f"campaign {plan.title}",
        now,
        _wave_due(campaign, directory),
        plan.no_answer,
    )
    reviews = await new_reviews(conn, await _build(conn, occasion, holders, directory, now))
    await enqueue(conn, await open_reviews(conn, reviews, directory, now), held=True)
    logger.info(
        "campaign.opening",
        campaign=str(campaign.campaign_id),
        workers=len(seen),
        reviews=len(reviews),
    )


def _next_wave(
    campaign: OpeningCampaign, directory: DirectoryView, through: str | None
) -> datetime | None:
    """When the next share of the workers has its turn, once this one is through; None: no more."""
    if through is not None or campaign.wave + 1 >= campaign.plan.waves:
        return None
    return directory.calendar.turn(campaign.opened_at, campaign.wave + 1)


def _wave_due(campaign: OpeningCampaign, directory: DirectoryView) -> datetime:
    """By when the reviews of this share are due: all have the same time to decide."""
    if campaign.plan.waves == 1:
        return campaign.plan.due_at
    begins = directory.calendar.turn(campaign.opened_at, campaign.wave)
    return directory.calendar.due_after_days(begins, campaign.plan.days_to_decide)


async def _in_scope(
    conn: Connection,
    plan: Plan,
    directory: DirectoryView,
    keys: Sequence[WorkerKey],
    campaign_id: UUID | None,
) -> tuple[list[Holder], int]:
    """Holders of anything in scope with what is left to ask of it, and how much of it another
    campaign asks about already."""
    asking = await _asked_by_others(conn, keys, campaign_id)
    holders: list[Holder] = []
    elsewhere = 0
    for holder in await load_holders(conn, keys):
        scoped = [
            held
            for held in holder.holdings
            if in_scope(plan.scope, held, holder.sites, holder.kinds, directory.portals)
        ]
        asked = asking.get((holder.organization, holder.worker), frozenset())
        left = tuple(held for held in scoped if held.target not in asked)
        elsewhere += len(scoped) - len(left)
        if scoped:
            holders.append(replace(holder, holdings=left))
    return holders, elsewhere


async def _asked_by_others(
    conn: Connection, keys: Sequence[WorkerKey], campaign_id: UUID | None
) -> Mapping[WorkerKey, frozenset[object]]:
    return {
        key: frozenset(
            line.target
            for line in lines
            if line.status is LineStatus.UNDECIDED
            and line.campaign_id is not None
            and line.campaign_id != campaign_id
        )
        for key, lines in (await load_unsettled_lines(conn, keys)).items()
    }


async def _build(
    conn: Connection,
    occasion: Occasion,
    holders: Sequence[Holder],
    directory: DirectoryView,
    now: datetime,
) -> list[NewReview]:
    if not holders:
        return []
    keys = [(each.organization, each.worker) for each in holders]
    people = await load_people_around(conn, holders[0].organization, keys, directory)
    return [
        review
        for holder in holders
        for review in build_reviews(
            occasion,
            holder,
            people,
            directory.administrators,
            directory.job_duties,
            directory.calendar.day(now),
            authorizer_may_review=directory.reviews.authorizer_may_review,
        )
    ]
