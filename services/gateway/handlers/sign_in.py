"""Signing in by one-time link, signing out, and the record of both and of every command."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import uuid_utils

from services.gateway import store
from services.gateway.handlers.activity import activity
from services.gateway.rules.roles import (
    ATTEMPT_WINDOW_SECONDS,
    ATTEMPTS_MAX,
    HAS_LEFT,
    LINK_REFUSALS,
    ROLE_SCOPES,
    WORKER_ROLES,
    refuse_link,
    scopes_of,
)
from services.gateway.settings import Settings
from services.gateway.store import Link, Session
from services.gateway.store import picture as picture_store
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import (
    INSTALLATION,
    UNKNOWN_ACTOR,
    CommandAccepted,
    CommandRefused,
    SessionClosed,
    SessionOpened,
    SessionRefused,
)
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection, in_transaction

SECRET_BYTES = 32
ONE_TIME_LINK = "one_time_link"
COMMAND_LINE_MINUTES = 5
"""How long somebody has to carry a code from the console to the command line."""

INSTALLER = "installer"
"""The method of a session that whoever runs the installation made for themselves."""

EXPIRY_BATCH = 200


def sha256(secret: str) -> bytes:
    """How secrets are stored; they are random, so no slow hash is needed."""
    return hashlib.sha256(secret.encode()).digest()


@dataclass(frozen=True, slots=True)
class NewLink:
    """Whom a link shall let in. `roles` are keys of `ROLE_SCOPES`."""

    organization: str
    roles: tuple[str, ...]
    worker: str | None = None

    def __post_init__(self) -> None:
        for role in self.roles:
            if role not in ROLE_SCOPES:
                raise ValueError(f"There is no role {role!r}; there are {', '.join(ROLE_SCOPES)}.")
            if role in WORKER_ROLES and self.worker is None:
                raise ValueError(f"A link for {role} needs a worker id: {role}=WORKER.")

    @property
    def subject(self) -> str:
        """The actor's id in events: the worker where one is known, else the role.

        Only whoever runs the installation holds several roles without being a worker.
        """
        return self.worker or (self.roles[0] if len(self.roles) == 1 else INSTALLER)

    @property
    def name(self) -> str:
        """What screens call the actor."""
        role = self.roles[0] if len(self.roles) == 1 else INSTALLER
        name = role.replace("_", " ").capitalize()
        return f"{name} {self.worker}" if self.worker else name


def principal_of(session: Session) -> Principal:
    """Who acts in a session, with the scopes of its roles."""
    return Principal(
        session.organization,
        session.subject,
        session.worker,
        scopes_of(session.roles),
        session.name,
        session.fresh,
        session.public_id,
    )


class Doorkeeper:
    """Lets people in and out."""

    def __init__(self, pool: "asyncpg.Pool[Any]", clock: Clock, settings: Settings) -> None:
        self._pool = pool
        self._clock = clock
        self._session_time = timedelta(hours=settings.session_hours)
        self._fresh_time = timedelta(minutes=settings.fresh_minutes)
        self._links_count = settings.stays_on_this_machine

    async def make_links(self, wanted: Sequence[NewLink], hours: float) -> list[str]:
        """One single-use code for each, valid for `hours`; only hashes are stored."""
        codes = [secrets.token_urlsafe(SECRET_BYTES) for _ in wanted]

        async def add(conn: Connection) -> None:
            expires_at = await self._clock.now(conn) + timedelta(hours=hours)
            await store.add_links(
                conn,
                [
                    (
                        sha256(code),
                        Link(
                            each.organization,
                            each.subject,
                            each.name,
                            each.worker,
                            each.roles,
                            expires_at,
                        ),
                    )
                    for code, each in zip(codes, wanted, strict=True)
                ],
            )

        await in_transaction(self._pool, add)
        return codes

    async def make_command_line_link(self, session: Session) -> str:
        """A code by which the command line gets a session of its own for who is signed in."""
        code = secrets.token_urlsafe(SECRET_BYTES)

        async def add(conn: Connection) -> None:
            now = await self._clock.now(conn)
            link = Link(
                session.organization,
                session.subject,
                session.name,
                session.worker,
                session.roles,
                now + timedelta(minutes=COMMAND_LINE_MINUTES),
                authenticated_at=session.authenticated_at,
                person=session.person,
            )
            await store.add_links(conn, [(sha256(code), link)])

        await in_transaction(self._pool, add)
        return code

    async def sign_in(self, code: str, client: str) -> tuple[str, Session]:
        """Use up a link; the new session's secret and the session.

        Args:
            client: the address the attempt came from, for the rate limit.

        Raises:
            Problem: 403 with the rule that refused the link, or 429 after too many wrong ones.
        """
        secret, public_id = secrets.token_urlsafe(SECRET_BYTES), str(uuid_utils.uuid7())
        outcome = await in_transaction(
            self._pool, lambda conn: self._try_link(conn, code, client, secret, public_id)
        )
        if isinstance(outcome, str):
            status = 429 if outcome == "too_many_attempts" else 403
            raise Problem(status, outcome, LINK_REFUSALS[outcome])
        return secret, outcome

    async def _try_link(
        self, conn: Connection, code: str, client: str, secret: str, public_id: str
    ) -> Session | str:
        now = await self._clock.now(conn)
        if await self.has_tried_too_often(conn, ONE_TIME_LINK, client, now):
            return "too_many_attempts"
        link = await store.lock_link(conn, sha256(code))
        refused = refuse_link(
            link.used_at if link else None, link.expires_at if link else None, now
        )
        if link is not None and link.authenticated_at is None and not self._links_count:
            refused = refused or "links_off"
        if link is None or refused is not None:
            code_of_rule = refused or "link_unknown"
            await self.refuse(conn, ONE_TIME_LINK, link, code_of_rule, client, now)
            return code_of_rule
        session = await self.open(conn, link, ONE_TIME_LINK, secret, public_id, now)
        if session is None:
            await self.refuse(conn, ONE_TIME_LINK, link, HAS_LEFT, client, now)
            return HAS_LEFT
        await store.use_link(conn, sha256(code), now)
        return session

    async def has_tried_too_often(
        self, conn: Connection, method: str, client: str, now: datetime
    ) -> bool:
        """Whether an address must wait before it may try again; said once."""
        since = now - timedelta(seconds=ATTEMPT_WINDOW_SECONDS)
        attempts = await store.count_refused_attempts(conn, method, client, since)
        if attempts == ATTEMPTS_MAX:
            await self.refuse(conn, method, None, "too_many_attempts", client, now)
        return attempts >= ATTEMPTS_MAX

    async def refuse(
        self,
        conn: Connection,
        method: str,
        who: Link | None,
        rule: str,
        client: str,
        now: datetime,
    ) -> None:
        """Record that a sign-in was refused, and count it against its address."""
        await store.note_refused_attempt(conn, method, client, now)
        organization = who.organization if who else INSTALLATION
        actor = who.subject if who else UNKNOWN_ACTOR
        cause = (str(uuid_utils.uuid7()),)
        refusal = SessionRefused(rule, method)
        await enqueue(conn, [activity("session.refused", organization, actor, cause, now, refusal)])

    async def open(
        self, conn: Connection, link: Link, method: str, secret: str, public_id: str, now: datetime
    ) -> Session | None:
        """Open a session for whom `link` names; None for who has left, by what HR says."""
        person, has_left = await picture_store.find_person(
            conn, link.organization, link.worker or link.person, link.email
        )
        if has_left:
            return None
        session = Session(
            public_id,
            link.organization,
            link.subject,
            link.name,
            link.worker,
            link.roles,
            now + self._session_time,
            authenticated_at=link.authenticated_at,
            person=person,
        )
        await store.open_session(conn, sha256(secret), session, now)
        opened = SessionOpened(public_id, method, link.roles, session.expires_at, link.worker)
        await enqueue(
            conn,
            [
                activity(
                    "session.opened",
                    link.organization,
                    link.subject,
                    (public_id, "opened"),
                    now,
                    opened,
                )
            ],
        )
        return session

    async def open_for_installer(self, wanted: NewLink) -> tuple[str, Session]:
        """A session without a link, for whoever holds the gateway's database role anyway.

        Raises:
            Problem: 403 for the name of somebody who has left.
        """
        secret, public_id = secrets.token_urlsafe(SECRET_BYTES), str(uuid_utils.uuid7())

        async def open_it(conn: Connection) -> Session:
            now = await self._clock.now(conn)
            link = Link(
                wanted.organization, wanted.subject, wanted.name, wanted.worker, wanted.roles, now
            )
            session = await self.open(conn, link, INSTALLER, secret, public_id, now)
            if session is None:
                raise Problem(403, HAS_LEFT, LINK_REFUSALS[HAS_LEFT])
            return session

        return secret, await in_transaction(self._pool, open_it)

    async def find(self, secret: str) -> Session | None:
        """The open session of a secret."""
        async with self._pool.acquire() as conn:
            return await store.find_session(conn, sha256(secret), self._fresh_time)

    async def sign_out(self, session: Session) -> None:
        """Close a session; closing it twice changes nothing."""

        async def close(conn: Connection) -> None:
            now = await self._clock.now(conn)
            if await store.close_session(conn, session.public_id, now):
                await enqueue(conn, [closed(session, "signed_out", now)])

        await in_transaction(self._pool, close)

    async def close_expired(self) -> int:
        """Close sessions whose time is over; how many."""

        async def close(conn: Connection) -> int:
            now = await self._clock.now(conn)
            expired = await store.close_expired_sessions(conn, now, EXPIRY_BATCH)
            await enqueue(conn, [closed(session, "expired", now) for session in expired])
            return len(expired)

        return await in_transaction(self._pool, close)

    async def close_all_of(
        self, conn: Connection, organization: str, workers: Sequence[str]
    ) -> None:
        """Sign a person out everywhere, and let no link that waits for them in any more."""
        now = await self._clock.now(conn)
        ended = await store.close_sessions_of(conn, organization, workers, now)
        await enqueue(conn, [closed(session, "left", now) for session in ended])

    async def record_command(
        self, session: Session, command: str, target: str, refusal: Problem | None = None
    ) -> None:
        """Record that a person's command was carried out, or refused and by which rule."""
        cause = (str(uuid_utils.uuid7()),)
        data: CommandAccepted | CommandRefused
        if refusal is None:
            kind, data = "command.accepted", CommandAccepted(command, target, session.public_id)
        else:
            kind = "command.refused"
            data = CommandRefused(command, target, refusal.code, refusal.status, session.public_id)

        async def record(conn: Connection) -> None:
            now = await self._clock.now(conn)
            await enqueue(
                conn,
                [activity(kind, session.organization, session.subject, cause, now, data)],
            )

        await in_transaction(self._pool, record)


def closed(session: Session, reason: str, now: datetime) -> OutboxMessage:
    """The event that a session is over."""
    return activity(
        "session.closed",
        session.organization,
        session.subject,
        (session.public_id, "closed"),
        now,
        SessionClosed(session.public_id, reason),
    )
