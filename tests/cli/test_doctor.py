"""Whatever is broken, `doctor` names it and says what to do about it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from deploy import looking
from deploy.installation import Installation
from deploy.looking import Place, look, place
from services.cli import doctor
from services.cli.client import Client, Exit
from shared.contracts.topics import TOPICS
from shared.errors import Rejected
from shared.kafka.dead_letters import dead_letter
from tests.audit_log.worlds import raw_record, serving
from tests.cli.conftest import Listening, Run
from tests.gateway.conftest import ORGANIZATION

WELL: dict[str, Any] = {
    "outbox": 0,
    "consumers": [{"group": "g", "partitions": [{"lag": 3}, {"lag": None}]}],
    "notifications": {"reaches_anybody": True, "late": 0},
}


async def checks(
    problems: list[str] | None = None, status: int = 200, **changes: Any
) -> dict[str, doctor.Check]:
    """What doctor finds of a gateway that says this of itself."""
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> JSONResponse:
        return JSONResponse({"problems": problems or []}, 503 if problems else 200)

    @app.get("/ops/v1/status")
    async def standing() -> JSONResponse:
        problem = {"code": "unauthorized", "detail": "The token is not valid; sign in again."}
        return JSONResponse(WELL | changes if status == 200 else problem, status)

    async with serving(app) as url:
        client = Client(url, "token", "harbor", {"gateway": url})
        found = await anyio.to_thread.run_sync(lambda: list(doctor._service(client, "gateway")))
    return {each.what: each for each in found}


async def test_a_service_that_is_well_is_said_to_be_so() -> None:
    assert {each.state for each in (await checks()).values()} == {"ok"}


@pytest.mark.parametrize(
    ("broken", "what", "state", "next_step"),
    [
        ({"problems": ["g stopped on hr/0: shorter"]}, "The gateway", "failed", "accept-gap"),
        ({"status": 401}, "The gateway: keys", "failed", "jwks.json"),
        (
            {"consumers": [{"group": "g", "partitions": [{"lag": 5_000}]}]},
            "The gateway: lag",
            "warning",
            "look at its log",
        ),
        ({"outbox": 5_000}, "The gateway: lag", "warning", "relay"),
        (
            {"notifications": {"reaches_anybody": False, "late": 0}},
            "notifications",
            "warning",
            "PORTALKEEPER_NOTIFY_FILE",
        ),
        (
            {"notifications": {"reaches_anybody": True, "late": 4}},
            "notifications",
            "failed",
            "whether the notifier runs",
        ),
    ],
)
async def test_what_is_broken_is_named_with_what_to_do(
    broken: dict[str, Any], what: str, state: str, next_step: str
) -> None:
    found = (await checks(**broken))[what]
    assert found.state == state
    assert next_step in found.next_step


def test_clocks_that_are_apart_are_told() -> None:
    def check(seconds: float) -> doctor.Check:
        there = datetime.now(UTC) + timedelta(seconds=seconds)
        return doctor._clock("x", httpx.Response(200, headers={"date": format_datetime(there)}))

    assert check(0).state == "ok"
    assert (check(90).state, "time server" in check(90).next_step) == ("failed", True)
    assert doctor._clock("x", httpx.Response(200)).state == "warning"


async def test_a_missing_migration_and_a_missing_key_are_named(
    prepared_kafka: str, fresh_database: Mapping[str, str], tmp_path: Path
) -> None:
    conn = await asyncpg.connect(fresh_database["admin"])
    await conn.execute("DELETE FROM public._pogo_migration WHERE migration_id = '0014-deliveries'")
    await conn.close()
    gone = str(tmp_path / "body.key")
    seen = await look(Place(prepared_kafka, fresh_database["admin"], (gone,)))
    found = {each.what: each for each in seen}
    assert "gateway/0014-deliveries" in (found["migrations"].problem or "")
    assert "deploy.prepare" in found["migrations"].next_step
    assert gone in (found["keys"].problem or "")
    assert "backup" in found["keys"].next_step
    assert found["topics"].problem is None


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Installation:
    """A checkout's installation that has been started once."""
    installation = Installation(tmp_path)
    installation.secrets.mkdir()
    monkeypatch.setattr(looking, "Installation", partial(Installation, tmp_path))
    return installation


