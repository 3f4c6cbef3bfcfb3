"""Findings that sheets and user lists brought: rows keyed by subject and rule, resolved once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.provisioning.rules.findings import FindingRule, PortalFinding
from services.provisioning.store.encoding import json_text
from shared.postgres import Connection


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
    limit: int,
) -> list[Any]:
    """Findings as people look at them."""
    rows: list[Any] = await conn.fetch(
        """
        SELECT finding_id::text AS finding_id, portal, subject, rule, detail, next_step, worker,
               raised_at, resolved_at, resolved_by
        FROM portal_finding
        WHERE organization = $1 AND ($2::text IS NULL OR portal = $2)
          AND ($3::text IS NULL OR rule = $3) AND (resolved_at IS NOT NULL) = $4
        ORDER BY portal, rule, subject, raised_at LIMIT $5
        """,
        organization,
        portal,
        rule,
        resolved,
        limit,
    )
    return rows
