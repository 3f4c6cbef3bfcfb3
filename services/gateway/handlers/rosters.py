"""HR's lists of workers: planned, held when doubtful, applied as events, and asked about.

A list is read, reduced to the columns that are known, and kept sealed; what it comes to is worked
out anew each time from what provisioning publishes, so a plan that is looked at is the plan that is
applied, or the apply is refused. Events leave as `roster_publishing` says.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
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
from services.gateway.handlers.roster_answers import Looked, document, summary
from services.gateway.handlers.roster_publishing import (
    messages_of,
    publish_piece,
    seal_name,
    sealed,
)
from services.gateway.presets import presets
from services.gateway.rules.roster_changes import Circumstances
from services.gateway.rules.roster_columns import SourceMapping, likeliest_preset
from services.gateway.rules.roster_plan import make_plan
from services.gateway.rules.roster_reading import Reading, read_lines
from services.gateway.sealing import BodySeal
from services.gateway.sources import Sources
from services.gateway.store import picture as picture_store
from services.gateway.store import rosters as rosters_store
from services.gateway.store.picture import Places
from services.gateway.store.rosters import Roster
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import HrFileHeld
from shared.contracts.hr import CONSOLE_SOURCE
from shared.errors import Problem
from shared.idempotency import once
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction
from shared.sheets.reading import read_table
from shared.sheets.table import UnreadableSheet

logger = structlog.get_logger(__name__)

KEPT_DAYS = 30
"""As long as other bodies that the gateway keeps sealed."""

LATER_BYTES = 512 * 1024
"""A list of more takes seconds to read: a page is shown at once that tells how far it is."""

READING_MINUTES = 10
"""What is not read by then was lost when its process ended."""

NOT_READ = (
    "It was not read to the end, because the gateway was stopped or failed meanwhile. Nothing has"
    " happened. Send it again."
)

READING = TypeAdapter(Reading)


@dataclass(frozen=True, slots=True)
class Upload:
    """A list as it was sent, and how it is to be read this time and from now on."""

    name: str
    content: bytes
    preset: str | None = None
    day_first: bool | None = None
    apply: bool = False


class Rosters:
    """Everything that is done with lists of workers."""

    def __init__(
        self, pool: "asyncpg.Pool[Any]", sources: Sources, seal: BodySeal, clock: Clock
    ) -> None:
        self._pool = pool
        self._sources = sources
        self._seal = seal
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines_read: dict[UUID, int] = {}

    # -- receiving

    async def begin(self, who: Principal, source: str, upload: Upload, key: str | None) -> UUID:
        """Receive a list for somebody who looks on; its id, under which it shows how far it is.

        A long one is read beside everything else. Until it is, its content is nowhere but in
        memory: what nobody needs of it is never kept.

        Raises:
            Problem: as `receive`, for a list that is not long.
        """
        if len(upload.content) <= LATER_BYTES:
            return UUID((await self.receive(who, source, upload, key))["plan"])
        number = uuid4()

        async def work(conn: Connection) -> dict[str, Any]:
            roster = await self._blank(conn, who, source, upload, number, "reading")
            lines = upload.content.count(b"\n")
            await rosters_store.add_roster(conn, replace(roster, events_total=lines))
            return {"plan": str(number)}

        route = f"rosters/{source}/reading"
        begun = await in_transaction(
            self._pool, lambda conn: once(conn, who, route, key, upload.content, work)
        )
        if begun["plan"] == str(number):
            task = asyncio.create_task(self._read_later(who, source, upload, number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return UUID(begun["plan"])

    async def _read_later(self, who: Principal, source: str, upload: Upload, number: UUID) -> None:
        try:
            await self.receive(who, source, upload, None, number)
        except Problem as problem:
            logger.info("rosters.refused", plan=str(number), code=problem.code)
        except Exception:
            # Nobody waits for this task: whoever looks at the list is told.
            logger.exception("rosters.not_read", plan=str(number))
        finally:
            self._lines_read.pop(number, None)
            give_up = partial(rosters_store.give_up_reading, problem=NOT_READ, plan=number)
            await in_transaction(self._pool, give_up)

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
        self,
        who: Principal,
        source: str,
        upload: Upload,
        key: str | None,
        number: UUID | None = None,
    ) -> dict[str, Any]:
        """Read a list, keep it, and say what it comes to; apply it too, if that was asked.

        Args:
            number: its id, where it has one already.

        Raises:
            Problem: 422 for a file that cannot be read, with line and column where one is to blame.
        """
        async with self._pool.acquire() as conn:
            kept = await rosters_store.source_settings(conn, who.organization)
            places = await picture_store.places(conn, who.organization)
            known = await picture_store.known_ids(conn, who.organization)
        so_far = kept[source].mapping if source in kept else None
        number = number or uuid4()
        told = partial(self._lines_read.__setitem__, number)
        try:
            reading, mapping = await asyncio.to_thread(_read, upload, so_far, places, known, told)
        except UnreadableSheet as error:
            problem = Problem(
                422,
                "unreadable_file",
                str(error),
                [{"line": error.line, "column": error.column, "detail": str(error)}],
            )
            await in_transaction(
                self._pool, partial(self._keep_unreadable, who, source, upload, str(error), number)
            )
            raise problem from error
        finally:
            self._lines_read.pop(number, None)

        async def work(conn: Connection) -> dict[str, Any]:
            return await self._keep(conn, who, source, upload, reading, mapping, number)

        return await self._command(who, f"rosters/{source}", key, upload.content, work)

    async def _keep(
        self,
        conn: Connection,
        who: Principal,
        source: str,
        upload: Upload,
        reading: Reading,
        mapping: SourceMapping,
        number: UUID,
    ) -> dict[str, Any]:
        await rosters_store.lock_source(conn, who.organization, source)
        await rosters_store.keep_mapping(conn, who.organization, source, mapping)
        nonce, sealed = self._seal.seal(seal_name(number), READING.dump_json(reading))
        blank = await self._blank(conn, who, source, upload, number, "planned")
        roster, now = replace(blank, nonce=nonce, sealed=sealed), blank.received_at
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
        return document(looked)

    async def _keep_unreadable(
        self, who: Principal, source: str, upload: Upload, why: str, number: UUID, conn: Connection
    ) -> None:
        roster = await self._blank(conn, who, source, upload, number, "unreadable")
        await rosters_store.add_roster(conn, replace(roster, problem=why))

    async def _blank(
        self,
        conn: Connection,
        who: Principal,
        source: str,
        upload: Upload,
        number: UUID,
        status: str,
    ) -> Roster:
        """A list that comes now, of which nothing is known yet."""
        now = await self._clock.now(conn)
        return Roster(
            number,
            who.organization,
            source,
            upload.name,
            sha256(upload.content).digest(),
            now,
            who.subject,
            status,
            {},
            None,
            None,
            None,
            None,
            None,
            0,
            0,
            now + timedelta(days=KEPT_DAYS),
        )

    async def _hold(self, conn: Connection, looked: Looked, now: datetime) -> None:
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

    async def _ask(self, conn: Connection, looked: Looked, now: datetime) -> None:
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
            if roster.status == "reading":
                read = self._lines_read.get(plan, roster.events_total)
                return {**summary(roster), "reading": {"lines": roster.events_total, "read": read}}
            if roster.sealed is None:
                return summary(roster)
            return document(await self._look(conn, roster))

    async def listed(self, who: Principal, limit: int) -> list[dict[str, Any]]:
        """The latest lists, newest first, with what each came to."""
        async with self._pool.acquire() as conn:
            found = await rosters_store.recent_rosters(conn, who.organization, limit)
        return [summary(roster) for roster in found]

    async def _look(self, conn: Connection, roster: Roster) -> Looked:
        assert roster.nonce is not None
        assert roster.sealed is not None
        opened = self._seal.open(seal_name(roster.plan), roster.nonce, roster.sealed)
        reading = await asyncio.to_thread(READING.validate_json, opened)
        return await self._compare(conn, roster, reading)

    async def _compare(self, conn: Connection, roster: Roster, reading: Reading) -> Looked:
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
        return Looked(roster, reading, await asyncio.to_thread(make_plan, reading, at))

    # -- deciding

    async def apply(
        self, who: Principal, plan: UUID, hash_: str, key: str | None
    ) -> dict[str, Any]:
        """Publish what a plan says, if it still says what was looked at.

        Raises:
            Problem: 404, or 409 for a plan that is stale, held, decided about, or from a source
                that the directory does not name.
        """

        async def work(conn: Connection) -> dict[str, Any]:
            looked = await self._undecided(conn, who, plan)
            if looked.plan.hash != hash_:
                raise Problem(
                    409,
                    "stale_plan",
                    "What this list comes to has changed since it was looked at. Look again.",
                )
            return document(await self._apply(conn, who, looked))

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

    async def _undecided(self, conn: Connection, who: Principal, plan: UUID) -> Looked:
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
        return summary(roster)

    async def _apply(self, conn: Connection, who: Principal, looked: Looked) -> Looked:
        roster, plan = looked.roster, looked.plan
        if plan.is_held:
            raise Problem(
                409,
                "list_held",
                f"{roster.file_name} lacks {len(plan.missing)} of {plan.expected} people, so it"
                " waits. Say what became of them, or reject the file.",
            )
        in_force = await picture_store.in_force(conn, [roster.organization])
        if objection := in_force.objection(roster.organization, roster.source):
            raise Problem(409, objection.code, f"{objection.detail}.")
        now = await self._clock.now(conn)
        entered_by = who.worker if who.may("hr:enter") else None
        messages = await asyncio.to_thread(messages_of, roster, plan.changes, entered_by)
        await rosters_store.note_said(conn, roster.organization, roster.source, plan.says)
        await rosters_store.close_questions(
            conn,
            roster.organization,
            roster.source,
            plan.raised,
            looked.reading.present if looked.reading.unnamed else None,
        )
        await self._ask(conn, looked, now)
        await rosters_store.decide(
            conn,
            roster.plan,
            "applying",
            who.subject,
            now,
            counts=plan.counts(),
            events=sealed(self._seal, roster.plan, messages),
            total=len(messages),
        )
        await publish_piece(conn, roster.plan, messages)
        applied = await rosters_store.find_roster(conn, roster.organization, roster.plan)
        assert applied is not None
        return replace(looked, roster=applied)

    async def _command(
        self, who: Principal, route: str, key: str | None, body: bytes, work: Any
    ) -> dict[str, Any]:
        return await command(self._pool, self._clock, who, route, key, body, work)


def _read(
    upload: Upload,
    mapping: SourceMapping | None,
    places: Places,
    known: Collection[str],
    progress: Callable[[int], None],
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
    reading = read_lines(table, presets()[preset], mapping, places.sites, known, progress)
    return reading, mapping


def _no_such_list() -> Problem:
    return Problem(404, "no_such_list", "There is no such list; it may have expired.")
