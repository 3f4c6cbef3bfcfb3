"""Signing in through the identity provider: begun here, answered there, ended here."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import structlog
import uuid_utils

from services.gateway import store
from services.gateway.handlers.sign_in import SECRET_BYTES, Doorkeeper, closed, sha256
from services.gateway.provider import UNTRUSTED, Asked, Provider
from services.gateway.rules.provider import (
    SIGN_IN_REFUSALS,
    groups_in,
    return_path,
    roles_of,
    subject_of,
)
from services.gateway.rules.roles import HAS_LEFT, LINK_REFUSALS
from services.gateway.store import Link, Session, attempts
from services.gateway.store.attempts import Attempt
from shared.clock import Clock
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

logger = structlog.get_logger(__name__)

OIDC = "oidc"
"""The method of a session that the identity provider vouched for."""

ATTEMPT_MINUTES = 10
"""How long somebody may take at the provider."""

LEEWAY_SECONDS = 60
NAME_MAX_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Entered:
    """A new session with its secret, and where the person was going."""

    secret: str
    session: Session
    return_to: str


class ProviderSignIn:
    """Sends people to the provider and lets in whom it vouches for."""

    def __init__(
        self, pool: "asyncpg.Pool[Any]", clock: Clock, doorkeeper: Doorkeeper, provider: Provider
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._doorkeeper = doorkeeper
        self.provider = provider

    async def begin(
        self, return_to: str, *, fresh: bool, session: Session | None
    ) -> tuple[str, str]:
        """A secret for the browser to bring back, and the provider's address to send it to.

        Args:
            fresh: have the provider ask again, even whom it knows.
            session: the one that the new session will replace.

        Raises:
            Problem: 503 when the provider does not answer.
        """
        state, nonce, verifier = (secrets.token_urlsafe(SECRET_BYTES) for _ in range(3))
        asked = Asked(state, nonce, verifier, fresh)
        url = await self.provider.where_to_ask(asked)

        async def remember(conn: Connection) -> None:
            now = await self._clock.now(conn)
            replaced = session.public_id if session else None
            attempt = Attempt(nonce, verifier, fresh, return_path(return_to), replaced, now)
            until = now + timedelta(minutes=ATTEMPT_MINUTES)
            await attempts.add_attempt(conn, sha256(state), attempt, until)

        await in_transaction(self._pool, remember)
        return state, url

    async def finish(self, answer: Mapping[str, str], state: str | None, client: str) -> Entered:
        """Let in whom the provider sent back.

        Args:
            answer: the parameters that the provider sent the browser back with.
            state: the secret that the browser kept since the beginning.
            client: the address the attempt came from, for the rate limit.

        Raises:
            Problem: 403 with the rule that refused, 429 after too many wrong ones, 503 when the
                provider does not answer.
        """
        attempt = await self._take(answer, state, client)
        if isinstance(attempt, str):
            raise await self._refused(attempt, None, client)
        code = answer.get("code")
        if code is None:
            logger.info("provider.refused", error=answer.get("error", "")[:200])
            raise await self._refused("provider_refused", None, client)
        asked = Asked(answer["state"], attempt.nonce, attempt.verifier, attempt.fresh)
        try:
            claims = await self.provider.claims_for(code, asked)
        except UNTRUSTED as error:
            logger.warning("provider.not_trusted", error=repr(error))
            raise await self._refused("token_invalid", None, client) from error
        who = self._who(claims)
        if not who.roles:
            raise await self._refused("no_role", who, client)
        since = attempt.begun_at - timedelta(seconds=LEEWAY_SECONDS)
        if attempt.fresh and (who.authenticated_at or since) <= since:
            raise await self._refused("not_fresh", who, client)
        entered = await self._open(who, attempt)
        if entered is None:
            raise await self._refused(HAS_LEFT, who, client)
        return entered

    async def _take(
        self, answer: Mapping[str, str], state: str | None, client: str
    ) -> Attempt | str:
        async def take(conn: Connection) -> Attempt | str:
            now = await self._clock.now(conn)
            if await self._doorkeeper.has_tried_too_often(conn, OIDC, client, now):
                return "too_many_attempts"
            # Only the browser that began may end: nobody is signed in by somebody else's link.
            if state is None or not secrets.compare_digest(
                state.encode(), answer.get("state", "").encode()
            ):
                return "sign_in_unknown"
            return await attempts.take_attempt(conn, sha256(state), now) or "sign_in_unknown"

        return await in_transaction(self._pool, take)

    async def _refused(self, rule: str, who: Link | None, client: str) -> Problem:
        if rule == "too_many_attempts":
            return Problem(429, rule, LINK_REFUSALS[rule])

        async def refuse(conn: Connection) -> None:
            now = await self._clock.now(conn)
            await self._doorkeeper.refuse(conn, OIDC, who, rule, client, now)

        await in_transaction(self._pool, refuse)
        return Problem(403, rule, {**LINK_REFUSALS, **SIGN_IN_REFUSALS}[rule])

    def _who(self, claims: Mapping[str, Any]) -> Link:
        file = self.provider.file
        said = claims.get(file.worker_claim)
        worker = str(said) if isinstance(said, str | int) and said != "" else None
        subject = subject_of(file.issuer, str(claims["sub"]), worker)
        name = claims.get("name") or claims.get("preferred_username") or subject
        # A provider that does not tell when it asked may have asked long ago.
        asked_at = datetime.fromtimestamp(claims.get("auth_time") or 0, UTC)
        return Link(
            file.organization,
            subject,
            str(name)[:NAME_MAX_CHARACTERS],
            worker,
            roles_of(groups_in(claims.get(file.roles_claim)), file.roles, worker),
            asked_at,
            authenticated_at=asked_at,
            email=_email(claims),
        )

    async def _open(self, who: Link, attempt: Attempt) -> Entered | None:
        secret, public_id = secrets.token_urlsafe(SECRET_BYTES), str(uuid_utils.uuid7())

        async def open_it(conn: Connection) -> Session | None:
            now = await self._clock.now(conn)
            if attempt.session is not None:
                replaced = await store.close_session(conn, attempt.session, now)
                if replaced is not None:
                    await enqueue(conn, [closed(replaced, "renewed", now)])
            return await self._doorkeeper.open(conn, who, OIDC, secret, public_id, now)

        session = await in_transaction(self._pool, open_it)
        return Entered(secret, session, attempt.return_to) if session else None


def _email(claims: Mapping[str, Any]) -> str | None:
    """The address in the claims, unless the provider says that it has not seen it proved."""
    email = claims.get("email")
    return email if isinstance(email, str) and claims.get("email_verified", True) else None
