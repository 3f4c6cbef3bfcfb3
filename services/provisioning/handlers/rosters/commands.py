"""Previewing and importing lists, each in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.imports import (
    Upload,
    as_json,
    plan_of,
    portal_fact,
    refuse_stale,
    shown_finding,
    standings_on,
    turn_findings,
    unreadable,
)
from services.provisioning.handlers.recompute import (
    SOURCE,
    Recompute,
    portal_knowledge,
)
from services.provisioning.handlers.refusals import no_such_portal
from services.provisioning.handlers.rosters.meaning import (
    KIND,
    Known,
    Plan,
    RosterUpload,
    changes_by,
    is_doubtful,
    logins_left,
    logins_seen,
    owners_of,
    roster_id,
)
from services.provisioning.handlers.rosters.saying import (
    facts_beyond,
    imported_fact,
    seen_fact,
    words_of,
)
from services.provisioning.handlers.rosters.showing import document_of, outcome_of
from services.provisioning.rules.chores import ChoreMove, finding_chores
from services.provisioning.rules.columns import check_answers
from services.provisioning.rules.findings import (
    findings_of,
    subject_of,
)
from services.provisioning.rules.history import Source as HistorySource
from services.provisioning.rules.history import Statement, statements_between
from services.provisioning.rules.matching import People
from services.provisioning.rules.operations import Account, Operation
from services.provisioning.rules.rosters import (
    Source,
    after_confirming,
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
from shared.auth import Principal
from shared.contracts.access.accounts import PortalReconciled
from shared.contracts.access.evidence import Evidence
from shared.contracts.envelope import rfc3339
from shared.contracts.state import ChoreKind
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection
from shared.sheets.table import UnreadableSheet


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
            return {"plan": named, "already": True, **outcome_of(row["document"])}
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
        return {"plan": named, "already": False, **outcome_of(plan.document)}

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
    ) -> Plan:
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
        owners = {line.key: owners_of(line, known, answers, doubts) for line in roster.lines}
        workers = {worker for own, _ in owners.values() for worker in own}
        published = await logins_store.published(
            conn, organization, sorted({*workers, *known.accounts})
        )
        standings = standings_on(upload.portal, published)
        changes = changes_by(roster.lines, owners, known, standings, source, upload.complete)
        newest = known.latest is None or known.latest["as_of"] <= upload.as_of
        certain = [line for line in roster.lines if not is_doubtful(line, doubts)]
        seen = logins_seen(certain, owners, known, standings, source)
        found = findings_of(known.portal, seen, standings, upload.as_of, known.compiled.zone)
        standing = await findings_store.open_findings(conn, organization, upload.portal)
        if not newest:
            found, standing = [], []
        elif not upload.complete:
            subjects = {finding.subject for finding in found}
            subjects |= {subject_of(upload.portal, line.key) for line in roster.lines}
            standing = [one for one in standing if one.finding.subject in subjects]
        document = document_of(upload, roster.lines, owners, changes, known, list(doubts.values()))
        document |= {
            "findings": [shown_finding(finding) for finding in found],
            "columns": dict(roster.columns),
            "notes": list(table.notes),
            "newest": newest,
            "reconciles": upload.complete and upload.portal in known.compiled.observed_since,
        }
        document["counts"]["findings"] = len(found)
        logins = logins_left(roster.lines, owners, changes, source)
        return Plan(
            as_json(document),
            changes,
            found,
            standing,
            logins,
            source,
            newest,
            list(doubts.values()),
        )

    async def _what_is_known(self, conn: Connection, organization: str, portal_id: str) -> Known:
        compiled = await self._recompute.directories.of(conn, organization)
        portal = compiled.portals.get(portal_id) if compiled else None
        if compiled is None or portal is None:
            raise no_such_portal(compiled, portal_id)
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
        return Known(
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
        plan: Plan,
        now: datetime,
    ) -> None:
        await self._operations.say(
            conn, organization, list(words_of(upload, plan, by)), decide=False
        )
        messages: list[OutboxMessage] = []
        changed: list[tuple[str, Account]] = []
        history: list[tuple[str, Statement]] = []
        for change in plan.changes:
            if change.after == change.before:
                continue
            said = seen_fact(organization, upload, change, named, plan.source, by, now)
            messages.append(said)
            # What operations brought about was said with them: the rest is the list's own.
            middle = after_confirming(change.before, change.confirmed, change.shown, upload.as_of)
            messages += facts_beyond(
                organization, change.worker, middle, change.after, plan, by, now
            )
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
            messages.append(imported_fact(organization, upload, named, plan, by, now))
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
        plan: Plan,
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
        plan: Plan,
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
