"""All SQL of the gateway: links, sessions, refused attempts, rejected bodies, sources heard."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.gateway.store.health import note_day
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link. Instants are UTC."""

    organization: str
    subject: str
    name: str
    worker: str | None
    roles: tuple[str, ...]
    expires_at: datetime
    used_at: datetime | None = None
    authenticated_at: datetime | None = None
    """When the identity provider last asked who it is; None where there is no provider."""

    person: str | None = None
    """The worker with whom it goes, where `worker` does not say."""

    email: str | None = None
    """The address that the provider vouches for, by which who has no worker id is known."""


@dataclass(frozen=True, slots=True)
class Session:
    """A person's or program's standing after sign-in. Instants are UTC."""

    public_id: str
    organization: str
    subject: str
    name: str
    worker: str | None
    roles: tuple[str, ...]
    expires_at: datetime
    fresh: bool = True
    """Whether they proved just now who they are, or cannot be asked again."""

    authenticated_at: datetime | None = None
    person: str | None = None
    """The worker with whom the session goes when they leave, also where `worker` does not say."""


@dataclass(frozen=True, slots=True)
class RejectedBody:
    """An event that was rejected, sealed."""

    reference: UUID
    source: str | None
    organization: str | None
    code: str
    detail: str
    sha256: bytes
    nonce: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Rejection:
    """What people are shown of a rejected event."""

    reference: UUID
    source: str | None
    code: str
    detail: str
    rejected_at: datetime
    expires_at: datetime
    replayed_at: datetime | None
    replayed_by: str | None


@dataclass(frozen=True, slots=True)
class SourceHeard:
    """When a source last sent something signed, and how much in all."""

    source: str
    last_heard_at: datetime
    accepted: int
    rejected: int


