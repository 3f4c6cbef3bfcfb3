"""Small organizations and what HR says about their workers, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

import orjson

from shared.contracts.directory import Directory
from shared.contracts.envelope import binary_headers, event_key
from tests.provisioning.worlds import NOW, OTHER_TIN, SOURCE, TIN, day, directory

WORKERS = ("w1", "w2", "w3", "w4", "Ö 5/x")
OTHER_SOURCE = "/hr/other"
UNBOUND_SOURCE = "/hr/nobody-knows"
TITLES = ("Front Desk", "Biller", "biller ", "Nurse", "Astronaut")
STORY_DAYS = 30
"""HR's records span this many days before the simulation begins."""


@dataclass(frozen=True, slots=True)
class Said:
    """One HR event as its source says it; the same one may be sent more than once."""

    type: str
    worker: str
    id: str
    time: datetime
    data: dict[str, Any]
    source: str = SOURCE
    entered_by: str | None = None

    @property
    def acceptable(self) -> bool:
        """Whether provisioning must keep it."""
        return (
            self.source != UNBOUND_SOURCE
            and self.type != "worker.levitated"
            and self.data.get("previous_worker_id") != self.worker
        )


@dataclass(frozen=True, slots=True)
class Letter:
    """What a record carries: bytes, and the saying in them if it can be read."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    said: Said | None


def letter(said: Said, organization: str) -> Letter:
    """The event in binary mode."""
    headers = binary_headers(
        id=said.id,
        type=said.type,
        source=said.source,
        subject=said.worker,
        time=said.time,
        organization=organization,
        extensions={"enteredby": said.entered_by} if said.entered_by else None,
    )
    return Letter(
        event_key(organization, said.worker).encode(),
        orjson.dumps(said.data),
        tuple((name, value.encode()) for name, value in headers.items()),
        said if said.acceptable else None,
    )


def broken_letter(random: Random, said: Said, organization: str) -> Letter:
    """A record nobody can apply."""
    good = letter(said, organization)
    match random.randrange(4):
        case 0:
            return Letter(good.key, b"{", good.headers, None)
        case 1:
            return Letter(good.key, good.value, good.headers[1:], None)
        case 2:
            return Letter(b"other/key", good.value, good.headers, None)
        case _:
            return Letter(good.key, None, good.headers, None)


class Author:
    """Writes one organization's HR story."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._said: list[Said] = []
        self._workers = WORKERS[: random.randint(2, len(WORKERS))]
        self._employments = {
            worker: [f"{worker}-e{number}" for number in (1, 2)] for worker in self._workers
        }

    def write(self) -> list[Said]:
        """Everything HR will ever say, in the order of recording."""
        for worker in self._workers:
            self._live(worker)
        for _ in range(self._random.randint(0, 5)):
            self._disturb()
        return sorted(self._said, key=lambda said: said.time)

    def draw_from(self, random: Random) -> None:
        """Take chances from somewhere else from now on."""
        self._random = random

    def tell_of_somebody(self) -> list[Said]:
        """What HR says about one worker, beside what it said before."""
        before = len(self._said)
        self._live(self._random.choice(self._workers))
        return self._said[before:]

    def tell_something_odd(self) -> list[Said]:
        """What disturbs something that was said, if anything was."""
        before = len(self._said)
        if self._said:
            self._disturb()
        return self._said[before:]

    def _say(self, type_: str, worker: str, time: datetime | None = None, **data: Any) -> Said:
        random = self._random
        said = Said(
            f"worker.{type_}",
            worker,
            f"n{len(self._said)}",
            time or self._recorded(),
            data,
            random.choices([SOURCE, OTHER_SOURCE], [9, 1])[0],
        )
        self._said.append(said)
        return said

    def _recorded(self) -> datetime:
        # Whole hours, so that some are recorded at the same time.
        return NOW - timedelta(hours=self._random.randrange(STORY_DAYS * 24))

    def _when(self, *, earliest: int = -20, latest: int = 8) -> dict[str, Any]:
        if self._random.random() < 0.2:
            at = NOW + timedelta(hours=self._random.randint(earliest * 24, latest * 24))
            return {"effective_at": at.isoformat()}
        return {"effective_on": day(self._random.randint(earliest, latest))}

    def _job(self) -> dict[str, Any]:
        random = self._random
        job: dict[str, Any] = {
            "title": random.choices(TITLES, [6, 6, 1, 2, 1])[0],
            "kind": random.choices(["employee", "contractor"], [5, 1])[0],
            "sites": random.choice([["north"], ["south"], ["north", "south"], ["moon"], []]),
        }
        if random.random() < 0.1:
            job["ends_on"] = day(random.randint(-5, 8))
        return job

    def _hire(self, worker: str, employment: str, **more: Any) -> None:
        start = NOW - timedelta(days=STORY_DAYS, hours=self._random.randrange(48))
        late = self._random.random() < 0.2
        self._say(
            "hired",
            worker,
            None if late else start,
            employment_id=employment,
            name=f"Name of {worker}",
            **{**self._job(), **more},
            **(self._when() if late else self._when(earliest=-40, latest=-20)),
        )

    def _live(self, worker: str) -> None:
        random = self._random
        first, second = self._employments[worker]
        if random.random() < 0.95:
            plain = {"title": random.choice(["Front Desk", "Biller"]), "sites": ["north"]}
            self._hire(worker, first, **(plain if random.random() < 0.7 else {}))
        for _ in range(random.randint(0, 3)):
            self._happen(worker, random.choice([first, first, first, second]))
        if random.random() < 0.6:
            self._leave(worker, first)
        if random.random() < 0.25:
            self._hire(worker, second)

    def _leave(self, worker: str, employment: str) -> None:
        self._say(
            "terminated",
            worker,
            employment_id=employment,
            voluntary=self._random.random() < 0.6,
            immediate=self._random.random() < 0.3,
            **self._when(),
        )

    def _happen(self, worker: str, employment: str) -> None:
        random = self._random
        match random.randrange(8):
            case 0 | 7:
                self._say(
                    "changed", worker, employment_id=employment, **self._job(), **self._when()
                )
            case 1:
                self._say("leave_started", worker, employment_id=employment, **self._when())
            case 2:
                self._say("leave_ended", worker, employment_id=employment, **self._when())
            case 3:
                self._say("identity_corrected", worker, name="Somebody Else", **self._when())
            case 4:
                done = random.randint(-15, 5)
                expiry: dict[str, Any] = {}
                if random.random() < 0.4:
                    expiry["expires_on"] = day(done + 7)
                module = random.choice(["remittance-basics", "privacy"])
                self._say(
                    "training_completed", worker, module=module, completed_on=day(done), **expiry
                )
            case 5:
                self._say(
                    "training_expired",
                    worker,
                    module="remittance-basics",
                    expired_on=day(random.randint(-10, 8)),
                )
            case _:
                self._leave(worker, employment)

    def _disturb(self) -> None:
        random = self._random
        target = random.choice(self._said)
        match random.randrange(6):
            case 0 | 1:
                self._rescind(target)
            case 2:
                one, other = random.sample(self._workers, 2)
                self._say("merged", one, previous_worker_id=other)
            case 3:
                self._contradict(target)
            case 4 if random.random() < 0.4:
                self._say("erased", target.worker)
            case _:
                said = self._say("levitated", target.worker)
                if random.random() < 0.5:
                    self._said[-1] = Said(
                        target.type, said.worker, said.id, said.time, target.data, UNBOUND_SOURCE
                    )

    def _rescind(self, target: Said) -> None:
        random = self._random
        rescinds = target.id
        if random.random() < 0.1:
            rescinds = f"n{len(self._said) + random.randint(0, 1)}"
        said = self._say("rescinded", target.worker, rescinds=rescinds)
        by = random.choice([None, None, "hr-person", target.worker])
        self._said[-1] = Said(
            said.type,
            said.worker,
            said.id,
            max(said.time, target.time) if random.random() < 0.7 else said.time,
            said.data,
            target.source if random.random() < 0.7 else said.source,
            by,
        )

    def _contradict(self, target: Said) -> None:
        """The same id from the same source with other content, perhaps about somebody else."""
        random = self._random
        worker = random.choice([target.worker, random.choice(self._workers)])
        time = target.time + timedelta(hours=random.choice([0, 1, 1, 50]))
        if (worker, time) == (target.worker, target.time):
            time += timedelta(minutes=1)
        self._said.append(Said(target.type, worker, target.id, time, target.data, target.source))


