"""Comparing the tables with what was published, and open work with what is desired.

The records come from whoever asks, out of the audit log or an export of it: services do not read
each other. They go into a temporary table of one connection, so that neither a long log nor many
workers fill memory. Nothing is locked and nothing is written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import asyncpg
import orjson

from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.decide import decide
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.facts import Facts, Outcome
from services.provisioning.rules.operations import BESIDE, Account
from services.provisioning.rules.replay import (
    Difference,
    Told,
    check_open_work,
    compare_accounts,
    compare_chores,
    compare_directory,
    compare_history,
    compare_operations,
    retell,
)
from services.provisioning.rules.replay_beside import (
    Portals,
    compare_decided,
    compare_exceptions,
    compare_portals,
)
from services.provisioning.store import accounts as accounts_store
from services.provisioning.store import enrolment as enrolment_store
from services.provisioning.store import exceptions as exceptions_store
from services.provisioning.store import history as history_store
from services.provisioning.store import plans as plans_store
from services.provisioning.store import replay as replay_store
from services.provisioning.store.workers import LockedWorker
from shared.contracts.access import ACCESS_EVENT_MODELS
from shared.contracts.directory import DIRECTORY_MODELS
from shared.contracts.envelope import event_key, read_event
from shared.contracts.hr import HR_EVENT_MODELS, read_hr_event
from shared.errors import Problem, Rejected
from shared.postgres import Connection

RECORDS_AT_A_TIME = 1_000
CLUSTERS_AT_A_TIME = 200
MAX_DIFFERENCES = 1_000


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """A Kafka record as the audit log gives it back."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class Report:
    """What was compared. `workers_erased` and `workers_unsettled` were not, or only in part.

    `differing` are the workers with differences, of which the first thousand are listed.
    """

    events: int = 0
    hr_events: int = 0
    directory_events: int = 0
    unreadable: int = 0
    workers: int = 0
    workers_erased: int = 0
    workers_unsettled: int = 0
    operations: int = 0
    accounts: int = 0
    holdings: int = 0
    chores: int = 0
    exceptions: int = 0
    portals: int = 0
    differing: dict[str, None] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def add(self, worker: str, found: Iterable[Difference]) -> None:
        """Note differences of a worker."""
        for difference in found:
            self.differing[worker] = None
            if len(self.differences) < MAX_DIFFERENCES:
                self.differences.append(difference)

    def document(self) -> dict[str, Any]:
        """The report as the API answers it."""
        return {**asdict(self), "differing": list(self.differing)}


