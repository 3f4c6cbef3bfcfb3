"""HR's lists of workers: planned, held when doubtful, applied as events, and asked about.

A list is read, reduced to the columns that are known, and kept sealed; what it comes to is worked
out anew each time from what provisioning publishes, so a plan that is looked at is the plan that is
applied, or the apply is refused. Events leave through the outbox, with ids made of plan, line and
change.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import structlog
from pydantic import TypeAdapter

from services.gateway import store
from services.gateway.handlers.activity import activity
from services.gateway.handlers.commands import command
from services.gateway.handlers.ingress import hr_record
from services.gateway.presets import presets
from services.gateway.rules.intake import judge
from services.gateway.rules.roster_plan import (
    Change,
    Circumstances,
    Plan,
    make_plan,
)
from services.gateway.rules.roster_reading import (
    Reading,
    SourceMapping,
    likeliest_preset,
    read_lines,
)
from services.gateway.sealing import BodySeal, CannotOpen
from services.gateway.sources import Sources
from services.gateway.store import picture as picture_store
from services.gateway.store import rosters as rosters_store
from services.gateway.store.picture import Places
from services.gateway.store.rosters import Roster
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import HrFileHeld
from shared.contracts.envelope import name_uuid, rfc3339
from shared.contracts.hr import CONSOLE_SOURCE
from shared.contracts.topics import HR_EVENTS
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection, in_transaction
from shared.sheets.reading import read_table
from shared.sheets.table import UnreadableSheet

logger = structlog.get_logger(__name__)

KEPT_DAYS = 30
"""As long as other bodies that the gateway keeps sealed."""

PUBLISH_EVENTS = 500
"""Of an applied list's events, how many leave in one transaction."""

SHOWN_LINES = 1_000
"""Of each part of a plan, how many are told; the counts tell how many there are."""

PUBLISH_IDLE_SECONDS = 5.0
"""A list that another process was publishing when it died is taken up again this late."""

LOST = (
    "What was left of it cannot be opened with the body key that the gateway has now. Send the list"
    " again: what has arrived already changes nothing."
)

READING = TypeAdapter(Reading)
EVENTS = TypeAdapter(list[tuple[str, dict[str, str], str]])


@dataclass(frozen=True, slots=True)
class Upload:
    """A list as it was sent, and how it is to be read this time and from now on."""

    name: str
    content: bytes
    preset: str | None = None
    day_first: bool | None = None
    apply: bool = False


@dataclass(frozen=True, slots=True)
class _Looked:
    """A kept list with what it comes to now."""

    roster: Roster
    reading: Reading
    plan: Plan


