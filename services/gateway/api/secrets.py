"""Replacing the webhook secrets of HR sources over HTTP."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, Field

from services.gateway.handlers.source_secrets import SourceSecrets
from shared.auth import Authenticator, Principal

SECRET_OVERLAP_MAX_DAYS = 30


class Rotation(BaseModel):
    """How a webhook secret is replaced: the others of its source count for so long yet."""

    overlap_days: float = Field(default=7, ge=0, le=SECRET_OVERLAP_MAX_DAYS)


def secrets_router(secrets: SourceSecrets, authenticator: Authenticator) -> APIRouter:
    """Where operators replace the webhook secrets of HR sources."""
    router = APIRouter(tags=["hr"])
    operates = authenticator.requires("ops:admin")
    replaces = authenticator.requires("ops:admin", fresh=True)

    @router.get("/hr/v1/sources/{source:path}/secrets")
    async def listed(source: str, who: Annotated[Principal, Depends(operates)]) -> dict[str, Any]:
        """A source's secrets by fingerprint, with the ends of those on their way out."""
        return {"secrets": await secrets.listed(who, source)}

    @router.post("/hr/v1/sources/{source:path}/secrets", status_code=201)
    async def rotate(
        source: str,
        who: Annotated[Principal, Depends(replaces)],
        body: Annotated[Rotation, Body()],
    ) -> dict[str, Any]:
        """Make a new secret, shown this once; the others count until the end of the overlap."""
        return asdict(await secrets.rotate(who, source, timedelta(days=body.overlap_days)))

    return router
