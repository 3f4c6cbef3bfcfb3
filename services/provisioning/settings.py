"""What provisioning is told when it starts, from `PORTALKEEPER_…` variables."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read once in a process's main module and handed down."""

    model_config = SettingsConfigDict(env_prefix="PORTALKEEPER_", frozen=True, extra="ignore")

    kafka: str = "127.0.0.1:9092"
    """Bootstrap servers, `host:port`, separated by commas."""

    database_url: str = "postgresql://provisioning@127.0.0.1:5432/portalkeeper"
    """Provisioning's own role and schema."""

    host: str = "127.0.0.1"
    port: int = Field(default=8081, ge=0, le=65535)

    jwks_file: Path = Path("var/secrets/jwks.json")
    """The gateway's public keys, as a JWK set."""

    scim_file: Path | None = None
    """SCIM services that portals of the directory stand for, as a YAML list; see
    `services/provisioning/connectors/scim.py`. Without it there are none."""