@pytest.mark.parametrize("gateway", [None, "http://127.0.0.1:8080", "http://localhost:8080/"])
def test_the_servers_of_a_checkout_are_looked_at_for_its_own_session(
    own: Installation, gateway: str | None
) -> None:
    found = place({}, gateway)
    assert found is not None
    assert found.kafka == own.kafka


@pytest.mark.parametrize("gateway", ["https://access.harbor.example", "http://127.0.0.1:9080"])
def test_the_servers_of_a_checkout_are_left_alone_when_signed_in_elsewhere(
    own: Installation, gateway: str
) -> None:
    assert own.secrets.exists()
    (check,) = doctor._servers(gateway)
    assert (check.state, gateway in check.detail) == ("warning", True)
    assert "where it is installed" in check.next_step
    named = {"PORTALKEEPER_KAFKA": "kafka:9092", "PORTALKEEPER_ADMIN_DATABASE_URL": "postgres://x"}
    assert place(named, gateway) == Place("kafka:9092", "postgres://x")


async def test_doctor_says_whom_it_looked_at(
    run: Run, listening: Listening, prepared_kafka: str, database: Mapping[str, str]
) -> None:
    assert (await run("sign-in", await listening.link("operator"))).code == 0
    servers = {
        "PORTALKEEPER_KAFKA": prepared_kafka,
        "PORTALKEEPER_ADMIN_DATABASE_URL": database["admin"],
    }
    for named, kafka in ((servers, prepared_kafka), ({}, None)):
        ran = await run("doctor", "--json", **named)
        found = {each["what"]: each for each in json.loads(ran.out)}
        assert found["session"]["detail"] == f"{ORGANIZATION} at {listening.url}"
        assert found.get("Kafka", {}).get("detail") == kafka
    assert listening.url in found["servers"]["detail"]


async def test_a_kafka_without_topics_is_told_to_be_prepared(
    monkeypatch: pytest.MonkeyPatch, prepared_kafka: str, database: Mapping[str, str]
) -> None:
    topic = replace(TOPICS[0], name="portal.not-made.v1")
    monkeypatch.setattr(looking, "TOPICS", [*TOPICS, topic])
    found = {each.what: each for each in await look(Place(prepared_kafka, database["admin"]))}
    assert found["topics"].problem == "missing: portal.not-made.v1"
    assert "deploy.prepare" in found["topics"].next_step


async def test_what_was_put_aside_is_listed_with_its_rule_and_never_with_what_it_says(
    run: Run, prepared_kafka: str, database: Mapping[str, str]
) -> None:
    servers = {
        "PORTALKEEPER_KAFKA": prepared_kafka,
        "PORTALKEEPER_ADMIN_DATABASE_URL": database["admin"],
    }
    record = raw_record(7, b"harbor/w1", b'{"ssn": "078-05-1120"}')
    letter = dead_letter(
        record, Rejected("invalid_data", "title is missing"), service="provisioning", group="main"
    )
    async with AIOKafkaProducer(bootstrap_servers=prepared_kafka) as producer:
        headers = [(name, value.encode()) for name, value in letter.headers.items()]
        await producer.send_and_wait(
            letter.topic, letter.value, letter.key.encode(), headers=headers
        )
    ran = await run("dead-letters", "--json", **servers)
    assert ran.code == 1
    found = json.loads(ran.out)[0]
    assert (found["service"], found["reason"], found["detail"], found["offset"]) == (
        "provisioning",
        "invalid_data",
        "title is missing",
        7,
    )
    shown = await run("dead-letters", **servers)
    assert "send it again" in shown.out
    assert "078-05" not in shown.out + ran.out
    gone = await run("dead-letters", **servers | {"PORTALKEEPER_KAFKA": "127.0.0.1:1"})
    assert (gone.code, "does not answer" in gone.err) == (Exit.NO_ANSWER, True)
