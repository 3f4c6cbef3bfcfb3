"""The peer: what a competent team would write first, given every chance.

One message per handler call, a pydantic model, one transaction per message: inbox insert, worker
upsert, three account upserts, three outbox inserts. Tried acknowledging each message, leaving the
Kafka commits to a timer, and with six workers; the best of the three is what we compare with.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import date
from typing import Any

import asyncpg
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from pydantic import BaseModel

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS peer;
CREATE TABLE IF NOT EXISTS peer.inbox (id text PRIMARY KEY, received_at timestamptz DEFAULT now());
CREATE TABLE IF NOT EXISTS peer.worker (
    worker text PRIMARY KEY, title text, department text, name text, version int DEFAULT 1
);
CREATE TABLE IF NOT EXISTS peer.account (
    worker text, portal text, status text, updated_at timestamptz, PRIMARY KEY (worker, portal)
);
CREATE TABLE IF NOT EXISTS peer.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic text, key text, value jsonb
);
"""
PORTALS = ("portal-0", "portal-1", "portal-2")


class HrEvent(BaseModel):
    """What the handler needs of any HR event."""

    employment_id: str | None = None
    effective_on: date | None = None
    title: str | None = None
    department: str | None = None
    sites: list[str] | None = None
    supervisor: str | None = None
    kind: str | None = None
    name: str | None = None
    email: str | None = None
    module: str | None = None


VARIANTS: dict[str, dict[str, Any]] = {
    "acknowledging each": {"ack_policy": AckPolicy.NACK_ON_ERROR},
    "commits by timer": {"ack_policy": AckPolicy.ACK_FIRST},
    "six workers": {"ack_policy": AckPolicy.ACK_FIRST, "max_workers": 6},
}


async def prepare_peer(admin_dsn: str) -> None:
    """Make the peer's empty tables."""
    conn = await asyncpg.connect(admin_dsn)
    await conn.execute("DROP SCHEMA IF EXISTS peer CASCADE")
    await conn.execute(SCHEMA)
    await conn.close()


async def run_peer(
    kafka: str, dsns: Mapping[str, str], topic: str, count: int, variant: str
) -> float:
    """Events a second of one variant over the first `count` messages."""
    await prepare_peer(dsns["admin"])
    pool = await asyncpg.create_pool(dsns["admin"], min_size=8, max_size=8)
    broker = KafkaBroker(kafka, logger=None)
    done = asyncio.Event()
    handled = 0

    async def handle(event: HrEvent, message: KafkaMessage) -> None:
        nonlocal handled
        id_ = message.headers["ce_id"]
        worker = message.headers["ce_subject"]
        async with pool.acquire() as conn, conn.transaction():
            fresh = await conn.fetchval(
                "INSERT INTO peer.inbox (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id", id_
            )
            if fresh is not None:
                await conn.execute(
                    "INSERT INTO peer.worker (worker, title, department, name)"
                    " VALUES ($1, $2, $3, $4) ON CONFLICT (worker) DO UPDATE SET"
                    " title = coalesce(excluded.title, peer.worker.title),"
                    " department = coalesce(excluded.department, peer.worker.department),"
                    " name = coalesce(excluded.name, peer.worker.name),"
                    " version = peer.worker.version + 1",
                    worker,
                    event.title,
                    event.department,
                    event.name,
                )
                for portal in PORTALS:
                    await conn.execute(
                        "INSERT INTO peer.account (worker, portal, status, updated_at)"
                        " VALUES ($1, $2, 'requested', now()) ON CONFLICT (worker, portal)"
                        " DO UPDATE SET status = excluded.status, updated_at = now()",
                        worker,
                        portal,
                    )
                for portal in PORTALS:
                    await conn.execute(
                        "INSERT INTO peer.outbox (topic, key, value) VALUES ($1, $2, $3)",
                        "portal.access-events.v1",
                        worker,
                        json.dumps({"worker": worker, "portal": portal, "cause": id_}),
                    )
        handled += 1
        if handled >= count:
            done.set()

    subscriber = broker.subscriber(
        topic, group_id=f"peer-{variant}-{time.monotonic_ns()}", auto_offset_reset="earliest",
        **VARIANTS[variant],
    )  # fmt: skip
    subscriber(handle)
    began = time.perf_counter()
    await broker.start()
    try:
        await asyncio.wait_for(done.wait(), 120)
        return count / (time.perf_counter() - began)
    finally:
        await broker.stop()
        await pool.close()
