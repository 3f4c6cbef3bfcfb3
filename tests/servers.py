"""Which Kafka and which PostgreSQL the tests use, and how they get one.

In this order: the server named by PORTALKEEPER_TEST_KAFKA or PORTALKEEPER_TEST_POSTGRES, a
container where a Docker engine answers, else an embedded one. Never an imitation of either.

Several test processes may share a PostgreSQL, where each makes databases of its own. A Kafka holds
each of Portalkeeper's topics once, so every process has one to itself; whoever names one names as
many, separated by spaces.
"""

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Self
from uuid import uuid4

import asyncpg
import docker
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code
from docker.errors import DockerException
from requests import RequestException
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer

from deploy.database import PREPARATION_LOCK, ROLES, dsn_for, prepare_database
from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.processes import ServerProcess, turn_taken
from deploy.topics import wait_for_topics

ROOT = Path(__file__).resolve().parent.parent
JARS = ROOT / "var" / "cache" / "jars"
ON_DISK = ROOT / "var" / "tests"
MEMORY = Path("/dev/shm")
MEMORY_NEEDED_BYTES = 2 * 1024**3

KAFKA_IMAGE = "apache/kafka:4.3.1"
POSTGRES_IMAGE = "postgres:18"
KAFKA_PORT = 9092
ADVERTISED = "/tmp/advertised"
START_WHEN_TOLD = (
    f"until [ -s {ADVERTISED} ]; do sleep 0.1; done;"
    f" KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://$(cat {ADVERTISED}) exec /etc/kafka/docker/run"
)
DOCKER_ANSWER_SECONDS = 2
STOP_SECONDS = 10

PASSWORDS = dict.fromkeys(ROLES, "only-for-tests")
"""Roles belong to the whole server, so every test session must give them the same password."""


def describe_servers() -> str:
    """Which servers a session uses, for people."""
    own = "container" if docker_answers() else "embedded"
    kafka = named_kafkas()
    postgres = os.environ.get("PORTALKEEPER_TEST_POSTGRES")
    return (
        f"servers: Kafka {'from PORTALKEEPER_TEST_KAFKA' if kafka else own}, "
        f"PostgreSQL {'from PORTALKEEPER_TEST_POSTGRES' if postgres else own}"
    )


def named_kafkas() -> list[str]:
    """Bootstrap servers of each Kafka that whoever started the tests named."""
    return os.environ.get("PORTALKEEPER_TEST_KAFKA", "").split()


