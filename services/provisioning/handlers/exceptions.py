"""Asking for access beyond policy, approving it, ending it, and break-glass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import asyncpg

from services.provisioning.handlers.recompute import Recompute, access_fact
from services.provisioning.rules.exceptions import (
    AccessException,
    ExceptionMove,
    describe_exception,
    moved,
    refuse_approver,
    refuse_request,
)
from services.provisioning.store import exceptions as exceptions_store
from services.provisioning.store import workers as workers_store
from shared.auth import Principal
from shared.contracts.access.decisions import (
    BreakGlassEnded,
    BreakGlassOpened,
    BreakGlassReviewed,
    ExceptionApproved,
    ExceptionEnded,
    ExceptionRequested,
)
from shared.contracts.directory import Function
from shared.contracts.envelope import name_uuid
from shared.contracts.state import ExceptionKind, ExceptionStatus
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection

EXCEPTION_NAMESPACE = UUID("5b0d4c0e-8d0b-5c57-9a57-3a1a8a6f2f10")

REFUSALS = {
    "self_approval": "Nobody approves or reviews their own access; ask another administrator.",
    "approver_is_requester": "Whoever asked does not approve or review; ask a second person.",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: one function on one portal until `ends_at` (UTC), and for what work."""

    worker: str
    portal: str
    tin: str
    function: Function
    reason: str
    starts_at: datetime | None
    ends_at: datetime


