"""All SQL of the review scheduler.

Every writer locks in one order: the idempotency key; offset rows; directory objects sorted by
(organization, kind, id); worker rows sorted by (organization, worker), missing ones inserted in the
same order; campaign rows sorted by id; timers and outbox keys last. Reviews and lines have no locks
of their own: they belong to the worker whose access they are about, and are written only under that
worker's lock. A timer is written only under the lock of its organization's directory object. The
lock of a worker owns the outbox key organization/worker, the lock of a campaign owns its key.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from services.review_scheduler.rules.lines import Line, LineStatus, ReviewStatus
from services.review_scheduler.rules.opening import Holder, NewReview
from services.review_scheduler.rules.reviewers import Person
from services.review_scheduler.rules.roles import Holding, Role
from shared.contracts.directory import (
    Administrator,
    DirectoryObject,
    Function,
    JobDuty,
    Organization,
    Policy,
)
from shared.contracts.review import Decision
from shared.contracts.state import WorkerStatus
from shared.postgres import Connection

WorkerKey = tuple[str, str]
"""Organization and worker id."""

_HOLDINGS = TypeAdapter(tuple[Holding, ...])
_ROLE = TypeAdapter(Role)

CALENDAR_TIMER = "quarter"
"""The kind of the timer, keyed by organization, that opens each quarter's campaign."""


def _to_json(value: object) -> str:
    """JSON for a parameter that is a list in an array: asyncpg would take it for a dimension."""
    return orjson.dumps(value).decode()


# Directory


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """The state of one directory object; `value` is None once it was removed."""

    organization: str
    kind: str
    id: str
    epoch: int
    version: int
    value: DirectoryObject | None


@dataclass(frozen=True, slots=True)
class DirectoryView:
    """What reviews need of a directory; `organization` is None until it is known."""

    organization: Organization | None
    policy: Policy | None
    administrators: tuple[Administrator, ...]
    job_duties: tuple[JobDuty, ...]


async def store_directory(
    conn: Connection, changes: Collection[DirectoryChange]
) -> list[tuple[str, str, str]]:
    """Store object states that are newer than ours; (organization, kind, id) of those stored."""
    ordered = sorted(changes, key=lambda each: (each.organization, each.kind, each.id))
    rows = await conn.fetch(
        """
        INSERT INTO directory_object AS known (organization, kind, id, epoch, version, data)
        SELECT * FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::jsonb[])
        ON CONFLICT (organization, kind, id) DO UPDATE
            SET epoch = excluded.epoch, version = excluded.version, data = excluded.data
            WHERE (known.epoch, known.version) < (excluded.epoch, excluded.version)
        RETURNING organization, kind, id
        """,
        [each.organization for each in ordered],
        [each.kind for each in ordered],
        [each.id for each in ordered],
        [each.epoch for each in ordered],
        [each.version for each in ordered],
        [each.value.model_dump(mode="json") if each.value else None for each in ordered],
    )
    return [(row["organization"], row["kind"], row["id"]) for row in rows]


async def lock_organization(conn: Connection, organization: str) -> bool:
    """Hold an organization's directory object until the transaction ends; whether it is known."""
    return (
        await conn.fetchval(
            "SELECT true FROM directory_object"
            " WHERE organization = $1 AND kind = 'organization' AND data IS NOT NULL FOR UPDATE",
            organization,
        )
        is True
    )


async def load_directory(conn: Connection, organization: str) -> DirectoryView:
    """The organization's directory as far as reviews need it."""
    rows = await conn.fetch(
        "SELECT kind, data FROM directory_object WHERE organization = $1 AND data IS NOT NULL"
        " ORDER BY kind, id",
        organization,
    )
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row["kind"], []).append(row["data"])
    organizations = [Organization.model_validate(each) for each in found.get("organization", ())]
    policies = [Policy.model_validate(each) for each in found.get("policy", ())]
    return DirectoryView(
        organizations[0] if organizations else None,
        policies[0] if policies else None,
        tuple(Administrator.model_validate(each) for each in found.get("administrator", ())),
        tuple(JobDuty.model_validate(each) for each in found.get("job_duty", ())),
    )


async def calendar_due_at(conn: Connection, organization: str) -> datetime | None:
    """When the organization's next quarterly campaign is due, if that is set."""
    due_at: datetime | None = await conn.fetchval(
        "SELECT due_at FROM timer WHERE kind = $1 AND key = $2", CALENDAR_TIMER, organization
    )
    return due_at


