"""Importing a portal's list of users: preview, apply, and what follows for accounts and work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.handlers.commands import OperationCommands, Said
from services.provisioning.handlers.imports import (
    IMPORT_NAMESPACE,
    Upload,
    as_json,
    plan_of,
    portal_fact,
    refuse_stale,
    shown_doubts,
    shown_finding,
    standings_on,
    turn_findings,
    unreadable,
)
from services.provisioning.handlers.recompute import (
    SOURCE,
    Recompute,
    access_fact,
    portal_knowledge,
)
from services.provisioning.rules.chores import ChoreMove, finding_chores
from services.provisioning.rules.columns import check_answers
from services.provisioning.rules.desired import CompiledDirectory
from services.provisioning.rules.findings import (
    LoginSeen,
    PortalFinding,
    Standing,
    findings_of,
    least_function,
    subject_of,
)
from services.provisioning.rules.history import Source as HistorySource
from services.provisioning.rules.history import Statement, statements_between
from services.provisioning.rules.matching import Doubt, People, one_login_key
from services.provisioning.rules.operations import Account, Operation, Transition, known_of
from services.provisioning.rules.rosters import (
    RosterLine,
    Shown,
    Source,
    account_shown,
    after_confirming,
    confirmed_by,
    held_by_list,
    read_roster,
)
from services.provisioning.store import accounts as accounts_store
from services.provisioning.store import chores as chores_store
from services.provisioning.store import directories as directories_store
from services.provisioning.store import findings as findings_store
from services.provisioning.store import history as history_store
from services.provisioning.store import imports as imports_store
from services.provisioning.store import logins as logins_store
from services.provisioning.store import operations as operations_store
from services.provisioning.store import workers as workers_store
from services.provisioning.store.findings import OpenFinding
from services.provisioning.store.logins import StoredLogin
from shared.auth import Principal
from shared.contracts.access import (
    AccountClosed,
    AccountLapsed,
    AccountOpened,
    AccountResumed,
    AccountSeen,
    AccountSuspended,
    EntitlementGranted,
    EntitlementRevoked,
    Evidence,
    PortalReconciled,
    RosterImported,
)
from shared.contracts.directory import Portal
from shared.contracts.envelope import name_uuid, rfc3339
from shared.contracts.state import AccountStatus, ChoreKind, Grade
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection
from shared.sheets.table import UnreadableSheet

KIND = "roster"

_BECAME = {
    (AccountStatus.ACTIVE, AccountStatus.SUSPENDED): ("account.lapsed", AccountLapsed),
    (AccountStatus.ACTIVE, AccountStatus.NONE): ("account.closed", AccountClosed),
    (AccountStatus.ACTIVE, AccountStatus.CLOSED): ("account.closed", AccountClosed),
    (AccountStatus.SUSPENDED, AccountStatus.NONE): ("account.closed", AccountClosed),
    (AccountStatus.SUSPENDED, AccountStatus.ACTIVE): ("account.resumed", AccountResumed),
    (AccountStatus.NONE, AccountStatus.ACTIVE): ("account.opened", AccountOpened),
    (AccountStatus.CLOSED, AccountStatus.ACTIVE): ("account.resumed", AccountResumed),
    (AccountStatus.CLOSED, AccountStatus.SUSPENDED): ("account.suspended", AccountSuspended),
    (AccountStatus.NONE, AccountStatus.SUSPENDED): ("account.suspended", AccountSuspended),
}
"""The fact that a change of a login's status is."""


@dataclass(frozen=True, slots=True)
class RosterUpload:
    """A list with what was said about it. `complete`: logins that it lacks do not exist."""

    portal: str
    file: Upload
    as_of: datetime
    columns: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """What a preview keeps, to be applied later."""
        return {
            "name": self.file.name,
            "as_of": rfc3339(self.as_of),
            "columns": dict(self.columns),
            "answers": dict(self.file.answers),
            "complete": self.complete,
        }


@dataclass(frozen=True, slots=True)
class _Change:
    """What the list shows of one worker's account and what that does to it.

    `older`: a later list has spoken of the login, so that only a last login can be news.
    """

    worker: str
    line: RosterLine | None
    before: Account
    after: Account
    shown: Shown
    confirmed: tuple[Operation, ...]
    older: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    document: dict[str, Any]
    changes: Sequence[_Change]
    found: Sequence[PortalFinding]
    standing: Sequence[OpenFinding]
    logins: Mapping[str, StoredLogin]
    source: Source
    newest: bool
    doubts: Sequence[Doubt]

    def speaks_of(self, subject: str, portal: str, *, whole: bool) -> bool:
        """Whether the list would show what is amiss with a finding's subject."""
        return whole or subject.removeprefix(f"{portal}/") in self.logins


