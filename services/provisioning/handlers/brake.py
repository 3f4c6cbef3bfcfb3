"""Judging causes of removals, and what people decide about those that are held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from services.provisioning.handlers.recompute import SOURCE, Recompute
from services.provisioning.rules.brake import CAUSE_LIFE, CauseMove, CauseStatus, judge
from services.provisioning.store import brake as brake_store
from services.provisioning.store import workers as workers_store
from shared.auth import Principal
from shared.contracts.access.decisions import BrakeData, BrakeEngaged, BrakeRejected, BrakeReleased
from shared.contracts.envelope import event_key
from shared.contracts.facts import fact
from shared.contracts.topics import ACCESS_EVENTS
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

EVENTS: dict[CauseMove, type[BrakeData]] = {
    CauseMove.ENGAGE: BrakeEngaged,
    CauseMove.RELEASE: BrakeReleased,
    CauseMove.REJECT: BrakeRejected,
}
TYPES = {
    CauseMove.ENGAGE: "brake.engaged",
    CauseMove.RELEASE: "brake.released",
    CauseMove.REJECT: "brake.rejected",
}
CLOSINGS = "closings"


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a cause; `counts` are (parked, held) when it was judged."""

    organization: str
    cause_id: str
    kind: str
    move: CauseMove
    by: str
    counts: tuple[int, int]
    reason: str | None = None


class BrakeHandler:
    """Judges causes once everybody they touch has been decided about.

    Args:
        main_lane_has_passed: whether everything that was in HR's log when it was asked has been
            applied; ending logins for good waits for it.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        recompute: Recompute,
        main_lane_has_passed: Callable[[Connection], Awaitable[bool]],
    ) -> None:
        self._pool = pool
        self._recompute = recompute
        self._main_lane_has_passed = main_lane_has_passed

    async def judge(self) -> int:
        """Judge what is complete; how many causes were."""
        return await in_transaction(self._pool, self._judge)

    async def _judge(self, conn: Connection) -> int:
        rows = await brake_store.lock_complete_causes(conn)
        compiled = await self._recompute.directories.current(
            conn, {row["organization"] for row in rows}
        )
        judged = 0
        passed: bool | None = None
        for row in rows:
            if row["kind"] == CLOSINGS:
                if passed is None:
                    passed = await self._main_lane_has_passed(conn)
                if not passed:
                    continue
            organization, cause_id = row["organization"], row["cause_id"]
            now = await self._recompute.clock.now(conn)
            limits = compiled[organization].directory.organization.brake
            since = now - timedelta(hours=limits.window_hours)
            parked, recent, held = await brake_store.cause_counts(
                conn, organization, cause_id, since
            )
            move = judge(parked, recent, held, limits)
            await self._settle(
                conn,
                Judged(organization, cause_id, row["kind"], move, "brake", (parked, held)),
                CauseStatus.GATHERING,
            )
            judged += 1
        return judged

    async def decide(
        self, conn: Connection, who: Principal, cause_id: str, move: CauseMove, reason: str
    ) -> dict[str, Any]:
        """Release or reject a cause that the brake holds, in the caller's transaction.

        Raises:
            Problem: 404 for an unknown cause, 409 when it is not held.
        """
        row = await brake_store.cause(conn, who.organization, cause_id)
        if row is None:
            raise Problem(404, "no_such_cause", "No cause has this id; see brake list.")
        if (CauseStatus(row["status"]), move) not in CAUSE_LIFE:
            raise Problem(409, "not_held", f"It is {row['status']}; only what is engaged is held.")
        judged = Judged(
            who.organization,
            cause_id,
            row["kind"],
            move,
            who.worker or who.subject,
            (row["parked"], row["held"]),
            reason,
        )
        await self._settle(conn, judged, CauseStatus.ENGAGED)
        return {"cause_id": cause_id, "status": CAUSE_LIFE[CauseStatus.ENGAGED, move].value}

    async def _settle(self, conn: Connection, judged: Judged, before: CauseStatus) -> None:
        """Keep the verdict, say it, and have the sweep decide about whom it touches."""
        now = await self._recompute.clock.now(conn)
        await brake_store.save_verdict(
            conn,
            judged.organization,
            judged.cause_id,
            status=CAUSE_LIFE[before, judged.move],
            at=now,
            by=judged.by,
            reason=judged.reason,
            counts=judged.counts,
        )
        await workers_store.request_recompute(
            conn, await brake_store.workers_parked(conn, judged.organization, judged.cause_id)
        )
        if judged.move in EVENTS:
            parked, held = judged.counts
            said = EVENTS[judged.move](
                judged.cause_id, judged.kind, parked, held, judged.by, judged.reason
            )
            await enqueue(
                conn,
                [
                    fact(
                        ACCESS_EVENTS,
                        TYPES[judged.move],
                        source=SOURCE,
                        organization=judged.organization,
                        key=event_key(judged.organization),
                        subject=f"brake/{judged.cause_id}",
                        cause=(judged.cause_id, judged.move.value),
                        time=now,
                        data=said,
                    )
                ],
            )
