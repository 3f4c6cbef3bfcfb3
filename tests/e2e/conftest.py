"""The whole system as real processes on real servers, and ways to use it from outside."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import anyio
import httpx
import orjson
import pytest
import pytest_asyncio
import yaml
from playwright.async_api import Browser, Error, async_playwright, expect
from standardwebhooks import Webhook

from deploy.embedded.processes import pick_free_port
from deploy.keys import Secrets, first_source, make_secrets
from deploy.processes import PROCESSES, Process, StopTurn
from services.gateway.links import make_links, make_session
from services.gateway.settings import Settings
from services.gateway.store.picture import in_force
from shared.postgres import create_pool
from tests.servers import ROOT, database_copy

READY_SECONDS = 180
STOP_SECONDS = 15
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 60
"""What a page shows may have to come through Kafka and several services of a busy machine."""

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]


@dataclass
class System:
    """A running installation. `urls` are by process name, e.g. `gateway` and `audit-log`.

    `dsns` are connection strings by database role. `organization` is whom `source` speaks for,
    which signs with `secret`.
    """

    folder: Path
    urls: Mapping[str, str]
    settings: Settings
    dsns: Mapping[str, str]
    http: httpx.AsyncClient
    secret: str
    organization: str = ""

    @property
    def source(self) -> str:
        """The organization's HR source."""
        return first_source(self.organization)

    async def sign_in(self, role: str) -> str:
        """A fresh one-time link for `ROLE` or `ROLE=WORKER`."""
        return (await make_links(self.settings, self.organization, [role]))[role]

    async def session_file(self, *roles: str) -> Path:
        """A session file for the command line, with all `roles` in one session."""
        path = self.folder / f"session-{uuid4().hex}.json"
        path.write_bytes(orjson.dumps(await make_session(self.settings, self.organization, roles)))
        return path

    async def token(self, *roles: str) -> str:
        """A bearer token, good for five minutes, that holds all `roles`."""
        session = await make_session(self.settings, self.organization, roles)
        answer = await self.http.post(
            f"{self.urls['gateway']}/session/token",
            headers={"Authorization": f"Bearer {session['session']}"},
        )
        answer.raise_for_status()
        return str(answer.json()["token"])

    async def send_hr(self, events: Sequence[Mapping[str, Any]]) -> httpx.Response:
        """Send CloudEvents as one signed batch."""
        body = orjson.dumps(list(events))
        now = datetime.now(UTC).replace(tzinfo=None)
        id_ = f"msg_{uuid4().hex}"
        return await self.http.post(
            f"{self.urls['gateway']}/hr/v1/events",
            content=body,
            headers={
                "content-type": "application/cloudevents-batch+json",
                "webhook-id": id_,
                "webhook-timestamp": str(int(now.replace(tzinfo=UTC).timestamp())),
                "webhook-signature": Webhook(self.secret).sign(id_, now, body.decode()),
            },
        )

    def hr_event(
        self, type_: str, worker: str, data: Mapping[str, Any], **attributes: str
    ) -> dict[str, Any]:
        """A CloudEvent of this installation's HR source."""
        return {
            "specversion": "1.0",
            "id": f"e2e-{uuid4().hex}",
            "type": type_,
            "source": self.source,
            "subject": worker,
            "time": datetime.now(UTC).isoformat(),
            "organization": self.organization,
            "datacontenttype": "application/json",
            "data": dict(data),
            **attributes,
        }

    async def apply_directory(self, directory: Mapping[str, Any]) -> None:
        """Apply a directory as the administrator, and wait until the gateway has heard of it."""
        answer = await self.http.post(
            f"{self.urls['provisioning']}/access/v1/directory",
            json=directory,
            headers={"Authorization": f"Bearer {await self.token('administrator')}"},
        )
        assert answer.status_code == 200, answer.text
        organization = directory["organization"]["id"]
        named = {(organization, each["id"]) for each in directory["sources"]}
        async with (
            await create_pool(self.dsns["gateway"], max_size=1) as pool,
            pool.acquire() as conn,
        ):
            for _ in range(int(READY_SECONDS / POLL_SECONDS)):
                if named <= (await in_force(conn, [organization])).sources:
                    return
                await anyio.sleep(POLL_SECONDS)
        raise AssertionError("the gateway did not hear of the directory")


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def shared_system(
    request: pytest.FixtureRequest,
    prepared_kafka: str,
    postgres: str,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    """Every process of Portalkeeper on the session's Kafka and a database of its own.

    Starting it takes longer than most of what is then asked of it, so that all modules here live
    in one. It ends with them: its services would answer what other tests put on the same topics.
    """
    folder = tmp_path_factory.mktemp("system")
    secrets = make_secrets(folder / "secrets")
    secret = yaml.safe_load(secrets.sources.read_text())["sources"].popitem()[1]["secrets"][0]
    speaking = {
        first_source(each): {"organizations": [each], "secrets": [secret]}
        for each in {organization_of(item.module) for item in _items_with_system(request.session)}
    }
    secrets.sources.write_text(yaml.safe_dump({"sources": speaking}))
    ports = {process.name: pick_free_port() for process in PROCESSES if process.port is not None}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    async with database_copy(postgres, template) as dsns, httpx.AsyncClient(timeout=60) as http:
        environments = {
            process: _environment(process, folder, secrets, prepared_kafka, dsns, urls)
            for process in PROCESSES
        }
        with _running(environments, folder):
            for name, url in urls.items():
                await _wait_until_ready(name, url, folder)
            settings = Settings(
                database_url=dsns["gateway"],
                gateway_url=urls["gateway"],
                sources_file=secrets.sources,
            )
            yield System(folder, urls, settings, dsns, http, secret)


@pytest.fixture(scope="module")
def system(request: pytest.FixtureRequest, shared_system: System) -> System:
    """The running system, as an organization that only this module knows."""
    return replace(shared_system, organization=organization_of(request.module))


def _items_with_system(session: pytest.Session) -> Iterator[pytest.Function]:
    for item in session.items:
        if isinstance(item, pytest.Function) and "shared_system" in item.fixturenames:
            yield item


def organization_of(module: ModuleType) -> str:
    """Whom a module is about: its `ORGANIZATION`, or else one that is called as it is."""
    name = module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")
    return str(getattr(module, "ORGANIZATION", name))


def _environment(
    process: Process,
    folder: Path,
    secrets: Secrets,
    kafka: str,
    dsns: Mapping[str, str],
    urls: Mapping[str, str],
) -> dict[str, str]:
    told: dict[str, object] = {
        "AUDIT_EXPORTS_DIR": folder / "exports",
        "AUDIT_KEYSTORE_DIR": folder / "keystore",
        "AUDIT_MASTER_KEY_FILE": secrets.audit_master_key,
        "AUDIT_URL": urls["audit-log"],
        "BODY_KEY_FILE": secrets.body_key,
        "DATABASE_URL": dsns[process.role],
        "GATEWAY_URL": urls["gateway"],
        "JWKS_FILE": secrets.jwks,
        "JWT_KEY_FILE": secrets.jwt_key,
        "KAFKA": kafka,
        "PROVISIONING_URL": urls["provisioning"],
        "REVIEW_URL": urls["review-scheduler"],
        "SIGNER_KEY_FILE": secrets.signer_key,
        "SIGNER_STATE_DIR": folder / "signer",
        "SOURCES_FILE": secrets.sources,
    }
    if process.name in urls:
        told["PORT"] = urls[process.name].rpartition(":")[2]
    own = {name: value for name, value in os.environ.items() if "PORTALKEEPER_" not in name}
    return own | {f"PORTALKEEPER_{name}": str(value) for name, value in told.items()}


@contextmanager
def _running(environments: Mapping[Process, Mapping[str, str]], folder: Path) -> Iterator[None]:
    for name in ("keystore", "signer"):
        (folder / name).mkdir(mode=0o700)
    started: list[tuple[Process, subprocess.Popen[bytes]]] = []
    try:
        for process, environment in environments.items():
            with (folder / f"{process.name}.log").open("wb") as log:
                command = [sys.executable, "-m", process.module]
                started.append(
                    (
                        process,
                        subprocess.Popen(
                            command, env=dict(environment), stdout=log, stderr=log, cwd=ROOT
                        ),
                    )
                )
        yield
    finally:
        for turn in StopTurn:
            stopping = [popen for process, popen in started if process.turn == turn]
            for popen in stopping:
                popen.send_signal(signal.SIGTERM)
            for popen in stopping:
                try:
                    popen.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    popen.kill()
                    popen.wait()


async def _wait_until_ready(name: str, url: str, folder: Path) -> None:
    last = "no answer"
    async with httpx.AsyncClient() as http:
        for _ in range(int(READY_SECONDS / POLL_SECONDS)):
            try:
                answer = await http.get(f"{url}/readyz")
                if answer.status_code == 200:
                    return
                last = answer.text
            except httpx.HTTPError as error:
                last = repr(error)
            await anyio.sleep(POLL_SECONDS)
    log = (folder / f"{name}.log").read_text()[-3000:]
    pytest.fail(f"{name} did not get ready: {last}\n{log}")


def chromium() -> str | None:
    named = os.environ.get("PORTALKEEPER_CHROMIUM")
    found = (path for name in CHROMIUM_NAMES if (path := shutil.which(name)))
    return named or next(found, None)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium; without one these tests are reported as not run."""
    async with async_playwright() as playwright:
        try:
            launched = await playwright.chromium.launch(
                executable_path=chromium(), args=CHROMIUM_FLAGS
            )
        except Error:
            reason = "no Chromium: install one or name it in PORTALKEEPER_CHROMIUM"
            # Continuous integration must not pass because nobody looked.
            if "CI" in os.environ:
                pytest.fail(reason)
            pytest.skip(reason)
        expect.set_options(timeout=PATIENCE_SECONDS * 1000)
        yield launched
        await launched.close()