# Workers


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """What was known of a worker before; `version` is -1 for one never seen."""

    organization: str
    worker: str
    epoch: int
    version: int
    role: Role | None


@dataclass(frozen=True, slots=True)
class WorkerPicture:
    """A worker's newest state, reduced to what reviews need."""

    organization: str
    worker: str
    epoch: int
    version: int
    status: WorkerStatus
    name: str | None
    merged_into: str | None
    supervisor: str | None
    role: Role | None
    effective: tuple[Holding, ...]


async def lock_workers(conn: Connection, keys: Collection[WorkerKey]) -> dict[WorkerKey, WorkerRow]:
    """Lock worker rows in order until the transaction ends, making those that are missing."""
    ordered = sorted(set(keys))
    organizations, workers = [key[0] for key in ordered], [key[1] for key in ordered]
    await conn.execute(
        """
        INSERT INTO worker (organization, worker)
        SELECT * FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker)
        ORDER BY organization, worker
        ON CONFLICT DO NOTHING
        """,
        organizations,
        workers,
    )
    rows = await conn.fetch(
        """
        SELECT organization, worker, epoch, version, role FROM worker
        WHERE (organization, worker) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        ORDER BY organization, worker FOR UPDATE
        """,
        organizations,
        workers,
    )
    return {
        (row["organization"], row["worker"]): WorkerRow(
            row["organization"],
            row["worker"],
            row["epoch"],
            row["version"],
            None if row["role"] is None else _ROLE.validate_python(row["role"]),
        )
        for row in rows
    }


async def store_pictures(conn: Connection, pictures: Sequence[WorkerPicture]) -> None:
    """Replace the pictures of workers whose rows are locked."""
    await conn.execute(
        """
        UPDATE worker SET epoch = new.epoch, version = new.version, status = new.status,
            name = new.name, merged_into = new.merged_into, supervisor = new.supervisor,
            role = new.role, effective = new.effective::jsonb
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
            $7::text[], $8::text[], $9::jsonb[], $10::text[])
            AS new (organization, worker, epoch, version, status, name, merged_into, supervisor,
                role, effective)
        WHERE worker.organization = new.organization AND worker.worker = new.worker
        """,
        [each.organization for each in pictures],
        [each.worker for each in pictures],
        [each.epoch for each in pictures],
        [each.version for each in pictures],
        [each.status for each in pictures],
        [each.name for each in pictures],
        [each.merged_into for each in pictures],
        [each.supervisor for each in pictures],
        [each.role for each in pictures],
        [_to_json(each.effective) for each in pictures],
    )


async def load_people(
    conn: Connection, organization: str, workers: Collection[str]
) -> dict[str, Person]:
    """The workers named, those above them, and the ids they are known by now."""
    rows = await conn.fetch(
        """
        WITH RECURSIVE known AS (
            SELECT worker, status, supervisor, merged_into FROM worker
            WHERE organization = $1 AND worker = ANY($2::text[])
            UNION
            SELECT above.worker, above.status, above.supervisor, above.merged_into
            FROM known JOIN worker AS above
                ON above.organization = $1
                AND above.worker IN (known.supervisor, known.merged_into)
        )
        SELECT * FROM known
        """,
        organization,
        list(workers),
    )
    return {
        row["worker"]: Person(
            row["supervisor"], row["status"] == WorkerStatus.ACTIVE, row["merged_into"]
        )
        for row in rows
    }


async def load_people_around(
    conn: Connection, organization: str, holders: Collection[WorkerKey], directory: DirectoryView
) -> dict[str, Person]:
    """Everybody who may have to review what `holders` hold."""
    appointed = {
        worker
        for each in directory.administrators
        for worker in (each.worker, each.deputy)
        if worker is not None
    }
    return await load_people(conn, organization, appointed | {worker for _, worker in holders})


# Campaigns


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign as it is opened."""

    campaign_id: UUID
    organization: str
    title: str
    opened_by: str
    opened_at: datetime
    due_at: datetime
    policy_version: str | None


@dataclass(frozen=True, slots=True)
class OpeningCampaign:
    """A campaign whose reviews are being opened, up to and including `opened_through`."""

    campaign_id: UUID
    organization: str
    title: str
    opened_at: datetime
    due_at: datetime
    opened_through: str


async def add_campaign(conn: Connection, campaign: Campaign) -> bool:
    """Store a campaign that begins to open; false if it exists."""
    return (
        await conn.fetchval(
            """
            INSERT INTO campaign (campaign_id, organization, title, opened_by, opened_at, due_at,
                policy_version, status)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'opening')
            ON CONFLICT DO NOTHING RETURNING true
            """,
            campaign.campaign_id,
            campaign.organization,
            campaign.title,
            campaign.opened_by,
            campaign.opened_at,
            campaign.due_at,
            campaign.policy_version,
        )
        is True
    )


async def has_unfinished_campaign(conn: Connection, organization: str) -> bool:
    """Whether a campaign of the organization is not closed yet."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM campaign WHERE organization = $1 AND status <> 'closed')",
        organization,
    )
    return found


