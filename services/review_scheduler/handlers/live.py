"""Looking at lines as they are now: the picture of their holders put beside what was opened."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.review_scheduler.rules.live import (
    Now,
    Recommendation,
    changes_since,
    login_for,
    recommend,
    risks_of,
)
from services.review_scheduler.rules.opening import duties_behind
from services.review_scheduler.rules.reviewers import in_force
from services.review_scheduler.rules.roles import Holding
from services.review_scheduler.store.directory import DirectoryView, load_directory
from services.review_scheduler.store.reviews import OpenedLine
from services.review_scheduler.store.workers import Standing, load_standings
from shared.clock import Clock
from shared.contracts.directory import Administrator
from shared.contracts.review import Risk
from shared.contracts.state import WorkerStatus
from shared.postgres import Connection

UNKNOWN = Standing(WorkerStatus.UNKNOWN, (), (), ())


@dataclass(frozen=True, slots=True)
class LiveLine:
    """A line as it is now, and what is to be said of it."""

    now: Now
    changed: tuple[str, ...]
    risks: tuple[Risk, ...]
    recommendation: Recommendation

    def holds(self, operation_id: str | None) -> bool:
        """Whether the access is still there as this operation (or adoption) granted it."""
        held = self.now.held
        return held is not None and held.entitlement.operation_id == operation_id


@dataclass(frozen=True, slots=True)
class Look:
    """Lines as they are at one instant, by the directory of then."""

    directory: DirectoryView
    live: Mapping[UUID, LiveLine]


async def look(
    conn: Connection, clock: Clock, organization: str, lines: Mapping[UUID, OpenedLine]
) -> Look:
    """Lines, of whichever holders, as they are now."""
    directory = await load_directory(conn, organization)
    at = await clock.now(conn)
    return Look(directory, await look_at(conn, organization, directory, lines, at))


async def look_at(
    conn: Connection,
    organization: str,
    directory: DirectoryView,
    lines: Mapping[UUID, OpenedLine],
    at: datetime,
) -> dict[UUID, LiveLine]:
    """Lines, of whichever holders, as they are at `at` (UTC)."""
    standings = await load_standings(conn, organization, {each.holder for each in lines.values()})
    held = {
        # Of two that are alike the first counts.
        holder: {each.target: each for each in reversed(standing.holdings)}
        for holder, standing in standings.items()
    }
    appointed = in_force(directory.administrators, directory.calendar.day(at))
    live = {}
    for line_id, line in lines.items():
        now = _now(
            line,
            standings.get(line.holder, UNKNOWN),
            held.get(line.holder, {}).get(line.opened.target),
            directory,
            appointed,
            at,
        )
        risks = risks_of(line.opened, now)
        live[line_id] = LiveLine(
            now,
            changes_since(line.opened, now),
            risks,
            recommend(line.opened, now, risks),
        )
    return live


def _now(
    line: OpenedLine,
    standing: Standing,
    held: Holding | None,
    directory: DirectoryView,
    appointed: list[Administrator],
    at: datetime,
) -> Now:
    opened = line.opened
    gone = standing.status in (WorkerStatus.TERMINATED, WorkerStatus.ERASED)
    duties = duties_behind(opened.function, () if gone else standing.duties, directory.job_duties)
    return Now(
        at,
        standing.status,
        held,
        login_for(standing.logins, *opened.target),
        duties,
        tuple(duty.name for duty in directory.job_duties if duty.id in duties),
        any(
            each.portal == opened.portal and line.holder in (each.worker, each.deputy)
            for each in appointed
        ),
        directory.reviews.inactive_days,
    )
