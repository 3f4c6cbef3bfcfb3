"""Passwords and keys that an installation makes for itself, one folder per process that reads them.

    public/            jwks.json: the keys that tokens are checked with
    gateway/           jwt-key.json, body.key, sources.yaml
    audit_log/         master.key
    audit_search/      master.key, the same
    audit_signer/      signer.pem
    <database role>/   pgpass: that role's database password
    admin/             pgpass, password: the administrator's; passwords.json: all roles'

What exists is never replaced. Everything outside `public` is readable by its owner only.
"""

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import OKPKey

from deploy.database import ROLES

KEY_BYTES = 32
EXAMPLE_ORGANIZATION = "cedar-sound"


def first_source(organization: str) -> str:
    """The id of the HR source that an installation makes a secret for."""
    return f"{organization}-hr"


EXAMPLE_SOURCE = first_source(EXAMPLE_ORGANIZATION)


@dataclass(frozen=True)
class Secrets:
    """Where each secret is. Services are told paths; only `prepare` handles passwords."""

    folder: Path
    admin_password: str
    passwords: dict[str, str]
    """Database role -> password."""

    @property
    def jwks(self) -> Path:
        """The public keys that tokens are checked with, as a JWK set."""
        return self.folder / "public" / "jwks.json"

    @property
    def jwt_key(self) -> Path:
        """The Ed25519 key that the gateway signs tokens with, as a JWK."""
        return self.folder / "gateway" / "jwt-key.json"

    @property
    def body_key(self) -> Path:
        """The key that the gateway encrypts raw bodies with: 32 bytes in base64."""
        return self.folder / "gateway" / "body.key"

    @property
    def sources(self) -> Path:
        """The HR sources with their organizations and webhook secrets, as YAML."""
        return self.folder / "gateway" / "sources.yaml"

    @property
    def audit_master_key(self) -> Path:
        """The key that wraps the workers' keys: 32 bytes in base64."""
        return self.folder / "audit_log" / "master.key"

    @property
    def search_master_key(self) -> Path:
        """The same key for the projector, which may read nothing else of the audit log's."""
        return self.folder / "audit_search" / "master.key"

    @property
    def signer_key(self) -> Path:
        """The Ed25519 key that checkpoints are signed with, as PKCS #8 in PEM."""
        return self.folder / "audit_signer" / "signer.pem"

    def passfile(self, role: str) -> Path:
        """The database password of `role`, in PostgreSQL's password file format."""
        return self.folder / role / "pgpass"


def make_secrets(
    folder: Path,
    admin_password: str | None = None,
    organization: str = EXAMPLE_ORGANIZATION,
) -> Secrets:
    """Make what is missing below `folder` and return where everything is.

    Args:
        admin_password: the database administrator's, when the server already has one.
        organization: whom the first HR source speaks for, where there is no sources file yet.
    """
    folder = folder.absolute()
    admin = folder / "admin"
    passwords = admin / "passwords.json"
    _make(passwords, json.dumps({}))
    _add_passwords(passwords)
    # In a container PostgreSQL's own user reads it, from a volume that no other process has.
    # Elsewhere the folder, made here, is closed.
    _make(admin / "password", admin_password or secrets.token_urlsafe(24), mode=0o644)
    made = Secrets(folder, (admin / "password").read_text(), json.loads(passwords.read_text()))
    _make(made.passfile("admin"), _passfile("postgres", made.admin_password))
    for role, password in made.passwords.items():
        _make(made.passfile(role), _passfile(role, password))
    _make_token_keys(made)
    _make(made.body_key, _random_key())
    _make(made.audit_master_key, _random_key())
    _make(made.search_master_key, made.audit_master_key.read_text())
    _make(made.signer_key, _signing_key())
    _make(made.sources, _first_sources(organization))
    return made


def _add_passwords(path: Path) -> None:
    """Give each role that has no password one; an earlier version may have had fewer roles."""
    known = json.loads(path.read_text())
    added = {role: secrets.token_urlsafe(24) for role in ROLES if role not in known}
    if added:
        _write(path, json.dumps({**known, **added}), 0o600)


def _make_token_keys(made: Secrets) -> None:
    if not made.jwt_key.exists():
        key = OKPKey.generate_key("Ed25519", {"use": "sig"}, auto_kid=True)
        _make(made.jwt_key, json.dumps(key.as_dict(private=True)))
    key = OKPKey.import_key(json.loads(made.jwt_key.read_text()))
    _make(made.jwks, json.dumps({"keys": [key.as_dict(private=False)]}), mode=0o644)


def _random_key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _signing_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _first_sources(organization: str) -> str:
    secret = f"whsec_{_random_key()}"
    source = {"organizations": [organization], "secrets": [secret]}
    return yaml.safe_dump({"sources": {first_source(organization): source}}, sort_keys=False)


def _passfile(role: str, password: str) -> str:
    return f"*:*:*:{role}:{password}\n"


def _make(path: Path, text: str, mode: int = 0o600) -> None:
    if not path.exists():
        _write(path, text, mode)


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written beside and renamed, so that a crash leaves no empty key behind.
    partial = path.with_name(f"{path.name}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    partial.replace(path)