GONE = Shown(None, None, AccountStatus.NONE, None)
"""What a whole list says of a login that it lacks."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a portal before a list is looked at."""

    compiled: CompiledDirectory
    portal: Portal
    people: People
    accounts: Mapping[str, Account]
    operations: Mapping[str, Sequence[Operation]]
    stored: Mapping[str, StoredLogin]
    latest: Any | None
    latest_whole: datetime | None

    def whole_list_after(self, as_of: datetime) -> datetime | None:
        """For when the latest whole list was right, if that is later than `as_of`."""
        later = self.latest_whole is not None and self.latest_whole > as_of
        return self.latest_whole if later else None

    def told_later(self, worker: str | None, key: str | None, as_of: datetime) -> bool:
        """Whether a list of a later instant has spoken of this login or of this worker's."""
        return any(
            stored.as_of > as_of
            for name, stored in self.stored.items()
            if name == key or (worker is not None and stored.worker == worker)
        )


class RosterCommands:
    """Each in the caller's transaction."""

    def __init__(
        self, recompute: Recompute, operations: OperationCommands, chores: ChoreCommands
    ) -> None:
        self._recompute = recompute
        self._operations = operations
        self._chores = chores

    async def preview(
        self, conn: Connection, who: Principal, upload: RosterUpload
    ) -> dict[str, Any]:
        """What importing the list would confirm, change and find. Changes nothing.

        Raises:
            Problem: 404 for an unknown portal, 422 for what cannot be read.
        """
        organization = who.organization
        now = await self._recompute.clock.now(conn)
        plan = await self._plan(conn, organization, upload, who.worker or who.subject, now)
        name = plan_of(plan.document)
        file = upload.file
        await imports_store.save_file(conn, organization, file.sha256, file.name, file.content, now)
        await imports_store.save_plan(
            conn,
            organization,
            name,
            kind=KIND,
            portal=upload.portal,
            file_sha256=file.sha256,
            options=upload.options,
            document=plan.document,
            by=who.worker or who.subject,
            now=now,
        )
        return {"plan": name, **plan.document}

    async def apply(self, conn: Connection, who: Principal, named: str) -> dict[str, Any]:
        """Import the list as previewed.

        Raises:
            Problem: 404 for an unknown preview, 409 when something has changed since or questions
                of a whole list are open.
        """
        organization, by = who.organization, who.worker or who.subject
        row = await imports_store.find_plan(conn, organization, named, KIND)
        if row is None:
            raise Problem(404, "no_such_plan", "No such preview; make one first.")
        upload = await self._uploaded(conn, organization, row)
        workers = {line["worker"] for line in row["document"]["lines"] if line["worker"]}
        workers |= set(await logins_store.workers_on(conn, organization, upload.portal))
        locked = await workers_store.lock_workers(
            conn, {(organization, worker) for worker in workers}
        )
        await directories_store.lock_portals(conn, [(organization, upload.portal)])
        now = await self._recompute.clock.now(conn)
        if row["applied_at"] is not None:
            return {"plan": named, "already": True, **_outcome(row["document"])}
        plan = await self._plan(conn, organization, upload, row["previewed_by"], now)
        refuse_stale(named, plan_of(plan.document))
        if plan.doubts and upload.complete:
            raise Problem(
                409,
                "doubts_open",
                f"{len(plan.doubts)} questions are open. A whole list also speaks of logins that it"
                " lacks, so answer them first, or import it as a part.",
            )
        await self._import(conn, organization, by, upload, named, plan, now)
        await imports_store.mark_applied(conn, organization, named, by, now)
        await self._recompute.run(conn, locked)
        # Last: with more known of the portal, the sweep decides about everybody anew.
        await self._reconcile(conn, organization, by, upload, plan, now)
        return {"plan": named, "already": False, **_outcome(plan.document)}

    async def answer(
        self,
        conn: Connection,
        who: Principal,
        named: str,
        answers: Mapping[str, str],
        columns: Mapping[str, str],
    ) -> dict[str, Any]:
        """The preview again, with more questions answered and columns explained.

        Raises:
            Problem: 404 for an unknown preview, 422 for what is no answer.
        """
        row = await imports_store.find_plan(conn, who.organization, named, KIND)
        if row is None:
            raise Problem(404, "no_such_plan", "No such preview; make one first.")
        upload = await self._uploaded(conn, who.organization, row)
        file = replace(upload.file, answers={**upload.file.answers, **answers})
        again = replace(upload, file=file, columns={**upload.columns, **columns})
        return await self.preview(conn, who, again)

    async def _uploaded(self, conn: Connection, organization: str, row: Any) -> RosterUpload:
        content = await imports_store.file_content(conn, organization, row["file_sha256"])
        options = row["options"]
        return RosterUpload(
            row["portal"],
            Upload(options["name"], content or b"", options["answers"]),
            datetime.fromisoformat(options["as_of"]),
            options["columns"],
            options["complete"],
        )

    # -- what the list means

    async def _plan(
        self,
        conn: Connection,
        organization: str,
        upload: RosterUpload,
        by: str,
        now: datetime,
    ) -> _Plan:
        if upload.as_of > now:
            raise Problem(
                422, "as_of_in_future", "A list cannot be right for a moment that has not come."
            )
        known = await self._what_is_known(conn, organization, upload.portal)
        wrong = check_answers(
            upload.file.answers,
            known.compiled.portals,
            [person.worker for person in known.people.known],
        )
        if wrong:
            raise Problem(422, "invalid_answer", wrong)
        kept = await imports_store.meanings(conn, organization, upload.portal)
        answers = {**kept["answers"], **upload.file.answers}
        table = upload.file.read()
        try:
            roster = read_roster(
                table, {**kept["columns"], **upload.columns}, answers, known.compiled.zone
            )
        except UnreadableSheet as error:
            raise unreadable(error) from error
        source = Source(roster_id(organization, upload), upload.as_of, by)
        doubts = {doubt.key: doubt for doubt in roster.doubts}
        owners = {line.key: _owners(line, known, answers, doubts) for line in roster.lines}
        workers = {worker for own, _ in owners.values() for worker in own}
        published = await logins_store.published(
            conn, organization, sorted({*workers, *known.accounts})
        )
        standings = standings_on(upload.portal, published)
        changes = _changes(roster.lines, owners, known, standings, source, upload.complete)
        newest = known.latest is None or known.latest["as_of"] <= upload.as_of
        certain = [line for line in roster.lines if not _is_doubtful(line, doubts)]
        seen = _seen(certain, owners, known, standings, source)
        found = findings_of(known.portal, seen, standings, upload.as_of, known.compiled.zone)
        standing = await findings_store.open_findings(conn, organization, upload.portal)
        if not newest:
            found, standing = [], []
        elif not upload.complete:
            subjects = {finding.subject for finding in found}
            subjects |= {subject_of(upload.portal, line.key) for line in roster.lines}
            standing = [one for one in standing if one.finding.subject in subjects]
        document = _document(upload, roster.lines, owners, changes, known, list(doubts.values()))
        document |= {
            "findings": [shown_finding(finding) for finding in found],
            "columns": dict(roster.columns),
            "notes": list(table.notes),
            "newest": newest,
            "reconciles": upload.complete and upload.portal in known.compiled.observed_since,
        }
        document["counts"]["findings"] = len(found)
        logins = _logins(roster.lines, owners, changes, source)
        return _Plan(
            as_json(document),
            changes,
            found,
            standing,
            logins,
            source,
            newest,
            list(doubts.values()),
        )

    async def _what_is_known(self, conn: Connection, organization: str, portal_id: str) -> _Known:
        compiled = (await self._recompute.directories.current(conn, {organization})).get(
            organization
        )
        portal = compiled.portals.get(portal_id) if compiled else None
        if compiled is None or portal is None:
            raise Problem(404, "no_such_portal", f"The directory has no portal {portal_id}.")
        aliases = await logins_store.ids_in_use(conn, organization)
        accounts = await logins_store.accounts_on(conn, organization, [portal_id])
        operations: dict[str, list[Operation]] = {}
        for row in await logins_store.open_work_on(conn, organization, portal_id):
            operation = operations_store.operation_from(row)
            worker = aliases.get(operation.worker, operation.worker)
            operations.setdefault(worker, []).append(operation)
        by_person: dict[str, Account] = {}
        for account in sorted(accounts, key=lambda one: (not one.rights, one.worker)):
            by_person.setdefault(aliases.get(account.worker, account.worker), account)
        return _Known(
            compiled,
            portal,
            People(await logins_store.known_people(conn, organization)),
            by_person,
            operations,
            await logins_store.stored_logins(conn, organization, portal_id),
            await logins_store.latest_roster(conn, organization, portal_id),
            await logins_store.latest_whole_roster(conn, organization, portal_id),
        )

    # -- importing it

    async def _import(
        self,
        conn: Connection,
        organization: str,
        by: str,
        upload: RosterUpload,
        named: str,
        plan: _Plan,
        now: datetime,
    ) -> None:
        await self._operations.say(conn, organization, list(_words(upload, plan, by)), decide=False)
        messages: list[OutboxMessage] = []
        changed: list[tuple[str, Account]] = []
        history: list[tuple[str, Statement]] = []
        for change in plan.changes:
            if change.after == change.before:
                continue
            said = _seen_fact(organization, upload, change, named, plan.source, by, now)
            messages.append(said)
            # What operations brought about was said with them: the rest is the list's own.
            middle = after_confirming(change.before, change.confirmed, change.shown, upload.as_of)
            messages += _facts(organization, change.worker, middle, change.after, plan, by, now)
            changed.append((organization, change.after))
            source = HistorySource(plan.source.roster_id, by, said.headers["ce_id"])
            history += [
                (organization, statement)
                for statement in statements_between(middle, change.after, source, at=upload.as_of)
            ]
        await accounts_store.save_accounts(conn, changed)
        await history_store.record_statements(conn, history, now)
        messages += await turn_findings(
            conn,
            organization,
            upload.portal,
            plan.found,
            plan.standing,
            source_id=plan.source.roster_id,
            now=now,
        )
        await logins_store.save_logins(conn, organization, upload.portal, plan.logins)
        new = await logins_store.add_roster(
            conn,
            organization,
            upload.portal,
            plan.source.roster_id,
            plan=named,
            file_sha256=upload.file.sha256,
            file_name=upload.file.name,
            as_of=upload.as_of,
            complete=upload.complete,
            by=by,
            now=now,
            counts=plan.document["counts"],
        )
        if new:
            messages.append(_imported_fact(organization, upload, named, plan, by, now))
        await imports_store.keep_meanings(
            conn, organization, upload.portal, upload.columns, upload.file.answers
        )
        await enqueue(conn, messages, held=True)
        if plan.newest:
            fetched = await chores_store.open_chores(
                conn, organization, ChoreKind.FETCH_ROSTER, upload.portal
            )
            text = f"{upload.file.name}, right as of {rfc3339(upload.as_of)}, was imported."
            await self._close_chores(conn, organization, by, fetched, text)
            await self._turn_finding_work(conn, organization, by, upload, plan, now)

    async def _close_chores(
        self, conn: Connection, organization: str, by: str, chore_ids: Iterable[str], text: str
    ) -> None:
        for chore_id in sorted(chore_ids):
            await self._chores.say(
                conn,
                organization,
                chore_id,
                ChoreWord(ChoreMove.DONE, by, Evidence(kind="roster", text=text)),
                imported=True,
            )

    async def _turn_finding_work(
        self,
        conn: Connection,
        organization: str,
        by: str,
        upload: RosterUpload,
        plan: _Plan,
        now: datetime,
    ) -> None:
        """Open work for what the list shows amiss, and end work on what it shows no longer."""
        portal = upload.portal
        compiled = (await self._recompute.directories.current(conn, {organization}))[organization]
        known = await chores_store.work_on_findings(conn, organization, portal)
        found = {(finding.subject, finding.rule) for finding in plan.found}
        over = [
            work.chore_id
            for (subject, rule), work in known.items()
            if work.ended_at is None
            and (subject, rule) not in found
            and plan.speaks_of(subject, portal, whole=upload.complete)
        ]
        text = f"{upload.file.name}, right as of {rfc3339(upload.as_of)}, shows it no longer."
        await self._close_chores(conn, organization, by, over, text)
        if portal in compiled.observed_since and not plan.document["reconciles"]:
            # What merely was not known yet is nobody's work.
            return
        for chore in finding_chores(
            organization,
            portal,
            plan.found,
            known,
            source_id=plan.source.roster_id,
            as_of=upload.as_of,
            addressed_to=compiled.administrator(portal, now),
            requested_by=SOURCE,
            now=now,
        ):
            await self._chores.request(conn, organization, chore)

    async def _reconcile(
        self,
        conn: Connection,
        organization: str,
        by: str,
        upload: RosterUpload,
        plan: _Plan,
        now: datetime,
    ) -> None:
        if not plan.document["reconciles"]:
            return
        version = await directories_store.lock_directory(conn, organization)
        row = await directories_store.directory_document(conn, organization, version)
        known = portal_knowledge(row["observed"])[upload.portal]
        await directories_store.save_observed(
            conn,
            organization,
            version,
            {upload.portal: replace(known, reconciled_as_of=upload.as_of)},
            by=by,
            at=now,
        )
        said = PortalReconciled(upload.portal, plan.source.roster_id, upload.as_of, by)
        cause = (plan.source.roster_id,)
        await enqueue(
            conn,
            [portal_fact("portal.reconciled", organization, upload.portal, cause, now, said)],
            held=True,
        )


