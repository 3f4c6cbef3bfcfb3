"""What lies before somebody, over all reviews: lines to decide at once, questions to answer."""

from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.review_scheduler.api.answering import Commands, IdempotencyKey, answer, check_reason
from services.review_scheduler.api.shown import show_lines
from services.review_scheduler.handlers.bulk import (
    BULK_LINES_MAX,
    Selection,
    decide_in_bulk,
    select_lines,
)
from services.review_scheduler.handlers.delegations import own_ids
from services.review_scheduler.handlers.passing import answer_question
from services.review_scheduler.rules.deciding import RefusalRule
from services.review_scheduler.store.questions import waiting_questions
from shared.auth import Authenticator, Principal
from shared.contracts.directory import Function
from shared.contracts.hr import Text
from shared.contracts.review import Advice, Decision
from shared.postgres import Connection


class Where(BaseModel):
    """Undecided lines that fit everything given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    campaign_id: UUID | None = None
    review_id: UUID | None = None
    worker: Text | None = None
    portal: Text | None = None
    function: Function | None = None
    advice: Advice | None = Field(default=None, description="What is recommended for them now.")

    def selection(self) -> Selection:
        """As the handler takes it."""
        return Selection(**dict(self))


class BulkOrder(BaseModel):
    """The same decision on all lines that `where` finds, which must be `count`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: Where
    decision: Decision
    reason: Text | None = None
    count: int = Field(ge=1, le=BULK_LINES_MAX)

    @model_validator(mode="after")
    def _say_why(self) -> Self:
        check_reason(self.decision, self.reason)
        return self


class AnswerOrder(BaseModel):
    """What somebody who was asked would do, and why; `ask`: they do not know either."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    advice: Advice
    answer: Text


def desk_router(commands: Commands, authenticator: Authenticator) -> APIRouter:
    """The routes `/review/v1/lines`, `/review/v1/decisions` and `/review/v1/questions`."""
    router = APIRouter(prefix="/review/v1", tags=["desk"])
    pool, clock = commands.pool, commands.clock
    reviewers = Depends(authenticator.requires("review:decide", "review:admin"))
    everybody = Depends(authenticator.requires("directory:read", "review:decide", "review:admin"))

    @router.get("/lines")
    async def list_lines(
        who: Annotated[Principal, reviewers], where: Annotated[Where, Query()]
    ) -> Response:
        """`{"lines": [..], "count", "too_many"}`: what a bulk decision on this `where` is about.

        Each line also names its `review_id`, `worker`, `worker_name`, `opened_at` and `due_at`. At
        most 1,001, and then they are too many to be decided on at once.
        """
        async with pool.acquire() as conn:
            found, seen = await select_lines(conn, clock, who, where.selection())
            shown = await show_lines(conn, clock, who.organization, found, seen=seen)
        too_many = len(shown) > BULK_LINES_MAX
        return answer({"lines": shown, "count": len(shown), "too_many": too_many})

    @router.get("/lines/count")
    async def count_lines(
        who: Annotated[Principal, reviewers], where: Annotated[Where, Query()]
    ) -> Response:
        """`{"count"}` of the lines that the same `where` finds, which need not be shown for it."""
        async with pool.acquire() as conn:
            found, _ = await select_lines(conn, clock, who, where.selection())
        return answer({"count": len(found)})

    @router.post("/decisions")
    async def decide_at_once(
        who: Annotated[Principal, reviewers],
        order: BulkOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Decide the same on all lines found, or on none; answers `{"decided": count}`.

        409 `count_differs` when other lines are found than were counted; 422 `too_many`,
        `reason_missing`; else as a single decision.
        """

        async def work(conn: Connection) -> dict[str, Any] | RefusalRule:
            where = order.where.selection()
            refusal = await decide_in_bulk(
                conn, clock, who, where, order.decision, order.reason, order.count
            )
            return refusal or {"decided": order.count}

        return await commands.carry_out(
            who, "POST /review/v1/decisions", idempotency_key, order, work
        )

    @router.get("/questions")
    async def list_questions(who: Annotated[Principal, everybody]) -> Response:
        """`{"questions": [..]}` that wait for whoever is signed in, with the lines in question."""
        async with pool.acquire() as conn:
            found = await waiting_questions(conn, who.organization, await own_ids(conn, who))
            shown = await show_lines(conn, clock, who.organization, found)
        return answer({"questions": shown})

    @router.post("/questions/{question_id}/answer")
    async def reply(
        who: Annotated[Principal, everybody],
        question_id: UUID,
        order: AnswerOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Answer a question; it goes back to whoever asked, who decides.

        403 `not_asked`; 404 `no_such_question`; 409 `answered`, `line_decided`.
        """

        async def work(conn: Connection) -> dict[str, Any] | RefusalRule:
            refusal = await answer_question(
                conn, clock, who, question_id, order.advice, order.answer
            )
            return refusal or {"question_id": str(question_id), **order.model_dump()}

        route = f"POST /review/v1/questions/{question_id}/answer"
        return await commands.carry_out(who, route, idempotency_key, order, work)

    return router
