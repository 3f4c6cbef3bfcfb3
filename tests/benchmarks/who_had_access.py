"""How soon "who had access then?" is answered, over HTTP, among many account histories.

Each account holds three functions, and a third of them ended once and began anew; the moments asked
about are spread over three years.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median

import asyncpg
import httpx
from fastapi import FastAPI
from joserfc.jwk import OKPKey

from services.provisioning.api.history import history_router
from services.provisioning.handlers.recompute import Recompute
from shared import problems
from shared.auth import Authenticator
from shared.clock import DatabaseClock
from shared.postgres import create_pool
from tests.benchmarks.provisioning import apply_directory
from tests.benchmarks.workload import ORGANIZATION
from tests.shared.tokens import token, write_keys

PORTALS = 10
QUESTIONS = 40
BEGAN = datetime(2023, 7, 1, tzinfo=UTC)
DAYS = 1_000

LOAD = """
    INSERT INTO entitlement_history (organization, worker, portal, tin, function, valid_from,
        valid_until, known_from, held_since, grade, authority_kind, authority_reference,
        authority_by, login_id, granted_by, source_id, said_by, source_event, ended_by,
        end_said_by, ending_event)
    SELECT $1, 'w' || worker, 'portal-' || portal, '12-3456789', function, begins,
        CASE WHEN span = 1 THEN begins + interval '200 days' ELSE 'infinity' END,
        begins, begins, (ARRAY['roster', 'api', 'person', 'assumed'])[1 + worker % 4],
        'policy', 'v' || worker % 5, 'Dr. Ada Fox', 'login' || worker, gen_random_uuid()::text,
        gen_random_uuid()::text, 'admin-1', gen_random_uuid(),
        CASE WHEN span = 1 THEN gen_random_uuid()::text END,
        CASE WHEN span = 1 THEN 'admin-1' END,
        CASE WHEN span = 1 THEN gen_random_uuid() END
    FROM generate_series(1, $2::int) AS worker, generate_series(0, $3::int - 1) AS portal,
        unnest(ARRAY['eligibility', 'claim_status', 'remittance']) AS function,
        generate_series(1, 2) AS span,
        LATERAL (SELECT $4::timestamptz + ((worker * 7919 + portal * 31) % 400 + (span - 1) * 260)
            * interval '1 day' AS begins) AS spans
    WHERE span = 2 OR worker % 3 = 0
"""

WORKERS = """
    INSERT INTO worker (organization, worker, cluster, name)
    SELECT $1, 'w' || number, 'w' || number, 'Name ' || number
    FROM generate_series(1, $2::int) AS number
"""


@dataclass(slots=True)
class Answered:
    """Seconds that answers took, and how many people they were about."""

    accounts: int
    rows: int = 0
    seconds: list[float] = field(default_factory=list)
    people: list[int] = field(default_factory=list)

    @property
    def median_people(self) -> float:
        """How many people half of the answers exceed."""
        return median(self.people)


async def measure(dsns: Mapping[str, str], folder: Path, accounts: int) -> Answered:
    """Load account histories, and ask for the first page with all counts."""
    pool = await create_pool(dsns["provisioning"], max_size=4)
    try:
        await apply_directory(pool)
        answered = Answered(accounts)
        answered.rows = await _load(dsns["provisioning"], accounts // PORTALS)
        key = OKPKey.generate_key("Ed25519", {"kid": "k"})
        app = FastAPI()
        problems.install(app)
        authenticator = Authenticator(write_keys(folder / "jwks.json", key))
        app.include_router(history_router(pool, authenticator, Recompute(DatabaseClock())))
        made = token(key, scope="access:read", org=ORGANIZATION)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://provisioning",
            headers={"authorization": f"Bearer {made}"},
        ) as http:
            await _ask(http, answered)
        return answered
    finally:
        await pool.close()


async def _load(dsn: str, workers: int) -> int:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(LOAD, ORGANIZATION, workers, PORTALS, BEGAN)
        await conn.execute(WORKERS, ORGANIZATION, workers)
        # As autovacuum would have it by and by.
        await conn.execute("VACUUM ANALYZE entitlement_history")
        await conn.execute("VACUUM ANALYZE worker")
        rows: int = await conn.fetchval("SELECT count(*) FROM entitlement_history")
        return rows
    finally:
        await conn.close()


async def _ask(http: httpx.AsyncClient, answered: Answered) -> None:
    random = Random(1)
    for number in range(QUESTIONS + 2):
        at = BEGAN + timedelta(days=random.randint(0, DAYS))
        asked = {
            "portal": f"portal-{random.randrange(3)}",
            "function": random.choice(["eligibility", "claim_status", "remittance"]),
            "at": at.isoformat(),
        }
        started = time.perf_counter()
        answer = await http.get("/access/v1/who-had-access", params=asked)
        took = time.perf_counter() - started
        answer.raise_for_status()
        if number >= 2:
            answered.seconds.append(took)
            answered.people.append(answer.json()["summary"]["people"])
