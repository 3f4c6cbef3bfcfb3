"""What provisioning believes, read from its tables, and what is asked of it again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from services.provisioning.store import views
from shared.contracts.hr import HrEvent, read_hr_event
from shared.postgres import Connection
from tests.provisioning.desk import RawRecord
from tests.simulation.others import IMPORTER
from tests.simulation.stories import Said, letter

OPEN = ("requested", "claimed", "superseded")
REMOVES = ("suspend", "revoke", "rotate")
GIVES = ("open", "grant", "resume")
CAN_BE_UNDONE = {*REMOVES, *GIVES, "appoint_successor"}
NOT_IN_A_REPLAY = {"second_account", "unknown_portal"}
"""Findings about what portals hold; a replay of HR's events knows no portals.

That a portal was taken out matters only where somebody has a login or open work: no replay under
the directory in force orders anything there. `logins_beyond_the_directory_are_shown` checks it.
"""


NOT_PEOPLE = {"portal-simulator", "scim", IMPORTER}
"""Who says things without a command of a person each."""

WORKER_COLUMNS = (
    "worker",
    "cluster",
    "version",
    "status",
    "name",
    "findings",
    "next_change_at",
    "directory_version",
)
"""What a worker row says besides its published state and what only serves deciding quickly."""

K = TypeVar("K")


@dataclass(slots=True)
class Tables:
    """What provisioning believes."""

    events: list[Any]
    workers: dict[str, Any]
    accounts: list[Any]
    operations: list[Any]
    reviews: list[Any]


async def read_tables(conn: Connection, organization: str) -> Tables:
    async def rows(table: str) -> list[Any]:
        found = await conn.fetch(f"SELECT * FROM {table} WHERE organization = $1", organization)
        return sorted((dict(row) for row in found), key=str)

    workers = [{name: row[name] for name in WORKER_COLUMNS} for row in await rows("worker")]
    for row in workers:
        row["state"] = await views.worker_state(conn, organization, row["worker"])
    return Tables(
        await rows("worker_event"),
        {row["worker"]: row for row in workers},
        await rows("account"),
        await rows("operation"),
        await rows("review_decision"),
    )


async def outbox_of(conn: Connection) -> list[dict[str, Any]]:
    rows = await conn.fetch("SELECT topic, key, headers, value FROM outbox ORDER BY id")
    return [
        {
            "topic": row["topic"],
            "key": row["key"],
            "data": row["value"],
            **orjson.loads(row["headers"]),
        }
        for row in rows
    ]


async def document(conn: Connection, organization: str) -> dict[str, Any]:
    """The directory in force."""
    document: dict[str, Any] = await conn.fetchval(
        "SELECT document FROM directory_version WHERE organization = $1"
        " ORDER BY version DESC LIMIT 1",
        organization,
    )
    return document


def effective(account: Any) -> set[tuple[str, str]]:
    if account["status"] != "active":
        return set()
    return {(own["tin"], own["function"]) for own in account["rights"]}


def state_of(tables: Tables, worker: str) -> dict[str, Any]:
    state: dict[str, Any] = tables.workers[worker]["state"]
    if state["merged_into"] is not None:
        state = tables.workers[state["merged_into"]]["state"]
    return state


def is_one_login(tables: Tables, one: Any, other: Any) -> bool:
    """Whether two accounts are of one person on one portal."""
    return one["portal"] == other["portal"] and state_of(tables, one["worker"]) is state_of(
        tables, other["worker"]
    )


def is_kept(tables: Tables, account: Any) -> bool:
    """Whether it is the one login that the ids of a person keep on a portal."""
    same = [other for other in tables.accounts if is_one_login(tables, account, other)]
    return account is min(same, key=lambda other: (not other["rights"], other["worker"]))


def open_operations(tables: Tables, account: Any) -> list[Any]:
    return [
        row
        for row in tables.operations
        if (row["worker"], row["portal"]) == (account["worker"], account["portal"])
        and row["status"] in OPEN
    ]


def only(one: Mapping[K, Any], other: Mapping[K, Any]) -> dict[K, Any]:
    """What one has and the other has not."""
    return {
        name: value - other[name] if isinstance(value, set) else value
        for name, value in one.items()
        if value != other.get(name)
    }


def identity(event: HrEvent) -> tuple[str, str, bytes]:
    """What makes two records the same event, within one organization."""
    return (event.source, event.id, event.fingerprint)


def read_said(said: Said, organization: str) -> HrEvent:
    """The event as provisioning reads it."""
    sent = letter(said, organization)
    record = RawRecord("", 0, 0, 0, sent.key, sent.value, sent.headers)
    return read_hr_event(record)


def distinct(sayings: Iterable[Said]) -> list[HrEvent]:
    """Every event once, in the total order."""
    found = {identity(event): event for event in (read_said(said, "x") for said in sayings)}
    return sorted(found.values(), key=lambda event: event.order)