class Rosters:
    """Everything that is done with lists of workers."""

    def __init__(
        self, pool: "asyncpg.Pool[Any]", sources: Sources, seal: BodySeal, clock: Clock
    ) -> None:
        self._pool = pool
        self._sources = sources
        self._seal = seal
        self._clock = clock

    # -- receiving

    def source_of(self, who: Principal, named: str | None) -> str:
        """The source that a list belongs to; the console's own where none is bound.

        Raises:
            Problem: 404 for one that does not speak for the organization, 422 where none is named.
        """
        bound = self._sources.names(who.organization)
        if named is None and len(bound) <= 1:
            return bound[0] if bound else CONSOLE_SOURCE
        if named is None:
            raise Problem(422, "source_missing", f"Say whose list it is: {', '.join(bound)}.")
        if named not in (*bound, CONSOLE_SOURCE):
            raise Problem(
                404,
                "no_such_source",
                f"No source {named!r:.80} speaks for {who.organization}; there are: "
                f"{', '.join(bound) or 'none'}.",
            )
        return named

    async def receive(
        self, who: Principal, source: str, upload: Upload, key: str | None
    ) -> dict[str, Any]:
        """Read a list, keep it, and say what it comes to; apply it too, if that was asked.

        Raises:
            Problem: 422 for a file that cannot be read, with line and column where one is to blame.
        """
        async with self._pool.acquire() as conn:
            kept = await rosters_store.source_settings(conn, who.organization)
            places = await picture_store.places(conn, who.organization)
            known = await picture_store.known_ids(conn, who.organization)
        so_far = kept[source].mapping if source in kept else None
        try:
            reading, mapping = await asyncio.to_thread(_read, upload, so_far, places, known)
        except UnreadableSheet as error:
            problem = Problem(
                422,
                "unreadable_file",
                str(error),
                [{"line": error.line, "column": error.column, "detail": str(error)}],
            )
            await in_transaction(
                self._pool, partial(self._keep_unreadable, who, source, upload, str(error))
            )
            raise problem from error

        async def work(conn: Connection) -> dict[str, Any]:
            return await self._keep(conn, who, source, upload, reading, mapping)

        return await self._command(who, f"rosters/{source}", key, upload.content, work)

    async def _keep(
        self,
        conn: Connection,
        who: Principal,
        source: str,
        upload: Upload,
        reading: Reading,
        mapping: SourceMapping,
    ) -> dict[str, Any]:
        await rosters_store.lock_source(conn, who.organization, source)
        await rosters_store.keep_mapping(conn, who.organization, source, mapping)
        now = await self._clock.now(conn)
        number = uuid4()
        nonce, sealed = self._seal.seal(_name(number), READING.dump_json(reading))
        roster = Roster(
            number,
            who.organization,
            source,
            upload.name,
            sha256(upload.content).digest(),
            now,
            who.subject,
            "planned",
            {},
            None,
            nonce,
            sealed,
            None,
            None,
            0,
            0,
            now + timedelta(days=KEPT_DAYS),
        )
        looked = await self._compare(conn, roster, reading)
        status = "held" if looked.plan.is_held else "planned"
        looked = replace(looked, roster=replace(roster, status=status, counts=looked.plan.counts()))
        await rosters_store.add_roster(conn, looked.roster)
        heard = (who.organization, source, len(reading.lines), len(reading.errors))
        await store.note_heard(conn, [heard], now)
        if status == "held":
            await self._hold(conn, looked, now)
        elif upload.apply:
            looked = await self._apply(conn, who, looked)
        return _document(looked)

    async def _keep_unreadable(
        self, who: Principal, source: str, upload: Upload, why: str, conn: Connection
    ) -> None:
        now = await self._clock.now(conn)
        roster = Roster(
            uuid4(),
            who.organization,
            source,
            upload.name,
            sha256(upload.content).digest(),
            now,
            who.subject,
            "unreadable",
            {},
            why,
            None,
            None,
            None,
            None,
            0,
            0,
            now + timedelta(days=KEPT_DAYS),
        )
        await rosters_store.add_roster(conn, roster)

    async def _hold(self, conn: Connection, looked: _Looked, now: datetime) -> None:
        """Ask about the missing, and tell whoever follows that a list waits."""
        roster, plan = looked.roster, looked.plan
        await self._ask(conn, looked, now)
        held = HrFileHeld(
            roster.source, str(roster.plan), roster.file_name, len(plan.missing), plan.expected
        )
        said = activity(
            "hr_file.held", roster.organization, roster.source, (str(roster.plan),), now, held
        )
        await enqueue(conn, [said])

    async def _ask(self, conn: Connection, looked: _Looked, now: datetime) -> None:
        roster = looked.roster
        await rosters_store.ask(
            conn,
            roster.organization,
            roster.source,
            roster.plan,
            [(each.worker, each.kind, each.detail) for each in looked.plan.questions],
            now,
        )

    # -- looking

    async def show(self, who: Principal, plan: UUID) -> dict[str, Any]:
        """One list with what it comes to now, or came to when it was decided about.

        Raises:
            Problem: 404 for a list that is not the organization's.
        """
        async with self._pool.acquire() as conn:
            roster = await rosters_store.find_roster(conn, who.organization, plan)
            if roster is None:
                raise _no_such_list()
            if roster.sealed is None:
                return _summary(roster)
            return _document(await self._look(conn, roster))

    async def listed(self, who: Principal, limit: int) -> list[dict[str, Any]]:
        """The latest lists, newest first, with what each came to."""
        async with self._pool.acquire() as conn:
            found = await rosters_store.recent_rosters(conn, who.organization, limit)
        return [_summary(roster) for roster in found]

    async def _look(self, conn: Connection, roster: Roster) -> _Looked:
        assert roster.nonce is not None
        assert roster.sealed is not None
        opened = self._seal.open(_name(roster.plan), roster.nonce, roster.sealed)
        reading = await asyncio.to_thread(READING.validate_json, opened)
        return await self._compare(conn, roster, reading)

    async def _compare(self, conn: Connection, roster: Roster, reading: Reading) -> _Looked:
        """A list with what it comes to now; worked out beside the loop, where others are served."""
        places = await picture_store.places(conn, roster.organization)
        at = Circumstances(
            now=roster.received_at,
            day=roster.received_at.astimezone(places.zone).date(),
            zone=places.zone,
            known=await picture_store.known_workers(conn, roster.organization),
            said=await rosters_store.said_of(conn, roster.organization, roster.source),
            answered=await rosters_store.answered(conn, roster.organization, roster.source),
            titles=places.titles,
        )
        return _Looked(roster, reading, await asyncio.to_thread(make_plan, reading, at))

    # -- deciding

    async def apply(
        self, who: Principal, plan: UUID, hash_: str, key: str | None
    ) -> dict[str, Any]:
        """Publish what a plan says, if it still says what was looked at.

        Raises:
            Problem: 404, or 409 for a plan that is stale, held, or decided about.
        """

        async def work(conn: Connection) -> dict[str, Any]:
            looked = await self._undecided(conn, who, plan)
            if looked.plan.hash != hash_:
                raise Problem(
                    409,
                    "stale_plan",
                    "What this list comes to has changed since it was looked at. Look again.",
                )
            return _document(await self._apply(conn, who, looked))

        body = orjson.dumps({"plan": str(plan), "hash": hash_})
        return await self._command(who, f"rosters/{plan}/apply", key, body, work)

    async def reject(self, who: Principal, plan: UUID, key: str | None) -> dict[str, Any]:
        """Throw a list away: nothing of it takes effect, and nothing is asked about it.

        Raises:
            Problem: 404, or 409 for one that was decided about.
        """

        async def work(conn: Connection) -> dict[str, Any]:
            looked = await self._undecided(conn, who, plan)
            now = await self._clock.now(conn)
            await rosters_store.withdraw_questions(conn, plan)
            await rosters_store.decide(
                conn, plan, "rejected", who.subject, now, counts=looked.plan.counts()
            )
            return await self._decided(conn, who, plan)

        return await self._command(who, f"rosters/{plan}/reject", key, b"", work)

    async def look_again(self, conn: Connection, organization: str, source: str) -> None:
        """After answers: a list that was held need not wait any more."""
        for roster in await rosters_store.held_rosters(conn, organization, source):
            looked = await self._look(conn, roster)
            if not looked.plan.is_held:
                await rosters_store.set_status(conn, roster.plan, "planned", looked.plan.counts())

    async def _undecided(self, conn: Connection, who: Principal, plan: UUID) -> _Looked:
        roster = await rosters_store.find_roster(conn, who.organization, plan)
        if roster is None:
            raise _no_such_list()
        await rosters_store.lock_source(conn, who.organization, roster.source)
        roster = await rosters_store.find_roster(conn, who.organization, plan, lock=True)
        assert roster is not None
        if roster.status not in ("planned", "held"):
            raise Problem(
                409, "list_decided", f"This list is {roster.status}; nothing more can be done."
            )
        return await self._look(conn, roster)

    async def _decided(self, conn: Connection, who: Principal, plan: UUID) -> dict[str, Any]:
        roster = await rosters_store.find_roster(conn, who.organization, plan)
        assert roster is not None
        return _summary(roster)

    async def _apply(self, conn: Connection, who: Principal, looked: _Looked) -> _Looked:
        roster, plan = looked.roster, looked.plan
        if plan.is_held:
            raise Problem(
                409,
                "list_held",
                f"{roster.file_name} lacks {len(plan.missing)} of {plan.expected} people, so it"
                " waits. Say what became of them, or reject the file.",
            )
        now = await self._clock.now(conn)
        entered_by = who.worker if who.may("hr:enter") else None
        messages = await asyncio.to_thread(self._messages, roster, plan.changes, entered_by)
        await rosters_store.note_said(conn, roster.organization, roster.source, plan.says)
        await rosters_store.close_questions(
            conn,
            roster.organization,
            roster.source,
            plan.raised,
            looked.reading.present if looked.reading.unnamed else None,
        )
        await self._ask(conn, looked, now)
        dumped = EVENTS.dump_json([(m.key, m.headers, (m.value or b"").decode()) for m in messages])
        await rosters_store.decide(
            conn,
            roster.plan,
            "applying",
            who.subject,
            now,
            counts=plan.counts(),
            events=self._seal.seal(_name(roster.plan), dumped),
            total=len(messages),
        )
        await enqueue(conn, messages[:PUBLISH_EVENTS])
        await rosters_store.note_published(conn, roster.plan, min(len(messages), PUBLISH_EVENTS))
        applied = await rosters_store.find_roster(conn, roster.organization, roster.plan)
        assert applied is not None
        return replace(looked, roster=applied)

    def _messages(
        self, roster: Roster, changes: Sequence[Change], entered_by: str | None
    ) -> list[OutboxMessage]:
        found: list[OutboxMessage] = []
        bound = {roster.source: frozenset({roster.organization})}
        for change in changes:
            documents = [
                {
                    "specversion": "1.0",
                    "id": name_uuid(roster.plan, f"{change.line}\x1f{type_}"),
                    "type": type_,
                    "source": roster.source,
                    "subject": change.worker,
                    "time": rfc3339(roster.received_at),
                    "organization": roster.organization,
                    "data": data,
                }
                for type_, data in change.events
            ]
            accepted, refused = judge(documents, bound, entered_by)
            if refused:
                raise Problem(422, refused[0].code, f"Line {change.line}: {refused[0].detail}.", [])
            found += _outgoing(accepted)
        return found

    async def publish_next(self) -> int:
        """Publish the next piece of a list that is being applied; how many events that was."""

        async def publish(conn: Connection) -> int:
            applying = await rosters_store.lock_applying(conn)
            if applying is None:
                return 0
            try:
                opened = self._seal.open(_name(applying.plan), applying.nonce, applying.events)
            except CannotOpen:
                logger.error("rosters.cannot_be_opened", plan=str(applying.plan))
                await rosters_store.give_up(conn, applying.plan, LOST)
                return 1
            events = EVENTS.validate_json(opened)
            piece = events[applying.done : applying.done + PUBLISH_EVENTS]
            await enqueue(
                conn,
                [
                    OutboxMessage(HR_EVENTS.name, key, headers, value.encode())
                    for key, headers, value in piece
                ],
            )
            await rosters_store.note_published(conn, applying.plan, applying.done + len(piece))
            return len(piece)

        return await in_transaction(self._pool, publish)

    async def _command(
        self, who: Principal, route: str, key: str | None, body: bytes, work: Any
    ) -> dict[str, Any]:
        return await command(self._pool, self._clock, who, route, key, body, work)


