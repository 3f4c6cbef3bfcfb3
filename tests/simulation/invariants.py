"""What must hold whenever an organization has come to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson

from services.provisioning.handlers.directory import DirectoryCommands
from services.provisioning.handlers.events import HrExpress
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.handlers.replay import LoggedRecord, Replay, Report
from services.provisioning.rules.history import FOREVER, Holding
from services.provisioning.store import history as history_store
from services.provisioning.store import replay as replay_store
from services.provisioning.store import views
from services.provisioning.store import workers as workers_store
from shared.auth import Principal
from shared.contracts.hr import HrEvent, read_hr_event
from shared.contracts.topics import ACCESS_EVENTS, DEAD_LETTERS, DIRECTORY_EVENTS, WORKER_STATE
from shared.kafka import Batch, Item
from shared.postgres import Connection
from tests.provisioning.desk import RawRecord
from tests.simulation import oracle
from tests.simulation.others import IMPORTER
from tests.simulation.source import Log
from tests.simulation.stories import Said, directory_of, letter

if TYPE_CHECKING:
    from tests.simulation.playing import Theatre

OPEN = ("requested", "claimed", "superseded")
REMOVES = ("suspend", "revoke", "rotate")
GIVES = ("open", "grant", "resume")
CAN_BE_UNDONE = {*REMOVES, *GIVES, "appoint_successor"}
NOT_IN_A_REPLAY = {"second_account"}
"""Findings about what portals hold; a replay of HR's events knows no portals."""


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
class _Published:
    """The outbox of one organization, folded."""

    operations: dict[str, _Told] = field(default_factory=dict)
    accounts: dict[tuple[str, str], str] = field(default_factory=dict)
    rights: dict[tuple[str, str], dict[tuple[str, str], str]] = field(default_factory=dict)
    exposed: dict[tuple[str, str], datetime] = field(default_factory=dict)
    said: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    states: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    dead: Counter[tuple[int, int]] = field(default_factory=Counter)


@dataclass(slots=True)
class _Tables:
    """What provisioning believes."""

    events: list[Any]
    workers: dict[str, Any]
    accounts: list[Any]
    operations: list[Any]
    reviews: list[Any]


async def check(theatre: Theatre, organization: str, hr: Log, ledger: Ledger) -> None:
    """Every invariant.

    Raises:
        AssertionError: one does not hold.
    """
    now = theatre.clock.at
    tables = await _read(theatre.plain, organization)
    outbox = await _outbox(theatre.plain)
    published = _fold(outbox)
    assert not await theatre.plain.fetchval("SELECT count(*) FROM undecided"), "left undecided"
    _every_event_once(hr, tables, published)
    _operations_agree(tables, published, ledger)
    _access_agrees(tables, published)
    _history_agrees(tables, await history_store.known_now(theatre.plain, organization))
    _states_agree(tables, published)
    _only_what_can_be_undone(tables)
    _the_departed_have_nothing(hr, tables, now)
    _differences_are_being_worked_on(tables, now)
    await _exposures_are_shown(theatre.plain, organization, tables)
    await _replay_agrees(theatre, organization, hr)
    await _deciding_again_changes_nothing(theatre, organization, len(outbox))
    await _a_clean_replay_agrees(theatre, organization, hr, tables)


async def _read(conn: Connection, organization: str) -> _Tables:
    async def rows(table: str) -> list[Any]:
        found = await conn.fetch(f"SELECT * FROM {table} WHERE organization = $1", organization)
        return sorted((dict(row) for row in found), key=str)

    workers = [{name: row[name] for name in WORKER_COLUMNS} for row in await rows("worker")]
    for row in workers:
        row["state"] = await views.worker_state(conn, organization, row["worker"])
    return _Tables(
        await rows("worker_event"),
        {row["worker"]: row for row in workers},
        await rows("account"),
        await rows("operation"),
        await rows("review_decision"),
    )


async def _outbox(conn: Connection) -> list[dict[str, Any]]:
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


# -- 1: nothing lost, nothing doubled


def identity(event: HrEvent) -> tuple[str, str, bytes]:
    """What makes two records the same event, within one organization."""
    return (event.source, event.id, event.fingerprint)


def read_said(said: Said, organization: str) -> HrEvent:
    """The event as provisioning reads it."""
    sent = letter(said, organization)
    record = RawRecord("", 0, 0, 0, sent.key, sent.value, sent.headers)
    return read_hr_event(record)