def roster_id(organization: str, upload: RosterUpload) -> str:
    """The id of a list: by its portal, content, instant, and whether it is whole."""
    parts = (
        organization,
        KIND,
        upload.portal,
        upload.file.sha256,
        rfc3339(upload.as_of),
        "whole" if upload.complete else "part",
    )
    return name_uuid(IMPORT_NAMESPACE, "\x1f".join(parts))


Owners = Mapping[str, tuple[tuple[str, ...], str]]
"""By login: the workers whose it is, and why."""


def _owners(
    line: RosterLine, known: _Known, answers: Mapping[str, str], doubts: dict[str, Doubt]
) -> tuple[tuple[str, ...], str]:
    """Whose a login is: by its id where that is known, else by what the list says of the person."""
    asked = any(
        key in answers
        for claim in line.claims
        for key in (f"person:{claim.label}", one_login_key(claim))
    )
    holders = tuple(
        worker
        for worker, account in known.accounts.items()
        if (account.login_id or "").casefold() == line.key
    )
    if holders and not asked:
        named = [claim for claim in line.claims if claim.name]
        if not named or any(
            known.people.could_be(claim.name, worker) for claim in named for worker in holders
        ):
            return holders, "the login id is known"
    found: dict[str, None] = {}
    why = ""
    for claim in line.claims:
        match = known.people.find(claim, line.line, answers)
        why = match.why
        if match.worker is not None:
            found[match.worker] = None
        if match.doubt is not None:
            doubts.setdefault(match.doubt.key, match.doubt)
    return tuple(found), why