def _read(
    upload: Upload,
    mapping: SourceMapping | None,
    places: Places,
    known: Collection[str],
) -> tuple[Reading, SourceMapping]:
    """The list, and how it was read, which is how the source's next one will be."""
    table = read_table(upload.name, upload.content)
    mapping = mapping or SourceMapping()
    if upload.preset is not None:
        mapping = mapping.model_copy(update={"preset": upload.preset})
    if upload.day_first is not None:
        mapping = mapping.model_copy(update={"day_first": upload.day_first})
    preset = mapping.preset or likeliest_preset(table.columns, presets())
    if preset not in presets():
        raise UnreadableSheet(
            f"There is no preset {preset!r:.40}; there are: {', '.join(presets())}."
        )
    return read_lines(table, presets()[preset], mapping, places.sites, known), mapping


def _outgoing(accepted: Sequence[Any]) -> Iterator[OutboxMessage]:
    for each in accepted:
        record = hr_record(each)
        yield OutboxMessage(record.topic, record.key, dict(record.headers), record.value)


def _name(plan: UUID) -> str:
    """What a sealed list is bound to, apart from everything else under the same key."""
    return f"roster {plan}"


def _no_such_list() -> Problem:
    return Problem(404, "no_such_list", "There is no such list; it may have expired.")


