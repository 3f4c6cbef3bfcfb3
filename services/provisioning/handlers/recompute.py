"""Deciding about locked workers and writing what follows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, TypeVar

from services.provisioning.rules.brake import Parked
from services.provisioning.rules.decide import decide, decide_beside_portals
from services.provisioning.rules.decide.shown import UNSET
from services.provisioning.rules.desired.directory import CompiledDirectory, PortalKnowledge
from services.provisioning.rules.erasing import may_forget
from services.provisioning.rules.exceptions import AccessException
from services.provisioning.rules.facts import Facts, Outcome, ReviewRemoval
from services.provisioning.rules.guards import administers_alone
from services.provisioning.rules.listed import Listed, listed
from services.provisioning.rules.operations import Account, Operation
from services.provisioning.rules.sponsors import sponsors_named
from services.provisioning.rules.timeline import Person, TimelineEvent, fold, people
from services.provisioning.store import accounts as accounts_store
from services.provisioning.store import brake as brake_store
from services.provisioning.store import directories as directories_store
from services.provisioning.store import erasing as erasing_store
from services.provisioning.store import exceptions as exceptions_store
from services.provisioning.store import findings as findings_store
from services.provisioning.store import listed as listed_store
from services.provisioning.store import operations as operations_store
from services.provisioning.store import outages as outages_store
from services.provisioning.store import reviews as reviews_store
from services.provisioning.store import timelines as timelines_store
from services.provisioning.store import workers as workers_store
from services.provisioning.store.findings import AccountKey
from services.provisioning.store.workers import LockedWorker, WorkerKey, WorkerUpdate
from shared.clock import Clock
from shared.contracts.directory import Directory
from shared.contracts.facts import fact, join_objects, to_json
from shared.contracts.state import Finding, WorkerState
from shared.contracts.topics import ACCESS_EVENTS, WORKER_STATE
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection

SOURCE = "/portalkeeper/provisioning"

MARKS = frozenset({"epoch", "version", "as_of", "directory_version", "next_change_at"})
"""When and by what a state was decided: news of these alone is none."""

OUTLINE = tuple(f.name for f in fields(WorkerState) if f.name not in MARKS | {"portals"})

T = TypeVar("T")


@dataclass(slots=True)
class Directories:
    """Compiled directories by organization; a version is compiled once per process."""

    _compiled: dict[str, CompiledDirectory] = field(default_factory=dict)

    async def current(
        self, conn: Connection, organizations: set[str]
    ) -> dict[str, CompiledDirectory]:
        """The directory in force of each organization that has one."""
        versions = await directories_store.directory_versions(conn, organizations)
        for organization, version in versions.items():
            known = self._compiled.get(organization)
            if version and (known is None or known.version != version):
                row = await directories_store.directory_document(conn, organization, version)
                directory = Directory.model_validate(row["document"])
                self._compiled[organization] = CompiledDirectory(
                    directory, version, portal_knowledge(row["observed"])
                )
        return {name: self._compiled[name] for name, version in versions.items() if version}

    async def of(self, conn: Connection, organization: str) -> CompiledDirectory | None:
        """The directory in force of one organization; None while it has none."""
        return (await self.current(conn, {organization})).get(organization)


def portal_knowledge(observed: Mapping[str, Any]) -> dict[str, PortalKnowledge]:
    """What a stored version says is known of its portals."""
    return {
        portal: PortalKnowledge(
            datetime.fromisoformat(known["since"]),
            known["adopted"],
            datetime.fromisoformat(known["reconciled_as_of"])
            if known["reconciled_as_of"]
            else None,
        )
        for portal, known in observed.items()
    }


@dataclass(slots=True)
class _Pending:
    """One person to decide about, with the rows that are locked for it."""

    person: Person
    rows: list[LockedWorker]
    compiled: CompiledDirectory
    as_of: datetime
    facts: Facts


class Recompute:
    """Decides about workers whose rows (with all their aliases) the caller has locked.

    Whatever of them was heard and not decided about yet is taken along, with its events as causes.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.directories = Directories()

    async def run(
        self,
        conn: Connection,
        locked: Sequence[LockedWorker],
        *,
        cause: Mapping[WorkerKey, tuple[str, ...]] | None = None,
        only_timelines_changed: bool = False,
    ) -> int:
        """Decide and write; how many workers' published state changed.

        Args:
            cause: ids of the events or decisions that brought this about, by worker.
            only_timelines_changed: nothing but timelines changed since the last decision, so that
                accounts and operations are only read where desire has changed.
        """
        if not locked:
            return 0
        compiled = await self.directories.current(conn, {row.organization for row in locked})
        now = await self.clock.now(conn)
        timelines, heard = await timelines_store.timelines_to_decide(conn, locked)
        for key, ids in (cause or {}).items():
            heard[key] = (*heard.get(key, ()), *ids)
        pending = await self._gather(conn, locked, timelines, compiled, now, heard)
        await self._note_administrators(conn, pending)
        decided: list[tuple[_Pending, Outcome]] = []
        unsettled: list[_Pending] = []
        for one in pending:
            outcome = _decide_beside_portals(one) if only_timelines_changed else None
            if outcome is None:
                unsettled.append(one)
            else:
                decided.append((one, outcome))
        await self._add_portals(conn, unsettled)
        decided.extend((one, decide(one.facts, one.compiled, one.as_of)) for one in unsettled)
        return await self._write(conn, decided)

    async def look(
        self, conn: Connection, workers: Sequence[LockedWorker], compiled: CompiledDirectory
    ) -> list[tuple[Facts, datetime]]:
        """What a decision about each person rests on, with its instant, for asking what if.

        `workers` need not be locked: nothing is written. Whom a portal would be left without is
        not looked at; it decides about steps, not about access.
        """
        now = await self.clock.now(conn)
        organizations = {row.organization: compiled for row in workers}
        timelines = await timelines_store.timelines(conn, workers)
        pending = await self._gather(conn, workers, timelines, organizations, now, {})
        await self._add_portals(conn, pending)
        return [(one.facts, one.as_of) for one in pending]

    async def _gather(
        self,
        conn: Connection,
        locked: Sequence[LockedWorker],
        timelines: Mapping[WorkerKey, Sequence[TimelineEvent]],
        compiled: Mapping[str, CompiledDirectory],
        now: datetime,
        cause: Mapping[WorkerKey, tuple[str, ...]],
    ) -> list[_Pending]:
        """The persons behind the rows, with everything a decision needs but for their portals."""
        reviews = await reviews_store.review_removals(conn, locked)
        exceptions = await exceptions_store.live_exceptions(conn, locked)
        outages = await outages_store.portals_down(conn, compiled)
        pending = []
        sponsored: list[_Pending] = []
        for organization, rows in _clusters(locked):
            if organization not in compiled:
                continue
            events = [event for row in rows for event in timelines.get(row.key, ())]
            as_of = max(now, *(row.as_of or now for row in rows))
            by_id = {row.worker: row for row in rows}
            for person in people(by_id, events):
                own = [by_id[alias] for alias in person.aliases]
                facts = Facts(
                    organization=organization,
                    person=person,
                    reviews=_all(reviews, own),
                    exceptions=_all(exceptions, own),
                    known_findings=frozenset(f for row in own for f in row.findings),
                    cause=_all(cause, own),
                    new_rules=_new_rules(own, compiled[organization]),
                    outages=outages.get(organization, frozenset()),
                )
                one = _Pending(person, own, compiled[organization], as_of, facts)
                pending.append(one)
                if sponsors_named(person):
                    sponsored.append(one)
        await _add_sponsors(conn, sponsored)
        return pending

    async def _add_portals(self, conn: Connection, pending: Sequence[_Pending]) -> None:
        """Read what is known and under way on portals; of somebody new, nothing can be."""
        rows = [row for one in pending for row in one.rows if row.as_of is not None]
        if not rows:
            return
        accounts = await accounts_store.accounts(conn, rows)
        operations = await operations_store.open_operations(conn, rows)
        parked = await brake_store.parked(conn, rows)
        findings = await findings_store.findings_on_logins(
            conn, [(key[0], account) for key, own in accounts.items() for account in own]
        )
        for one in pending:
            held = _all(accounts, one.rows)
            one.facts = replace(
                one.facts,
                accounts=held,
                portal_findings=_by_portal(findings, one.rows[0].organization, held),
                operations=_all(operations, one.rows),
                parked=_all(parked, one.rows),
            )

    async def _note_administrators(self, conn: Connection, pending: Sequence[_Pending]) -> None:
        """Under the portals' locks: who of these administers what, and who goes last."""
        concerned = [
            one
            for one in pending
            if any(alias in one.compiled.administrators for alias in one.person.aliases)
        ]
        if not concerned:
            return
        portals = {
            (one.rows[0].organization, appointed.portal)
            for one in concerned
            for alias in one.person.aliases
            for appointed in one.compiled.administrators.get(alias, ())
        }
        await directories_store.lock_portals(conn, portals)
        for one in concerned:
            organization = one.rows[0].organization
            leaves_at = fold(one.person, one.as_of, one.compiled.zone).leaves_at
            if await directories_store.note_exit(conn, organization, one.person.aliases, leaves_at):
                standings = await directories_store.standings(
                    conn, organization, [p for org, p in portals if org == organization]
                )
                await workers_store.request_recompute(
                    conn,
                    [
                        (organization, standing.worker)
                        for standing in standings
                        if standing.worker not in one.person.aliases
                    ],
                )
        for one in concerned:
            organization = one.rows[0].organization
            standings = await directories_store.standings(
                conn, organization, [p for org, p in portals if org == organization]
            )
            sole = administers_alone(standings, one.person.aliases, one.as_of)
            one.facts = replace(one.facts, sole_administrator_of=sole)

    async def _write(self, conn: Connection, decided: Sequence[tuple[_Pending, Outcome]]) -> int:
        updates: list[WorkerUpdate] = []
        shown: dict[WorkerKey, Listed | None] = {}
        messages: list[OutboxMessage] = []
        begun: list[tuple[str, Account]] = []
        changed: list[tuple[str, Account]] = []
        ordered: list[tuple[str, Operation]] = []
        moved: dict[datetime, list[tuple[str, Operation]]] = {}
        reviews: list[tuple[str, ReviewRemoval]] = []
        exceptions: list[tuple[str, AccessException]] = []
        parked: list[tuple[str, Parked]] = []
        unparked: list[tuple[str, Parked]] = []
        for one, outcome in decided:
            organization = one.rows[0].organization
            for type_, cause, data in outcome.events:
                messages.append(
                    access_fact(type_, organization, one.person.worker, cause, outcome.as_of, data)
                )
            logins = {(account.worker, account.portal) for account in one.facts.accounts}
            for account in outcome.accounts:
                known = (account.worker, account.portal) in logins
                (changed if known else begun).append((organization, account))
            under_way = {operation.operation_id for operation in one.facts.operations}
            for operation in outcome.operations:
                if operation.operation_id in under_way:
                    moved.setdefault(outcome.as_of, []).append((organization, operation))
                else:
                    ordered.append((organization, operation))
            reviews.extend((organization, review) for review in outcome.reviews)
            exceptions.extend((organization, ended) for ended in outcome.exceptions)
            parked.extend((organization, waits) for waits in outcome.parked)
            unparked.extend((organization, waits) for waits in outcome.unparked)
            for row in one.rows:
                update, message = _publish(one, outcome, row)
                updates.append(update)
                if message is not None:
                    messages.append(message)
                    shown[row.key] = _listed(outcome, update)
        await accounts_store.add_accounts(conn, begun)
        await accounts_store.save_accounts(conn, changed)
        await operations_store.add_operations(conn, ordered)
        for at, some in moved.items():
            await operations_store.save_operations(conn, some, at)
        await reviews_store.settle_reviews(conn, reviews)
        await exceptions_store.save_exceptions(conn, exceptions)
        await brake_store.park(conn, parked)
        await brake_store.unpark(conn, unparked)
        await workers_store.save_workers(conn, updates)
        await listed_store.save_listed(conn, shown)
        for one, outcome in decided:
            if may_forget(outcome.state.status, outcome.state.portals):
                await erasing_store.forget(conn, one.rows[0].organization, one.person.aliases)
        sponsored = [(row.key, one.facts.sponsors) for one, _ in decided for row in one.rows]
        if any(sponsors for _, sponsors in sponsored):
            await workers_store.note_sponsors(conn, sponsored)
        await enqueue(conn, messages, held=True)
        return sum(update.state is not None for update in updates)


