"""The gateway's HTTP interface for programs: HR events in, tokens out."""

import time
from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse
from joserfc.jwk import OKPKey
from pydantic import BaseModel, Field

from services.gateway.api.body import read_body
from services.gateway.handlers.clients import Clients
from services.gateway.handlers.ingress import (
    RETRY_AFTER_SECONDS,
    Ingress,
    Receipt,
    Unacknowledged,
    unacknowledged_problem,
)
from services.gateway.handlers.rejected import RejectedEvents
from services.gateway.handlers.sign_in import Doorkeeper, principal_of
from services.gateway.handlers.source_health import SourceHealth
from services.gateway.handlers.source_secrets import SourceSecrets
from services.gateway.rules.intake import BODY_MAX_BYTES, read_request
from services.gateway.rules.rates import Rates
from services.gateway.settings import Settings
from services.gateway.sources import Sources
from services.gateway.tokens import mint, public_keys
from shared.auth import MAX_TOKEN_LIFETIME_SECONDS, Authenticator, Principal
from shared.contracts.envelope import rfc3339
from shared.errors import Problem
from shared.problems import problem_response

REJECTIONS_PAGE_MAX = 500


class OneTimeCode(BaseModel):
    """The last part of a one-time link."""

    code: str = Field(min_length=1, max_length=200)


def client_of(request: Request) -> str:
    """The address a request came from, for rate limits."""
    return request.client.host if request.client else "unknown"


def ingress_router(
    ingress: Ingress,
    sources: Sources,
    secrets: SourceSecrets,
    rates: Rates,
    health: SourceHealth,
    clients: Clients,
    authenticator: Authenticator,
) -> APIRouter:
    """Where HR systems post."""
    router = APIRouter(tags=["hr"])
    writes = authenticator.requires("hr:write")

    async def speakers(request: Request, body: bytes) -> dict[str, frozenset[str]]:
        """The sources that a request speaks for, by its token or else by its signature."""
        if "authorization" in request.headers:
            who = await writes(request)
            speaks_for = await clients.speaks_for(who)
            if not speaks_for:
                raise Problem(403, "no_source", "This program was revoked, or has no HR source.")
            return speaks_for
        await secrets.refresh()
        speaks_for = sources.signed_by(body, request.headers)
        if not speaks_for:
            health.note_wrong_signature()
            raise Problem(
                401,
                "signature_invalid",
                "Sign the exact bytes as Standard Webhooks with a secret of a configured source, "
                "and send within five minutes of webhook-timestamp; or send a bearer token.",
            )
        return speaks_for

    @router.post("/hr/v1/events", status_code=202)
    async def receive_events(request: Request) -> JSONResponse:
        """Take CloudEvents about workers, signed as Standard Webhooks or with a bearer token.

        Answers 202 with a result per event once every acceptable one is acknowledged by Kafka, 422
        when none is acceptable, 503 with Retry-After when the fate of any is unknown, 429 with
        Retry-After when the source sends more than it may.
        """
        body = await read_body(request, BODY_MAX_BYTES)
        speaks_for = await speakers(request, body)
        documents = read_request(request.headers.get("content-type", ""), request.headers, body)
        wait = rates.wait_for(speaks_for.keys(), len(documents), time.monotonic())
        if wait:
            raise Problem(
                429,
                "too_many_events",
                f"This source sends more than it may. Send the same again in {wait} seconds.",
                headers={"Retry-After": str(wait)},
            )
        try:
            receipt = await ingress.receive(documents, speaks_for)
        except Unacknowledged:
            problem = unacknowledged_problem()
            return problem_response(
                problem.status,
                problem.code,
                problem.detail,
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        return JSONResponse(_answer(receipt), status_code=202 if receipt.accepted else 422)

    return router


def rejected_router(rejected: RejectedEvents, authenticator: Authenticator) -> APIRouter:
    """Where people look at rejected events and have them judged again after a fix."""
    router = APIRouter(tags=["hr"])
    sees = authenticator.requires("hr:enter", "access:admin")

    @router.get("/hr/v1/rejected")
    async def listed(
        who: Annotated[Principal, Depends(sees)],
        limit: Annotated[int, Query(ge=1, le=REJECTIONS_PAGE_MAX)] = 50,
    ) -> dict[str, Any]:
        """Rejected events that are still kept, newest first: rule and reference, no content."""
        return {"rejected": [asdict(each) for each in await rejected.list(who.organization, limit)]}

    @router.post("/hr/v1/rejected/{reference}/replay", status_code=202)
    async def replay(reference: UUID, who: Annotated[Principal, Depends(sees)]) -> dict[str, str]:
        """Judge one again by today's rules; 202 once Kafka has it, 422 with what still refuses it.

        Asking twice does no harm: an event is known by its id.
        """
        try:
            id_ = await rejected.replay(who, reference)
        except Unacknowledged as unknown:
            raise unacknowledged_problem() from unknown
        return {"id": id_, "status": "accepted"}

    return router


def _answer(receipt: Receipt) -> dict[str, Any]:
    results: list[dict[str, Any]] = [
        {
            "index": each.index,
            "id": each.event.id,
            "status": "accepted",
            "dropped": list(each.dropped),
        }
        for each in receipt.accepted
    ]
    results += [
        {
            "index": each.index,
            "id": each.id,
            "status": "rejected",
            "code": each.code,
            "detail": each.detail,
            "reference": str(each.reference),
        }
        for each in receipt.refused
    ]
    return {
        "accepted": len(receipt.accepted),
        "rejected": len(receipt.refused),
        "results": sorted(results, key=lambda result: result["index"]),
    }


def session_router(doorkeeper: Doorkeeper, key: OKPKey, settings: Settings) -> APIRouter:
    """Where the command line signs in and gets its tokens."""
    router = APIRouter(tags=["session"])

    @router.get("/.well-known/jwks.json")
    async def jwks() -> dict[str, Any]:
        """The public keys that tokens are checked with."""
        return public_keys(key)

    @router.post("/session", status_code=201)
    async def open_session(request: Request, body: OneTimeCode) -> dict[str, Any]:
        """Use up a one-time link; the session secret is shown this once."""
        secret, session = await doorkeeper.sign_in(body.code, client_of(request))
        return {
            "session": secret,
            "name": session.name,
            "roles": list(session.roles),
            "expires_at": rfc3339(session.expires_at),
        }

    @router.post("/session/token")
    async def issue_token(
        authorization: Annotated[str, Header()] = "",
    ) -> dict[str, Any]:
        """A token for five minutes and the services' addresses, for a session secret."""
        scheme, _, secret = authorization.partition(" ")
        session = await doorkeeper.find(secret) if scheme.lower() == "bearer" else None
        if session is None:
            raise Problem(
                401, "session_unknown", "This session is over or unknown; sign in with a new link."
            )
        principal = principal_of(session)
        return {
            "token": mint(key, principal),
            "expires_in": MAX_TOKEN_LIFETIME_SECONDS,
            "organization": session.organization,
            "subject": session.subject,
            "name": session.name,
            "scopes": sorted(principal.scopes),
            "services": {
                "gateway": settings.gateway_url,
                "provisioning": settings.provisioning_url,
                "audit": settings.audit_url,
                "review": settings.review_url,
                **settings.outer_urls,
            },
        }

    return router
