"""SQL of HR's lists, of what is asked about them, and of how each source's lists are read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.gateway.rules.roster_changes import Asked
from services.gateway.rules.roster_columns import SourceMapping, Standing
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Roster:
    """One list as it is kept; `sealed` is None once it was decided about, or never could be read.

    `status`: `reading` (its `events_total` are lines then), `planned` (looked at), `held` (lacks
    too many), `applying`, `applied`, `rejected` (by a person), `replaced` (by a later list),
    `expired` (nobody decided) or `unreadable`.
    """

    plan: UUID
    organization: str
    source: str
    file_name: str
    sha256: bytes
    received_at: datetime
    received_by: str
    status: str
    counts: dict[str, int]
    problem: str | None
    nonce: bytes | None
    sealed: bytes | None
    decided_by: str | None
    decided_at: datetime | None
    events_total: int
    events_done: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """Something that HR was asked and has not answered."""

    source: str
    worker: str
    kind: Asked
    plan: UUID
    detail: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """How a source's lists are read and when one is expected, as `rules.schedule` reads it."""

    source: str
    mapping: SourceMapping
    expected: dict[str, Any] | None
    late_since: datetime | None


_ROSTER = (
    "plan, organization, source, file_name, sha256, received_at, received_by, status, counts,"
    " problem, nonce, sealed, decided_by, decided_at, events_total, events_done, expires_at"
)


async def lock_source(conn: Connection, organization: str, source: str) -> None:
    """One list of a source at a time: hold its settings' row, made if missing."""
    await conn.execute(
        "INSERT INTO hr_source (organization, source, mapping) VALUES ($1, $2, $3)"
        " ON CONFLICT DO NOTHING",
        organization,
        source,
        {},
    )
    await conn.execute(
        "SELECT 1 FROM hr_source WHERE organization = $1 AND source = $2 FOR UPDATE",
        organization,
        source,
    )


async def source_settings(conn: Connection, organization: str) -> dict[str, SourceSettings]:
    """How the lists of each source of an organization are read."""
    rows = await conn.fetch(
        "SELECT source, mapping, expected, late_since FROM hr_source WHERE organization = $1",
        organization,
    )
    return {
        row["source"]: SourceSettings(
            row["source"],
            SourceMapping.model_validate(row["mapping"]),
            row["expected"],
            row["late_since"],
        )
        for row in rows
    }


async def keep_mapping(
    conn: Connection, organization: str, source: str, mapping: SourceMapping
) -> None:
    """Read the source's next lists so."""
    await conn.execute(
        "UPDATE hr_source SET mapping = $3 WHERE organization = $1 AND source = $2",
        organization,
        source,
        mapping.model_dump(mode="json"),
    )


async def add_roster(conn: Connection, roster: Roster) -> None:
    """Keep a list; a list of the same source that nobody decided about is replaced by it.

    One that could not be read replaces nothing. One that was being read takes its own place.
    """
    await conn.execute("DELETE FROM roster WHERE plan = $1 AND status = 'reading'", roster.plan)
    if roster.sealed is not None:
        await conn.execute(
            "UPDATE roster SET status = 'replaced', sealed = NULL, nonce = NULL"
            " WHERE organization = $1 AND source = $2 AND status IN ('planned', 'held')",
            roster.organization,
            roster.source,
        )
    await conn.execute(
        f"INSERT INTO roster ({_ROSTER}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
        " $12, $13, $14, $15, $16, $17)",
        roster.plan,
        roster.organization,
        roster.source,
        roster.file_name,
        roster.sha256,
        roster.received_at,
        roster.received_by,
        roster.status,
        roster.counts,
        roster.problem,
        roster.nonce,
        roster.sealed,
        roster.decided_by,
        roster.decided_at,
        roster.events_total,
        roster.events_done,
        roster.expires_at,
    )


async def find_roster(
    conn: Connection, organization: str, plan: UUID, *, lock: bool = False
) -> Roster | None:
    """One list."""
    row = await conn.fetchrow(
        f"SELECT {_ROSTER} FROM roster WHERE organization = $1 AND plan = $2"
        + (" FOR UPDATE" if lock else ""),
        organization,
        plan,
    )
    return None if row is None else Roster(**row)


async def held_rosters(conn: Connection, organization: str, source: str) -> list[Roster]:
    """A source's lists that wait for a person; there is one at most."""
    rows = await conn.fetch(
        f"SELECT {_ROSTER} FROM roster"
        " WHERE organization = $1 AND source = $2 AND status = 'held' FOR UPDATE",
        organization,
        source,
    )
    return [Roster(**row) for row in rows]


async def recent_rosters(conn: Connection, organization: str, limit: int) -> list[Roster]:
    """The latest lists, newest first."""
    rows = await conn.fetch(
        f"SELECT {_ROSTER} FROM roster WHERE organization = $1"
        " ORDER BY received_at DESC, plan LIMIT $2",
        organization,
        limit,
    )
    return [Roster(**row) for row in rows]


