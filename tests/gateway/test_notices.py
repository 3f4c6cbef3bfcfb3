"""Who is told of what, by real mail and real webhooks, how often, and what is said of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
import yaml
from aiokafka import AIOKafkaProducer
from aiosmtpd.controller import Controller
from standardwebhooks import Webhook, WebhookVerificationError

from deploy.embedded.processes import pick_free_port
from services.gateway.channels import Channels, Reach, load_channels
from services.gateway.handlers.notices import GATHER_URGENT, Notifier
from services.gateway.notifier import build_app
from services.gateway.rules.notices import (
    Ended,
    Kind,
    Matter,
    People,
    recipients,
    subject_line,
    words_of,
)
from services.gateway.sealing import BodySeal
from services.gateway.store import notices as store
from shared.contracts.directory import Administrator
from shared.contracts.topics import ACCESS_EVENTS
from shared.postgres import Connection, create_pool
from tests.gateway.conftest import MakeSettings
from tests.servers import ROOT

ORGANIZATION = "harbor"
SECRET = "whsec_b3V0Z29pbmctc2VjcmV0LW91dGdvaW5nLXNlY3JldA=="
NOW = datetime(2026, 6, 15, 16, 0, tzinfo=UTC)
DUE = NOW + timedelta(hours=1)
PATIENCE_SECONDS = 60


class Post:
    """A mail server; it takes mail while it is `open`."""

    def __init__(self) -> None:
        self.mail: list[Message] = []
        self.open = True
        self._controller = Controller(self, hostname="127.0.0.1", port=pick_free_port())
        self._controller.start()
        self.address = f"127.0.0.1:{self._controller.port}"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if not self.open:
            return "451 not now"
        self.mail.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    def stop(self) -> None:
        self._controller.stop()

    def subjects(self) -> list[str]:
        return [str(each["subject"]) for each in self.mail]


class Receiver:
    """A program that is told over HTTP, and answers with `status`."""

    def __init__(self) -> None:
        self.status = 204
        self.calls: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.calls.append((dict(self.headers.items()), body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class SetClock:
    def __init__(self) -> None:
        self.at = NOW

    async def now(self, _conn: Connection) -> datetime:
        return self.at


@dataclass
class Office:
    """A notifier with a mail server and a program at its other end, and a clock to set."""

    pool: Any
    notifier: Notifier
    post: Post
    receiver: Receiver
    clock: SetClock = field(default_factory=SetClock)

    async def know(self, worker: str, email: str | None = None, status: str = "active") -> None:
        await self.pool.execute(
            "INSERT INTO known_worker (organization, worker, epoch, version, state)"
            " VALUES ($1, $2, 0, 1, $3) ON CONFLICT (organization, worker)"
            " DO UPDATE SET state = excluded.state",
            ORGANIZATION,
            worker,
            {"worker": worker, "status": status, "email": email},
        )

    async def enact(self, kind: str, id_: str, data: Mapping[str, Any]) -> None:
        await self.pool.execute(
            "INSERT INTO directory_object (organization, kind, id, epoch, version, data)"
            " VALUES ($1, $2, $3, 0, 1, $4)",
            ORGANIZATION,
            kind,
            id_,
            dict(data),
        )

    async def note(self, *matters: Matter) -> None:
        async with self.pool.acquire() as conn:
            await store.note(conn, ORGANIZATION, matters, self.clock.at)

    async def work(self) -> None:
        """Everything that is due now."""
        for step in (
            self.notifier.address,
            self.notifier.tell_urgent,
            self.notifier.tell_others,
        ):
            while await step():
                pass

    async def told(self) -> list[store.Told]:
        async with self.pool.acquire() as conn:
            return await store.told(conn, ORGANIZATION, None, 100)

    async def said(self) -> list[tuple[str, dict[str, Any]]]:
        rows = await self.pool.fetch("SELECT headers, value FROM outbox ORDER BY id")
        return [
            (orjson.loads(row["headers"])["ce_type"], orjson.loads(row["value"])) for row in rows
        ]


@pytest.fixture
def post() -> Iterator[Post]:
    opened = Post()
    yield opened
    opened.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def office(
    fresh_database: Mapping[str, str], post: Post, receiver: Receiver
) -> AsyncIterator[Office]:
    reach = Reach.model_validate(reach_of(post, receiver))
    pool = await create_pool(fresh_database["gateway"])
    async with httpx.AsyncClient() as http:
        clock = SetClock()
        seal = BodySeal(b"k" * 32)
        channels = Channels({ORGANIZATION: reach}, http)
        home = "https://portalkeeper.example"
        opened = Office(pool, Notifier(pool, clock, channels, seal, home), post, receiver, clock)
        await opened.enact(
            "organization", ORGANIZATION, {"zone": "America/Los_Angeles", "on_call": ["olga"]}
        )
        await opened.enact("portal", "noridian", {"name": "Noridian"})
        appointed = Administrator.model_validate(
            {
                "id": "noridian-ann",
                "portal": "noridian",
                "worker": "ann",
                "deputy": "dora",
                "since": "2024-01-01",
            }
        )
        await opened.enact("administrator", "noridian-ann", appointed.model_dump(mode="json"))
        for name in ("ann", "dora", "olga"):
            await opened.know(name, f"{name}@harbor.example")
        yield opened
    await pool.close()


def reach_of(post: Post, receiver: Receiver) -> dict[str, Any]:
    mail = f"mailto://{post.address}?mode=insecure&from=keeper@harbor.example&to={{address}}"
    return {
        "channels": {"email": mail},
        "webhooks": [
            {"id": "pager", "url": receiver.url, "secrets": [SECRET], "kinds": ["removal"]}
        ],
    }


def removal(id_: str = "op-1", about: str = "bob") -> Matter:
    path = f"/work/{id_}"
    return Matter(id_, Kind.REMOVAL, path, DUE, about=about, portal="noridian", to_on_call=True)


async def test_an_urgent_removal_reaches_administrator_deputy_and_who_is_on_call(
    office: Office,
) -> None:
    await office.note(removal(), removal("op-2"))
    await office.work()
    assert office.post.mail == [], "what belongs together is gathered first"
    office.clock.at += GATHER_URGENT
    await office.work()
    assert sorted(str(each["to"]) for each in office.post.mail) == [
        "ann@harbor.example",
        "dora@harbor.example",
        "olga@harbor.example",
    ]
    assert set(office.post.subjects()) == {"Portalkeeper: 2 accesses to remove"}
    text = str(office.post.mail[0].get_body(("plain",)).get_content())  # type: ignore[attr-defined]
    assert "https://portalkeeper.example/work/op-1" in text
    assert "Noridian, due Mon 15 Jun 10:00 PDT" in text
    assert "bob" not in office.post.mail[0].as_string()
    delivered = [data for kind, data in await office.said() if kind == "notification.delivered"]
    assert {
        "recipient": "ann",
        "channels": ["email"],
        "about": ["op-1", "op-2"],
        "attempts": 1,
    } in (delivered)


async def test_an_urgent_removal_is_sent_again_under_its_key_until_it_is_delivered(
    office: Office,
) -> None:
    office.post.open, office.receiver.status = False, 503
    await office.note(removal())
    for minutes in (1, 2, 6):
        office.clock.at += timedelta(minutes=minutes)
        await office.work()
    assert office.post.mail == []
    office.post.open, office.receiver.status = True, 204
    office.clock.at += timedelta(minutes=15)
    await office.work()
    assert len(office.post.mail) == 3
    assert len({headers["webhook-id"] for headers, _ in office.receiver.calls}) == 1
    assert {each.status for each in await office.told()} == {"delivered"}
    said = [
        (kind, data["attempts"]) for kind, data in await office.said() if data["recipient"] == "ann"
    ]
    assert said == [("notification.failed", 1), ("notification.delivered", 3)]
    office.clock.at += timedelta(days=2)
    await office.work()
    assert len(office.post.mail) == 3


async def test_what_is_not_urgent_is_one_digest_a_day_and_sent_at_most_once(office: Office) -> None:
    await office.note(
        *(Matter(f"op-{each}", Kind.WORK, "/work", None, portal="noridian") for each in range(30)),
        Matter("review-1", Kind.REVIEW, "/reviews/1", DUE, about="bob", workers=("ann",)),
    )
    office.clock.at += timedelta(hours=1)
    await office.work()
    assert office.post.mail == []
    office.post.open = False
    office.clock.at = datetime(2026, 6, 16, 15, 0, tzinfo=UTC)
    await office.work()
    office.post.open = True
    office.clock.at += timedelta(days=3)
    await office.work()
    assert office.post.mail == [], "what was claimed and refused is not sent again"
    assert {each.status for each in await office.told()} == {"failed"}
    await office.note(Matter("op-31", Kind.WORK, "/work", None, portal="noridian"))
    office.clock.at += timedelta(days=1)
    await office.work()
    office.clock.at += timedelta(days=1)
    await office.work()
    assert office.post.subjects() == ["Portalkeeper: 1 new task"]


async def test_what_ended_before_it_was_told_is_told_nobody(office: Office) -> None:
    await office.note(removal(), removal("op-2"))
    await office.work()
    async with office.pool.acquire() as conn:
        await store.end(conn, ORGANIZATION, [Ended("op-1"), Ended("op-2")], office.clock.at)
    office.clock.at += timedelta(minutes=1)
    await office.work()
    assert office.post.mail == []
    assert {each.status for each in await office.told()} == {"withdrawn"}


async def test_who_has_no_address_is_named_with_what_to_do(office: Office) -> None:
    await office.know("ann")
    await office.note(removal())
    office.clock.at += timedelta(minutes=1)
    await office.work()
    office.clock.at += timedelta(minutes=1)
    await office.work()
    (failed,) = [data for kind, data in await office.said() if kind == "notification.failed"]
    assert (failed["recipient"], failed["code"]) == ("ann", "no_address")
    await office.notifier.save_addresses(ORGANIZATION, "ann", {"email": "ann@home.example"})
    office.clock.at += timedelta(minutes=5)
    await office.work()
    assert "ann@home.example" in {str(each["to"]) for each in office.post.mail}
    (kept,) = await office.pool.fetch("SELECT sealed FROM contact")
    assert b"home.example" not in kept["sealed"]


async def test_a_webhook_is_signed_and_says_no_name(office: Office) -> None:
    await office.note(removal())
    await office.work()
    office.clock.at += timedelta(minutes=1)
    await office.work()
    ((headers, body),) = office.receiver.calls
    lowered = {name.lower(): value for name, value in headers.items()}
    said = Webhook(SECRET).verify(body, lowered)
    assert (said["type"], said["about"]) == ("portalkeeper.removal", "op-1")
    assert "bob" not in json.dumps(said)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", lowered)


async def test_an_order_on_kafka_becomes_mail(
    make_settings: MakeSettings,
    prepared_kafka: str,
    office: Office,
    fresh_database: Mapping[str, str],
    tmp_path: Any,
) -> None:
    file = tmp_path / "notify.yaml"
    file.write_text(yaml.safe_dump({ORGANIZATION: reach_of(office.post, office.receiver)}))
    settings = make_settings(
        kafka=prepared_kafka, database_url=fresh_database["gateway"], notify_file=file
    )
    app = await build_app(settings)
    async with app.router.lifespan_context(app):
        producer = AIOKafkaProducer(bootstrap_servers=prepared_kafka)
        await producer.start()
        value, headers = an_order()
        await producer.send_and_wait(ACCESS_EVENTS.name, value, b"harbor/bob", headers=headers)
        await producer.stop()
        for _ in range(PATIENCE_SECONDS * 10):
            if len(office.post.mail) == 3:
                break
            await asyncio.sleep(0.1)
    assert set(office.post.subjects()) == {"Portalkeeper: 1 access to remove"}


def an_order() -> tuple[bytes, list[tuple[str, bytes]]]:
    now = datetime.now(UTC)
    headers = {
        "ce_id": f"order-{now.timestamp()}",
        "ce_type": "operation.requested",
        "ce_source": "/portalkeeper/provisioning",
        "ce_subject": "bob",
        "ce_time": now.isoformat(),
        "ce_specversion": "1.0",
        "ce_organization": ORGANIZATION,
        "content-type": "application/json",
    }
    data = order(requested_at=now.isoformat(), deadline=(now + timedelta(hours=1)).isoformat())
    return orjson.dumps(data), [(name, value.encode()) for name, value in headers.items()]


def order(**changes: Any) -> dict[str, Any]:
    return {
        "operation_id": "op-9",
        "worker": "bob",
        "portal": "noridian",
        "kind": "suspend",
        "tin": None,
        "function": None,
        "generation": 1,
        "status": "requested",
        "rights": [],
        "authorized_by": None,
        "reason": {"rule": "left", "events": []},
        "requested_at": NOW.isoformat(),
        "deadline": DUE.isoformat(),
        "claimed_by": None,
        "steps": [{"actor": "administrator", "text": "Deactivate"}],
        "rank": 50,
        **changes,
    }


def words(type_: str, data: dict[str, Any]) -> list[Any]:
    return list(words_of(type_, NOW, orjson.dumps(data), data))


def test_a_removal_is_urgent_when_it_is_due_within_a_day() -> None:
    (now,) = words("operation.requested", order())
    (later,) = words("operation.requested", order(deadline=(NOW + timedelta(days=9)).isoformat()))
    assert (now.kind, now.to_on_call) == (Kind.REMOVAL, True)
    assert (later.kind, later.to_on_call) == (Kind.WORK, False)


def test_a_step_of_the_holder_is_told_the_holder_and_the_rest_the_administrator() -> None:
    steps = [{"actor": "worker", "text": "Register"}, {"actor": "administrator", "text": "Approve"}]
    own, work = words("operation.requested", order(kind="grant", steps=steps))
    assert (own.kind, own.workers, own.path) == (Kind.OWN_STEP, ("bob",), "/mine")
    assert (work.kind, work.portal) == (Kind.WORK, "noridian")
    keep = [{"actor": "worker", "text": "Sign in"}]
    (alive,) = words("operation.requested", order(kind="keep_alive", steps=keep))
    assert alive.workers == ("bob",)


def test_the_end_of_an_operation_ends_all_that_is_told_of_it() -> None:
    assert words("operation.confirmed", order()) == [Ended("op-9")]


@pytest.mark.parametrize(
    ("type_", "kind", "path", "told"),
    [
        ("review.asked", Kind.QUESTION, "/reviews/questions", ("w7",)),
        ("review.answered", Kind.ANSWER, "/reviews/5b0f3c52-7f5f-4a5e-9c0e-0f6f0d4a7e11", ("w9",)),
        (
            "review.removal_overdue",
            Kind.REMOVAL_LATE,
            "/reviews/5b0f3c52-7f5f-4a5e-9c0e-0f6f0d4a7e11",
            ("w9",),
        ),
    ],
)
def test_questions_answers_and_late_removals_of_reviews_are_told(
    type_: str, kind: Kind, path: str, told: tuple[str, ...]
) -> None:
    example = ROOT / "shared" / "contracts" / "examples" / f"{type_}.json"
    (matter,) = words(type_, orjson.loads(example.read_bytes())["data"])

    assert (matter.kind, matter.path, matter.workers) == (kind, path, told)


ANN = Administrator.model_validate(
    {"id": "a", "portal": "noridian", "worker": "ann", "deputy": "dora", "since": "2024-01-01"}
)
TODAY = date(2026, 6, 15)


def test_nobody_is_told_of_their_own_removal_not_even_the_administrator() -> None:
    people = People([ANN], ("olga", "ann"))
    assert recipients(removal(about="ann"), people, TODAY) == ["dora", "olga"]


def test_who_has_left_is_told_nothing_and_their_deputy_is() -> None:
    people = People([ANN], gone=frozenset({"ann"}))
    task = Matter("op", Kind.WORK, "/work", None, portal="noridian")
    assert recipients(task, people, TODAY) == ["dora"]


def test_a_portal_without_an_administrator_is_told_who_is_on_call() -> None:
    task = Matter("op", Kind.WORK, "/work", None, portal="elsewhere")
    assert recipients(task, People([ANN], ("olga",)), TODAY) == ["olga"]


def test_a_subject_line_counts_and_names_nobody() -> None:
    assert subject_line([Kind.WORK, Kind.REMOVAL, Kind.WORK]) == (
        "Portalkeeper: 1 access to remove, 2 new tasks"
    )


def test_a_wrong_file_is_told_without_its_passwords(tmp_path: Any) -> None:
    file = tmp_path / "notify.yaml"
    file.write_text("harbor: {channels: {email: 7}, teams: [{name: x, url: 'slack://s3cret'}]}")
    with pytest.raises(ValueError, match=r"notify\.yaml is wrong") as error:
        load_channels(file)
    assert "s3cret" not in str(error.value)


async def test_who_is_erased_leaves_nothing_behind(office: Office) -> None:
    from services.gateway.store import picture

    await office.notifier.save_addresses(ORGANIZATION, "ann", {"email": "ann@home.example"})
    await office.note(removal(), removal("op-2", about="ann"))
    await office.work()
    erased = picture.WorkerPicture(ORGANIZATION, "ann", 0, 2, None, None)
    async with office.pool.acquire() as conn:
        await picture.store_workers(conn, [erased])
    assert await office.pool.fetch("SELECT 1 FROM contact") == []
    assert "ann" not in {each.recipient for each in await office.told()}
    assert {each.key for each in await office.told()} == {"op-1"}