async def _add_sponsors(conn: Connection, pending: Sequence[_Pending]) -> None:
    """Read whether those who answer for these persons have left."""
    if not pending:
        return
    named = {
        (one.rows[0].organization, sponsor)
        for one in pending
        for sponsor in sponsors_named(one.person)
    }
    gone = await workers_store.have_left(conn, named)
    for one in pending:
        organization = one.rows[0].organization
        sponsors = {
            sponsor: (organization, sponsor) in gone for sponsor in sponsors_named(one.person)
        }
        one.facts = replace(one.facts, sponsors=sponsors)


def _new_rules(rows: Sequence[LockedWorker], compiled: CompiledDirectory) -> str | None:
    """The brake's cause, if any of these was last decided with an older directory."""
    if any(0 < row.directory_version < compiled.version for row in rows):
        return f"directory-{compiled.version}"
    return None


def _decide_beside_portals(one: _Pending) -> Outcome | None:
    standing = one.rows[0].standing
    if standing is None:
        return None
    return decide_beside_portals(one.facts, standing, one.compiled, one.as_of)


def _all(found: Mapping[WorkerKey, Iterable[T]], rows: Sequence[LockedWorker]) -> tuple[T, ...]:
    return tuple(each for row in rows for each in found.get(row.key, ()))


