"""Programs over HTTP: registered, and given tokens for their credentials (RFC 6749, 4.4)."""

import base64
import binascii
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import unquote_plus

from fastapi import APIRouter, Body, Depends, Form, Header, Request
from fastapi.responses import JSONResponse
from joserfc.jwk import OKPKey
from pydantic import BaseModel, Field

from services.gateway.handlers.clients import Clients, OAuthError
from services.gateway.tokens import mint
from shared.auth import MAX_TOKEN_LIFETIME_SECONDS, Authenticator, Principal

OVERLAP_MAX_DAYS = 30
Text = Annotated[str, Form(max_length=1_000)]


class NewClient(BaseModel):
    """A program to register. `source` is the HR source it speaks for, with `hr:write`."""

    name: str = Field(min_length=1, max_length=100)
    scopes: tuple[str, ...] = Field(min_length=1, max_length=20)
    source: str | None = Field(default=None, min_length=1, max_length=200)


class NewSecret(BaseModel):
    """How a secret is replaced: those before count for so long yet."""

    overlap_days: float = Field(default=7, ge=0, le=OVERLAP_MAX_DAYS)


class Token(BaseModel):
    """An access token, as RFC 6749 answers it."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


class Refusal(BaseModel):
    """A refusal, as RFC 6749 answers it."""

    error: str
    error_description: str


def token_router(clients: Clients, key: OKPKey) -> APIRouter:
    """Where programs get their tokens."""
    router = APIRouter(tags=["session"])

    @router.post(
        "/oauth/token",
        response_model=Token,
        responses={400: {"model": Refusal}, 401: {"model": Refusal}},
    )
    async def give_token(
        request: Request,
        grant_type: Text = "",
        scope: Text = "",
        client_id: Text = "",
        client_secret: Text = "",
        authorization: Annotated[str, Header(max_length=2_000)] = "",
    ) -> JSONResponse:
        """A token of five minutes for a program's credentials, sent as Basic or in the form."""
        address = request.client.host if request.client else "unknown"
        try:
            if grant_type != "client_credentials":
                raise OAuthError("unsupported_grant_type", "Ask with client_credentials.")
            if authorization:
                client_id, client_secret = _basic(authorization)
            who = await clients.let_in(client_id, client_secret, scope.split(), address)
        except OAuthError as refusal:
            return JSONResponse(
                {"error": refusal.error, "error_description": refusal.description},
                status_code=refusal.status,
                headers={"WWW-Authenticate": "Basic"} if refusal.status == 401 else None,
            )
        answer = {
            "access_token": mint(key, who),
            "token_type": "Bearer",
            "expires_in": MAX_TOKEN_LIFETIME_SECONDS,
            "scope": " ".join(sorted(who.scopes)),
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    return router


def clients_router(clients: Clients, authenticator: Authenticator) -> APIRouter:
    """Where operators register programs."""
    router = APIRouter(tags=["operations"], prefix="/ops/v1/clients")
    operates = authenticator.requires("ops:admin")
    replaces = authenticator.requires("ops:admin", fresh=True)

    @router.get("")
    async def listed(who: Annotated[Principal, Depends(operates)]) -> dict[str, Any]:
        """The programs of the organization, without secrets."""
        return {"clients": [asdict(each) for each in await clients.list(who)]}

    @router.post("", status_code=201)
    async def register(
        body: Annotated[NewClient, Body()], who: Annotated[Principal, Depends(replaces)]
    ) -> dict[str, str]:
        """Register a program; its secret is shown this once."""
        return asdict(await clients.register(who, body.name, body.scopes, body.source))

    @router.post("/{client_id}/secrets", status_code=201)
    async def rotate(
        client_id: str,
        body: Annotated[NewSecret, Body()],
        who: Annotated[Principal, Depends(replaces)],
    ) -> dict[str, str]:
        """Make a new secret, shown this once; those before count until the end of the overlap."""
        return asdict(await clients.rotate(who, client_id, timedelta(days=body.overlap_days)))

    @router.post("/{client_id}/revoke")
    async def revoke(
        client_id: str, who: Annotated[Principal, Depends(replaces)]
    ) -> dict[str, str]:
        """Let a program have no token any more."""
        await clients.revoke(who, client_id)
        return {"client_id": client_id, "status": "revoked"}

    return router


def _basic(header: str) -> tuple[str, str]:
    """Client id and secret of a Basic header, decoded as RFC 6749 section 2.3.1 encodes them."""
    scheme, _, credentials = header.partition(" ")
    try:
        name, colon, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        name = colon = secret = ""
    if scheme.lower() != "basic" or not colon:
        raise OAuthError("invalid_client", "Send the credentials as Basic, or in the form.", 401)
    return unquote_plus(name), unquote_plus(secret)
