"""Reviews over HTTP: listed, read, decided."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

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
from services.review_scheduler.handlers.decisions import Wish, decide_lines
from services.review_scheduler.rules.deciding import RefusalRule
from services.review_scheduler.rules.reviewers import identify
from services.review_scheduler.store import views
from services.review_scheduler.store.workers import load_people
from shared.auth import Authenticator, Principal
from shared.contracts.hr import Text
from shared.contracts.review import Decision
from shared.errors import Problem
from shared.postgres import Connection

DECISIONS_MAX = 1_000
"""Lines that one request may decide on: more than any worker has, so that a review is one call."""


class DecisionOrder(BaseModel):
    """What to do about one line; a removal needs a reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line_id: UUID
    decision: Decision
    reason: Text | None = None

    @model_validator(mode="after")
    def _say_why(self) -> Self:
        if self.decision == "remove" and self.reason is None:
            raise ValueError("a removal needs a reason")
        return self


class DecisionsOrder(BaseModel):
    """Decisions on lines of one review, all or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decisions: tuple[DecisionOrder, ...] = Field(min_length=1, max_length=DECISIONS_MAX)

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        if len({each.line_id for each in self.decisions}) < len(self.decisions):
            raise ValueError("a line is decided on twice")
        return self


def reviews_router(commands: Commands, authenticator: Authenticator) -> APIRouter:
    """The routes under `/review/v1/reviews`."""
    router = APIRouter(prefix="/review/v1/reviews", tags=["reviews"])
    pool, clock = commands.pool, commands.clock
    reviewers = Depends(authenticator.requires("review:decide", "review:admin"))

    @router.get("")
    async def list_reviews(
        who: Annotated[Principal, reviewers],
        status: Literal["open", "decided", "closed"] | None = None,
        reviewer: Annotated[Text | None, Query()] = None,
        worker: Annotated[Text | None, Query()] = None,
        campaign: UUID | None = None,
        cursor: Cursor = None,
        limit: Limit = PAGE_DEFAULT,
    ) -> Response:
        """`{"reviews": [..], "next_cursor"}` by due date; without review:admin one's own only."""
        async with pool.acquire() as conn:
            found = await views.list_reviews(
                conn,
                who.organization,
                status=status,
                reviewer=reviewer,
                worker=worker,
                campaign_id=campaign,
                only_for=None if who.may("review:admin") else await _own_ids(conn, who),
                after=read_cursor(cursor),
                limit=limit + 1,
            )
        return page("reviews", found, limit, "due_at", "review_id")

    @router.get("/{review_id}")
    async def read_review(who: Annotated[Principal, reviewers], review_id: UUID) -> Response:
        """One review with its lines; 404 `no_such_review`, also for somebody else's."""
        async with pool.acquire() as conn:
            review = await _review(conn, who.organization, review_id)
            own = who.may("review:admin") or review["reviewer"] in await _own_ids(conn, who)
        if not own:
            raise _no_such_review()
        return answer(review)

    @router.post("/{review_id}/decisions")
    async def decide(
        who: Annotated[Principal, reviewers],
        review_id: UUID,
        order: DecisionsOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Decide on lines, or decide again until the review closes; answers the review.

        All decisions are taken or none. 403 `self_review`, `not_reviewer`, `reviewer_unknown`; 409
        `review_closed`, `line_moot`, `removal_confirmed`; 422 `line_unknown`.
        """
        wishes = [Wish(each.line_id, each.decision, each.reason) for each in order.decisions]

        async def work(conn: Connection) -> dict[str, Any] | RefusalRule:
            refusal = await decide_lines(conn, clock, who, review_id, wishes)
            return refusal or await _review(conn, who.organization, review_id)

        route = f"POST /review/v1/reviews/{review_id}/decisions"
        return await commands.carry_out(who, route, idempotency_key, order, work)

    return router


async def _review(conn: Connection, organization: str, review_id: UUID) -> dict[str, Any]:
    review = await views.read_review(conn, organization, review_id)
    if review is None:
        raise _no_such_review()
    return review


def _no_such_review() -> Problem:
    return Problem(404, "no_such_review", "There is no such review; list the reviews again.")


async def _own_ids(conn: Connection, who: Principal) -> set[str]:
    """The ids under which reviews may have been given to whoever is signed in."""
    if who.worker is None:
        return set()
    people = await load_people(conn, who.organization, [who.worker])
    return {who.worker, identify(who.worker, people)}
