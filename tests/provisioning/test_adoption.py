"""Day one: the sheet an administrator kept becomes accounts, unverified and explained."""

from datetime import date, timedelta
from typing import Any

import pytest

from services.provisioning.handlers.adoption.exporting import sheet_of
from services.provisioning.store import imports as imports_store
from services.provisioning.store import logins as logins_store
from shared.errors import Problem
from shared.sheets.workbook import write_workbook
from shared.sheets.writing import write_csv
from tests.provisioning.desk import Desk, hire, leave_now
from tests.provisioning.importing import Importing, existing
from tests.provisioning.worlds import ORGANIZATION, TIN, ZONE, as_date, directory

YESTERDAY = as_date(-1)
WIDE = (
    "Name,Hub,Gate,Medicare portal\r\n"
    "Name of w1,w1hub,yes,\r\n"
    '"of w2, Name",w2hub; eligibility,,w2mac; inactive; since 2026-03-05\r\n'
)


async def accounts(desk: Desk) -> dict[tuple[str, str], Any]:
    async with desk.pool.acquire() as conn:
        found = await logins_store.accounts_on(
            conn, ORGANIZATION, [portal.id for portal in directory().portals]
        )
    return {(one.worker, one.portal): one for one in found if one.grade is not None}


async def office(desk: Desk, *workers: str, title: str = "Front Desk") -> Importing:
    """A clinic whose portals were in use before."""
    await desk.apply_directory(existing("hub", "gate", "mac", "old"))
    await desk.hear(*(hire(worker, title=title) for worker in workers))
    return Importing(desk)


async def test_a_sheet_becomes_unverified_accounts_and_no_work(desk: Desk) -> None:
    office_ = await office(desk, "w1", "w2")
    answer = await office_.adopt(WIDE, as_of=YESTERDAY)
    assert answer["counts"] == {"logins": 4, "doubts": 0, "adopt": 4}
    known = await accounts(desk)
    assert set(known) == {("w1", "hub"), ("w1", "gate"), ("w2", "hub"), ("w2", "mac")}
    hub = known["w1", "hub"]
    assert (hub.login_id, hub.grade, hub.status) == ("w1hub", "assumed", "active")
    own = next(iter(hub.rights.values()))
    assert own.authorized_by.kind == "adoption"
    assert own.authorized_by.by == "admin-1"
    assert len(own.authorized_by.reference) == 64
    assert {function for _, function in hub.rights} == {"eligibility", "benefits"}, "by policy"
    assert {function for _, function in known["w2", "hub"].rights} == {"eligibility"}, "as told"
    assert known["w2", "mac"].status == "suspended"
    assert await desk.work() == []
    adopted = await desk.published("account.adopted")
    assert len(adopted) == 4
    assert {event["data"]["matched_by"] for event in adopted} == {
        "the same name, which only one person has"
    }
    lacking = next(a for a in (await desk.state("w2"))["portals"] if a["portal"] == "hub")
    assert [own["function"] for own in lacking["held"]] == ["benefits"]


async def test_adopting_twice_changes_nothing(desk: Desk) -> None:
    office_ = await office(desk, "w1", "w2")
    await office_.adopt(WIDE, as_of=YESTERDAY)
    before, events = await accounts(desk), await desk.published()
    again = await office_.adopt(WIDE, as_of=YESTERDAY)
    assert again["counts"] == {"logins": 4, "doubts": 0, "same": 4}
    assert await accounts(desk) == before
    assert await desk.published() == events


async def test_doubts_are_asked_and_answers_settle_them(desk: Desk) -> None:
    office_ = await office(desk)
    await desk.hear(hire("w1", name="Maria Lopez"), hire("w2", name="Maria Lopez"))
    await desk.hear(hire("w3", name="Jon Smith"), hire("w4", name="Ann O'Brien-Hall"))
    sheet = (
        "Name,Hubb,Gate\nMaria Lopez,ml,\nJohn Smith,js,\nANN OBRIEN HALL,ab,\nGhost Rider,gr,\n"
    )
    preview = await office_.preview_adoption(sheet, as_of=YESTERDAY)
    assert [doubt["key"] for doubt in preview["doubts"]] == ["column:Hubb"]
    column = preview["doubts"][0]
    assert column["answers"][0]["answer"] == "hub", "the nearest comes first"
    answers = {"column:Hubb": "hub"}
    preview = await office_.preview_adoption(sheet, as_of=YESTERDAY, answers=answers)
    doubts = {doubt["key"]: doubt for doubt in preview["doubts"]}
    assert set(doubts) == {"person:Maria Lopez (ml)", "person:John Smith"}
    assert {one["answer"] for one in doubts["person:Maria Lopez (ml)"]["answers"]} == {
        "w1",
        "w2",
        "nobody",
    }
    assert doubts["person:John Smith"]["answers"][0]["answer"] == "w3"
    await office_.apply_adoption(preview["plan"])
    assert set(await accounts(desk)) == {("w4", "hub")}, "what is in doubt is left out"
    answers |= {"person:Maria Lopez (ml)": "w2", "person:John Smith": "nobody"}
    answer = await office_.adopt(sheet, as_of=YESTERDAY, answers=answers)
    assert answer["doubts"] == []
    assert set(await accounts(desk)) == {("w4", "hub"), ("w2", "hub")}
    assert {finding["rule"] for finding in answer["findings"]} == {"orphan"}
    assert len(answer["findings"]) == 2


