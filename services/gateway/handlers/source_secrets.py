"""Webhook secrets of HR sources: made here, shown once, kept sealed, replaced with an overlap."""

import base64
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import structlog

from services.gateway.handlers.activity import activity
from services.gateway.sealing import BodySeal
from services.gateway.sources import KeptSecret, Sources, secret_sha256
from services.gateway.store import secrets as secrets_store
from services.gateway.store.secrets import SourceSecret
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import CommandRefused, KeyRotated
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction, is_transient

logger = structlog.get_logger(__name__)

SECRET_BYTES = 32
FRESH_SECONDS = 5
"""How soon every process of the gateway knows of a rotation that another one carried out."""

COMMAND = "hr.secret.rotate"


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new secret, readable this once, and when those it replaces stop counting (UTC)."""

    secret: str
    fingerprint: str
    others_end_at: datetime


def fingerprint(sha256: bytes) -> str:
    """What a secret is called on screens and in events."""
    return sha256[:8].hex()


class SourceSecrets:
    """Keeps `Sources` told of the secrets in the database, and makes new ones."""

    def __init__(
        self, pool: "asyncpg.Pool[Any]", sources: Sources, seal: BodySeal, clock: Clock
    ) -> None:
        self._pool = pool
        self._sources = sources
        self._seal = seal
        self._clock = clock
        self._fresh_until = 0.0

    async def refresh(self) -> None:
        """Look for rotations, unless that was done a moment ago.

        While the database does not answer, what was known last counts: whoever signs with a secret
        that is good gets in, and one that has ended stays ended.
        """
        if time.monotonic() < self._fresh_until:
            return
        try:
            async with self._pool.acquire() as conn:
                found = await secrets_store.all_secrets(conn)
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("source_secrets.stale", error=repr(error))
        else:
            self._sources.renew([self._open(one) for one in found])
        self._fresh_until = time.monotonic() + FRESH_SECONDS

    async def listed(self, who: Principal, source: str) -> list[dict[str, Any]]:
        """The secrets of a source by fingerprint, never themselves, with their ends.

        Raises:
            Problem: 404 when no such source speaks for the organization.
        """
        self._check(who, source)
        async with self._pool.acquire() as conn:
            kept = [one for one in await secrets_store.all_secrets(conn) if one.source == source]
            now = await self._clock.now(conn)
        known = {one.sha256 for one in kept}
        rows = [
            {
                "fingerprint": fingerprint(one.sha256),
                "from_file": one.sealed is None,
                "made_by": one.made_by,
                "made_at": one.created_at if one.sealed is not None else None,
                "ends_at": one.ends_at,
            }
            for one in kept
            if one.ends_at is None or one.ends_at > now
        ]
        return rows + [
            {
                "fingerprint": fingerprint(sha256),
                "from_file": True,
                "made_by": None,
                "made_at": None,
                "ends_at": None,
            }
            for sha256 in self._sources.secrets_in_file(source)
            if sha256 not in known
        ]

    async def rotate(self, who: Principal, source: str, overlap: timedelta) -> Rotated:
        """Make a new secret; those there are stop counting after `overlap`, at the latest.

        Raises:
            Problem: 404 when no such source speaks for the organization; the refusal is recorded.
        """
        try:
            self._check(who, source)
        except Problem as problem:
            refuse = partial(self._refuse, who=who, source=source, problem=problem)
            await in_transaction(self._pool, refuse)
            problem.said = True
            raise
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        rotated = await in_transaction(
            self._pool, lambda conn: self._replace(conn, who, source, secret, overlap)
        )
        self._fresh_until = 0.0
        await self.refresh()
        return rotated

    async def _replace(
        self, conn: Connection, who: Principal, source: str, secret: str, overlap: timedelta
    ) -> Rotated:
        await secrets_store.lock_source(conn, source)
        now = await self._clock.now(conn)
        sha256 = secret_sha256(secret)
        nonce, sealed = self._seal.seal(_name(source, sha256), secret.encode())
        new = SourceSecret(source, sha256, nonce, sealed, who.subject, now, None)
        ends_at = now + overlap
        await secrets_store.replace_secrets(
            conn, new, self._sources.secrets_in_file(source), ends_at
        )
        said = KeyRotated("source_secret", fingerprint(sha256), source, ends_at)
        cause = (source, fingerprint(sha256))
        await enqueue(
            conn,
            [activity("key.rotated", who.organization, who.subject, cause, now, said)],
        )
        return Rotated(secret, fingerprint(sha256), ends_at)

    async def _refuse(
        self, conn: Connection, who: Principal, source: str, problem: Problem
    ) -> None:
        now = await self._clock.now(conn)
        said = CommandRefused(COMMAND, source, problem.code, problem.status)
        cause = (COMMAND, str(uuid4()))
        await enqueue(
            conn, [activity("command.refused", who.organization, who.subject, cause, now, said)]
        )

    def _check(self, who: Principal, source: str) -> None:
        names = self._sources.names(who.organization)
        if source not in names:
            raise Problem(
                404,
                "no_such_source",
                f"No source {source!r:.80} speaks for {who.organization}; there are: "
                f"{', '.join(names) or 'none'}.",
            )

    def _open(self, one: SourceSecret) -> KeptSecret:
        secret = None
        if one.nonce is not None and one.sealed is not None:
            secret = self._seal.open(_name(one.source, one.sha256), one.nonce, one.sealed).decode()
        return KeptSecret(one.source, one.sha256, secret, one.ends_at)


def _name(source: str, sha256: bytes) -> str:
    """What a sealed secret is bound to, apart from everything else under the same key."""
    return f"source secret {source} {sha256.hex()}"
