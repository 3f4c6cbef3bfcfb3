"""Programs that get tokens for credentials of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Client:
    """A program. `source` is the HR source it speaks for, if it may send HR events."""

    client_id: str
    organization: str
    name: str
    scopes: tuple[str, ...]
    source: str | None
    registered_at: datetime
    registered_by: str
    revoked_at: datetime | None = None


_CLIENT = "client_id, organization, name, scopes, source, registered_at, registered_by, revoked_at"


async def add(conn: Connection, client: Client) -> None:
    """Register a program."""
    await conn.execute(
        f"INSERT INTO client ({_CLIENT}) VALUES ($1, $2, $3, $4, $5, $6, $7, NULL)",
        client.client_id,
        client.organization,
        client.name,
        list(client.scopes),
        client.source,
        client.registered_at,
        client.registered_by,
    )


async def add_secret(
    conn: Connection, client_id: str, sha256: bytes, now: datetime, others_end_at: datetime
) -> None:
    """Keep a new secret; those before count until an instant, or less if that was said before."""
    await conn.execute(
        "UPDATE client_secret SET ends_at = least(ends_at, $2) WHERE client_id = $1",
        client_id,
        others_end_at,
    )
    await conn.execute(
        "INSERT INTO client_secret (secret_sha256, client_id, made_at) VALUES ($1, $2, $3)",
        sha256,
        client_id,
        now,
    )


async def lock(conn: Connection, organization: str, client_id: str) -> Client | None:
    """One program of an organization that is not revoked, locked."""
    row = await conn.fetchrow(
        f"SELECT {_CLIENT} FROM client WHERE organization = $1 AND client_id = $2"
        " AND revoked_at IS NULL FOR UPDATE",
        organization,
        client_id,
    )
    return Client(**{**row, "scopes": tuple(row["scopes"])}) if row else None


async def revoke(conn: Connection, client_id: str, now: datetime) -> None:
    """Let a program have no token any more."""
    await conn.execute("UPDATE client SET revoked_at = $2 WHERE client_id = $1", client_id, now)


async def find(conn: Connection, client_id: str) -> Client | None:
    """One program that is not revoked."""
    row = await conn.fetchrow(
        f"SELECT {_CLIENT} FROM client WHERE client_id = $1 AND revoked_at IS NULL", client_id
    )
    return Client(**{**row, "scopes": tuple(row["scopes"])}) if row else None


async def has_secret(conn: Connection, client_id: str, sha256: bytes, now: datetime) -> bool:
    """Whether a secret is the program's and counts."""
    found = await conn.fetchval(
        "SELECT 1 FROM client_secret WHERE client_id = $1 AND secret_sha256 = $2"
        " AND (ends_at IS NULL OR ends_at > $3)",
        client_id,
        sha256,
        now,
    )
    return found is not None


async def of_organization(conn: Connection, organization: str) -> Sequence[Client]:
    """All programs of an organization, revoked ones too, in order of registration."""
    rows = await conn.fetch(
        f"SELECT {_CLIENT} FROM client WHERE organization = $1 ORDER BY registered_at, client_id",
        organization,
    )
    return [Client(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]
