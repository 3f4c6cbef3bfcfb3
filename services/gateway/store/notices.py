"""Matters to tell, who is told of them and what became of it, and where people want to be told."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from services.gateway.rules.notices import URGENT, Ended, Kind, Matter, People
from shared.contracts.directory import Administrator
from shared.postgres import Connection

KEPT_DAYS = 90
_MATTER = TypeAdapter(Matter)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One matter that one recipient is to be told of."""

    matter: Matter
    attempts: int


@dataclass(frozen=True, slots=True)
class Told:
    """What screens show of one matter and one recipient."""

    key: str
    kind: Kind
    path: str
    portal: str | None
    recipient: str
    status: str
    noted_at: datetime
    settled_at: datetime | None
    not_before: datetime
    attempts: int
    problem: str | None
    channels: tuple[str, ...]


async def note(
    conn: Connection, organization: str, matters: Sequence[Matter], now: datetime
) -> None:
    """Keep matters to tell; one that is known already stays as it is."""
    await conn.executemany(
        """
        INSERT INTO notice (organization, key, subject, about, kind, matter, noted_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
        """,
        [
            (
                organization,
                each.key,
                each.subject,
                each.about,
                each.kind.value,
                _MATTER.dump_python(each, mode="json"),
                now,
            )
            for each in matters
        ],
    )


async def end(conn: Connection, organization: str, ended: Sequence[Ended], now: datetime) -> None:
    """Tell nobody any more of what has ended."""
    ids = [each.id for each in ended]
    await conn.execute(
        "UPDATE notice SET ended_at = $3, addressed_at = coalesce(addressed_at, $3)"
        " WHERE organization = $1 AND subject = ANY($2::text[]) AND ended_at IS NULL",
        organization,
        ids,
        now,
    )
    await conn.execute(
        """
        UPDATE notice_to SET status = 'withdrawn', settled_at = $3
        WHERE organization = $1 AND status = 'waiting' AND key IN
            (SELECT key FROM notice WHERE organization = $1 AND subject = ANY($2::text[]))
        """,
        organization,
        ids,
        now,
    )


async def open_subjects(conn: Connection, organization: str, kinds: Collection[Kind]) -> set[str]:
    """What matters of these kinds are about that have not ended."""
    rows = await conn.fetch(
        "SELECT DISTINCT subject FROM notice"
        " WHERE organization = $1 AND kind = ANY($2::text[]) AND ended_at IS NULL",
        organization,
        [kind.value for kind in kinds],
    )
    return {row["subject"] for row in rows}


async def take_unaddressed(conn: Connection, now: datetime, limit: int) -> list[tuple[str, Matter]]:
    """Matters that may be told and of which nobody has worked out yet whom to tell, locked."""
    rows = await conn.fetch(
        "SELECT organization, matter FROM notice WHERE addressed_at IS NULL"
        " AND coalesce((matter ->> 'begins_at')::timestamptz, $1) <= $1"
        " ORDER BY noted_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        now,
        limit,
    )
    return [(row["organization"], _MATTER.validate_python(row["matter"])) for row in rows]


async def address(
    conn: Connection,
    organization: str,
    matter: Matter,
    recipients: Sequence[str],
    not_before: datetime,
    now: datetime,
) -> None:
    """Keep who is told of a matter, and from when on."""
    await conn.execute(
        "UPDATE notice SET addressed_at = $3 WHERE organization = $1 AND key = $2",
        organization,
        matter.key,
        now,
    )
    await conn.executemany(
        "INSERT INTO notice_to (organization, key, recipient, urgent, status, not_before)"
        " VALUES ($1, $2, $3, $4, 'waiting', $5) ON CONFLICT DO NOTHING",
        [
            (organization, matter.key, each, matter.kind in URGENT, not_before)
            for each in recipients
        ],
    )


async def people(conn: Connection, organization: str, named: Collection[str]) -> People:
    """Whom the directory appoints, and who of them and of `named` has left."""
    rows = await conn.fetch(
        "SELECT kind, data FROM directory_object WHERE organization = $1 AND data IS NOT NULL"
        " AND kind IN ('organization', 'administrator')",
        organization,
    )
    home: Any = next((row["data"] for row in rows if row["kind"] == "organization"), {})
    appointed = [
        Administrator.model_validate(row["data"]) for row in rows if row["kind"] == "administrator"
    ]
    on_call, hr = tuple(home.get("on_call", ())), tuple(home.get("hr", ()))
    asked = {*named, *on_call, *hr}
    asked |= {who for each in appointed for who in (each.worker, each.deputy) if who}
    gone = await conn.fetch(
        "SELECT worker FROM known_worker WHERE organization = $1 AND worker = ANY($2::text[])"
        " AND coalesce(state->>'status', 'erased') NOT IN ('active', 'on_leave')",
        organization,
        sorted(asked),
    )
    return People(appointed, on_call, hr, frozenset(row["worker"] for row in gone))


async def zone(conn: Connection, organization: str) -> ZoneInfo:
    """The organization's zone; UTC while no directory has arrived."""
    name = await conn.fetchval(
        "SELECT data->>'zone' FROM directory_object WHERE organization = $1"
        " AND kind = 'organization' AND data IS NOT NULL",
        organization,
    )
    return ZoneInfo(name or "UTC")


async def portal_names(conn: Connection, organization: str) -> dict[str, str]:
    """What portals are called, by their ids."""
    rows = await conn.fetch(
        "SELECT id, data->>'name' AS name FROM directory_object"
        " WHERE organization = $1 AND kind = 'portal' AND data IS NOT NULL",
        organization,
    )
    return {row["id"]: row["name"] for row in rows}


