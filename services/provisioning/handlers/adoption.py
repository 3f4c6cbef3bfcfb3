"""Taking over the logins that existed before: preview, answers, apply, and the same sheet back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from services.provisioning.handlers.imports import (
    IMPORT_NAMESPACE,
    Upload,
    as_json,
    plan_of,
    refuse_stale,
    shown_doubts,
    shown_finding,
    standings_on,
    turn_findings,
    unreadable,
)
from services.provisioning.handlers.recompute import Recompute, access_fact
from services.provisioning.rules.adoption import LONG_COLUMNS, SheetLine, read_sheet, write_cell
from services.provisioning.rules.columns import check_answers
from services.provisioning.rules.desired import CompiledDirectory, PortalKnowledge, desire
from services.provisioning.rules.findings import (
    LoginSeen,
    PortalFinding,
    findings_of,
    least_function,
)
from services.provisioning.rules.history import Source, Statement, statements_between
from services.provisioning.rules.matching import Doubt, People
from services.provisioning.rules.observing import ADOPTION
from services.provisioning.rules.operations import Account, Held, known_of
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
from shared.contracts.access import AccountAdopted
from shared.contracts.directory import Portal
from shared.contracts.envelope import name_uuid
from shared.contracts.hr import end_of_day, start_of_day
from shared.contracts.state import AccountStatus, AuthorizedBy, Entitlement, Grade
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection
from shared.sheets.table import UnreadableSheet

KIND = "adoption"
A_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Adopted:
    """One login of the sheet with whom it belongs to and what becomes of it.

    `effect`: adopt, same (known so already), known_better, older (a later sheet is known), past
    (ended by its own date), second_login (the person has another line for the portal), doubt, or
    nobody.
    """

    line: SheetLine
    worker: str | None
    why: str
    effect: str
    rights: tuple[Held, ...]
    account: Account | None


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
            return {"plan": named, "adopted": 0, "already": True, **_left(row["document"])}
        plan = await self._plan(conn, organization, upload, day, now)
        refuse_stale(named, plan_of(plan.document))
        done = await self._adopt(conn, organization, by, upload, named, plan, now)
        await imports_store.keep_meanings(
            conn, organization, imports_store.SHEET, {}, upload.answers
        )
        await imports_store.mark_applied(conn, organization, named, by, now)
        if not await self._observe(conn, organization, by, plan, now):
            await self._recompute.run(conn, locked)
        return {"plan": named, "adopted": done, "already": False, **_left(plan.document)}

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
        compiled = (await self._recompute.directories.current(conn, {organization})).get(
            organization
        )
        if compiled is None:
            raise Problem(404, "no_directory", "Apply a directory first: it names the portals.")
        as_of = _instant_of(day, compiled, now)
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
        document = _document(upload, day, adopted, list(doubts.values()), findings, known)
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
            rights = _rights(line, portal, given[match.worker], compiled, as_of)
            account = accounts.get(key)
            effect = (
                "second_login" if key in seen else _effect(line, account, rights, as_of, compiled)
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
                [_seen(one) for one in own],
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
            account = _taken_over(one, adoption_id, upload.sha256, by, as_of, compiled)
            event = _adopted_fact(
                organization, one, account, adoption_id, upload.sha256, by, as_of, compiled, now
            )
            messages.append(event)
            kept.append(_kept(one, adoption_id, as_of, compiled))
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
        begins = _since(one.line, compiled) or as_of - timedelta(days=1)
        ends = min(_until(one.line, compiled) or as_of, as_of)
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


def _instant_of(day: date, compiled: CompiledDirectory, now: datetime) -> datetime:
    """The moment at which a sheet of `day` was right: its end, or the beginning of today."""
    today = now.astimezone(compiled.zone).date()
    if day > today:
        raise Problem(422, "as_of_in_future", f"{day} has not come yet; when was the sheet right?")
    return start_of_day(day, compiled.zone) if day == today else end_of_day(day, compiled.zone)


def _since(line: SheetLine, compiled: CompiledDirectory) -> datetime | None:
    return start_of_day(line.since, compiled.zone) if line.since else None


def _until(line: SheetLine, compiled: CompiledDirectory) -> datetime | None:
    return end_of_day(line.until, compiled.zone) if line.until else None


def _rights(
    line: SheetLine,
    portal: Portal,
    given: Collection[tuple[str, str, Any]],
    compiled: CompiledDirectory,
    as_of: datetime,
) -> tuple[Held, ...]:
    """What a line says the login can do; where it does not say, what policy gave, or the least."""
    policy = {(tin, function) for place, tin, function in given if place == portal.id}
    enrolled = compiled.enrolled_tins(portal.id, as_of) or compiled.directory.organization.tins
    if not line.told:
        return tuple(sorted(policy)) or ((enrolled[0], least_function(portal)),)
    found: set[Held] = set()
    for tin, function in line.told:
        if tin is not None:
            found.add((tin, function))
            continue
        tins = {each for each, own in policy if own is function} or {each for each, _ in policy}
        found |= {(each, function) for each in tins or enrolled}
    return tuple(sorted(found))


def _effect(
    line: SheetLine,
    account: Account | None,
    rights: tuple[Held, ...],
    as_of: datetime,
    compiled: CompiledDirectory,
) -> str:
    until = _until(line, compiled)
    if until is not None and until <= as_of:
        return "past"
    if account is None or (account.status is AccountStatus.NONE and account.grade is None):
        return "adopt"
    if account.grade is not Grade.ASSUMED:
        return "known_better"
    if account.known_as_of is not None and account.known_as_of > as_of:
        return "older"
    same = (
        account.status is line.status
        and (account.login_id or "") == line.claim.login_id
        and set(account.rights) == set(rights)
    )
    return "same" if same else "adopt"


def _taken_over(
    one: Adopted,
    adoption_id: str,
    file_sha256: str,
    by: str,
    as_of: datetime,
    compiled: CompiledDirectory,
) -> Account:
    worker = one.account.worker if one.account else one.worker
    assert worker is not None
    account = one.account or Account(worker, one.line.portal)
    authorized = AuthorizedBy(ADOPTION, file_sha256, by)
    since = _since(one.line, compiled) or as_of
    return replace(
        account,
        status=one.line.status,
        grade=Grade.ASSUMED,
        login_id=one.line.claim.login_id or None,
        rights={
            held: Entitlement(*held, authorized, Grade.ASSUMED, since, adoption_id)
            for held in one.rights
        },
        known_as_of=as_of,
    )


def _adopted_fact(
    organization: str,
    one: Adopted,
    account: Account,
    adoption_id: str,
    file_sha256: str,
    by: str,
    as_of: datetime,
    compiled: CompiledDirectory,
    now: datetime,
) -> OutboxMessage:
    said = AccountAdopted(
        account.worker,
        account.portal,
        adoption_id,
        account.login_id,
        account.status,
        one.rights,
        AuthorizedBy(ADOPTION, file_sha256, by),
        as_of,
        _since(one.line, compiled),
        _until(one.line, compiled),
        file_sha256,
        one.line.line,
        one.why,
        known_of(account) if one.effect == "adopt" else None,
    )
    cause = (adoption_id, str(one.line.line), one.line.portal, account.worker)
    assert one.worker is not None
    return access_fact("account.adopted", organization, one.worker, cause, now, said)


def _kept(
    one: Adopted, adoption_id: str, as_of: datetime, compiled: CompiledDirectory
) -> dict[str, Any]:
    return {
        "portal": one.line.portal,
        "worker": one.worker,
        "as_of": as_of,
        "adoption_id": adoption_id,
        "line": one.line.line,
        "login_id": one.line.claim.login_id or None,
        "status": one.line.status,
        "rights": one.rights,
        "valid_from": _since(one.line, compiled),
        "valid_until": _until(one.line, compiled),
    }


def _seen(one: Adopted) -> LoginSeen:
    claim = one.line.claim
    return LoginSeen(
        claim.login_id or claim.label,
        claim.name,
        (one.worker,) if one.worker else (),
        one.line.status,
        one.rights if one.line.told else None,
    )


def _document(
    upload: Upload,
    day: date,
    adopted: Sequence[Adopted],
    doubts: Sequence[Doubt],
    findings: Mapping[str, Sequence[PortalFinding]],
    known: People,
) -> dict[str, Any]:
    lines = [
        {
            "line": one.line.line,
            "name": one.line.claim.label,
            "worker": one.worker,
            "worker_name": known.name_of(one.worker) if one.worker else None,
            "why": one.why,
            "portal": one.line.portal,
            "login_id": one.line.claim.login_id or None,
            "status": one.line.status.value,
            "functions": sorted({function.value for _, function in one.rights}),
            "functions_told": bool(one.line.told),
            "rights": sorted(f"{tin}/{function.value}" for tin, function in one.rights),
            "since": one.line.since,
            "until": one.line.until,
            "effect": one.effect,
        }
        for one in adopted
    ]
    counts: dict[str, int] = {"logins": len(lines), "doubts": len(doubts)}
    for one in adopted:
        counts[one.effect] = counts.get(one.effect, 0) + 1
    return {
        "kind": KIND,
        "file": upload.name,
        "sha256": upload.sha256,
        "as_of": day,
        "counts": counts,
        "lines": lines,
        "doubts": shown_doubts(doubts),
        "findings": [shown_finding(each) for found in findings.values() for each in found],
    }


def _left(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in ("counts", "doubts", "findings")}


# -- the same sheet back


def sheet_of(
    accounts: Sequence[Account],
    people_known: Mapping[str, tuple[str, str]],
    portals: Sequence[Portal],
    zone: Any,
    shape: str,
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of who has which login where, in the shape that `adopt` takes.

    Args:
        people_known: name and e-mail address by worker.
    """
    shown = [account for account in accounts if account.status is not AccountStatus.NONE]
    names = {portal.id: portal.name for portal in portals}
    if shape == "long":
        return LONG_COLUMNS, [
            row for account in shown for row in _long_rows(account, people_known, names, zone)
        ]
    used = [portal for portal in portals if any(a.portal == portal.id for a in shown)]
    by_worker: dict[str, dict[str, Account]] = {}
    for account in shown:
        by_worker.setdefault(account.worker, {})[account.portal] = account
    rows = []
    for worker in sorted(by_worker):
        name, email = people_known.get(worker, ("", ""))
        cells = []
        for portal in used:
            own = by_worker[worker].get(portal.id)
            cells.append(
                write_cell(own.login_id, own.status, list(own.rights), _first_day(own, zone))
                if own
                else ""
            )
        rows.append([worker, name, email, *cells])
    return ["Worker", "Name", "E-mail", *(portal.name for portal in used)], rows


def _first_day(account: Account, zone: Any) -> date | None:
    since = [own.since for own in account.rights.values() if own.since is not None]
    return min(since).astimezone(zone).date() if since else None


def _long_rows(
    account: Account,
    people_known: Mapping[str, tuple[str, str]],
    names: Mapping[str, str],
    zone: Any,
) -> list[list[str]]:
    name, email = people_known.get(account.worker, ("", ""))
    since = _first_day(account, zone)
    by_tin: dict[str, list[str]] = {}
    for tin, function in sorted(account.rights):
        by_tin.setdefault(tin, []).append(function.value.replace("_", " "))
    last = account.last_login_at.astimezone(zone) if account.last_login_at else None
    return [
        [
            account.worker,
            name,
            email,
            names.get(account.portal, account.portal),
            account.login_id or "",
            "active" if account.status is AccountStatus.ACTIVE else "inactive",
            tin,
            ", ".join(functions),
            since.isoformat() if since else "",
            "",
            last.strftime("%Y-%m-%d %H:%M") if last else "",
            account.grade.value if account.grade else "",
        ]
        for tin, functions in (by_tin or {"": []}).items()
    ]
