"""Who is looking at a page: found by cookie, held to a CSRF token on every form."""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.timeline import Moment
from services.gateway.console.view import make_environment
from services.gateway.handlers.sign_in import Doorkeeper, principal_of
from services.gateway.rules.roles import roles_with
from services.gateway.services import Services
from services.gateway.store import Session
from services.gateway.store import picture as picture_store
from shared.auth import Principal
from shared.errors import Problem

COOKIE = "portalkeeper_session"

NAVIGATION = (
    (
        ("/", "Overview", "o", ("access:read",)),
        ("/work", "Work", "w", ("work:do", "access:read")),
        ("/leavers", "Leavers", "l", ("access:read",)),
        ("/findings", "Findings", "f", ("access:read",)),
        (
            "/reviews",
            "Reviews",
            "r",
            ("review:decide", "review:admin", "access:read", "audit:read"),
        ),
    ),
    (
        ("/people", "People", "p", ("access:read",)),
        ("/matrix", "Access", "a", ("access:read",)),
        ("/who-had-access", "Who had access", "h", ("access:read", "audit:read")),
    ),
    (
        ("/where", "Where do I go?", "g", ("directory:read",)),
        ("/directory", "Portals", "t", ("directory:read", "access:read")),
        ("/mine", "Mine", "m", ("directory:read",)),
    ),
    (
        ("/policy", "Policy", "y", ("access:read", "policy:approve")),
        ("/hr", "HR", "x", ("hr:enter", "access:admin", "ops:admin")),
        ("/audit", "Audit", "u", ("audit:read",)),
    ),
)
"""Groups of pages: address, name, key, and the scopes of which any lets one see it.

The groups are what waits, people, where to go, and what rules it all.
"""


PEOPLE = frozenset(
    {
        "addressed_to",
        "administrator",
        "asked",
        "asked_by",
        "applied_by",
        "approved_by",
        "claimed_by",
        "decided_by",
        "adopted_by",
        "by",
        "done_by",
        "ended_by",
        "imported_by",
        "made_by",
        "opened_by",
        "owner",
        "proposed_by",
        "released_by",
        "reported_by",
        "requested_by",
        "reviewed_by",
        "said_by",
        "sent_by",
        "set_by",
        "started_by",
        "supervisor",
    }
)
"""Where services' answers name a person by worker id alone; pages show the name with `| person`."""


class SignInNeeded(Exception):
    """Nobody is signed in."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody signed in. `csrf` is bound to the session and goes into every form."""

    session: Session
    principal: Principal
    csrf: str
    zone: ZoneInfo


class Console:
    """What every page needs: the visitor, the services, the templates."""

    def __init__(
        self, doorkeeper: Doorkeeper, services: Services, pool: "asyncpg.Pool[Any]"
    ) -> None:
        self.doorkeeper = doorkeeper
        self.services = services
        self._pool = pool
        self._templates = make_environment()

    async def visitor(self, request: Request, *scopes: str) -> Visitor:
        """The person signed in, if they hold one of `scopes` (or none is asked for).

        Raises:
            SignInNeeded: nobody is signed in, or the session is over.
            Problem: 403 without a scope.
        """
        secret = request.cookies.get(COOKIE)
        session = await self.doorkeeper.find(secret) if secret else None
        if secret is None or session is None:
            raise SignInNeeded
        principal = principal_of(session)
        visitor = Visitor(
            session, principal, csrf_token(secret), await self.services.zone(principal)
        )
        request.state.visitor = visitor
        request.state.principal = principal
        if scopes and not principal.may(*scopes):
            raise Problem(
                403,
                "scope_missing",
                f"You are signed in as {session.name}; this needs the role "
                f"{' or '.join(each.replace('_', ' ') for each in roles_with(scopes))}. "
                "Ask whoever gives out roles.",
            )
        return visitor

    async def form(
        self, request: Request, visitor: Visitor, command: str, *, files: int = 0
    ) -> FormData:
        """The form sent, if its CSRF token is the session's.

        Args:
            files: how many files it may bring along.

        Raises:
            Problem: 403 when it is not; the refusal is recorded.
        """
        form = await request.form(max_files=files, max_fields=2_100)
        given = form.get("csrf")
        if not isinstance(given, str) or not hmac.compare_digest(
            given.encode(), visitor.csrf.encode()
        ):
            refusal = Problem(
                403,
                "csrf_invalid",
                "This form was not made for your session. Open the page again and repeat.",
            )
            await self.doorkeeper.record_command(
                visitor.session, command, request.url.path, refusal
            )
            refusal.said = True
            raise refusal
        return form

    async def page(
        self, request: Request, template: str, *, status: int = 200, **context: Any
    ) -> Response:
        """A rendered page."""
        visitor: Visitor | None = getattr(request.state, "visitor", None)
        may = visitor.principal.may if visitor else lambda *_: False
        names: dict[str, Mapping[str, str]] = {}
        if visitor:
            organization = visitor.principal.organization
            people = {*_people_in(context), visitor.session.worker or ""}
            async with self._pool.acquire() as conn:
                names.update(await picture_store.directory_names(conn, organization))
                names["person"] = await picture_store.names(conn, organization, sorted(people))
        body = self._templates.get_template(template).render(
            visitor=visitor,
            myself=_called(visitor, names["person"]) if visitor else "",
            zone=visitor.zone if visitor else ZoneInfo("UTC"),
            now=datetime.now(UTC),
            here=request.url.path,
            query=dict(request.query_params),
            # The answer to a form has no address that shows it again.
            asked_for=request.method == "GET",
            navigation=_navigation(may),
            may=may,
            names=names,
            **context,
        )
        return HTMLResponse(body, status_code=status, headers={"Cache-Control": "no-store"})


def _people_in(told: Any) -> Iterator[str]:
    """Everybody whom an answer names by id alone."""
    if isinstance(told, dict):
        for name, value in told.items():
            if isinstance(value, str):
                if name in PEOPLE:
                    yield value
            elif isinstance(value, dict | list):
                yield from _people_in(value)
    elif isinstance(told, list):
        for each in told:
            yield from _people_in(each)
    elif isinstance(told, Moment):
        yield from _people_in(told.source)


def _called(visitor: Visitor, names: Mapping[str, str]) -> str:
    """Whoever is looking by name; by role, where they are no worker that is known."""
    return names.get(visitor.session.worker or "", visitor.session.name)


def _navigation(may: Callable[..., bool]) -> list[list[tuple[str, str, str]]]:
    """The groups of pages that somebody may see; a group without any is left out."""
    groups = [
        [(href, name, key) for href, name, key, scopes in group if may(*scopes)]
        for group in NAVIGATION
    ]
    return [group for group in groups if group]


def csrf_token(secret: str) -> str:
    """The token of a session: derived from its secret, so that nothing needs to be stored."""
    return hmac.new(secret.encode(), b"portalkeeper csrf", hashlib.sha256).hexdigest()
