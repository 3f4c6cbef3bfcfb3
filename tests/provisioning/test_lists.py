"""Lists over everybody: found by words, filtered, and turned over page by page without a gap."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from services.provisioning.rules.removal_times import spread
from tests.provisioning.asking import Asking
from tests.provisioning.desk import Desk, hire, hr_record, leave_now
from tests.provisioning.worlds import NOW

MIGRATION = Path(__file__).parents[2] / "services/provisioning/migrations/0053-listed-workers.sql"


async def people(asking: Asking, **asked: str | int) -> list[str]:
    rows = await asking.pages("/access/v1/workers", "workers", **asked)
    return [row["worker"] for row in rows]


async def test_people_are_found_by_any_words_of_id_name_and_title(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire("w1"), hire("w2", title="Biller", name="Mary_Ann Vance"), hire("x9"))
    assert await people(asking, query="vance") == ["w2"]
    assert await people(asking, query="biller mary") == ["w2"]
    assert await people(asking, query="W1") == ["w1"]
    assert await people(asking, query="mary%") == []
    assert await people(asking, limit=1) == ["w1", "w2", "x9"]


async def test_a_list_shows_what_the_state_says_and_keeps_it_while_portals_stand(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire())
    await desk.finish_all()
    corrected = hr_record(
        "worker.identity_corrected", id_="named", effective_on="2026-04-01", name="Ruth New"
    )
    await desk.hear(corrected)
    [row] = (await asking.get("/access/v1/workers"))["workers"]
    state = await desk.state()
    usable = [access for access in state["portals"] if access["effective"]]
    assert usable
    assert (row["name"], row["portals"], row["duties"]) == ("Ruth New", len(usable), ["front-desk"])
    assert (row["title"], row["sites"], row["status"]) == ("Front Desk", ["north"], "active")


async def test_an_id_that_another_stands_for_is_in_no_list(desk: Desk, asking: Asking) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    await desk.hear(hr_record("worker.merged", "w1", id_="one", previous_worker_id="w2"))
    assert await people(asking) == ["w1"]


async def test_the_matrix_is_filtered_by_duty_and_site(desk: Desk, asking: Asking) -> None:
    await desk.hear(hire("w1"), hire("w2", title="Biller", sites=["south"]), hire("w3"))

    async def shown(**asked: str) -> list[str]:
        rows = await asking.pages("/access/v1/matrix", "rows", limit=1, **asked)
        return [row["worker"] for row in rows]

    assert await shown() == ["w1", "w2", "w3"]
    assert await shown(duty="billing") == ["w2"]
    assert await shown(site="north") == ["w1", "w3"]


async def test_what_ended_comes_latest_first_and_what_is_open_by_deadline(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    await desk.finish_all("w1")
    desk.clock.at += timedelta(hours=1)
    await desk.finish_all("w2")
    await desk.hear(leave_now("w1"), leave_now("w2"))
    ended = await asking.pages("/access/v1/work", "items", status="ended", limit=2)
    assert [item["ended_at"] for item in ended] == sorted(
        (item["ended_at"] for item in ended), reverse=True
    )
    assert len({item["operation_id"] for item in ended}) == len(ended) > 4
    pending = await asking.pages("/access/v1/work", "items", limit=2)
    assert [item["deadline"] for item in pending] == sorted(i["deadline"] for i in pending)
    assert await asking.pages("/access/v1/work", "items", overdue="true") == []
    desk.clock.at += timedelta(days=30)
    late = await asking.pages("/access/v1/work", "items", overdue="true", limit=2)
    assert {item["operation_id"] for item in late} == {item["operation_id"] for item in pending}


async def test_departures_of_one_instant_are_turned_over_without_a_gap(
    desk: Desk, asking: Asking
) -> None:
    workers = [f"w{number}" for number in range(5)]
    await desk.hear(*(hire(each) for each in workers))
    await desk.finish_all()
    desk.clock.at = NOW
    await desk.hear(*(leave_now(each) for each in workers))
    rows = await asking.pages("/access/v1/leavers", "leavers", limit=2)
    assert sorted(row["worker"] for row in rows) == workers
    shown = await asking.pages("/access/v1/exposures", "exposures", limit=2)
    assert {(row["worker"], row["portal"]) for row in shown} == {
        (worker, portal) for worker in workers for portal in ("gate", "hub", "mac")
    }
    overview = await asking.get("/access/v1/overview")
    assert overview["exposed"] == len(shown)
    assert overview["removals"]["open"] == len(shown)


async def test_findings_are_turned_over_by_worker(desk: Desk, asking: Asking) -> None:
    await desk.hear(*(hire(f"w{number}", title="Wizard") for number in range(3)))
    rows = await asking.pages("/access/v1/findings", "findings", limit=1)
    assert [(row["subject"], row["rule"]) for row in rows] == [
        ("w0", "unmapped_title"),
        ("w1", "unmapped_title"),
        ("w2", "unmapped_title"),
    ]
    assert (await asking.get("/access/v1/questions"))["questions"] == [
        {"title": "Wizard", "workers": 3}
    ]


async def test_an_installation_with_workers_gets_the_same_lists(
    desk: Desk, pool: asyncpg.Pool[Any]
) -> None:
    await desk.hear(hire("w1"), hire("w2", title="Wizard"), hire("w3", title="Biller"))
    await desk.finish_all()
    desk.clock.at = NOW
    await desk.hear(leave_now("w3"))
    filling = next(
        part for part in MIGRATION.read_text().split(";\n") if "INSERT INTO listed_worker" in part
    )
    async with pool.acquire() as conn:
        written = await conn.fetch("SELECT * FROM listed_worker ORDER BY worker")
        await conn.execute("DELETE FROM listed_worker")
        await conn.execute(filling)
        filled = await conn.fetch("SELECT * FROM listed_worker ORDER BY worker")
    assert written == filled
    assert len(filled) == 3


def test_removals_are_counted_within_the_span_that_they_took() -> None:
    counted = dict(spread([0.2, 1, 1.01, 60, 4321]))
    assert {bound: number for bound, number in counted.items() if number} == {
        1: 2,
        5: 1,
        60: 1,
        None: 1,
    }
