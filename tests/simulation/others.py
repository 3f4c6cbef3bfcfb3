"""What happens beside HR's events: exceptions, outages, portals' lists, a service's answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from services.provisioning.connectors.protocol import Answer, Asked, Done, NotNow, Refused
from services.provisioning.connectors.running import ConnectorRunner
from services.provisioning.handlers.chores import ChoreCommands
from services.provisioning.handlers.exceptions import ExceptionCommands, Wish
from services.provisioning.handlers.imports import Upload
from services.provisioning.handlers.outages import OutageCommands
from services.provisioning.handlers.rosters.commands import RosterCommands
from services.provisioning.handlers.rosters.meaning import RosterUpload
from services.provisioning.rules.outages import Trouble
from shared.auth import Principal
from shared.contracts.directory import Function
from shared.errors import Problem
from shared.postgres import Connection, in_transaction
from tests.provisioning.worlds import OTHER_TIN, TIN
from tests.simulation.stage import CrashNow

if TYPE_CHECKING:
    from tests.simulation.theatre import Theatre

IMPORTER = "importer"
"""Whoever imports lists; what those confirm is said in their name."""

PORTALS = ("hub", "gate", "mac", "old")
REFUSALS = (
    "approver_is_requester",
    "as_of_in_future",
    "doubts_open",
    "exception_over",
    "exception_refused",
    "no_such_portal",
    "no_such_worker",
    "not_possible_now",
    "nothing_to_review",
    "outage_known",
    "outage_over",
    "self_approval",
    "stale_plan",
)
"""What people may be told when things are otherwise than they thought."""


class Service:
    """A service behind a connector: it does, refuses, and is away, and may be asked twice."""

    name = "scim"

    def __init__(self) -> None:
        self.random = Random(0)

    async def carry_out(self, asked: Asked) -> Answer:
        """An answer that SCIM's connector gives."""
        login_id = asked.login_id or f"{asked.operation.worker}@{asked.operation.portal}"
        answers: list[Answer] = [
            Done("200", login_id),
            Done("409, the user was there already", login_id),
            Done("404, nothing was left to remove", None),
            Refused("400"),
            NotNow("503", 30.0),
            NotNow("no answer"),
        ]
        return self.random.choices(answers, [6, 1, 1, 1, 1, 1])[0]


class Others:
    """Those who act beside HR and the people who carry out work."""

    def __init__(self, theatre: Theatre, organization: str) -> None:
        recompute = theatre.recompute
        self._theatre = theatre
        self._organization = organization
        self._service = Service()
        self._connectors = ConnectorRunner(
            theatre.stage.pool, recompute, theatre.operations, {"scim": self._service}
        )
        self._exceptions = ExceptionCommands(recompute)
        self._outages = OutageCommands(recompute)
        self._rosters = RosterCommands(recompute, theatre.operations, ChoreCommands(recompute))

    async def connect(self, random: Random) -> None:
        """Operations are handed to the service."""
        self._service.random = random
        for _ in range(random.randint(1, 4)):
            try:
                await self._connectors.work()
            except CrashNow:
                continue

    async def go_beyond_policy(self, random: Random) -> None:
        """Somebody asks for access beyond policy, takes it, approves it or ends it."""
        for _ in range(random.randint(1, 4)):
            who = self._person(random.choice(["admin-1", "w1", "w2"]))
            rows = await self._rows("exception", "exception_id")
            if not rows or random.random() < 0.5:
                wish = Wish(
                    random.choice(["w1", "w2", "w3"]),
                    random.choice(PORTALS),
                    random.choice([TIN, OTHER_TIN]),
                    random.choice([Function.REMITTANCE, Function.CLAIM_STATUS, Function.SIGN_ON]),
                    "covers for a colleague",
                    None,
                    self._theatre.clock.at + timedelta(hours=random.choice([1, 5, 100])),
                )
                begin = random.choice([self._exceptions.request, self._exceptions.open_break_glass])
                await self._try(partial(begin, who=who, wish=wish))
                continue
            id_ = str(random.choice(rows)["exception_id"])
            exceptions = self._exceptions
            end = random.choice([exceptions.approve, exceptions.approve, exceptions.end])
            await self._try(partial(end, who=who, exception_id=id_))

    async def have_trouble(self, random: Random) -> None:
        """Portals go down and come back."""
        who = self._person("admin-1")
        for _ in range(random.randint(1, 4)):
            rows = await self._rows("outage", "outage_id")
            if rows and random.random() < 0.6:
                id_ = str(random.choice(rows)["outage_id"])
                await self._try(partial(self._outages.end, who=who, outage_id=id_))
            else:
                begin = partial(self._outages.begin, portal=random.choice(PORTALS))
                await self._try(partial(begin, who=who, kind=Trouble.DOWN, note="down"))

    async def import_lists(self, random: Random) -> None:
        """A portal hands out its list, which may show other than what is known, late or in part."""
        who = self._person(IMPORTER)
        for _ in range(random.randint(1, 2)):
            portal = random.choice(PORTALS)
            upload = RosterUpload(
                portal,
                Upload("list.csv", (await self._list(random, portal)).encode()),
                self._theatre.clock.at - timedelta(hours=random.choice([0, 1, 30])),
                complete=random.random() < 0.6,
            )

            async def apply(conn: Connection, upload: RosterUpload = upload) -> Any:
                preview = await self._rosters.preview(conn, who, upload)
                return await self._rosters.apply(conn, who, preview["plan"])

            await self._try(apply)

    async def _list(self, random: Random, portal: str) -> str:
        lines = ["User ID,Name,Status,Functions"]
        for row in await self._rows("account", "worker"):
            if row["portal"] != portal or random.random() < 0.15:
                continue
            told = {own["function"] for own in row["rights"]}
            if random.random() < 0.2:
                told ^= {random.choice(["eligibility", "remittance"])}
            active = (row["status"] == "active") != (random.random() < 0.15)
            login_id = row["login_id"] or f"{row['worker']}@{portal}"
            lines.append(
                f'"{login_id}","Name of {row["worker"]}",'
                f"{'Active' if active else 'Inactive'},{'; '.join(sorted(told))}"
            )
        if random.random() < 0.2:
            lines.append("ghost,Ghost Rider,Active,eligibility")
        return "\n".join(lines) + "\n"

    async def _rows(self, table: str, order: str) -> list[Any]:
        rows: list[Any] = await self._theatre.plain.fetch(
            f"SELECT * FROM {table} WHERE organization = $1 ORDER BY {order}", self._organization
        )
        return rows

    async def _try(self, work: Callable[[Connection], Awaitable[Any]]) -> None:
        try:
            await in_transaction(self._theatre.stage.pool, work)
        except CrashNow:
            return
        except Problem as problem:
            if problem.code not in REFUSALS:
                raise

    def _person(self, name: str) -> Principal:
        return Principal(
            self._organization, name, None, frozenset({"access:admin", "work:do"}), name
        )
