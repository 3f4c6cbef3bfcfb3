"""An installation's own secrets: made once, closed to others, public where they must be."""

import json
from pathlib import Path

import yaml
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

from deploy.database import ROLES
from deploy.keys import make_secrets


def test_secrets_are_never_replaced(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    before = _contents(tmp_path)

    make_secrets(tmp_path)

    assert _contents(tmp_path) == before


def test_a_lost_public_key_file_is_made_again_from_the_private_one(tmp_path: Path) -> None:
    made = make_secrets(tmp_path)
    before = made.jwks.read_text()
    made.jwks.unlink()

    make_secrets(tmp_path)

    assert made.jwks.read_text() == before


def test_only_the_owner_reads_what_is_secret(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    folders = [path for path in tmp_path.iterdir() if path.name != "public"]
    files = {str(path.relative_to(tmp_path)): path for path in tmp_path.glob("*/*")}
    open_to_others = {name for name, path in files.items() if path.stat().st_mode & 0o077}

    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)
    # The second is closed by its folder, except in a volume for PostgreSQL's own user.
    assert open_to_others == {"public/jwks.json", "admin/password"}


def test_a_token_signed_by_the_gateway_is_checked_with_the_public_keys(tmp_path: Path) -> None:
    made = make_secrets(tmp_path)
    private = OKPKey.import_key(json.loads(made.jwt_key.read_text()))
    public = json.loads(made.jwks.read_text())
    header = {"alg": "Ed25519", "kid": private.kid}

    token = jwt.encode(header, {"sub": "somebody"}, private, algorithms=["Ed25519"])
    claims = jwt.decode(token, KeySet.import_key_set(public), algorithms=["Ed25519"]).claims

    assert claims == {"sub": "somebody"}
    assert "d" not in public["keys"][0]


def test_every_database_role_has_a_password_of_its_own(tmp_path: Path) -> None:
    made = make_secrets(tmp_path, admin_password="given")
    passwords = [made.passwords[role] for role in ROLES]

    assert len({*passwords, "given"}) == len(ROLES) + 1
    for role in ROLES:
        assert made.passfile(role).read_text() == f"*:*:*:{role}:{made.passwords[role]}\n"
    assert made.passfile("admin").read_text() == "*:*:*:postgres:given\n"


def test_the_first_hr_source_speaks_for_the_named_organization_and_stays_so(tmp_path: Path) -> None:
    made = make_secrets(tmp_path, organization="harbor-clinic")
    make_secrets(tmp_path, organization="another")

    [(source, known)] = yaml.safe_load(made.sources.read_text())["sources"].items()

    assert source == "harbor-clinic-hr"
    assert known["organizations"] == ["harbor-clinic"]


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
