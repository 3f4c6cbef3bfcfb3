"""What HR is asked about people whom a list leaves out, or says something unlikely of."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import asyncpg
import orjson

from services.gateway.handlers.commands import command
from services.gateway.handlers.ingress import hr_record
from services.gateway.handlers.rosters import Rosters
from services.gateway.rules.intake import judge
from services.gateway.rules.roster_changes import Asked, Known
from services.gateway.store import picture as picture_store
from services.gateway.store import rosters as rosters_store
from services.gateway.store.rosters import OpenQuestion
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.envelope import event_id, rfc3339
from shared.contracts.hr import CONSOLE_SOURCE
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection

Answer = Literal["left", "still_here", "not_ours", "on_leave"]

ANSWERS: Mapping[Asked, tuple[Answer, ...]] = MappingProxyType(
    {
        Asked.MISSING: ("left", "still_here", "not_ours"),
        Asked.ACTIVE_AGAIN: ("left", "still_here"),
        Asked.STILL_LEAVING: ("left", "still_here"),
        Asked.STILL_ON_LEAVE: ("on_leave", "still_here"),
    }
)
"""What can be answered to each question."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer about one, several or (`workers` is None) all people of a kind of question.

    `on` is the last day of who left, or the day of who is back from leave.
    """

    source: str
    kind: Asked
    answer: Answer
    workers: tuple[str, ...] | None = None
    on: date | None = None


class Questions:
    """Asks and takes the answers; an answer that changes something is an event under one's name."""

    def __init__(self, pool: "asyncpg.Pool[Any]", rosters: Rosters, clock: Clock) -> None:
        self._pool = pool
        self._rosters = rosters
        self._clock = clock

    async def listed(self, who: Principal) -> list[dict[str, Any]]:
        """What waits for an answer, with what can be answered; the oldest first."""
        async with self._pool.acquire() as conn:
            found = await rosters_store.open_questions(conn, who.organization)
            known = await picture_store.known_workers(conn, who.organization)
        return [
            {
                "source": each.source,
                "worker": each.worker,
                "name": known[each.worker].name if each.worker in known else None,
                "kind": each.kind,
                "plan": str(each.plan),
                "detail": each.detail,
                "asked_at": rfc3339(each.asked_at),
                "answers": list(ANSWERS[each.kind]),
            }
            for each in found
        ]

    async def answer(self, who: Principal, answered: Answered, key: str | None) -> dict[str, Any]:
        """Take an answer; who is said to have left loses access from then on.

        Raises:
            Problem: 404 where nothing of the kind is asked, 422 for an answer that does not fit,
                403 about oneself.
        """
        if answered.answer not in ANSWERS[answered.kind]:
            raise Problem(
                422,
                "no_such_answer",
                f"Answer {answered.kind} with {', '.join(ANSWERS[answered.kind])}.",
            )
        if answered.kind is Asked.MISSING and answered.answer == "left" and answered.on is None:
            raise Problem(422, "day_missing", "Give the last day of who has left.")
        body = orjson.dumps(answered)
        work = partial(self._take, who, answered)
        return await command(self._pool, self._clock, who, "hr.questions/answers", key, body, work)

    async def _take(self, who: Principal, said: Answered, conn: Connection) -> dict[str, Any]:
        await rosters_store.lock_source(conn, who.organization, said.source)
        open_ = {
            each.worker: each
            for each in await rosters_store.open_questions(conn, who.organization, said.source)
            if each.kind is said.kind
        }
        about = sorted(open_) if said.workers is None else list(dict.fromkeys(said.workers))
        gone = [worker for worker in about if worker not in open_]
        if gone or not about:
            raise Problem(
                404,
                "not_asked",
                f"Nothing of this kind is asked about {', '.join(gone[:5]) or 'anybody'}; it may"
                " have been answered meanwhile.",
            )
        if not {who.worker, who.subject}.isdisjoint(about):
            raise Problem(403, "self_entry", "Nobody answers about themselves; ask HR.")
        known = await picture_store.known_workers(conn, who.organization)
        now = await self._clock.now(conn)
        zone = (await picture_store.places(conn, who.organization)).zone
        today = now.astimezone(zone).date()
        messages: list[OutboxMessage] = []
        for worker in about:
            event = _event_of(said, known.get(worker), today)
            if event is not None:
                messages.append(self._message(who, open_[worker], said, event, rfc3339(now)))
        await enqueue(conn, messages)
        await rosters_store.answer(
            conn,
            who.organization,
            said.source,
            said.kind,
            about,
            said.answer,
            who.subject,
            now,
        )
        if said.answer == "not_ours":
            await rosters_store.forget_workers(conn, who.organization, said.source, about)
        await self._rosters.look_again(conn, who.organization, said.source)
        return {"answered": len(about), "events": len(messages)}

    def _message(
        self,
        who: Principal,
        question: OpenQuestion,
        said: Answered,
        event: tuple[str, dict[str, Any]],
        time: str,
    ) -> OutboxMessage:
        type_, data = event
        cause = (said.source, question.worker, said.kind, str(question.asked_at), said.answer)
        document = {
            "specversion": "1.0",
            "id": event_id(type_, who.organization, *cause),
            "type": type_,
            "source": CONSOLE_SOURCE,
            "subject": question.worker,
            "time": time,
            "organization": who.organization,
            "data": data,
        }
        bound = {CONSOLE_SOURCE: frozenset({who.organization})}
        accepted, refused = judge([document], bound, who.worker or who.subject)
        if refused:
            raise Problem(422, refused[0].code, f"{refused[0].detail}.")
        record = hr_record(accepted[0])
        return OutboxMessage(record.topic, record.key, dict(record.headers), record.value)


def _event_of(
    said: Answered, known: Known | None, today: date
) -> tuple[str, dict[str, Any]] | None:
    """What an answer says of somebody; None where it leaves everything as it is."""
    current = known.employment if known else None
    if current is None:
        return None
    on = (said.on or today).isoformat()
    if said.kind is Asked.MISSING and said.answer == "left":
        return "worker.terminated", {"effective_on": on, "employment_id": current.employment_id}
    if said.kind in (Asked.ACTIVE_AGAIN, Asked.STILL_LEAVING) and said.answer == "still_here":
        # The latest word on an employment counts: hired again as it was, it has no end.
        again = {
            "effective_at": rfc3339(current.starts_at),
            "employment_id": current.employment_id,
            "title": current.title,
            "department": current.department,
            "sites": list(current.sites) or None,
            "supervisor": current.supervisor,
            "kind": current.kind,
        }
        return "worker.hired", {name: value for name, value in again.items() if value is not None}
    if said.kind is Asked.STILL_ON_LEAVE and said.answer == "still_here":
        return "worker.leave_ended", {"effective_on": on, "employment_id": current.employment_id}
    return None