async def first_opening_campaign(conn: Connection) -> OpeningCampaign | None:
    """The campaign that has been opening for longest; nothing is locked."""
    row = await conn.fetchrow(
        """
        SELECT campaign_id, organization, title, opened_at, due_at, opened_through FROM campaign
        WHERE status = 'opening' ORDER BY opened_at, campaign_id LIMIT 1
        """
    )
    return None if row is None else OpeningCampaign(**dict(row))


async def next_holders(
    conn: Connection, organization: str, after: str, limit: int
) -> list[WorkerKey]:
    """The next workers by id who hold something effective; nothing is locked."""
    rows = await conn.fetch(
        """
        SELECT organization, worker FROM worker
        WHERE organization = $1 AND worker > $2 AND effective <> '[]'
        ORDER BY organization, worker LIMIT $3
        """,
        organization,
        after,
        limit,
    )
    return [(row["organization"], row["worker"]) for row in rows]


async def load_holders(conn: Connection, keys: Collection[WorkerKey]) -> list[Holder]:
    """Those of the workers, locked before, who hold something effective, by id."""
    rows = await conn.fetch(
        """
        SELECT organization, worker, role, effective FROM worker
        WHERE (organization, worker) IN (SELECT * FROM unnest($1::text[], $2::text[]))
            AND effective <> '[]'
        ORDER BY organization, worker
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    return [
        Holder(
            row["organization"],
            row["worker"],
            tuple(row["role"]["duties"]) if row["role"] else (),
            _HOLDINGS.validate_python(row["effective"]),
        )
        for row in rows
    ]


async def advance_opening(conn: Connection, campaign: OpeningCampaign, through: str | None) -> bool:
    """Lock an opening campaign and note how far it is open; `None`: it is now open to the end.

    Returns:
        Whether it still stood where `campaign` says; if not, another replica was first.
    """
    return (
        await conn.fetchval(
            """
            UPDATE campaign SET
                opened_through = coalesce($3, opened_through),
                status = CASE WHEN $3::text IS NULL THEN 'open' ELSE status END
            WHERE campaign_id = $1 AND status = 'opening' AND opened_through = $2
            RETURNING true
            """,
            campaign.campaign_id,
            campaign.opened_through,
            through,
        )
        is True
    )


@dataclass(frozen=True, slots=True)
class ClosedCampaign:
    """A campaign that has just closed; all but `reviews` count lines."""

    campaign_id: UUID
    organization: str
    reviews: int
    kept: int
    removed: int
    moot: int


async def close_finished_campaigns(
    conn: Connection, campaign_ids: Collection[UUID], now: datetime
) -> list[ClosedCampaign]:
    """Lock campaigns in order and close those that are fully open and have only closed reviews."""
    # Locked before counting: of two transactions that each close one of the last two reviews, the
    # second must see the first's.
    locked = await conn.fetch(
        "SELECT campaign_id FROM campaign WHERE campaign_id = ANY($1::uuid[]) AND status = 'open'"
        " ORDER BY campaign_id FOR UPDATE",
        sorted(campaign_ids),
    )
    rows = await conn.fetch(
        """
        WITH finished AS (
            UPDATE campaign SET status = 'closed', closed_at = $2
            WHERE campaign_id = ANY($1::uuid[]) AND NOT EXISTS (
                SELECT FROM review
                WHERE review.campaign_id = campaign.campaign_id AND review.status <> 'closed')
            RETURNING campaign_id, organization
        )
        SELECT finished.campaign_id, finished.organization,
            count(DISTINCT review.review_id) AS reviews,
            count(*) FILTER (WHERE line.status = 'kept') AS kept,
            count(*) FILTER (WHERE line.status = 'removal_confirmed') AS removed,
            count(*) FILTER (WHERE line.status = 'moot') AS moot
        FROM finished LEFT JOIN review USING (campaign_id) LEFT JOIN line USING (review_id)
        GROUP BY finished.campaign_id, finished.organization
        ORDER BY finished.campaign_id
        """,
        [row["campaign_id"] for row in locked],
        now,
    )
    return [ClosedCampaign(**dict(row)) for row in rows]


# Reviews and lines


async def add_reviews(conn: Connection, reviews: Sequence[NewReview]) -> None:
    """Store reviews with their lines."""
    await conn.execute(
        """
        INSERT INTO review (review_id, organization, campaign_id, worker, reviewer, reviewer_rule,
            reason, opened_at, due_at, status)
        SELECT *, 'open' FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[],
            $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[])
        """,
        [each.review_id for each in reviews],
        [each.organization for each in reviews],
        [each.occasion.campaign_id for each in reviews],
        [each.worker for each in reviews],
        [each.reviewer for each in reviews],
        [each.reviewer_rule for each in reviews],
        [each.occasion.reason for each in reviews],
        [each.occasion.opened_at for each in reviews],
        [each.occasion.due_at for each in reviews],
    )
    lines = [(review.review_id, line) for review in reviews for line in review.lines]
    held = [line.holding.entitlement for _, line in lines]
    await conn.execute(
        """
        INSERT INTO line (line_id, review_id, portal, tin, function, operation_id, grade, since,
            authorized_by, duties, status)
        SELECT line_id, review_id, portal, tin, function, operation_id, grade, since,
            authorized_by, duties::jsonb, 'undecided'
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::text[], $8::timestamptz[], $9::jsonb[], $10::text[])
            AS new (line_id, review_id, portal, tin, function, operation_id, grade, since,
                authorized_by, duties)
        """,
        [line.line_id for _, line in lines],
        [review_id for review_id, _ in lines],
        [line.holding.portal for _, line in lines],
        [each.tin for each in held],
        [each.function for each in held],
        [each.operation_id for each in held],
        [each.grade for each in held],
        [each.since for each in held],
        [each.authorized_by for each in held],
        [_to_json(line.duties) for _, line in lines],
    )


_LINE_COLUMNS = """
    line.line_id, line.review_id, review.campaign_id, review.organization, review.worker,
    line.portal, line.tin, line.function, line.operation_id, line.status, line.detail,
    line.decision, line.reason, line.revision
