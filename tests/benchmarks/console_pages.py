"""How long the console's pages take among very many people, through the gateway and over HTTP.

A hundred workers come about as always, through Kafka; copies of all their rows under other worker
ids make them as many as are asked for.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from deploy.keys import make_secrets
from services.gateway.console.visitor import COOKIE
from services.gateway.links import make_session
from services.gateway.settings import Settings
from shared.contracts.topics import HR_EVENTS
from shared.postgres import create_pool
from tests.benchmarks import workload
from tests.benchmarks.copies import copy_workers
from tests.benchmarks.provisioning import apply_directory, until
from tests.benchmarks.terminations import (
    FAR_PORTS,
    open_accounts,
    percentile,
    prepare_workers,
    provisioning_processes,
    wait_for_lanes,
)

PORTALS = 10
ORIGINALS, LEAVERS = 100, 2
ASKED, WARM_UPS = 20, 3
GATEWAY_PORT = 18180
NOWHERE = "http://127.0.0.1:9"
ANSWER_SECONDS = 120
ROLES = ("administrator", "compliance", "operator", "hr")
SOMEBODY, LEAVER = "L-000005-7", "L-000001-7"
PAGES = (
    "/",
    "/people",
    "/people?query=length+L-000005-7",
    "/people?query=nobody",
    "/people?status=terminated",
    f"/people/{SOMEBODY}",
    "/matrix",
    "/matrix?duty=billing",
    "/matrix?duty=nobody",
    "/exposed",
    "/work",
    "/work?overdue=true",
    "/work?status=ended",
    "/leavers",
    "/findings",
    "/where?q=carrier+claim+status",
    "/directory",
    "/policy",
    "/who-had-access?portal=portal-1",
    f"/explain?worker={SOMEBODY}&portal=portal-1",
    "/chores",
    "/exceptions",
    "/outages",
    "/clocks",
    "/training",
    "/brake",
    "/hr",
    "/hr/lists",
    "/hr/questions",
    "/hr/enter",
    f"/hr/enter/{SOMEBODY}",
    "/hr/sealed",
    "/work/{operation}",
    f"/leavers/{LEAVER}",
    f"/leavers/{LEAVER}/receipt",
    "/directory/portals/portal-1",
    "/directory/file",
    "/directory/organization",
    "/catalogue",
    "/enrolments",
    "/rosters/portal-1",
    "/adopt",
    "/notifications",
    "/help",
)
NOT_MEASURED = frozenset(
    {
        # Before there is a session.
        "/sign-in",
        "/in/{code}",
        "/command-line",
        # About one thing of which this clinic has none, or about the visitor alone.
        "/hr/source",
        "/hr/lists/{plan}",
        "/reviews/campaigns/open",
        "/plans/{plan}",
        "/catalogue/{entry}",
        "/directory/entries/{kind}",
        "/enrolments/{enrolment}",
        "/brake/{cause_id}",
        "/audit/before",
        "/mine",
        # Files, and what is still sent when a page has long been there.
        "/adopt/sheet",
        "/audit/stream",
        "/audit/handout/{name}",
        "/audit/exports/{export_id}/file",
        "/audit/{index}/tlog-proof",
    }
)
"""Routes that no benchmark asks for."""


@dataclass(slots=True)
class Paged:
    """Seconds that each page took, sorted, and how much there was."""

    workers: int = 0
    accounts: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)


async def measure(
    kafka: str, dsns: Mapping[str, str], folder: Path, *, workers: int, say: Any
) -> Paged:
    """Make so many workers with ten logins each, and look at every page."""
    pool = await create_pool(dsns["provisioning"])
    try:
        await apply_directory(pool, connector="simulator", portals=PORTALS)
        async with provisioning_processes(kafka, dsns, folder):
            await wait_for_lanes(pool, HR_EVENTS.partitions)
            await prepare_workers(kafka, pool, ORIGINALS)
            await _let_some_leave(kafka, pool)
        say(f"copying {ORIGINALS} workers {workers // ORIGINALS - 1} times")
        await copy_workers(dsns["provisioning"], workers // ORIGINALS - 1)
        found = Paged(
            await pool.fetchval("SELECT count(*) FROM worker"),
            await pool.fetchval("SELECT count(*) FROM account"),
        )
        async with (
            provisioning_processes(kafka, dsns, folder),
            gateway(
                kafka, dsns, folder, provisioning=f"http://127.0.0.1:{FAR_PORTS['main']}"
            ) as signed_in,
        ):
            http = await signed_in(workload.ORGANIZATION, ROLES)
            operation = await pool.fetchval(
                "SELECT operation_id::text FROM operation WHERE worker = $1 LIMIT 1", SOMEBODY
            )
            pages = [page.format(operation=operation) for page in PAGES]
            found.seconds = await ask(http, pages, say)
        return found
    finally:
        await pool.close()


async def _let_some_leave(kafka: str, pool: asyncpg.Pool[Any]) -> None:
    leavers = [f"L-{number:06}" for number in range(LEAVERS)]
    now = datetime.now(UTC)
    messages = [workload.termination(each, f"{each}-left", now) for each in leavers]
    await workload.produce(kafka, HR_EVENTS.name, messages)

    async def gone() -> bool:
        left = await pool.fetchval("SELECT count(*) FROM worker WHERE status = 'terminated'")
        return int(left) == LEAVERS

    await until(gone, "nobody left", 60)
    await open_accounts(pool)


@asynccontextmanager
async def gateway(
    kafka: str, dsns: Mapping[str, str], folder: Path, **services: str
) -> AsyncIterator[Callable[[str, Sequence[str]], Awaitable[httpx.AsyncClient]]]:
    """A gateway before services at these addresses; signs somebody in with an organization's roles.

    It belongs to what it is given: `provisioning`, `review` and `audit`; others do not answer.
    """
    secrets = make_secrets(folder / "secrets")
    url = f"http://127.0.0.1:{GATEWAY_PORT}"
    told = {
        "BODY_KEY_FILE": secrets.body_key,
        "DATABASE_URL": dsns["gateway"],
        "GATEWAY_URL": url,
        "JWKS_FILE": secrets.jwks,
        "JWT_KEY_FILE": secrets.jwt_key,
        "KAFKA": kafka,
        "PORT": GATEWAY_PORT,
        **{
            f"{name.upper()}_URL": services.get(name, NOWHERE)
            for name in ("provisioning", "review", "audit")
        },
        "SOURCES_FILE": secrets.sources,
    }
    environment = os.environ | {f"PORTALKEEPER_{name}": str(value) for name, value in told.items()}
    settings = Settings(database_url=dsns["gateway"], gateway_url=url, sources_file=secrets.sources)

    async def signed_in(organization: str, roles: Sequence[str]) -> httpx.AsyncClient:
        session = await make_session(settings, organization, roles)
        client = httpx.AsyncClient(
            base_url=url, cookies={COOKIE: session["session"]}, timeout=ANSWER_SECONDS
        )
        return await clients.enter_async_context(client)

    with (folder / "gateway.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.gateway.main", env=environment, stderr=log, stdout=log
        )
    try:
        async with AsyncExitStack() as clients:
            await until_ready(url)
            yield signed_in
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def until_ready(url: str) -> None:
    """Wait until the process there answers that it is alive."""
    async with httpx.AsyncClient() as http:

        async def ready() -> bool:
            try:
                return (await http.get(f"{url}/healthz")).is_success
            except httpx.TransportError:
                return False

        await until(ready, f"nothing answers at {url}", 60, pause=0.2)


async def ask(http: httpx.AsyncClient, pages: Iterable[str], say: Any) -> dict[str, list[float]]:
    """Seconds that each page takes, sorted."""
    seconds = {}
    for page in pages:
        seconds[page] = await _ask(http, page)
        say(f"{page}: p95 {percentile(seconds[page], 0.95) * 1000:.0f} ms")
    return seconds


async def _ask(http: httpx.AsyncClient, page: str) -> list[float]:
    taken = []
    for number in range(ASKED + WARM_UPS):
        began = time.perf_counter()
        answer = await http.get(page)
        if number >= WARM_UPS:
            taken.append(time.perf_counter() - began)
        if answer.status_code != 200:
            raise RuntimeError(f"{page} answered {answer.status_code}: {answer.text[-600:]}")
    return sorted(taken)
