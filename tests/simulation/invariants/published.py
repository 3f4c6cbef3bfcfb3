"""Nothing is lost or doubled, and what is published tells the whole story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson

from services.provisioning.rules.history import FOREVER, Holding
from shared.contracts.topics import ACCESS_EVENTS, DEAD_LETTERS, DIRECTORY_EVENTS, WORKER_STATE
from tests.simulation.invariants.tables import (
    NOT_PEOPLE,
    OPEN,
    REMOVES,
    Tables,
    effective,
    identity,
    is_one_login,
    only,
    open_operations,
    read_said,
    state_of,
)
from tests.simulation.source import Log

if TYPE_CHECKING:
    pass


@dataclass(slots=True)
class Ledger:
    """What people were told had been done: (operation, what, by)."""

    organization: str
    answered: Counter[tuple[str, str, str]] = field(default_factory=Counter)


@dataclass(slots=True)
class _Told:
    """One operation as the published events tell it."""

    data: dict[str, Any]
    overdue: bool = False
    steps: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Published:
    """The outbox of one organization, folded."""

    operations: dict[str, _Told] = field(default_factory=dict)
    accounts: dict[tuple[str, str], str] = field(default_factory=dict)
    rights: dict[tuple[str, str], dict[tuple[str, str], str]] = field(default_factory=dict)
    exposed: dict[tuple[str, str], datetime] = field(default_factory=dict)
    said: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    states: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    dead: Counter[tuple[int, int]] = field(default_factory=Counter)


def every_event_once(hr: Log, tables: Tables, published: Published) -> None:
    sent = {identity(read_said(said, "x")) for said in hr.said}
    kept = Counter((row["source"], row["id"], row["fingerprint"]) for row in tables.events)
    assert kept.total() == len(kept), "an event is stored twice"
    assert sent - kept.keys() == set(), "events were lost"
    assert kept.keys() - sent == set(), "events nobody sent were stored"
    assert published.dead == Counter(hr.unreadable), "a bad record was lost or kept twice"


def fold(outbox: Sequence[dict[str, Any]]) -> Published:
    published = Published()
    ids: set[tuple[str, str]] = set()
    directory_versions: dict[str, int] = {}
    for event in outbox:
        if event["topic"] == DEAD_LETTERS.name:
            published.dead[int(event["dl_partition"]), int(event["dl_offset"])] += 1
            continue
        name = (event["topic"], event["ce_id"])
        assert name not in ids, f"{event['ce_type']} was published twice under one id"
        ids.add(name)
        if event["topic"] == WORKER_STATE.name:
            _take_state(published, event)
        elif event["topic"] == DIRECTORY_EVENTS.name:
            version = int(event["ce_version"])
            assert version > directory_versions.get(event["key"], 0), "directory went backwards"
            directory_versions[event["key"]] = version
        elif event["topic"] == ACCESS_EVENTS.name:
            _take_access(published, event["ce_type"], orjson.loads(event["data"]))
    return published


def _take_state(published: Published, event: dict[str, Any]) -> None:
    version = int(event["ce_version"])
    before, _ = published.states.get(event["ce_subject"], (0, {}))
    assert version > before, f"state of {event['ce_subject']} went from {before} to {version}"
    state = orjson.loads(event["data"])
    assert state["version"] == version
    published.states[event["ce_subject"]] = (version, state)


def _take_access(published: Published, type_: str, data: dict[str, Any]) -> None:
    kind, _, what = type_.partition(".")
    match kind:
        case "operation":
            _take_operation(published, what, data)
        case "account" if what == "seen":
            # The list tells the account whole; what follows from that is said once more, in parts.
            key = (data["worker"], data["portal"])
            published.accounts[key] = data["account"]["status"]
            published.rights[key] = {
                (own["tin"], own["function"]): own["operation_id"]
                for own in data["account"]["rights"]
                if data["account"]["status"] == "active"
            }
        case "account" | "entitlement" if data["grade"] == "roster":
            pass
        case "outage" if what == "ended":
            for id_, deadline in data["deadlines"].items():
                published.operations[id_].data["deadline"] = deadline
        case "account":
            _must_be_confirmed(published, data)
            status = "suspended" if what == "suspended" else "active"
            published.accounts[data["worker"], data["portal"]] = status
        case "entitlement":
            _must_be_confirmed(published, data)
            rights = published.rights.setdefault((data["worker"], data["portal"]), {})
            if what == "granted":
                assert rights.get((data["tin"], data["function"])) is None
                rights[data["tin"], data["function"]] = data["operation_id"]
            else:
                del rights[data["tin"], data["function"]]
        case "exposure":
            key = (data["worker"], data["portal"])
            since = datetime.fromisoformat(data["since"])
            if what == "started":
                assert key not in published.exposed, "exposure started twice"
                published.exposed[key] = since
            else:
                assert published.exposed.pop(key) == since


def _must_be_confirmed(published: Published, data: dict[str, Any]) -> None:
    operation = published.operations[data["operation_id"]].data
    assert operation["status"] == "done", "a portal's change was told before it was confirmed"


def _take_operation(published: Published, what: str, data: dict[str, Any]) -> None:
    id_ = data["operation_id"]
    told = published.operations.get(id_)
    if what == "requested":
        assert told is None, "an operation was requested twice"
        published.operations[id_] = _Told(data)
        return
    assert told is not None, f"operation.{what} of an operation nobody requested"
    if what == "step_done":
        told.steps.add(str(data["step"]))
        published.said[id_, "step_done", data["by"]] += 1
        return
    if what == "overdue":
        assert not told.overdue, "it was said twice that an operation is overdue"
        assert told.data["status"] in OPEN
        told.overdue = True
        return
    assert data["previous_status"] == told.data["status"], (
        f"operation.{what} follows {told.data['status']}, not {data['previous_status']}"
    )
    if data["transition"] == "reinstate":
        told.overdue = False
    told.data = data
    if data.get("by") is not None:
        published.said[id_, data["transition"], data["by"]] += 1


def operations_agree(tables: Tables, published: Published, ledger: Ledger) -> None:
    assert published.operations.keys() == {str(row["operation_id"]) for row in tables.operations}
    for row in tables.operations:
        told = published.operations[str(row["operation_id"])]
        mine = {
            name: row[name]
            for name in (
                "worker",
                "portal",
                "kind",
                "tin",
                "function",
                "generation",
                "status",
                "claimed_by",
                "authorized_by",
            )
        }
        assert mine == {name: told.data[name] for name in mine}
        assert row["overdue"] == told.overdue
        assert row["rights"] == told.data["rights"]
        assert row["deadline"] == datetime.fromisoformat(told.data["deadline"])
        assert row["requested_at"] == datetime.fromisoformat(told.data["requested_at"])
        assert set(row["steps_done"]) == told.steps
        assert (row["ended_at"] is None) == (row["status"] in OPEN)
    said = {key: times for key, times in published.said.items() if key[2] not in NOT_PEOPLE}
    steps = {key for key in said if key[1] == "step_done"}
    assert said == dict(ledger.answered), "people's commands took effect not exactly once"
    assert all(said[key] for key in steps)
    targets = Counter(
        (row["worker"], row["portal"], row["tin"], row["function"], row["kind"] in REMOVES)
        for row in tables.operations
        if row["status"] in ("requested", "claimed")
    )
    assert all(times == 1 for times in targets.values()), "two open operations on one target"


def access_agrees(tables: Tables, published: Published) -> None:
    """Nothing counts as opened, suspended, granted or revoked but by a confirmation."""
    for row in tables.accounts:
        key = (row["worker"], row["portal"])
        assert row["status"] == published.accounts.get(key, "none"), key
        assert effective(row) == published.rights.get(key, {}).keys(), key
        assert row["exposed_since"] == published.exposed.get(key), key
    known = {(row["worker"], row["portal"]) for row in tables.accounts}
    assert not {*published.accounts, *published.exposed} - known


def history_agrees(tables: Tables, known: Sequence[Holding]) -> None:
    """What is known to be held still is what accounts hold, and no stretch is told twice."""
    held = {
        (row["worker"], row["portal"], *own): row["login_id"]
        for row in tables.accounts
        for own in effective(row)
    }
    assert {one.key: one.login_id for one in known if one.valid_until == FOREVER} == held
    for one, following in pairwise(known):
        assert one.key != following.key or one.valid_until <= following.valid_from


def states_agree(tables: Tables, published: Published) -> None:
    assert published.states.keys() == {w for w, row in tables.workers.items() if row["version"]}
    for worker, (version, state) in published.states.items():
        row = tables.workers[worker]
        assert row["version"] == version, worker
        assert row["state"] == state, (
            f"{worker}: kept {only(row['state'], state)}, published {only(state, row['state'])}"
        )
    for row in tables.accounts:
        same = [other for other in tables.accounts if is_one_login(tables, row, other)]
        shown = [
            access
            for access in state_of(tables, row["worker"])["portals"]
            if access["portal"] == row["portal"]
        ]
        kept = Counter(_in_short(tables, account) for account in same)
        told = Counter(_told_in_short(access) for access in shown)
        assert kept - Counter({NOTHING: kept[NOTHING]}) == told - Counter({NOTHING: told[NOTHING]})


_Short = tuple[str, frozenset[tuple[str, str]], datetime | None, frozenset[str]]

NOTHING: _Short = ("none", frozenset(), None, frozenset())


def _in_short(tables: Tables, account: Any) -> _Short:
    operations = open_operations(tables, account)
    return (
        account["status"],
        frozenset(effective(account)),
        account["exposed_since"],
        frozenset(str(operation["operation_id"]) for operation in operations),
    )


def _told_in_short(access: dict[str, Any]) -> _Short:
    since = access["exposed_since"]
    return (
        access["status"],
        frozenset((own["tin"], own["function"]) for own in access["effective"]),
        None if since is None else datetime.fromisoformat(since),
        frozenset(operation["operation_id"] for operation in access["operations"]),
    )
