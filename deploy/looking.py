"""Looking at an installation's servers from where it is installed: what is there, what is missing.

Nothing is changed. A managed installation is told by the variables of `deploy.prepare`
(`PORTALKEEPER_KAFKA`, `PORTALKEEPER_ADMIN_DATABASE_URL`), the embedded one by its folder.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.database import SCHEMAS, SERVICES
from deploy.installation import DATABASE, HOST, Installation, first_port_wanted
from deploy.processes import POSTGRES_PORT
from deploy.topics import REQUEST_TIMEOUT_MS, has_broker
from shared.contracts.topics import DEAD_LETTERS, TOPICS

CONNECT_SECONDS = 5
POLL_MS = 1_000
KEYS = (
    "audit_log/master.key",
    "audit_signer/signer.pem",
    "gateway/body.key",
    "gateway/jwt-key.json",
    "gateway/sources.yaml",
    "public/jwks.json",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look showed: all well where `problem` is None, else what to do about it.

    `where` is the address that was asked.
    """

    what: str
    problem: str | None = None
    next_step: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation's servers are, and the files that its processes need."""

    kafka: str
    admin_dsn: str
    files: tuple[str, ...] = ()


def place(environment: Mapping[str, str], gateway: str | None = None) -> Place | None:
    """The installation that this machine knows of; None where there is none.

    With the address of a `gateway`, only where it is that gateway's. Servers that the environment
    names are whoever's it says.
    """
    kafka = environment.get("PORTALKEEPER_KAFKA")
    dsn = environment.get("PORTALKEEPER_ADMIN_DATABASE_URL")
    if kafka and dsn:
        return Place(kafka, dsn)
    own = Installation(first_port=first_port_wanted(environment))
    if not own.secrets.exists():
        return None
    if gateway is not None and _address(gateway) != _address(own.console):
        return None
    server = f"{HOST}:{own.first_port + POSTGRES_PORT}"
    passfile = own.secrets / "admin" / "pgpass"
    return Place(
        own.kafka,
        f"postgresql://postgres@{server}/{DATABASE}?passfile={passfile}",
        tuple(str(own.secrets / each) for each in KEYS),
    )


def _address(url: str) -> tuple[str | None, int | None]:
    """Host and port: people write `localhost` for what listens on the loopback address."""
    parts = urlsplit(url)
    return HOST if parts.hostname == "localhost" else parts.hostname, parts.port


@dataclass(frozen=True, slots=True)
class PutAside:
    """A record that a service could not apply: which one, since when (UTC), and why."""

    at: datetime
    service: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    sha256: str


async def put_aside(bootstrap: str, limit: int) -> list[PutAside]:
    """The latest dead letters, newest first.

    Raises:
        OSError: Kafka does not answer.
    """
    if not await has_broker(bootstrap):
        raise ConnectionError(bootstrap)
    partitions = [TopicPartition(DEAD_LETTERS.name, n) for n in range(DEAD_LETTERS.partitions)]
    found: list[PutAside] = []
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for each in partitions:
            consumer.seek(each, max(begins[each], ends[each] - limit))
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                found += [_put_aside(record) for record in records]
    return sorted(found, key=lambda each: each.at, reverse=True)[:limit]


def _put_aside(record: Any) -> PutAside:
    said = {name: value.decode(errors="replace") for name, value in record.headers}
    return PutAside(
        datetime.fromtimestamp(record.timestamp / 1000, UTC),
        said.get("dl_service", ""),
        said.get("dl_reason", ""),
        said.get("dl_detail", ""),
        said.get("dl_topic", ""),
        int(said.get("dl_partition", "-1")),
        int(said.get("dl_offset", "-1")),
        said.get("dl_sha256", ""),
    )


async def look(at: Place) -> list[Seen]:
    """Kafka and its topics, PostgreSQL and its migrations, and the keys."""
    kafka, postgres = await asyncio.gather(_kafka(at.kafka), _postgres(at.admin_dsn))
    missing = [each for each in at.files if not os.access(each, os.R_OK)]
    keys = Seen(
        "keys",
        f"cannot be read: {', '.join(missing)}" if missing else None,
        "Bring them back from a backup. New ones open nothing that the old ones sealed.",
    )
    return [*kafka, *postgres, *((keys,) if at.files else ())]


async def _kafka(bootstrap: str) -> list[Seen]:
    if not await has_broker(bootstrap):
        return [
            Seen("Kafka", f"does not answer at {bootstrap}", "Start it, or correct its address.")
        ]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        there = set(await admin.list_topics())
    except (KafkaError, OSError) as error:
        return [Seen("Kafka", f"does not list its topics: {error!r}", "Look at the broker's log.")]
    finally:
        await admin.close()
    missing = sorted(topic.name for topic in TOPICS if topic.name not in there)
    problem = f"missing: {', '.join(missing)}" if missing else None
    return [
        Seen("Kafka", where=bootstrap),
        Seen("topics", problem, "Run: python -m deploy.prepare"),
    ]


async def _postgres(dsn: str) -> list[Seen]:
    try:
        conn = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        return [
            Seen("PostgreSQL", f"does not answer: {error}", "Start it, or correct its address.")
        ]
    try:
        rows = await conn.fetch("SELECT migration_id FROM public._pogo_migration")
        applied = {row["migration_id"] for row in rows}
    except asyncpg.UndefinedTableError:
        applied = set()
    finally:
        await conn.close()
    pending = [
        f"{schema.name}/{file.stem}"
        for schema in SCHEMAS
        for file in sorted((SERVICES / schema.name / "migrations").glob("*.sql"))
        if file.stem not in applied
    ]
    problem = f"not applied: {', '.join(pending)}" if pending else None
    where = urlsplit(dsn).netloc.rpartition("@")[2]
    return [
        Seen("PostgreSQL", where=where),
        Seen("migrations", problem, "Run: python -m deploy.prepare"),
    ]
