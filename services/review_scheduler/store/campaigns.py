"""Campaigns: begun, opened in chunks, closed."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.review_scheduler.store.counts import CAMPAIGN_COUNTS
from shared.contracts.review_policy import NoAnswer, ReviewScope
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Plan:
    """What a campaign is to ask, whom, and until when (UTC).

    `period` tells one campaign of a calendar from the next; `calendar` is None for a campaign of
    its own. In `waves`, a share of the workers is asked each business day; `due_at` is the last's.
    """

    organization: str
    title: str
    period: str
    calendar: str | None
    scope: ReviewScope
    no_answer: NoAnswer
    days_to_decide: int
    waves: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign as it is opened; `population` is how many workers held anything then."""

    campaign_id: UUID
    plan: Plan
    opened_by: str
    opened_at: datetime
    policy_version: str | None
    population: int


@dataclass(frozen=True, slots=True)
class OpeningCampaign:
    """A campaign whose reviews are being opened, up to and including `opened_through`."""

    campaign_id: UUID
    plan: Plan
    opened_at: datetime
    opened_through: str
    wave: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What one chunk of a campaign came to.

    `through` is the last worker who has had their turn, None once there is nobody left;
    `next_wave_at` is given where another share of the workers has its turn then.
    """

    through: str | None
    seen: int
    elsewhere: int
    next_wave_at: datetime | None


async def add_campaign(conn: Connection, campaign: Campaign) -> bool:
    """Store a campaign that begins to open; false if it exists."""
    plan = campaign.plan
    return (
        await conn.fetchval(
            """
            INSERT INTO campaign (campaign_id, organization, title, opened_by, opened_at, due_at,
                policy_version, calendar, scope, no_answer, days_to_decide, waves, population,
                status, wave_opens_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'opening', $5)
            ON CONFLICT DO NOTHING RETURNING true
            """,
            campaign.campaign_id,
            plan.organization,
            plan.title,
            campaign.opened_by,
            campaign.opened_at,
            plan.due_at,
            campaign.policy_version,
            plan.calendar,
            _scope(plan.scope),
            plan.no_answer,
            plan.days_to_decide,
            plan.waves,
            campaign.population,
        )
        is True
    )


def _scope(scope: ReviewScope) -> dict[str, Any]:
    """A scope as it is stored: what narrows it."""
    return scope.model_dump(mode="json", exclude_defaults=True)


async def has_unfinished_campaign(conn: Connection, organization: str, scope: ReviewScope) -> bool:
    """Whether a campaign of the organization over this scope is not closed yet."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM campaign"
        " WHERE organization = $1 AND scope = $2 AND status <> 'closed')",
        organization,
        _scope(scope),
    )
    return found


async def first_opening_campaign(conn: Connection, now: datetime) -> OpeningCampaign | None:
    """The campaign that has been waiting for longest to open more; nothing is locked."""
    row = await conn.fetchrow(
        """
        SELECT * FROM campaign WHERE status = 'opening' AND wave_opens_at <= $1
        ORDER BY wave_opens_at, opened_at, campaign_id LIMIT 1
        """,
        now,
    )
    if row is None:
        return None
    plan = Plan(
        row["organization"],
        row["title"],
        "",
        row["calendar"],
        ReviewScope.model_validate(row["scope"]),
        row["no_answer"],
        row["days_to_decide"],
        row["waves"],
        row["due_at"],
    )
    return OpeningCampaign(
        row["campaign_id"], plan, row["opened_at"], row["opened_through"], row["wave"]
    )


async def advance_opening(conn: Connection, campaign: OpeningCampaign, turn: Turn) -> bool:
    """Lock an opening campaign and note how far it is open.

    Returns:
        Whether it still stood where `campaign` says; if not, another replica was first.
    """
    return (
        await conn.fetchval(
            """
            UPDATE campaign SET
                opened_through = CASE WHEN $4::text IS NULL THEN '' ELSE $4 END,
                seen = seen + $5, elsewhere = elsewhere + $6,
                wave = CASE WHEN $7::timestamptz IS NULL THEN wave ELSE wave + 1 END,
                wave_opens_at = coalesce($7, wave_opens_at),
                status = CASE WHEN $4 IS NULL AND $7 IS NULL THEN 'open' ELSE status END
            WHERE campaign_id = $1 AND status = 'opening' AND opened_through = $2 AND wave = $3
            RETURNING true
            """,
            campaign.campaign_id,
            campaign.opened_through,
            campaign.wave,
            turn.through,
            turn.seen,
            turn.elsewhere,
            turn.next_wave_at,
        )
        is True
    )


@dataclass(frozen=True, slots=True)
class ClosedCampaign:
    """A campaign that has just closed; all but the first three numbers count lines.

    `population` is how many workers held anything when it began, `seen` how many of those have had
    their turn; `elsewhere` are lines about which another campaign was asking already.
    """

    campaign_id: UUID
    organization: str
    population: int
    seen: int
    reviews: int
    kept: int
    removed: int
    moot: int
    elsewhere: int


async def close_finished_campaigns(
    conn: Connection, campaign_ids: Collection[UUID], now: datetime
) -> list[ClosedCampaign]:
    """Lock campaigns in order and close those that are fully open and have only closed reviews."""
    # Locked before counting: of two transactions that each close one of the last two reviews, the
    # second must see the first's. Both hold a key share of the campaign, from lines and reviews
    # that refer to it, which a full FOR UPDATE would wait for on either side.
    locked = await conn.fetch(
        "SELECT campaign_id FROM campaign WHERE campaign_id = ANY($1::uuid[]) AND status = 'open'"
        " ORDER BY campaign_id FOR NO KEY UPDATE",
        sorted(campaign_ids),
    )
    rows = await conn.fetch(
        f"""
        UPDATE campaign SET status = 'closed', closed_at = $2, counted = ({CAMPAIGN_COUNTS})
        WHERE campaign_id = ANY($1::uuid[]) AND NOT EXISTS (
            SELECT FROM review
            WHERE review.campaign_id = campaign.campaign_id AND review.status <> 'closed')
        RETURNING campaign_id, organization, population, seen, elsewhere, counted
        """,
        [row["campaign_id"] for row in locked],
        now,
    )
    closed = [
        ClosedCampaign(
            row["campaign_id"],
            row["organization"],
            row["population"],
            row["seen"],
            row["counted"]["reviews"],
            row["counted"]["kept"],
            row["counted"]["removal_confirmed"],
            row["counted"]["moot"],
            row["elsewhere"],
        )
        for row in rows
    ]
    return sorted(closed, key=lambda each: each.campaign_id)
