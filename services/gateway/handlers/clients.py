"""Programs with credentials of their own: registered, given tokens, their secrets replaced."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import uuid_utils

from services.gateway.handlers.activity import activity
from services.gateway.handlers.sign_in import SECRET_BYTES, Doorkeeper, sha256
from services.gateway.rules.roles import CLIENT_SCOPES
from services.gateway.store import Link
from services.gateway.store import clients as store
from services.gateway.store.clients import Client
from shared.auth import MAX_TOKEN_LIFETIME_SECONDS, Principal
from shared.clock import Clock
from shared.contracts.admin import CommandAccepted, KeyRotated, SessionOpened
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

CLIENT_CREDENTIALS = "client_credentials"
"""The method by which a program signs in, in events."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a program signs in with; the secret is readable this once."""

    client_id: str
    secret: str


class OAuthError(Exception):
    """A refusal as RFC 6749 section 5.2 names it.

    Args:
        error: the standard's code.
        description: what to do about it.
        status: the HTTP status.
    """

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status


class Clients:
    """Registers programs and lets them in."""

    def __init__(self, pool: "asyncpg.Pool[Any]", clock: Clock, doorkeeper: Doorkeeper) -> None:
        self._pool = pool
        self._clock = clock
        self._doorkeeper = doorkeeper

    async def register(
        self, who: Principal, name: str, scopes: Sequence[str], source: str | None
    ) -> Credentials:
        """Register a program for the caller's organization.

        Raises:
            Problem: 422 for a scope that no program gets, or `hr:write` without its source.
        """
        beyond = sorted(set(scopes) - CLIENT_SCOPES)
        if beyond or not scopes:
            raise Problem(
                422,
                "scope_not_for_programs",
                f"A program gets one or more of {', '.join(sorted(CLIENT_SCOPES))}; the rest is "
                "for people who sign in.",
            )
        if ("hr:write" in scopes) != (source is not None):
            raise Problem(
                422, "source_needed", "Name the HR source with hr:write, and only with it."
            )
        made = Credentials(f"client-{uuid_utils.uuid7()}", secrets.token_urlsafe(SECRET_BYTES))

        async def add(conn: Connection) -> None:
            now = await self._clock.now(conn)
            client = Client(
                made.client_id,
                who.organization,
                name,
                tuple(sorted(set(scopes))),
                source,
                now,
                who.subject,
            )
            await store.add(conn, client)
            await store.add_secret(conn, made.client_id, sha256(made.secret), now, now)
            asked = {"name": name, "scopes": list(client.scopes), "source": source}
            said = CommandAccepted("client.register", made.client_id, None, asked)
            await self._say(conn, who, "command.accepted", said)

        await in_transaction(self._pool, add)
        return made

    async def rotate(self, who: Principal, client_id: str, overlap: timedelta) -> Credentials:
        """A new secret; those before count until the end of the overlap.

        Raises:
            Problem: 404 for no such program.
        """
        made = Credentials(client_id, secrets.token_urlsafe(SECRET_BYTES))

        async def add(conn: Connection) -> None:
            await self._lock(conn, who, client_id)
            now = await self._clock.now(conn)
            await store.add_secret(conn, client_id, sha256(made.secret), now, now + overlap)
            await self._say(conn, who, "key.rotated", KeyRotated("client", client_id))

        await in_transaction(self._pool, add)
        return made

    async def revoke(self, who: Principal, client_id: str) -> None:
        """Let a program have no token any more; those it has end within minutes.

        Raises:
            Problem: 404 for no such program.
        """

        async def end(conn: Connection) -> None:
            await self._lock(conn, who, client_id)
            await store.revoke(conn, client_id, await self._clock.now(conn))
            said = CommandAccepted("client.revoke", client_id)
            await self._say(conn, who, "command.accepted", said)

        await in_transaction(self._pool, end)

    async def list(self, who: Principal) -> Sequence[Client]:
        """The programs of the caller's organization."""
        async with self._pool.acquire() as conn:
            return await store.of_organization(conn, who.organization)

    async def let_in(
        self, client_id: str, secret: str, wanted: Sequence[str], address: str
    ) -> Principal:
        """Whom a token may speak for: the program, with the scopes wanted, or all it has.

        Raises:
            OAuthError: wrong credentials, or a scope that the program does not have.
            Problem: 429 after too many wrong ones from an address.
        """
        outcome = await in_transaction(
            self._pool, lambda conn: self._try(conn, client_id, secret, wanted, address)
        )
        if isinstance(outcome, Principal):
            return outcome
        raise outcome

    async def _try(
        self, conn: Connection, client_id: str, secret: str, wanted: Sequence[str], address: str
    ) -> Principal | OAuthError | Problem:
        now = await self._clock.now(conn)
        if await self._doorkeeper.has_tried_too_often(conn, CLIENT_CREDENTIALS, address, now):
            return Problem(429, "too_many_attempts", "Too many wrong secrets. Wait five minutes.")
        client = await store.find(conn, client_id)
        known = client is not None and await store.has_secret(conn, client_id, sha256(secret), now)
        if client is None or not known:
            who = _as_link(client) if client else None
            await self._doorkeeper.refuse(
                conn, CLIENT_CREDENTIALS, who, "client_unknown", address, now
            )
            return OAuthError("invalid_client", "There is no such client and secret.", 401)
        scopes = frozenset(wanted or client.scopes)
        if not scopes <= set(client.scopes):
            await self._doorkeeper.refuse(
                conn, CLIENT_CREDENTIALS, _as_link(client), "scope_missing", address, now
            )
            return OAuthError("invalid_scope", f"This client has {' '.join(client.scopes)}.")
        opened = SessionOpened(
            str(uuid_utils.uuid7()),
            CLIENT_CREDENTIALS,
            tuple(sorted(scopes)),
            now + timedelta(seconds=MAX_TOKEN_LIFETIME_SECONDS),
        )
        who_acts = Principal(client.organization, client_id, None, scopes, client.name)
        await self._say(conn, who_acts, "session.opened", opened)
        return who_acts

    async def speaks_for(self, who: Principal) -> dict[str, frozenset[str]]:
        """The HR source that a program speaks for, with its organization; none if it may not."""
        async with self._pool.acquire() as conn:
            client = await store.find(conn, who.subject)
        if client is None or client.source is None:
            return {}
        return {client.source: frozenset({client.organization})}

    async def _lock(self, conn: Connection, who: Principal, client_id: str) -> Client:
        client = await store.lock(conn, who.organization, client_id)
        if client is None:
            raise Problem(404, "no_such_client", "There is no such program, or it was revoked.")
        return client

    async def _say(self, conn: Connection, who: Principal, kind: str, data: object) -> None:
        now, cause = await self._clock.now(conn), (str(uuid_utils.uuid7()),)
        await enqueue(conn, [activity(kind, who.organization, who.subject, cause, now, data)])


def _as_link(client: Client) -> Link:
    """The program as whoever signs in."""
    return Link(
        client.organization,
        client.client_id,
        client.name,
        None,
        client.scopes,
        client.registered_at,
    )
