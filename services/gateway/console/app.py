"""The console as one application: routes, security headers, and errors as pages."""

from typing import Any
from urllib.parse import urlsplit

import asyncpg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.console import (
    audit,
    audit_keeping,
    brake,
    campaigns,
    directory,
    door,
    enrolment,
    entering,
    exceptions,
    history,
    hr_lists,
    imports,
    leavers,
    notifications,
    organization,
    outages,
    pages,
    reviews,
    training,
    where,
    work,
)
from services.gateway.console.hr_lists import HrDesk
from services.gateway.console.tables import Tables
from services.gateway.console.view import FOLDER, with_query
from services.gateway.console.visitor import Console, SignInNeeded
from services.gateway.handlers.entries import Entries
from services.gateway.handlers.notices import Notifier
from services.gateway.handlers.provider_sign_in import ProviderSignIn
from services.gateway.handlers.sign_in import Doorkeeper
from services.gateway.services import ServiceDown, Services
from services.gateway.settings import Settings
from services.gateway.sources import Sources
from shared.auth import NOT_FRESH
from shared.errors import Problem
from shared.refusals import Refusals

logger = structlog.get_logger(__name__)

SERVICE_NAMES = {
    "provisioning": "Provisioning (people, access and work)",
    "audit": "The audit log",
    "review": "The review scheduler",
}

SECURITY_HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}


class Guarded:
    """Adds the security headers, and refuses commands that another site's page sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SECURITY_HEADERS.items()]
            await send(message)

        site = dict(scope["headers"]).get(b"sec-fetch-site", b"same-origin")
        if scope["method"] == "POST" and site not in (b"same-origin", b"none"):
            refusal = Response("This form came from another site.", status_code=403)
            await refusal(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


def console_app(
    doorkeeper: Doorkeeper,
    services: Services,
    pool: "asyncpg.Pool[Any]",
    sources: Sources,
    entries: Entries,
    desk: HrDesk,
    notifier: Notifier,
    refusals: Refusals,
    provider: ProviderSignIn | None,
    settings: Settings,
) -> FastAPI:
    """The console, to be mounted at the root behind the gateway's own routes."""
    console = Console(doorkeeper, services, pool)
    app = FastAPI(openapi_url=None)
    app.add_middleware(Tables)
    app.add_middleware(Guarded)
    for router in (
        door.routes(console, provider, settings),
        notifications.routes(console, notifier),
        pages.routes(console, desk.health),
        hr_lists.routes(console, desk, pool, sources),
        directory.routes(console),
        organization.routes(console),
        enrolment.routes(console),
        where.routes(console),
        work.routes(console),
        leavers.routes(console),
        brake.routes(console),
        exceptions.routes(console),
        outages.routes(console),
        training.routes(console, entries),
        entering.routes(console, entries),
        # Before the reviews, whose ids stand under the same address.
        campaigns.routes(console),
        reviews.routes(console),
        # Before the entries, whose pages are numbers under the same address.
        audit_keeping.routes(console, entries),
        audit.routes(console),
        history.routes(console),
        imports.routes(console),
    ):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    _install_error_pages(app, console, refusals, provider is not None)
    return app


def _install_error_pages(
    app: FastAPI, console: Console, refusals: Refusals, has_provider: bool
) -> None:
    async def problem_page(
        request: Request, status: int, title: str, detail: str, code: str
    ) -> Response:
        return await console.page(
            request, "problem.html", status=status, title=title, detail=detail, code=code
        )

    @app.exception_handler(SignInNeeded)
    async def on_nobody(request: Request, _error: SignInNeeded) -> Response:
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        shown = asked if request.method == "GET" and asked != "/" else None
        return RedirectResponse(with_query("/sign-in", next=shown), status_code=303)

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        await refusals.say(request, error)
        if error.code == NOT_FRESH and has_provider:
            form = urlsplit(request.headers.get("referer", "/"))
            back = form.path + (f"?{form.query}" if form.query else "")
            return await console.page(
                request,
                "sign_in_again.html",
                status=error.status,
                again=with_query("/sign-in/provider", fresh="true", next=back),
            )
        title = {403: "Not allowed", 404: "Not found", 429: "Too many attempts"}.get(
            error.status, "That did not work"
        )
        return await problem_page(request, error.status, title, error.detail, error.code)

    @app.exception_handler(ServiceDown)
    async def on_down(request: Request, error: ServiceDown) -> Response:
        logger.warning("service.down", service=error.service, why=error.why)
        return await problem_page(
            request,
            503,
            f"{SERVICE_NAMES[error.service]} does not answer",
            "Nothing is lost: events wait on Kafka until it is back. If you sent a form, open the "
            "page again and see whether it took effect before you repeat it. An operator sees more "
            "with: portalkeeper status",
            "service_down",
        )

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        part = error.errors()[0]["loc"][-1]
        return await problem_page(
            request,
            422,
            "That address leads nowhere",
            f"Its part {part!r} is missing or is not as this page writes it. Begin at the overview "
            "and follow a link.",
            "invalid_request",
        )

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        title = "Not found" if error.status_code == 404 else "That did not work"
        return await problem_page(
            request, error.status_code, title, "There is no such page.", "not_found"
        )

    @app.exception_handler(Exception)
    async def on_unexpected(request: Request, error: Exception) -> Response:
        logger.error("page.failed", path=request.url.path, exc_info=error)
        return await problem_page(
            request,
            500,
            "This is our fault",
            "The page could not be made. The gateway's log says why.",
            "internal_error",
        )
