"""A list as its preview shows it; the preview's hash is over this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.provisioning.handlers.imports import (
    shown_doubts,
)
from services.provisioning.handlers.rosters.meaning import KIND, Change, Known, Owners, RosterUpload
from services.provisioning.rules.matching import Doubt
from services.provisioning.rules.rosters import (
    RosterLine,
)
from shared.contracts.envelope import rfc3339


def document_of(
    upload: RosterUpload,
    lines: Sequence[RosterLine],
    owners: Owners,
    changes: Sequence[Change],
    known: Known,
    doubts: Sequence[Doubt],
) -> dict[str, Any]:
    """The list line by line, with what each confirms and changes."""
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
                    **_becoming(change),
                }
            )
    absent = [
        {"worker": change.worker, "login_id": change.before.login_id, **_becoming(change)}
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


def _becoming(change: Change | None) -> dict[str, Any]:
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


def outcome_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What an import answers."""
    names = ("portal", "as_of", "counts", "findings", "doubts", "reconciles")
    return {name: document[name] for name in names}