def _is_doubtful(line: RosterLine, doubts: Mapping[str, Doubt]) -> bool:
    """Whether somebody has yet to say whose a login is: nothing is found about it before."""
    return any(
        key in doubts
        for claim in line.claims
        for key in (f"person:{claim.label}", one_login_key(claim))
    )


def _changes(
    lines: Sequence[RosterLine],
    owners: Owners,
    known: _Known,
    standings: Mapping[str, Standing],
    source: Source,
    complete: bool,
) -> list[_Change]:
    enrolled = known.compiled.enrolled_tins(known.portal.id, source.as_of)
    enrolled = enrolled or known.compiled.directory.organization.tins
    by_worker: dict[str, RosterLine] = {}
    for line in lines:
        for worker in owners[line.key][0]:
            account = known.accounts.get(worker)
            own = account is not None and (account.login_id or "").casefold() == line.key
            if own or worker not in by_worker:
                by_worker[worker] = line
    changes = []
    for worker, line in by_worker.items():
        account = known.accounts.get(worker, Account(worker, known.portal.id))
        shown = _shown(line, account, standings[worker], enrolled)
        changes.append(_change(worker, line, account, shown, known, standings[worker], source))
    if complete:
        for worker, account in known.accounts.items():
            if worker in by_worker:
                continue
            changes.append(_change(worker, None, account, GONE, known, standings[worker], source))
    return changes