class ExceptionCommands:
    """Each in the caller's transaction: lock the worker, check, store, say, decide anew."""

    def __init__(self, recompute: Recompute) -> None:
        self._recompute = recompute

    async def request(self, conn: Connection, who: Principal, wish: Wish) -> AccessException:
        """Ask for access beyond policy; it gives nothing before a second person approves.

        Raises:
            Problem: 404 for an unknown worker, 422 for what cannot be asked.
        """
        exception = await self._begin(conn, who, wish, ExceptionKind.EXCEPTION)
        said = ExceptionRequested(**describe_exception(exception), by=exception.requested_by)
        await self._write(conn, who.organization, exception, "exception.requested", said)
        return exception

    async def open_break_glass(
        self, conn: Connection, who: Principal, wish: Wish
    ) -> AccessException:
        """Take access at once for some hours; a second person reviews it afterwards.

        Raises:
            Problem: 404 for an unknown worker, 422 for what cannot be asked.
        """
        exception = await self._begin(conn, who, wish, ExceptionKind.BREAK_GLASS)
        exception = replace(exception, status=ExceptionStatus.APPROVED)
        said = BreakGlassOpened(**describe_exception(exception), by=exception.requested_by)
        await self._write(conn, who.organization, exception, "break_glass.opened", said)
        return exception

    async def approve(self, conn: Connection, who: Principal, exception_id: str) -> AccessException:
        """Approve what somebody else asked for.

        Raises:
            Problem: 403 for whoever asked or gets the access, 404, 409 when it is not waiting.
        """
        exception = await self._locked(conn, who.organization, exception_id)
        self._refuse_approver(exception, who)
        now = await self._recompute.clock.now(conn)
        if exception.ends_at <= now:
            raise Problem(409, "exception_over", "Its end has passed; ask for it anew.")
        after = self._moved(exception, ExceptionMove.APPROVE)
        approved = replace(after, approved_by=_actor(who), approved_at=now)
        said = ExceptionApproved(**describe_exception(approved), by=_actor(who))
        await self._write(conn, who.organization, approved, "exception.approved", said)
        return approved

    async def end(self, conn: Connection, who: Principal, exception_id: str) -> AccessException:
        """Refuse what is asked for, or end early what was approved or opened.

        Raises:
            Problem: 404, 409 when it has ended.
        """
        exception = await self._locked(conn, who.organization, exception_id)
        waiting = exception.status is ExceptionStatus.REQUESTED
        after = self._moved(exception, ExceptionMove.REFUSE if waiting else ExceptionMove.END)
        after = replace(after, ends_at=await self._recompute.clock.now(conn))
        if exception.kind is ExceptionKind.BREAK_GLASS:
            ended = BreakGlassEnded(**describe_exception(after), by=_actor(who))
            await self._write(conn, who.organization, after, "break_glass.ended", ended)
        else:
            refused = ExceptionEnded(**describe_exception(after), by=_actor(who))
            await self._write(conn, who.organization, after, "exception.ended", refused)
        return after

    async def review(
        self, conn: Connection, who: Principal, exception_id: str, finding: str
    ) -> AccessException:
        """Say what a use of break-glass was; it may still be going on.

        Raises:
            Problem: 403 for whoever opened it or got the access, 404, 409 when there is nothing
                to review.
        """
        exception = await self._locked(conn, who.organization, exception_id)
        if exception.kind is not ExceptionKind.BREAK_GLASS or exception.reviewed_by is not None:
            raise Problem(409, "nothing_to_review", "Only a break-glass not yet reviewed needs it.")
        self._refuse_approver(exception, who)
        after = replace(exception, reviewed_by=_actor(who))
        said = BreakGlassReviewed(**describe_exception(after), by=_actor(who), finding=finding)
        await self._write(conn, who.organization, after, "break_glass.reviewed", said)
        return after

    async def _begin(
        self, conn: Connection, who: Principal, wish: Wish, kind: ExceptionKind
    ) -> AccessException:
        compiled = await self._recompute.directories.of(conn, who.organization)
        if compiled is None or not await workers_store.is_known(
            conn, who.organization, wish.worker
        ):
            raise Problem(404, "no_such_worker", f"HR has sent nothing about {wish.worker}.")
        await workers_store.lock_workers(conn, [(who.organization, wish.worker)])
        now = await self._recompute.clock.now(conn)
        name = "\x1f".join(
            (who.organization, wish.worker, wish.portal, wish.tin, wish.function, str(now))
        )
        exception = AccessException(
            exception_id=name_uuid(EXCEPTION_NAMESPACE, name),
            kind=kind,
            worker=wish.worker,
            portal=wish.portal,
            tin=wish.tin,
            function=wish.function,
            reason=wish.reason,
            requested_by=_actor(who),
            requested_at=now,
            starts_at=wish.starts_at or now,
            ends_at=wish.ends_at,
            status=ExceptionStatus.REQUESTED,
        )
        known = [
            (portal, tin)
            for portal in compiled.portals
            for tin in compiled.enrolled_tins(portal, now)
        ]
        why = refuse_request(exception, known_rights=known, as_of=now)
        if why is not None:
            raise Problem(422, "exception_refused", why)
        return exception

    async def _locked(
        self, conn: Connection, organization: str, exception_id: str
    ) -> AccessException:
        try:
            found = await exceptions_store.find_exception(conn, organization, exception_id)
        except asyncpg.DataError:
            found = None
        if found is None:
            _unknown()
        await workers_store.lock_workers(conn, [(organization, found.worker)])
        found = await exceptions_store.find_exception(conn, organization, exception_id)
        if found is None:
            _unknown()
        return found

    def _refuse_approver(self, exception: AccessException, who: Principal) -> None:
        rule = refuse_approver(exception, who.subject, who.worker)
        if rule is not None:
            raise Problem(403, rule, REFUSALS[rule])

    def _moved(self, exception: AccessException, move: ExceptionMove) -> AccessException:
        after = moved(exception, move)
        if after is None:
            raise Problem(
                409, "not_possible_now", f"It is {exception.status.value}; see exception list."
            )
        return after

    async def _write(
        self,
        conn: Connection,
        organization: str,
        exception: AccessException,
        type_: str,
        said: Any,
    ) -> None:
        now = await self._recompute.clock.now(conn)
        await exceptions_store.save_exceptions(conn, [(organization, exception)])
        await enqueue(
            conn,
            [
                access_fact(
                    type_,
                    organization,
                    exception.worker,
                    (exception.exception_id, type_),
                    now,
                    said,
                )
            ],
            held=True,
        )
        locked = await workers_store.lock_workers(conn, [(organization, exception.worker)])
        await self._recompute.run(conn, locked)


def _actor(who: Principal) -> str:
    return who.worker or who.subject


def _unknown() -> NoReturn:
    raise Problem(404, "no_such_exception", "No exception has this id; see exception list.")