async def next_recipient(conn: Connection, urgent: bool, now: datetime) -> tuple[str, str] | None:
    """An organization and somebody there whom something waits for that is due."""
    row = await conn.fetchrow(
        "SELECT organization, recipient FROM notice_to WHERE status = 'waiting' AND urgent = $1"
        " AND not_before <= $2 ORDER BY not_before LIMIT 1",
        urgent,
        now,
    )
    return (row["organization"], row["recipient"]) if row else None


async def take_waiting(
    conn: Connection, organization: str, recipient: str, urgent: bool, now: datetime, limit: int
) -> list[Waiting]:
    """What waits for a recipient and is due, locked and counted as tried once more."""
    rows = await conn.fetch(
        """
        WITH due AS (
            SELECT organization, key, recipient FROM notice_to
            WHERE organization = $1 AND recipient = $2 AND urgent = $3 AND status = 'waiting'
              AND not_before <= $4
            ORDER BY not_before, key LIMIT $5 FOR UPDATE SKIP LOCKED)
        UPDATE notice_to SET attempts = notice_to.attempts + 1
        FROM due JOIN notice USING (organization, key)
        WHERE (notice_to.organization, notice_to.key, notice_to.recipient)
            = (due.organization, due.key, due.recipient)
        RETURNING notice.matter, notice_to.attempts
        """,
        organization,
        recipient,
        urgent,
        now,
        limit,
    )
    found = [Waiting(_MATTER.validate_python(row["matter"]), row["attempts"]) for row in rows]
    return sorted(found, key=lambda each: (each.matter.due_at or now, each.matter.key))


async def settle(
    conn: Connection,
    organization: str,
    recipient: str,
    keys: Sequence[str],
    status: str,
    now: datetime,
    *,
    channels: Sequence[str] = (),
    problem: str | None = None,
) -> None:
    """Keep what became of telling; what ended meanwhile stays withdrawn unless it was delivered."""
    await conn.execute(
        """
        UPDATE notice_to SET status = $4, settled_at = $5, channels = $6, problem = $7
        WHERE organization = $1 AND recipient = $2 AND key = ANY($3::text[])
          AND (status <> 'withdrawn' OR $4 = 'delivered')
        """,
        organization,
        recipient,
        list(keys),
        status,
        now,
        list(channels),
        problem,
    )


async def try_later(
    conn: Connection,
    organization: str,
    recipient: str,
    keys: Sequence[str],
    not_before: datetime,
    problem: str,
) -> None:
    """Try again at an instant; `problem` says why it is not delivered yet."""
    await conn.execute(
        "UPDATE notice_to SET not_before = $4, problem = $5 WHERE organization = $1"
        " AND recipient = $2 AND key = ANY($3::text[]) AND status = 'waiting'",
        organization,
        recipient,
        list(keys),
        not_before,
        problem,
    )


async def told(
    conn: Connection, organization: str, recipient: str | None, limit: int
) -> list[Told]:
    """The latest of an organization, or of one recipient, newest first."""
    rows = await conn.fetch(
        """
        SELECT notice.key, kind, matter->>'path' AS path, matter->>'portal' AS portal, recipient,
            status, noted_at, settled_at, not_before, attempts, problem, channels
        FROM notice JOIN notice_to USING (organization, key)
        WHERE organization = $1 AND ($2::text IS NULL OR recipient = $2)
        ORDER BY noted_at DESC, key, recipient LIMIT $3
        """,
        organization,
        recipient,
        limit,
    )
    return [
        Told(**{**row, "kind": Kind(row["kind"]), "channels": tuple(row["channels"])})
        for row in rows
    ]


async def contact(conn: Connection, organization: str, worker: str) -> tuple[bytes, bytes] | None:
    """Nonce and sealed addresses of somebody."""
    row = await conn.fetchrow(
        "SELECT nonce, sealed FROM contact WHERE organization = $1 AND worker = $2",
        organization,
        worker,
    )
    return (row["nonce"], row["sealed"]) if row else None


async def save_contact(
    conn: Connection, organization: str, worker: str, nonce: bytes, sealed: bytes
) -> None:
    """Keep somebody's addresses in place of those before."""
    await conn.execute(
        "INSERT INTO contact (organization, worker, nonce, sealed) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (organization, worker) DO UPDATE"
        " SET nonce = excluded.nonce, sealed = excluded.sealed",
        organization,
        worker,
        nonce,
        sealed,
    )


async def mail_from_hr(conn: Connection, organization: str, worker: str) -> str | None:
    """The e-mail address that HR gives of somebody, if it does."""
    address: str | None = await conn.fetchval(
        "SELECT state->>'email' FROM known_worker WHERE organization = $1 AND worker = $2",
        organization,
        worker,
    )
    return address


async def count_late(conn: Connection, minutes: int) -> int:
    """How many urgent matters ought to have been delivered so long ago."""
    count: int = await conn.fetchval(
        """
        SELECT count(*) FROM notice_to JOIN notice USING (organization, key)
        WHERE urgent AND status = 'waiting'
          AND addressed_at < clock_timestamp() - make_interval(mins => $1)
        """,
        minutes,
    )
    return count


async def forget(conn: Connection, before: datetime, limit: int) -> int:
    """Delete matters that ended or were told long ago; how many."""
    status = await conn.execute(
        "DELETE FROM notice WHERE (organization, key) IN"
        " (SELECT organization, key FROM notice WHERE noted_at < $1 LIMIT $2)",
        before,
        limit,
    )
    return int(status.rpartition(" ")[2])
