"""How HR's sources fare: when each was heard, whether its list is late, what it waits for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson

from services.gateway import store
from services.gateway.handlers.activity import activity
from services.gateway.handlers.commands import command
from services.gateway.presets import presets
from services.gateway.rules.roster_columns import SourceMapping
from services.gateway.rules.schedule import Expected, is_silent, late_for, usual_silence
from services.gateway.sources import Sources
from services.gateway.store import health as health_store
from services.gateway.store import picture as picture_store
from services.gateway.store import rosters as rosters_store
from services.gateway.store import vendors as vendors_store
from services.gateway.store.rosters import Roster
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import HrFileLate
from shared.contracts.envelope import rfc3339
from shared.contracts.hr import CONSOLE_SOURCE
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

CHECK_IDLE_SECONDS = 30.0
"""A late list is told of this late."""

SIGNATURE_DAYS = 7


class SourceHealth:
    """Watches the sources, and keeps how their lists are read."""

    def __init__(self, pool: "asyncpg.Pool[Any]", sources: Sources, clock: Clock) -> None:
        self._pool = pool
        self._sources = sources
        self._clock = clock
        self._wrong_signatures = 0

    def note_wrong_signature(self) -> None:
        """Count a request that no source signed; written down with the next check."""
        self._wrong_signatures += 1

    async def check(self) -> int:
        """Write down what was counted, and raise an alarm for each list that is late; 0, always."""
        counted, self._wrong_signatures = self._wrong_signatures, 0

        async def check(conn: Connection) -> None:
            now = await self._clock.now(conn)
            if counted:
                await health_store.note_day(conn, "", "", now, wrong_signatures=counted)
            for one in await health_store.waiting_for_lists(conn):
                zone = (await picture_store.places(conn, one.organization)).zone
                due = late_for(one.expected, one.last_list_at, now, zone)
                if not await health_store.set_late(conn, one.organization, one.source, due) or (
                    due is None
                ):
                    continue
                late = HrFileLate(one.source, due.astimezone(UTC), one.last_list_at)
                cause = (one.source, rfc3339(due))
                said = activity("hr_file.late", one.organization, one.source, cause, now, late)
                await enqueue(conn, [said])

        await in_transaction(self._pool, check)
        return 0

    async def listed(self, who: Principal) -> dict[str, Any]:
        """How the sources of the caller's organization fare, and what there is to read lists by."""
        async with self._pool.acquire() as conn:
            now = await self._clock.now(conn)
            zone = (await picture_store.places(conn, who.organization)).zone
            wrong = await health_store.wrong_signatures(
                conn, now.date() - timedelta(days=SIGNATURE_DAYS)
            )
        return {
            "sources": await self.of(who.organization),
            "wrong_signatures": wrong,
            "wrong_signatures_days": SIGNATURE_DAYS,
            "zone": zone.key,
            "presets": {
                name: {"name": preset.name, "report": " ".join(preset.report.split())}
                for name, preset in presets().items()
            },
        }

    async def of(self, organization: str) -> list[dict[str, Any]]:
        """Each source with its last event, list, silence, questions and failed deliveries."""
        async with self._pool.acquire() as conn:
            now = await self._clock.now(conn)
            heard = {each.source: each for each in await store.sources_heard(conn, organization)}
            settings = await rosters_store.source_settings(conn, organization)
            days = await health_store.days_heard(conn, organization, now.date())
            lists = await rosters_store.last_lists(conn, organization)
            asked = await rosters_store.questions_asked(conn, organization)
            bound = self._sources.names(organization)
            failed = await vendors_store.given_up(conn, bound)
        names = sorted({*bound, *heard, *settings} - {CONSOLE_SOURCE})
        rows = []
        for name in names:
            one, kept = heard.get(name), settings.get(name)
            rows.append(
                {
                    "source": name,
                    "last_heard_at": _instant(one.last_heard_at if one else None),
                    "accepted": one.accepted if one else 0,
                    "rejected": one.rejected if one else 0,
                    "usual_silence_days": usual_silence(days.get(name, ())),
                    "silent": is_silent(days.get(name, ()), now.date()),
                    "questions": asked[name][0] if name in asked else 0,
                    "asked_at": _instant(asked[name][1] if name in asked else None),
                    "delivery_failed_at": _instant(failed.get(name)),
                    "last_list": _list(lists.get((name, False))),
                    "last_good_list": _list(lists.get((name, True))),
                    "late_since": _instant(kept.late_since if kept else None),
                    "expected": kept.expected if kept else None,
                    "mapping": (kept.mapping if kept else SourceMapping()).model_dump(mode="json"),
                }
            )
        return rows

    async def keep(
        self,
        who: Principal,
        source: str,
        mapping: SourceMapping,
        expected: Expected | None,
        key: str | None,
    ) -> dict[str, Any]:
        """Read a source's next lists so, and expect them then.

        Raises:
            Problem: 404 for a source that does not speak for the organization, 422 for a preset
                that does not exist.
        """
        if source not in (*self._sources.names(who.organization), CONSOLE_SOURCE):
            raise Problem(404, "no_such_source", f"No source {source!r:.80} speaks for you.")
        if mapping.preset not in (None, *presets()):
            raise Problem(
                422, "no_such_preset", f"Name one of the presets: {', '.join(presets())}."
            )

        async def work(conn: Connection) -> dict[str, Any]:
            await rosters_store.lock_source(conn, who.organization, source)
            await rosters_store.keep_mapping(conn, who.organization, source, mapping)
            await health_store.expect(conn, who.organization, source, expected)
            return {
                "source": source,
                "mapping": mapping.model_dump(mode="json"),
                "expected": expected.model_dump(mode="json") if expected else None,
            }

        body = orjson.dumps(
            [mapping.model_dump(mode="json"), expected and expected.model_dump(mode="json")]
        )
        return await command(self._pool, self._clock, who, f"hr.sources/{source}", key, body, work)


def _instant(at: datetime | None) -> str | None:
    return rfc3339(at) if at else None


def _list(roster: Roster | None) -> dict[str, Any] | None:
    if roster is None:
        return None
    return {
        "plan": str(roster.plan),
        "file": roster.file_name,
        "received_at": rfc3339(roster.received_at),
        "status": roster.status,
        "counts": dict(roster.counts),
        "problem": roster.problem,
    }
