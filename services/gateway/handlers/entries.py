"""What people enter by hand: sent at once, or sealed until it takes effect."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from os import urandom
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg
import orjson
import structlog

from services.gateway.handlers.activity import activity
from services.gateway.handlers.ingress import Ingress, Receipt, Unacknowledged
from services.gateway.handlers.sign_in import Doorkeeper
from services.gateway.rules.embargo import SALT_BYTES, Sealed, check_sealing, commit
from services.gateway.rules.intake import entry_document, judge
from services.gateway.sealing import BodySeal, CannotOpen
from services.gateway.services import ServiceDown, Services
from services.gateway.store import embargo as store
from services.gateway.store.embargo import SealedRow
from shared import timers
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.admin import (
    SEALED_ACTOR,
    CommandRefused,
    EntryOpened,
    EntrySealed,
    EntryWithdrawn,
)
from shared.contracts.envelope import rfc3339
from shared.contracts.hr import CONSOLE_SOURCE, HrEvent, WorkerTerminated
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

logger = structlog.get_logger(__name__)

EMBARGO = "embargo"
STUCK = {"stuck": True}
"""What the timer of an entry says that could not be opened when its time had come."""

OPEN_BATCH = 20
OPEN_IDLE_SECONDS = 1.0
"""How late a sealed entry may take effect."""

OPEN_AGAIN = timedelta(minutes=5)
"""When an entry is tried again that cannot be opened, as while the key file is the wrong one."""


class Entries:
    """Takes entries of people, under their name, and keeps sealed ones until they take effect."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        ingress: Ingress,
        seal: BodySeal,
        clock: Clock,
        services: Services,
        doorkeeper: Doorkeeper,
    ) -> None:
        self._pool = pool
        self._ingress = ingress
        self._seal = seal
        self._clock = clock
        self._services = services
        self._doorkeeper = doorkeeper

    async def enter(
        self, who: Principal, type_: str, worker: str, data: Mapping[str, Any], key: str
    ) -> str:
        """Publish what a person says of somebody else; the event's id, the same for the same key.

        Whoever is said to have left already is signed out.

        Raises:
            Problem: 403 about oneself, 422 for what is no event; the refusal is recorded.
            Unacknowledged: whether it was written is unknown; the same key again is safe.
        """
        try:
            event = await self._ingress.enter(who, type_, worker, data, key)
        except Problem as problem:
            await self._record_refusal(who, "hr.enter", worker, problem)
            raise
        at = event.data.effective_at if isinstance(event.data, WorkerTerminated) else None
        if at is not None and at <= await self._now():
            sign_out = self._doorkeeper.close_all_of
            await in_transaction(
                self._pool,
                partial(sign_out, organization=event.organization, workers=[worker]),
            )
        return event.id

    async def seal(
        self,
        who: Principal,
        type_: str,
        worker: str,
        data: Mapping[str, Any],
        key: str,
        *,
        readers: Sequence[str],
        replaces: UUID | None = None,
    ) -> Sealed:
        """Keep an entry sealed until it takes effect; the same key again changes nothing.

        Args:
            readers: subjects or worker ids of those who may see it before, besides `who`.
            replaces: a sealed entry that this one takes the place of.

        Raises:
            Problem: the rule that refuses it, recorded without saying whom it was about; 503 while
                provisioning cannot tell the organization's zone.
        """
        try:
            now = await self._now()
            document = entry_document(who, type_, worker, data, key, rfc3339(now))
            kept = await self._find(who, UUID(document["id"]))
            if kept is not None:
                return kept
            before = None if replaces is None else await self._visible(who, replaces)
            concerned = await self._ids_of(who, worker)
            zone = await self._zone(who)
            opens_at = check_sealing(_judged(who, document), who, concerned, readers, zone, now)
            # Recorded when it takes effect, it counts before what an HR system said of the same
            # employment meanwhile.
            document["time"] = rfc3339(opens_at)
            event = _judged(who, document)
        except Problem as problem:
            await self._record_refusal(who, "hr.seal", "", problem)
            raise
        salt = urandom(SALT_BYTES)
        made = Sealed(
            id=event.id,
            document=document,
            concerned=tuple(sorted(concerned)),
            entered_by=who.worker or who.subject,
            readers=tuple(readers),
            opens_at=opens_at,
            salt=salt.hex(),
            commitment=commit(event, salt),
        )
        await in_transaction(self._pool, partial(self._keep, made=made, before=before, who=who))
        return made

    async def visible(self, who: Principal) -> list[Sealed]:
        """The sealed entries that somebody may see, the next to take effect first.

        What cannot be opened is left out: nobody can tell whether they may see it.
        """
        async with self._pool.acquire() as conn:
            rows = await store.sealed_of(conn, who.organization)
        opened = []
        for row in rows:
            with suppress(CannotOpen):
                opened.append(self._open(row))
        return sorted(
            (one for one in opened if one.may_be_seen_by(who)), key=lambda one: one.opens_at
        )

    async def withdraw(self, who: Principal, id_: UUID) -> None:
        """Forget a sealed entry before it takes effect; nothing will ever say what it was.

        Raises:
            Problem: 404 for what they may not see, which is recorded, or what has taken effect.
        """
        try:
            sealed = await self._visible(who, id_)
        except Problem as problem:
            await self._record_refusal(who, "hr.sealed.withdraw", "", problem)
            raise
        await in_transaction(
            self._pool, partial(self._withdraw, sealed=sealed, organization=who.organization)
        )

    async def open_due(self) -> int:
        """Send what takes effect now; how many.

        What Kafka did not take is tried again, and later what cannot be opened, which holds up
        nothing behind it.
        """
        async with self._pool.acquire() as conn:
            now = await self._clock.now(conn)
            due = await timers.due_keys(conn, EMBARGO, now, OPEN_BATCH)
            rows = [await store.find_sealed(conn, UUID(key)) for key in due]
        opened = 0
        for row in rows:
            if row is None:
                continue
            try:
                sealed = self._open(row)
            except CannotOpen:
                logger.error("embargo.cannot_be_opened", entry=str(row.id))
                later = timers.Timer(EMBARGO, str(row.id), now + OPEN_AGAIN, STUCK)
                await in_transaction(self._pool, partial(timers.set_timers, timers=[later]))
                continue
            bound = {CONSOLE_SOURCE: frozenset({row.organization})}
            try:
                receipt = await self._ingress.receive([sealed.document], bound, sealed.entered_by)
            except Unacknowledged:
                logger.warning("embargo.waits_for_kafka", due=len(rows))
                break
            await in_transaction(
                self._pool, partial(self._opened, row=row, sealed=sealed, receipt=receipt)
            )
            opened += 1
        return opened

    # -- within transactions

    async def _keep(
        self, conn: Connection, made: Sealed, before: Sealed | None, who: Principal
    ) -> None:
        if before is not None:
            await self._withdraw(conn, before, who.organization)
        nonce, sealed = self._seal.seal(_name(made.id), _dump(made))
        row = SealedRow(UUID(made.id), who.organization, nonce, sealed)
        if await store.keep_sealed(conn, row):
            await timers.set_timers(conn, [timers.Timer(EMBARGO, made.id, made.opens_at, {})])
            now = await self._clock.now(conn)
            said = EntrySealed(made.commitment)
            cause = (made.id, made.commitment)
            message = activity("entry.sealed", who.organization, SEALED_ACTOR, cause, now, said)
            await enqueue(conn, [message])

    async def _withdraw(self, conn: Connection, sealed: Sealed, organization: str) -> None:
        if not await store.forget_sealed(conn, UUID(sealed.id)):
            raise _no_such_entry()
        await timers.cancel(conn, EMBARGO, [sealed.id])
        now = await self._clock.now(conn)
        said = EntryWithdrawn(sealed.commitment)
        cause = (sealed.id, sealed.commitment)
        message = activity("entry.withdrawn", organization, SEALED_ACTOR, cause, now, said)
        await enqueue(conn, [message])

    async def _opened(
        self, conn: Connection, row: SealedRow, sealed: Sealed, receipt: Receipt
    ) -> None:
        now = await self._clock.now(conn)
        if not await timers.take(conn, EMBARGO, [sealed.id], now):
            return
        await store.forget_sealed(conn, row.id)
        said: EntryOpened | CommandRefused = EntryOpened(sealed.commitment, sealed.salt, sealed.id)
        kind = "entry.opened"
        for refused in receipt.refused:
            kind, said = "command.refused", CommandRefused("hr.seal", sealed.id, refused.code, 422)
        if sealed.document["type"] == "worker.terminated":
            await self._doorkeeper.close_all_of(conn, row.organization, sealed.concerned)
        message = activity(kind, row.organization, sealed.entered_by, (sealed.id,), now, said)
        await enqueue(conn, [message])

    async def _record_refusal(
        self, who: Principal, command: str, target: str, problem: Problem
    ) -> None:
        said = CommandRefused(command, target, problem.code, problem.status)

        async def record(conn: Connection) -> None:
            now = await self._clock.now(conn)
            cause = (str(uuid4()),)
            message = activity("command.refused", who.organization, who.subject, cause, now, said)
            await enqueue(conn, [message])

        await in_transaction(self._pool, record)
        problem.said = True

    # -- what else there is to know

    async def _now(self) -> datetime:
        async with self._pool.acquire() as conn:
            return await self._clock.now(conn)

    async def _find(self, who: Principal, id_: UUID) -> Sealed | None:
        async with self._pool.acquire() as conn:
            row = await store.find_sealed(conn, id_)
        if row is None or row.organization != who.organization:
            return None
        sealed = self._open(row)
        return sealed if sealed.may_be_seen_by(who) else None

    async def _visible(self, who: Principal, id_: UUID) -> Sealed:
        sealed = await self._find(who, id_)
        if sealed is None:
            raise _no_such_entry()
        return sealed

    async def _ids_of(self, who: Principal, worker: str) -> set[str]:
        """Every id of a person, so that none of them is among the readers."""
        try:
            return await self._services.ids_of(who, worker)
        except ServiceDown as down:
            raise _provisioning_down() from down

    async def _zone(self, who: Principal) -> ZoneInfo:
        try:
            return await self._services.zone_for_certain(who)
        except (ServiceDown, LookupError) as unknown:
            raise _provisioning_down() from unknown

    def _open(self, row: SealedRow) -> Sealed:
        plain = orjson.loads(self._seal.open(_name(str(row.id)), row.nonce, row.sealed))
        return Sealed(
            **{
                **plain,
                "concerned": tuple(plain["concerned"]),
                "readers": tuple(plain["readers"]),
                "opens_at": datetime.fromisoformat(plain["opens_at"]),
            }
        )


def _judged(who: Principal, document: Mapping[str, Any]) -> HrEvent:
    bound = {CONSOLE_SOURCE: frozenset({who.organization})}
    accepted, refused = judge([document], bound, who.worker or who.subject)
    if refused:
        raise Problem(422, refused[0].code, f"{refused[0].detail}.")
    return accepted[0].event


def _dump(sealed: Sealed) -> bytes:
    return orjson.dumps(asdict(sealed))


def _name(id_: str) -> str:
    """What a sealed entry is bound to, apart from everything else under the same key."""
    return f"sealed entry {id_}"


def _no_such_entry() -> Problem:
    return Problem(
        404,
        "no_such_sealed_entry",
        "There is no sealed entry under this id that you may see. It may have taken effect, or "
        "have been withdrawn.",
    )


def _provisioning_down() -> Problem:
    return Problem(
        503,
        "service_down",
        "Provisioning does not answer, and without it nobody knows when a day ends here or who "
        "else this person is. Nothing was sealed; try again.",
    )
