"""HR's lists for the tests: what is known of workers, lists to send, and what is asked of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson

from services.gateway.handlers.picture import picture_of
from services.gateway.store import picture as picture_store
from services.gateway.store import rosters as rosters_store
from shared.contracts.directory import Site, Source, TitleMapping
from shared.contracts.state import Employment, WorkerState, WorkerStatus
from shared.postgres import Connection, create_pool, in_transaction
from tests.gateway.conftest import ORGANIZATION, SOURCE, Door, an_organization, known

HEADINGS = "worker_id,name,title,site,supervisor,status,hired_on,terminated_on"
TABLES = (
    "known_worker",
    "directory_object",
    "source_worker",
    "hr_source",
    "roster",
    "hr_question",
)
STARTED = datetime(2020, 1, 6, 8, tzinfo=UTC)


def line(
    worker: str,
    *,
    name: str | None = None,
    title: str = "Biller",
    status: str = "Active",
    hired_on: str = "2020-01-06",
    terminated_on: str = "",
) -> str:
    """A line of an own list, under `HEADINGS`."""
    shown = name or f"Name {worker}"
    return f"{worker},{shown},{title},Tacoma,,{status},{hired_on},{terminated_on}"


def csv(*lines: str) -> bytes:
    return "\n".join((HEADINGS, *lines)).encode() + b"\n"


def state(
    worker: str,
    *,
    title: str = "Biller",
    ends_at: datetime | None = None,
    on_leave: bool = False,
    version: int = 1,
) -> WorkerState:
    """Somebody as provisioning publishes them, who works here unless they have left."""
    now = datetime.now(UTC)
    gone = ends_at is not None and ends_at <= now
    return WorkerState(
        ORGANIZATION,
        worker,
        0,
        version,
        now,
        WorkerStatus.TERMINATED if gone else WorkerStatus.ACTIVE,
        name=f"Name {worker}",
        employments=(
            Employment(
                f"{worker}-1",
                title,
                None,
                ("tacoma",),
                None,
                "employee",
                STARTED,
                ends_at,
                not gone,
                on_leave,
                STARTED if on_leave else None,
            ),
        ),
    )


@dataclass
class HrOffice:
    """Somebody in HR at a gateway, and what the gateway has heard."""

    door: Door
    roles: tuple[str, ...] = ("hr",)
    headers: dict[str, str] = field(default_factory=dict)

    async def begin(self) -> None:
        """Sign in where nothing was heard yet."""
        for table in (*TABLES, "outbox"):
            await self.door.fetch(f"DELETE FROM {table}")
        await self.sign_in()

    async def sign_in(self) -> None:
        answer = await self.door.http.post(
            "/session/token",
            headers={"Authorization": f"Bearer {await self.door.secret(*self.roles)}"},
        )
        self.headers = {"Authorization": f"Bearer {answer.json()['token']}"}

    async def know(self, *states: WorkerState) -> None:
        """Let the gateway have the directory and these workers, all of whom its source named."""

        async def store(conn: Connection) -> None:
            await picture_store.store_directory(
                conn,
                [
                    known(ORGANIZATION, "organization", an_organization(ORGANIZATION)),
                    known(ORGANIZATION, "source", Source(id=SOURCE, name="HR")),
                    known(ORGANIZATION, "site", _site()),
                    known(ORGANIZATION, "title", TitleMapping(id="Biller", duties=())),
                    known(ORGANIZATION, "title", TitleMapping(id="Coder", duties=())),
                ],
            )
            await picture_store.store_workers(conn, [picture_of(each) for each in states])
            await rosters_store.note_workers(
                conn, [(ORGANIZATION, SOURCE, each.worker) for each in states]
            )

        async with await create_pool(self.door.settings.database_url, max_size=1) as pool:
            await in_transaction(pool, store)

    async def send(self, content: bytes, name: str = "list.csv", **params: Any) -> httpx.Response:
        return await self.door.http.post(
            "/hr/v1/rosters",
            content=content,
            params={"source": SOURCE, "name": name} | params,
            headers=self.headers,
        )

    async def plan(self, content: bytes, name: str = "list.csv", **params: Any) -> Any:
        """What a list comes to."""
        answer = await self.send(content, name, **params)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        return await self.door.http.post(path, json=body or {}, headers=self.headers)

    async def get(self, path: str) -> Any:
        answer = await self.door.http.get(path, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def answer(self, answer: str, workers: Sequence[str] | None = None, **more: Any) -> Any:
        """What came of an answer about missing people."""
        body = {"source": SOURCE, "kind": "missing", "answer": answer, **more}
        if workers is not None:
            body["workers"] = list(workers)
        return await self.post("/hr/v1/questions/answers", body)

    async def said(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Type, worker and data of the HR events on their way, in order."""
        rows = await self.door.fetch(
            "SELECT headers, value FROM outbox WHERE topic = 'hr.worker-events.v1' ORDER BY id"
        )
        heads = [(orjson.loads(row["headers"]), orjson.loads(row["value"])) for row in rows]
        return [(head["ce_type"], head["ce_subject"], data) for head, data in heads]


def left(days: int) -> datetime:
    """The instant at which somebody left, so many days ago."""
    return datetime.now(UTC) - timedelta(days=days)


def _site() -> Site:
    return Site(id="tacoma", name="Tacoma", state="WA", tins=("12-3456789",))
