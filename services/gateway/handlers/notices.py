"""Telling people: from events to matters, from matters to recipients, from those to messages.

Urgent matters are sent at least once: again until a channel takes them, under the same key. The
rest is claimed before it is sent, so at most once. Whatever became of it is an event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import asyncpg
import orjson
import uuid_utils

from services.gateway.channels import EMAIL, Channels, addresses_in
from services.gateway.handlers.activity import activity
from services.gateway.rules.notices import (
    DIGESTED,
    STALE_AFTER,
    SUBJECTS,
    URGENT,
    Ended,
    Matter,
    Word,
    recipients,
    subject_line,
    words_of,
)
from services.gateway.sealing import BodySeal
from services.gateway.store import notices as store
from shared.clock import Clock
from shared.contracts.admin import NotificationDelivered, NotificationFailed
from shared.contracts.envelope import read_event
from shared.errors import Rejected
from shared.kafka import Batch, Record
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

ACTOR = "notifications"
"""Who acts in what is said of telling people."""

GATHER_URGENT = timedelta(seconds=10)
"""A departure orders many removals within moments; they are one message."""

GATHER = timedelta(minutes=10)
AGAIN = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=30))
"""How long an urgent matter waits after each time that nobody took it; the last goes on."""

MATTERS_MAX = 50
"""More than this in one message helps nobody; the rest follows in the next."""

ADDRESS_BATCH = 200
FORGET_BATCH = 500

TEAM = "team:"
WEBHOOK = "webhook:"


@dataclass(frozen=True, slots=True)
class Heard:
    """What an event of an organization asks to be told; `at` is when it was said."""

    organization: str
    at: datetime
    words: tuple[Word, ...]


class NoticeIntake:
    """Keeps what access and review events ask to be told, of organizations that can be reached."""

    def __init__(self, clock: Clock, channels: Channels) -> None:
        self._clock = clock
        self._channels = channels

    def parse(self, record: Record) -> Heard:
        """What an event asks to be told.

        Raises:
            Rejected: it is no event, or not as its contract says.
        """
        event = read_event(record)
        if event.organization not in self._channels.reach:
            return Heard(event.organization, event.time, ())
        try:
            words = words_of(event.type, event.time, event.data, orjson.loads(event.data))
        except (ValueError, KeyError) as error:
            raise Rejected("invalid_data", f"a {event.type} lacks a field") from error
        return Heard(event.organization, event.time, tuple(words))

    async def apply(self, conn: Connection, batch: Batch[Heard]) -> None:
        """Keep and end matters in the order of their events."""
        if not any(item.parsed.words for item in batch.items):
            return
        now = await self._clock.now(conn)
        for item in batch.items:
            heard = item.parsed
            new = [each for each in heard.words if isinstance(each, Matter)]
            ended = [each for each in heard.words if isinstance(each, Ended)]
            if new and heard.at > now - STALE_AFTER:
                await store.note(conn, heard.organization, new, now)
            if ended:
                await store.end(conn, heard.organization, ended, now)


class Notifier:
    """Works out who is told, and tells them.

    Args:
        home: the console's address; every link leads there, and there one signs in.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        clock: Clock,
        channels: Channels,
        seal: BodySeal,
        home: str,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._channels = channels
        self._seal = seal
        self._home = home.rstrip("/")

    async def address(self) -> int:
        """Work out who is told of what is new; how much that was."""

        async def work(conn: Connection) -> int:
            now = await self._clock.now(conn)
            taken = await store.take_unaddressed(conn, now, ADDRESS_BATCH)
            for organization in sorted({organization for organization, _ in taken}):
                matters = [each for of, each in taken if of == organization]
                named = {worker for each in matters for worker in each.workers}
                people = await store.people(conn, organization, named)
                here = now.astimezone(await store.zone(conn, organization))
                for matter in matters:
                    told = recipients(matter, people, here.date())
                    await store.address(
                        conn,
                        organization,
                        matter,
                        [*told, *self._programs(organization, matter)],
                        self._begin(organization, matter, here),
                        now,
                    )
            return len(taken)

        return await in_transaction(self._pool, work)

    def _programs(self, organization: str, matter: Matter) -> list[str]:
        reach = self._channels.reach.get(organization)
        if reach is None:
            return []
        hooks = [f"{WEBHOOK}{each.id}" for each in reach.webhooks if matter.kind in each.kinds]
        teams = [f"{TEAM}{each.name}" for each in reach.teams if matter.kind in URGENT]
        return hooks + teams

    def _begin(self, organization: str, matter: Matter, here: datetime) -> datetime:
        """From when on a matter is told."""
        if matter.kind in URGENT:
            return here + GATHER_URGENT
        reach = self._channels.reach.get(organization)
        if reach is None or matter.kind not in DIGESTED:
            return here + GATHER
        digest = datetime.combine(here.date(), reach.digest_at, here.tzinfo)
        return digest if digest > here else digest + timedelta(days=1)

    async def tell_urgent(self) -> int:
        """Tell one recipient what cannot wait; 1 if anything was due."""
        return await self._tell(urgent=True)

    async def tell_others(self) -> int:
        """Tell one recipient the rest, as one message; 1 if anything was due."""
        return await self._tell(urgent=False)

    async def _tell(self, *, urgent: bool) -> int:
        taken = await in_transaction(self._pool, lambda conn: self._take(conn, urgent))
        if taken is None:
            return 0
        organization, recipient, waiting = taken
        matters = [each.matter for each in waiting]
        problem, took = await self._send(organization, recipient, matters)
        attempts = max(each.attempts for each in waiting)

        async def record(conn: Connection) -> None:
            now = await self._clock.now(conn)
            keys = [each.key for each in matters]
            said: NotificationDelivered | NotificationFailed
            if problem is None:
                await store.settle(
                    conn, organization, recipient, keys, "delivered", now, channels=took
                )
                kind = "notification.delivered"
                said = NotificationDelivered(recipient, tuple(took), tuple(keys), attempts)
            else:
                kind = "notification.failed"
                retry_at = now + _pause(attempts) if urgent else None
                if retry_at is None:
                    await store.settle(
                        conn, organization, recipient, keys, "failed", now, problem=problem
                    )
                else:
                    await store.try_later(conn, organization, recipient, keys, retry_at, problem)
                if attempts > 1 and retry_at is not None:
                    # That it fails is said once; when it is delivered, that says how often.
                    return
                said = NotificationFailed(recipient, problem, tuple(keys), attempts, retry_at)
            cause = (str(uuid_utils.uuid7()),)
            await enqueue(conn, [activity(kind, organization, ACTOR, cause, now, said)])

        await in_transaction(self._pool, record)
        return 1

    async def _take(
        self, conn: Connection, urgent: bool
    ) -> tuple[str, str, list[store.Waiting]] | None:
        now = await self._clock.now(conn)
        found = await store.next_recipient(conn, urgent, now)
        if found is None:
            return None
        organization, recipient = found
        # A program takes one matter at a time, under a key that stays the same.
        limit = 1 if recipient.startswith(WEBHOOK) else MATTERS_MAX
        waiting = await store.take_waiting(conn, organization, recipient, urgent, now, limit)
        keys = [each.matter.key for each in waiting]
        if not waiting:
            return None
        if urgent:
            # Should this process end before it is recorded, it is tried again.
            again = now + _pause(max(each.attempts for each in waiting))
            await store.try_later(conn, organization, recipient, keys, again, "unfinished")
        else:
            await store.settle(
                conn, organization, recipient, keys, "claimed", now, problem="unfinished"
            )
        return organization, recipient, waiting

    async def _send(
        self, organization: str, recipient: str, matters: Sequence[Matter]
    ) -> tuple[str | None, list[str]]:
        """Why nobody was reached, if so, and the channels that took the message."""
        if organization not in self._channels.reach:
            return "no_channel", []
        key = str(uuid5(NAMESPACE_URL, f"{organization} {recipient} {matters[0].key}"))
        if recipient.startswith(WEBHOOK):
            id_, payload = recipient.removeprefix(WEBHOOK), self._payload(organization, matters[0])
            taken = await self._channels.send_to_webhook(organization, id_, key, payload)
            return (None, ["webhook"]) if taken else ("refused", [])
        title = subject_line(each.kind for each in matters)
        text = await self._text(organization, matters)
        if recipient.startswith(TEAM):
            name = recipient.removeprefix(TEAM)
            taken = await self._channels.send_to_team(organization, name, title, text, key)
            return (None, ["team"]) if taken else ("refused", [])
        addresses = await self.addresses(organization, recipient)
        if not addresses:
            return "no_address", []
        took = await self._channels.send(organization, addresses, title, text, key)
        return (None, took) if took else ("refused", [])

    async def told(self, organization: str, recipient: str | None, limit: int) -> list[store.Told]:
        """What was told lately, to one recipient or to all."""
        async with self._pool.acquire() as conn:
            return await store.told(conn, organization, recipient, limit)

    async def addresses(self, organization: str, worker: str) -> dict[str, str]:
        """Where somebody is told: their own addresses, and HR's where they gave no other."""
        channels = self._channels.reach[organization].channels
        async with self._pool.acquire() as conn:
            kept = await store.contact(conn, organization, worker)
            mail = await store.mail_from_hr(conn, organization, worker)
        own = orjson.loads(self._seal.open(_place(organization, worker), *kept)) if kept else {}
        return addresses_in({**({EMAIL: mail} if mail else {}), **own}, list(channels))

    async def save_addresses(self, organization: str, worker: str, given: dict[str, str]) -> None:
        """Keep where somebody wants to be told, sealed."""
        own = addresses_in(given, list(self._channels.reach[organization].channels))
        nonce, sealed = self._seal.seal(_place(organization, worker), orjson.dumps(own))
        async with self._pool.acquire() as conn:
            await store.save_contact(conn, organization, worker, nonce, sealed)

    def channels_of(self, organization: str) -> list[str]:
        """The channels by which people of an organization can be told."""
        reach = self._channels.reach.get(organization)
        return list(reach.channels) if reach else []

    def _payload(self, organization: str, matter: Matter) -> dict[str, Any]:
        return {
            "type": f"portalkeeper.{matter.kind.value}",
            "organization": organization,
            "about": matter.key,
            "portal": matter.portal,
            "due_at": matter.due_at.isoformat() if matter.due_at else None,
            "link": self._home + matter.path,
        }

    async def _text(self, organization: str, matters: Sequence[Matter]) -> str:
        """A line for each matter, without names: whoever signs in sees them."""
        async with self._pool.acquire() as conn:
            portals = await store.portal_names(conn, organization)
            zone = await store.zone(conn, organization)
        lines = []
        for each in matters:
            what = SUBJECTS[each.kind][0].capitalize()
            where = f" at {portals.get(each.portal, each.portal)}" if each.portal else ""
            due = each.due_at.astimezone(zone) if each.due_at else None
            by = f", due {due:%a %-d %b %H:%M %Z}" if due else ""
            lines.append(f"{what}{where}{by}\n{self._home}{each.path}\n")
        return "\n".join([*lines, "You are asked to sign in before anything is shown."])

    async def forget(self) -> int:
        """Forget what was told long ago."""

        async def work(conn: Connection) -> int:
            before = await self._clock.now(conn) - timedelta(days=store.KEPT_DAYS)
            return await store.forget(conn, before, FORGET_BATCH)

        return await in_transaction(self._pool, work)


def _pause(attempts: int) -> timedelta:
    return AGAIN[min(attempts, len(AGAIN)) - 1]


def _place(organization: str, worker: str) -> str:
    """What sealed addresses are bound to, so that nobody's can be put in another's place."""
    return f"contact {organization} {worker}"
