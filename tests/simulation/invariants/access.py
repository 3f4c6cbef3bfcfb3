"""Access ends in time, everybody is to have what they should, and gets it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.provisioning.store import views
from shared.postgres import Connection
from tests.simulation import oracle
from tests.simulation.access_oracle import Beyond, Removed, Told, should_have
from tests.simulation.invariants.tables import (
    CAN_BE_UNDONE,
    GIVES,
    REMOVES,
    Tables,
    distinct,
    document,
    effective,
    is_kept,
    only,
    open_operations,
    state_of,
)
from tests.simulation.source import Log
from tests.simulation.stories import directory_of

if TYPE_CHECKING:
    pass


def only_what_can_be_undone(tables: Tables) -> None:
    assert {row["kind"] for row in tables.operations} <= CAN_BE_UNDONE


def _persons(hr: Log, tables: Tables) -> list[tuple[frozenset[str], list[oracle.Heard]]]:
    """Every person's worker ids, with what HR said of them and nobody withdrew."""
    events = [
        oracle.Heard(
            event.worker,
            event.source,
            event.id,
            event.type,
            event.data.model_dump(mode="json", exclude_none=True),
            event.entered_by,
        )
        for event in distinct(hr.said)
    ]
    valid = oracle.standing(events)
    # What the person's ids are called makes no difference to whether they may be erased.
    lasting = [event for event in events if event in valid or event.type == "worker.erased"]
    return [
        (person, [event for event in lasting if event.worker in person])
        for person in oracle.persons(valid, tables.workers)
    ]


def the_departed_have_nothing(hr: Log, tables: Tables, now: datetime) -> None:
    for person, events in _persons(hr, tables):
        if oracle.employed(events, now):
            continue
        for worker in person:
            state = state_of(tables, worker)
            assert state["status"] in ("terminated", "erased", "expected", "unknown"), worker
            assert not any(access["desired"] for access in state["portals"]), worker
        for account in tables.accounts:
            if account["worker"] in person and effective(account):
                _is_being_removed(tables, account)


def _is_being_removed(tables: Tables, account: Any) -> None:
    who = (account["worker"], account["portal"])
    removals = [
        row
        for row in open_operations(tables, account)
        if row["kind"] in REMOVES and row["tin"] is None and row["status"] != "superseded"
    ]
    assert len(removals) == 1, f"{who} can still be used and nobody is asked to remove it"
    assert removals[0]["deadline"] is not None
    assert account["exposed_since"] is not None, f"{who} is not shown as exposed"


async def everybody_is_to_have_what_they_should(
    conn: Connection, organization: str, hr: Log, tables: Tables, now: datetime
) -> None:
    """What is desired of everybody is what the slow oracle says."""
    directory = directory_of(await document(conn, organization))
    beyond = await conn.fetch(
        "SELECT * FROM exception WHERE organization = $1 AND status = 'approved'", organization
    )
    for person, events in _persons(hr, tables):
        worker = min(person)
        state = state_of(tables, worker)
        assert not state["blocked"], f"{worker} is blocked"
        told = Told(
            person,
            events,
            [
                Removed(row["portal"], row["tin"], row["function"], row["decided_at"])
                for row in tables.reviews
                if row["worker"] in person and row["status"] == "standing"
            ],
            [
                Beyond(
                    row["kind"],
                    (row["portal"], row["tin"], row["function"]),
                    row["starts_at"],
                    row["ends_at"],
                    row["approved_at"],
                )
                for row in beyond
                if row["worker"] in person
            ],
            frozenset(
                (account["portal"], own["tin"], own["function"])
                for account in tables.accounts
                if account["worker"] in person and is_kept(tables, account)
                for own in account["rights"]
            ),
        )
        desired = {
            (access["portal"], own["tin"], own["function"]): own["authorized_by"]["kind"]
            for access in state["portals"]
            for own in access["desired"]
            if own["authorized_by"]["kind"] != "brake_rejection"
        }
        should = should_have(directory, told, now)
        assert desired == should, (
            f"{sorted(person)}: desired and should not be {only(desired, should)},"
            f" should be {only(should, desired)}"
        )


