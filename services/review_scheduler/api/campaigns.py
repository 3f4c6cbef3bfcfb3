"""Campaigns over HTTP: listed, read, previewed, opened."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

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
from services.review_scheduler.handlers.calendars import plan_of
from services.review_scheduler.handlers.campaigns import known_directory, open_by_command, preview
from services.review_scheduler.store import views
from services.review_scheduler.store.campaigns import Plan
from services.review_scheduler.store.directory import DirectoryView
from shared.auth import Authenticator, Principal
from shared.contracts.hr import Text
from shared.contracts.objects import Id
from shared.contracts.review_policy import CampaignCalendar, NoAnswer, ReviewScope
from shared.errors import Problem
from shared.postgres import Connection


class CampaignOrder(BaseModel):
    """A campaign to open now: over everything, or what `scope` names, or as a calendar says.

    Without a title it is called after its calendar and the present period. `due_at` is for what
    cannot wait for whole days.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Text | None = None
    calendar: Id | None = None
    scope: ReviewScope | None = None
    days_to_decide: int | None = Field(default=None, ge=1, le=90)
    spread_days: int | None = Field(default=None, ge=1, le=31)
    no_answer: NoAnswer | None = None
    due_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.due_at is not None and (self.days_to_decide or self.spread_days):
            raise ValueError("give due_at, or days_to_decide and spread_days")
        return self


def campaign_planned(order: CampaignOrder, directory: DirectoryView, now: datetime) -> Plan:
    """The campaign that somebody wants.

    Raises:
        Problem: 404 for a calendar that the policy does not have, 422 for an end that is over.
    """
    calendars = {each.id: each for each in directory.reviews.calendars}
    calendar = CampaignCalendar(id="command", name="Review", every="quarter")
    if order.calendar is not None:
        if order.calendar not in calendars:
            raise Problem(
                404,
                "no_such_calendar",
                f"The review policy has no calendar {order.calendar}; it has"
                f" {', '.join(sorted(calendars)) or 'none'}.",
            )
        calendar = calendars[order.calendar]
    wanted = order.model_dump(include={"scope", "days_to_decide", "spread_days", "no_answer"})
    given = {name: getattr(order, name) for name, value in wanted.items() if value is not None}
    plan = plan_of(calendar.model_copy(update=given), directory, now)
    if order.due_at is not None:
        if order.due_at <= now:
            raise Problem(422, "due_at_over", "due_at lies behind; say when it is to be.")
        plan = replace(plan, due_at=order.due_at, waves=1)
    return replace(plan, title=order.title or plan.title, calendar=order.calendar)


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

    @router.post("/preview")
    async def preview_campaign(who: Annotated[Principal, admins], order: CampaignOrder) -> Response:
        """What a campaign would ask whom if it were opened now; nothing is stored.

        `{"title", "due_at", "workers", "reviews", "lines", "elsewhere": lines that another
        campaign asks about already, "reviewers": [{"reviewer", "name", "rules", "reviews",
        "lines"}]}`, the busiest reviewer first; null is the queue of review:admin.
        """
        async with pool.acquire() as conn:
            directory = await known_directory(conn, who.organization)
            now = await clock.now(conn)
            plan = campaign_planned(order, directory, now)
            return answer(await preview(conn, plan, directory, now))

    @router.post("", status_code=201)
    async def open_campaign(
        who: Annotated[Principal, admins],
        order: CampaignOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Begin a campaign; answers it with 201 while it is opening.

        409 `campaign_unfinished` while another one over the same is not closed,
        `organization_unknown` before a directory was applied; 404 `no_such_calendar`.
        """

        async def work(conn: Connection) -> dict[str, Any]:
            directory = await known_directory(conn, who.organization)
            plan = campaign_planned(order, directory, await clock.now(conn))
            campaign_id = await open_by_command(
                conn, clock, plan, who.worker or who.subject, directory
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
