"""What a vendor gives and replaces while it is connected, kept sealed: signing key, API tokens."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import orjson

from services.gateway.adapters import Tokens, Vendor, VendorRefused
from services.gateway.sealing import BodySeal, CannotOpen
from services.gateway.sources import VendorAccess
from services.gateway.store import vendors as store
from shared.clock import Clock
from shared.postgres import Connection, in_transaction

WEBHOOK_KEY, ACCESS = "webhook_key", "access"

SPARE = timedelta(minutes=1)
"""A token is replaced so long before it ends."""


class VendorTokens:
    """Keeps them, and has them replaced in time."""

    def __init__(
        self, pool: "asyncpg.Pool[Any]", seal: BodySeal, clock: Clock, http: httpx.AsyncClient
    ) -> None:
        self._pool = pool
        self._seal = seal
        self._clock = clock
        self._http = http

    async def keys(self, source: str, access: VendorAccess) -> tuple[str, ...]:
        """What may sign a source's webhooks: the file's keys, and the one that was confirmed."""
        async with self._pool.acquire() as conn:
            kept = await self._kept(conn, source, WEBHOOK_KEY)
        return (*access.webhook_keys, *([kept.decode()] if kept else ()))

    async def confirm(self, vendor: Vendor, source: str, access: VendorAccess, token: str) -> bool:
        """Whether the vendor says that it sent this token; then it signs from now on.

        Anybody can post a token, so nothing of one that the vendor does not know is kept.
        """
        if vendor.confirm is None or access.oauth is None:
            return False
        try:
            await vendor.confirm(self._http, access, token)
        except (VendorRefused, httpx.HTTPError):
            return False

        async def keep(conn: Connection) -> None:
            await self._keep(conn, source, WEBHOOK_KEY, token.encode())

        await in_transaction(self._pool, keep)
        return True

    async def with_token(self, vendor: Vendor, source: str, access: VendorAccess) -> VendorAccess:
        """The access with a token that is good now, refreshed by whoever needs it first.

        Raises:
            VendorRefused: the vendor gives no token any more.
            httpx.HTTPError: it does not answer.
        """
        oauth = access.oauth
        if vendor.refresh is None or oauth is None:
            return access
        refresh = vendor.refresh

        async def renew(conn: Connection) -> Tokens:
            # Of two that refresh at once, one would be left with a token that was replaced.
            await store.lock_tokens(conn, source)
            now = await self._clock.now(conn)
            kept = await self._kept(conn, source, ACCESS)
            tokens = Tokens(**orjson.loads(kept)) if kept else None
            if tokens is not None and tokens.ends_at > (now + SPARE).timestamp():
                return tokens
            by = tokens.refresh_token if tokens else oauth.refresh_token
            fresh = await refresh(self._http, access, by, now)
            await self._keep(conn, source, ACCESS, orjson.dumps(asdict(fresh)))
            return fresh

        tokens = await in_transaction(self._pool, renew)
        return access.model_copy(update={"api_key": tokens.access_token})

    async def _kept(self, conn: Connection, source: str, kind: str) -> bytes | None:
        found = await store.find_token(conn, source, kind)
        try:
            return self._seal.open(_name(source, kind), *found) if found else None
        except CannotOpen:
            # As after the body key was replaced: what the file says counts again.
            return None

    async def _keep(self, conn: Connection, source: str, kind: str, plain: bytes) -> None:
        await store.keep_token(conn, source, kind, *self._seal.seal(_name(source, kind), plain))


def _name(source: str, kind: str) -> str:
    """What a sealed token is bound to, apart from everything else under the same key."""
    return f"vendor token {kind} {source}"