def _shown(
    line: RosterLine, account: Account, standing: Standing, enrolled: Sequence[str]
) -> Shown:
    rights = None
    if line.told is not None:
        rights = held_by_list(line.told, account, standing.desired or (), enrolled)
    return Shown(line.line, line.login_id, line.status, rights, line.last_login_at)


def _change(
    worker: str,
    line: RosterLine | None,
    account: Account,
    shown: Shown,
    known: _Known,
    standing: Standing,
    source: Source,
) -> _Change:
    if known.told_later(worker, line.key if line else None, source.as_of):
        late = replace(source, as_of=datetime.min.replace(tzinfo=source.as_of.tzinfo))
        after = account_shown(account, shown, late, assumed=()) if account.known_as_of else account
        return _Change(worker, line, account, after, shown, (), True)
    own = [op for op in known.operations.get(worker, ()) if op.worker == account.worker]
    confirmed = confirmed_by(own, shown, source.as_of)
    middle = after_confirming(account, confirmed, shown, source.as_of)
    if line is None and middle.status is AccountStatus.NONE and middle.grade is None:
        return _Change(worker, line, account, middle, shown, tuple(confirmed), False)
    tins = known.compiled.enrolled_tins(known.portal.id, source.as_of)
    tins = tins or known.compiled.directory.organization.tins
    assumed = standing.desired or {(tins[0], least_function(known.portal))}
    after = account_shown(
        middle,
        shown,
        source,
        assumed=assumed,
        confirmed=[operation.operation_id for operation in confirmed],
    )
    overtaken = known.whole_list_after(source.as_of)
    if line is not None and overtaken is not None and after.known_as_of == source.as_of:
        # A later whole list, imported before, lacks this login: it was there, and is gone since.
        since = replace(source, as_of=overtaken)
        after = account_shown(after, GONE, since, assumed=())
    return _Change(worker, line, account, after, shown, tuple(confirmed), False)


