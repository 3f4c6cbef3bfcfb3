"""HTTP under `/review/v1`: campaigns, reviews and decisions.

Instants are RFC 3339 in UTC. Lists take `limit` and answer `next_cursor`, null at the end.
A review is

    {"review_id", "campaign_id": null for a micro-review, "kind": "campaign" | "micro",
     "worker", "worker_name", "reviewer": worker id, null for the queue of review:admin,
     "reviewer_rule": "supervisor" | "next_above" | "portal_administrator"
         | "organization_administrator" | "review_admin_queue",
     "status": "open" (undecided lines) | "decided" (removals under way) | "closed",
     "opened_at", "due_at", "closed_at", "reason", "lines": int, "undecided": int}

and one that is read by itself has, in the place of the number, its lines:

    {"line_id", "portal", "tin", "function", "grade": "roster" | "api" | "person" | "assumed",
     "since", "authorized_by": {"kind", "reference", "by"} | null, "duties": [..],
     "operation_id", "status": "undecided" | "kept" | "removal_decided" | "removal_ordered"
         | "removal_confirmed" | "moot",
     "decision": "keep" | "remove" | null, "decided_by", "decided_at", "reason", "detail"}

A campaign is

    {"campaign_id", "title", "status": "opening" | "open" | "closed", "opened_by", "opened_at",
     "due_at", "closed_at", "policy_version", "reviews", "reviews_closed", "reviewers", "lines",
     "undecided", "kept", "removal_decided", "removal_ordered", "removal_confirmed", "moot"}
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import asyncpg
import orjson
from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.review_scheduler.events import SOURCE
from services.review_scheduler.handlers.campaigns import open_by_command
from services.review_scheduler.handlers.decisions import REFUSAL_STATUS, Wish, decide_lines
from services.review_scheduler.rules.deciding import REFUSAL_IN_WORDS, RefusalRule
from services.review_scheduler.rules.reviewers import identify
from services.review_scheduler.store import views
from services.review_scheduler.store.workers import load_people
from shared import idempotency
from shared.auth import Authenticator, Principal
from shared.clock import Clock
from shared.contracts.facts import to_json
from shared.contracts.hr import Text
from shared.contracts.review import Decision
from shared.errors import Problem
from shared.postgres import Connection

PAGE_DEFAULT, PAGE_MAX = 50, 200
DECISIONS_MAX = 1_000
"""Lines that one request may decide on: more than any worker has, so that a review is one call."""

Cursor = Annotated[str | None, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


class CampaignOrder(BaseModel):
    """A campaign to open now; without a title it is called after the present quarter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Text | None = None


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


