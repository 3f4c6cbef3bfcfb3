"""Asking for chores, and what people say about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from services.provisioning.handlers.recompute import Recompute, access_fact
from services.provisioning.handlers.refusals import no_such_portal
from services.provisioning.rules.chores import (
    ACTIVITY_LOG_DAYS,
    CHORE_LIFE,
    ENDED,
    Chore,
    ChoreMove,
    activity_log_text,
    chore_id,
)
from services.provisioning.store import accounts as accounts_store
from services.provisioning.store import chores as chores_store
from services.provisioning.store import views
from shared.auth import Principal
from shared.contracts.access import ACCESS_EVENT_MODELS
from shared.contracts.access.evidence import Evidence
from shared.contracts.access.portals import ChoreRequested
from shared.contracts.state import ChoreKind
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection

EVENT_OF = {
    ChoreMove.CLAIM: "chore.claimed",
    ChoreMove.RELEASE: "chore.released",
    ChoreMove.DONE: "chore.done",
    ChoreMove.DECLINE: "chore.declined",
}


@dataclass(frozen=True, slots=True)
class ChoreWord:
    """What somebody says about a chore: evidence with `done`, a reason with `decline`."""

    move: ChoreMove
    by: str
    evidence: Evidence | None = None
    reason: str | None = None


class ChoreCommands:
    """Each in the caller's transaction: lock, check, store, say."""

    def __init__(self, recompute: Recompute) -> None:
        self._recompute = recompute

    async def request(self, conn: Connection, organization: str, chore: Chore) -> bool:
        """Ask for a chore; False if the same was asked for before, and nothing changes then."""
        if not await chores_store.add_chore(conn, organization, chore):
            return False
        said = ChoreRequested(**describe_chore(chore))
        await self._say(conn, organization, chore, "chore.requested", chore.requested_at, said)
        return True

    async def request_activity_log(
        self,
        conn: Connection,
        who: Principal,
        *,
        portal: str,
        worker: str,
        since: datetime,
        until: datetime,
    ) -> Chore:
        """Ask the portal's administrator for what the portal itself recorded of somebody.

        Raises:
            Problem: 404 for an unknown portal or worker, 422 for a period that is none.
        """
        organization = who.organization
        if since >= until:
            raise Problem(422, "invalid_period", "The period must end after it begins.")
        compiled = await self._recompute.directories.of(conn, organization)
        known = compiled.portals.get(portal) if compiled else None
        if compiled is None or known is None:
            raise no_such_portal(compiled, portal)
        login = await accounts_store.login_id_at(conn, organization, worker, portal)
        if login is None:
            raise Problem(404, "no_such_account", f"{worker} was never known at {known.name}.")
        names = await views.names(conn, organization, [worker])
        now = await self._recompute.clock.now(conn)
        occasion = f"{since.isoformat()}/{until.isoformat()}"
        chore = Chore(
            chore_id(organization, ChoreKind.ACTIVITY_LOG, portal, worker, occasion),
            ChoreKind.ACTIVITY_LOG,
            portal,
            worker,
            activity_log_text(
                known,
                who=names.get(worker, worker),
                login=f"login {login}" if login else "their login id is not known here",
                since=since,
                until=until,
                zone=compiled.zone,
            ),
            {"since": since.isoformat(), "until": until.isoformat()},
            compiled.administrator(portal, now),
            who.worker or who.subject,
            now,
            now + timedelta(days=ACTIVITY_LOG_DAYS),
        )
        await self.request(conn, organization, chore)
        return chore

    async def say(
        self,
        conn: Connection,
        organization: str,
        chore_id: str,
        word: ChoreWord,
        *,
        imported: bool = False,
    ) -> Chore:
        """Take what somebody says about a chore.

        Args:
            imported: a user list was imported, which alone shows that one was fetched.

        Raises:
            Problem: 404 for an unknown chore, 409 when its life does not allow it or somebody
                else has claimed it.
        """
        try:
            chore = await chores_store.lock_chore(conn, organization, chore_id)
        except asyncpg.DataError:
            chore = None
        if chore is None:
            raise Problem(404, "no_such_chore", "No chore has this id; see the list of chores.")
        if chore.kind is ChoreKind.FETCH_ROSTER and word.move is ChoreMove.DONE and not imported:
            raise Problem(
                409,
                "import_instead",
                "Importing the list ends this: portalkeeper portal roster import"
                f" {chore.portal} FILE --as-of WHEN.",
            )
        after = _moved(chore, word)
        now = await self._recompute.clock.now(conn)
        ended = after.status in ENDED
        await chores_store.save_chore(
            conn,
            after,
            evidence=word.evidence.model_dump() if word.evidence else None,
            outcome=(word.reason or word.move.value) if ended else None,
            ended_by=word.by if ended else None,
            ended_at=now if ended else None,
        )
        type_ = EVENT_OF[word.move]
        said = ACCESS_EVENT_MODELS[type_](
            **describe_chore(after),
            by=word.by,
            evidence=word.evidence,
            reason_given=word.reason,
        )
        await self._say(conn, organization, after, type_, now, said)
        return after

    async def _say(
        self,
        conn: Connection,
        organization: str,
        chore: Chore,
        type_: str,
        at: datetime,
        said: Any,
    ) -> None:
        # About a worker, it belongs to what is known of them: encrypted and erased with it.
        about = chore.worker or chore.portal
        cause = (chore.chore_id, str(at))
        await enqueue(conn, [access_fact(type_, organization, about, cause, at, said)])


def _moved(chore: Chore, word: ChoreWord) -> Chore:
    status = CHORE_LIFE.get((chore.status, word.move))
    if status is None:
        raise Problem(409, "not_possible_now", f"The chore is {chore.status.value}.")
    if chore.claimed_by not in (None, word.by) and word.move is ChoreMove.RELEASE:
        raise Problem(409, "claimed_by_another", f"{chore.claimed_by} has claimed it.")
    claimed_by = chore.claimed_by
    if word.move is ChoreMove.CLAIM:
        claimed_by = word.by
    elif word.move is ChoreMove.RELEASE:
        claimed_by = None
    return replace(chore, status=status, claimed_by=claimed_by)


def describe_chore(chore: Chore) -> dict[str, Any]:
    """A chore as events about it carry it (`shared.contracts.access.portals.ChoreData`)."""
    return {
        "chore_id": chore.chore_id,
        "kind": chore.kind,
        "portal": chore.portal,
        "worker": chore.worker,
        "text": chore.text,
        "details": chore.details,
        "addressed_to": chore.addressed_to,
        "status": chore.status,
        "requested_by": chore.requested_by,
        "requested_at": chore.requested_at,
        "deadline": chore.deadline,
        "claimed_by": chore.claimed_by,
    }
