"""What the audit log's processes are told when they start, from `PORTALKEEPER_…` variables."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.tlog.leaf import LeafError, check_origin


class Settings(BaseSettings):
    """Read once in a process's main module and handed down."""

    model_config = SettingsConfigDict(env_prefix="PORTALKEEPER_", frozen=True, extra="ignore")

    kafka: str = "127.0.0.1:9092"
    """Bootstrap servers, `host:port`, separated by commas."""

    database_url: str = "postgresql://audit_log@127.0.0.1:5432/portalkeeper"
    """The role `audit_log`; for the signer, `audit_signer`."""

    host: str = "127.0.0.1"
    port: int = Field(default=8082, ge=0, le=65535)

    jwks_file: Path = Path("var/secrets/public/jwks.json")
    """The gateway's public keys, which tokens are checked with."""

    log_origin: str = "portalkeeper.local/audit"
    """The log's name, in every leaf and checkpoint: it can never change."""

    audit_master_key_file: Path = Path("var/secrets/audit_log/master.key")
    """The key that wraps the workers' keys: 32 bytes in base64."""

    audit_keystore_dir: Path = Path("var/audit_log/keystore")
    """Where the workers' wrapped keys are: outside the database, with backups of its own."""

    audit_retention_years: int = Field(default=6, ge=6, le=100)
    """How long entries are kept, from creation or from when access was last in effect."""

    audit_exports_dir: Path = Path("var/audit_log/exports")
    """Where exports are made and kept for some days; they hold personal data in the clear."""

    signer_key_file: Path = Path("var/secrets/audit_signer/signer.pem")
    """The Ed25519 key that checkpoints are signed with, as PKCS #8 in PEM."""

    signer_previous_key_file: Path = Path("var/secrets/audit_signer/signer.previous.pem")
    """The key before, while it and the one that follows it overlap; else there is no such file."""

    signer_state_dir: Path = Path("var/audit_signer/state")
    """What the signer last signed; belongs in no backup of the database."""

    @field_validator("log_origin")
    @classmethod
    def _name_a_log(cls, origin: str) -> str:
        try:
            return check_origin(origin)
        except LeafError as error:
            raise ValueError(str(error)) from error