def _every_event_once(hr: Log, tables: _Tables, published: _Published) -> None:
    sent = {identity(read_said(said, "x")) for said in hr.said}
    kept = Counter((row["source"], row["id"], row["fingerprint"]) for row in tables.events)
    assert kept.total() == len(kept), "an event is stored twice"
    assert sent - kept.keys() == set(), "events were lost"
    assert kept.keys() - sent == set(), "events nobody sent were stored"
    assert published.dead == Counter(hr.unreadable), "a bad record was lost or kept twice"


# -- 3: what is published tells the whole story


def _fold(outbox: Sequence[dict[str, Any]]) -> _Published:
    published = _Published()
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


def _take_state(published: _Published, event: dict[str, Any]) -> None:
    version = int(event["ce_version"])
    before, _ = published.states.get(event["ce_subject"], (0, {}))
    assert version > before, f"state of {event['ce_subject']} went from {before} to {version}"
    state = orjson.loads(event["data"])
    assert state["version"] == version
    published.states[event["ce_subject"]] = (version, state)


def _take_access(published: _Published, type_: str, data: dict[str, Any]) -> None:
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


def _must_be_confirmed(published: _Published, data: dict[str, Any]) -> None:
    operation = published.operations[data["operation_id"]].data
    assert operation["status"] == "done", "a portal's change was told before it was confirmed"


def _take_operation(published: _Published, what: str, data: dict[str, Any]) -> None:
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


def _operations_agree(tables: _Tables, published: _Published, ledger: Ledger) -> None:
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


def _access_agrees(tables: _Tables, published: _Published) -> None:
    """Nothing counts as opened, suspended, granted or revoked but by a confirmation."""
    for row in tables.accounts:
        key = (row["worker"], row["portal"])
        assert row["status"] == published.accounts.get(key, "none"), key
        assert _effective(row) == published.rights.get(key, {}).keys(), key
        assert row["exposed_since"] == published.exposed.get(key), key
    known = {(row["worker"], row["portal"]) for row in tables.accounts}
    assert not {*published.accounts, *published.exposed} - known


def _history_agrees(tables: _Tables, known: Sequence[Holding]) -> None:
    """What is known to be held still is what accounts hold, and no stretch is told twice."""
    held = {
        (row["worker"], row["portal"], *own): row["login_id"]
        for row in tables.accounts
        for own in _effective(row)
    }
    assert {one.key: one.login_id for one in known if one.valid_until == FOREVER} == held
    for one, following in pairwise(known):
        assert one.key != following.key or one.valid_until <= following.valid_from


def _effective(account: Any) -> set[tuple[str, str]]:
    if account["status"] != "active":
        return set()
    return {(own["tin"], own["function"]) for own in account["rights"]}


def _states_agree(tables: _Tables, published: _Published) -> None:
    assert published.states.keys() == {w for w, row in tables.workers.items() if row["version"]}
    for worker, (version, state) in published.states.items():
        row = tables.workers[worker]
        assert row["version"] == version, worker
        assert row["state"] == state, (
            f"{worker}: kept {_only(row['state'], state)}, published {_only(state, row['state'])}"
        )
    for row in tables.accounts:
        same = [other for other in tables.accounts if _is_one_login(tables, row, other)]
        shown = [
            access
            for access in _state_of(tables, row["worker"])["portals"]
            if access["portal"] == row["portal"]
        ]
        kept = Counter(_in_short(tables, account) for account in same)
        told = Counter(_told_in_short(access) for access in shown)
        assert kept - Counter({NOTHING: kept[NOTHING]}) == told - Counter({NOTHING: told[NOTHING]})


_Short = tuple[str, frozenset[tuple[str, str]], datetime | None, frozenset[str]]

NOTHING: _Short = ("none", frozenset(), None, frozenset())