class Replay:
    """Retells and compares, one page of workers at a time."""

    def __init__(self, pool: asyncpg.Pool[Any], recompute: Recompute) -> None:
        self._pool = pool
        self._recompute = recompute

    async def run(
        self, organization: str, lines: AsyncIterator[bytes], only: frozenset[str] | None = None
    ) -> Report:
        """Compare everything, or only these workers, with the records in `lines`.

        Args:
            lines: JSON objects with `key`, `headers` and `value` of one record each.

        Raises:
            Problem: 422 for a line that is none of these, 404 without a directory.
        """
        report = Report()
        async with self._pool.acquire() as conn:
            await replay_store.begin(conn)
            try:
                await self._read(conn, organization, lines, report)
                await self.compare(conn, organization, report, only)
            finally:
                await replay_store.end(conn)
        return report

    # -- reading

    async def _read(
        self,
        conn: Connection,
        organization: str,
        lines: AsyncIterator[bytes],
        report: Report,
    ) -> None:
        records: list[LoggedRecord] = []
        async for line in lines:
            records.append(_record(line))
            if len(records) == RECORDS_AT_A_TIME:
                await self.take(conn, organization, records, report)
                records = []
        await self.take(conn, organization, records, report)

    async def take(
        self,
        conn: Connection,
        organization: str,
        records: Sequence[LoggedRecord],
        report: Report,
    ) -> None:
        """Keep what records tell of one organization."""
        told: list[tuple[str, Told]] = []
        heard: list[tuple[str, str, str, bytes]] = []
        objects: list[tuple[str, int, Any]] = []
        for record in records:
            try:
                if (named := _directory_object(record, organization)) is not None:
                    objects.append(named)
                    continue
                envelope = read_event(record)
                if envelope.organization != organization:
                    continue
                if envelope.type in HR_EVENT_MODELS:
                    event = read_hr_event(record)
                    heard.append((event.worker, event.source, event.id, event.fingerprint))
                elif envelope.type in ACCESS_EVENT_MODELS:
                    data = orjson.loads(envelope.data)
                    one = Told(envelope.id, envelope.type, envelope.time, data)
                    told.append((_about(one, envelope.subject), one))
            except (Rejected, ValueError, KeyError):
                # What cannot be read was a dead letter then as well.
                report.unreadable += 1
        report.events += len(told)
        report.hr_events += len(heard)
        report.directory_events += len(objects)
        if objects:
            await replay_store.add_told_directory(conn, objects)
        if told:
            await replay_store.add_told(conn, told)
        if heard:
            await replay_store.add_told_hr(conn, heard)

    # -- comparing

    async def compare(
        self,
        conn: Connection,
        organization: str,
        report: Report,
        only: frozenset[str] | None = None,
    ) -> None:
        """Compare page by page; each page is seen at one instant.

        Raises:
            Problem: 404 without a directory.
        """
        compiled = await self._recompute.directories.of(conn, organization)
        if compiled is None:
            raise Problem(404, "no_directory", "Apply one: portalkeeper directory apply FILE.")
        told = await replay_store.told_directory(conn, organization, compiled.version)
        report.add("", compare_directory(told, compiled.directory))
        if only is None:
            await self._compare_portals(conn, organization, compiled, report)
        after = ""
        while True:
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                page = await plans_store.read_workers(conn, organization, after, CLUSTERS_AT_A_TIME)
                if not page:
                    break
                after = page[-1].cluster
                clusters = {row.cluster for row in page if only is None or row.worker in only}
                rows = [row for row in page if row.cluster in clusters]
                if rows:
                    await self._compare_page(conn, organization, rows, compiled, report)
        for worker in await replay_store.told_of_nobody(conn, organization):
            report.add(worker, [Difference("worker", worker, "", "published", "missing")])

    async def _compare_portals(
        self,
        conn: Connection,
        organization: str,
        compiled: CompiledDirectory,
        report: Report,
    ) -> None:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            told = await replay_store.told_of_portals(conn, organization)
            adopted = await replay_store.told_of_adoptions(conn, organization)
            kept = Portals(
                await replay_store.outages(conn, organization),
                await replay_store.incidents(conn, organization),
                await enrolment_store.phases(conn, organization),
                compiled.knowledge,
            )
        report.portals = len(kept.observed)
        report.add("", compare_portals(told, adopted, kept))

    async def _compare_page(
        self,
        conn: Connection,
        organization: str,
        rows: Sequence[LockedWorker],
        compiled: CompiledDirectory,
        report: Report,
    ) -> None:
        now = await self._recompute.clock.now(conn)
        workers = [row.worker for row in rows]
        erased = await replay_store.erased(conn, organization, workers)
        report.workers += len(workers)
        report.workers_erased += len(erased)
        living = [worker for worker in workers if worker not in erased]
        await self._compare_told(conn, organization, living, report)
        unsettled = await replay_store.unsettled(conn, organization, workers, now)
        report.workers_unsettled += len(unsettled)
        for row in await replay_store.compare_timelines(conn, organization, living):
            if not row["told"] or row["source"] in compiled.sources:
                told, kept = ("published", "missing") if row["told"] else ("missing", "there")
                name = f"{row['source']} {row['id']}"
                report.add(row["worker"], [Difference("HR event", name, "", told, kept)])
        for facts, as_of in await self._recompute.look(conn, rows, compiled):
            if unsettled.isdisjoint(facts.person.aliases):
                outcome = decide(facts, compiled, as_of)
                report.add(facts.person.worker, _open_work(facts, outcome, compiled))
                report.add(facts.person.worker, compare_decided(facts, outcome))

    async def _compare_told(
        self, conn: Connection, organization: str, workers: Sequence[str], report: Report
    ) -> None:
        """What is kept of these workers and events tell, worker by worker."""
        told = _by_worker(await replay_store.told(conn, workers), workers)
        keys = [event_key(organization, worker) for worker in workers]
        seen = {one.id for own in told.values() for one in own}
        for headers, data in await replay_store.unpublished(conn, keys):
            one = _told(headers, data)
            about = _about(one, headers["ce_subject"])
            if one.id not in seen and about in told:
                told[about].append(one)
        of_portals = await replay_store.told_of_portals(conn, organization)
        postponed = [one for one in of_portals if one.type == "outage.ended"]
        accounts = await accounts_store.accounts_of(conn, organization, workers)
        operations = await replay_store.operations(conn, organization, workers)
        chores = await replay_store.chores(conn, organization, workers)
        holdings = await history_store.known_of(conn, organization, workers)
        exceptions = await exceptions_store.exceptions_of(conn, organization, workers)
        report.accounts += len(accounts)
        report.operations += len(operations)
        report.chores += len(chores)
        report.holdings += len(holdings)
        report.exceptions += len(exceptions)
        for worker in workers:
            retold = retell(told[worker], postponed)
            own_accounts = [one for one in accounts if one.worker == worker]
            own_operations = {
                str(row["operation_id"]): row for row in operations if row["worker"] == worker
            }
            own_chores = {str(row["chore_id"]): row for row in chores if row["worker"] == worker}
            own_holdings = [one for one in holdings if one.worker == worker]
            report.add(worker, compare_operations(retold, own_operations))
            report.add(worker, compare_accounts(retold, own_accounts))
            report.add(worker, compare_history(retold, own_accounts, own_holdings))
            report.add(worker, compare_chores(retold, own_chores))
            own_exceptions = [one for one in exceptions if one.worker == worker]
            report.add(worker, compare_exceptions(told[worker], own_exceptions))