async def test_answers_are_remembered_for_the_next_sheet(desk: Desk) -> None:
    office_ = await office(desk, "w1")
    await office_.adopt(
        "Name,Hubb\nName of w1,a\n", as_of=as_date(-9), answers={"column:Hubb": "hub"}
    )
    preview = await office_.preview_adoption("Name,Hubb\nName of w1,b\n", as_of=YESTERDAY)
    assert preview["doubts"] == []
    assert preview["lines"][0]["effect"] == "adopt"


@pytest.mark.parametrize(
    "answers",
    [{"column:Hubb": "nothere"}, {"person:Name of w1": "w99"}, {"weather": "fine"}],
    ids=lambda answers: next(iter(answers)),
)
async def test_an_answer_that_is_none_is_refused(desk: Desk, answers: dict[str, str]) -> None:
    office_ = await office(desk, "w1")
    with pytest.raises(Problem, match="invalid_answer"):
        await office_.preview_adoption(WIDE, as_of=YESTERDAY, answers=answers)


async def test_a_plan_is_refused_once_something_has_changed(desk: Desk) -> None:
    office_ = await office(desk, "w1", "w2")
    preview = await office_.preview_adoption(WIDE, as_of=YESTERDAY)
    await desk.hear(hire("w3", name="Name of w1"))
    with pytest.raises(Problem, match="stale_plan"):
        await office_.apply_adoption(preview["plan"])
    assert await accounts(desk) == {}


async def test_somebody_who_has_left_gets_a_removal_order_at_once(desk: Desk) -> None:
    office_ = await office(desk, "w1", "w2")
    await desk.hear(leave_now("w1"))
    answer = await office_.adopt(WIDE, as_of=YESTERDAY)
    assert {(item["worker"], item["portal"], item["kind"]) for item in await desk.work()} == {
        ("w1", "hub", "suspend"),
        ("w1", "gate", "suspend"),
    }
    assert len([f for f in answer["findings"] if f["rule"] == "still_active"]) == 2
    hub = next(a for a in (await desk.state("w1"))["portals"] if a["portal"] == "hub")
    assert hub["exposed_since"] is not None


async def test_a_later_termination_orders_removal_of_what_was_adopted(desk: Desk) -> None:
    office_ = await office(desk, "w1", "w2")
    await office_.adopt(WIDE, as_of=YESTERDAY)
    await desk.hear(leave_now("w1"))
    assert {item["portal"] for item in await desk.work("w1")} == {"hub", "gate"}


async def test_adopted_rights_beyond_policy_stay_until_a_list_is_reconciled(desk: Desk) -> None:
    office_ = await office(desk, "w1")
    sheet = "Name,Hub\nName of w1,w1hub; eligibility; benefits; remittance\n"
    answer = await office_.adopt(sheet, as_of=YESTERDAY)
    assert [finding["rule"] for finding in answer["findings"]] == ["drift"]
    assert await desk.work() == []
    hub = next(a for a in (await desk.state("w1"))["portals"] if a["portal"] == "hub")
    assert hub["exposed_since"] is None


