"""How a campaign of many lines opens in the background, and how fast many lines are decided.

Each worker holds eight functions; each supervisor has two hundred workers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from services.review_scheduler.handlers.bulk import Selection, decide_in_bulk, select_lines
from services.review_scheduler.handlers.calendars import plan_of
from services.review_scheduler.handlers.campaigns import (
    known_directory,
    open_by_command,
    open_next_chunk,
)
from services.review_scheduler.handlers.picture import PictureHandler
from services.review_scheduler.store import views
from shared.auth import Principal
from shared.clock import DatabaseClock
from shared.contracts.review_policy import CampaignCalendar
from shared.kafka import Batch, Item
from shared.postgres import Connection, create_pool, in_transaction
from tests.review_scheduler.worlds import ORGANIZATION, directory_record, organization

LINES_PER_WORKER = 8
WORKERS_PER_SUPERVISOR = 200
BULKS = 20
BULK_LINES = 1_000
"""As many as one command takes."""

LOAD = """
    INSERT INTO worker (organization, worker, epoch, version, status, name, supervisor, role,
        effective)
    SELECT $1, 'w' || lpad(number::text, 7, '0'), 1, 1, 'active', 'Name ' || number,
        CASE WHEN number > $3 THEN 'w' || lpad((number % $3 + 1)::text, 7, '0') END,
        '{"titles": ["Biller"], "duties": ["billing"], "sites": ["main"], "supervisors": []}',
        (SELECT jsonb_agg(jsonb_build_object('portal', 'portal-' || place / 4, 'entitlement',
            jsonb_build_object('tin', '91-1234567', 'function', function, 'grade', 'roster',
                'since', '2026-01-05T16:00:00Z', 'operation_id', gen_random_uuid()::text,
                'authorized_by', jsonb_build_object('kind', 'policy', 'reference', 'v1',
                    'by', 'Dr. Ada Fox'))))
         FROM unnest(ARRAY['eligibility', 'benefits', 'claim_status', 'remittance', 'eligibility',
            'benefits', 'claim_status', 'remittance']) WITH ORDINALITY AS held (function, place))
    FROM generate_series(1, $2::int) AS number
"""


@dataclass(slots=True)
class Reviewed:
    """Lines of the campaign, seconds of each transaction that opened a part, and what followed.

    `shown` is how long the campaign's page took when it was open; `bulks` how long bulk decisions
    of `BULK_LINES` lines took.
    """

    lines: int
    chunks: list[float] = field(default_factory=list)
    shown: float = 0.0
    bulks: list[float] = field(default_factory=list)
    decided: int = 0


async def measure(dsns: Mapping[str, str], lines: int) -> Reviewed:
    """Open one campaign over so many lines, look at it, and decide on some in bulk."""
    pool = await create_pool(dsns["review_scheduler"], max_size=4)
    clock = DatabaseClock()
    try:
        found = Reviewed(0, await open_campaign(pool, clock, lines))
        async with pool.acquire() as conn:
            started = time.perf_counter()
            (campaign,) = await views.list_campaigns(
                conn, ORGANIZATION, campaign_id=None, before=None, limit=1
            )
            found.shown = time.perf_counter() - started
        found.lines = campaign["lines"]
        await _decide(pool, clock, found)
        return found
    finally:
        await pool.close()


async def open_campaign(pool: asyncpg.Pool[Any], clock: DatabaseClock, lines: int) -> list[float]:
    """One campaign over so many lines; the seconds of each transaction that opened a part of it."""
    await _load(pool, lines // LINES_PER_WORKER)
    await _know_the_organization(pool, clock)

    async def begin(conn: Connection) -> None:
        directory = await known_directory(conn, ORGANIZATION)
        calendar = CampaignCalendar(id="bench", name="Bench", every="quarter")
        plan = plan_of(calendar, directory, await clock.now(conn))
        await open_by_command(conn, clock, plan, "bench", directory)

    await in_transaction(pool, begin)
    chunks: list[float] = []
    while True:
        started = time.perf_counter()
        if not await open_next_chunk(pool, clock):
            return chunks
        chunks.append(time.perf_counter() - started)


async def _load(pool: asyncpg.Pool[Any], workers: int) -> None:
    async with pool.acquire() as conn:
        await conn.execute(LOAD, ORGANIZATION, workers, max(1, workers // WORKERS_PER_SUPERVISOR))
        # As autovacuum would have it by and by.
        await conn.execute("VACUUM ANALYZE worker")


async def _know_the_organization(pool: asyncpg.Pool[Any], clock: DatabaseClock) -> None:
    handler = PictureHandler(clock)
    record = directory_record("organization", ORGANIZATION, organization())
    item: Item[Any] = Item(record, handler.parse(record))
    await in_transaction(pool, lambda conn: handler.apply(conn, Batch([item], [])))


async def _decide(pool: asyncpg.Pool[Any], clock: DatabaseClock, found: Reviewed) -> None:
    """Supervisors keep what they are asked about, worker by worker and portal by portal."""
    async with pool.acquire() as conn:
        rows = await conn.fetch(
            "SELECT DISTINCT reviewer FROM review WHERE reviewer IS NOT NULL ORDER BY reviewer"
            " LIMIT $1",
            BULKS,
        )
    for row in rows:
        reviewer = row["reviewer"]
        who = Principal(ORGANIZATION, reviewer, reviewer, frozenset({"review:decide"}), reviewer)
        for portal in ("portal-0", "portal-1", "portal-2"):
            selection = Selection(portal=portal, function="claim_status")
            async with pool.acquire() as conn:
                lines, _ = await select_lines(conn, clock, who, selection)
                count = len(lines)
            if not 0 < count <= BULK_LINES:
                continue

            async def keep(
                conn: Connection,
                who: Principal = who,
                selection: Selection = selection,
                count: int = count,
            ) -> None:
                refused = await decide_in_bulk(conn, clock, who, selection, "keep", None, count)
                assert refused is None, refused

            started = time.perf_counter()
            await in_transaction(pool, keep)
            found.bulks.append(time.perf_counter() - started)
            found.decided += count
