"""Telling what a sheet comes to: to people as a preview, to topics as facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from services.provisioning.handlers.adoption.meaning import Adopted, since_of, until_of
from services.provisioning.handlers.imports import (
    Upload,
    shown_doubts,
    shown_finding,
)
from services.provisioning.handlers.recompute import access_fact
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.findings import (
    PortalFinding,
)
from services.provisioning.rules.matching import Doubt, People
from services.provisioning.rules.observing import ADOPTION
from services.provisioning.rules.operations import Account, known_of
from shared.contracts.access.accounts import AccountAdopted
from shared.contracts.state import AuthorizedBy
from shared.outbox import OutboxMessage

KIND = "adoption"


def adopted_fact(
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
    """The event that says a login was taken over."""
    said = AccountAdopted(
        account.worker,
        account.portal,
        adoption_id,
        account.login_id,
        account.status,
        one.rights,
        AuthorizedBy(ADOPTION, file_sha256, by),
        as_of,
        since_of(one.line, compiled),
        until_of(one.line, compiled),
        file_sha256,
        one.line.line,
        one.why,
        known_of(account) if one.effect == "adopt" else None,
    )
    cause = (adoption_id, str(one.line.line), one.line.portal, account.worker)
    assert one.worker is not None
    return access_fact("account.adopted", organization, one.worker, cause, now, said)


def row_of(
    one: Adopted, adoption_id: str, as_of: datetime, compiled: CompiledDirectory
) -> dict[str, Any]:
    """What is kept of a line, so that an older sheet of the same day adds nothing twice."""
    return {
        "portal": one.line.portal,
        "worker": one.worker,
        "as_of": as_of,
        "adoption_id": adoption_id,
        "line": one.line.line,
        "login_id": one.line.claim.login_id or None,
        "status": one.line.status,
        "rights": one.rights,
        "valid_from": since_of(one.line, compiled),
        "valid_until": until_of(one.line, compiled),
    }


def document_of(
    upload: Upload,
    day: date,
    adopted: Sequence[Adopted],
    doubts: Sequence[Doubt],
    findings: Mapping[str, Sequence[PortalFinding]],
    known: People,
) -> dict[str, Any]:
    """The preview: every line, what has to be asked, and what is amiss."""
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


def summary_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Of a preview, what is said again once it was applied."""
    return {name: document[name] for name in ("counts", "doubts", "findings")}