def review_router(
    pool: "asyncpg.Pool[Any]", clock: Clock, authenticator: Authenticator
) -> APIRouter:
    """The routes of `/review/v1`."""
    router = APIRouter(prefix="/review/v1", tags=["reviews"])
    counts = Depends(
        authenticator.requires("review:decide", "review:admin", "access:read", "audit:read")
    )
    reviewers = Depends(authenticator.requires("review:decide", "review:admin"))
    admins = Depends(authenticator.requires("review:admin"))

    @router.get("/campaigns")
    async def list_campaigns(
        who: Annotated[Principal, counts], cursor: Cursor = None, limit: Limit = PAGE_DEFAULT
    ) -> Response:
        """`{"campaigns": [..], "next_cursor"}`, newest first, with progress counts."""
        async with pool.acquire() as conn:
            found = await views.list_campaigns(
                conn,
                who.organization,
                campaign_id=None,
                before=_read_cursor(cursor),
                limit=limit + 1,
            )
        return _page("campaigns", found, limit, "opened_at", "campaign_id")

    @router.get("/campaigns/{campaign_id}")
    async def read_campaign(who: Annotated[Principal, counts], campaign_id: UUID) -> Response:
        """One campaign with progress counts; 404 `no_such_campaign`."""
        async with pool.acquire() as conn:
            return _answer(await _campaign(conn, who.organization, campaign_id))

    @router.post("/campaigns", status_code=201)
    async def open_campaign(
        who: Annotated[Principal, admins],
        order: CampaignOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Begin a campaign over all effective access; answers it with 201 while it is opening.

        409 `campaign_unfinished` while another one is not closed, `organization_unknown` before a
        directory was applied.
        """

        async def carry_out(conn: Connection) -> dict[str, Any]:
            campaign_id = await open_by_command(
                conn, clock, who.organization, who.worker or who.subject, order.title
            )
            return await _campaign(conn, who.organization, campaign_id)

        return await _command(
            pool,
            clock,
            who,
            "POST /review/v1/campaigns",
            idempotency_key,
            order,
            carry_out,
            status=201,
        )

    @router.get("/reviews")
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
                after=_read_cursor(cursor),
                limit=limit + 1,
            )
        return _page("reviews", found, limit, "due_at", "review_id")

    @router.get("/reviews/{review_id}")
    async def read_review(who: Annotated[Principal, reviewers], review_id: UUID) -> Response:
        """One review with its lines; 404 `no_such_review`, also for somebody else's."""
        async with pool.acquire() as conn:
            review = await _review(conn, who.organization, review_id)
            own = who.may("review:admin") or review["reviewer"] in await _own_ids(conn, who)
        if not own:
            raise _no_such_review()
        return _answer(review)

    @router.post("/reviews/{review_id}/decisions")
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

        async def carry_out(conn: Connection) -> dict[str, Any] | RefusalRule:
            refusal = await decide_lines(conn, clock, who, review_id, wishes)
            return refusal or await _review(conn, who.organization, review_id)

        route = f"POST /review/v1/reviews/{review_id}/decisions"
        return await _command(pool, clock, who, route, idempotency_key, order, carry_out)

    return router


async def _command(
    pool: "asyncpg.Pool[Any]",
    clock: Clock,
    who: Principal,
    route: str,
    key: str | None,
    order: BaseModel,
    carry_out: Callable[[Connection], Awaitable[dict[str, Any] | RefusalRule]],
    *,
    status: int = 200,
) -> Response:
    """Carry a command out, once per idempotency key, and answer what it answered then.

    Raises:
        Problem: the command is refused; 409 while the same key is at work, 422 when it was used
            for another body.
    """
    body = order.model_dump_json().encode()

    async def work(conn: Connection) -> dict[str, Any] | RefusalRule:
        result = await carry_out(conn)
        # As it will be read back, so that both answers are the same.
        return result if isinstance(result, RefusalRule) else orjson.loads(to_json(result))

    result = await idempotency.carry_out(
        pool, who, route, key, body, work, source=SOURCE, clock=clock
    )
    if isinstance(result, RefusalRule):
        # Only now: the transaction that wrote the refusal down had to commit.
        raise Problem(REFUSAL_STATUS[result], result, REFUSAL_IN_WORDS[result])
    return _answer(result, status)


async def _campaign(conn: Connection, organization: str, campaign_id: UUID) -> dict[str, Any]:
    found = await views.list_campaigns(
        conn, organization, campaign_id=campaign_id, before=None, limit=1
    )
    if not found:
        raise Problem(404, "no_such_campaign", "There is no such campaign; list them again.")
    return found[0]


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


def _answer(document: object, status: int = 200) -> Response:
    return Response(to_json(document), status_code=status, media_type="application/json")


def _page(name: str, found: list[dict[str, Any]], limit: int, *order: str) -> Response:
    """A page of at most `limit` rows, and where the next begins if one more was found."""
    rows = found[:limit]
    cursor = None
    if len(found) > limit:
        cursor = urlsafe_b64encode(to_json([rows[-1][each] for each in order])).decode()
    return _answer({name: rows, "next_cursor": cursor})


def _read_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    try:
        instant, id = orjson.loads(urlsafe_b64decode(cursor))
        return datetime.fromisoformat(instant), UUID(id)
    except (ValueError, TypeError, AttributeError) as error:
        raise Problem(
            422, "invalid_cursor", "This is no cursor of this list; begin without one."
        ) from error