def _summary(roster: Roster) -> dict[str, Any]:
    return {
        "plan": str(roster.plan),
        "source": roster.source,
        "file": roster.file_name,
        "sha256": roster.sha256.hex(),
        "received_at": rfc3339(roster.received_at),
        "received_by": roster.received_by,
        "status": roster.status,
        "counts": dict(roster.counts),
        "problem": roster.problem,
        "decided_by": roster.decided_by,
        "decided_at": rfc3339(roster.decided_at) if roster.decided_at else None,
        "progress": {"events": roster.events_total, "published": roster.events_done},
    }


def _document(looked: _Looked) -> dict[str, Any]:
    """A list with everything that it comes to, as JSON has it."""
    plan, reading = looked.plan, looked.reading
    by_kind: dict[str, list[dict[str, Any]]] = {"hires": [], "changes": [], "departures": []}
    for change in plan.changes:
        part = {"hire": "hires", "departure": "departures"}.get(change.kind, "changes")
        if len(by_kind[part]) < SHOWN_LINES:
            told = asdict(change)
            told["events"] = [type_ for type_, _ in change.events]
            by_kind[part].append(told)
    document = {
        **_summary(looked.roster),
        "hash": plan.hash,
        "counts": plan.counts(),
        "expected": plan.expected,
        **by_kind,
        "questions": [asdict(each) for each in plan.questions[:SHOWN_LINES]],
        "errors": [asdict(each) for each in plan.errors[:SHOWN_LINES]],
        "titles": dict(plan.titles),
        "places": dict(plan.places),
        "columns": dict(reading.columns),
        "dropped": list(reading.dropped),
        "notes": list(plan.notes),
    }
    answer: dict[str, Any] = orjson.loads(orjson.dumps(document))
    return answer
