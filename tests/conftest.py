"""Fixtures for every test: real servers, fresh databases, throwaway topics."""

import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
import structlog
from xdist.scheduler import LoadFileScheduling

from deploy.topics import create_topics, wait_for_kafka
from shared.contracts.topics import TOPICS
from tests.servers import (
    TopicMaker,
    database_copy,
    describe_servers,
    in_memory,
    kafka_server,
    named_kafkas,
    postgres_server,
    template_database,
)

SERVER_WAIT_SECONDS = 60
SERVER_FIXTURES = {"kafka", "postgres"}
PROCESS_FIXTURES = {"run"}
"""Each starts the whole command anew."""

NEVER_FAST = {"benchmarks", "deploy", "e2e", "faults", "simulation"}
"""Folders whose tests start processes or take their time, whatever fixtures they use."""

WORKERS_PER_CORE = 1.5
"""Tests of real servers wait for much of their time."""

LONG = ("e2e", "faults", "simulation", "deploy")
"""Folders that several workers begin with, so that none is left with a long one in the end."""

WITH_A_SYSTEM = re.compile("tests/e2e/test_(any|browser)")
"""Modules that live in one running system: several workers would each start it."""


def pytest_configure() -> None:
    # Tracebacks with every local variable take seconds to draw, in which no server answers.
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])


def pytest_report_header() -> str:
    return describe_servers()


# Before pytest picks tests by their markers.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        waits = fixtures & (SERVER_FIXTURES | PROCESS_FIXTURES)
        elsewhere = NEVER_FAST.intersection(item.path.parts)
        if not (waits or elsewhere or item.get_closest_marker("slow")):
            item.add_marker("fast")
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    return next((at for at, folder in enumerate(LONG) if folder in item.path.parts), len(LONG))


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """A file stays with one worker, and so do all files that share a system."""

    def _split_scope(self, nodeid: str) -> str:
        found = WITH_A_SYSTEM.match(nodeid)
        return "system" if found else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """How several workers share the tests."""
    return ByFile(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: what this machine bears, or one for each Kafka that was named."""
    return len(named_kafkas()) or max(2, int((os.cpu_count() or 1) * WORKERS_PER_CORE))


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of a real Kafka."""
    with kafka_server(in_memory()) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """An administrator's connection string to a real PostgreSQL."""
    with postgres_server(in_memory()) as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prepared_kafka(kafka: str) -> str:
    """Bootstrap servers of a Kafka that has every topic of Portalkeeper."""
    await wait_for_kafka(kafka, SERVER_WAIT_SECONDS)
    await create_topics(kafka, TOPICS, replication=1)
    return kafka


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def make_topic(kafka: str) -> AsyncIterator[TopicMaker]:
    """`await make_topic(partitions, config)` creates a throwaway topic and returns its name."""
    await wait_for_kafka(kafka, SERVER_WAIT_SECONDS)
    maker = TopicMaker(kafka)
    yield maker
    await maker.delete_all()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(postgres: str) -> AsyncIterator[str]:
    """The name of the prepared database that `database` and `fresh_database` copy."""
    async with template_database(postgres) as name:
        yield name


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(postgres: str, template: str) -> AsyncIterator[Mapping[str, str]]:
    """A database of this test module's own: role -> connection string, and `admin`."""
    async with database_copy(postgres, template) as dsns:
        yield dsns


@pytest_asyncio.fixture(loop_scope="session")
async def fresh_database(postgres: str, template: str) -> AsyncIterator[Mapping[str, str]]:
    """A database of this one test's own: role -> connection string, and `admin`."""
    async with database_copy(postgres, template) as dsns:
        yield dsns
