"""What evidence tells of accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.provisioning.rules.operations import Account, Target
from services.provisioning.store.encoding import json_text
from services.provisioning.store.workers import LockedWorker, WorkerKey
from shared.contracts.directory import Function, OperationKind
from shared.contracts.state import (
    AccountStatus,
    AuthorizedBy,
    Entitlement,
    Grade,
)
from shared.postgres import Connection


def account_from(row: Any) -> Account:
    """The account in a row of the table."""
    return Account(
        row["worker"],
        row["portal"],
        AccountStatus(row["status"]),
        Grade(row["grade"]) if row["grade"] else None,
        row["login_id"],
        {
            (own["tin"], Function(own["function"])): Entitlement(
                own["tin"],
                Function(own["function"]),
                AuthorizedBy(**own["authorized_by"]) if own["authorized_by"] else None,
                Grade(own["grade"]),
                datetime.fromisoformat(own["since"]),
                own["operation_id"],
            )
            for own in row["rights"]
        },
        {
            key: Target(
                target["generation"],
                OperationKind(target["retry_kind"]) if target["retry_kind"] else None,
                datetime.fromisoformat(target["retry_at"]) if target["retry_at"] else None,
            )
            for key, target in row["targets"].items()
        },
        row["exposed_since"],
        row["known_as_of"],
        row["last_login_at"],
        row["last_login_source"],
        row["lapses_at"],
    )


async def accounts(
    conn: Connection, workers: Sequence[LockedWorker]
) -> dict[WorkerKey, list[Account]]:
    """The accounts of these workers."""
    rows = await conn.fetch(
        """
        SELECT account.*
        FROM unnest($1::text[], $2::text[]) AS wanted (organization, worker),
            LATERAL (
                SELECT * FROM account
                WHERE account.organization = wanted.organization
                  AND account.worker = wanted.worker
                OFFSET 0
            ) AS account
        """,
        [worker.organization for worker in workers],
        [worker.worker for worker in workers],
    )
    found: dict[WorkerKey, list[Account]] = {}
    for row in rows:
        found.setdefault((row["organization"], row["worker"]), []).append(account_from(row))
    return found


async def accounts_of(conn: Connection, organization: str, workers: Sequence[str]) -> list[Account]:
    """The accounts of these worker ids."""
    rows = await conn.fetch(
        "SELECT * FROM account WHERE organization = $1 AND worker = ANY($2::text[])"
        " ORDER BY worker, portal",
        organization,
        list(workers),
    )
    return [account_from(row) for row in rows]


async def add_accounts(conn: Connection, begun: Sequence[tuple[str, Account]]) -> None:
    """Store (organization, account), none of which is stored yet."""
    if not begun:
        return
    await conn.copy_records_to_table(
        "account",
        columns=(
            "organization",
            "worker",
            "portal",
            "status",
            "grade",
            "login_id",
            "rights",
            "targets",
            "exposed_since",
            "known_as_of",
            "last_login_at",
            "last_login_source",
            "lapses_at",
        ),
        records=[
            (
                organization,
                account.worker,
                account.portal,
                account.status,
                account.grade,
                account.login_id,
                list(account.rights.values()),
                account.targets,
                account.exposed_since,
                account.known_as_of,
                account.last_login_at,
                account.last_login_source,
                account.lapses_at,
            )
            for organization, account in begun
        ],
    )


async def save_accounts(conn: Connection, changed: Sequence[tuple[str, Account]]) -> None:
    """Write (organization, account).

    Whoever changes what evidence tells of an account also says it whole in an event (`known_of`),
    and what changed about its entitlements in the history (`statements_between` and
    `history.record_statements`): replay finds what was forgotten.
    """
    if not changed:
        return
    await conn.execute(
        """
        INSERT INTO account (organization, worker, portal, status, grade, login_id, rights,
            targets, exposed_since, known_as_of, last_login_at, last_login_source, lapses_at)
        SELECT * FROM json_to_recordset($1::text::json)
            AS new (organization text, worker text, portal text, status text, grade text,
                    login_id text, rights jsonb, targets jsonb, exposed_since timestamptz,
                    known_as_of timestamptz, last_login_at timestamptz, last_login_source text,
                    lapses_at timestamptz)
        ON CONFLICT (organization, worker, portal) DO UPDATE SET
            status = excluded.status, grade = excluded.grade, login_id = excluded.login_id,
            rights = excluded.rights, targets = excluded.targets,
            exposed_since = excluded.exposed_since, known_as_of = excluded.known_as_of,
            last_login_at = excluded.last_login_at,
            last_login_source = excluded.last_login_source, lapses_at = excluded.lapses_at
        """,
        json_text(
            [
                {
                    "organization": organization,
                    "worker": account.worker,
                    "portal": account.portal,
                    "status": account.status,
                    "grade": account.grade,
                    "login_id": account.login_id,
                    "rights": list(account.rights.values()),
                    "targets": account.targets,
                    "exposed_since": account.exposed_since,
                    "known_as_of": account.known_as_of,
                    "last_login_at": account.last_login_at,
                    "last_login_source": account.last_login_source,
                    "lapses_at": account.lapses_at,
                }
                for organization, account in changed
            ]
        ),
    )


async def login_id_at(conn: Connection, organization: str, worker: str, portal: str) -> str | None:
    """The login id a worker has or had on a portal, "" where nobody told it; None: no account."""
    row = await conn.fetchrow(
        "SELECT login_id FROM account WHERE organization = $1 AND worker = $2 AND portal = $3",
        organization,
        worker,
        portal,
    )
    return None if row is None else (row["login_id"] or "")


async def administering(conn: Connection, organization: str, portal: str) -> set[tuple[str, str]]:
    """Workers who can administer a portal's users, with each TIN, as far as evidence tells."""
    rows = await conn.fetch(
        "SELECT worker, own ->> 'tin' AS tin FROM account, jsonb_array_elements(rights) AS own"
        " WHERE organization = $1 AND portal = $2 AND status = 'active'"
        " AND own ->> 'function' = $3",
        organization,
        portal,
        Function.USER_ADMINISTRATION,
    )
    return {(row["worker"], row["tin"]) for row in rows}


REMOVED_AT = """(
    SELECT max(ended_at) FROM operation
    WHERE operation.organization = account.organization AND operation.worker = account.worker
      AND operation.portal = account.portal
      AND kind IN ('revoke', 'suspend', 'rotate', 'close') AND operation.status = 'done'
)"""
"""When access through an account was last confirmed to be gone."""


async def known_under(
    conn: Connection, organization: str, logins: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], list[tuple[str, bool, datetime | None]]]:
    """By (portal, login id): whoever is known under it, as (worker, holds it, access ended at)."""
    rows = await conn.fetch(
        f"""
        SELECT wanted.portal, wanted.login_id, known.*
        FROM unnest($2::text[], $3::text[]) AS wanted (portal, login_id),
            LATERAL (
                SELECT worker, status IN ('active', 'suspended') AS holds, {REMOVED_AT} AS ended_at
                FROM account
                WHERE account.organization = $1 AND account.portal = wanted.portal
                  AND lower(account.login_id) = lower(wanted.login_id)
                OFFSET 0
            ) AS known
        ORDER BY worker
        """,
        organization,
        [portal for portal, _ in logins],
        [login_id for _, login_id in logins],
    )
    found: dict[tuple[str, str], list[tuple[str, bool, datetime | None]]] = {}
    for row in rows:
        found.setdefault((row["portal"], row["login_id"]), []).append(
            (row["worker"], row["holds"], row["ended_at"])
        )
    return found