def scatter(random: Random, sayings: Sequence[Said], organization: str) -> list[Letter]:
    """The letters in the order they come in: late, twice, out of order, some of them broken."""
    disorder = random.choice([0.0, 0.5, 3.0, 30.0])
    slots: list[tuple[float, int, Letter]] = []
    for number, said in enumerate(sayings):
        times = 1 + (random.random() < 0.15) + (random.random() < 0.03)
        for _ in range(times):
            slot = number + random.gauss(0, 1) * disorder + (times > 1) * random.random() * 10
            slots.append((slot, len(slots), letter(said, organization)))
        if random.random() < 0.03:
            slots.append((number, len(slots), broken_letter(random, said, organization)))
    return [sent for _, _, sent in sorted(slots, key=lambda slot: slot[:2])]


def found(random: Random, organization: str) -> dict[str, Any]:
    """The document of a directory to begin with."""
    document: dict[str, Any] = directory(
        organization={
            "id": organization,
            "name": "Simulated Clinic",
            "zone": "America/Los_Angeles",
            "tins": [TIN, OTHER_TIN],
            "leave_suspends_after_days": random.choice([0, 0, 2]),
            "deadlines": {
                "removal_hours": random.choice([1, 4]),
                "grant_hours": random.choice([4, 72]),
                "retry_hours": random.choice([1, 24]),
            },
        },
        sources=[{"id": SOURCE, "name": "HR"}, {"id": OTHER_SOURCE, "name": "Other"}],
    ).model_dump(mode="json", exclude_none=True)
    simulated = random.sample(["hub", "gate", "mac", "old"], random.choice([0, 1, 2]))
    for portal in document["portals"]:
        if portal["id"] in simulated:
            portal["connector"] = random.choice(["simulator", "scim"])
    if random.random() < 0.25:
        document["portals"].append(VAULT)
        document["enrolments"].append(
            {"id": "vault", "portal": "vault", "tin": TIN, "registered_on": "2020-01-01"}
        )
    for _ in range(random.randint(0, 6)):
        reform(random, document)
    return document


