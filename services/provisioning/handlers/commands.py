"""What people and connectors say about operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg

from services.provisioning.handlers.recompute import SOURCE, Recompute, access_fact
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.guards import (
    LAST_ADMINISTRATOR_KEPT,
    refuse_kept_administrator,
    refuse_login_id,
)
from services.provisioning.rules.history import Source, Statement, statements_between
from services.provisioning.rules.operations import (
    BESIDE,
    EVENT_OF,
    GIVES,
    OPERATION_LIFE,
    Account,
    Operation,
    Transition,
    confirm,
    describe,
    ends_administration,
    facts_between,
    known_of,
    retry_after,
)
from services.provisioning.store import accounts as accounts_store
from services.provisioning.store import directories as directories_store
from services.provisioning.store import erasing as erasing_store
from services.provisioning.store import history as history_store
from services.provisioning.store import operations as operations_store
from services.provisioning.store import workers as workers_store
from services.provisioning.store.workers import LockedWorker
from shared.auth import Principal
from shared.contracts.access import ACCESS_EVENT_MODELS
from shared.contracts.access.evidence import Evidence as Evidence
from shared.contracts.access.operations import OperationStepDone
from shared.contracts.directory import RuleName
from shared.contracts.state import Grade
from shared.errors import Problem
from shared.idempotency import carry_out
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says about one operation.

    `by` is a person's id or a connector's name; `grade` is how good their word is.
    """

    operation_id: str
    transition: Transition
    by: str
    grade: Grade
    evidence: Evidence | None = None
    login_id: str | None = None
    reason: str | None = None
    so_since: datetime | None = None
    """Since when it is so, if that is not now."""