def _record(line: bytes) -> LoggedRecord:
    try:
        document = orjson.loads(line)
        headers = tuple((str(k), str(v).encode()) for k, v in document["headers"].items())
        key = document["key"]
        return LoggedRecord(
            None if key is None else str(key).encode(), orjson.dumps(document["value"]), headers
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Problem(
            422, "invalid_record", "A line is a JSON object with key, headers and value."
        ) from error


def _directory_object(record: LoggedRecord, organization: str) -> tuple[str, int, Any] | None:
    """Subject, version and object of a directory event; None for any other record."""
    headers = dict(record.headers)
    kind, _, what = headers.get("ce_type", b"").decode().partition(".")
    if kind not in DIRECTORY_MODELS or what not in ("set", "removed"):
        return None
    if headers.get("ce_organization", b"").decode() != organization:
        return None
    subject, version = headers["ce_subject"].decode(), int(headers["ce_version"])
    return subject, version, orjson.loads(record.value or b"null") if what == "set" else None


def _about(one: Told, subject: str) -> str:
    """The worker whose account or work an event is about."""
    worker = one.data.get("worker") if isinstance(one.data, dict) else None
    return worker if isinstance(worker, str) else subject


def _told(headers: dict[str, str], data: Any) -> Told:
    return Told(
        headers["ce_id"], headers["ce_type"], replay_store.instant(headers["ce_time"]), data
    )


def _by_worker(told: Iterable[tuple[str, Told]], workers: Sequence[str]) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = {worker: [] for worker in workers}
    for worker, one in told:
        found[worker].append(one)
    return found


def _open_work(facts: Facts, outcome: Outcome, compiled: CompiledDirectory) -> list[Difference]:
    """Where open operations are not exactly what is desired and not effective."""
    if outcome.state.blocked:
        return []
    known = {one.operation_id for one in facts.operations}
    found = [
        Difference(
            "open work",
            one.operation_id,
            one.kind.value,
            f"{one.status.value} by what is desired" if one.operation_id in known else "wanted",
            "" if one.operation_id in known else "not ordered",
        )
        for one in outcome.operations
        if one.kind not in BESIDE
    ]
    for account in _accounts(facts, outcome):
        shown = [one for one in outcome.state.portals if one.portal == account.portal]
        same = [one for one in facts.accounts if one.portal == account.portal]
        # Of merged ids only one keeps its login; what is wanted is said of that one, last.
        first = min(same, key=lambda one: (not one.rights, one.worker), default=account)
        found += check_open_work(
            account,
            shown[-1] if shown and first is account else None,
            [
                one
                for one in facts.operations
                if (one.worker, one.portal) == (account.worker, account.portal)
            ],
            outcome.as_of,
            observed=account.portal in compiled.observed_since,
        )
    return found


def _accounts(facts: Facts, outcome: Outcome) -> list[Account]:
    """The accounts there are, and an empty one where something is wanted and none is known."""
    known = {account.portal for account in facts.accounts}
    new = [
        Account(facts.person.worker, access.portal)
        for access in outcome.state.portals
        if access.portal not in known and access.desired
    ]
    return [*facts.accounts, *new]
