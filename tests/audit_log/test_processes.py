"""The audit log as it runs: service, signer and relay as processes, on a real Kafka."""

import asyncio
import base64
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import OKPKey

from deploy.embedded.processes import pick_free_port
from services.cli.audit_verify import Report, verify
from shared.auth import ISSUER
from shared.contracts.topics import CHECKPOINTS, HR_EVENTS
from shared.tlog.note import VerifierKey, open_checkpoint
from tests.audit_log.worlds import hired

pytestmark = pytest.mark.slow

WAIT_SECONDS = 60


@dataclass
class Processes:
    """The three processes with settings of their own."""

    kafka: str
    database: Mapping[str, str]
    folder: Path
    origin: str
    token: str
    port: int = field(default_factory=pick_free_port)
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, module: str, *arguments: str, role: str = "audit_log") -> None:
        ours = {
            "KAFKA": self.kafka,
            "DATABASE_URL": self.database[role],
            "PORT": str(self.port),
            "JWKS_FILE": str(self.folder / "jwks.json"),
            "LOG_ORIGIN": self.origin,
            "AUDIT_MASTER_KEY_FILE": str(self.folder / "master.key"),
            "AUDIT_EXPORTS_DIR": str(self.folder / "exports"),
            "AUDIT_KEYSTORE_DIR": str(self.folder / "keys"),
            "SIGNER_KEY_FILE": str(self.folder / "signer.pem"),
            "SIGNER_STATE_DIR": str(self.folder / "signer"),
        }
        self.running[module] = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"services.audit_log.{module}",
            *arguments,
            env=os.environ | {f"PORTALKEEPER_{name}": value for name, value in ours.items()},
            stderr=(self.folder / f"{module}.log").open("ab"),
        )

    async def kill(self, module: str, number: signal.Signals = signal.SIGKILL) -> int:
        process = self.running.pop(module)
        process.send_signal(number)
        return await asyncio.wait_for(process.wait(), 20)

    async def get(self, path: str, **query: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as http:
            answer = await http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def wait_until_up(self) -> None:
        async with httpx.AsyncClient(base_url=self.url) as http, asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    await http.get("/healthz")
                    return
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def wait_for(self, count: int, **query: Any) -> list[dict[str, Any]]:
        """Entries matching a search, once there are so many and all are signed."""
        entries: list[dict[str, Any]] = []
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                entries = (await self.get("/audit/v1/entries", limit=500, **query))["entries"]
                signed = (await self.get("/audit/v1/log"))["checkpoint_size"]
            except (httpx.HTTPError, AssertionError):
                signed = 0
            if len(entries) >= count and entries[0]["index"] < signed:
                return entries
            await asyncio.sleep(0.2)
        logs = "\n".join(path.read_text()[-2_000:] for path in self.folder.glob("*.log"))
        raise AssertionError(f"{len(entries)} of {count} entries after {WAIT_SECONDS} s\n{logs}")

    async def verify(self) -> Report:
        return await verify(
            self.url,
            self.token,
            remembered=self.folder / "remembered.json",
            progress=lambda *_: None,
        )


@pytest_asyncio.fixture(loop_scope="session")
async def processes(
    prepared_kafka: str, fresh_database: Mapping[str, str], tmp_path: Path
) -> AsyncIterator[Processes]:
    """Secrets and a free port; nothing runs yet, and everything is ended afterwards."""
    key = OKPKey.generate_key("Ed25519", {"use": "sig"}, auto_kid=True)
    (tmp_path / "jwks.json").write_bytes(orjson.dumps({"keys": [key.as_dict(private=False)]}))
    (tmp_path / "master.key").write_text(base64.b64encode(os.urandom(32)).decode())
    (tmp_path / "signer.pem").write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    claims = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": "auditor",
        "org": "cedar-sound",
        "scope": "audit:read ops:admin",
        "exp": int(time.time()) + 300,
    }
    token = jwt.encode({"alg": "Ed25519", "kid": key.kid}, claims, key, algorithms=["Ed25519"])
    origin = f"portalkeeper.local/{uuid4().hex[:8]}"
    made = Processes(prepared_kafka, fresh_database, tmp_path, origin, token)
    await made.start("projector", role="audit_search")
    yield made
    for module in list(made.running):
        await made.kill(module)


