"""Campaigns over HTTP: listed, read, opened."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict

from services.review_scheduler.api.answering import (
    PAGE_DEFAULT,
    Commands,
    Cursor,
    IdempotencyKey,
    Limit,
    answer,
    page,
    read_cursor,
)
from services.review_scheduler.handlers.campaigns import open_by_command
from services.review_scheduler.store import views
from shared.auth import Authenticator, Principal
from shared.contracts.hr import Text
from shared.errors import Problem
from shared.postgres import Connection


class CampaignOrder(BaseModel):
    """A campaign to open now; without a title it is called after the present quarter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Text | None = None


def campaigns_router(commands: Commands, authenticator: Authenticator) -> APIRouter:
    """The routes under `/review/v1/campaigns`."""
    router = APIRouter(prefix="/review/v1/campaigns", tags=["campaigns"])
    pool, clock = commands.pool, commands.clock
    counts = Depends(
        authenticator.requires("review:decide", "review:admin", "access:read", "audit:read")
    )
    admins = Depends(authenticator.requires("review:admin"))

    @router.get("")
    async def list_campaigns(
        who: Annotated[Principal, counts], cursor: Cursor = None, limit: Limit = PAGE_DEFAULT
    ) -> Response:
        """`{"campaigns": [..], "next_cursor"}`, newest first, with progress counts."""
        async with pool.acquire() as conn:
            found = await views.list_campaigns(
                conn,
                who.organization,
                campaign_id=None,
                before=read_cursor(cursor),
                limit=limit + 1,
            )
        return page("campaigns", found, limit, "opened_at", "campaign_id")

    @router.get("/{campaign_id}")
    async def read_campaign(who: Annotated[Principal, counts], campaign_id: UUID) -> Response:
        """One campaign with progress counts; 404 `no_such_campaign`."""
        async with pool.acquire() as conn:
            return answer(await _campaign(conn, who.organization, campaign_id))

    @router.post("", status_code=201)
    async def open_campaign(
        who: Annotated[Principal, admins],
        order: CampaignOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Begin a campaign over all effective access; answers it with 201 while it is opening.

        409 `campaign_unfinished` while another one is not closed, `organization_unknown` before a
        directory was applied.
        """

        async def work(conn: Connection) -> dict[str, Any]:
            campaign_id = await open_by_command(
                conn, clock, who.organization, who.worker or who.subject, order.title
            )
            return await _campaign(conn, who.organization, campaign_id)

        route = "POST /review/v1/campaigns"
        return await commands.carry_out(who, route, idempotency_key, order, work, status=201)

    return router


async def _campaign(conn: Connection, organization: str, campaign_id: UUID) -> dict[str, Any]:
    found = await views.list_campaigns(
        conn, organization, campaign_id=campaign_id, before=None, limit=1
    )
    if not found:
        raise Problem(404, "no_such_campaign", "There is no such campaign; list them again.")
    return found[0]
