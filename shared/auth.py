"""Tokens and scopes, checked by every service itself: being inside the network grants nothing."""

import json
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from shared.errors import Problem

ISSUER = "portalkeeper"
ALGORITHM = "Ed25519"
MAX_TOKEN_LIFETIME_SECONDS = 300
"""Short, because a token that no session stands behind, as a program's, cannot be called back."""

CLOCK_LEEWAY_SECONDS = 10

NOT_FRESH = "sign_in_again"
"""The code of a refusal that a fresh sign-in lifts."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: `subject` is the actor's id, `worker` their worker id where they are one."""

    organization: str
    subject: str
    worker: str | None
    scopes: frozenset[str]
    name: str
    fresh: bool = False
    """Whether they proved just now who they are, as what cannot be undone asks of them."""
    session: str | None = None
    """The public id of the session they act in, with which their token ends."""

    def may(self, *scopes: str) -> bool:
        """Whether any of the scopes is held."""
        return not self.scopes.isdisjoint(scopes)

    def check_fresh(self) -> None:
        """Let only whoever signed in just now go on, to what cannot be undone.

        Raises:
            Problem: 403 for anybody else.
        """
        if not self.fresh:
            raise Problem(403, NOT_FRESH, "This cannot be undone: sign in again, then repeat it.")


_CLAIMS = jwt.JWTClaimsRegistry(
    leeway=CLOCK_LEEWAY_SECONDS,
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": ISSUER},
    sub={"essential": True},
    org={"essential": True},
    exp={"essential": True},
)


def _principal(claims: dict[str, Any]) -> Principal:
    if claims["exp"] > time.time() + MAX_TOKEN_LIFETIME_SECONDS + CLOCK_LEEWAY_SECONDS:
        raise ValueError("it lives longer than any token of ours")
    worker, session = claims.get("worker"), claims.get("sid")
    said = (claims["org"], claims["sub"], claims.get("scope", ""), claims.get("name", ""))
    if not all(isinstance(each, str) for each in said):
        raise ValueError("a claim is no text")
    if not isinstance(worker, str | None) or not isinstance(session, str | None):
        raise ValueError("a claim is no text")
    if not claims["org"] or not claims["sub"]:
        raise ValueError("it speaks for nobody")
    organization, subject, scope, name = said
    fresh = claims.get("fresh") is True
    return Principal(
        organization, subject, worker, frozenset(scope.split()), name or subject, fresh, session
    )


class Authenticator:
    """Verifies the gateway's tokens against its public keys.

    Args:
        jwks_file: JWK set with the gateway's public keys; read again when a token names a key
            that is not known yet, so that keys can be rotated.
        ended: sessions that are over, by their public ids (`shared.ended_sessions`).

    Raises:
        OSError, ValueError: the file is missing or no key set.
    """

    def __init__(self, jwks_file: Path, ended: Container[str] = frozenset()) -> None:
        self._file = jwks_file
        self._ended = ended
        self._read_at = jwks_file.stat().st_mtime_ns
        self._keys = self._read()

    def _read(self) -> KeySet:
        return KeySet.import_key_set(json.loads(self._file.read_text()))

    def authenticate(self, token: str) -> Principal:
        """The principal a token speaks for.

        Raises:
            Problem: 401 when the token is not ours, altered, or expired, or its session is over.
        """
        try:
            claims = self._decode(token).claims
            _CLAIMS.validate(claims)
            who = _principal(claims)
        except Exception as error:
            # Whatever a made-up token made the library raise, it is no token of ours.
            raise Problem(401, "unauthorized", "The token is not valid; sign in again.") from error
        if self.has_ended(who):
            raise Problem(401, "session_over", "You were signed out; sign in again.")
        return who

    def has_ended(self, who: Principal) -> bool:
        """Whether the session that somebody acts in is over, as far as was heard."""
        return who.session is not None and who.session in self._ended

    def _decode(self, token: str) -> jwt.Token:
        kid = jws.extract_compact(token.encode()).headers().get("kid")
        if all(key.kid != kid for key in self._keys.keys):
            self._read_again()
        return jwt.decode(token, self._keys, algorithms=[ALGORITHM])

    def _read_again(self) -> None:
        """Look for new keys, if the file has changed; what cannot be read changes nothing."""
        with suppress(OSError, ValueError, JoseError):
            changed = self._file.stat().st_mtime_ns
            if changed != self._read_at:
                self._keys = self._read()
                self._read_at = changed

    def requires(self, *scopes: str, fresh: bool = False) -> "Requirement":
        """A FastAPI dependency: the caller's principal, if it holds one of `scopes`.

        Args:
            fresh: ask also that the caller signed in just now, for what cannot be undone.
        """
        return Requirement(self, scopes, fresh)


class Requirement:
    """What a route asks of its caller: one of `scopes`, and perhaps a fresh sign-in."""

    def __init__(self, authenticator: Authenticator, scopes: tuple[str, ...], fresh: bool) -> None:
        self._authenticator = authenticator
        self.scopes = scopes
        self.fresh = fresh

    async def __call__(self, request: Request) -> Principal:
        """The caller's principal, which refusals of the request can name from here on.

        Raises:
            Problem: 401 without a valid token, 403 without a scope or a fresh sign-in.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem(401, "unauthorized", "Send a bearer token from the gateway.")
        who = self._authenticator.authenticate(token)
        request.state.principal = who
        if not who.may(*self.scopes):
            raise Problem(
                403, "scope_missing", f"This needs the scope {' or '.join(sorted(self.scopes))}."
            )
        if self.fresh:
            who.check_fresh()
        return who
