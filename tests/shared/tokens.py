"""Keys and tokens as the gateway makes them, and as it never would."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import OKPKey

from shared.auth import ALGORITHM, ISSUER


def write_keys(path: Path, *keys: OKPKey) -> Path:
    """Publish keys as the gateway does, and return where."""
    path.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))
    return path


def token(
    key: OKPKey, *, header: dict[str, Any] | None = None, drop: Iterable[str] = (), **claims: Any
) -> str:
    """A valid token, but for what is said otherwise."""
    now = int(time.time())
    said: dict[str, Any] = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": "p-1",
        "org": "clinic",
        "scope": "access:read",
        "fresh": True,
        "iat": now,
        "exp": now + 60,
        **claims,
    }
    for name in drop:
        del said[name]
    return jwt.encode(
        {"alg": ALGORITHM, "kid": key.kid, **(header or {})}, said, key, algorithms=[ALGORITHM]
    )


def bearer(key: OKPKey, *, scopes: Iterable[str]) -> dict[str, str]:
    """Request headers of somebody who holds scopes."""
    return {"authorization": f"Bearer {token(key, scope=' '.join(scopes))}"}