def reform(random: Random, document: dict[str, Any]) -> None:
    """Change one thing in a directory."""
    match random.randrange(15):
        case 0:
            contract = random.choice(document["contracts"])
            contract["until"] = day(random.randint(-10, 8))
            contract["grace_days"] = random.choice([0, 0, 3])
        case 1:
            for contract in document["contracts"]:
                contract.pop("until", None)
        case 2:
            title = random.choice(document["titles"])
            title["duties"] = random.choice([[], ["front-desk"], ["front-desk", "billing"]])
        case 3:
            document["policy"]["version"] = f"v{random.randint(1, 9)}"
        case 4:
            module = document["training_modules"][0]
            module["valid_days"] = random.choice([3, 10, 400])
            module["functions"] = random.choice([["remittance"], ["remittance", "eligibility"]])
            if random.random() < 0.5:
                module["grandfathers_hired_before"] = day(-22)
                module["grandfathered_until"] = day(random.choice([-3, 5]))
        case 5 | 6:
            document["administrators"] = [
                _appointment(random, document, number) for number in range(random.randint(0, 3))
            ]
        case 7:
            organization = document["organization"]
            organization["leave_suspends"] = not organization.get("leave_suspends", True)
        case 8:
            document["organization"]["brake"] = {
                "removals": random.choice([0, 2, 100]),
                "percent": random.choice([0, 0, 50]),
            }
        case 9:
            document["policy"]["mover_grace_days"] = random.choice([0, 4, 10])
        case 10:
            document["policy"]["separation"] = random.sample(SEPARATIONS, random.randint(0, 2))
        case 11:
            portal = random.choice(document["portals"])
            portal["rules"] = [
                {"rule": rule, "value": value, "source": "the portal's help"}
                for rule, value in random.sample(PORTAL_RULES, random.randint(0, 2))
            ]
        case 12:
            enrolment = random.choice(document["enrolments"])
            enrolment["registered_on"] = day(random.choice([-90, -90, 2]))
        case 13:
            document["clinicians"] = [
                {
                    "id": "dr-one",
                    "name": "Dr. One",
                    "npi": "1234567893",
                    "worker": random.choice(WORKERS[:2]),
                    "carriers": [
                        {
                            "carrier": carrier,
                            "tin": TIN,
                            "effective_on": day(random.choice([-9, 3])),
                        }
                        for carrier in random.sample(["acme", "medicare"], random.randint(0, 2))
                    ],
                }
            ]
        case _:
            _without(document, "old")


VAULT: dict[str, Any] = {
    "id": "vault",
    "name": "Vault",
    "kind": "vault",
    "url": "https://vault.example",
    "starts": "new",
    "removal_rank": 1,
}
SEPARATIONS = (
    {
        "id": "desk-or-money",
        "holders": {"duties": ["front-desk"]},
        "never": {"functions": ["remittance", "fee_schedule"]},
        "reason": "who meets patients does not see payments",
    },
    {
        "id": "billing-or-desk",
        "holders": {"duties": ["billing"]},
        "never": {"duties": ["front-desk"]},
        "reason": "who bills does not schedule",
    },
    {
        "id": "users-or-money",
        "holders": {"functions": ["user_administration"]},
        "never": {"functions": ["claim_status"]},
        "reason": "who makes users does not use them",
    },
)
PORTAL_RULES = (
    ("one_role_per_person", True),
    ("administrator_must_be_staff", True),
    ("max_administrators", 1),
    ("max_tins_per_administrator", 1),
    ("ended_can_be_reopened", True),
)


def _appointment(random: Random, document: dict[str, Any], number: int) -> dict[str, Any]:
    since = random.choice([-100, -100, 3])
    appointment: dict[str, Any] = {
        "id": f"a{number}",
        "portal": random.choice(document["portals"])["id"],
        "worker": random.choice(WORKERS[:3]),
        "since": day(since),
    }
    if random.random() < 0.3:
        appointment["until"] = day(max(since, random.randint(-2, 8)))
    if random.random() < 0.3:
        appointment["tins"] = [random.choice([TIN, OTHER_TIN])]
    return appointment


def _without(document: dict[str, Any], portal: str) -> None:
    for kind in ("enrolments", "administrators"):
        document[kind] = [one for one in document[kind] if one["portal"] != portal]
    document["portals"] = [one for one in document["portals"] if one["id"] != portal]


def directory_of(document: dict[str, Any]) -> Directory:
    """The directory in a document."""
    return Directory.model_validate(document)
