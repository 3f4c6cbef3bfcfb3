"""Has people told of what their HR sources wait for, by comparing what is so with what was told."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any

import asyncpg

from services.gateway.handlers.source_health import SourceHealth
from services.gateway.rules.hr_alarms import (
    SOURCE_KINDS,
    Faring,
    signature_matters,
    source_matters,
    stuck_matter,
)
from services.gateway.rules.notices import Ended, Matter
from services.gateway.store import embargo as embargo_store
from services.gateway.store import health as health_store
from services.gateway.store import notices as notices_store
from services.gateway.store import picture as picture_store
from shared.clock import Clock
from shared.postgres import Connection, in_transaction


class HrAlarms:
    """Notes matters for the notifier, in organizations that can be reached.

    Args:
        reached: their ids.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        clock: Clock,
        health: SourceHealth,
        reached: Collection[str],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._health = health
        self._reached = sorted(reached)

    async def check(self) -> int:
        """Note what is new, and end what is so no longer; 0, always."""
        for organization in self._reached:
            fares = await self._health.of(organization)

            async def note(
                conn: Connection,
                organization: str = organization,
                fares: list[dict[str, Any]] = fares,
            ) -> None:
                now = await self._clock.now(conn)
                matters = await self._matters(conn, organization, fares, now)
                await notices_store.note(conn, organization, matters, now)
                told = await notices_store.open_subjects(conn, organization, SOURCE_KINDS)
                over = told - {each.subject for each in matters}
                ended = [Ended(each) for each in sorted(over)]
                await notices_store.end(conn, organization, ended, now)

            await in_transaction(self._pool, note)
        return 0

    async def _matters(
        self,
        conn: Connection,
        organization: str,
        fares: list[dict[str, Any]],
        now: datetime,
    ) -> list[Matter]:
        owners = await picture_store.source_owners(conn, organization)
        wrong = await health_store.wrong_signatures(conn, now.date())
        stuck = await embargo_store.stuck_entries(conn, organization)
        return [
            *(matter for row in fares for matter in source_matters(_faring(row, owners))),
            *signature_matters(wrong, now.date()),
            *(stuck_matter(entry) for entry in stuck),
        ]


def _faring(row: Mapping[str, Any], owners: Mapping[str, str]) -> Faring:
    last = row["last_list"]
    return Faring(
        row["source"],
        owners.get(row["source"]),
        _day(row["asked_at"]),
        datetime.fromisoformat(row["late_since"]) if row["late_since"] else None,
        last["plan"] if last and last["status"] == "held" else None,
        _day(row["last_heard_at"]) if row["silent"] else None,
        _day(row["delivery_failed_at"]),
    )


def _day(instant: str | None) -> date | None:
    return datetime.fromisoformat(instant).date() if instant else None
