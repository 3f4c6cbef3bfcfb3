import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from joserfc.jwk import OKPKey

from services.review_scheduler import rebuild
from services.review_scheduler.main import build_app
from services.review_scheduler.settings import Settings
from shared.contracts.review import REVIEW_EVENT_MODELS
from shared.contracts.topics import DIRECTORY_EVENTS, REVIEW_EVENTS, WORKER_STATE
from shared.errors import Unusable
from shared.outbox import run_relay
from tests.review_scheduler.clinic import CAMPAIGNS, REVIEWS, Clinic, deciding
from tests.review_scheduler.worlds import (
    ORGANIZATION,
    directory_record,
    holds,
    organization,
    state,
    state_record,
)

R = TypeVar("R")
PATIENCE_SECONDS = 30.0


async def eventually(ask: Callable[[], Awaitable[R]]) -> R:
    """The first truthy answer."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        if answer := await ask():
            return answer
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)


async def publish(kafka: str, *records: Any) -> None:
    """Put records on their topics."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        for record in records:
            await producer.send_and_wait(
                record.topic, record.value, key=record.key, headers=list(record.headers)
            )


async def read_reviews(kafka: str, number: int) -> list[tuple[str, dict[str, Any]]]:
    """The first of our organization's review events, with their types."""
    found: list[tuple[str, dict[str, Any]]] = []
    consumer = AIOKafkaConsumer(
        REVIEW_EVENTS.name, bootstrap_servers=kafka, auto_offset_reset="earliest"
    )
    async with asyncio.timeout(PATIENCE_SECONDS), consumer:
        async for record in consumer:
            headers = {name: value.decode() for name, value in record.headers}
            if headers["ce_organization"] == ORGANIZATION:
                assert record.key.decode().startswith(f"{ORGANIZATION}/")
                found.append((headers["ce_type"], orjson.loads(record.value)))
                if len(found) == number:
                    return found
    raise AssertionError("unreachable")


async def forget_everything(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    tables = "campaign, review, line, delegation, question, worker, directory_object"
    await conn.execute(f"TRUNCATE {tables}, source_offset, timer, outbox, outbox_key CASCADE")
    await conn.close()


async def reviews_told(dsn: str) -> list[Any]:
    conn = await asyncpg.connect(dsn)
    rows = await conn.fetch(
        "SELECT campaign.closed_at, worker, reviewer, review.status, portal, decision, removed_at"
        " FROM campaign JOIN review USING (campaign_id) JOIN line USING (review_id)"
        " WHERE campaign.organization = $1",
        ORGANIZATION,
    )
    await conn.close()
    return rows


async def test_states_from_kafka_become_reviews_go_back_to_it_and_can_be_read_from_it(
    prepared_kafka: str, fresh_database: Mapping[str, str], tmp_path: Path
) -> None:
    key = OKPKey.generate_key("Ed25519", {"kid": "k1"})
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    dsn = fresh_database["review_scheduler"]
    settings = Settings(kafka=prepared_kafka, database_url=dsn, jwks_file=jwks)
    app = await build_app(settings)
    await publish(
        prepared_kafka,
        directory_record("organization", ORGANIZATION, organization()),
        state_record(state("sam", supervisor=None)),
        state_record(state("ana", access=[holds("noridian")])),
    )
    relay = asyncio.create_task(run_relay(dsn, prepared_kafka))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as http,
        ):
            clinic = Clinic(http, key)

            async def caught_up() -> bool:
                ready = (await http.get("/readyz")).status_code == 200
                status = (await clinic.ask("GET", "/ops/v1/status", scopes="ops:admin")).json()
                lags = [
                    partition["lag"]
                    for consumer in status["consumers"]
                    for partition in consumer["partitions"]
                ]
                topics = DIRECTORY_EVENTS.partitions + WORKER_STATE.partitions
                return ready and len(lags) == topics and not any(lag != 0 for lag in lags)

            await eventually(caught_up)
            opened = await clinic.ask("POST", CAMPAIGNS, {}, scopes="review:admin")
            assert opened.status_code == 201

            async def asked() -> Any:
                return (await clinic.ask("GET", REVIEWS)).json()["reviews"]

            await eventually(asked)
            review = await clinic.only_review()
            path = f"{REVIEWS}/{review['review_id']}/decisions"
            await clinic.ask("POST", path, deciding(review, "remove"))
            await publish(prepared_kafka, state_record(state("ana", 2)))
            said = await read_reviews(prepared_kafka, 7)
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay

    types = [type for type, _ in said]
    assert sorted(types) == [
        "campaign.closed",
        "campaign.opened",
        "review.closed",
        "review.decided",
        "review.opened",
        "review.read",
        "review.removed",
    ]
    for type, data in said:
        REVIEW_EVENT_MODELS[type].model_validate(data)

    told = await reviews_told(dsn)
    with pytest.raises(Unusable, match="only an empty one is written anew"):
        await rebuild.run(settings)
    await forget_everything(dsn)
    await rebuild.run(settings)
    assert await reviews_told(dsn) == told
    assert len(told) == 1
