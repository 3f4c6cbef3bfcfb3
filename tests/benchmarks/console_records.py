"""How long the console's pages of reviews and of the audit log take, where there is very much.

One campaign whose reviewers have more than a thousand lines each, and a log whose first entries
were copied again and again.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.keys import make_secrets
from services.audit_log import store
from services.audit_log.api import Reading
from services.audit_log.crypto import KeyStore
from services.audit_log.rules.terms import SECRET_LABEL, Terms
from services.review_scheduler.store.counts import count_lines
from services.review_scheduler.store.coverage import note_decided
from shared.clock import DatabaseClock
from shared.postgres import create_pool
from shared.tlog.note import Checkpoint, SignerKey
from tests.benchmarks.audit_append import ORGANIZATION as LOGGED_ORGANIZATION
from tests.benchmarks.audit_append import ORIGIN
from tests.benchmarks.audit_search import fill_log
from tests.benchmarks.console_pages import ask, gateway, until_ready
from tests.benchmarks.reviewing import open_campaign
from tests.review_scheduler.worlds import ORGANIZATION

REVIEW_PORT, AUDIT_PORT = 18185, 18186
REVIEWER = "w0000002"
SOMEBODY = "W-00042"
MASTER_KEY = bytes(32)

OF_REVIEWERS = (
    "/reviews",
    "/reviews?status=closed",
    "/reviews/bulk?advice=keep",
    "/reviews/bulk?portal=portal-0&function=claim_status",
    "/reviews/questions",
    "/reviews/{review}",
)
OF_COMPLIANCE = (
    "/reviews",
    "/reviews/campaigns",
    "/reviews/campaigns/{campaign}",
    "/reviews/compliance",
)
OF_AUDITORS = (
    "/audit",
    f"/audit?worker={SOMEBODY}",
    f"/audit?worker={SOMEBODY}&type=worker.changed",
    "/audit?worker=W-none",
    "/audit?type=worker.changed",
    f"/audit?text=specialist+{SOMEBODY}+main",
    "/audit?cursor={middle}",
    "/audit/{middle}",
    "/audit/{middle}/proof",
    "/audit/checkpoints",
    "/audit/exports",
    "/audit/holds",
)


async def measure_reviews(
    kafka: str, dsns: Mapping[str, str], folder: Path, *, lines: int, say: Any
) -> dict[str, list[float]]:
    """Look at every page of a campaign of so many lines as a reviewer and as an overseer.

    All but one of the reviewers have decided a quarter of theirs.
    """
    pool = await create_pool(dsns["review_scheduler"])
    try:
        await open_campaign(pool, DatabaseClock(), lines)
        await _decide(pool)
        [(review, campaign)] = await pool.fetch(
            "SELECT review_id::text, campaign_id::text FROM review WHERE reviewer = $1 LIMIT 1",
            REVIEWER,
        )
    finally:
        await pool.close()
    url = f"http://127.0.0.1:{REVIEW_PORT}"
    process = _process("services.review_scheduler.main", kafka, folder, url, {
        "DATABASE_URL": dsns["review_scheduler"], "PORT": REVIEW_PORT,
    })  # fmt: skip
    async with process, gateway(kafka, dsns, folder, review=url) as signed_in:
        reviewer = await signed_in(ORGANIZATION, [f"reviewer={REVIEWER}"])
        seconds = await ask(reviewer, [page.format(review=review) for page in OF_REVIEWERS], say)
        overseer = await signed_in(ORGANIZATION, ["review_manager", "compliance"])
        pages = [page.format(campaign=campaign) for page in OF_COMPLIANCE]
        overseen = await ask(overseer, pages, say)
    return seconds | {f"{page} (overseer)": each for page, each in overseen.items()}


DECIDE = """
    UPDATE line SET status = 'kept', decision = 'keep', decided_by = review.reviewer,
        decided_at = review.opened_at + random() * interval '7 days'
    FROM review
    WHERE review.review_id = line.review_id AND review.reviewer <> $1
        AND line.function = 'claim_status'
    RETURNING line.review_id, line.line_id
"""


async def _decide(pool: asyncpg.Pool[Any]) -> None:
    """Keep a quarter of the lines, which one by one takes ten minutes; counted as always."""
    async with pool.acquire() as conn, conn.transaction():
        rows = await conn.fetch(DECIDE, REVIEWER)
        await count_lines(conn, {row["review_id"] for row in rows})
        now = await DatabaseClock().now(conn)
        await note_decided(conn, [row["line_id"] for row in rows], now)
    # As autovacuum would have it by and by.
    await pool.execute("VACUUM ANALYZE review, line, holding, pace, coverage")


async def measure_audit(
    kafka: str, dsns: Mapping[str, str], folder: Path, *, entries: int, say: Any
) -> dict[str, list[float]]:
    """Fill a log with so many entries, sign it, and look at every page of it."""
    pool = await create_pool(dsns["audit_log"], max_size=2)
    search_pool = await create_pool(dsns["audit_search"], max_size=2)
    keys = KeyStore(folder / "keystore", MASTER_KEY)
    try:
        await fill_log(pool, search_pool, keys, entries, say)
        terms = Terms(keys.derive(SECRET_LABEL))
        async with pool.acquire() as conn:
            reading = Reading(pool, keys, DatabaseClock(), ORIGIN, terms)
            root = await reading.root(conn, entries)
    finally:
        await search_pool.close()
        await pool.close()
    await _sign(dsns["audit_signer"], entries, root)
    master_key = folder / "master.key"
    master_key.write_text(base64.b64encode(MASTER_KEY).decode())
    url = f"http://127.0.0.1:{AUDIT_PORT}"
    process = _process("services.audit_log.main", kafka, folder, url, {
        "AUDIT_EXPORTS_DIR": folder / "exports",
        "AUDIT_KEYSTORE_DIR": folder / "keystore",
        "AUDIT_MASTER_KEY_FILE": master_key,
        "DATABASE_URL": dsns["audit_log"],
        "LOG_ORIGIN": ORIGIN,
        "PORT": AUDIT_PORT,
    })  # fmt: skip
    async with process, gateway(kafka, dsns, folder, audit=url) as signed_in:
        auditor = await signed_in(LOGGED_ORGANIZATION, ["compliance"])
        return await ask(auditor, [page.format(middle=entries // 2) for page in OF_AUDITORS], say)


async def _sign(dsn: str, size: int, root: bytes) -> None:
    key = SignerKey(ORIGIN, Ed25519PrivateKey.generate())
    note = key.sign(Checkpoint(ORIGIN, size, root).text())
    async with await create_pool(dsn, max_size=1) as pool, pool.acquire() as conn:
        signed = store.SignedCheckpoint(size, note, str(key.verifier))
        await store.store_checkpoint(conn, signed)


@asynccontextmanager
async def _process(
    module: str, kafka: str, folder: Path, url: str, told: Mapping[str, object]
) -> AsyncIterator[None]:
    """A service as it runs in production, until it answers; stopped at the end."""
    secrets = make_secrets(folder / "secrets")
    told = {"KAFKA": kafka, "JWKS_FILE": secrets.jwks, **told}
    environment = os.environ | {f"PORTALKEEPER_{name}": str(value) for name, value in told.items()}
    with (folder / f"{module}.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env=environment, stderr=log, stdout=log
        )
    try:
        await until_ready(url)
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)
