"""Signing in and out in a browser."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.api import client_of
from services.gateway.console.visitor import COOKIE, Console, SignInNeeded
from shared.errors import Problem


def routes(console: Console) -> APIRouter:
    """The pages at the door."""
    router = APIRouter()

    @router.get("/sign-in")
    async def ask_for_link(request: Request) -> Response:
        """What to do without a session."""
        return console.page(request, "sign_in.html", code=None, problem=None)

    @router.get("/in/{code}")
    async def show_door(request: Request, code: str) -> Response:
        """A button: a link that signs in by itself would be used up by link previews."""
        return console.page(request, "sign_in.html", code=code, problem=None)

    @router.post("/in/{code}")
    async def enter(request: Request, code: str) -> Response:
        """Use up the link and begin a session. The code itself is what a CSRF token would be."""
        try:
            secret, session = await console.doorkeeper.sign_in(code, client_of(request))
        except Problem as problem:
            return console.page(
                request, "sign_in.html", status=problem.status, code=None, problem=problem
            )
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(
            COOKIE,
            secret,
            expires=session.expires_at,
            path="/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    @router.post("/sign-out")
    async def leave(request: Request) -> Response:
        """End the session."""
        try:
            visitor = await console.visitor(request)
            await console.form(request, visitor, "session.close")
            await console.doorkeeper.sign_out(visitor.session)
        except SignInNeeded:
            pass
        response = RedirectResponse("/sign-in", status_code=303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response

    return router