def differences_are_being_worked_on(tables: Tables, now: datetime) -> None:
    """Desired less effective, less what named rows hold back, is open work; and the reverse."""
    for account in tables.accounts:
        state = state_of(tables, account["worker"])
        if state["blocked"]:
            continue
        desired = _desired(tables, account)
        held = effective(account)
        operations = open_operations(tables, account)
        asked = [row for row in operations if row["status"] != "superseded"]
        who = " ".join((account["worker"], account["portal"], state["status"]))
        who += f" ({_in_words(operations)})"
        beyond = held - desired - _parked(tables, account)
        for right in beyond:
            assert any(
                row["kind"] in REMOVES and (row["tin"] is None or _right(row) == right)
                for row in asked
            ), f"{who}: nobody is asked to remove {right}"
        waits = any(row["status"] != "requested" for row in operations if row["kind"] in REMOVES)
        for right in desired - held:
            assert (
                waits
                or _retries_later(account, right, now)
                or any(row["kind"] in GIVES and list(right) in row["rights"] for row in asked)
                # What is short of an opening that somebody is busy with is granted after it.
                or any(row["kind"] in GIVES and row["status"] == "claimed" for row in asked)
                # So is what somebody else answers for.
                or any(
                    row["kind"] in GIVES
                    and row["tin"] is None
                    and row["authorized_by"] != _authority(tables, account, right)
                    for row in asked
                )
            ), f"{who}: nobody is asked to give {right}"
        assert (account["exposed_since"] is not None) == bool(beyond), who


def _desired(tables: Tables, account: Any) -> set[tuple[str, str]]:
    """What the account must have."""
    if not is_kept(tables, account):
        return set()
    return {
        (own["tin"], own["function"])
        for access in state_of(tables, account["worker"])["portals"]
        if access["portal"] == account["portal"]
        for own in access["desired"]
    }


def _authority(tables: Tables, account: Any, right: tuple[str, str]) -> Any:
    """Who answers for something that the account must have."""
    return next(
        own["authorized_by"]
        for access in state_of(tables, account["worker"])["portals"]
        if access["portal"] == account["portal"]
        for own in access["desired"]
        if (own["tin"], own["function"]) == right
    )


def _parked(tables: Tables, account: Any) -> set[tuple[str, str]]:
    """What the brake holds back from being removed."""
    return {
        (one["tin"], one["function"])
        for access in state_of(tables, account["worker"])["portals"]
        if access["portal"] == account["portal"]
        for one in access["parked"]
    }


def _in_words(operations: Iterable[Any]) -> str:
    return ", ".join(f"{row['kind']} {row['rights']} {row['status']}" for row in operations)


def _right(operation: Any) -> tuple[str, str]:
    return (operation["tin"], operation["function"])


def _retries_later(account: Any, right: tuple[str, str], now: datetime) -> bool:
    targets = [account["targets"].get(name) for name in ("", "/".join(right))]
    return any(
        target is not None
        and target["retry_at"] is not None
        and datetime.fromisoformat(target["retry_at"]) > now
        for target in targets
    )


def everybody_has_what_is_desired(tables: Tables) -> None:
    for worker, row in tables.workers.items():
        if row["state"]["merged_into"] is not None:
            continue
        for access in row["state"]["portals"]:
            desired, effective = (
                {(own["tin"], own["function"]) for own in access[name]}
                for name in ("desired", "effective")
            )
            assert effective == desired, (
                f"{worker} on {access['portal']} has {effective} and should have {desired}"
            )
            assert access["exposed_since"] is None, f"{worker} on {access['portal']} is exposed"


async def retries_later(conn: Connection, organization: str, now: datetime) -> bool:
    """Whether something that failed is to be asked for again."""
    rows = await conn.fetch("SELECT targets FROM account WHERE organization = $1", organization)
    return any(
        target["retry_at"] is not None and datetime.fromisoformat(target["retry_at"]) > now
        for row in rows
        for target in row["targets"].values()
    )


async def exposures_are_shown(conn: Connection, organization: str, tables: Tables) -> None:
    shown = {
        (row["worker"], row["portal"]): row for row in await views.exposures(conn, organization)
    }
    assert shown.keys() == {
        (row["worker"], row["portal"])
        for row in tables.accounts
        if row["exposed_since"] is not None
    }
    for key, row in shown.items():
        assert row["operation_id"] is not None, f"{key} is exposed and has no removal order"


async def logins_beyond_the_directory_are_shown(
    conn: Connection, organization: str, tables: Tables
) -> None:
    """Whoever has a login or work on a portal that was taken out has a finding, nobody else."""
    portals = {portal["id"] for portal in (await document(conn, organization))["portals"]}
    for worker, row in tables.workers.items():
        state = row["state"]
        if state["merged_into"] is not None or state["blocked"]:
            continue
        beyond = {
            f"has a login on {account['portal']}, which is not in the directory"
            for account in tables.accounts
            if state_of(tables, account["worker"]) is state
            and account["portal"] not in portals
            and (account["status"] != "none" or open_operations(tables, account))
        }
        told = {one["detail"] for one in state["findings"] if one["rule"] == "unknown_portal"}
        assert told == beyond, worker
