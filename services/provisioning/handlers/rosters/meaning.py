"""What a list shows of whom, and what that does to accounts and work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from services.provisioning.handlers.imports import (
    IMPORT_NAMESPACE,
    Upload,
)
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.findings import (
    LoginSeen,
    PortalFinding,
    Standing,
    least_function,
)
from services.provisioning.rules.matching import Doubt, People, one_login_key
from services.provisioning.rules.operations import Account, Operation
from services.provisioning.rules.rosters import (
    RosterLine,
    Shown,
    Source,
    account_shown,
    after_confirming,
    confirmed_by,
    held_by_list,
)
from services.provisioning.store.findings import OpenFinding
from services.provisioning.store.logins import StoredLogin
from shared.contracts.directory import Portal
from shared.contracts.envelope import name_uuid, rfc3339
from shared.contracts.state import AccountStatus

KIND = "roster"


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
class Change:
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
class Plan:
    """What importing a list would do. `document` is that as previews show it."""

    document: dict[str, Any]
    changes: Sequence[Change]
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
class Known:
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


def owners_of(
    line: RosterLine, known: Known, answers: Mapping[str, str], doubts: dict[str, Doubt]
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


def is_doubtful(line: RosterLine, doubts: Mapping[str, Doubt]) -> bool:
    """Whether somebody has yet to say whose a login is: nothing is found about it before."""
    return any(
        key in doubts
        for claim in line.claims
        for key in (f"person:{claim.label}", one_login_key(claim))
    )


def changes_by(
    lines: Sequence[RosterLine],
    owners: Owners,
    known: Known,
    standings: Mapping[str, Standing],
    source: Source,
    complete: bool,
) -> list[Change]:
    """What the list does to the account of everybody whom it shows or, being whole, lacks."""
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
    known: Known,
    standing: Standing,
    source: Source,
) -> Change:
    if known.told_later(worker, line.key if line else None, source.as_of):
        late = replace(source, as_of=datetime.min.replace(tzinfo=source.as_of.tzinfo))
        after = account_shown(account, shown, late, assumed=()) if account.known_as_of else account
        return Change(worker, line, account, after, shown, (), True)
    own = [op for op in known.operations.get(worker, ()) if op.worker == account.worker]
    confirmed = confirmed_by(own, shown, source.as_of)
    middle = after_confirming(account, confirmed, shown, source.as_of)
    if line is None and middle.status is AccountStatus.NONE and middle.grade is None:
        return Change(worker, line, account, middle, shown, tuple(confirmed), False)
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
    return Change(worker, line, account, after, shown, tuple(confirmed), False)


def logins_seen(
    lines: Sequence[RosterLine],
    owners: Owners,
    known: Known,
    standings: Mapping[str, Standing],
    source: Source,
) -> list[LoginSeen]:
    """The logins of these lines, as findings look at them."""
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


def logins_left(
    lines: Sequence[RosterLine], owners: Owners, changes: Sequence[Change], source: Source
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
