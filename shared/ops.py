"""What every service shows its operators: health, readiness, status, metrics, accepting a gap."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
from aiokafka.errors import KafkaError
from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from shared.answers import answers_with
from shared.auth import Authenticator, Principal
from shared.contracts.envelope import event_key
from shared.contracts.facts import fact
from shared.contracts.topics import ACCESS_EVENTS
from shared.errors import Problem
from shared.kafka import BatchConsumer, Gap
from shared.outbox import depth, enqueue
from shared.postgres import Connection

READY_SECONDS = 5
"""Whoever asks whether we are ready does not wait as long as Kafka's client would."""


class AcceptGap(BaseModel):
    """A refused partition that may go on although records of it were not read."""

    group: str
    topic: str
    partition: int


def ops_router(
    *,
    service: str,
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    consumers: dict[str, BatchConsumer[Any]],
    more_status: Callable[[Connection], Awaitable[dict[str, Any]]] | None = None,
    on_gap_accepted: Callable[[Connection, Gap], Awaitable[None]] | None = None,
) -> APIRouter:
    """The operational routes of one service.

    Args:
        consumers: by group.
        more_status: what the service adds to its status, e.g. work it still has to do.
        on_gap_accepted: what else it does in the transaction that accepts a gap.
    """
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"service": service, "status": "alive"}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        problems: list[str] = []
        try:
            async with pool.acquire(timeout=READY_SECONDS) as conn:
                await conn.fetchval("SELECT 1", timeout=READY_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            problems.append(f"PostgreSQL does not answer: {type(error).__name__}")
        for group, consumer in consumers.items():
            try:
                for row in await consumer.refusals():
                    problems.append(
                        f"{group} stopped on {row['topic']}/{row['partition']}:"
                        f" {row['reason']}: {row['detail']}"
                    )
                async with asyncio.timeout(READY_SECONDS):
                    await consumer.status()
            except Exception as error:
                problems.append(f"{group} has no answer from Kafka: {type(error).__name__}")
        return JSONResponse(
            {"service": service, "ready": not problems, "problems": problems},
            status_code=503 if problems else 200,
        )

    @router.get("/metrics", **answers_with("text/plain"))
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/ops/v1/status")
    async def status(
        _who: Annotated[
            Principal, Depends(authenticator.requires("ops:admin", "access:read", "audit:read"))
        ],
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            waiting = await depth(conn)
            more = await more_status(conn) if more_status is not None else {}
        return {
            "service": service,
            "outbox": waiting,
            "consumers": [await _standing(*each) for each in consumers.items()],
            **more,
        }

    @router.post("/ops/v1/accept-gap")
    async def accept_gap(
        body: AcceptGap,
        who: Annotated[Principal, Depends(authenticator.requires("ops:admin", fresh=True))],
    ) -> dict[str, Any]:
        consumer = consumers.get(body.group)
        if consumer is None:
            raise Problem(404, "no_such_group", f"{service} has the groups {sorted(consumers)}.")

        async def record_fact(conn: Connection, gap: Gap, reason: str) -> None:
            if on_gap_accepted is not None:
                await on_gap_accepted(conn, gap)
            now = datetime.now(UTC)
            await enqueue(
                conn,
                [
                    fact(
                        ACCESS_EVENTS,
                        "gap.accepted",
                        source=f"/portalkeeper/{service}",
                        organization=who.organization,
                        key=event_key(who.organization),
                        subject=f"{gap.topic}/{gap.partition}",
                        # Accepting the same gap after another accident is another fact.
                        cause=(body.group, gap.topic, str(gap.partition), reason, str(now)),
                        time=now,
                        data={
                            "group": body.group,
                            "topic": gap.topic,
                            "partition": gap.partition,
                            "first": gap.first,
                            "last": gap.last,
                            "reason": reason,
                            "accepted_by": who.subject,
                        },
                    )
                ],
            )

        try:
            gap = await consumer.accept_gap(body.topic, body.partition, record_fact)
        except LookupError as error:
            raise Problem(404, "not_refused", str(error.args[0])) from error
        except (KafkaError, TimeoutError) as error:
            raise Problem(
                503, "kafka_unavailable", "Kafka does not answer; ask again when it does."
            ) from error
        return {"topic": gap.topic, "partition": gap.partition, "next_offset": gap.last + 1}

    return router


async def _standing(group: str, consumer: BatchConsumer[Any]) -> dict[str, Any]:
    """How far a group is; of one that Kafka does not answer, that."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            return await consumer.status()
    except (KafkaError, TimeoutError) as error:
        problem = f"no answer from Kafka: {type(error).__name__}"
        return {"group": group, "partitions": [], "problem": problem}