def _by_portal(
    findings: Mapping[AccountKey, tuple[Finding, ...]],
    organization: str,
    accounts: Iterable[Account],
) -> dict[str, tuple[Finding, ...]]:
    """What stands about a person's accounts, which may be of several of their ids."""
    by_portal: dict[str, tuple[Finding, ...]] = {}
    for account in accounts:
        about = findings.get((organization, account.worker, account.portal), ())
        if about:
            by_portal[account.portal] = (*by_portal.get(account.portal, ()), *about)
    return by_portal


def _clusters(locked: Sequence[LockedWorker]) -> list[tuple[str, list[LockedWorker]]]:
    found: dict[WorkerKey, list[LockedWorker]] = {}
    for row in locked:
        found.setdefault((row.organization, row.cluster), []).append(row)
    return [(organization, rows) for (organization, _), rows in found.items()]


def _publish(
    one: _Pending, outcome: Outcome, row: LockedWorker
) -> tuple[WorkerUpdate, OutboxMessage | None]:
    """The row's update, and its state record if what it says has changed."""
    state, standing = outcome.state, outcome.standing
    portals = None if standing is not None and standing is row.standing else to_json(state.portals)
    if row.worker != one.person.worker:
        state = WorkerState(
            organization=row.organization,
            worker=row.worker,
            epoch=0,
            version=0,
            as_of=UNSET,
            status=state.status,
            merged_into=one.person.worker,
        )
        portals = b"[]"
    what_is_so = to_json({name: getattr(state, name) for name in OUTLINE})
    said = b'{"portals":' + (row.portals if portals is None else portals) + b"}"
    digest = hashlib.blake2b(what_is_so + said, digest_size=16).digest()
    update = WorkerUpdate(
        key=row.key,
        as_of=outcome.as_of,
        next_change_at=outcome.next_change_at,
        directory_version=one.compiled.version,
        standing=standing,
        version=row.version,
        status=state.status.value,
        name=state.name,
        merged_into=state.merged_into,
        findings=state.findings,
        digest=digest,
        state=None,
        portals=portals,
    )
    if digest == row.digest:
        return update, None
    update.version = row.version + 1
    marks = to_json(
        {
            "epoch": row.epoch,
            "version": update.version,
            "as_of": outcome.as_of,
            "directory_version": update.directory_version,
            "next_change_at": update.next_change_at,
        }
    )
    update.state = join_objects(what_is_so, marks)
    version = str(update.version)
    return update, fact(
        WORKER_STATE,
        "worker.state",
        source=SOURCE,
        organization=row.organization,
        subject=row.worker,
        cause=(row.worker, str(row.epoch), version),
        time=outcome.as_of,
        data=join_objects(update.state, said),
        extensions={"version": version, "epoch": str(row.epoch)},
    )


def _listed(outcome: Outcome, update: WorkerUpdate) -> Listed | None:
    if update.merged_into is not None:
        return None
    return listed(outcome.state, portals_decided=update.portals is not None)


def access_fact(
    type_: str,
    organization: str,
    worker: str,
    cause: tuple[str, ...],
    at: datetime,
    data: object,
) -> OutboxMessage:
    """An access event about a worker."""
    return fact(
        ACCESS_EVENTS,
        type_,
        source=SOURCE,
        organization=organization,
        subject=worker,
        cause=cause,
        time=at,
        data=data,
    )