async def add_links(conn: Connection, links: Sequence[tuple[bytes, Link]]) -> None:
    """Store links by the SHA-256 of their codes."""
    await conn.executemany(
        """
        INSERT INTO sign_in_link
            (code_sha256, organization, subject, name, worker, roles, expires_at,
             authenticated_at, person)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        [
            (
                sha256,
                link.organization,
                link.subject,
                link.name,
                link.worker,
                list(link.roles),
                link.expires_at,
                link.authenticated_at,
                link.person,
            )
            for sha256, link in links
        ],
    )


async def lock_link(conn: Connection, code_sha256: bytes) -> Link | None:
    """The link, locked so that of two uses at the same moment one finds it used."""
    row = await conn.fetchrow(
        """
        SELECT organization, subject, name, worker, roles, expires_at, used_at, authenticated_at,
            person
        FROM sign_in_link WHERE code_sha256 = $1 FOR UPDATE
        """,
        code_sha256,
    )
    return Link(**{**row, "roles": tuple(row["roles"])}) if row else None


async def use_link(conn: Connection, code_sha256: bytes, now: datetime) -> None:
    """Mark a locked link as used."""
    await conn.execute(
        "UPDATE sign_in_link SET used_at = $2 WHERE code_sha256 = $1", code_sha256, now
    )


async def open_session(
    conn: Connection, secret_sha256: bytes, session: Session, now: datetime
) -> None:
    """Store a session by the SHA-256 of its secret."""
    await conn.execute(
        """
        INSERT INTO session (secret_sha256, public_id, organization, subject, name, worker, roles,
            opened_at, expires_at, authenticated_at, person)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        """,
        secret_sha256,
        session.public_id,
        session.organization,
        session.subject,
        session.name,
        session.worker,
        list(session.roles),
        now,
        session.expires_at,
        session.authenticated_at,
        session.person,
    )


_SESSION = (
    "public_id, organization, subject, name, worker, roles, expires_at, authenticated_at, person"
)


async def find_session(
    conn: Connection, secret_sha256: bytes, fresh_for: timedelta
) -> Session | None:
    """The open, unexpired session of a secret.

    Args:
        fresh_for: how long after somebody was asked who they are that counts as just now.
    """
    row = await conn.fetchrow(
        f"""
        SELECT {_SESSION},
            coalesce(authenticated_at > clock_timestamp() - $2::interval, true) AS fresh
        FROM session
        WHERE secret_sha256 = $1 AND closed_at IS NULL AND expires_at > clock_timestamp()
        """,
        secret_sha256,
        fresh_for,
    )
    return Session(**{**row, "roles": tuple(row["roles"])}) if row else None


async def close_session(conn: Connection, public_id: str, now: datetime) -> Session | None:
    """Close a session, and return it; None if it was closed already."""
    row = await conn.fetchrow(
        "UPDATE session SET closed_at = $2 WHERE public_id = $1 AND closed_at IS NULL"
        f" RETURNING {_SESSION}",
        public_id,
        now,
    )
    return Session(**{**row, "roles": tuple(row["roles"])}) if row else None


async def close_expired_sessions(conn: Connection, now: datetime, limit: int) -> list[Session]:
    """Close sessions whose time is over; those that this call closed."""
    rows = await conn.fetch(
        f"""
        UPDATE session SET closed_at = $1
        WHERE secret_sha256 IN (
            SELECT secret_sha256 FROM session
            WHERE closed_at IS NULL AND expires_at <= $1
            ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING {_SESSION}
        """,
        now,
        limit,
    )
    return [Session(**{**row, "roles": tuple(row["roles"])}) for row in rows]


async def close_sessions_of(
    conn: Connection, organization: str, workers: Sequence[str], now: datetime
) -> list[Session]:
    """Close a person's open sessions and end their unused links; the sessions closed."""
    await conn.execute(
        """
        UPDATE sign_in_link SET expires_at = $3
        WHERE organization = $1 AND (worker = ANY($2::text[]) OR person = ANY($2::text[]))
          AND used_at IS NULL AND expires_at > $3
        """,
        organization,
        list(workers),
        now,
    )
    rows = await conn.fetch(
        f"""
        UPDATE session SET closed_at = $3
        WHERE organization = $1 AND closed_at IS NULL
          AND (worker = ANY($2::text[]) OR person = ANY($2::text[]))
        RETURNING {_SESSION}
        """,
        organization,
        list(workers),
        now,
    )
    return [Session(**{**row, "roles": tuple(row["roles"])}) for row in rows]


async def count_refused_attempts(conn: Connection, kind: str, client: str, since: datetime) -> int:
    """How many attempts of a kind were refused from an address since an instant."""
    count: int = await conn.fetchval(
        "SELECT count(*) FROM refused_attempt WHERE kind = $1 AND client = $2 AND at > $3",
        kind,
        client,
        since,
    )
    return count


async def note_refused_attempt(conn: Connection, kind: str, client: str, now: datetime) -> None:
    """Remember a refused attempt."""
    await conn.execute(
        "INSERT INTO refused_attempt (kind, client, at) VALUES ($1, $2, $3)", kind, client, now
    )


async def keep_rejected(
    conn: Connection, bodies: Sequence[RejectedBody], now: datetime, expires_at: datetime
) -> None:
    """Keep sealed bodies; one that is kept already stays as it is, but lives longer."""
    await conn.execute(
        """
        INSERT INTO rejected_body (reference, source, organization, code, detail, sha256, nonce,
            sealed, rejected_at, expires_at)
        SELECT DISTINCT ON (reference) *, $9::timestamptz, $10::timestamptz
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[],
            $7::bytea[], $8::bytea[])
            AS body (reference, source, organization, code, detail, sha256, nonce, sealed)
        ORDER BY reference
        ON CONFLICT (reference) DO UPDATE SET expires_at = excluded.expires_at
        """,
        [body.reference for body in bodies],
        [body.source for body in bodies],
        [body.organization for body in bodies],
        [body.code for body in bodies],
        [body.detail for body in bodies],
        [body.sha256 for body in bodies],
        [body.nonce for body in bodies],
        [body.sealed for body in bodies],
        now,
        expires_at,
    )


async def recent_rejections(
    conn: Connection, organization: str, sources: Sequence[str], limit: int
) -> list[Rejection]:
    """The latest rejected events of an organization, newest first.

    Args:
        sources: who may speak for it today; of what they sent for nobody who could be told, it may
            have been meant.
    """
    rows = await conn.fetch(
        """
        SELECT reference, source, code, detail, rejected_at, expires_at, replayed_at, replayed_by
        FROM rejected_body
        WHERE organization = $1 OR (organization IS NULL AND source = ANY($2::text[]))
        ORDER BY rejected_at DESC, reference LIMIT $3
        """,
        organization,
        list(sources),
        limit,
    )
    return [Rejection(**row) for row in rows]


async def find_rejected(
    conn: Connection, reference: UUID, organization: str, sources: Sequence[str]
) -> RejectedBody | None:
    """One kept body that `recent_rejections` shows this organization."""
    row = await conn.fetchrow(
        """
        SELECT reference, source, organization, code, detail, sha256, nonce, sealed
        FROM rejected_body
        WHERE reference = $1
          AND (organization = $2 OR (organization IS NULL AND source = ANY($3::text[])))
        """,
        reference,
        organization,
        list(sources),
    )
    return None if row is None else RejectedBody(**row)


async def note_replayed(conn: Connection, reference: UUID, by: str, now: datetime) -> None:
    """Remember that a rejected event was accepted after all."""
    await conn.execute(
        "UPDATE rejected_body SET replayed_at = $3, replayed_by = $2 WHERE reference = $1",
        reference,
        by,
        now,
    )


async def note_heard(
    conn: Connection, heard: Sequence[tuple[str, str, int, int]], now: datetime
) -> None:
    """Count what sources sent: (organization, source, accepted, rejected)."""
    await conn.executemany(
        """
        INSERT INTO source_heard (organization, source, last_heard_at, accepted, rejected)
        VALUES ($1, $2, $5, $3, $4)
        ON CONFLICT (organization, source) DO UPDATE SET
            last_heard_at = greatest(source_heard.last_heard_at, excluded.last_heard_at),
            accepted = source_heard.accepted + excluded.accepted,
            rejected = source_heard.rejected + excluded.rejected
        """,
        [(*row, now) for row in sorted(heard)],
    )
    for organization, source, accepted, rejected in sorted(heard):
        await note_day(conn, organization, source, now, accepted=accepted, rejected=rejected)


async def sources_heard(conn: Connection, organization: str) -> list[SourceHeard]:
    """When each source of an organization was last heard from."""
    rows = await conn.fetch(
        """
        SELECT source, last_heard_at, accepted, rejected FROM source_heard
        WHERE organization = $1 ORDER BY source
        """,
        organization,
    )
    return [SourceHeard(**row) for row in rows]


async def purge(conn: Connection, now: datetime, attempts_before: datetime, limit: int) -> int:
    """Delete what is past its time: bodies, old attempts, long-expired links; how many rows."""
    deleted = 0
    for statement, instant in (
        (
            "DELETE FROM rejected_body WHERE reference IN (SELECT reference FROM rejected_body"
            " WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
            now,
        ),
        (
            "DELETE FROM vendor_delivery WHERE id IN (SELECT id FROM vendor_delivery"
            " WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
            now,
        ),
        (
            "DELETE FROM refused_attempt WHERE ctid IN (SELECT ctid FROM refused_attempt"
            " WHERE at <= $1 LIMIT $2)",
            attempts_before,
        ),
        (
            "DELETE FROM sign_in_link WHERE code_sha256 IN (SELECT code_sha256 FROM sign_in_link"
            " WHERE expires_at <= $1::timestamptz - interval '30 days' LIMIT $2)",
            now,
        ),
        (
            "DELETE FROM sign_in_attempt WHERE state_sha256 IN (SELECT state_sha256"
            " FROM sign_in_attempt WHERE expires_at <= $1 LIMIT $2)",
            now,
        ),
        (
            "DELETE FROM session WHERE secret_sha256 IN (SELECT secret_sha256 FROM session"
            " WHERE closed_at <= $1::timestamptz - interval '30 days' LIMIT $2)",
            now,
        ),
    ):
        status = await conn.execute(statement, instant, limit)
        deleted += int(status.rpartition(" ")[2])
    return deleted
