"""What a portal's list shows amiss is somebody's work until a list shows it no longer."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.provisioning.handlers.chores import ChoreCommands, ChoreWord
from services.provisioning.rules.chores import ChoreMove
from services.provisioning.store import chores as chores_store
from shared.contracts.access.evidence import Evidence
from shared.contracts.state import ChoreKind
from shared.postgres import in_transaction
from tests.provisioning.asking import Asking
from tests.provisioning.desk import Desk, hire, leave_now, sequence_of
from tests.provisioning.importing import Importing, existing
from tests.provisioning.worlds import NOW, ORGANIZATION, OTHER_TIN, TIN, directory

HEADER = "User ID,Full name,Status,Last login,Functions\n"
GHOST = "ghost,Ghost Rider,Active,2026-06-14,eligibility\n"
DESK = "frontdesk,Front Desk,Active,2026-06-14,eligibility\n"
IDLE = "w1,Name of w1,Active,2026-01-05,eligibility; benefits\n"
OURS = "ours,Name of w1 / Name of w2,Active,2026-06-14,eligibility\n"
LEFT = "w9@hub,Name of w9,Active,2026-06-14,eligibility; benefits\n"


async def finding_work(desk: Desk, *, ended: bool = False) -> list[Any]:
    async with desk.pool.acquire() as conn:
        rows = await chores_store.chores(
            conn, ORGANIZATION, ended=ended, portal="hub", worker=None, limit=100
        )
    return [row for row in rows if row["kind"] == ChoreKind.FINDING]


async def say(desk: Desk, row: Any, move: ChoreMove) -> None:
    evidence = Evidence(kind="note", text="seen to it") if move is ChoreMove.DONE else None
    word = ChoreWord(move, "admin-1", evidence, None if evidence else "we live with it")
    chores = ChoreCommands(desk.recompute)
    await in_transaction(
        desk.pool, lambda conn: chores.say(conn, ORGANIZATION, row["chore_id"], word)
    )


async def import_on(desk: Desk, lines: str, at: datetime, **more: Any) -> None:
    desk.clock.at = max(desk.clock.at, at)
    await Importing(desk).import_roster("hub", HEADER + lines, as_of=at, **more)


@pytest.mark.parametrize(
    ("lines", "rule", "days"),
    [
        (GHOST, "orphan", 3),
        (DESK, "generic", 14),
        (OURS, "shared", 14),
        (IDLE, "dormant", 14),
        (LEFT, None, None),
    ],
)
async def test_a_finding_is_work_with_an_owner_and_a_deadline(
    desk: Desk, lines: str, rule: str | None, days: int
) -> None:
    await desk.apply_directory(
        directory(
            administrators=[
                {"id": "a", "portal": "hub", "worker": "w2", "since": "2026-01-01"},
            ]
        )
    )
    await desk.hear(hire("w1"), hire("w2"), hire("w9"), leave_now("w9"))
    await import_on(desk, lines, NOW)
    found = [
        (row["details"]["rule"], row["addressed_to"], row["deadline"])
        for row in await finding_work(desk)
    ]
    if rule is None:
        assert found == [], "the removal order is the work"
        assert ("w9", "suspend") in [(one["worker"], one["kind"]) for one in await desk.work()]
    else:
        assert found == [(rule, "w2", NOW + timedelta(days=days))]


async def test_the_next_list_that_shows_it_no_longer_ends_the_work(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    await import_on(desk, GHOST + DESK, NOW)
    await import_on(desk, DESK, NOW + timedelta(days=1))
    assert [row["details"]["subject"] for row in await finding_work(desk)] == ["hub/frontdesk"]
    (ended,) = await finding_work(desk, ended=True)
    assert (ended["status"], ended["evidence"]["kind"]) == ("done", "roster")
    assert "chore.done" in sequence_of(await desk.published())
    await import_on(desk, GHOST + DESK, NOW + timedelta(days=2))
    assert len(await finding_work(desk)) == 2, "it is back, and so is the work"


async def test_a_part_of_a_list_ends_no_work_on_logins_that_it_leaves_out(desk: Desk) -> None:
    await import_on(desk, GHOST + DESK, NOW)
    gone = GHOST.replace("Active", "Disabled")
    await import_on(desk, gone, NOW + timedelta(days=1), complete=False)
    assert [row["details"]["subject"] for row in await finding_work(desk)] == ["hub/frontdesk"]


async def test_what_somebody_said_is_done_is_asked_again_by_a_later_list_only(desk: Desk) -> None:
    await import_on(desk, GHOST, NOW)
    desk.clock.at = NOW + timedelta(days=2)
    await say(desk, (await finding_work(desk))[0], ChoreMove.DONE)
    await import_on(desk, GHOST + DESK, NOW + timedelta(days=1))
    assert [row["details"]["rule"] for row in await finding_work(desk)] == ["generic"]
    await import_on(desk, GHOST + DESK, NOW + timedelta(days=3))
    rules = {row["details"]["rule"] for row in await finding_work(desk)}
    assert rules == {"generic", "orphan"}


async def test_what_somebody_decided_to_live_with_is_asked_again_after_a_quarter(
    desk: Desk,
) -> None:
    await import_on(desk, DESK, NOW)
    await say(desk, (await finding_work(desk))[0], ChoreMove.DECLINE)
    await import_on(desk, DESK, NOW + timedelta(days=90))
    assert await finding_work(desk) == []
    await import_on(desk, DESK, NOW + timedelta(days=92))
    assert len(await finding_work(desk)) == 1


async def test_while_a_portal_is_observed_what_a_part_shows_is_nobodys_work(desk: Desk) -> None:
    await desk.apply_directory(existing("hub"))
    await import_on(desk, GHOST, NOW, complete=False)
    assert await finding_work(desk) == []
    await import_on(desk, GHOST, NOW + timedelta(hours=1))
    assert len(await finding_work(desk)) == 1


async def test_the_overview_counts_findings_and_each_leads_to_its_work(
    desk: Desk, tmp_path: Path
) -> None:
    await import_on(desk, GHOST + DESK, NOW)
    asking = Asking.of(desk, tmp_path)
    assert (await asking.get("/access/v1/overview"))["attention"]["portal_findings"] == 2
    findings = (await asking.get("/access/v1/portal-findings"))["findings"]
    work = {row["chore_id"] for row in await finding_work(desk)}
    assert {finding["work_item"] for finding in findings} == work


async def test_a_portals_standing_counts_findings_and_names_tax_ids_without_an_administrator(
    desk: Desk, tmp_path: Path
) -> None:
    appointed = {"id": "a", "portal": "hub", "worker": "w2", "tins": [TIN], "since": "2026-01-01"}
    await desk.apply_directory(directory(administrators=[appointed]))
    await desk.hear(hire("w2"))
    await import_on(desk, GHOST + DESK, NOW)
    asking = Asking.of(desk, tmp_path)
    standing = await asking.get("/access/v1/portals/hub/standing")
    assert (standing["findings"], standing["unadministered"]) == (2, [OTHER_TIN])
    without = (await asking.get("/access/v1/overview"))["portals_without_administrator"]
    assert {each["portal"]: each["tins"] for each in without} == {
        "gate": [TIN, OTHER_TIN],
        "hub": [OTHER_TIN],
        "mac": [TIN, OTHER_TIN],
        "old": [TIN, OTHER_TIN],
    }


async def test_findings_are_turned_over_by_key_and_counted_whole(
    desk: Desk, tmp_path: Path
) -> None:
    await import_on(desk, GHOST + DESK, NOW)
    asking = Asking.of(desk, tmp_path)
    whole = await asking.get("/access/v1/portal-findings")
    assert [each["rule"] for each in whole["findings"]] == ["generic", "orphan"]
    assert whole["next_cursor"] is None
    first = await asking.get("/access/v1/portal-findings", limit=1)
    second = await asking.get("/access/v1/portal-findings", limit=1, cursor=first["next_cursor"])
    assert first["findings"] + second["findings"] == whole["findings"]
    assert [each["findings"] for each in second["counts"]] == [1, 1]