def own_number() -> int:
    """Which of several test processes this one is, counted from 0."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@contextmanager
def kafka_server(sessions: Path = ON_DISK) -> Iterator[str]:
    """Bootstrap servers of a Kafka that is there for the time of the block.

    An embedded one has its data below `sessions`.
    """
    if named := named_kafkas():
        yield named[own_number() % len(named)]
    elif docker_answers():
        with KafkaContainer() as container:
            yield container.bootstrap
    else:
        with session_folder(sessions) as folder:
            kafka = EmbeddedKafka(folder / "kafka", JARS)
            kafka.start()
            try:
                yield kafka.bootstrap
            finally:
                kafka.stop()


@contextmanager
def postgres_server(sessions: Path = ON_DISK) -> Iterator[str]:
    """An administrator's connection string to a PostgreSQL, for the time of the block.

    An embedded one has its data below `sessions`.
    """
    if named := os.environ.get("PORTALKEEPER_TEST_POSTGRES"):
        yield named
    elif docker_answers():
        with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
            yield container.get_connection_url()
    else:
        with session_folder(sessions) as folder:
            postgres = EmbeddedPostgres(folder / "postgres")
            postgres.start()
            try:
                yield postgres.admin_dsn()
            finally:
                postgres.stop()
                postgres.forget()


@cache
def docker_answers() -> bool:
    """Whether there is a Docker engine to ask for containers."""
    try:
        docker.from_env(timeout=DOCKER_ANSWER_SECONDS).ping()
    except (DockerException, RequestException, OSError):
        return False
    return True


class KafkaContainer(DockerContainer):
    """The apache/kafka image, advertising the address under which this machine reaches it.

    Which that is follows from how the engine is reached, and is known once the container runs:
    the broker waits to be told.
    """

    def __init__(self) -> None:
        super().__init__(KAFKA_IMAGE)
        self.with_exposed_ports(KAFKA_PORT)
        self.with_command(["bash", "-c", START_WHEN_TOLD])
        settings = {
            "NODE_ID": "1",
            "PROCESS_ROLES": "broker,controller",
            "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "LISTENERS": f"PLAINTEXT://:{KAFKA_PORT},CONTROLLER://localhost:9093",
            "LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "AUTO_CREATE_TOPICS_ENABLE": "false",
            "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "OFFSETS_TOPIC_NUM_PARTITIONS": "1",
            "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "GROUP_COORDINATOR_APPEND_LINGER_MS": "0",
            "LOG_MESSAGE_TIMESTAMP_TYPE": "LogAppendTime",
            "MESSAGE_MAX_BYTES": str(2 * 1024 * 1024),
        }
        for name, value in settings.items():
            self.with_env(f"KAFKA_{name}", value)

    def start(self) -> Self:
        """Start it, and tell it where it is reached."""
        super().start()
        self.exec(["sh", "-c", f"echo {self.bootstrap} > {ADVERTISED}"])
        return self

    @property
    def bootstrap(self) -> str:
        """Host and port, once it runs."""
        return f"{self.get_container_host_ip()}:{self.get_exposed_port(KAFKA_PORT)}"


def in_memory() -> Path:
    """Where data are in memory, if there is room: a copy of a database is a thousand small files.

    For what is not measured, and does not have to outlive the machine.
    """
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED_BYTES:
        return MEMORY / f"portalkeeper-tests-{os.getuid()}"
    return ON_DISK


@contextmanager
def session_folder(sessions: Path = ON_DISK) -> Iterator[Path]:
    """A folder for servers' data, removed afterwards, or by the next session if that failed."""
    with turn_taken(sessions / "lock"):
        _remove_dead_sessions(sessions)
        folder = Path(tempfile.mkdtemp(dir=sessions))
        # PostgreSQL under root runs as another user and must be able to pass through.
        folder.chmod(0o755)
        alive = (folder / "lock").open("w")
        fcntl.flock(alive, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        alive.close()


@asynccontextmanager
async def template_database(admin_dsn: str) -> AsyncIterator[str]:
    """The name of a prepared database to copy: schemas and tables of every service, no rows."""
    async with _database(admin_dsn, "template0") as name:
        admin = await asyncpg.connect(admin_dsn)
        try:
            # Roles belong to the whole server, where another test process may be at it.
            await admin.execute("SELECT pg_advisory_lock($1)", PREPARATION_LOCK)
            await prepare_database(dsn_for_database(admin_dsn, name), PASSWORDS)
        finally:
            await admin.close()
        yield name


@asynccontextmanager
async def database_copy(admin_dsn: str, template: str) -> AsyncIterator[Mapping[str, str]]:
    """A fresh copy of `template`: role -> connection string; `admin` is the administrator's."""
    async with _database(admin_dsn, template) as name:
        dsns = {role: dsn_for(admin_dsn, role, PASSWORDS[role], name) for role in ROLES}
        yield {"admin": dsn_for_database(admin_dsn, name), **dsns}


def dsn_for_database(dsn: str, database: str) -> str:
    """The connection string `dsn` for another database of the same server."""
    before, slash, _ = dsn.partition("?")[0].rpartition("/")
    _, mark, query = dsn.partition("?")
    return f"{before}{slash}{database}{mark}{query}"


class TopicMaker:
    """Makes throwaway topics on one Kafka and deletes them in the end."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._made: list[str] = []

    async def __call__(
        self, partitions: int = 1, config: Mapping[str, str] | None = None, prefix: str = "test"
    ) -> str:
        """Create a topic under a name that nobody else has, and return the name."""
        name = f"{prefix}.{uuid4().hex[:12]}"
        async with self._admin() as admin:
            answer = await admin.create_topics(
                [NewTopic(name, partitions, 1, topic_configs=dict(config or {}))]
            )
            for _, code, *_ in answer.topic_errors:
                if code:
                    raise for_code(code)
            await wait_for_topics(admin, [name])
        self._made.append(name)
        return name

    async def delete_all(self) -> None:
        """Delete every topic made here."""
        if self._made:
            async with self._admin() as admin:
                await admin.delete_topics(self._made)
            self._made.clear()

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def _database(admin_dsn: str, template: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    # Copied as files: through the log of changes it takes twice the processor, a thousand times.
    statement = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"
    await _execute(admin_dsn, statement)
    try:
        yield name
    finally:
        await _execute(admin_dsn, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _remove_dead_sessions(sessions: Path) -> None:
    for lock in sessions.glob("*/lock"):
        with lock.open() as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
        for record in lock.parent.rglob("*.pid.json"):
            name = record.name.removesuffix(".pid.json")
            ServerProcess(name, record.parent).stop_leftover(signal.SIGKILL, STOP_SECONDS)
        for folder in lock.parent.glob("*/admin.password"):
            EmbeddedPostgres(folder.parent).forget()
        shutil.rmtree(lock.parent)