async def produce(kafka: str, worker: str, offsets: range) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        for number in offsets:
            record = hired(number, worker, id=f"{worker}-{number}")
            await producer.send(
                HR_EVENTS.name, record.value, record.key, headers=list(record.headers)
            )
        await producer.send_and_wait(HR_EVENTS.name, None, key=worker.encode())
        await producer.send_and_wait(HR_EVENTS.name, b"\xff", headers=[("ce_id", b"\xff")])


async def test_records_become_signed_entries_and_reading_them_does_too(
    processes: Processes,
) -> None:
    worker = f"W-{uuid4().hex[:8]}"
    await produce(processes.kafka, worker, range(20))
    await processes.start("main")
    await processes.wait_until_up()
    await asyncio.sleep(1)
    assert (await processes.get("/audit/v1/log"))["size"] == 0, "it waits for the signer"
    await processes.start("signer", role="audit_signer")
    await processes.start("relay")
    entries = await processes.wait_for(20, worker=worker, type="worker.hired")
    assert [entry["offset"] for entry in entries] == sorted(
        (entry["offset"] for entry in entries), reverse=True
    )
    reads = await processes.wait_for(1, type="audit.read")
    shown = await processes.get(f"/audit/v1/entries/{reads[0]['index']}")
    assert shown["payload"]["value"]["what"] == "entries"
    assert (await processes.get("/ops/v1/status"))["log"]["origin"] == processes.origin
    assert (await processes.get("/readyz"))["ready"]
    report = await processes.verify()
    assert report.good, report.problems
    assert report.payloads >= 22
    assert await announced(processes, report) >= 1
    # uvicorn stops cleanly and then ends by the signal it was sent.
    assert await processes.kill("main", signal.SIGTERM) == -signal.SIGTERM
    assert await processes.kill("signer", signal.SIGTERM) == 0


async def announced(processes: Processes, report: Report) -> int:
    """How many checkpoints of this log are on Kafka, each signed; the last is the current one."""
    key = VerifierKey.parse(report.public_key)
    sizes: list[int] = []
    async with AIOKafkaConsumer(
        CHECKPOINTS.name, bootstrap_servers=processes.kafka, auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(WAIT_SECONDS):
            while not sizes or sizes[-1] < report.size:
                record = await consumer.getone()
                if record.key == processes.origin.encode():
                    sizes.append(open_checkpoint(record.value.decode(), key).size)
    assert sizes == sorted(set(sizes))
    return len(sizes)


async def test_a_service_killed_again_and_again_appends_each_record_once(
    processes: Processes,
) -> None:
    worker = f"W-{uuid4().hex[:8]}"
    await processes.start("signer", role="audit_signer")
    producing = asyncio.create_task(produce_slowly(processes.kafka, worker))
    for seconds in (2.5, 2.0, 2.7):
        await processes.start("main")
        await asyncio.sleep(seconds)
        await processes.kill("main")
    await processes.kill("signer")
    await processes.start("signer", role="audit_signer")
    await processes.start("main")
    await producing
    entries = await processes.wait_for(400, worker=worker, type="worker.hired")
    assert len(entries) == 400
    assert {entry["label"] for entry in entries} == {None}
    report = await processes.verify()
    assert report.good, report.problems


async def produce_slowly(kafka: str, worker: str) -> None:
    for start in range(0, 400, 20):
        await produce(kafka, worker, range(start, start + 20))
        await asyncio.sleep(0.3)


async def test_a_signer_without_memory_of_an_existing_log_ends_with_an_error(
    processes: Processes,
) -> None:
    worker = f"W-{uuid4().hex[:8]}"
    await produce(processes.kafka, worker, range(1))
    await processes.start("signer", role="audit_signer")
    await processes.start("main")
    await processes.wait_for(1, worker=worker)
    await processes.kill("signer")
    (processes.folder / "signer" / "signed.json").unlink()
    await processes.start("signer", role="audit_signer")
    assert await asyncio.wait_for(processes.running.pop("signer").wait(), 20) == 1
    assert "nothing is remembered" in (processes.folder / "signer.log").read_text()
    await processes.start("signer", "--new-log", role="audit_signer")
    await produce(processes.kafka, worker, range(1, 2))
    await processes.wait_for(2, worker=worker)
    assert (await processes.verify()).good
