"""Campaigns: begun, opened in chunks, closed."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign as it is opened."""

    campaign_id: UUID
    organization: str
    title: str
    opened_by: str
    opened_at: datetime
    due_at: datetime
    policy_version: str | None


@dataclass(frozen=True, slots=True)
class OpeningCampaign:
    """A campaign whose reviews are being opened, up to and including `opened_through`."""

    campaign_id: UUID
    organization: str
    title: str
    opened_at: datetime
    due_at: datetime
    opened_through: str


async def add_campaign(conn: Connection, campaign: Campaign) -> bool:
    """Store a campaign that begins to open; false if it exists."""
    return (
        await conn.fetchval(
            """
            INSERT INTO campaign (campaign_id, organization, title, opened_by, opened_at, due_at,
                policy_version, status, wave_opens_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'opening', $5)
            ON CONFLICT DO NOTHING RETURNING true
            """,
            campaign.campaign_id,
            campaign.organization,
            campaign.title,
            campaign.opened_by,
            campaign.opened_at,
            campaign.due_at,
            campaign.policy_version,
        )
        is True
    )


async def has_unfinished_campaign(conn: Connection, organization: str) -> bool:
    """Whether a campaign of the organization is not closed yet."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM campaign WHERE organization = $1 AND status <> 'closed')",
        organization,
    )
    return found


async def first_opening_campaign(conn: Connection) -> OpeningCampaign | None:
    """The campaign that has been opening for longest; nothing is locked."""
    row = await conn.fetchrow(
        """
        SELECT campaign_id, organization, title, opened_at, due_at, opened_through FROM campaign
        WHERE status = 'opening' ORDER BY opened_at, campaign_id LIMIT 1
        """
    )
    return None if row is None else OpeningCampaign(**dict(row))


async def advance_opening(conn: Connection, campaign: OpeningCampaign, through: str | None) -> bool:
    """Lock an opening campaign and note how far it is open; `None`: it is now open to the end.

    Returns:
        Whether it still stood where `campaign` says; if not, another replica was first.
    """
    return (
        await conn.fetchval(
            """
            UPDATE campaign SET
                opened_through = coalesce($3, opened_through),
                status = CASE WHEN $3::text IS NULL THEN 'open' ELSE status END
            WHERE campaign_id = $1 AND status = 'opening' AND opened_through = $2
            RETURNING true
            """,
            campaign.campaign_id,
            campaign.opened_through,
            through,
        )
        is True
    )


@dataclass(frozen=True, slots=True)
class ClosedCampaign:
    """A campaign that has just closed; all but `reviews` count lines."""

    campaign_id: UUID
    organization: str
    reviews: int
    kept: int
    removed: int
    moot: int


async def close_finished_campaigns(
    conn: Connection, campaign_ids: Collection[UUID], now: datetime
) -> list[ClosedCampaign]:
    """Lock campaigns in order and close those that are fully open and have only closed reviews."""
    # Locked before counting: of two transactions that each close one of the last two reviews, the
    # second must see the first's.
    locked = await conn.fetch(
        "SELECT campaign_id FROM campaign WHERE campaign_id = ANY($1::uuid[]) AND status = 'open'"
        " ORDER BY campaign_id FOR UPDATE",
        sorted(campaign_ids),
    )
    rows = await conn.fetch(
        """
        WITH finished AS (
            UPDATE campaign SET status = 'closed', closed_at = $2
            WHERE campaign_id = ANY($1::uuid[]) AND NOT EXISTS (
                SELECT FROM review
                WHERE review.campaign_id = campaign.campaign_id AND review.status <> 'closed')
            RETURNING campaign_id, organization
        )
        SELECT finished.campaign_id, finished.organization, count(review_id) AS reviews,
            coalesce(sum(kept), 0)::bigint AS kept,
            coalesce(sum(removal_confirmed), 0)::bigint AS removed,
            coalesce(sum(moot), 0)::bigint AS moot
        FROM finished LEFT JOIN review USING (campaign_id)
        GROUP BY finished.campaign_id, finished.organization
        ORDER BY finished.campaign_id
        """,
        [row["campaign_id"] for row in locked],
        now,
    )
    return [ClosedCampaign(**dict(row)) for row in rows]
