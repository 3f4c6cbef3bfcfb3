"""The command as people run it, against a gateway that really listens."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvicorn

from deploy.embedded.processes import pick_free_port
from services.gateway.links import make_links
from services.gateway.main import gateway
from services.gateway.settings import Settings
from tests.gateway.conftest import (
    NEW_SECRET,
    ORGANIZATION,
    MakeSettings,
    have_directory,
    make_settings,
)
from tests.servers import ROOT

__all__ = ["make_settings"]


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit status."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Listening:
    """A gateway that listens at `url`."""

    url: str
    settings: Settings

    async def link(self, role: str) -> str:
        return (await make_links(self.settings, ORGANIZATION, [role]))[role]


Run = Callable[..., Awaitable[Ran]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`await run("hr", "send", …)`: the command with a session file and secret of this test."""

    async def run_it(*arguments: str, **environment: str) -> Ran:
        inherited = {
            name: value for name, value in os.environ.items() if "PORTALKEEPER" not in name
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.cli.main",
            *arguments,
            cwd=ROOT,
            env={
                **inherited,
                # What the command line remembers of a log is kept with the user's settings.
                "HOME": str(tmp_path),
                "XDG_CONFIG_HOME": str(tmp_path / "settings"),
                "PORTALKEEPER_SESSION_FILE": str(tmp_path / "session.json"),
                "PORTALKEEPER_HR_SECRET": NEW_SECRET,
                "COLUMNS": "200",
                **environment,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    return run_it


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def listening(
    make_settings: MakeSettings, prepared_kafka: str, database: Mapping[str, str]
) -> AsyncIterator[Listening]:
    """A gateway on the real servers."""
    async with listen(make_settings, prepared_kafka, database) as opened:
        yield opened


@asynccontextmanager
async def listen(
    make_settings: MakeSettings,
    kafka: str,
    database: Mapping[str, str],
    port: int | None = None,
    **changes: Any,
) -> AsyncIterator[Listening]:
    port = port or pick_free_port()
    url = f"http://127.0.0.1:{port}"
    settings = make_settings(
        kafka=kafka,
        database_url=database["gateway"],
        gateway_url=url,
        acknowledgement_seconds=2,
        **changes,
    )
    await have_directory(settings)
    async with gateway(settings) as app, AsyncExitStack() as following:
        for consumer in app.state.consumers.values():
            await consumer.start()
            following.push_async_callback(consumer.stop)
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110, uvicorn has only this flag
            await asyncio.sleep(0.02)
        try:
            yield Listening(url, settings)
        finally:
            server.should_exit = True
            await serving
