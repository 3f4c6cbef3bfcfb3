"""The workload of the benchmarks: HR events of about 600 bytes, generated from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from shared.contracts.directory import Directory
from shared.contracts.envelope import binary_headers, event_key

ORGANIZATION = "bench"
SOURCE = "/hr/bench"
TIN = "12-3456789"
START = datetime(2026, 3, 1, 16, 0, tzinfo=UTC)
TITLES = ("Front Desk", "Biller")
HIRED_SHARE = 0.25
"""One event in four is a hire with three logins to open; the others change what is known."""


@dataclass(frozen=True, slots=True)
class Message:
    """One record to produce."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


PORTALS = 3
"""As many as the peer writes accounts."""


def directory(version: str = "v1", connector: str = "manual", count: int = PORTALS) -> Directory:
    """So many portals for everybody."""
    portals = [
        {
            "id": f"portal-{number}",
            "name": f"Portal {number}",
            "kind": "standalone",
            "connector": connector,
            "starts": "new",
            "url": f"https://portal-{number}.example",
            "reaches": [
                {
                    "carrier": f"carrier-{number}",
                    "functions": ["eligibility", "benefits", "claim_status"],
                }
            ],
        }
        for number in range(count)
    ]
    return Directory.model_validate(
        {
            "organization": {
                "id": ORGANIZATION,
                "name": "Bench",
                "zone": "America/Los_Angeles",
                "tins": [TIN],
            },
            "policy": {"version": version, "signatory": "Nobody", "signed_on": "2026-01-01"},
            "sources": [{"id": SOURCE, "name": "HR"}],
            "sites": [{"id": "north", "name": "North", "state": "WA", "tins": [TIN]}],
            "carriers": [
                {"id": f"carrier-{number}", "name": f"Carrier {number}", "kind": "commercial"}
                for number in range(count)
            ],
            "contracts": [
                {
                    "id": f"contract-{number}",
                    "carrier": f"carrier-{number}",
                    "tins": [TIN],
                    "since": "2020-01-01",
                }
                for number in range(count)
            ],
            "portals": portals,
            "enrolments": [
                {
                    "id": f"enrolment-{number}",
                    "portal": f"portal-{number}",
                    "tin": TIN,
                    "registered_on": "2020-01-01",
                }
                for number in range(count)
            ],
            "titles": [
                {"id": "Front Desk", "duties": ["front-desk"]},
                {"id": "Biller", "duties": ["billing"]},
            ],
            "job_duties": [
                {"id": "front-desk", "name": "Front desk", "functions": ["eligibility"]},
                {"id": "billing", "name": "Billing", "functions": ["claim_status"]},
            ],
        }
    )


def hr_message(type_: str, worker: str, id_: str, time: datetime, data: dict[str, Any]) -> Message:
    """One HR event in binary mode."""
    headers = binary_headers(
        id=id_, type=type_, source=SOURCE, subject=worker, time=time, organization=ORGANIZATION
    )
    return Message(
        event_key(ORGANIZATION, worker).encode(),
        orjson.dumps(data),
        [(name, value.encode()) for name, value in headers.items()],
    )


def hire(worker: str, title: str, time: datetime) -> Message:
    """A hire with the fields that HR systems send."""
    return hr_message(
        "worker.hired",
        worker,
        f"{worker}-hired",
        time,
        {
            "employment_id": f"{worker}-1",
            "effective_on": "2026-01-05",
            "title": title,
            "department": "Patient financial services, second floor",
            "sites": ["north"],
            "supervisor": "W-00001",
            "kind": "employee",
            "name": f"Worker with a name of usual length {worker}",
            "email": f"{worker.lower()}@clinic.example",
        },
    )


def termination(worker: str, id_: str, time: datetime) -> Message:
    """An immediate termination."""
    return hr_message(
        "worker.terminated",
        worker,
        id_,
        time,
        {
            "employment_id": f"{worker}-1",
            "effective_at": "2026-03-01T16:00:00Z",
            "immediate": True,
            "voluntary": False,
        },
    )


def events(count: int, *, seed: int = 1, workers: int = 5_000) -> list[Message]:
    """`count` events: hires of up to `workers`, then changes of those hired, in a fixed order."""
    random = Random(seed)
    hires = min(workers, int(count * HIRED_SHARE))
    names = [f"W-{number:05}" for number in range(hires)]
    made = [
        hire(name, TITLES[number % 2], START + timedelta(seconds=number))
        for number, name in enumerate(names)
    ]
    for number in range(count - hires):
        worker = random.choice(names)
        time = START + timedelta(days=1, seconds=number)
        id_ = f"event-{number:08}-{random.getrandbits(64):016x}"
        kind = random.random()
        if kind < 0.5:
            data: dict[str, Any] = {
                "employment_id": f"{worker}-1",
                "effective_on": "2026-02-01",
                "department": f"Department {random.randrange(40)} of the patient accounts office",
                "supervisor": f"W-{random.randrange(hires):05}",
                "sites": ["north"],
                "kind": "employee",
            }
            made.append(hr_message("worker.changed", worker, id_, time, data))
        elif kind < 0.65:
            data = {
                "employment_id": f"{worker}-1",
                "effective_on": "2026-02-02",
                "title": random.choice(TITLES),
                "department": f"Department {random.randrange(40)} of the patient accounts office",
                "supervisor": f"W-{random.randrange(hires):05}",
                "sites": ["north"],
            }
            made.append(hr_message("worker.changed", worker, id_, time, data))
        elif kind < 0.85:
            data = {
                "effective_on": "2026-02-03",
                "name": f"Corrected name of usual length number {random.randrange(10_000)}",
                "email": f"corrected.address.{random.randrange(10_000)}@clinic.example",
            }
            made.append(hr_message("worker.identity_corrected", worker, id_, time, data))
        else:
            data = {
                "module": f"module-{random.randrange(5)}",
                "version": "2026.1",
                "completed_on": "2026-02-04",
                "expires_on": "2027-02-04",
            }
            made.append(hr_message("worker.training_completed", worker, id_, time, data))
    return made


async def produce(kafka: str, topic: str, messages: list[Message]) -> None:
    """Produce in order per key, as fast as one producer can."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, acks="all", enable_idempotence=True, max_batch_size=256 * 1024
    )
    await producer.start()
    try:
        futures = [
            await producer.send(topic, message.value, key=message.key, headers=message.headers)
            for message in messages
        ]
        for future in futures:
            await future
    finally:
        await producer.stop()
