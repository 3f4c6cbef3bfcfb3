"""An audit log of one test's own: real database, key store, signer and HTTP server."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import httpx
import orjson
import uvicorn
from aiokafka import ConsumerRecord
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import OKPKey

from services.audit_log import store
from services.audit_log.api import Reading, routers
from services.audit_log.crypto import KeyStore
from services.audit_log.handlers.appending import AuditHandler, Draft
from services.audit_log.handlers.erasing import RETENTION_YEARS, Eraser
from services.audit_log.handlers.exporting import Exporter
from services.audit_log.projector import Projector
from services.audit_log.rules.terms import SECRET_LABEL, Terms
from services.audit_log.signer import Signer, SignerState
from services.audit_log.store import search
from services.cli.audit_verify import Report, verify
from shared import problems
from shared.auth import ISSUER, Authenticator
from shared.clock import DatabaseClock
from shared.contracts.envelope import binary_headers, event_key
from shared.contracts.topics import HR_EVENTS
from shared.kafka import Batch, Gap, Item
from shared.postgres import create_pool, in_transaction
from shared.tlog.note import SignerKey

ORIGIN = "portalkeeper.local/test"
MASTER_KEY = bytes(range(32))
WHEN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)

Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"


def raw_record(
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]] = (),
    topic: str = HR_EVENTS.name,
    partition: int = 0,
) -> Record:
    """A Kafka record exactly as given."""
    return ConsumerRecord(
        topic,
        partition,
        offset,
        1_772_438_400_000 + offset,
        1,
        key,
        value,
        None,
        len(key or b""),
        len(value or b""),
        tuple(headers),
    )


def hired(
    offset: int,
    worker: str = "W-1",
    *,
    id: str | None = None,
    title: str = "Billing Specialist",
    organization: str = "cedar-sound",
    topic: str = HR_EVENTS.name,
    partition: int = 0,
) -> Record:
    """A `worker.hired` event in binary mode."""
    headers = binary_headers(
        id=id or f"event-{partition}-{offset}",
        type="worker.hired",
        source="hr-suite",
        subject=worker,
        time=WHEN,
        organization=organization,
    )
    return raw_record(
        offset,
        event_key(organization, worker).encode(),
        orjson.dumps({"employment_id": f"{worker}-1", "title": title}),
        [(name, text.encode()) for name, text in headers.items()],
        topic,
        partition,
    )


@dataclass
class World:
    """One log with everything around it."""

    database: Mapping[str, str]
    folder: Path
    pool: "asyncpg.Pool[Any]"
    keys: KeyStore
    handler: AuditHandler
    search_pool: "asyncpg.Pool[Any]"
    projector: Projector
    key: SignerKey
    token_key: OKPKey
    url: str = ""
    reading: Reading = field(init=False)
    exporter: Exporter = field(init=False)
    eraser: Eraser = field(init=False)
    signer: Signer | None = None
    signer_conn: "asyncpg.Connection[Any] | None" = None
    states: list[SignerState] = field(default_factory=list)

    async def append(self, *records: Record, gaps: Sequence[Gap] = ()) -> None:
        """Append records in one transaction, as the consumer does."""
        batch: Batch[Draft] = Batch(
            [Item(record, self.handler.parse(record)) for record in records], list(gaps)
        )
        await in_transaction(self.pool, lambda conn: self.handler.apply(conn, batch))
        while await self.projector.project(self.search_pool):
            pass

    async def caught_up(self) -> bool:
        """Tests say themselves what is known of access."""
        return True

    async def sign(self) -> str:
        """Sign the log as it is; the note."""
        assert self.signer is not None
        assert self.signer_conn is not None
        await self.signer.sign_growth(self.signer_conn)
        return self.signer.note

    async def start_signer(self, *, new_log: bool = False) -> Signer:
        """A signer process's worth, which takes up what the state folder remembers."""
        await self.stop_signer()
        state = SignerState(self.folder / "signer")
        self.states.append(state)
        self.signer = Signer(self.key, state)
        self.signer_conn = await asyncpg.connect(self.database["audit_signer"])
        await self.signer.begin(self.signer_conn, new_log=new_log)
        return self.signer

    async def stop_signer(self) -> None:
        """End the signer; its folder stays."""
        self.signer = None
        for state in self.states:
            state.close()
        self.states.clear()
        if self.signer_conn is not None:
            await self.signer_conn.close()
            self.signer_conn = None

    async def forget_signed(self) -> None:
        """End the signer and lose its state."""
        await self.stop_signer()
        (self.folder / "signer" / "signed.json").unlink()

    async def sabotage(self, *statements: str) -> None:
        """Change tables as the database's superuser, past grants and triggers."""
        conn = await asyncpg.connect(self.database["admin"])
        try:
            await conn.execute("SET search_path = audit_log")
            await conn.execute("SET session_replication_role = replica")
            for statement in statements:
                await conn.execute(statement)
        finally:
            await conn.close()

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Read tables as the superuser."""
        conn = await asyncpg.connect(self.database["admin"])
        try:
            await conn.execute("SET search_path = audit_log")
            rows: list[Any] = await conn.fetch(query, *arguments)
            return rows
        finally:
            await conn.close()

    def token(
        self, organization: str = "cedar-sound", scope: str = "audit:read", sub: str = "auditor"
    ) -> str:
        """A token as the gateway gives it."""
        claims = {
            "iss": ISSUER,
            "aud": ISSUER,
            "sub": sub,
            "org": organization,
            "scope": scope,
            "fresh": True,
            "exp": int(time.time()) + 300,
        }
        header = {"alg": "Ed25519", "kid": self.token_key.kid}
        return jwt.encode(header, claims, self.token_key, algorithms=["Ed25519"])

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """An HTTP client of the log, as an auditor unless another token is given."""
        headers = {"Authorization": f"Bearer {token or self.token()}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=10)

    async def verify(self, token: str | None = None) -> Report:
        """What an auditor with a remembered checkpoint finds."""
        remembered = self.folder / "remembered.json"
        return await verify(
            self.url, token or self.token(), remembered=remembered, progress=lambda *_: None
        )


@asynccontextmanager
async def make_world(
    database: Mapping[str, str],
    folder: Path,
    *,
    key: SignerKey | None = None,
    origin: str = ORIGIN,
) -> AsyncIterator[World]:
    """A new log, empty and signed as such, or one that was restored, with the key it had."""
    pool = await create_pool(database["audit_log"], max_size=6)
    keys = KeyStore(folder / "keys", MASTER_KEY)
    async with pool.acquire() as conn:
        await store.open_log(conn, origin)
    token_key = OKPKey.generate_key("Ed25519", {"use": "sig"}, auto_kid=True)
    jwks = folder / "jwks.json"
    jwks.write_bytes(orjson.dumps({"keys": [token_key.as_dict(private=False)]}))
    handler = AuditHandler(origin, keys, DatabaseClock())
    key = key or SignerKey(origin, Ed25519PrivateKey.generate())
    search_pool = await create_pool(database["audit_search"], max_size=2)
    async with search_pool.acquire() as conn:
        await search.prepare(conn)
    projector = Projector(keys)
    world = World(database, folder, pool, keys, handler, search_pool, projector, key, token_key)
    app = FastAPI()
    problems.install(app)
    reading = Reading(pool, keys, DatabaseClock(), origin, Terms(keys.derive(SECRET_LABEL)))
    world.exporter = Exporter(reading, folder / "exports")
    world.eraser = Eraser(reading, RETENTION_YEARS, world.caught_up)
    world.reading = reading
    for router in routers(reading, world.exporter, world.eraser, Authenticator(jwks)):
        app.include_router(router)
    try:
        await world.start_signer()
        async with serving(app) as url:
            world.url = url
            yield world
    finally:
        await world.stop_signer()
        await search_pool.close()
        await pool.close()


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """A real server for `app` on a free port; its URL."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1)
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def b64(raw: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(raw).decode()