"""


def _line(row: Any) -> Line:
    return Line(
        **{
            **dict(row),
            "function": Function(row["function"]),
            "status": LineStatus(row["status"]),
        }
    )


async def load_unsettled_lines(
    conn: Connection, keys: Collection[WorkerKey]
) -> dict[WorkerKey, list[Line]]:
    """Lines, by worker, of reviews that are not closed."""
    rows = await conn.fetch(
        f"""
        SELECT {_LINE_COLUMNS} FROM review JOIN line USING (review_id)
        WHERE (review.organization, review.worker)
                IN (SELECT * FROM unnest($1::text[], $2::text[]))
            AND review.status <> 'closed'
        ORDER BY line.line_id
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    lines: dict[WorkerKey, list[Line]] = {}
    for row in rows:
        lines.setdefault((row["organization"], row["worker"]), []).append(_line(row))
    return lines


async def load_lines(conn: Connection, review_id: UUID) -> dict[UUID, Line]:
    """All lines of a review."""
    rows = await conn.fetch(
        f"SELECT {_LINE_COLUMNS} FROM review JOIN line USING (review_id) WHERE review_id = $1",
        review_id,
    )
    return {row["line_id"]: _line(row) for row in rows}


@dataclass(frozen=True, slots=True)
class LineUpdate:
    """Where a line has got to."""

    line_id: UUID
    status: LineStatus
    detail: str | None


async def store_progress(conn: Connection, updates: Sequence[LineUpdate]) -> None:
    """Move lines that provisioning reported on, or that need no decision any more."""
    await conn.execute(
        """
        UPDATE line SET status = new.status, detail = new.detail
        FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new (line_id, status, detail)
        WHERE line.line_id = new.line_id
        """,
        [each.line_id for each in updates],
        [each.status for each in updates],
        [each.detail for each in updates],
    )


@dataclass(frozen=True, slots=True)
class LineDecision:
    """What somebody decided on a line, and where that takes it."""

    line_id: UUID
    status: LineStatus
    decision: Decision
    reason: str | None


