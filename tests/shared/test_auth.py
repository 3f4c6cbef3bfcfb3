"""Only a token of the gateway's, unaltered and in time, speaks for anybody."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from shared import problems
from shared.auth import Authenticator, Principal
from shared.errors import Problem
from tests.shared.tokens import token, write_keys


def new_key(kid: str = "one") -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": kid})


def refused(authenticator: Authenticator, text: str) -> bool:
    with pytest.raises(Problem) as raised:
        authenticator.authenticate(text)
    return raised.value.status == 401


def test_a_token_speaks_for_its_principal(tmp_path: Path) -> None:
    key = new_key()
    authenticator = Authenticator(write_keys(tmp_path / "jwks", key))
    who = authenticator.authenticate(token(key, worker="w-1", name="Ana", scope="a b"))
    assert who == Principal("clinic", "p-1", "w-1", frozenset({"a", "b"}), "Ana", True)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 60},
        {"aud": "somebody-else"},
        {"iss": "somebody-else"},
        {"nbf": int(time.time()) + 3600},
        {"exp": "tomorrow"},
        {"exp": int(time.time()) + 10 * 24 * 3600},
        {"org": ""},
        {"org": ["clinic"]},
        {"sub": 7},
        {"scope": ["ops:admin"]},
        {"worker": 7},
    ],
    ids=lambda claims: next(iter(claims)),
)
def test_claims_that_are_not_the_gateways_are_refused(
    tmp_path: Path, claims: dict[str, Any]
) -> None:
    key = new_key()
    authenticator = Authenticator(write_keys(tmp_path / "jwks", key))
    assert refused(authenticator, token(key, **claims))


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub", "org"])
def test_a_token_without_a_claim_it_needs_is_refused(tmp_path: Path, claim: str) -> None:
    key = new_key()
    authenticator = Authenticator(write_keys(tmp_path / "jwks", key))
    assert refused(authenticator, token(key, drop=[claim]))


def test_an_altered_token_is_refused(tmp_path: Path) -> None:
    key = new_key()
    authenticator = Authenticator(write_keys(tmp_path / "jwks", key))
    head, body, signature = token(key).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["scope"] = "ops:admin"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert refused(authenticator, f"{head}.{forged}.{signature}")


def test_a_token_of_another_key_under_the_same_name_is_refused(tmp_path: Path) -> None:
    authenticator = Authenticator(write_keys(tmp_path / "jwks", new_key()))
    assert refused(authenticator, token(new_key()))


def test_a_public_key_is_no_shared_secret(tmp_path: Path) -> None:
    key = new_key()
    authenticator = Authenticator(write_keys(tmp_path / "jwks", key))
    published = json.dumps(key.as_dict(private=False))
    now = int(time.time())
    claims = {"iss": "portalkeeper", "aud": "portalkeeper", "sub": "x", "org": "c", "exp": now + 60}
    for secret in (published, key.as_dict(private=False)["x"]):
        signed = jwt.encode({"alg": "HS256", "kid": "one"}, claims, OctKey.import_key(str(secret)))
        assert refused(authenticator, signed)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a.b.c", "\x00", "é.é.é", "W10.W10.W10", "bnVsbA.bnVsbA.bnVsbA", "9" * 10_000],
)
def test_what_is_no_token_is_refused_and_raises_nothing_else(tmp_path: Path, text: str) -> None:
    authenticator = Authenticator(write_keys(tmp_path / "jwks", new_key()))
    assert refused(authenticator, text)


def test_a_new_key_is_found_in_the_file_without_a_restart(tmp_path: Path) -> None:
    old, new = new_key("old"), new_key("new")
    authenticator = Authenticator(write_keys(tmp_path / "jwks", old))
    assert refused(authenticator, token(new))
    write_keys(tmp_path / "jwks", old, new)
    assert authenticator.authenticate(token(new)).subject == "p-1"
    assert authenticator.authenticate(token(old)).subject == "p-1"


def test_a_key_that_was_withdrawn_is_no_longer_taken(tmp_path: Path) -> None:
    old, new = new_key("old"), new_key("new")
    authenticator = Authenticator(write_keys(tmp_path / "jwks", old))
    write_keys(tmp_path / "jwks", new)
    assert authenticator.authenticate(token(new)).subject == "p-1"
    assert refused(authenticator, token(old))


def test_an_unreadable_key_file_leaves_the_known_keys_in_force(tmp_path: Path) -> None:
    key = new_key()
    authenticator = Authenticator(write_keys(tmp_path / "jwks", key))
    (tmp_path / "jwks").write_text("{half")
    assert refused(authenticator, token(new_key("other")))
    (tmp_path / "jwks").unlink()
    assert refused(authenticator, token(new_key("third")))
    assert authenticator.authenticate(token(key)).subject == "p-1"


def test_forged_tokens_do_not_make_the_service_read_its_key_file(tmp_path: Path) -> None:
    key = new_key()
    path = write_keys(tmp_path / "jwks", key)
    authenticator = Authenticator(path)
    os.utime(path, (1, 1))
    before = path.stat().st_atime_ns
    for _ in range(5):
        assert refused(authenticator, token(new_key()))
    assert path.stat().st_atime_ns == before


async def test_a_missing_scope_is_named(tmp_path: Path) -> None:
    key = new_key()
    authenticator = Authenticator(write_keys(tmp_path / "jwks", key))
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def door(
        who: Annotated[Principal, Depends(authenticator.requires("ops:admin"))],
    ) -> str:
        return who.subject

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://door"
    ) as client:
        nobody = await client.get("/")
        basic = await client.get("/", headers={"authorization": "Basic eDp5"})
        small = await client.get("/", headers={"authorization": f"Bearer {token(key)}"})
        admin = await client.get(
            "/", headers={"authorization": f"bearer {token(key, scope='ops:admin')}"}
        )
    assert (nobody.status_code, basic.status_code) == (401, 401)
    assert (small.status_code, small.json()["code"]) == (403, "scope_missing")
    assert "ops:admin" in small.json()["detail"]
    assert admin.json() == "p-1"