def _seen(
    lines: Sequence[RosterLine],
    owners: Owners,
    known: _Known,
    standings: Mapping[str, Standing],
    source: Source,
) -> list[LoginSeen]:
    enrolled = known.compiled.enrolled_tins(known.portal.id, source.as_of)
    enrolled = enrolled or known.compiled.directory.organization.tins
    seen = []
    for line in lines:
        workers = owners[line.key][0]
        rights = None
        if line.told is not None and len(workers) == 1:
            account = known.accounts.get(workers[0], Account(workers[0], known.portal.id))
            rights = _shown(line, account, standings[workers[0]], enrolled).rights
        name = line.claims[0].name if line.claims else ""
        known_since = [
            own.since
            for worker in workers
            if worker in known.accounts
            for own in known.accounts[worker].rights.values()
            if own.since is not None
        ]
        seen.append(
            LoginSeen(
                line.login_id,
                name,
                workers,
                line.status,
                rights,
                line.last_login_at,
                line.last_login_told,
                min(known_since, default=None),
            )
        )
    return seen


def _logins(
    lines: Sequence[RosterLine], owners: Owners, changes: Sequence[_Change], source: Source
) -> dict[str, StoredLogin]:
    """The logins as the list leaves them, those included that a whole list lacks."""
    logins = {
        line.key: StoredLogin(
            line.login_id,
            line.claims[0].name if line.claims else "",
            line.claims[0].email if line.claims else "",
            owners[line.key][0][0] if len(owners[line.key][0]) == 1 else None,
            line.status,
            line.last_login_at,
            source.as_of,
            source.roster_id,
        )
        for line in lines
    }
    for change in changes:
        login_id = change.before.login_id
        if change.line is None and login_id and login_id.casefold() not in logins:
            logins[login_id.casefold()] = StoredLogin(
                login_id,
                "",
                "",
                change.worker,
                AccountStatus.NONE,
                None,
                source.as_of,
                source.roster_id,
            )
    return logins


def _words(upload: RosterUpload, plan: _Plan, by: str) -> Collection[Said]:
    at = rfc3339(upload.as_of)
    return [
        Said(
            operation.operation_id,
            Transition.DONE,
            by,
            Grade.ROSTER,
            Evidence(
                kind="roster_line",
                text=(
                    f"{upload.file.name}, as of {at}: "
                    + (f"line {change.line.line}" if change.line else "the login is not on it")
                ),
            ),
            change.shown.login_id,
            so_since=upload.as_of,
        )
        for change in plan.changes
        for operation in sorted(change.confirmed, key=lambda one: one.kind.value, reverse=True)
    ]


def _seen_fact(
    organization: str,
    upload: RosterUpload,
    change: _Change,
    plan: str,
    source: Source,
    by: str,
    now: datetime,
) -> OutboxMessage:
    said = AccountSeen(
        change.after.worker,
        change.after.portal,
        source.roster_id,
        change.line.line if change.line else None,
        upload.as_of,
        by,
        known_of(change.after),
    )
    cause = (plan, change.line.key if change.line else f"lacks {change.worker}", "seen")
    return access_fact("account.seen", organization, change.worker, cause, now, said)


