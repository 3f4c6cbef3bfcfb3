"""Forgetting people, and recognizing login ids that were theirs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from services.provisioning.rules.erasing import login_digest
from services.provisioning.store.accounts import REMOVED_AT
from shared.postgres import Connection

FORGOTTEN = (
    # The lists and sheets that may show them, whatever else these show: what follows is recorded.
    """
    WITH shown AS (
        SELECT roster.organization, roster.file_sha256 FROM roster
        JOIN portal_login USING (organization, portal)
        WHERE organization = $1 AND worker = ANY($2::text[]) AND roster.as_of <= portal_login.as_of
        UNION
        SELECT adoption.organization, adoption.file_sha256 FROM adoption
        JOIN adopted_login USING (organization, adoption_id)
        WHERE organization = $1 AND worker = ANY($2::text[])
    ), plans AS (
        DELETE FROM import_plan USING shown
        WHERE import_plan.organization = shown.organization
          AND import_plan.file_sha256 = shown.file_sha256
    )
    DELETE FROM imported_file USING shown
    WHERE imported_file.organization = shown.organization
      AND imported_file.sha256 = shown.file_sha256
    """,
    "DELETE FROM portal_login WHERE organization = $1 AND worker = ANY($2::text[])",
    "DELETE FROM portal_finding WHERE organization = $1 AND worker = ANY($2::text[])",
    "DELETE FROM simulated_login WHERE organization = $1 AND worker = ANY($2::text[])",
    "DELETE FROM chore WHERE organization = $1 AND worker = ANY($2::text[])",
    "DELETE FROM directory_plan_effect WHERE organization = $1 AND worker = ANY($2::text[])",
    """
    UPDATE import_meaning SET answers = (
        SELECT coalesce(jsonb_object_agg(name, meant), '{}') FROM jsonb_each_text(answers)
            AS answer (name, meant) WHERE meant <> ALL($2::text[])
    ) WHERE organization = $1 AND EXISTS (
        SELECT FROM jsonb_each_text(answers) AS answer (name, meant) WHERE meant = ANY($2::text[]))
    """,
    """
    UPDATE worker_event SET data = (data::jsonb - '{name,email,npi}'::text[])::json
    WHERE organization = $1 AND worker = ANY($2::text[])
      AND data::jsonb ?| '{name,email,npi}'::text[]
    """,
    "UPDATE account SET login_id = NULL"
    " WHERE organization = $1 AND worker = ANY($2::text[]) AND login_id IS NOT NULL",
    "UPDATE adopted_login SET login_id = NULL"
    " WHERE organization = $1 AND worker = ANY($2::text[]) AND login_id IS NOT NULL",
    "UPDATE entitlement_history SET login_id = NULL"
    " WHERE organization = $1 AND worker = ANY($2::text[]) AND login_id IS NOT NULL",
    # What people wrote beside, in words of their own.
    """
    UPDATE operation SET outcome = NULL,
        evidence = CASE WHEN evidence ? 'text' THEN evidence || '{"text": ""}' ELSE evidence END
    WHERE organization = $1 AND worker = ANY($2::text[])
      AND (outcome IS NOT NULL OR evidence ->> 'text' <> '')
    """,
    "UPDATE exception SET reason = ''"
    " WHERE organization = $1 AND worker = ANY($2::text[]) AND reason <> ''",
    "UPDATE incident SET note = ''"
    " WHERE organization = $1 AND worker = ANY($2::text[]) AND note <> ''",
    "UPDATE notice SET proof = ''"
    " WHERE organization = $1 AND worker = ANY($2::text[]) AND proof <> ''",
)
"""Statements that forget workers ($2) of an organization ($1); done again they find nothing."""


async def forget(conn: Connection, organization: str, workers: Sequence[str]) -> None:
    """Keep of these workers what names nobody, and of their login ids what others must not take.

    Their rows are locked by the caller.
    """
    rows = await conn.fetch(
        f"SELECT portal, login_id, {REMOVED_AT} AS ended_at FROM account"
        " WHERE organization = $1 AND worker = ANY($2::text[]) AND login_id IS NOT NULL",
        organization,
        list(workers),
    )
    if rows:
        key = await conn.fetchval(
            """
            INSERT INTO forgotten_login_key (organization, key) VALUES ($1, $2)
            ON CONFLICT (organization) DO UPDATE SET key = forgotten_login_key.key RETURNING key
            """,
            organization,
            secrets.token_bytes(32),
        )
        await conn.execute(
            """
            INSERT INTO forgotten_login AS known (organization, portal, digest, ended_at)
            SELECT $1, portal, digest, max(ended_at)
            FROM unnest($2::text[], $3::bytea[], $4::timestamptz[])
                AS new (portal, digest, ended_at)
            GROUP BY portal, digest
            ON CONFLICT (organization, portal, digest)
            DO UPDATE SET ended_at = greatest(known.ended_at, excluded.ended_at)
            """,
            organization,
            [row["portal"] for row in rows],
            [login_digest(key, row["portal"], row["login_id"]) for row in rows],
            [row["ended_at"] for row in rows],
        )
    for statement in FORGOTTEN:
        await conn.execute(statement, organization, list(workers))


async def forgotten_under(
    conn: Connection, organization: str, logins: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], datetime | None]:
    """Which of these (portal, login id) were those of erased people, and when access ended."""
    key = await conn.fetchval(
        "SELECT key FROM forgotten_login_key WHERE organization = $1", organization
    )
    if key is None:
        return {}
    digests = {login_digest(key, *login): login for login in logins}
    rows = await conn.fetch(
        "SELECT digest, ended_at FROM forgotten_login"
        " WHERE organization = $1 AND digest = ANY($2::bytea[])",
        organization,
        list(digests),
    )
    return {digests[row["digest"]]: row["ended_at"] for row in rows}
