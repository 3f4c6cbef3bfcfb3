"""HR vendors' own webhooks over HTTP."""

import time
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request

from services.gateway.api.body import read_body
from services.gateway.handlers.deliveries import Deliveries
from services.gateway.handlers.source_health import SourceHealth
from services.gateway.rules.intake import BODY_MAX_BYTES
from services.gateway.rules.rates import Rates
from shared.auth import Authenticator, Principal
from shared.errors import Problem

HANDSHAKE_COST = 100
"""Anybody can have a vendor asked about a key, so it counts as so many events."""


def adapters_router(
    deliveries: Deliveries, rates: Rates, health: SourceHealth, authenticator: Authenticator
) -> APIRouter:
    """Where vendors post, and where people see what came of it."""
    router = APIRouter(tags=["hr"])
    sees = authenticator.requires("hr:enter", "access:admin", "ops:admin")
    replays = authenticator.requires("hr:enter", "access:admin")

    def admit(sender: str, cost: int) -> None:
        wait = rates.wait_for((sender,), cost, time.monotonic())
        if wait:
            raise Problem(
                429,
                "too_many_events",
                f"This source sends more than it may. Send the same again in {wait} seconds.",
                headers={"Retry-After": str(wait)},
            )

    @router.post("/hr/v1/adapters/{vendor}", status_code=202)
    async def receive(vendor: str, request: Request) -> dict[str, str]:
        """Keep a vendor's webhook, signed the vendor's way; what it comes to is asked afterwards.

        Answers 202 once it is stored, or once the vendor confirms the signing key that it brings;
        401 for a wrong signature or key, 422 for what is no event of the vendor's, 429 with
        Retry-After when the source sends more than it may.
        """
        body = await read_body(request, BODY_MAX_BYTES)
        key = deliveries.key_in(vendor, body)
        if key is not None:
            admit(f"handshake {vendor}", HANDSHAKE_COST)
            return {"id": await deliveries.shake_hands(vendor, key), "status": "confirmed"}
        try:
            source = await deliveries.signer(vendor, body, request.headers)
        except Problem as problem:
            if problem.status == 401:
                health.note_wrong_signature()
            raise
        admit(source, 1)
        return {"id": str(await deliveries.keep(vendor, source, body)), "status": "kept"}

    @router.get("/hr/v1/deliveries")
    async def listed(who: Annotated[Principal, Depends(sees)]) -> dict[str, Any]:
        """The latest deliveries of vendors, and why some are not done; never their content."""
        return {"deliveries": await deliveries.listed(who)}

    @router.post("/hr/v1/deliveries/{id}/replay", status_code=202)
    async def replay(
        id: UUID,
        who: Annotated[Principal, Depends(replays)],
        key: Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)] = None,
    ) -> dict[str, Any]:
        """Look into a delivery anew, after a fix; the list tells what came of it."""
        return await deliveries.replay(who, id, key)

    return router
