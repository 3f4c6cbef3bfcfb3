"""Signing in and out in a browser."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from services.gateway.api import client_of
from services.gateway.console.visitor import COOKIE, Console, SignInNeeded
from services.gateway.handlers.provider_sign_in import ATTEMPT_MINUTES, ProviderSignIn
from services.gateway.rules.provider import return_path
from services.gateway.settings import Settings
from services.gateway.store import Session
from shared.errors import Problem

STATE_COOKIE = "portalkeeper_sign_in"
"""What shows, when the identity provider sends somebody back, that this browser began it."""

RETURN_COOKIE = "portalkeeper_return"
RETURN_SECONDS = 900
"""As long as it takes to have a link made and opened."""

Path = Annotated[str, Query(alias="next", max_length=2_000)]


def routes(console: Console, provider: ProviderSignIn | None, settings: Settings) -> APIRouter:
    """The pages at the door."""
    router = APIRouter()
    encrypted = settings.gateway_url.startswith("https://")

    async def page(
        request: Request,
        *,
        code: str | None = None,
        problem: Problem | None = None,
        return_to: str = "/",
    ) -> Response:
        return await console.page(
            request,
            "sign_in.html",
            status=problem.status if problem else 200,
            code=code,
            problem=problem,
            return_to=return_to,
            provider=provider.provider if provider else None,
            links=settings.stays_on_this_machine,
        )

    def enter_with(secret: str, session: Session, return_to: str) -> Response:
        response = RedirectResponse(return_to, status_code=303)
        # Lax, because people come from the identity provider and from links in messages; every
        # form has a token of its own, and commands from other sites are refused before that.
        response.set_cookie(
            COOKIE,
            secret,
            expires=session.expires_at,
            path="/",
            secure=encrypted,
            httponly=True,
            samesite="lax",
        )
        return response

    @router.get("/sign-in")
    async def ask_to_sign_in(request: Request, return_to: Path = "/") -> Response:
        """What to do without a session."""
        shown = await page(request, return_to=return_to)
        if settings.stays_on_this_machine and return_to != "/":
            # A one-time link comes from elsewhere; it leads back to what was asked for.
            shown.set_cookie(
                RETURN_COOKIE,
                return_to,
                max_age=RETURN_SECONDS,
                path="/in",
                httponly=True,
                samesite="lax",
            )
        return shown

    if provider is not None:

        @router.get("/sign-in/provider")
        async def ask_the_provider(
            request: Request, return_to: Path = "/", fresh: bool = False
        ) -> Response:
            """Send the browser to the identity provider."""
            secret = request.cookies.get(COOKIE)
            session = await console.doorkeeper.find(secret) if secret else None
            state, url = await provider.begin(return_to, fresh=fresh, session=session)
            response = RedirectResponse(url, status_code=303)
            response.set_cookie(
                STATE_COOKIE,
                state,
                max_age=ATTEMPT_MINUTES * 60,
                path="/sign-in",
                secure=encrypted,
                httponly=True,
                samesite="lax",
            )
            return response

        @router.get("/sign-in/callback")
        async def come_back(request: Request) -> Response:
            """Let in whom the identity provider vouches for, to the page that was asked for."""
            state = request.cookies.get(STATE_COOKIE)
            try:
                entered = await provider.finish(request.query_params, state, client_of(request))
            except Problem as problem:
                return await page(request, problem=problem)
            response = enter_with(entered.secret, entered.session, entered.return_to)
            response.delete_cookie(STATE_COOKIE, path="/sign-in", httponly=True, samesite="lax")
            return response

    @router.get("/help")
    async def explain_signs_and_keys(request: Request) -> Response:
        """What the signs mean, and the keys."""
        await console.visitor(request)
        return await console.page(request, "help.html")

    @router.get("/command-line")
    async def ask_for_the_command_line(request: Request) -> Response:
        """What a person who is signed in does to use the command line."""
        await console.visitor(request)
        return await console.page(request, "command_line.html", link=None)

    @router.post("/command-line")
    async def sign_the_command_line_in(request: Request) -> Response:
        """A link, good for a few minutes, that gives the command line a session of its own."""
        visitor = await console.visitor(request)
        await console.form(request, visitor, "session.command_line")
        code = await console.doorkeeper.make_command_line_link(visitor.session)
        await console.doorkeeper.record_command(visitor.session, "session.command_line", "")
        link = f"{settings.gateway_url.rstrip('/')}/in/{code}"
        return await console.page(request, "command_line.html", link=link)

    @router.get("/in/{code}")
    async def show_door(request: Request, code: str) -> Response:
        """A button: a link that signs in by itself would be used up by link previews."""
        return await page(request, code=code)

    @router.post("/in/{code}")
    async def enter(request: Request, code: str) -> Response:
        """Use up the link and begin a session. The code itself is what a CSRF token would be."""
        try:
            secret, session = await console.doorkeeper.sign_in(code, client_of(request))
        except Problem as problem:
            return await page(request, problem=problem)
        response = enter_with(secret, session, return_path(request.cookies.get(RETURN_COOKIE, "/")))
        response.delete_cookie(RETURN_COOKIE, path="/in", httponly=True, samesite="lax")
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
        response = RedirectResponse("/sign-in?did=sign-out", status_code=303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
        return response

    return router
