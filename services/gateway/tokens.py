"""Short-lived tokens that the services check for themselves, and the keys to check them with."""

import json
import time
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from shared.auth import ALGORITHM, ISSUER, MAX_TOKEN_LIFETIME_SECONDS, Principal


def load_key(path: Path) -> OKPKey:
    """Read the private signing key, an Ed25519 JWK with a `kid`.

    Raises:
        ValueError: the file is missing or holds something else.
    """
    try:
        key = OKPKey.import_key(json.loads(path.read_text()))
    except OSError as error:
        raise ValueError(f"The token key file {path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, JoseError):
        raise ValueError(f"The token key file {path} holds no Ed25519 JWK.") from None
    if not key.is_private or key.kid is None:
        raise ValueError(f"The token key file {path} must hold a private key with a kid.")
    return key


def mint(
    key: OKPKey, principal: Principal, lifetime_seconds: int = MAX_TOKEN_LIFETIME_SECONDS
) -> str:
    """A token that speaks for `principal` from now on, for at most five minutes.

    It ends before with their session, once the services have heard of that.
    """
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": principal.subject,
        "org": principal.organization,
        "scope": " ".join(sorted(principal.scopes)),
        "name": principal.name,
        "iat": now,
        "exp": now + min(lifetime_seconds, MAX_TOKEN_LIFETIME_SECONDS),
    }
    if principal.worker is not None:
        claims["worker"] = principal.worker
    if principal.session is not None:
        claims["sid"] = principal.session
    if principal.fresh:
        claims["fresh"] = True
    return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, claims, key, algorithms=[ALGORITHM])


def public_keys(key: OKPKey) -> dict[str, Any]:
    """The JWK set to publish."""
    return {"keys": [key.as_dict(private=False)]}
