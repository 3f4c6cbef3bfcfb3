"""Where do I go? One box for every worker."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from services.gateway.console.pages import Text
from services.gateway.console.visitor import Console
from shared.errors import Problem

ANSWERS = "8"


def routes(console: Console) -> APIRouter:
    """The page."""
    router = APIRouter()

    @router.get("/where")
    async def where(request: Request, q: Text = "") -> Response:
        """The portal and screen for some words, and the ladder for when it fails."""
        visitor = await console.visitor(request, "directory:read", "access:read", "access:admin")
        answers, problem = [], None
        if q.strip():
            try:
                found = await console.services.get(
                    visitor.principal,
                    "provisioning",
                    "/access/v1/guide",
                    {"q": q.strip(), "limit": ANSWERS},
                )
                answers = found["answers"]
            except Problem as refusal:
                problem = refusal
        return console.page(
            request, "where.html", question=q.strip(), answers=answers, problem=problem
        )

    return router
