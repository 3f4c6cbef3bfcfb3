"""One gateway in this process, on a real Kafka and a real PostgreSQL."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import orjson
import pytest
import pytest_asyncio
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from standardwebhooks import Webhook

from deploy.keys import make_secrets
from services.gateway.links import make_links, make_session
from services.gateway.main import gateway
from services.gateway.settings import Settings
from services.gateway.sources import load_sources
from services.gateway.store.picture import store_directory
from shared.contracts.directory import Organization
from shared.contracts.directory import Source as DirectorySource
from shared.contracts.topics import HR_EVENTS, Topic
from shared.kafka.compacted import DirectoryChange
from shared.postgres import create_pool, in_transaction

ORGANIZATION = "harbor"
SOURCE = "harbor-hr"
OTHER_SOURCE = "other-hr"
OLD_SECRET = "whsec_b2xkLXNlY3JldC1vbGQtc2VjcmV0LW9sZC1zZWNyZXQ="
NEW_SECRET = "whsec_bmV3LXNlY3JldC1uZXctc2VjcmV0LW5ldy1zZWNyZXQ="
OTHER_SECRET = "whsec_b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC1vdGhlcg=="
BATCH = "application/cloudevents-batch+json"
STRUCTURED = "application/cloudevents+json"
NOWHERE = "127.0.0.1:1"


def signed(
    body: bytes,
    content_type: str,
    *,
    secret: str = NEW_SECRET,
    age: timedelta = timedelta(0),
) -> dict[str, str]:
    """Headers that sign `body` as of `age` ago."""
    at = datetime.now(UTC).replace(tzinfo=None) - age
    id_ = f"msg_{uuid4().hex}"
    return {
        "content-type": content_type,
        "webhook-id": id_,
        "webhook-timestamp": str(int(at.replace(tzinfo=UTC).timestamp())),
        "webhook-signature": Webhook(secret).sign(id_, at, body.decode()),
    }


def hired(worker: str = "W-1", **changes: Any) -> dict[str, Any]:
    """A valid event; `changes` replace attributes, and fields of `data` where data is given."""
    return {
        "specversion": "1.0",
        "id": f"hr-{uuid4().hex}",
        "type": "worker.hired",
        "source": SOURCE,
        "subject": worker,
        "time": "2026-11-02T08:00:00Z",
        "organization": ORGANIZATION,
        "datacontenttype": "application/json",
        **changes,
        "data": {
            "effective_on": "2026-11-10",
            "employment_id": "E-1",
            "title": "Biller",
            **changes.get("data", {}),
        },
    }


@dataclass(frozen=True)
class Door:
    """The gateway's HTTP, and its settings and database from behind."""

    http: httpx.AsyncClient
    settings: Settings

    async def send(
        self, events: Sequence[Any], *, secret: str = NEW_SECRET, age: timedelta = timedelta(0)
    ) -> httpx.Response:
        """Send a signed batch."""
        body = orjson.dumps(list(events))
        return await self.http.post(
            "/hr/v1/events",
            content=body,
            headers=signed(body, BATCH, secret=secret, age=age),
        )

    async def link(self, role: str) -> str:
        """The path of a fresh one-time link."""
        link = (await make_links(self.settings, ORGANIZATION, [role]))[role]
        return link.removeprefix(self.settings.gateway_url)

    async def secret(self, *roles: str) -> str:
        """The secret of a session with `roles`."""
        session = await make_session(self.settings, ORGANIZATION, roles)
        return str(session["session"])

    async def authorized(self, *roles: str) -> dict[str, str]:
        """The header of a token that holds `roles` (`ROLE` or `ROLE=WORKER`)."""
        session = {"Authorization": f"Bearer {await self.secret(*roles)}"}
        token = await self.http.post("/session/token", headers=session)
        return {"Authorization": f"Bearer {token.json()['token']}"}

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Rows of the gateway's own tables."""
        conn = await asyncpg.connect(self.settings.database_url)
        try:
            return list(await conn.fetch(query, *arguments))
        finally:
            await conn.close()

    async def activity(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and data of what waits in the outbox, in order."""
        rows = await self.fetch("SELECT headers, value FROM outbox ORDER BY id")
        return [
            (orjson.loads(row["headers"])["ce_type"], orjson.loads(row["value"])) for row in rows
        ]


READ_MS = 15_000


class Watcher:
    """Reads what arrives on a topic after the watcher was made."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def take(self, count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            batches = await self._consumer.getmany(timeout_ms=READ_MS)
            assert batches, f"only {len(found)} of {count} records arrived"
            found += [record for records in batches.values() for record in records]
        return found


async def watch(bootstrap: str, topic: Topic) -> AsyncIterator[Watcher]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)
        yield Watcher(consumer)
    finally:
        await consumer.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def hr_topic(prepared_kafka: str) -> AsyncIterator[Watcher]:
    async for watcher in watch(prepared_kafka, HR_EVENTS):
        yield watcher


