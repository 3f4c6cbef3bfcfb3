"""Seeing the organization's own enrolments through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import asyncpg

from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.handlers.directory import DirectoryCommands, in_force
from services.provisioning.handlers.recompute import Recompute, access_fact
from services.provisioning.rules.chores import Chore, ChoreMove, chore_id
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.enrolment import (
    CHECKLISTS,
    PHASES,
    Phase,
    PhaseMove,
    PhaseState,
    PhaseStatus,
    begin_enrolment,
    documents_of,
    expiring,
    moved,
    why_not,
)
from services.provisioning.store import chores as chores_store
from services.provisioning.store import directories as directories_store
from services.provisioning.store import enrolment as enrolment_store
from shared.auth import Principal
from shared.contracts.access.evidence import Evidence
from shared.contracts.access.portals import EnrolmentAssigned, EnrolmentItemTicked, EnrolmentMoved
from shared.contracts.directory import Directory, Enrolment, EnrolmentDocument
from shared.contracts.hr import end_of_day
from shared.contracts.state import ChoreKind
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection, in_transaction

SYSTEM = "portalkeeper"
"""Who asks for work that follows from the directory and the calendar."""


class EnrolmentCommands:
    """Phases, their checklists, and the work that a stalled phase or an old document becomes."""

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        recompute: Recompute,
        directories: DirectoryCommands,
        chores: ChoreCommands,
    ) -> None:
        self._pool = pool
        self._recompute = recompute
        self._directories = directories
        self._chores = chores

    async def move(
        self,
        conn: Connection,
        who: Principal,
        enrolment_id: str,
        phase: Phase,
        move: PhaseMove,
        *,
        on: date | None = None,
        note: str | None = None,
    ) -> PhaseState:
        """Take a phase on by one move; a registration that clears is entered in the directory.

        Args:
            on: the day of the portal's confirmation; today, if none is given.

        Raises:
            Problem: 404 for an unknown enrolment, 409 with the name of the rule that refuses.
        """
        directory, enrolment = await self._find(conn, who, enrolment_id)
        now = await self._recompute.clock.now(conn)
        zone = (await self._compiled(conn, who.organization)).zone
        today = now.astimezone(zone).date()
        await self._directories.lock(conn, directory, who)
        states = await self._begun(conn, who.organization, directory, enrolment, now)
        state = states[PHASES.index(phase)]
        refused = why_not(state, move, states, documents_of(directory, enrolment), today)
        if refused is not None:
            raise Problem(409, *refused)
        if on is not None and on > today:
            raise Problem(422, "day_ahead", "The day of the confirmation lies in the future.")
        after = moved(state, move, directory.organization.enrolment_days, now, note)
        await enrolment_store.save_phase(conn, who.organization, after)
        await self._say_moved(
            conn, who.organization, enrolment, state, after, move, now, by=who.subject
        )
        if after.status is PhaseStatus.CLEARED:
            await self._end_chores(conn, who, after)
            if phase is Phase.REGISTRATION:
                await self._register(conn, who, directory, enrolment, on or today)
            await self._begin_next(conn, who.organization, directory, states, phase, now)
        return after

    async def tick(
        self,
        conn: Connection,
        who: Principal,
        enrolment_id: str,
        phase: Phase,
        item: str,
        *,
        done: bool,
    ) -> PhaseState:
        """Tick an item of a phase's checklist, or take the tick away.

        Raises:
            Problem: 404 for an unknown enrolment or item, 409 for a phase that has not begun or
                has cleared.
        """
        directory, enrolment = await self._find(conn, who, enrolment_id)
        now = await self._recompute.clock.now(conn)
        states = await self._begun(conn, who.organization, directory, enrolment, now)
        state = states[PHASES.index(phase)]
        if item not in {each.id for each in CHECKLISTS[phase]}:
            raise Problem(404, "no_such_item", "The checklist has no such item.")
        if state.status in (PhaseStatus.WAITING, PhaseStatus.CLEARED):
            raise Problem(409, "not_possible_now", f"The phase is {state.status}.")
        ticked = {name: told for name, told in state.ticked.items() if name != item}
        if done:
            ticked[item] = {"by": who.worker or who.subject, "at": now.isoformat()}
        after = replace(state, ticked=ticked)
        await enrolment_store.save_phase(conn, who.organization, after)
        said = EnrolmentItemTicked(
            enrolment.id, enrolment.portal, enrolment.tin, phase.value, item, done, who.subject, now
        )
        await self._say(conn, who.organization, enrolment, "enrolment.item_ticked", now, said)
        return after

    async def assign(
        self, conn: Connection, who: Principal, enrolment_id: str, phase: Phase, owner: str | None
    ) -> PhaseState:
        """Give a phase an owner, who sees it through.

        Raises:
            Problem: 404 for an unknown enrolment.
        """
        directory, enrolment = await self._find(conn, who, enrolment_id)
        now = await self._recompute.clock.now(conn)
        states = await self._begun(conn, who.organization, directory, enrolment, now)
        after = replace(states[PHASES.index(phase)], owner=owner)
        await enrolment_store.save_phase(conn, who.organization, after)
        said = EnrolmentAssigned(
            enrolment.id, enrolment.portal, enrolment.tin, phase.value, owner, who.subject, now
        )
        await self._say(conn, who.organization, enrolment, "enrolment.assigned", now, said)
        return after

    async def watch(self) -> int:
        """Begin what the directory newly names, and ask for the work that has come due."""

        async def work(conn: Connection) -> int:
            now = await self._recompute.clock.now(conn)
            asked = 0
            for organization in sorted(await directories_store.organizations(conn)):
                asked += await self._watch(conn, organization, now)
            return asked

        return await in_transaction(self._pool, work)

    # -- what the calendar brings

    async def _watch(self, conn: Connection, organization: str, now: datetime) -> int:
        compiled = await self._compiled(conn, organization)
        directory = compiled.directory
        enrolments = {enrolment.id: enrolment for enrolment in directory.enrolments}
        await enrolment_store.forget_enrolments(conn, organization, list(enrolments))
        known = await enrolment_store.phases(conn, organization, lock=True)
        begun = {state.enrolment for state in known}
        for enrolment in directory.enrolments:
            if enrolment.id not in begun:
                states = begin_enrolment(enrolment, directory.organization.enrolment_days, now)
                await enrolment_store.add_phases(conn, organization, states)
        asked = 0
        for state in known:
            enrolment = enrolments[state.enrolment]
            registered = enrolment.registered_on is not None
            if state.phase is Phase.REGISTRATION and registered and _open(state):
                await self._registered_by_directory(
                    conn, organization, directory, enrolment, state, now
                )
            elif state.stalled(now):
                asked += await self._chores.request(
                    conn, organization, self._stalled(organization, compiled, enrolment, state, now)
                )
        today = now.astimezone(compiled.zone).date()
        for document in expiring(directory, today):
            portals = sorted(
                {e.portal for e in directory.enrolments if document in documents_of(directory, e)}
            )
            if portals:
                chore = _renew(organization, compiled, document, portals, now)
                asked += await self._chores.request(conn, organization, chore)
        return asked

    async def _registered_by_directory(
        self,
        conn: Connection,
        organization: str,
        directory: Directory,
        enrolment: Enrolment,
        state: PhaseState,
        now: datetime,
    ) -> None:
        """Somebody entered the registration in the directory itself: the phase has cleared."""
        after = replace(state, status=PhaseStatus.CLEARED, since=now)
        await enrolment_store.save_phase(conn, organization, after)
        await self._say_moved(
            conn, organization, enrolment, state, after, PhaseMove.CLEAR, now, by=SYSTEM
        )
        states = _in_order(await enrolment_store.phases(conn, organization, state.enrolment))
        await self._begin_next(conn, organization, directory, states, state.phase, now)

    def _stalled(
        self,
        organization: str,
        compiled: CompiledDirectory,
        enrolment: Enrolment,
        state: PhaseState,
        now: datetime,
    ) -> Chore:
        assert state.due_at is not None
        portal = compiled.portals[enrolment.portal]
        phase = state.phase.value.replace("_", " ")
        return Chore(
            _stalled_id(organization, enrolment, state),
            ChoreKind.ENROLMENT,
            portal.id,
            None,
            f"The enrolment at {portal.name} under tax id {enrolment.tin} is stuck in its {phase}"
            f" ({state.status}): take it on, or say in a note what it waits for.",
            {"enrolment": enrolment.id, "phase": state.phase.value},
            state.owner or enrolment.owner or compiled.administrator(portal.id, now),
            SYSTEM,
            now,
            state.due_at,
        )

    # -- within a command

    async def _find(
        self, conn: Connection, who: Principal, enrolment_id: str
    ) -> tuple[Directory, Enrolment]:
        found = await directories_store.directory_versions(conn, {who.organization})
        directory = await in_force(conn, who.organization, found.get(who.organization, 0))
        for enrolment in directory.enrolments if directory is not None else ():
            if enrolment.id == enrolment_id:
                assert directory is not None
                return directory, enrolment
        raise Problem(404, "no_such_enrolment", "The directory has no such enrolment.")

    async def _compiled(self, conn: Connection, organization: str) -> CompiledDirectory:
        return (await self._recompute.directories.current(conn, {organization}))[organization]

    async def _begun(
        self,
        conn: Connection,
        organization: str,
        directory: Directory,
        enrolment: Enrolment,
        now: datetime,
    ) -> list[PhaseState]:
        """The phases, locked; begun now if nothing has looked since the directory named them."""
        states = await enrolment_store.phases(conn, organization, enrolment.id, lock=True)
        if not states:
            days = directory.organization.enrolment_days
            await enrolment_store.add_phases(
                conn, organization, begin_enrolment(enrolment, days, now)
            )
            states = await enrolment_store.phases(conn, organization, enrolment.id, lock=True)
        return _in_order(states)

    async def _register(
        self,
        conn: Connection,
        who: Principal,
        directory: Directory,
        enrolment: Enrolment,
        day: date,
    ) -> None:
        """Enter a registration in the directory: from its day on accounts are asked for."""
        enrolments = tuple(
            each.model_copy(update={"registered_on": day}) if each.id == enrolment.id else each
            for each in directory.enrolments
        )
        await self._directories.apply(
            conn, directory.model_copy(update={"enrolments": enrolments}), who
        )

    async def _begin_next(
        self,
        conn: Connection,
        organization: str,
        directory: Directory,
        states: Sequence[PhaseState],
        phase: Phase,
        now: datetime,
    ) -> None:
        """The clock of the next phase runs from when the one before it cleared."""
        position = PHASES.index(phase) + 1
        if position == len(PHASES) or states[position].status is not PhaseStatus.WAITING:
            return
        days = getattr(directory.organization.enrolment_days, PHASES[position].value)
        waits = replace(states[position], since=now, due_at=now + timedelta(days=days))
        await enrolment_store.save_phase(conn, organization, waits)

    async def _end_chores(self, conn: Connection, who: Principal, state: PhaseState) -> None:
        """The work that a stalled phase had become ends with it."""
        for chore in await chores_store.open_chores_about(
            conn, who.organization, ChoreKind.ENROLMENT, state.enrolment, state.phase.value
        ):
            word = ChoreWord(
                ChoreMove.DONE,
                who.worker or who.subject,
                Evidence(kind="note", text="The phase has cleared."),
            )
            await self._chores.say(conn, who.organization, chore, word)

    async def _say_moved(
        self,
        conn: Connection,
        organization: str,
        enrolment: Enrolment,
        before: PhaseState,
        after: PhaseState,
        move: PhaseMove,
        now: datetime,
        *,
        by: str,
    ) -> None:
        said = EnrolmentMoved(
            enrolment.id,
            enrolment.portal,
            enrolment.tin,
            after.phase.value,
            before.status.value,
            after.status.value,
            move.value,
            by,
            now,
            after.note,
        )
        await self._say(conn, organization, enrolment, "enrolment.moved", now, said)

    async def _say(
        self,
        conn: Connection,
        organization: str,
        enrolment: Enrolment,
        type_: str,
        now: datetime,
        said: object,
    ) -> None:
        cause = (enrolment.id, str(now))
        await enqueue(conn, [access_fact(type_, organization, enrolment.portal, cause, now, said)])


def _open(state: PhaseState) -> bool:
    return state.status is not PhaseStatus.CLEARED


def _in_order(states: Sequence[PhaseState]) -> list[PhaseState]:
    return sorted(states, key=lambda state: PHASES.index(state.phase))


def _stalled_id(organization: str, enrolment: Enrolment, state: PhaseState) -> str:
    occasion = f"{enrolment.id}/{state.phase}/{state.due_at}"
    return chore_id(organization, ChoreKind.ENROLMENT, enrolment.portal, None, occasion)


def _renew(
    organization: str,
    compiled: CompiledDirectory,
    document: EnrolmentDocument,
    portals: Sequence[str],
    now: datetime,
) -> Chore:
    assert document.expires_on is not None
    occasion = f"{document.id}/{document.expires_on}"
    names = ", ".join(compiled.portals[portal].name for portal in portals)
    return Chore(
        chore_id(organization, ChoreKind.DOCUMENT, portals[0], None, occasion),
        ChoreKind.DOCUMENT,
        portals[0],
        None,
        f"{document.name} expires on {document.expires_on}: renew it, tell the portals that have"
        f" it ({names}), and enter the new date in the directory. Kept at: {document.held_at}.",
        {"document": document.id},
        compiled.administrator(portals[0], now),
        SYSTEM,
        now,
        end_of_day(document.expires_on, compiled.zone),
    )
