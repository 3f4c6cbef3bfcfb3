"""Taking over a sheet: preview, answers and apply."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from services.provisioning.handlers.adoption.meaning import (
    Adopted,
    effect_of,
    instant_of,
    login_seen,
    rights_of,
    since_of,
    taken_over,
    until_of,
)
from services.provisioning.handlers.adoption.saying import (
    KIND,
    adopted_fact,
    document_of,
    row_of,
    summary_of,
)
from services.provisioning.handlers.imports import (
    IMPORT_NAMESPACE,
    Upload,
    as_json,
    plan_of,
    refuse_stale,
    standings_on,
    turn_findings,
    unreadable,
)
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.adoption import SheetLine, read_sheet
from services.provisioning.rules.columns import check_answers
from services.provisioning.rules.desired.directory import CompiledDirectory, PortalKnowledge
from services.provisioning.rules.desired.worker import desire
from services.provisioning.rules.findings import (
    PortalFinding,
    findings_of,
)
from services.provisioning.rules.history import Source, Statement, statements_between
from services.provisioning.rules.matching import People
from services.provisioning.rules.operations import Account
from services.provisioning.rules.timeline import fold, people
from services.provisioning.store import accounts as accounts_store
from services.provisioning.store import directories as directories_store
from services.provisioning.store import findings as findings_store
from services.provisioning.store import history as history_store
from services.provisioning.store import imports as imports_store
from services.provisioning.store import logins as logins_store
from services.provisioning.store import timelines as timelines_store
from services.provisioning.store import workers as workers_store
from shared.auth import Principal
from shared.contracts.envelope import name_uuid
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection
from shared.sheets.table import UnreadableSheet

A_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Plan:
    document: dict[str, Any]
    adopted: Sequence[Adopted]
    findings: Mapping[str, Sequence[PortalFinding]]
    as_of: datetime


class AdoptionCommands:
    """Each in the caller's transaction."""

    def __init__(self, recompute: Recompute) -> None:
        self._recompute = recompute

    async def preview(
        self, conn: Connection, who: Principal, upload: Upload, as_of: date
    ) -> dict[str, Any]:
        """What adopting the sheet would do, and what has to be asked first. Changes nothing.

        Raises:
            Problem: 422 for a file or answer that cannot be read, 404 without a directory.
        """
        now = await self._recompute.clock.now(conn)
        plan = await self._plan(conn, who.organization, upload, as_of, now)
        name = plan_of(plan.document)
        await imports_store.save_file(
            conn, who.organization, upload.sha256, upload.name, upload.content, now
        )
        await imports_store.save_plan(
            conn,
            who.organization,
            name,
            kind=KIND,
            portal=None,
            file_sha256=upload.sha256,
            options={
                "name": upload.name,
                "as_of": as_of.isoformat(),
                "answers": dict(upload.answers),
            },
            document=plan.document,
            by=who.worker or who.subject,
            now=now,
        )
        return {"plan": name, **plan.document}

    async def apply(self, conn: Connection, who: Principal, named: str) -> dict[str, Any]:
        """Adopt as previewed; lines in doubt are left out and stay to be asked.

        Raises:
            Problem: 404 for an unknown preview, 409 when something has changed since.
        """
        organization, by = who.organization, who.worker or who.subject
        row = await imports_store.find_plan(conn, organization, named, KIND)
        if row is None:
            raise Problem(404, "no_such_plan", "No such preview; make one first.")
        content = await imports_store.file_content(conn, organization, row["file_sha256"])
        options = row["options"]
        upload = Upload(options["name"], content or b"", options["answers"])
        day = date.fromisoformat(options["as_of"])
        concerned = {
            (organization, line["worker"]) for line in row["document"]["lines"] if line["worker"]
        }
        locked = await workers_store.lock_workers(conn, concerned)
        portals = sorted({line["portal"] for line in row["document"]["lines"]})
        await directories_store.lock_portals(conn, [(organization, each) for each in portals])
        now = await self._recompute.clock.now(conn)
        if row["applied_at"] is not None:
            # Adopted as it says; what has changed since is no business of the same sheet.
            return {"plan": named, "adopted": 0, "already": True, **summary_of(row["document"])}
        plan = await self._plan(conn, organization, upload, day, now)
        refuse_stale(named, plan_of(plan.document))
        done = await self._adopt(conn, organization, by, upload, named, plan, now)
        await imports_store.keep_meanings(
            conn, organization, imports_store.SHEET, {}, upload.answers
        )
        await imports_store.mark_applied(conn, organization, named, by, now)
        if not await self._observe(conn, organization, by, plan, now):
            await self._recompute.run(conn, locked)
        return {"plan": named, "adopted": done, "already": False, **summary_of(plan.document)}

    async def answer(
        self, conn: Connection, who: Principal, named: str, answers: Mapping[str, str]
    ) -> dict[str, Any]:
        """The preview again, with more questions answered.

        Raises:
            Problem: 404 for an unknown preview, 422 for what is no answer.
        """
        row = await imports_store.find_plan(conn, who.organization, named, KIND)
        if row is None:
            raise Problem(404, "no_such_plan", "No such preview; make one first.")
        content = await imports_store.file_content(conn, who.organization, row["file_sha256"])
        options = row["options"]
        upload = Upload(options["name"], content or b"", {**options["answers"], **answers})
        return await self.preview(conn, who, upload, date.fromisoformat(options["as_of"]))

    # -- what a sheet means

    async def _plan(
        self, conn: Connection, organization: str, upload: Upload, day: date, now: datetime
    ) -> _Plan:
        compiled = await self._recompute.directories.of(conn, organization)
        if compiled is None:
            raise Problem(404, "no_directory", "Apply a directory first: it names the portals.")
        as_of = instant_of(day, compiled, now)
        known = People(await logins_store.known_people(conn, organization))
        kept = await imports_store.meanings(conn, organization, imports_store.SHEET)
        wrong = check_answers(
            upload.answers, compiled.portals, [person.worker for person in known.known]
        )
        if wrong:
            raise Problem(422, "invalid_answer", wrong)
        answers = {**kept["answers"], **upload.answers}
        table = upload.read()
        try:
            sheet = read_sheet(table, compiled.directory.portals, answers)
        except UnreadableSheet as error:
            raise unreadable(error) from error
        doubts = {doubt.key: doubt for doubt in sheet.doubts}
        matches = [known.find(line.claim, line.line, answers) for line in sheet.lines]
        for match in matches:
            if match.doubt is not None:
                doubts.setdefault(match.doubt.key, match.doubt)
        adopted = await self._judge(conn, organization, compiled, sheet.lines, matches, as_of)
        findings = await self._find(conn, organization, compiled, adopted, now)
        document = document_of(upload, day, adopted, list(doubts.values()), findings, known)
        document |= {"notes": list(table.notes), "shape": sheet.shape}
        return _Plan(as_json(document), adopted, findings, as_of)

    async def _judge(
        self,
        conn: Connection,
        organization: str,
        compiled: CompiledDirectory,
        lines: Sequence[SheetLine],
        matches: Sequence[Any],
        as_of: datetime,
    ) -> list[Adopted]:
        workers = sorted({match.worker for match in matches if match.worker})
        given = await self._policy_then(conn, organization, compiled, workers, as_of)
        aliases = await logins_store.ids_in_use(conn, organization)
        accounts = {
            (aliases.get(account.worker, account.worker), account.portal): account
            for account in await logins_store.accounts_on(
                conn, organization, sorted({line.portal for line in lines})
            )
        }
        seen: set[tuple[str, str]] = set()
        adopted = []
        for line, match in zip(lines, matches, strict=True):
            if match.worker is None:
                effect = "doubt" if match.doubt else "nobody"
                adopted.append(Adopted(line, None, match.why, effect, (), None))
                continue
            key = (match.worker, line.portal)
            portal = compiled.portals[line.portal]
            rights = rights_of(line, portal, given[match.worker], compiled, as_of)
            account = accounts.get(key)
            effect = (
                "second_login" if key in seen else effect_of(line, account, rights, as_of, compiled)
            )
            seen.add(key)
            adopted.append(Adopted(line, match.worker, match.why, effect, rights, account))
        return adopted

    async def _policy_then(
        self,
        conn: Connection,
        organization: str,
        compiled: CompiledDirectory,
        workers: Sequence[str],
        as_of: datetime,
    ) -> dict[str, Collection[tuple[str, str, Any]]]:
        """What policy gave each then; of somebody who had left, what it gave them last."""
        rows = logins_store.unlocked(organization, workers)
        timelines = await timelines_store.timelines(conn, rows)
        given: dict[str, Collection[tuple[str, str, Any]]] = {}
        for worker in workers:
            own = timelines.get((organization, worker), [])
            person = next(p for p in people([worker], own) if worker in p.aliases)
            folded = fold(person, as_of, compiled.zone)
            at = as_of
            if not folded.open_employments and folded.ended_at is not None:
                at = folded.ended_at - A_MOMENT
                folded = fold(person, at, compiled.zone)
            given[worker] = desire(folded, compiled, (), at).rights.keys()
        return given

    async def _find(
        self,
        conn: Connection,
        organization: str,
        compiled: CompiledDirectory,
        adopted: Sequence[Adopted],
        now: datetime,
    ) -> dict[str, list[PortalFinding]]:
        """What is amiss, on portals of which nothing better than the sheet is known."""
        workers = sorted({one.worker for one in adopted if one.worker})
        published = await logins_store.published(conn, organization, workers)
        by_portal: dict[str, list[Adopted]] = {}
        for one in adopted:
            known = compiled.knowledge.get(one.line.portal)
            if one.effect in ("adopt", "same", "nobody") and not (known and known.reconciled_as_of):
                by_portal.setdefault(one.line.portal, []).append(one)
        return {
            portal: findings_of(
                compiled.portals[portal],
                [login_seen(one) for one in own],
                standings_on(portal, published),
                now,
                compiled.zone,
            )
            for portal, own in by_portal.items()
        }

    # -- taking it over

    async def _adopt(
        self,
        conn: Connection,
        organization: str,
        by: str,
        upload: Upload,
        plan: str,
        planned: _Plan,
        now: datetime,
    ) -> int:
        as_of = planned.as_of
        adoption_id = name_uuid(
            IMPORT_NAMESPACE, "\x1f".join((organization, KIND, upload.sha256, as_of.isoformat()))
        )
        before = await logins_store.adopted_before(conn, organization, as_of)
        compiled = (await self._recompute.directories.current(conn, {organization}))[organization]
        changed: list[tuple[str, Account]] = []
        messages: list[OutboxMessage] = []
        history: list[tuple[str, Statement]] = []
        kept: list[dict[str, Any]] = []
        for one in planned.adopted:
            if one.worker is None or one.effect in ("second_login", "same"):
                continue
            if one.effect != "adopt" and (one.line.portal, one.worker) in before:
                continue
            account = taken_over(one, adoption_id, upload.sha256, by, as_of, compiled)
            event = adopted_fact(
                organization, one, account, adoption_id, upload.sha256, by, as_of, compiled, now
            )
            messages.append(event)
            kept.append(row_of(one, adoption_id, as_of, compiled))
            source = Source(adoption_id, by, event.headers["ce_id"])
            if one.effect == "adopt":
                changed.append((organization, account))
                was = one.account or Account(account.worker, account.portal)
                said = statements_between(was, account, source, at=as_of)
            else:
                said = await self._of_then(
                    conn, organization, one, account, source, as_of, compiled
                )
            history += [(organization, statement) for statement in said]
        await accounts_store.save_accounts(conn, changed)
        await logins_store.add_adopted(conn, organization, kept)
        await history_store.record_statements(conn, history, now)
        for portal, found in planned.findings.items():
            standing = await findings_store.open_findings(conn, organization, portal)
            both = [*found, *(one.finding for one in standing)]
            messages += await turn_findings(
                conn, organization, portal, both, standing, source_id=adoption_id, now=now
            )
        await enqueue(conn, messages, held=True)
        await logins_store.add_adoption(
            conn,
            organization,
            adoption_id,
            plan=plan,
            file_sha256=upload.sha256,
            file_name=upload.name,
            as_of=as_of,
            by=by,
            now=now,
            counts=planned.document["counts"],
        )
        return len(changed)

    async def _of_then(
        self,
        conn: Connection,
        organization: str,
        one: Adopted,
        account: Account,
        source: Source,
        as_of: datetime,
        compiled: CompiledDirectory,
    ) -> list[Statement]:
        """What a sheet says of a past of which nothing else is known."""
        begins = since_of(one.line, compiled) or as_of - timedelta(days=1)
        ends = min(until_of(one.line, compiled) or as_of, as_of)
        if begins >= ends or await logins_store.is_in_history(
            conn, organization, account.worker, account.portal, begins, ends
        ):
            return []
        return [
            Statement(
                account.worker, account.portal, *held, begins, ends, own, account.login_id, source
            )
            for held, own in sorted(account.effective.items())
        ]

    async def _observe(
        self, conn: Connection, organization: str, by: str, plan: _Plan, now: datetime
    ) -> bool:
        """Portals with adopted logins are observe-only until their first list is reconciled.

        Whether that is news: the sweep then decides about everybody anew, and nobody before.
        """
        version = await directories_store.lock_directory(conn, organization)
        compiled = (await self._recompute.directories.current(conn, {organization}))[organization]
        observed = {}
        for portal in {one.line.portal for one in plan.adopted if one.effect == "adopt"}:
            known = compiled.knowledge[portal]
            if not known.adopted and known.reconciled_as_of is None:
                existing = compiled.portals[portal].starts == "existing"
                observed[portal] = PortalKnowledge(known.since if existing else now, adopted=True)
        if observed:
            await directories_store.save_observed(
                conn, organization, version, observed, by=by, at=now
            )
        return bool(observed)
