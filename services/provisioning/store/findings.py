"""Findings that sheets and user lists brought: rows keyed by subject and rule, resolved once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.provisioning.rules.findings import FindingRule, PortalFinding, subject_of
from services.provisioning.rules.operations import Account
from services.provisioning.store.encoding import json_text
from shared.contracts.state import Finding
from shared.postgres import Connection

AccountKey = tuple[str, str, str]
"""Organization, worker and portal."""


POSITION = ("portal", "rule", "subject", "finding_id")
"""What findings are listed by."""


@dataclass(frozen=True, slots=True)
class OpenFinding:
    """A finding that stands."""

    finding_id: str
    portal: str
    finding: PortalFinding


async def open_findings(
    conn: Connection, organization: str, portal: str | None = None
) -> list[OpenFinding]:
    """The findings that stand, on one portal or all."""
    rows = await conn.fetch(
        "SELECT * FROM portal_finding WHERE organization = $1 AND resolved_at IS NULL"
        " AND ($2::text IS NULL OR portal = $2) ORDER BY portal, rule, subject",
        organization,
        portal,
    )
    return [
        OpenFinding(
            str(row["finding_id"]),
            row["portal"],
            PortalFinding(
                row["subject"],
                FindingRule(row["rule"]),
                row["detail"],
                row["next_step"],
                row["worker"],
            ),
        )
        for row in rows
    ]


async def count_open(conn: Connection, organization: str, portal: str) -> int:
    """How many findings stand on a portal."""
    found: int = await conn.fetchval(
        "SELECT count(*) FROM portal_finding"
        " WHERE organization = $1 AND portal = $2 AND resolved_at IS NULL",
        organization,
        portal,
    )
    return found


async def findings_on_logins(
    conn: Connection, accounts: Iterable[tuple[str, Account]]
) -> dict[AccountKey, tuple[Finding, ...]]:
    """What stands about accounts, given with their organizations: about the login or its holder."""
    known = [
        (organization, account.worker, account.portal, account.login_id)
        for organization, account in accounts
    ]
    rows = await conn.fetch(
        """
        SELECT wanted.organization, wanted.worker, wanted.portal, found.rule, found.detail
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
                AS wanted (organization, worker, portal, subject),
            LATERAL (
                SELECT rule, detail FROM portal_finding AS about
                WHERE about.organization = wanted.organization AND about.portal = wanted.portal
                    AND about.subject = wanted.subject AND about.resolved_at IS NULL
                UNION
                SELECT rule, detail FROM portal_finding AS about
                WHERE about.organization = wanted.organization AND about.portal = wanted.portal
                    AND about.worker = wanted.worker AND about.resolved_at IS NULL
            ) AS found
        ORDER BY found.rule, found.detail
        """,
        [organization for organization, _, _, _ in known],
        [worker for _, worker, _, _ in known],
        [portal for _, _, portal, _ in known],
        [subject_of(portal, login_id) if login_id else "" for _, _, portal, login_id in known],
    )
    about: dict[AccountKey, tuple[Finding, ...]] = {}
    for row in rows:
        key = (row["organization"], row["worker"], row["portal"])
        about[key] = (*about.get(key, ()), Finding(row["rule"], row["detail"]))
    return about


async def holders_of(
    conn: Connection, organization: str, portal: str, findings: Iterable[PortalFinding]
) -> set[str]:
    """The workers whose logins findings are about."""
    findings = list(findings)
    rows = await conn.fetch(
        "SELECT worker FROM account WHERE organization = $1 AND portal = $2"
        " AND lower(login_id) = ANY($3::text[])",
        organization,
        portal,
        [finding.subject.removeprefix(f"{portal}/") for finding in findings],
    )
    named = {finding.worker for finding in findings if finding.worker is not None}
    return named | {row["worker"] for row in rows}


async def raise_findings(
    conn: Connection,
    organization: str,
    portal: str,
    raised: Sequence[tuple[str, PortalFinding]],
    source_id: str,
    now: datetime,
) -> None:
    """Store (id, finding); one that was resolved before stands again from now on."""
    if not raised:
        return
    await conn.execute(
        """
        INSERT INTO portal_finding (finding_id, organization, portal, subject, rule, detail,
            next_step, worker, source_id, raised_at)
        SELECT finding_id, $1, $2, subject, rule, detail, next_step, worker, $5, $4
        FROM json_to_recordset($3::text::json)
            AS new (finding_id uuid, subject text, rule text, detail text, next_step text,
                    worker text)
        ON CONFLICT (finding_id) DO UPDATE SET raised_at = excluded.raised_at,
            source_id = excluded.source_id, resolved_at = NULL, resolved_by = NULL
        """,
        organization,
        portal,
        json_text(
            [
                {
                    "finding_id": finding_id,
                    "subject": finding.subject,
                    "rule": finding.rule,
                    "detail": finding.detail,
                    "next_step": finding.next_step,
                    "worker": finding.worker,
                }
                for finding_id, finding in raised
            ]
        ),
        now,
        source_id,
    )


async def resolve_findings(
    conn: Connection, finding_ids: Sequence[str], by: str, now: datetime
) -> None:
    """These are so no longer; `by` names the list or event that shows it."""
    await conn.execute(
        "UPDATE portal_finding SET resolved_at = $3, resolved_by = $2"
        " WHERE finding_id = ANY($1::uuid[]) AND resolved_at IS NULL",
        list(finding_ids),
        by,
        now,
    )


async def listed(
    conn: Connection,
    organization: str,
    *,
    portal: str | None,
    rule: str | None,
    resolved: bool,
    after: Sequence[str] | None,
    limit: int,
) -> list[Any]:
    """Findings as people look at them, in the order of `POSITION` and behind `after` in it."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT finding.finding_id::text AS finding_id, finding.portal, finding.subject,
               finding.rule, finding.detail, finding.next_step, finding.worker, finding.raised_at,
               finding.resolved_at, finding.resolved_by, work.chore_id::text AS work_item
        FROM portal_finding AS finding
        LEFT JOIN chore AS work
            ON work.organization = finding.organization AND work.portal = finding.portal
            AND work.kind = 'finding' AND work.ended_at IS NULL AND finding.resolved_at IS NULL
            AND work.details ->> 'subject' = finding.subject
            AND work.details ->> 'rule' = finding.rule
        WHERE finding.organization = $1 AND ($2::text IS NULL OR finding.portal = $2)
          AND ($3::text IS NULL OR finding.rule = $3)
          AND (finding.resolved_at IS NOT NULL) = $4
          AND ($5::text[] IS NULL
               OR (finding.portal, finding.rule, finding.subject, finding.finding_id)
                > ($5[1], $5[2], $5[3], $5[4]::uuid))
        ORDER BY finding.portal, finding.rule, finding.subject, finding.finding_id LIMIT $6
        """,
        organization,
        portal,
        rule,
        resolved,
        after,
        limit,
    )
    return rows


async def counted(conn: Connection, organization: str, *, resolved: bool) -> list[Any]:
    """How many findings there are of each kind on each portal."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT portal, rule, count(*) AS findings FROM portal_finding
        WHERE organization = $1 AND (resolved_at IS NOT NULL) = $2
        GROUP BY portal, rule ORDER BY portal, rule
        """,
        organization,
        resolved,
    )
    return rows
