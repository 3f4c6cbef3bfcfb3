"""Files that were imported, previews of what they would change, and what their words mean."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.postgres import Connection

PREVIEWS_KEPT_DAYS = 30
"""Somebody may have to ask around for answers before a preview is applied."""

SHEET = ""
"""Where the meanings of the administrator's own sheet are kept: it is no portal's."""


async def save_file(
    conn: Connection, organization: str, sha256: str, name: str, content: bytes, now: datetime
) -> None:
    """Keep a file as it came; the same content is kept once."""
    await conn.execute(
        "INSERT INTO imported_file (organization, sha256, name, content, stored_at)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        organization,
        sha256,
        name,
        content,
        now,
    )


async def file_content(conn: Connection, organization: str, sha256: str) -> bytes | None:
    """A kept file's content."""
    content: bytes | None = await conn.fetchval(
        "SELECT content FROM imported_file WHERE organization = $1 AND sha256 = $2",
        organization,
        sha256,
    )
    return content


async def save_plan(
    conn: Connection,
    organization: str,
    plan: str,
    *,
    kind: str,
    portal: str | None,
    file_sha256: str,
    options: Mapping[str, Any],
    document: Mapping[str, Any],
    by: str,
    now: datetime,
) -> None:
    """Keep a preview; the same preview again changes nothing."""
    await conn.execute(
        "INSERT INTO import_plan (organization, plan, kind, portal, file_sha256, options, document,"
        " previewed_by, previewed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        " ON CONFLICT DO NOTHING",
        organization,
        plan,
        kind,
        portal,
        file_sha256,
        dict(options),
        dict(document),
        by,
        now,
    )


async def find_plan(conn: Connection, organization: str, plan: str, kind: str) -> Any | None:
    """A preview that was made."""
    return await conn.fetchrow(
        "SELECT * FROM import_plan WHERE organization = $1 AND plan = $2 AND kind = $3",
        organization,
        plan,
        kind,
    )


async def mark_applied(
    conn: Connection, organization: str, plan: str, by: str, now: datetime
) -> None:
    """Remember who applied a preview first, and when."""
    await conn.execute(
        "UPDATE import_plan SET applied_by = $3, applied_at = $4"
        " WHERE organization = $1 AND plan = $2 AND applied_at IS NULL",
        organization,
        plan,
        by,
        now,
    )


async def meanings(conn: Connection, organization: str, portal: str) -> Any:
    """What columns, words and names of a portal's lists were said to mean."""
    row = await conn.fetchrow(
        "SELECT columns, answers FROM import_meaning WHERE organization = $1 AND portal = $2",
        organization,
        portal,
    )
    return row or {"columns": {}, "answers": {}}


async def keep_meanings(
    conn: Connection,
    organization: str,
    portal: str,
    columns: Mapping[str, str],
    answers: Mapping[str, str],
) -> None:
    """Remember them for the next list of the portal."""
    await conn.execute(
        """
        INSERT INTO import_meaning (organization, portal, columns, answers) VALUES ($1, $2, $3, $4)
        ON CONFLICT (organization, portal) DO UPDATE SET
            columns = import_meaning.columns || excluded.columns,
            answers = import_meaning.answers || excluded.answers
        """,
        organization,
        portal,
        dict(columns),
        dict(answers),
    )


async def forget_previews(conn: Connection, before: datetime) -> int:
    """Drop previews that nobody applied, with files that nothing else was made of; how many."""
    done: str = await conn.execute(
        "DELETE FROM import_plan WHERE applied_at IS NULL AND previewed_at < $1",
        before,
    )
    await conn.execute(
        """
        DELETE FROM imported_file AS file WHERE stored_at < $1 AND NOT EXISTS (
            SELECT 1 FROM import_plan AS plan
            WHERE plan.organization = file.organization AND plan.file_sha256 = file.sha256)
        """,
        before,
    )
    return int(done.rpartition(" ")[2])
