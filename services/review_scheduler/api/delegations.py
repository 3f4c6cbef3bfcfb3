"""Covering for each other over HTTP: who decides in whose place on which days."""

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict

from services.review_scheduler.api.answering import Commands, IdempotencyKey, answer
from services.review_scheduler.handlers.delegations import delegate, end
from services.review_scheduler.store.delegations import Delegation, list_delegations
from services.review_scheduler.store.directory import load_directory
from shared.auth import Authenticator, Principal
from shared.contracts.hr import Text
from shared.postgres import Connection


class DelegationOrder(BaseModel):
    """Who decides from the first day to the last; without a reviewer, in the caller's place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    delegate: Text
    since: date
    until: date
    reviewer: Text | None = None


class Nothing(BaseModel):
    """A command that says all by its path."""


def delegations_router(commands: Commands, authenticator: Authenticator) -> APIRouter:
    """The routes under `/review/v1/delegations`."""
    router = APIRouter(prefix="/review/v1/delegations", tags=["delegations"])
    reviewers = Depends(authenticator.requires("review:decide", "review:admin"))

    @router.get("")
    async def list_all(who: Annotated[Principal, reviewers]) -> Response:
        """`{"delegations": [..]}` that are not over; without review:admin one's own only."""
        async with commands.pool.acquire() as conn:
            calendar = (await load_directory(conn, who.organization)).calendar
            of = None if who.may("review:admin") else [who.worker or ""]
            today = calendar.day(await commands.clock.now(conn))
            return answer(
                {"delegations": await list_delegations(conn, who.organization, of, today)}
            )

    @router.post("", status_code=201)
    async def begin(
        who: Annotated[Principal, reviewers],
        order: DelegationOrder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Have somebody decide in a reviewer's place; answers the delegation.

        403 `not_reviewer`; 422 `delegate_unknown`, `delegate_self`, `delegation_days`,
        `reviewer_missing`.
        """

        async def work(conn: Connection) -> dict[str, Any]:
            made = await delegate(
                conn,
                commands.clock,
                who,
                order.reviewer,
                order.delegate,
                order.since,
                order.until,
            )
            return _told(made)

        route = "POST /review/v1/delegations"
        return await commands.carry_out(who, route, idempotency_key, order, work, status=201)

    @router.post("/{delegation_id}/end")
    async def end_now(
        who: Annotated[Principal, reviewers],
        delegation_id: UUID,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """End it now; answers the delegation. 404 `no_such_delegation`."""

        async def work(conn: Connection) -> dict[str, Any]:
            return _told(await end(conn, commands.clock, who, delegation_id))

        route = f"POST /review/v1/delegations/{delegation_id}/end"
        return await commands.carry_out(who, route, idempotency_key, Nothing(), work)

    return router


def _told(delegation: Delegation) -> dict[str, Any]:
    return {**asdict(delegation), "delegation_id": str(delegation.delegation_id)}