class OperationCommands:
    """Claims, steps and outcomes of operations."""

    def __init__(self, pool: asyncpg.Pool[Any], recompute: Recompute) -> None:
        self._pool = pool
        self._recompute = recompute

    async def say(
        self, conn: Connection, organization: str, words: Sequence[Said], *, decide: bool = True
    ) -> None:
        """Take what was said as fact, in the caller's transaction, and decide anew.

        Args:
            decide: False where the caller has more to say of the same workers before.

        Raises:
            Problem: 404 for an unknown operation, 409 when its life cycle does not allow it or
                somebody else has claimed it.
        """
        rows = {}
        for said in words:
            rows[said.operation_id] = await self._find(conn, organization, said.operation_id)
        locked = await workers_store.lock_workers(
            conn, {(organization, row["worker"]) for row in rows.values()}
        )
        now = await self._recompute.clock.now(conn)
        accounts = {
            (account.worker, account.portal): account
            for own in (await accounts_store.accounts(conn, locked)).values()
            for account in own
        }
        compiled = (await self._recompute.directories.current(conn, {organization}))[organization]
        await self._refuse_shared_logins(conn, organization, words, rows, locked, compiled, now)
        await self._refuse_kept_administrators(
            conn, organization, words, rows, locked, accounts, compiled, now
        )
        changed: dict[tuple[str, str], Account] = {}
        operations: list[Operation] = []
        messages: list[OutboxMessage] = []
        history: list[tuple[str, Statement]] = []
        for said in words:
            row = await self._find(conn, organization, said.operation_id)
            before = operations_store.operation_from(row)
            after = _moved(before, said)
            operations.append(after)
            account = accounts.get(
                (before.worker, before.portal), Account(before.worker, before.portal)
            )
            updated = _account_after(account, after, said, compiled, now)
            type_ = EVENT_OF[said.transition]
            message = access_fact(
                type_,
                organization,
                before.worker,
                (before.operation_id, said.transition.value, str(now)),
                now,
                ACCESS_EVENT_MODELS[type_](
                    **describe(after),
                    previous_status=before.status,
                    transition=said.transition.value,
                    by=said.by,
                    grade=said.grade,
                    evidence=said.evidence,
                    reason_given=said.reason,
                    **_effect(updated, after, said),
                ),
            )
            messages.append(message)
            messages.extend(_what_became_of(organization, account, updated, before, said, now))
            source = Source(before.operation_id, said.by, message.headers["ce_id"])
            history.extend(
                (organization, statement)
                for statement in statements_between(
                    account, updated, source, at=said.so_since or now
                )
            )
            if updated != account:
                accounts[updated.worker, updated.portal] = updated
                changed[updated.worker, updated.portal] = updated
        await operations_store.save_operations(
            conn, [(organization, one) for one in operations], now
        )
        for said in words:
            if said.evidence is not None or said.reason is not None:
                await operations_store.save_outcome(
                    conn,
                    said.operation_id,
                    said.evidence.model_dump() if said.evidence else None,
                    said.reason or said.transition.value,
                )
        await accounts_store.save_accounts(conn, [(organization, one) for one in changed.values()])
        await history_store.record_statements(conn, history, now)
        await enqueue(conn, messages, held=True)
        if decide:
            await self._recompute.run(conn, locked)

    async def _refuse_shared_logins(
        self,
        conn: Connection,
        organization: str,
        words: Sequence[Said],
        rows: Mapping[str, Any],
        locked: Sequence[LockedWorker],
        compiled: CompiledDirectory,
        now: datetime,
    ) -> None:
        """Under the portals' locks: a login id belongs to one person, unless the portal gives one.

        Raises:
            Problem: 409 when it is or lately was somebody else's.
        """
        told: dict[tuple[str, str], str] = {}
        for said in words:
            row = rows[said.operation_id]
            portal = compiled.portal(row["portal"])
            if (
                said.transition is Transition.DONE
                and said.login_id
                and not compiled.holds(portal, RuleName.ONE_LOGIN, now)
            ):
                told[portal.id, said.login_id] = row["worker"]
        if not told:
            return
        await directories_store.lock_portals(conn, {(organization, portal) for portal, _ in told})
        known = await accounts_store.known_under(conn, organization, list(told))
        forgotten = await erasing_store.forgotten_under(conn, organization, list(told))
        clusters = {one.worker: one.cluster for one in locked}
        for (portal_id, login_id), worker in told.items():
            refusal = refuse_login_id(
                [
                    *(
                        other
                        for other in known.get((portal_id, login_id), ())
                        if clusters.get(other[0]) != clusters[worker]
                    ),
                    *(
                        (None, False, ended_at)
                        for login, ended_at in forgotten.items()
                        if login == (portal_id, login_id)
                    ),
                ],
                reuse_days=compiled.number(compiled.portal(portal_id), RuleName.ID_REUSE_DAYS, now),
                as_of=now,
            )
            if refusal is not None:
                raise Problem(409, *refusal)

    async def _refuse_kept_administrators(
        self,
        conn: Connection,
        organization: str,
        words: Sequence[Said],
        rows: Mapping[str, Any],
        locked: Sequence[LockedWorker],
        accounts: Mapping[tuple[str, str], Account],
        compiled: CompiledDirectory,
        now: datetime,
    ) -> None:
        """Under the portals' locks: what a portal does not let anybody do was not done.

        A list or an API that shows it is believed; a person's word needs the portal's number.

        Raises:
            Problem: 409 when the only administrator of such a portal is said to be gone.
        """
        kept: dict[str, Said] = {}
        for said in words:
            operation = operations_store.operation_from(rows[said.operation_id])
            account = accounts.get((operation.worker, operation.portal))
            if (
                said.transition is Transition.DONE
                and said.grade is Grade.PERSON
                and account is not None
                and ends_administration(account, operation)
                and compiled.holds(
                    compiled.portal(operation.portal), RuleName.LAST_ADMINISTRATOR_KEPT, now
                )
            ):
                kept[operation.portal] = said
        if not kept:
            return
        await directories_store.lock_portals(conn, {(organization, portal) for portal in kept})
        persons = {one.worker: one.cluster for one in locked}
        for portal, said in kept.items():
            leaving = {
                worker
                for worker, cluster in persons.items()
                if cluster == persons[rows[said.operation_id]["worker"]]
            }
            administering = await accounts_store.administering(conn, organization, portal)
            ended = rows[said.operation_id]["tin"]
            left = {
                tin for worker, tin in administering if worker in leaving and ended in (None, tin)
            }
            kept_up = {tin for worker, tin in administering if worker not in leaving}
            refusal = refuse_kept_administrator(
                compiled.portal(portal),
                others=left <= kept_up,
                case_number=said.evidence is not None
                and said.evidence.kind == "confirmation_number",
            )
            if refusal is not None:
                raise Problem(409, LAST_ADMINISTRATOR_KEPT, refusal)

    async def take_step(
        self, conn: Connection, organization: str, operation_id: str, index: int, by: str
    ) -> None:
        """Tick one step of an operation.

        Raises:
            Problem: 404 for an unknown operation or step, 409 when the operation has ended.
        """
        row = await self._find(conn, organization, operation_id)
        await workers_store.lock_workers(conn, {(organization, row["worker"])})
        row = await self._find(conn, organization, operation_id)
        operation = operations_store.operation_from(row)
        if not operation.open:
            raise Problem(409, "operation_ended", f"It is {operation.status.value}; nothing to do.")
        if not 0 <= index < len(operation.steps):
            raise Problem(404, "no_such_step", f"It has steps 0 to {len(operation.steps) - 1}.")
        now = await self._recompute.clock.now(conn)
        await operations_store.save_step(conn, operation_id, index, by, now)
        await enqueue(
            conn,
            [
                access_fact(
                    "operation.step_done",
                    organization,
                    operation.worker,
                    (operation_id, str(index), str(now)),
                    now,
                    OperationStepDone(
                        operation_id, operation.portal, index, operation.steps[index].actor, by
                    ),
                )
            ],
            held=True,
        )

    async def _find(self, conn: Connection, organization: str, operation_id: str) -> Any:
        try:
            row = await operations_store.find_operation(conn, organization, operation_id)
        except asyncpg.DataError as error:
            raise Problem(404, "no_such_operation", "An operation id is a UUID.") from error
        if row is None:
            raise Problem(404, "no_such_operation", "No operation has this id; see the work list.")
        return row

    async def command(
        self,
        who: Principal,
        route: str,
        key: str | None,
        body: bytes,
        work: Callable[[Connection], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        """Run a person's command once: the same key with the same body gets the same answer.

        That it was accepted, or refused, is said with what was asked.

        Raises:
            Problem: 409 while the same command runs elsewhere, 422 for a key used with another
                body, and whatever `work` raises.
        """
        return await carry_out(
            self._pool, who, route, key, body, work, source=SOURCE, clock=self._recompute.clock
        )


def _moved(operation: Operation, said: Said) -> Operation:
    status = OPERATION_LIFE.get((operation.status, said.transition))
    if status is None:
        raise Problem(
            409,
            "not_possible_now",
            f"The operation is {operation.status.value}; it cannot be changed by"
            f" {said.transition.value}.",
        )
    if operation.claimed_by not in (None, said.by) and said.transition in (
        Transition.CLAIM,
        Transition.RELEASE,
    ):
        raise Problem(409, "claimed_by_another", f"{operation.claimed_by} has claimed it.")
    claimed_by = operation.claimed_by
    if said.transition is Transition.CLAIM:
        claimed_by = said.by
    elif said.transition is Transition.RELEASE:
        claimed_by = None
    return replace(operation, status=status, claimed_by=claimed_by)


def _account_after(
    account: Account,
    operation: Operation,
    said: Said,
    compiled: CompiledDirectory,
    now: datetime,
) -> Account:
    match said.transition:
        case Transition.DONE:
            at = said.so_since or now
            return confirm(account, operation, grade=said.grade, at=at, login_id=said.login_id)
        case Transition.FAIL | Transition.DECLINE if (
            operation.kind in GIVES or operation.kind in BESIDE
        ):
            hours = compiled.directory.organization.deadlines.retry_hours
            return retry_after(account, operation, at=now, hours=hours)
        case _:
            # A removal that failed is ordered again at once: its access is still there.
            return account


def _effect(account: Account, operation: Operation, said: Said) -> dict[str, Any]:
    """What the outcome of an operation leaves behind, as its event says it."""
    effect: dict[str, Any] = {}
    if said.transition is Transition.DONE:
        effect["account"] = known_of(account)
        effect["so_since"] = said.so_since
    if said.transition in (Transition.DONE, Transition.FAIL, Transition.DECLINE):
        target = account.targets.get(operation.target)
        if target is not None and target.retry_kind is operation.kind:
            effect["retry_at"] = target.retry_at
    return effect


def _what_became_of(
    organization: str,
    before: Account,
    after: Account,
    operation: Operation,
    said: Said,
    now: datetime,
) -> list[OutboxMessage]:
    """The confirmed facts about account and entitlements that follow from an outcome."""
    if said.transition is not Transition.DONE:
        return []
    id_ = operation.operation_id
    facts = facts_between(
        before, after, id_, kind=operation.kind, grade=said.grade, by=said.by, at=now
    )
    return [
        access_fact(type_, organization, operation.worker, (id_, *cause, str(now)), now, data)
        for type_, cause, data in facts
    ]
