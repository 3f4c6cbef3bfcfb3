"""What the gateway is told when it starts, from `PORTALKEEPER_…` variables."""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(BaseSettings):
    """Read once in a process's main module and handed down."""

    model_config = SettingsConfigDict(env_prefix="PORTALKEEPER_", frozen=True, extra="ignore")

    kafka: str = "127.0.0.1:9092"
    """Bootstrap servers, `host:port`, separated by commas."""

    database_url: str = "postgresql://gateway@127.0.0.1:5432/portalkeeper"
    """The gateway's own role and schema."""

    host: str = "127.0.0.1"
    """Where the console listens; loopback only, unless people sign in through a provider."""

    published_on: str = ""
    """In a container, the address of the outer machine that alone leads to `host`."""

    port: int = Field(default=8080, ge=0, le=65535)

    gateway_url: str = "http://127.0.0.1:8080"
    """The console's own address as people's browsers know it; one-time links begin with it."""

    provisioning_url: str = "http://127.0.0.1:8081"
    audit_url: str = "http://127.0.0.1:8082"
    review_url: str = "http://127.0.0.1:8083"

    outer_urls: Mapping[Literal["provisioning", "audit", "review"], str] = {}
    """Where a command line finds services that it cannot reach by the gateway's addresses."""

    sources_file: Path = Path("var/secrets/gateway/sources.yaml")
    """HR sources with the organizations they may speak for and their webhook secrets."""

    jwt_key_file: Path = Path("var/secrets/gateway/jwt-key.json")
    """The Ed25519 key that tokens are signed with, as a JWK."""

    jwks_file: Path = Path("var/secrets/public/jwks.json")
    """The public keys that tokens for the gateway's own operational routes are checked with."""

    body_key_file: Path = Path("var/secrets/gateway/body.key")
    """The key that rejected bodies are encrypted with: 32 bytes in base64."""

    acknowledgement_seconds: float = Field(default=10, gt=0, le=120)
    """How long an HR request waits for Kafka before it is answered with 503."""

    source_events_per_minute: int = Field(default=60_000, ge=1)
    """How many events one HR source may send to this process; beyond it is answered with 429."""

    link_hours: float = Field(default=24, gt=0, le=24 * 7)
    """How long a one-time link may wait to be used."""

    session_hours: float = Field(default=12, gt=0, le=24 * 7)
    """How long a session lasts: one long working day."""

    fresh_minutes: float = Field(default=15, gt=0, le=24 * 60)
    """How long after a sign-in one may do what cannot be undone without signing in again."""

    oidc_file: Path | None = None
    """The identity provider that people sign in through; see `services/gateway/provider.py`."""

    notify_file: Path | None = None
    """How people are told; see `services/gateway/channels.py`. Without one nobody is."""

    @property
    def stays_on_this_machine(self) -> bool:
        """Whether only programs on this machine reach the console; one-time links need that."""
        return is_loopback(self.published_on or self.host)

    @model_validator(mode="after")
    def _be_safe_beyond_this_machine(self) -> Self:
        where = self.published_on or self.host
        if not self.stays_on_this_machine and self.oidc_file is None:
            raise ValueError(
                f"{where} can be reached from other machines, but one-time links are the only way "
                "to sign in: set PORTALKEEPER_OIDC_FILE, or listen on 127.0.0.1 (in a container, "
                "publish the port on 127.0.0.1 and set PORTALKEEPER_PUBLISHED_ON=127.0.0.1)"
            )
        if not self.stays_on_this_machine and not self.gateway_url.startswith("https://"):
            raise ValueError(
                f"{where} can be reached from other machines, but people would sign in without "
                "encryption: set PORTALKEEPER_GATEWAY_URL to the https address of what stands "
                "before the gateway"
            )
        return self