async def store_decisions(
    conn: Connection, decisions: Sequence[LineDecision], decided_by: str, decided_at: datetime
) -> None:
    """Record one person's decisions on lines."""
    await conn.execute(
        """
        UPDATE line SET status = new.status, decision = new.decision, reason = new.reason,
            decided_by = $5, decided_at = $6, revision = revision + 1, detail = NULL
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
            AS new (line_id, status, decision, reason)
        WHERE line.line_id = new.line_id
        """,
        [each.line_id for each in decisions],
        [each.status for each in decisions],
        [each.decision for each in decisions],
        [each.reason for each in decisions],
        decided_by,
        decided_at,
    )


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A review's standing and whom it concerns."""

    review_id: UUID
    organization: str
    campaign_id: UUID | None
    worker: str
    reviewer: str | None
    status: ReviewStatus


async def load_review(conn: Connection, organization: str, review_id: UUID) -> ReviewRow | None:
    """One review of the organization."""
    row = await conn.fetchrow(
        """
        SELECT review_id, organization, campaign_id, worker, reviewer, status FROM review
        WHERE organization = $1 AND review_id = $2
        """,
        organization,
        review_id,
    )
    if row is None:
        return None
    return ReviewRow(**{**dict(row), "status": ReviewStatus(row["status"])})


async def load_standing(
    conn: Connection, review_ids: Collection[UUID]
) -> list[tuple[ReviewRow, list[LineStatus]]]:
    """Reviews with the statuses of their lines."""
    rows = await conn.fetch(
        """
        SELECT review_id, organization, campaign_id, worker, reviewer, review.status,
            array_agg(line.status) AS lines
        FROM review JOIN line USING (review_id)
        WHERE review_id = ANY($1::uuid[])
        GROUP BY review_id ORDER BY review_id
        """,
        list(review_ids),
    )
    return [
        (
            ReviewRow(
                row["review_id"],
                row["organization"],
                row["campaign_id"],
                row["worker"],
                row["reviewer"],
                ReviewStatus(row["status"]),
            ),
            [LineStatus(each) for each in row["lines"]],
        )
        for row in rows
    ]


async def store_review_statuses(
    conn: Connection, statuses: Mapping[UUID, ReviewStatus], now: datetime
) -> None:
    """Note where reviews stand; `now` is when those that close are closed."""
    await conn.execute(
        """
        UPDATE review SET status = new.status,
            closed_at = CASE WHEN new.status = 'closed' THEN $3::timestamptz END
        FROM unnest($1::uuid[], $2::text[]) AS new (review_id, status)
        WHERE review.review_id = new.review_id
        """,
        list(statuses),
        list(statuses.values()),
        now,
    )


# Commands sent again


async def lock_command(
    conn: Connection, organization: str, principal: str, route: str, key: str
) -> bool:
    """Take the lock of an idempotency key until the transaction ends; false if it is taken."""
    taken: bool = await conn.fetchval(
        "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))",
        "\x1f".join((organization, principal, route, key)),
    )
    return taken


async def recall_command(
    conn: Connection, organization: str, principal: str, route: str, key: str
) -> tuple[bytes, Any] | None:
    """The body's SHA-256 and the response of a command that was carried out before."""
    row = await conn.fetchrow(
        "SELECT body_sha256, response FROM idempotency"
        " WHERE organization = $1 AND principal = $2 AND route = $3 AND key = $4",
        organization,
        principal,
        route,
        key,
    )
    return None if row is None else (row["body_sha256"], row["response"])


async def remember_command(
    conn: Connection,
    organization: str,
    principal: str,
    route: str,
    key: str,
    body_sha256: bytes,
    response: Any,
) -> None:
    """Keep the response of a command that this transaction carried out."""
    await conn.execute(
        "INSERT INTO idempotency (organization, principal, route, key, body_sha256, response)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        organization,
        principal,
        route,
        key,
        body_sha256,
        response,
    )


async def forget_commands(conn: Connection, before: datetime) -> int:
    """Delete responses kept since before an instant; how many those were."""
    result: str = await conn.execute("DELETE FROM idempotency WHERE created_at < $1", before)
    return int(result.rpartition(" ")[2])


# Reading


_REVIEW_COLUMNS = """
    review.review_id::text, review.campaign_id::text,
    CASE WHEN review.campaign_id IS NULL THEN 'micro' ELSE 'campaign' END AS kind,
    review.worker, worker.name AS worker_name, review.reviewer, review.reviewer_rule,
    review.status, review.opened_at, review.due_at, review.closed_at, review.reason,
    counted.lines, counted.undecided
"""
_REVIEW_SOURCES = """
    review
    LEFT JOIN worker ON worker.organization = review.organization AND worker.worker = review.worker
    CROSS JOIN LATERAL (
        SELECT count(*) AS lines, count(*) FILTER (WHERE line.status = 'undecided') AS undecided
        FROM line WHERE line.review_id = review.review_id
    ) AS counted
"""


