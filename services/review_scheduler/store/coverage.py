"""What is held now and when somebody last decided about it, counted as it changes."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from services.review_scheduler.store.workers import WorkerPicture
from shared.postgres import Connection

_COUNT = """
    change AS (
        SELECT organization, portal, decided_on, sum(held)::bigint AS held FROM moved
        GROUP BY organization, portal, decided_on HAVING sum(held) <> 0
    ), taken AS (
        DELETE FROM coverage WHERE id IN (
            SELECT id FROM coverage JOIN change USING (organization, portal, decided_on)
            FOR UPDATE OF coverage SKIP LOCKED
        ) RETURNING organization, portal, decided_on, held
    )
    INSERT INTO coverage (organization, portal, decided_on, held)
    SELECT organization, portal, decided_on, sum(held)
    FROM (TABLE change UNION ALL TABLE taken) AS counted
    GROUP BY organization, portal, decided_on HAVING sum(held) <> 0
"""
"""Adds what `moved` says (organization, portal, decided_on, held) without waiting for anybody."""


async def store_holdings(conn: Connection, pictures: Sequence[WorkerPicture]) -> None:
    """Have workers, whose rows are locked, hold what their pictures say and nothing else."""
    held = {
        (each.organization, each.worker, *holding.target): holding.entitlement.since
        for each in pictures
        for holding in each.effective
    }
    await conn.execute(
        f"""
        WITH said AS (
            SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                $8::timestamptz[])
                AS said (organization, worker, portal, tin, function, since)
        ), kept AS (
            UPDATE holding SET since = said.since FROM said
            WHERE (holding.organization, holding.worker, holding.portal, holding.tin,
                    holding.function)
                = (said.organization, said.worker, said.portal, said.tin, said.function)
                AND holding.since IS DISTINCT FROM said.since
        ), gone AS (
            DELETE FROM holding
            WHERE (organization, worker) IN (SELECT * FROM unnest($1::text[], $2::text[]))
                AND (organization, worker, portal, tin, function) NOT IN (
                    SELECT organization, worker, portal, tin, function FROM said)
            RETURNING organization, portal, decided_on
        ), come AS (
            INSERT INTO holding (organization, worker, portal, tin, function, since, decided_on)
            SELECT said.*, coalesce((
                SELECT max(line.decided_at AT TIME ZONE 'UTC')::date
                FROM review JOIN line USING (review_id)
                WHERE (review.organization, review.worker) = (said.organization, said.worker)
                    AND (line.portal, line.tin, line.function)
                        = (said.portal, said.tin, said.function)
            ), '-infinity')
            FROM said WHERE NOT EXISTS (
                SELECT FROM holding
                WHERE (holding.organization, holding.worker, holding.portal, holding.tin,
                        holding.function)
                    = (said.organization, said.worker, said.portal, said.tin, said.function))
            RETURNING organization, portal, decided_on
        ), moved AS (
            SELECT *, 1 AS held FROM come UNION ALL SELECT *, -1 AS held FROM gone
        ), {_COUNT}
        """,
        [each.organization for each in pictures],
        [each.worker for each in pictures],
        *([key[place] for key in held] for place in range(5)),
        list(held.values()),
    )


async def note_decided(conn: Connection, line_ids: Collection[UUID], decided_at: datetime) -> None:
    """Note that what lines are about, of workers whose rows are locked, was decided at an instant.

    Args:
        decided_at: no earlier than any decision before (UTC).
    """
    await conn.execute(
        f"""
        WITH decided AS (
            SELECT holding.* FROM line JOIN review USING (review_id)
                JOIN holding USING (organization, worker, portal, tin, function)
            WHERE line_id = ANY($1::uuid[]) AND holding.decided_on <> $2
        ), noted AS (
            UPDATE holding SET decided_on = $2 FROM decided
            WHERE (holding.organization, holding.worker, holding.portal, holding.tin,
                    holding.function)
                = (decided.organization, decided.worker, decided.portal, decided.tin,
                    decided.function)
            RETURNING holding.organization, holding.portal, decided.decided_on AS before
        ), moved AS (
            SELECT organization, portal, $2::date AS decided_on, 1 AS held FROM noted
            UNION ALL SELECT organization, portal, before, -1 FROM noted
        ), {_COUNT}
        """,
        list(line_ids),
        decided_at.date(),
    )


async def coverage_by_portal(
    conn: Connection, organization: str, since: date
) -> list[dict[str, Any]]:
    """Per portal: entitlements held now, and those decided on that day (UTC) or later."""
    rows = await conn.fetch(
        """
        SELECT portal, sum(held)::bigint AS held,
            coalesce(sum(held) FILTER (WHERE decided_on >= $2), 0)::bigint AS reviewed
        FROM coverage WHERE organization = $1
        GROUP BY portal HAVING sum(held) > 0 ORDER BY portal
        """,
        organization,
        since,
    )
    return [dict(row) for row in rows]


async def unreviewed(
    conn: Connection, organization: str, since: date, limit: int
) -> list[dict[str, Any]]:
    """Entitlements held now that nobody decided on that day (UTC) or later.

    First those on which nobody ever decided, then those decided on longest ago; of one day, those
    held longest. `asked` tells whether an open review asks about it now.
    """
    rows = await conn.fetch(
        """
        SELECT left_over.worker, worker.name AS worker_name, left_over.portal, left_over.tin,
            left_over.function, left_over.since,
            EXISTS (
                SELECT FROM review JOIN line USING (review_id)
                WHERE review.organization = $1 AND review.worker = left_over.worker
                    AND review.status = 'open' AND line.status = 'undecided'
                    AND (line.portal, line.tin, line.function)
                        = (left_over.portal, left_over.tin, left_over.function)
            ) AS asked
        FROM (
            SELECT * FROM holding WHERE organization = $1 AND decided_on < $2
            ORDER BY decided_on, since NULLS FIRST, worker, portal, tin, function LIMIT $3
        ) AS left_over JOIN worker USING (organization, worker)
        ORDER BY decided_on, since NULLS FIRST, worker, portal, tin, function
        """,
        organization,
        since,
        limit,
    )
    return [dict(row) for row in rows]
