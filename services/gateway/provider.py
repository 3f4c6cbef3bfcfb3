"""The identity provider, spoken to as OpenID Connect says, with PKCE.

`PORTALKEEPER_OIDC_FILE` names a YAML file:

    issuer: https://login.example.org
    name: Example sign-in                  # what the button says
    client_id: portalkeeper
    client_secret_file: /run/secrets/oidc  # left out where the provider takes PKCE alone
    organization: cedar-sound
    roles_claim: groups                    # which claim holds the groups
    worker_claim: employee_id              # which claim holds the worker id of the HR system
    roles:                                 # group -> roles here
      portal-administrators: [administrator]
      compliance: [compliance]

The provider is told to send people back to `<gateway_url>/sign-in/callback`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import structlog
import yaml
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.gateway.rules.roles import ROLE_SCOPES
from shared.contracts.hr import describe
from shared.errors import Problem

logger = structlog.get_logger(__name__)

ANSWER_SECONDS = 10
KNOWN_SECONDS = 3600
"""How long what the provider publishes about itself is believed without asking again."""

LEEWAY_SECONDS = 60
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "Ed25519", "EdDSA"]
"""Signatures with a public key only."""


class ProviderFile(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(pattern=r"^https?://")
    name: str = "your identity provider"
    client_id: str = Field(min_length=1)
    client_secret_file: Path | None = None
    organization: str = Field(pattern=r"^[a-z0-9-]{1,63}$")
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    roles_claim: str = "groups"
    worker_claim: str = "employee_id"
    roles: dict[str, tuple[str, ...]] = Field(min_length=1)

    @field_validator("roles")
    @classmethod
    def _known(cls, roles: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for role in (role for given in roles.values() for role in given):
            if role not in ROLE_SCOPES:
                raise ValueError(f"there is no role {role!r}; there are {', '.join(ROLE_SCOPES)}")
        return roles


@dataclass(frozen=True, slots=True)
class Asked:
    """What one sign-in was begun with."""

    state: str
    nonce: str
    verifier: str
    fresh: bool


class Provider:
    """One OpenID Connect provider.

    Args:
        home: the console's own address, where people come back to.
    """

    def __init__(self, file: ProviderFile, secret: str | None, home: str) -> None:
        self.file = file
        self._secret = secret
        self._callback = f"{home.rstrip('/')}/sign-in/callback"
        self._home = home.rstrip("/")
        self._metadata: dict[str, Any] = {}
        self._keys = KeySet([])
        self._known_until = 0.0

    async def where_to_ask(self, asked: Asked) -> str:
        """The address that asks a person at the provider who they are.

        Raises:
            Problem: 503 when the provider does not answer.
        """
        metadata = await self._learn()
        # With both, a provider that knows only one of them still asks again.
        again = {"prompt": "login", "max_age": "0"} if asked.fresh else {}
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=asked.state,
                nonce=asked.nonce,
                code_verifier=asked.verifier,
                **again,
            )
        return str(url)

    async def claims_for(self, code: str, asked: Asked) -> Mapping[str, Any]:
        """What the provider says of the person whom it gave `code` to.

        Raises:
            OAuthError, JoseError, ValueError: it refuses the code, or says what is not to be
                trusted.
            Problem: 503 when it does not answer.
        """
        metadata = await self._learn()
        try:
            async with self._client() as client:
                token = await client.fetch_token(
                    metadata["token_endpoint"], code=code, code_verifier=asked.verifier
                )
        except OAuthError:
            raise
        except Exception as error:
            raise self._down(error) from error
        raw = token.get("id_token")
        if not isinstance(raw, str):
            raise ValueError("the provider gave no ID token")
        said = await self._verify(raw)
        claims = CodeIDToken(
            said.claims,
            said.header,
            options={
                "iss": {"essential": True, "value": metadata["issuer"]},
                "aud": {"essential": True, "value": self.file.client_id},
            },
            params={
                "nonce": asked.nonce,
                "client_id": self.file.client_id,
                "access_token": token.get("access_token"),
                "max_age": asked.fresh,
            },
        )
        claims.validate(leeway=LEEWAY_SECONDS)
        return dict(claims)

    def sign_out_address(self) -> str | None:
        """Where the provider ends its own session, if it says."""
        end = self._metadata.get("end_session_endpoint")
        back = {
            "client_id": self.file.client_id,
            "post_logout_redirect_uri": f"{self._home}/sign-in",
        }
        return f"{end}?{urlencode(back)}" if isinstance(end, str) else None

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self.file.client_id,
            client_secret=self._secret,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            scope=" ".join(self.file.scopes),
            redirect_uri=self._callback,
            code_challenge_method="S256",
            timeout=ANSWER_SECONDS,
        )

    async def _learn(self) -> dict[str, Any]:
        """What the provider publishes about itself, asked once an hour."""
        if time.monotonic() >= self._known_until:
            issuer = self.file.issuer.rstrip("/")
            found = await self._fetch(f"{issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != issuer:
                raise self._down("it calls itself by another name")
            keys: Any = await self._fetch(str(found["jwks_uri"]))
            self._keys = KeySet.import_key_set(keys)
            self._metadata = found
            self._known_until = time.monotonic() + KNOWN_SECONDS
        return self._metadata

    async def _verify(self, raw: str) -> jwt.Token:
        kid = jws.extract_compact(raw.encode()).headers().get("kid")
        if all(key.kid != kid for key in self._keys.keys):
            # The provider may have taken a new key since we last asked.
            self._known_until = 0.0
            await self._learn()
        return jwt.decode(raw, self._keys, algorithms=ALGORITHMS)

    async def _fetch(self, url: str) -> dict[str, Any]:
        try:
            async with self._client() as client:
                answer = await client.request("GET", url, withhold_token=True)
                answer.raise_for_status()
                found = answer.json()
        except Exception as error:
            raise self._down(error) from error
        if not isinstance(found, dict):
            raise self._down(f"{url} is no JSON object")
        return found

    def _down(self, why: object) -> Problem:
        logger.warning("provider.down", issuer=self.file.issuer, why=repr(why))
        return Problem(
            503,
            "provider_down",
            f"The identity provider {self.file.issuer} does not answer as one. Try again; if it "
            "stays so, ask whoever runs it.",
        )


UNTRUSTED = (OAuthError, JoseError, ValueError)
"""What `Provider.claims_for` raises for what must not be believed."""


def load_provider(path: Path | None, home: str) -> Provider | None:
    """Read the provider's file; None where people sign in without one.

    Raises:
        ValueError: the file, or the secret it names, is missing or malformed.
    """
    if path is None:
        return None
    try:
        file = ProviderFile.model_validate(yaml.safe_load(path.read_text()))
        secret = file.client_secret_file.read_text().strip() if file.client_secret_file else None
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError:
        raise ValueError(f"The identity provider's file {path} is not YAML.") from None
    except ValidationError as error:
        raise ValueError(
            f"The identity provider's file {path} is wrong: {describe(error)}."
        ) from None
    return Provider(file, secret, home)