def _in_short(tables: _Tables, account: Any) -> _Short:
    operations = _open_operations(tables, account)
    return (
        account["status"],
        frozenset(_effective(account)),
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


def _is_one_login(tables: _Tables, one: Any, other: Any) -> bool:
    """Whether two accounts are of one person on one portal."""
    return one["portal"] == other["portal"] and _state_of(tables, one["worker"]) is _state_of(
        tables, other["worker"]
    )


def _state_of(tables: _Tables, worker: str) -> dict[str, Any]:
    state: dict[str, Any] = tables.workers[worker]["state"]
    if state["merged_into"] is not None:
        state = tables.workers[state["merged_into"]]["state"]
    return state


def _desired(tables: _Tables, account: Any) -> set[tuple[str, str]]:
    """What the account must have; of merged ids only one keeps its login."""
    same = [other for other in tables.accounts if _is_one_login(tables, account, other)]
    if account is not min(same, key=lambda other: (not other["rights"], other["worker"])):
        return set()
    return {
        (own["tin"], own["function"])
        for access in _state_of(tables, account["worker"])["portals"]
        if access["portal"] == account["portal"]
        for own in access["desired"]
    }


def _authority(tables: _Tables, account: Any, right: tuple[str, str]) -> Any:
    """Who answers for something that the account must have."""
    return next(
        own["authorized_by"]
        for access in _state_of(tables, account["worker"])["portals"]
        if access["portal"] == account["portal"]
        for own in access["desired"]
        if (own["tin"], own["function"]) == right
    )


def _open_operations(tables: _Tables, account: Any) -> list[Any]:
    return [
        row
        for row in tables.operations
        if (row["worker"], row["portal"]) == (account["worker"], account["portal"])
        and row["status"] in OPEN
    ]


# -- 2 and 4: access ends


def _only_what_can_be_undone(tables: _Tables) -> None:
    assert {row["kind"] for row in tables.operations} <= CAN_BE_UNDONE


def _the_departed_have_nothing(hr: Log, tables: _Tables, now: datetime) -> None:
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
    for person in oracle.persons(valid, tables.workers):
        # What the person's ids are called makes no difference to whether they may be erased.
        own = [event for event in valid if event.worker in person]
        own += [
            event
            for event in events
            if event.worker in person and event.type == "worker.erased" and event not in own
        ]
        if oracle.employed(own, now):
            continue
        for worker in person:
            state = _state_of(tables, worker)
            assert state["status"] in ("terminated", "erased", "expected", "unknown"), worker
            assert not any(access["desired"] for access in state["portals"]), worker
        for account in tables.accounts:
            if account["worker"] in person and _effective(account):
                _is_being_removed(tables, account)


def _is_being_removed(tables: _Tables, account: Any) -> None:
    who = (account["worker"], account["portal"])
    removals = [
        row
        for row in _open_operations(tables, account)
        if row["kind"] in REMOVES and row["tin"] is None and row["status"] != "superseded"
    ]
    assert len(removals) == 1, f"{who} can still be used and nobody is asked to remove it"
    assert removals[0]["deadline"] is not None
    assert account["exposed_since"] is not None, f"{who} is not shown as exposed"


def distinct(sayings: Iterable[Said]) -> list[HrEvent]:
    """Every event once, in the total order."""
    found = {identity(event): event for event in (read_said(said, "x") for said in sayings)}
    return sorted(found.values(), key=lambda event: event.order)


def _differences_are_being_worked_on(tables: _Tables, now: datetime) -> None:
    """Desired less effective, less what named rows hold back, is open work; and the reverse."""
    for account in tables.accounts:
        state = _state_of(tables, account["worker"])
        if state["blocked"]:
            continue
        desired = _desired(tables, account)
        held = _effective(account)
        operations = _open_operations(tables, account)
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


def _parked(tables: _Tables, account: Any) -> set[tuple[str, str]]:
    """What the brake holds back from being removed."""
    return {
        (one["tin"], one["function"])
        for access in _state_of(tables, account["worker"])["portals"]
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


async def _exposures_are_shown(conn: Connection, organization: str, tables: _Tables) -> None:
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


# -- deciding again, and deciding from the beginning


async def _replay_agrees(theatre: Theatre, organization: str, hr: Log) -> None:
    """What was published and heard tells every operation, account and stretch of history."""
    report = Report()
    replay = Replay(theatre.stage.pool, theatre.recompute)
    records = [
        LoggedRecord(record.key, record.value, record.headers)
        for partition in hr.records.values()
        for record in partition
    ]
    await replay_store.begin(theatre.plain)
    await replay.take(theatre.plain, organization, records, report)
    await replay.compare(theatre.plain, organization, report)
    await replay_store.end(theatre.plain)
    assert report.differences == [], report.differences


async def _deciding_again_changes_nothing(
    theatre: Theatre, organization: str, published: int
) -> None:
    before = await _read(theatre.plain, organization)
    await workers_store.request_recompute(
        theatre.plain, [(organization, worker) for worker in before.workers]
    )
    while await theatre.time.sweep():
        pass
    after = await _read(theatre.plain, organization)
    outbox = (await _outbox(theatre.plain))[published:]
    for event in outbox:
        data = orjson.loads(event["data"])
        if event["topic"] == WORKER_STATE.name:
            state = before.workers[event["ce_subject"]]["state"]
            data = f"not {_only(state, data)} but {_only(data, state)}"
        raise AssertionError(f"deciding again published {event['ce_type']}: {data}")
    for name in before.__slots__:
        was, is_ = getattr(before, name), getattr(after, name)
        assert is_ == was, f"deciding again changed {name}: {_changed(was, is_)}"


async def _a_clean_replay_agrees(
    theatre: Theatre, organization: str, hr: Log, tables: _Tables
) -> None:
    """The same set of events, sorted, into a fresh organization with the directory in force."""
    again = f"{organization}-again"
    document = await theatre.plain.fetchval(
        "SELECT document FROM directory_version WHERE organization = $1"
        " ORDER BY version DESC LIMIT 1",
        organization,
    )
    directory = directory_of(
        {**document, "organization": {**document["organization"], "id": again}}
    )
    who = Principal(again, "admin-1", None, frozenset({"access:admin"}), "Administrator")
    conn = theatre.plain
    transaction = conn.transaction()
    await transaction.start()
    try:
        # Compiled directories are remembered by version, and this is another first version.
        recompute = Recompute(theatre.clock)
        await DirectoryCommands(recompute).apply(conn, directory, who)
        sorted_events = sorted(
            {identity(read_said(said, again)): said for said in hr.said}.values(),
            key=lambda said: read_said(said, again).order,
        )
        await conn.execute(
            "INSERT INTO review_decision SELECT (jsonb_populate_record(decision,"
            " jsonb_build_object('organization', $2::text))).*"
            " FROM review_decision AS decision WHERE organization = $1",
            organization,
            again,
        )
        await conn.execute(
            "INSERT INTO exception SELECT (jsonb_populate_record(exception,"
            " jsonb_build_object('organization', $2::text))).*"
            " FROM exception WHERE organization = $1",
            organization,
            again,
        )
        handler = HrExpress(recompute)
        items: list[Item[HrEvent]] = []
        for said in sorted_events:
            sent = letter(said, again)
            record: Any = RawRecord("", 0, 0, 0, sent.key, sent.value, sent.headers)
            items.append(Item(record, handler.parse(record)))
        if items:
            await handler.apply(conn, Batch(items, []))
        await _settle(recompute, conn, again, tables)
        replayed = await _read(conn, again)
        for worker, row in tables.workers.items():
            mine, other = _essence(row["state"]), _essence(replayed.workers[worker]["state"])
            assert mine == other, (
                f"{worker}: kept {_only(mine, other)}, replayed {_only(other, mine)}"
            )
    finally:
        await transaction.rollback()


async def _settle(recompute: Recompute, conn: Connection, again: str, tables: _Tables) -> None:
    """Decide about everybody until nobody asks for more."""
    keys = {(again, worker) for worker in tables.workers}
    for _ in range(len(keys) + 2):
        await recompute.run(conn, await workers_store.lock_workers(conn, keys))
        keys = {key for key in await workers_store.workers_behind(conn, 1000) if key[0] == again}
        if not keys:
            return
        await workers_store.forget_recompute_requests(conn, sorted(keys))
    raise AssertionError("the replay never comes to rest")


def _changed(was: Any, is_: Any) -> list[Any]:
    """What is otherwise, in pairs."""
    if isinstance(was, dict):
        was, is_ = list(was.values()), list(is_.values())
    return [(_only(a, b), _only(b, a)) for a, b in zip(was, is_, strict=False) if a != b]


def _only(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What one has and the other has not."""
    return {
        name: value - other[name] if isinstance(value, set) else value
        for name, value in one.items()
        if value != other[name]
    }


def _essence(state: dict[str, Any]) -> dict[str, Any]:
    """What follows from HR's events, the directory, reviews and the instant alone.

    What somebody kept by rejecting a cause of the brake is beyond that.
    """
    names = (
        "status",
        "blocked",
        "merged_into",
        "aliases",
        "name",
        "email",
        "npi",
        "employments",
        "duties",
        "training",
    )
    wanted: dict[str, Any] = {}
    for access in state["portals"]:
        both = wanted.setdefault(access["portal"], set())
        both.update(
            (own["tin"], own["function"], str(own))
            for own in (*access["desired"], *access["held"])
            if (own.get("authorized_by") or {}).get("kind") != "brake_rejection"
        )
    return {
        **{name: state[name] for name in names},
        "findings": {
            (finding["rule"], finding["detail"])
            for finding in state["findings"]
            if finding["rule"] not in NOT_IN_A_REPLAY
        },
        "portals": {(portal, *one) for portal, both in wanted.items() for one in both},
    }