async def last_lists(conn: Connection, organization: str) -> dict[tuple[str, bool], Roster]:
    """The last list of each source, by (source, False), and the last that was applied, by True."""
    rows = await conn.fetch(
        f"""
        SELECT DISTINCT ON (source, good) {_ROSTER}, good
        FROM roster CROSS JOIN (VALUES (false), (true)) AS asked (good)
        WHERE organization = $1 AND (NOT good OR status IN ('applying', 'applied'))
        ORDER BY source, good, received_at DESC
        """,
        organization,
    )
    found = [dict(row) for row in rows]
    return {(row["source"], row.pop("good")): Roster(**row) for row in found}


async def set_status(conn: Connection, plan: UUID, status: str, counts: Mapping[str, int]) -> None:
    """What a list that nobody decided about comes to now."""
    await conn.execute(
        "UPDATE roster SET status = $2, counts = $3 WHERE plan = $1", plan, status, dict(counts)
    )


async def decide(
    conn: Connection,
    plan: UUID,
    status: str,
    by: str,
    now: datetime,
    *,
    counts: Mapping[str, int],
    events: tuple[bytes, bytes] | None = None,
    total: int = 0,
) -> None:
    """Note a person's or program's decision; what is still to be published comes sealed.

    The list itself is not kept any longer.
    """
    nonce, sealed = events or (None, None)
    await conn.execute(
        """
        UPDATE roster SET status = $2, decided_by = $3, decided_at = $4, counts = $5,
            event_nonce = $6, events = $7, events_total = $8, nonce = NULL, sealed = NULL
        WHERE plan = $1
        """,
        plan,
        status,
        by,
        now,
        dict(counts),
        nonce,
        sealed,
        total,
    )


async def expire_rosters(conn: Connection, now: datetime) -> int:
    """Forget what lists said about which nobody decided in time; how many those were."""
    status = await conn.execute(
        "UPDATE roster SET status = 'expired', nonce = NULL, sealed = NULL"
        " WHERE expires_at <= $1 AND sealed IS NOT NULL",
        now,
    )
    return int(status.rpartition(" ")[2])


@dataclass(frozen=True, slots=True)
class Applying:
    """A list whose events are being published."""

    plan: UUID
    nonce: bytes
    events: bytes
    done: int


async def lock_applying(conn: Connection) -> Applying | None:
    """The list that has been applying longest and that no other process is publishing."""
    row = await conn.fetchrow(
        """
        SELECT plan, event_nonce AS nonce, events, events_done AS done FROM roster
        WHERE status = 'applying' ORDER BY received_at LIMIT 1 FOR UPDATE SKIP LOCKED
        """
    )
    return None if row is None else Applying(**row)


async def note_published(conn: Connection, plan: UUID, done: int) -> None:
    """So many of a list's events are on their way; with the last, what was sealed of them goes."""
    await conn.execute(
        """
        UPDATE roster SET events_done = $2,
            status = CASE WHEN $2 >= events_total THEN 'applied' ELSE status END,
            events = CASE WHEN $2 >= events_total THEN NULL ELSE events END,
            event_nonce = CASE WHEN $2 >= events_total THEN NULL ELSE event_nonce END
        WHERE plan = $1
        """,
        plan,
        done,
    )


async def give_up_reading(
    conn: Connection,
    problem: str,
    *,
    plan: UUID | None = None,
    before: datetime | None = None,
) -> None:
    """Lists that are being read no longer are: one `plan`, or all that came `before`."""
    await conn.execute(
        "UPDATE roster SET status = 'unreadable', problem = $1, events_total = 0"
        " WHERE status = 'reading' AND (plan = $2 OR received_at < $3)",
        problem,
        plan,
        before,
    )


async def give_up(conn: Connection, plan: UUID, problem: str) -> None:
    """Publish no more of a list; `problem` says why, and what to do."""
    await conn.execute(
        "UPDATE roster SET status = 'unreadable', problem = $2, events = NULL, event_nonce = NULL"
        " WHERE plan = $1",
        plan,
        problem,
    )


# -- who belongs to a source


async def note_workers(conn: Connection, named: Collection[tuple[str, str, str]]) -> None:
    """Remember whom sources speak of: (organization, source, worker)."""
    rows = sorted(set(named))
    await conn.execute(
        """
        INSERT INTO source_worker (organization, source, worker)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
        ON CONFLICT DO NOTHING
        """,
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
    )


async def note_said(
    conn: Connection, organization: str, source: str, says: Mapping[str, Standing]
) -> None:
    """Remember where an applied list says that each worker stands."""
    await conn.execute(
        """
        INSERT INTO source_worker (organization, source, worker, said)
        SELECT $1, $2, * FROM unnest($3::text[], $4::text[])
        ON CONFLICT (organization, source, worker) DO UPDATE SET said = excluded.said
        """,
        organization,
        source,
        list(says),
        [standing.value for standing in says.values()],
    )