async def test_adopting_onto_a_portal_that_began_as_new_is_safe(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    sheet = "Name,Hub\nName of w1,w1hub; claim status\n"
    await Importing(desk).adopt(sheet, as_of=YESTERDAY)
    assert {item["portal"] for item in await desk.work()} == {"gate", "mac"}


async def test_an_old_sheet_adds_history_and_changes_nothing_that_is_known_better(
    desk: Desk,
) -> None:
    office_ = await office(desk, "w1", "w2")
    await office_.adopt(WIDE, as_of=YESTERDAY)
    before = await accounts(desk)
    old = "Name,Hub\nName of w1,w1old; since 2026-03-10; until 2026-04-30\n"
    answer = await office_.adopt(old, as_of=date(2026, 6, 1))
    assert answer["counts"]["past"] == 1
    older = await office_.adopt("Name,Hub\nName of w2,w2other\n", as_of=date(2026, 4, 1))
    assert older["counts"]["older"] == 1
    assert await accounts(desk) == before
    said = (await desk.published("account.adopted"))[-2:]
    assert said[0]["data"]["valid_from"] == "2026-03-10T07:00:00Z"
    assert said[0]["data"]["valid_until"] == "2026-05-01T07:00:00Z"
    assert [event["data"]["account"] for event in said] == [None, None]
    async with desk.pool.acquire() as conn:
        spans = await conn.fetch(
            "SELECT valid_from, valid_until FROM entitlement_history"
            " WHERE worker = 'w1' AND portal = 'hub' AND known_until = 'infinity'"
            " AND function = 'eligibility' ORDER BY valid_from"
        )
    assert len(spans) == 2
    assert spans[0]["valid_until"].isoformat() == "2026-05-01T07:00:00+00:00"


async def test_a_sheet_from_the_future_is_refused(desk: Desk) -> None:
    office_ = await office(desk, "w1")
    with pytest.raises(Problem, match="as_of_in_future"):
        await office_.preview_adoption(WIDE, as_of=as_date(2))


async def test_two_people_on_one_login_are_both_recorded_and_found(desk: Desk) -> None:
    office_ = await office(desk, "w1", "w2")
    answer = await office_.adopt("Name,Hub\nName of w1 / Name of w2,ours\n", as_of=YESTERDAY)
    assert set(await accounts(desk)) == {("w1", "hub"), ("w2", "hub")}
    assert [finding["rule"] for finding in answer["findings"]] == ["shared"]


async def test_a_long_sheet_has_a_row_per_login_or_per_function(desk: Desk) -> None:
    office_ = await office(desk, "w1")
    sheet = (
        "Employee ID;Portal;User ID;Status;Function;Tax ID\n"
        f"w1;hub;w1hub;active;Eligibility;{TIN}\nw1;hub;w1hub;active;Claims;{TIN}\n"
        "w1;Gate;;inactive;;\n"
    )
    await office_.adopt(sheet, as_of=YESTERDAY)
    known = await accounts(desk)
    assert set(known["w1", "hub"].rights) == {(TIN, "eligibility"), (TIN, "claim_status")}
    assert known["w1", "gate"].status == "suspended"


@pytest.mark.parametrize("shape", ["wide", "long"])
@pytest.mark.parametrize("write", [write_csv, write_workbook], ids=["csv", "xlsx"])
async def test_the_sheet_exports_in_the_shape_it_is_read_in(
    desk: Desk, shape: str, write: Any
) -> None:
    office_ = await office(desk, "w1", "w2")
    await office_.adopt(WIDE, as_of=YESTERDAY)
    before = await accounts(desk)
    columns, rows = sheet_of(
        list(before.values()),
        {"w1": ("Name of w1", ""), "w2": ("Name of w2", "")},
        directory().portals,
        ZONE,
        shape,
    )
    exported = write(columns, rows)
    preview = await office_.preview_adoption(exported, as_of=YESTERDAY)
    assert preview["counts"] == {"logins": 4, "doubts": 0, "same": 4}
    async with desk.pool.acquire() as conn:
        await conn.execute("DELETE FROM account")
    await office_.adopt(exported, as_of=YESTERDAY + timedelta(days=1))
    again = await accounts(desk)
    assert {key: (a.login_id, a.status, set(a.rights)) for key, a in again.items()} == {
        key: (a.login_id, a.status, set(a.rights)) for key, a in before.items()
    }


async def test_a_cell_that_says_two_logins_is_refused_by_line_and_column(desk: Desk) -> None:
    office_ = await office(desk, "w1")
    with pytest.raises(Problem, match="Line 2, column 'Hub'"):
        await office_.preview_adoption("Name,Hub\nName of w1,one; two\n", as_of=YESTERDAY)
    with pytest.raises(Problem, match="Line 2, column 'Hub'"):
        await office_.preview_adoption("Name,Hub\nName of w1,1.23E+11\n", as_of=YESTERDAY)


async def test_previews_that_nobody_applied_are_forgotten_with_their_files(desk: Desk) -> None:
    office_ = await office(desk, "w1", "w2")
    await office_.adopt(WIDE, as_of=YESTERDAY)
    await office_.preview_adoption("Name,Hub\nName of w1,other\n", as_of=YESTERDAY)
    async with desk.pool.acquire() as conn:
        assert await imports_store.forget_previews(conn, desk.clock.at + timedelta(days=1)) == 1
        assert await conn.fetchval("SELECT count(*) FROM imported_file") == 1
        assert await conn.fetchval("SELECT count(*) FROM import_plan") == 1
