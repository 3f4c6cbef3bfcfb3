"""Deciding again, and deciding from the beginning, come to the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from services.provisioning.handlers.directory import DirectoryCommands
from services.provisioning.handlers.events import HrExpress
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.handlers.replay import LoggedRecord, Replay, Report
from services.provisioning.store import replay as replay_store
from services.provisioning.store import workers as workers_store
from shared.auth import Principal
from shared.contracts.hr import HrEvent
from shared.contracts.topics import WORKER_STATE
from shared.kafka import Batch, Item
from shared.postgres import Connection
from tests.provisioning.desk import RawRecord
from tests.simulation.invariants.tables import (
    NOT_IN_A_REPLAY,
    Tables,
    document,
    identity,
    only,
    outbox_of,
    read_said,
    read_tables,
)
from tests.simulation.source import Log
from tests.simulation.stories import directory_of, letter

if TYPE_CHECKING:
    from tests.simulation.theatre import Theatre


async def replay_agrees(theatre: Theatre, organization: str, hr: Log) -> None:
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


async def deciding_again_changes_nothing(
    theatre: Theatre, organization: str, published: int
) -> None:
    before = await read_tables(theatre.plain, organization)
    await workers_store.request_recompute(
        theatre.plain, [(organization, worker) for worker in before.workers]
    )
    while await theatre.time.sweep():
        pass
    after = await read_tables(theatre.plain, organization)
    outbox = (await outbox_of(theatre.plain))[published:]
    for event in outbox:
        data = orjson.loads(event["data"])
        if event["topic"] == WORKER_STATE.name:
            state = before.workers[event["ce_subject"]]["state"]
            data = f"not {only(state, data)} but {only(data, state)}"
        raise AssertionError(f"deciding again published {event['ce_type']}: {data}")
    for name in before.__slots__:
        was, is_ = getattr(before, name), getattr(after, name)
        assert is_ == was, f"deciding again changed {name}: {_changed(was, is_)}"


async def a_clean_replay_agrees(
    theatre: Theatre, organization: str, hr: Log, tables: Tables
) -> None:
    """The same set of events, sorted, into a fresh organization with the directory in force."""
    again = f"{organization}-again"
    kept = await document(theatre.plain, organization)
    directory = directory_of({**kept, "organization": {**kept["organization"], "id": again}})
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
        replayed = await read_tables(conn, again)
        for worker, row in tables.workers.items():
            mine, other = _essence(row["state"]), _essence(replayed.workers[worker]["state"])
            assert mine == other, (
                f"{worker}: kept {only(mine, other)}, replayed {only(other, mine)}"
            )
    finally:
        await transaction.rollback()


async def _settle(recompute: Recompute, conn: Connection, again: str, tables: Tables) -> None:
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
    return [(only(a, b), only(b, a)) for a, b in zip(was, is_, strict=False) if a != b]


def _essence(state: dict[str, Any]) -> dict[str, Any]:
    """What follows from HR's events, the directory, reviews and the instant alone.

    What somebody kept by rejecting a cause of the brake is beyond that, and so is what is kept
    after a move only where it is held.
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
            if (own.get("authorized_by") or {}).get("kind")
            not in ("brake_rejection", "mover_grace")
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