MakeSettings = Callable[..., Settings]


@pytest.fixture(scope="session")
def make_settings(tmp_path_factory: pytest.TempPathFactory) -> MakeSettings:
    """`make_settings(database_url=…, kafka=…)`: settings with keys and sources of their own."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    secrets = make_secrets(folder / "secrets")
    sources = folder / "sources.yaml"
    sources.write_text(
        yaml.safe_dump(
            {
                "sources": {
                    SOURCE: {"organizations": [ORGANIZATION], "secrets": [NEW_SECRET, OLD_SECRET]},
                    OTHER_SOURCE: {"organizations": ["other"], "secrets": [OTHER_SECRET]},
                }
            }
        )
    )

    def make(**changes: Any) -> Settings:
        return Settings(
            **{
                "kafka": NOWHERE,
                "gateway_url": "http://gateway.test",
                "provisioning_url": f"http://{NOWHERE}",
                "audit_url": f"http://{NOWHERE}",
                "review_url": f"http://{NOWHERE}",
                "sources_file": sources,
                "jwt_key_file": secrets.jwt_key,
                "jwks_file": secrets.jwks,
                "body_key_file": secrets.body_key,
                **changes,
            }
        )

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def door(
    make_settings: MakeSettings, prepared_kafka: str, database: Mapping[str, str]
) -> AsyncIterator[Door]:
    """A gateway on the real servers, for the tests of one module."""
    async with open_door(
        make_settings(kafka=prepared_kafka, database_url=database["gateway"])
    ) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def fresh_door(
    make_settings: MakeSettings, prepared_kafka: str, fresh_database: Mapping[str, str]
) -> AsyncIterator[Door]:
    """A gateway whose tables are empty."""
    async with open_door(
        make_settings(kafka=prepared_kafka, database_url=fresh_database["gateway"])
    ) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def door_without_kafka(
    make_settings: MakeSettings, database: Mapping[str, str]
) -> AsyncIterator[Door]:
    """A gateway whose Kafka nobody answers for."""
    async with open_door(
        make_settings(database_url=database["gateway"], acknowledgement_seconds=1)
    ) as opened:
        yield opened


@asynccontextmanager
async def open_door(settings: Settings) -> AsyncIterator[Door]:
    """The gateway of `settings`, reached without a network."""
    async with gateway(settings) as app:
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50000))
        async with httpx.AsyncClient(transport=transport, base_url=settings.gateway_url) as http:
            await have_directory(settings)
            yield Door(http, settings)


async def have_directory(settings: Settings) -> None:
    """Let the gateway know a directory of every organization that a source speaks for."""
    sources = load_sources(settings.sources_file)
    changes = [
        change
        for organization in sorted(sources.organizations)
        for change in (
            known(organization, "organization", an_organization(organization)),
            *(
                known(organization, "source", DirectorySource(id=name, name=name))
                for name in sources.names(organization)
            ),
        )
    ]
    async with await create_pool(settings.database_url, max_size=1) as pool:
        await in_transaction(pool, lambda conn: store_directory(conn, changes))


def an_organization(id_: str) -> Organization:
    return Organization(id=id_, name="Harbor", zone="America/Los_Angeles", tins=("12-3456789",))


def known(organization: str, kind: str, value: Any) -> DirectoryChange:
    """An object of a directory as provisioning publishes it."""
    return DirectoryChange(organization, kind, value.id, 0, 1, value)
