"""What is said of an imported list: words about work, and facts beyond what work explains."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from services.provisioning.handlers.commands import Said
from services.provisioning.handlers.imports import (
    plan_of,
    portal_fact,
)
from services.provisioning.handlers.recompute import (
    access_fact,
)
from services.provisioning.handlers.rosters.meaning import Change, Plan, RosterUpload
from services.provisioning.rules.operations import Account, Transition, facts_between, known_of
from services.provisioning.rules.rosters import (
    Source,
)
from shared.contracts.access.accounts import AccountSeen, RosterImported
from shared.contracts.access.evidence import Evidence
from shared.contracts.envelope import rfc3339
from shared.contracts.state import Grade
from shared.outbox import OutboxMessage


def words_of(upload: RosterUpload, plan: Plan, by: str) -> Collection[Said]:
    """What the list says of open work: done, with its line as evidence."""
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


def seen_fact(
    organization: str,
    upload: RosterUpload,
    change: Change,
    plan: str,
    source: Source,
    by: str,
    now: datetime,
) -> OutboxMessage:
    """That an account was seen on the list, and what is known of it from there on."""
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


def facts_beyond(
    organization: str,
    worker: str,
    before: Account,
    after: Account,
    plan: Plan,
    by: str,
    now: datetime,
) -> list[OutboxMessage]:
    """What the list shows beyond what operations explain."""
    source, plan_id = plan.source, plan_of(plan.document)
    facts = facts_between(
        before,
        after,
        source.roster_id,
        kind=None,
        grade=Grade.ROSTER,
        by=by,
        at=source.as_of,
    )
    return [
        access_fact(type_, organization, worker, (plan_id, after.worker, type_, *cause), now, data)
        for type_, cause, data in facts
    ]


def imported_fact(
    organization: str, upload: RosterUpload, plan: str, planned: Plan, by: str, now: datetime
) -> OutboxMessage:
    """That the list was imported."""
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
