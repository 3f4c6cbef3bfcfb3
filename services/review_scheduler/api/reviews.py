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
    check_reason,
    page,
    read_cursor,
)
from services.review_scheduler.api.shown import no_such_review, show_review
from services.review_scheduler.handlers.decisions import (
    Wish,
    decide_lines,
    note_reading,
    reduce_access,
)
from services.review_scheduler.handlers.delegations import asked_for
from services.review_scheduler.handlers.passing import ask_somebody, decline_review
from services.review_scheduler.rules.deciding import RefusalRule
from services.review_scheduler.store import views
from shared.auth import Authenticator, Principal
from shared.contracts.directory import Function
from shared.contracts.hr import Text
from shared.contracts.review import Decision
from shared.postgres import Connection, in_transaction

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
        check_reason(self.decision, self.reason)
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


class ReductionOrder(BaseModel):
    """Keep these functions on a portal under a TIN; the others that are asked about there go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    portal: Text
    tin: Text
    functions: tuple[Function, ...] = Field(min_length=1)
    reason: Text


class AskOrder(BaseModel):
    """Ask a worker about lines; they come back with an answer, and the reviewer decides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line_ids: tuple[UUID, ...] = Field(min_length=1, max_length=DECISIONS_MAX)
    worker: Text
    question: Text


class DeclineOrder(BaseModel):
    """Why the review is somebody else's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Text


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
                only_for=None if who.may("review:admin") else await asked_for(conn, clock, who),
                after=read_cursor(cursor),
                limit=limit + 1,
            )
        return page("reviews", found, limit, "due_at", "review_id")

    @router.get("/{review_id}")
    async def read_review(who: Annotated[Principal, reviewers], review_id: UUID) -> Response:
        """One review with its lines; 404 `no_such_review`, also for somebody else's.

        That its reviewer reads it for the first time is noted.
        """
        async with pool.acquire() as conn:
            review = await show_review(conn, clock, who.organization, review_id)
            own = who.may("review:admin") or review["reviewer"] in await asked_for(conn, clock, who)
        if not own:
            raise no_such_review()
        if review["read_at"] is None:
            await in_transaction(pool, lambda conn: note_reading(conn, clock, who, review_id))
        return answer(review)

    @router.post("/{review_id}/decisions")
    async def decide(
        who: Annotated[Principal, reviewers],
        review_id: UUID,
        order: DecisionsOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Decide on lines, all or none, or decide again; answers the review.

        Once a review is closed, deciding otherwise about what it kept opens a new one, which is
        answered. 403 `self_review`, `not_reviewer`, `reviewer_unknown`; 409 `line_moot`,
        `removal_confirmed`, `held_no_more`; 422 `line_unknown`, `reason_missing`.
        """
        wishes = [Wish(each.line_id, each.decision, each.reason) for each in order.decisions]

        async def work(conn: Connection) -> dict[str, Any] | RefusalRule:
            decided = await decide_lines(conn, clock, who, review_id, wishes)
            if isinstance(decided, RefusalRule):
                return decided
            return await show_review(conn, clock, who.organization, decided)

        route = f"POST /review/v1/reviews/{review_id}/decisions"
        return await commands.carry_out(who, route, idempotency_key, order, work)

    @router.post("/{review_id}/reductions")
    async def reduce(
        who: Annotated[Principal, reviewers],
        review_id: UUID,
        order: ReductionOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Reduce access on one portal to these functions; answers and refusals as decisions.

        422 `line_unknown` for a function that the review does not ask about there.
        """

        async def work(conn: Connection) -> dict[str, Any] | RefusalRule:
            decided = await reduce_access(
                conn, clock, who, review_id, order.portal, order.tin, order.functions, order.reason
            )
            if isinstance(decided, RefusalRule):
                return decided
            return await show_review(conn, clock, who.organization, decided)

        route = f"POST /review/v1/reviews/{review_id}/reductions"
        return await commands.carry_out(who, route, idempotency_key, order, work)

    @router.post("/{review_id}/questions")
    async def ask(
        who: Annotated[Principal, reviewers],
        review_id: UUID,
        order: AskOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Ask somebody who knows more; answers the review.

        403 `self_review` for the holder; 422 `asked_absent`, `line_unknown`; 409 `line_decided`.
        """

        async def work(conn: Connection) -> dict[str, Any] | RefusalRule:
            refusal = await ask_somebody(
                conn, clock, who, review_id, order.line_ids, order.worker, order.question
            )
            return refusal or await show_review(conn, clock, who.organization, review_id)

        route = f"POST /review/v1/reviews/{review_id}/questions"
        return await commands.carry_out(who, route, idempotency_key, order, work)

    @router.post("/{review_id}/not-mine")
    async def decline(
        who: Annotated[Principal, reviewers],
        review_id: UUID,
        order: DeclineOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Pass a review on to the next by rule; answers it. 409 `nothing_left`."""

        async def work(conn: Connection) -> dict[str, Any] | RefusalRule:
            refusal = await decline_review(conn, clock, who, review_id, order.reason)
            return refusal or await show_review(conn, clock, who.organization, review_id)

        route = f"POST /review/v1/reviews/{review_id}/not-mine"
        return await commands.carry_out(who, route, idempotency_key, order, work)

    return router