async def list_reviews(
    conn: Connection,
    organization: str,
    *,
    status: str | None,
    reviewer: str | None,
    worker: str | None,
    campaign_id: UUID | None,
    only_for: Collection[str] | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Reviews by due date; `only_for` narrows them to those of one reviewer, by all their ids."""
    due_at, review_id = after or (None, None)
    rows = await conn.fetch(
        f"""
        SELECT {_REVIEW_COLUMNS} FROM {_REVIEW_SOURCES}
        WHERE review.organization = $1
            AND ($2::text IS NULL OR review.status = $2)
            AND ($3::text IS NULL OR review.reviewer = $3)
            AND ($4::text IS NULL OR review.worker = $4)
            AND ($5::uuid IS NULL OR review.campaign_id = $5)
            AND ($6::text[] IS NULL OR review.reviewer = ANY($6))
            AND ($7::timestamptz IS NULL OR (review.due_at, review.review_id) > ($7, $8::uuid))
        ORDER BY review.due_at, review.review_id LIMIT $9
        """,
        organization,
        status,
        reviewer,
        worker,
        campaign_id,
        None if only_for is None else list(only_for),
        due_at,
        review_id,
        limit,
    )
    return [dict(row) for row in rows]


async def read_review(
    conn: Connection, organization: str, review_id: UUID
) -> dict[str, Any] | None:
    """One review with its lines, by portal, TIN and function."""
    row = await conn.fetchrow(
        f"SELECT {_REVIEW_COLUMNS} FROM {_REVIEW_SOURCES}"
        " WHERE review.organization = $1 AND review.review_id = $2",
        organization,
        review_id,
    )
    if row is None:
        return None
    lines = await conn.fetch(
        """
        SELECT line_id::text, portal, tin, function, grade, since, authorized_by, duties, operation_id,
            status, decision, decided_by, decided_at, reason, detail
        FROM line WHERE review_id = $1 ORDER BY portal, tin, function
        """,
        review_id,
    )
    return {**dict(row), "lines": [dict(line) for line in lines]}


async def list_campaigns(
    conn: Connection,
    organization: str,
    *,
    campaign_id: UUID | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Campaigns, newest first, with how far they are."""
    opened_at, last_id = before or (None, None)
    rows = await conn.fetch(
        """
        SELECT campaign.campaign_id::text, title, campaign.status, opened_by, campaign.opened_at,
            campaign.due_at, campaign.closed_at, policy_version,
            counted.*
        FROM campaign CROSS JOIN LATERAL (
            SELECT count(DISTINCT review.review_id) AS reviews,
                count(DISTINCT review.review_id) FILTER (WHERE review.status = 'closed')
                    AS reviews_closed,
                count(DISTINCT coalesce(review.reviewer, '')) FILTER (
                    WHERE review.review_id IS NOT NULL) AS reviewers,
                count(line.line_id) AS lines,
                count(*) FILTER (WHERE line.status = 'undecided') AS undecided,
                count(*) FILTER (WHERE line.status = 'kept') AS kept,
                count(*) FILTER (WHERE line.status = 'removal_decided') AS removal_decided,
                count(*) FILTER (WHERE line.status = 'removal_ordered') AS removal_ordered,
                count(*) FILTER (WHERE line.status = 'removal_confirmed') AS removal_confirmed,
                count(*) FILTER (WHERE line.status = 'moot') AS moot
            FROM review JOIN line USING (review_id)
            WHERE review.campaign_id = campaign.campaign_id
        ) AS counted
        WHERE organization = $1
            AND ($2::uuid IS NULL OR campaign.campaign_id = $2)
            AND ($3::timestamptz IS NULL
                OR (campaign.opened_at, campaign.campaign_id) < ($3, $4::uuid))
        ORDER BY campaign.opened_at DESC, campaign.campaign_id DESC LIMIT $5
        """,
        organization,
        campaign_id,
        opened_at,
        last_id,
        limit,
    )
    return [dict(row) for row in rows]


async def count_open(conn: Connection) -> dict[str, int]:
    """How many campaigns and reviews are not closed, for the status page."""
    row = await conn.fetchrow(
        """
        SELECT (SELECT count(*) FROM campaign WHERE status <> 'closed') AS campaigns,
            (SELECT count(*) FROM review WHERE status <> 'closed') AS reviews
        """
    )
    assert row is not None
    return dict(row)