def _facts(
    organization: str,
    worker: str,
    before: Account,
    after: Account,
    plan: _Plan,
    by: str,
    now: datetime,
) -> list[OutboxMessage]:
    """What the list shows beyond what operations explain."""
    source = plan.source
    about = (after.worker, after.portal, source.roster_id, Grade.ROSTER, by, source.as_of)
    facts: list[tuple[str, tuple[str, ...], object]] = []
    became = _BECAME.get((before.status, after.status))
    if became is not None:
        type_, model = became
        facts.append((type_, (), model(*about, after.login_id)))
    for held in sorted(after.effective.keys() - before.effective.keys()):
        granted = EntitlementGranted(*about, *held, after.effective[held].authorized_by)
        facts.append(("entitlement.granted", (held[0], held[1].value), granted))
    for held in sorted(before.effective.keys() - after.effective.keys()):
        revoked = EntitlementRevoked(*about, *held, before.effective[held].authorized_by)
        facts.append(("entitlement.revoked", (held[0], held[1].value), revoked))
    plan_id = plan_of(plan.document)
    return [
        access_fact(type_, organization, worker, (plan_id, after.worker, type_, *cause), now, data)
        for type_, cause, data in facts
    ]


def _imported_fact(
    organization: str, upload: RosterUpload, plan: str, planned: _Plan, by: str, now: datetime
) -> OutboxMessage:
    said = RosterImported(
        upload.portal,
        planned.source.roster_id,
        plan,
        upload.as_of,
        upload.complete,
        upload.file.sha256,
        upload.file.name,
        by,
        planned.document["counts"],
    )
    cause = (planned.source.roster_id,)
    return portal_fact("roster.imported", organization, upload.portal, cause, now, said)


def _document(
    upload: RosterUpload,
    lines: Sequence[RosterLine],
    owners: Owners,
    changes: Sequence[_Change],
    known: _Known,
    doubts: Sequence[Doubt],
) -> dict[str, Any]:
    by_line = {(change.line.key, change.worker): change for change in changes if change.line}
    shown = []
    for line in lines:
        workers, why = owners[line.key]
        for worker in workers or (None,):
            change = by_line.get((line.key, worker)) if worker else None
            shown.append(
                {
                    "line": line.line,
                    "login_id": line.login_id,
                    "name": line.claims[0].label if line.claims else line.login_id,
                    "worker": worker,
                    "worker_name": known.people.name_of(worker) if worker else None,
                    "why": why,
                    "status": line.status.value,
                    "last_login_at": line.last_login_at,
                    **_words_of(change),
                }
            )
    absent = [
        {"worker": change.worker, "login_id": change.before.login_id, **_words_of(change)}
        for change in changes
        if change.line is None and (change.after != change.before or change.confirmed)
    ]
    return {
        "kind": KIND,
        "portal": upload.portal,
        "file": upload.file.name,
        "sha256": upload.file.sha256,
        "as_of": rfc3339(upload.as_of),
        "complete": upload.complete,
        "lines": shown,
        "absent": absent,
        "doubts": shown_doubts(doubts),
        "counts": {
            "logins": len(lines),
            "matched": sum(bool(owners[line.key][0]) for line in lines),
            "confirmed": sum(len(change.confirmed) for change in changes),
            "changed": sum(change.after != change.before for change in changes),
            "absent": len(absent),
            "doubts": len(doubts),
        },
    }


def _words_of(change: _Change | None) -> dict[str, Any]:
    """What becomes of an account, for people and for the plan's hash."""
    if change is None:
        return {"confirms": [], "becomes": None}
    rights = sorted(f"{tin}/{function.value}" for tin, function in change.after.rights)
    return {
        "confirms": [
            {"operation_id": operation.operation_id, "kind": operation.kind.value}
            for operation in change.confirmed
        ],
        "becomes": None
        if change.after == change.before
        else {
            "from": change.before.status.value,
            "to": change.after.status.value,
            "rights": rights,
            "had": sorted(f"{tin}/{function.value}" for tin, function in change.before.rights),
        },
    }


def _outcome(document: Mapping[str, Any]) -> dict[str, Any]:
    names = ("portal", "as_of", "counts", "findings", "doubts", "reconciles")
    return {name: document[name] for name in names}
