"""What adopting a sheet and importing a user list have in common: plans, answers, findings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson

from services.provisioning.handlers.recompute import SOURCE
from services.provisioning.rules.findings import PortalFinding, Standing
from services.provisioning.rules.matching import Doubt
from services.provisioning.rules.observing import OBSERVE_ONLY
from services.provisioning.rules.operations import Held
from services.provisioning.store import findings as findings_store
from services.provisioning.store import workers as workers_store
from services.provisioning.store.findings import OpenFinding
from shared.contracts.access.decisions import FindingRaised, FindingResolved
from shared.contracts.directory import Function
from shared.contracts.envelope import name_uuid
from shared.contracts.facts import fact, to_json
from shared.contracts.topics import ACCESS_EVENTS
from shared.errors import Problem
from shared.outbox import OutboxMessage
from shared.postgres import Connection
from shared.sheets.reading import read_table
from shared.sheets.table import MAX_FILE_BYTES, Table, UnreadableSheet

IMPORT_NAMESPACE = UUID("5c1c2a0e-8f1d-5e0b-9a60-7d1b2f4c3e55")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file with what was said about it."""

    name: str
    content: bytes
    answers: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The content's hash."""
        return sha256(self.content).hexdigest()

    def read(self) -> Table:
        """Its table.

        Raises:
            Problem: 413 or 422 with what is wrong, by line and column where that is known.
        """
        if len(self.content) > MAX_FILE_BYTES:
            raise Problem(413, "file_too_large", "At most 8 MB can be read at a time.")
        try:
            return read_table(self.name, self.content)
        except UnreadableSheet as error:
            raise unreadable(error) from error


def unreadable(error: UnreadableSheet) -> Problem:
    """The refusal of a file."""
    return Problem(422, "unreadable_file", str(error))


def plan_of(document: Mapping[str, Any]) -> str:
    """A preview's hash: of everything it says, so that it names one set of changes."""
    return sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def as_json(document: Any) -> Any:
    """The document as JSON has it."""
    return orjson.loads(to_json(document))


def refuse_stale(named: str, found: str) -> None:
    """An apply does what its preview said or nothing.

    Raises:
        Problem: 409 when something has changed since the preview.
    """
    if named != found:
        raise Problem(
            409,
            "stale_plan",
            "Something has changed since this preview; look at a new one, then apply that.",
        )


def shown_doubts(doubts: Sequence[Doubt]) -> list[dict[str, Any]]:
    """Questions as people see them."""
    return [
        {
            "key": doubt.key,
            "line": doubt.line,
            "question": doubt.question,
            "answers": [{"answer": answer, "means": means} for answer, means in doubt.answers],
        }
        for doubt in doubts
    ]


def shown_finding(finding: PortalFinding) -> dict[str, Any]:
    """A finding as previews have it."""
    return {
        "subject": finding.subject,
        "rule": finding.rule.value,
        "detail": finding.detail,
        "next_step": finding.next_step,
    }


def standings_on(portal: str, published: Mapping[str, Any]) -> dict[str, Standing]:
    """What is known of workers, for looking at their logins on one portal."""
    found = {}
    for worker, row in published.items():
        access = next((one for one in row["portals"] if one["portal"] == portal), None)
        desired = None if row["status"] not in ("active", "expected") else desired_by(access)
        employed = row["status"] not in ("terminated", "erased")
        found[worker] = Standing(row["name"] or worker, employed, desired)
    return found


def desired_by(access: Mapping[str, Any] | None) -> set[Held]:
    """What policy gives on one portal, ordered or only observed, by the published state."""
    if access is None:
        return set()
    held = [own for own in access["held"] if own["rule"] == OBSERVE_ONLY]
    return {(own["tin"], Function(own["function"])) for own in (*access["desired"], *held)}


def finding_id(organization: str, finding: PortalFinding) -> str:
    """The id of a finding: by subject, rule and what it says."""
    return name_uuid(
        IMPORT_NAMESPACE,
        "\x1f".join((organization, finding.subject, finding.rule.value, finding.detail)),
    )


async def turn_findings(
    conn: Connection,
    organization: str,
    portal: str,
    found: Collection[PortalFinding],
    standing: Sequence[OpenFinding],
    *,
    source_id: str,
    now: datetime,
) -> list[OutboxMessage]:
    """Raise what is found and does not stand yet, resolve what stands and is found no more."""
    ids = {finding_id(organization, finding): finding for finding in found}
    known = {one.finding_id: one.finding for one in standing}
    raised = [(id_, finding) for id_, finding in ids.items() if id_ not in known]
    resolved = [id_ for id_ in known if id_ not in ids]
    await findings_store.raise_findings(conn, organization, portal, raised, source_id, now)
    await findings_store.resolve_findings(conn, resolved, source_id, now)
    turned = [*(finding for _, finding in raised), *(known[id_] for id_ in resolved)]
    if turned:
        # What is published of these workers tells their findings.
        concerned = await findings_store.holders_of(conn, organization, portal, turned)
        await workers_store.request_recompute(conn, [(organization, each) for each in concerned])
    return [
        finding_fact("finding.raised", organization, portal, finding, source_id, now)
        for _, finding in raised
    ] + [
        finding_fact("finding.resolved", organization, portal, known[id_], source_id, now)
        for id_ in resolved
    ]


def finding_fact(
    type_: str,
    organization: str,
    portal: str,
    finding: PortalFinding,
    source_id: str,
    now: datetime,
) -> OutboxMessage:
    """That a finding was raised or resolved: about the worker where there is one."""
    model = FindingRaised if type_ == "finding.raised" else FindingResolved
    said = model(finding.subject, finding.rule.value, finding.detail, portal, finding.next_step)
    cause = (source_id, finding.subject, finding.rule.value, finding.detail)
    return portal_fact(type_, organization, portal, cause, now, said, worker=finding.worker)


def portal_fact(
    type_: str,
    organization: str,
    portal: str,
    cause: tuple[str, ...],
    at: datetime,
    data: object,
    *,
    worker: str | None = None,
) -> OutboxMessage:
    """An access event about a portal, or about a worker there, kept with what is known of them."""
    about = worker or f"portal/{portal}"
    return fact(
        ACCESS_EVENTS,
        type_,
        source=SOURCE,
        organization=organization,
        subject=about,
        cause=cause,
        time=at,
        data=data,
    )