async def said_of(conn: Connection, organization: str, source: str) -> dict[str, Standing | None]:
    """Whom the source named, and where its last list said that they stand."""
    rows = await conn.fetch(
        "SELECT worker, said FROM source_worker WHERE organization = $1 AND source = $2",
        organization,
        source,
    )
    return {row["worker"]: Standing(row["said"]) if row["said"] else None for row in rows}


async def forget_workers(
    conn: Connection, organization: str, source: str, workers: Collection[str]
) -> None:
    """The source does not speak of them; until it names them again."""
    await conn.execute(
        "DELETE FROM source_worker"
        " WHERE organization = $1 AND source = $2 AND worker = ANY($3::text[])",
        organization,
        source,
        list(workers),
    )


# -- questions


async def ask(
    conn: Connection,
    organization: str,
    source: str,
    plan: UUID,
    questions: Sequence[tuple[str, Asked, str]],
    now: datetime,
) -> None:
    """Ask about (worker, kind, detail); what was asked before keeps its date."""
    await conn.execute(
        """
        INSERT INTO hr_question (organization, source, worker, kind, plan, detail, asked_at)
        SELECT $1, $2, worker, kind, $3, detail, $4
        FROM unnest($5::text[], $6::text[], $7::text[]) AS new (worker, kind, detail)
        ON CONFLICT (organization, source, worker, kind) DO UPDATE
            SET plan = excluded.plan, detail = excluded.detail
            WHERE hr_question.answer IS NULL
        """,
        organization,
        source,
        plan,
        now,
        [worker for worker, _, _ in questions],
        [kind for _, kind, _ in questions],
        [detail for _, _, detail in questions],
    )


async def close_questions(
    conn: Connection,
    organization: str,
    source: str,
    raised: Collection[tuple[str, Asked]],
    about: Collection[str] | None,
) -> None:
    """Drop what a newer list no longer raises, answered or not: should it arise again, it is news.

    Args:
        about: only questions about these workers; None for all.
    """
    await conn.execute(
        """
        DELETE FROM hr_question
        WHERE organization = $1 AND source = $2
          AND ($5::text[] IS NULL OR worker = ANY($5::text[]))
          AND (worker, kind) NOT IN (SELECT * FROM unnest($3::text[], $4::text[]))
        """,
        organization,
        source,
        [worker for worker, _ in raised],
        [kind for _, kind in raised],
        None if about is None else list(about),
    )


async def withdraw_questions(conn: Connection, plan: UUID) -> None:
    """A rejected list asks nothing."""
    await conn.execute("DELETE FROM hr_question WHERE plan = $1 AND answer IS NULL", plan)


async def open_questions(
    conn: Connection, organization: str, source: str | None = None
) -> list[OpenQuestion]:
    """What waits for an answer, the oldest first."""
    rows = await conn.fetch(
        """
        SELECT source, worker, kind, plan, detail, asked_at FROM hr_question
        WHERE organization = $1 AND answer IS NULL AND ($2::text IS NULL OR source = $2)
        ORDER BY asked_at, source, worker, kind
        """,
        organization,
        source,
    )
    return [OpenQuestion(**{**row, "kind": Asked(row["kind"])}) for row in rows]


async def questions_asked(conn: Connection, organization: str) -> dict[str, tuple[int, datetime]]:
    """By source, how many questions wait for an answer, and when the newest was asked."""
    rows = await conn.fetch(
        "SELECT source, count(*) AS questions, max(asked_at) AS asked_at FROM hr_question"
        " WHERE organization = $1 AND answer IS NULL GROUP BY source",
        organization,
    )
    return {row["source"]: (row["questions"], row["asked_at"]) for row in rows}


async def answered(
    conn: Connection, organization: str, source: str
) -> frozenset[tuple[str, Asked]]:
    """What HR has answered about a source's workers."""
    rows = await conn.fetch(
        "SELECT worker, kind FROM hr_question"
        " WHERE organization = $1 AND source = $2 AND answer IS NOT NULL",
        organization,
        source,
    )
    return frozenset((row["worker"], Asked(row["kind"])) for row in rows)


async def answer(
    conn: Connection,
    organization: str,
    source: str,
    kind: Asked,
    workers: Collection[str],
    said: str,
    by: str,
    now: datetime,
) -> None:
    """Note what a person answered."""
    await conn.execute(
        """
        UPDATE hr_question SET answer = $5, answered_by = $6, answered_at = $7
        WHERE organization = $1 AND source = $2 AND kind = $3 AND worker = ANY($4::text[])
        """,
        organization,
        source,
        kind,
        list(workers),
        said,
        by,
        now,
    )
