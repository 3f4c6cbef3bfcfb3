"""The handlers, wired once over gated connections, in which plays are played."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain

from services.provisioning.connectors.simulator import PortalSimulator
from services.provisioning.express import GROUP as EXPRESS_GROUP
from services.provisioning.handlers.brake import BrakeHandler
from services.provisioning.handlers.commands import (
    OperationCommands,
)
from services.provisioning.handlers.deciding import Decider
from services.provisioning.handlers.directory import DirectoryCommands
from services.provisioning.handlers.events import (
    HrExpress,
    HrIntake,
    ReviewDecisionHandler,
    TimeHandler,
    may_take_access,
)
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.main import MAIN_GROUP, REVIEW_GROUP
from services.provisioning.store.undecided import SHARDS
from shared.contracts.topics import HR_EVENTS, REVIEW_EVENTS
from shared.postgres import Connection, create_pool
from tests.provisioning.worlds import NOW
from tests.simulation.source import Log, Member
from tests.simulation.stage import SimulatedClock, Stage

CAST_MAX = 8

TABLES = (
    "worker_event",
    "undecided",
    "worker",
    "account",
    "entitlement_history",
    "operation",
    "review_decision",
    "recompute_request",
    "administrator_standing",
    "portal_lock",
    "directory_head",
    "directory_version",
    "simulated_login",
    "idempotency",
)


async def _everything_is_read(_conn: Connection) -> bool:
    return True


class Theatre:
    """The handlers, wired once over gated connections; seeds are played in it one after another."""

    def __init__(self, conns: list[Connection], watcher: Connection, plain: Connection) -> None:
        self.plain = plain
        self.hr = Log(HR_EVENTS.name)
        self.clock = SimulatedClock()
        self.stage = Stage(conns, watcher, self.clock)
        pool = self.stage.pool
        # As in production: the express lane is another process with a memory of its own.
        self.recompute, self.express_recompute = Recompute(self.clock), Recompute(self.clock)
        self.main_lane = HrIntake(self.recompute)
        express_lane = HrExpress(self.express_recompute)
        self.review_handler = ReviewDecisionHandler(self.recompute)
        hr, reviews = HR_EVENTS.name, REVIEW_EVENTS.name
        self.mains = [Member(MAIN_GROUP, hr, pool, self.main_lane) for _ in range(2)]
        self.expresses = [
            Member(EXPRESS_GROUP, hr, pool, express_lane, may_take_access) for _ in range(2)
        ]
        self.reviewers = [Member(REVIEW_GROUP, reviews, pool, self.review_handler)]
        self.directories = DirectoryCommands(self.recompute)
        self.operations = OperationCommands(pool, self.recompute)
        self.time = TimeHandler(pool, self.recompute)
        self.brake = BrakeHandler(pool, self.recompute, _everything_is_read)
        self.deciders = self._new_deciders()
        self.simulator = PortalSimulator(pool, self.recompute, self.operations)

    def _new_deciders(self) -> list[Decider]:
        return [
            Decider(self.stage.pool, self.recompute, begin_with=shard, most=3)
            for shard in (0, SHARDS // 2)
        ]

    def story(self) -> str:
        """What HR sent and what was done last, for somebody who wants to see why a seed failed."""
        lines = []
        for record in chain(*self.hr.records.values()):
            headers = {name.removeprefix("ce_"): text.decode() for name, text in record.headers}
            told = (headers.get(name, "") for name in ("type", "id", "time", "source", "enteredby"))
            lines.append(
                f"{record.partition}/{record.offset} {(record.key or b'').decode()}"
                f" {' '.join(told)} {(record.value or b'').decode()}"
            )
        return "\n".join([*lines, *self.stage.trace])

    async def clear(self) -> None:
        """Empty tables, a clock at the beginning, and nothing remembered."""
        for table in (
            *TABLES,
            "listed_worker",
            "parked_removal",
            "brake_cause",
            "exception",
            "outage",
            "chore",
            "portal_login",
            "portal_finding",
            "roster",
            "import_plan",
            "import_meaning",
            "imported_file",
            "outbox",
            "outbox_key",
            "source_offset",
            "refused_partition",
        ):
            await self.plain.execute(f"DELETE FROM {table}")
        for recompute in (self.recompute, self.express_recompute):
            recompute.directories = type(recompute.directories)()
        # Each remembers how far round it has come, and a seed must not depend on the one before.
        self.deciders = self._new_deciders()
        self.clock.at, self.clock.frozen = NOW, False


@asynccontextmanager
async def theatre(dsn: str) -> AsyncIterator[Theatre]:
    """A theatre on an empty database, as provisioning's role."""
    pool = await create_pool(dsn, min_size=CAST_MAX + 3, max_size=CAST_MAX + 3)
    try:
        conns: list[Connection] = [await pool.acquire() for _ in range(CAST_MAX + 3)]
        for conn in conns:
            await conn.execute("SET synchronous_commit = off")
        yield Theatre(conns[2:], conns[0], conns[1])
    finally:
        pool.terminate()
