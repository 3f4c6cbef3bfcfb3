"""The embedded servers: started, stopped, killed and started again, with their data kept."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from jgo.maven import MavenContext

from deploy.embedded import jars
from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.processes import ServerProcess, pick_free_port
from deploy.errors import CannotStart
from tests.servers import JARS, TopicMaker, session_folder


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with session_folder() as place:
        yield place


@pytest.fixture(scope="module")
async def server(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(folder / "postgres")
    await asyncio.to_thread(postgres.start)
    yield postgres
    postgres.stop()
    postgres.forget()


@pytest.fixture(scope="module")
async def broker(folder: Path) -> AsyncIterator[EmbeddedKafka]:
    kafka = EmbeddedKafka(folder / "kafka", JARS)
    await asyncio.to_thread(kafka.start)
    yield kafka
    kafka.stop()


async def test_postgres_keeps_what_was_committed_when_it_is_killed(
    server: EmbeddedPostgres,
) -> None:
    port = server.port
    await _execute(server, "CREATE TABLE kept AS SELECT 42 AS number")

    server.process.kill()
    await asyncio.to_thread(server.start)

    assert server.port == port
    assert await _execute(server, "SELECT number FROM kept") == 42


async def test_postgres_starts_again_after_a_clean_stop(server: EmbeddedPostgres) -> None:
    await asyncio.to_thread(server.stop)
    assert not server.process.is_running()

    await asyncio.to_thread(server.start)

    assert await _execute(server, "SELECT 1") == 1


async def test_postgres_is_not_confused_by_a_lock_that_names_a_stranger(
    server: EmbeddedPostgres,
) -> None:
    server.process.kill()
    lock = next(server.folder.rglob("postmaster.pid"), None)
    if lock is None:
        pytest.fail("a killed PostgreSQL leaves its lock file behind")
    lock.write_text(f"{os.getpid()}\n" + lock.read_text().partition("\n")[2])

    await asyncio.to_thread(server.start)

    assert await _execute(server, "SELECT 1") == 1


async def test_postgres_takes_no_connection_without_the_password(
    server: EmbeddedPostgres,
) -> None:
    for password in ("", "postgres"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host="127.0.0.1", port=server.port, user="postgres", password=password
            )
    assert (server.folder / "admin.password").stat().st_mode & 0o777 == 0o600


async def test_kafka_keeps_acknowledged_records_when_it_is_killed(broker: EmbeddedKafka) -> None:
    topic = await TopicMaker(broker.bootstrap)()
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait(topic, b"kept")
    await producer.stop()

    broker.process.kill()
    await asyncio.to_thread(broker.start)

    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        record = await asyncio.wait_for(consumer.getone(), 30)
    finally:
        await consumer.stop()
    assert record.value == b"kept"


async def test_a_broker_left_by_a_killed_starter_is_replaced(broker: EmbeddedKafka) -> None:
    left = broker.process.pid
    assert left is not None
    successor = EmbeddedKafka(broker.folder, JARS)
    try:
        await asyncio.to_thread(successor.start)
        assert not broker.process.is_running()
    finally:
        await asyncio.to_thread(successor.stop)
        await asyncio.to_thread(broker.start)


@pytest.mark.parametrize("kind", ["Kafka", "PostgreSQL"])
def test_a_taken_port_is_one_clear_sentence(
    kind: str, server: EmbeddedPostgres, broker: EmbeddedKafka, folder: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        second: EmbeddedKafka | EmbeddedPostgres = (
            EmbeddedKafka(folder / "second", JARS, port=port)
            if kind == "Kafka"
            else EmbeddedPostgres(folder / "third", port=port)
        )
        with pytest.raises(CannotStart, match=f"^Port {port}, wanted for {kind}, is in use: .*$"):
            second.start()


def test_a_server_that_ends_while_starting_shows_the_end_of_its_log(folder: Path) -> None:
    process = ServerProcess("short-lived", folder)
    process.start(["/bin/sh", "-c", "echo no such luck; exit 3"])

    with pytest.raises(CannotStart, match=r"(?s)short-lived ended while starting.*no such luck"):
        process.wait_until(lambda: False, 10)
    process.stop(signal.SIGTERM, 1)


def test_a_stranger_with_a_recorded_process_id_is_left_alone(folder: Path) -> None:
    process = ServerProcess("stranger", folder)
    process.start(["/bin/sleep", "60"])
    record = folder / "stranger.pid.json"
    record.write_text(f'{{"pid": {process.pid}, "started": 1.0}}')
    try:
        assert not ServerProcess("stranger", folder).stop_leftover(signal.SIGKILL, 1)
        assert process.pid is not None
        assert psutil.pid_exists(process.pid)
    finally:
        process.stop(signal.SIGKILL, 1)


def test_a_damaged_jar_is_downloaded_again(broker: EmbeddedKafka, tmp_path: Path) -> None:
    cache = _copy_of_jars(tmp_path)
    damaged = _damage_one(cache)
    said: list[str] = []

    jars.fetch_jars(cache, said.append)

    assert damaged.stat().st_size > 1000
    assert said[0].startswith("Downloading Apache Kafka: 1 jars")


def test_a_jar_that_cannot_be_had_is_one_clear_sentence(
    broker: EmbeddedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = _copy_of_jars(tmp_path)
    damaged = _damage_one(cache)
    unreachable = f"http://127.0.0.1:{pick_free_port()}"
    context = MavenContext(repo_cache=cache, remote_repos={"central": unreachable}, timeout=1)
    monkeypatch.setattr(jars, "_context", lambda _: context)

    with pytest.raises(CannotStart, match=f"Kafka's {damaged.name} could not be downloaded"):
        jars.fetch_jars(cache, lambda _: None)
    assert not damaged.exists()


def _copy_of_jars(folder: Path) -> Path:
    copy = folder / "jars"
    shutil.copytree(JARS, copy)
    return copy


def _damage_one(cache: Path) -> Path:
    jar = next(cache.rglob("slf4j-api-*.jar"))
    jar.write_bytes(b"half a jar")
    return jar


async def _execute(server: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(server.admin_dsn())
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
