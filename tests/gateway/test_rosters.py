"""HR's lists at the gateway: planned, applied as events, held when they lack people, and asked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest_asyncio

from services.gateway.handlers.rosters import LATER_BYTES
from shared.sheets.workbook import write_workbook
from tests.gateway.conftest import OTHER_SOURCE, SOURCE, Door, signed
from tests.gateway.lists import HEADINGS, HrOffice, csv, left, line, state
from tests.gateway.test_clients import ask, register
from tests.gateway.test_purge import purge
from tests.gateway.test_sign_in import csrf_of, sign_in

TODAY = datetime.now(ZoneInfo("America/Los_Angeles")).date()


@pytest_asyncio.fixture(loop_scope="session")
async def office(door: Door) -> HrOffice:
    office = HrOffice(door)
    await office.begin()
    return office


def kinds(plan: Any) -> dict[str, int]:
    """How much of what, of that of which there is any."""
    return {name: count for name, count in plan["counts"].items() if count and name != "lines"}


async def test_a_list_becomes_hires_changes_and_departures_each_with_its_reason(
    office: HrOffice,
) -> None:
    await office.know(state("w1"), state("w2"), state("w3"))
    plan = await office.plan(
        csv(
            line("w1"),
            line("w2", title="Coder"),
            line("w3", status="Terminated", terminated_on="2026-03-31"),
            line("w4", hired_on="2026-11-02"),
            line("w9", status="Terminated", terminated_on="2019-05-01"),
        )
    )
    assert kinds(plan) == {"hire": 1, "change": 1, "departure": 1, "unchanged": 1, "past": 1}
    assert plan["changes"][0]["reason"] == "title Biller to Coder"
    assert plan["departures"][0]["reason"] == "status 'Terminated', last day 2026-03-31"
    assert await office.said() == [], "nothing happens before it is applied"

    applied = await office.post(f"/hr/v1/rosters/{plan['plan']}/apply", {"hash": plan["hash"]})
    assert (applied.status_code, applied.json()["status"]) == (200, "applied")
    assert applied.json()["progress"] == {"events": 3, "published": 3}
    said = {worker: (type_, data) for type_, worker, data in await office.said()}
    assert said["w3"] == (
        "worker.terminated",
        {"effective_on": "2026-03-31", "employment_id": "w3-1", "voluntary": True}
        | {"immediate": False},
    )
    assert said["w2"][1]["title"] == "Coder"
    assert said["w4"][1]["employment_id"] == "w4-1"


async def test_a_list_of_a_source_that_the_directory_does_not_name_is_not_applied(
    office: HrOffice,
) -> None:
    await office.know()
    plan = await office.plan(csv(line("W-1")))
    await office.door.fetch("DELETE FROM directory_object WHERE kind = 'source'")
    answer = await office.post(f"/hr/v1/rosters/{plan['plan']}/apply", {"hash": plan["hash"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "source_not_in_directory")
    assert await office.said() == []


async def test_a_plan_that_says_something_else_by_now_is_refused(office: HrOffice) -> None:
    await office.know(state("w1"))
    plan = await office.plan(csv(line("w1", title="Coder")))
    await office.know(state("w1", title="Coder", version=2))
    answer = await office.post(f"/hr/v1/rosters/{plan['plan']}/apply", {"hash": plan["hash"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_plan")
    assert await office.said() == []


async def test_a_list_sent_again_gives_the_same_events_and_after_it_is_known_none(
    office: HrOffice,
) -> None:
    await office.know()
    first = await office.plan(csv(line("w1")), apply=True)
    assert first["status"] == "applied"
    again = await office.plan(csv(line("w1")), apply=True)
    hired = [data for _, _, data in await office.said()]
    assert hired[0] == hired[1], "while provisioning has not caught up"
    await office.know(state("w1"))
    assert kinds(await office.plan(csv(line("w1")))) == {"unchanged": 1}
    assert again["plan"] != first["plan"]


async def test_who_is_missing_keeps_access_and_is_asked_about(office: HrOffice) -> None:
    await office.know(state("w1"), state("w2"))
    await office.plan(csv(line("w1")), apply=True)
    assert await office.said() == []
    (question,) = (await office.get("/hr/v1/questions"))["questions"]
    assert (question["worker"], question["kind"]) == ("w2", "missing")
    assert question["answers"] == ["left", "still_here", "not_ours"]


async def test_who_has_left_by_the_answer_leaves_on_the_day_given_under_hrs_name(
    office: HrOffice,
) -> None:
    await office.know(state("w1"), state("w2"))
    await office.plan(csv(line("w1")), apply=True)
    refused = await office.answer("left", ["w2"])
    assert refused.json()["code"] == "day_missing"
    answer = await office.answer("left", ["w2"], on="2026-11-20")
    assert answer.json() == {"answered": 1, "events": 1}
    ((type_, worker, data),) = await office.said()
    assert (type_, worker, data["effective_on"]) == ("worker.terminated", "w2", "2026-11-20")
    assert (await office.get("/hr/v1/questions"))["questions"] == []


async def test_who_is_still_here_is_not_asked_about_again_until_they_were_seen(
    office: HrOffice,
) -> None:
    await office.know(state("w1"), state("w2"))
    await office.plan(csv(line("w1")), apply=True)
    assert (await office.answer("still_here", ["w2"])).json() == {"answered": 1, "events": 0}
    assert kinds(await office.plan(csv(line("w1")), apply=True)) == {"unchanged": 1}
    await office.plan(csv(line("w1"), line("w2")), apply=True)
    assert kinds(await office.plan(csv(line("w1")), apply=True)) == {
        "unchanged": 1,
        "questions": 1,
        "missing": 1,
    }


async def test_who_is_not_the_sources_is_no_longer_expected_from_it(office: HrOffice) -> None:
    await office.know(state("w1"), state("w2"))
    await office.plan(csv(line("w1")), apply=True)
    await office.answer("not_ours", ["w2"])
    plan = await office.plan(csv(line("w1")))
    assert (plan["expected"], kinds(plan)) == (1, {"unchanged": 1})


async def test_a_list_that_lacks_too_many_is_held_and_nobody_loses_access(
    office: HrOffice,
) -> None:
    await office.know(*(state(f"w{number}") for number in range(20)))
    short = csv(*(line(f"w{number}", title="Coder") for number in range(12)))
    plan = await office.plan(short, name="friday.csv", apply=True)
    assert (plan["status"], plan["counts"]["missing"], plan["expected"]) == ("held", 8, 20)
    refused = await office.post(f"/hr/v1/rosters/{plan['plan']}/apply", {"hash": plan["hash"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "list_held")
    assert await office.said() == []
    assert ("hr_file.held", 8) in [
        (kind, data.get("missing")) for kind, data in await office.door.activity()
    ]

    answer = await office.answer("still_here")
    assert answer.json() == {"answered": 8, "events": 0}
    freed = await office.get(f"/hr/v1/rosters/{plan['plan']}")
    assert freed["status"] == "planned"
    await office.post(f"/hr/v1/rosters/{plan['plan']}/apply", {"hash": freed["hash"]})
    assert {worker for _, worker, _ in await office.said()} == {f"w{n}" for n in range(12)}


async def test_who_has_two_ids_is_one_person_whichever_the_list_names(office: HrOffice) -> None:
    merged = state("w1")
    old = replace(state("w0"), merged_into="w1")
    await office.know(merged, old)
    plan = await office.plan(csv(line("w1")))
    assert (plan["expected"], kinds(plan)) == (1, {"unchanged": 1})


async def test_a_short_list_is_held_even_if_a_line_does_not_tell_whom_it_is_about(
    office: HrOffice,
) -> None:
    await office.know(*(state(f"w{number}") for number in range(20)))
    plan = await office.plan(csv(line("w1"), line("1E+05")), apply=True)
    assert (plan["status"], plan["counts"]["missing"]) == ("held", 19)


async def test_a_rejected_list_changes_and_asks_nothing(office: HrOffice) -> None:
    await office.know(*(state(f"w{number}") for number in range(20)))
    plan = await office.plan(csv(line("w1")), apply=True)
    answer = await office.post(f"/hr/v1/rosters/{plan['plan']}/reject")
    assert answer.json()["status"] == "rejected"
    assert (await office.get("/hr/v1/questions"))["questions"] == []
    again = await office.post(f"/hr/v1/rosters/{plan['plan']}/apply", {"hash": plan["hash"]})
    assert again.json()["code"] == "list_decided"


async def test_a_later_list_replaces_one_that_nobody_decided_about(office: HrOffice) -> None:
    await office.know(*(state(f"w{number}") for number in range(20)))
    held = await office.plan(csv(line("w1")), apply=True)
    whole = csv(*(line(f"w{number}") for number in range(20)))
    assert (await office.plan(whole, apply=True))["status"] == "applied"
    assert (await office.get(f"/hr/v1/rosters/{held['plan']}"))["status"] == "replaced"
    assert (await office.get("/hr/v1/questions"))["questions"] == []


async def test_columns_that_nobody_asked_for_are_named_and_kept_nowhere(
    office: HrOffice,
) -> None:
    await office.know()
    content = (f"{HEADINGS},SSN,Annual Salary\n{line('w1')},078-05-1120,91000\n").encode()
    plan = await office.plan(content, apply=True)
    assert plan["dropped"] == ["SSN", "Annual Salary"]
    kept = await office.door.fetch(
        "SELECT roster::text FROM roster UNION ALL SELECT outbox::text FROM outbox"
        " UNION ALL SELECT idempotency::text FROM idempotency"
    )
    for secret in ("078-05-1120", "91000"):
        assert not any(secret in row[0] or secret.encode().hex() in row[0] for row in kept)


async def test_what_a_list_said_is_forgotten_once_decided_about_or_after_its_time(
    office: HrOffice,
) -> None:
    await office.know()
    decided = await office.plan(csv(line("w1")), apply=True)
    waiting = await office.plan(csv(line("w1")))
    kept = "SELECT plan::text FROM roster WHERE sealed IS NOT NULL"
    assert [row[0] for row in await office.door.fetch(kept)] == [waiting["plan"]]
    await office.door.fetch("UPDATE roster SET expires_at = now()")
    await purge(office.door)
    assert await office.door.fetch(kept) == []
    states = {one["plan"]: one["status"] for one in (await office.get("/hr/v1/rosters"))["rosters"]}
    assert states == {decided["plan"]: "applied", waiting["plan"]: "expired"}


async def test_a_line_that_cannot_be_read_is_left_out_by_line_and_column(
    office: HrOffice,
) -> None:
    await office.know(state("w1"), state("00042"))
    plan = await office.plan(
        csv(
            line("w1", title="Coder"),
            line("42"),
            line("1E+05"),
            line("w6", status="Furloughed"),
            line("w7", terminated_on="sometime"),
            line("w8", title="Biller"),
            line("w8", title="Coder"),
        )
    )
    assert [(each["line"], each["column"]) for each in plan["errors"]] == [
        (3, "worker_id"),
        (4, "worker_id"),
        (5, "status"),
        (6, "terminated_on"),
        (8, "worker_id"),
    ]
    assert "known as 00042" in plan["errors"][0]["detail"]
    assert kinds(plan) == {"change": 1, "errors": 5}, "nobody is missing when ids are unreadable"


async def test_a_file_that_is_no_list_is_refused_and_the_refusal_is_kept(
    office: HrOffice,
) -> None:
    answer = await office.send(b"Name,Title\nAda,Biller\n")
    assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_file")
    (kept,) = (await office.get("/hr/v1/rosters"))["rosters"]
    assert (kept["status"], kept["problem"]) == ("unreadable", answer.json()["detail"])


async def test_a_workbook_is_read_like_a_list_in_text(office: HrOffice) -> None:
    await office.know(state("w1"))
    workbook = write_workbook(HEADINGS.split(","), [line("w1", title="Coder").split(",")])
    assert kinds(await office.plan(workbook, name="list.xlsx")) == {"change": 1}


async def test_who_left_by_hrs_own_word_is_not_hired_again_by_a_list_that_is_behind(
    office: HrOffice,
) -> None:
    await office.know(state("w1", ends_at=left(days=2)))
    plan = await office.plan(csv(line("w1")), apply=True)
    assert [each["kind"] for each in plan["questions"]] == ["active_again"]
    assert await office.said() == []
    body = {"source": SOURCE, "kind": "active_again", "answer": "still_here", "workers": ["w1"]}
    await office.post("/hr/v1/questions/answers", body)
    ((type_, _, data),) = await office.said()
    assert (type_, data["employment_id"]) == ("worker.hired", "w1-1")


async def test_a_later_first_day_is_another_employment(office: HrOffice) -> None:
    await office.know(state("w1", ends_at=left(days=40)))
    plan = await office.plan(csv(line("w1", hired_on=TODAY.isoformat())), apply=True)
    assert kinds(plan) == {"hire": 1}
    ((_, _, data),) = await office.said()
    assert data["employment_id"] == "w1-2"


async def test_a_leave_that_the_list_reported_ends_with_it_and_no_other(
    office: HrOffice,
) -> None:
    await office.know(state("w1"), state("w2", on_leave=True))
    await office.plan(csv(line("w1", status="On leave"), line("w2")), apply=True)
    assert [type_ for type_, _, _ in await office.said()] == ["worker.leave_started"]
    await office.know(state("w1", on_leave=True, version=2))
    plan = await office.plan(csv(line("w1"), line("w2")), apply=True)
    assert [(each["worker"], each["kind"]) for each in plan["questions"]] == [
        ("w2", "still_on_leave")
    ]
    assert [worker for type_, worker, _ in await office.said() if type_.endswith("ended")] == ["w1"]


async def test_a_dated_departure_is_announced_and_its_disappearance_asked(
    office: HrOffice,
) -> None:
    await office.know(state("w1"), state("w2", ends_at=datetime.now(UTC) + timedelta(days=9)))
    soon = (TODAY + timedelta(days=20)).isoformat()
    plan = await office.plan(csv(line("w1", terminated_on=soon), line("w2")))
    assert plan["departures"][0]["reason"] == f"last day {soon}"
    assert [each["kind"] for each in plan["questions"]] == ["still_leaving"]


async def test_a_title_without_a_duty_and_an_unknown_place_are_named(office: HrOffice) -> None:
    await office.know()
    content = csv(line("w1", title="Rev Cycle Spec II")).replace(b"Tacoma", b"Spokane")
    plan = await office.plan(content)
    assert (plan["titles"], plan["places"]) == ({"Rev Cycle Spec II": 1}, {"Spokane": 1})


async def test_a_large_list_is_published_in_pieces_and_says_how_far(office: HrOffice) -> None:
    await office.know()
    applied = await office.plan(csv(*(line(f"w{number}") for number in range(1_200))), apply=True)
    assert applied["progress"]["events"] == 1_200
    while (now := await office.get(f"/hr/v1/rosters/{applied['plan']}"))["status"] != "applied":
        assert now["status"] == "applying"
    assert len(await office.said()) == 1_200


async def test_a_source_signs_its_list_and_speaks_for_itself_only(office: HrOffice) -> None:
    await office.know()
    content = csv(line("w1"))
    headers = signed(content, "text/csv")

    async def send(source: str) -> int:
        answer = await office.door.http.post(
            "/hr/v1/rosters", content=content, params={"source": source}, headers=headers
        )
        return answer.status_code

    assert await send(SOURCE) == 201
    assert await send(OTHER_SOURCE) == 401


async def test_a_program_sends_the_list_of_its_own_source_and_decides_nothing(
    office: HrOffice,
) -> None:
    await office.know()
    client = await register(office.door)
    token = (await ask(office.door, client)).json()["access_token"]
    program = HrOffice(office.door, headers={"Authorization": f"Bearer {token}"})
    plan = await program.plan(csv(line("w1")), apply=True)
    assert plan["status"] == "applied"
    assert (await program.send(csv(line("w1")), source=OTHER_SOURCE)).status_code == 401
    assert (await program.post(f"/hr/v1/rosters/{plan['plan']}/reject")).status_code == 403


async def test_nobody_without_hrs_scope_sends_lists(door: Door) -> None:
    office = HrOffice(door, roles=("administrator",))
    await office.sign_in()
    assert (await office.send(csv(line("w1")))).status_code == 403


async def test_nobody_answers_about_themselves(office: HrOffice) -> None:
    await office.know(state("w1"), state("w2"))
    await office.plan(csv(line("w1")), apply=True)
    herself = HrOffice(office.door, roles=("hr", "worker=w2"))
    await herself.sign_in()
    answer = await herself.answer("still_here", ["w2"])
    assert (answer.status_code, answer.json()["code"]) == (403, "self_entry")


LONG = csv(*(line(f"w{number:05}", name=f"{number:05} {'A' * 30}") for number in range(8_000)))


async def send_by_page(office: HrOffice, content: bytes, key: str) -> str:
    """Send a list as somebody at the console does; the page that they are led to."""
    door = office.door
    await sign_in(door, "hr")
    answer = await door.http.post(
        "/hr/lists",
        data={"csrf": csrf_of(await door.http.get("/hr/lists")), "key": key},
        files={"file": ("nightly.csv", content)},
    )
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def until_read(office: HrOffice, page: str) -> str:
    """What the page of a list says once it is read."""
    with anyio.fail_after(60):
        while True:
            shown = (await office.door.http.get(page)).text
            if 'data-live="done"' in shown:
                return shown
            assert "lines are read" in shown
            await anyio.sleep(0.1)


async def test_a_long_list_is_read_beside_everything_else_and_its_page_tells_how_far(
    office: HrOffice,
) -> None:
    await office.know(state("w00001"))
    assert len(LONG) > LATER_BYTES
    page = await send_by_page(office, LONG, "long")
    assert await send_by_page(office, LONG, "long") == page, "the same form sent again"
    shown = await until_read(office, page)
    assert "See what it comes to" in shown
    assert "7,999 hired" in shown
    assert "Apply this list" in shown
    assert [each["status"] for each in (await office.get("/hr/v1/rosters"))["rosters"]] == [
        "planned"
    ]


async def test_a_long_list_that_cannot_be_read_says_where_on_its_page(office: HrOffice) -> None:
    await office.know()
    page = await send_by_page(office, LONG + b'w9,"Ada\n', "broken")
    assert "Line 8002" in await until_read(office, page)


async def test_an_address_that_was_cut_off_is_told_without_what_programs_say(
    office: HrOffice,
) -> None:
    await sign_in(office.door, "hr")
    shown = await office.door.http.get("/hr/lists/93f1")
    assert (shown.status_code, "follow a link" in shown.text) == (422, True)
    assert "Input should" not in shown.text


async def test_a_list_whose_reading_was_cut_off_says_so_and_what_to_do(office: HrOffice) -> None:
    await office.know()
    page = await send_by_page(office, csv(line("w1")), "cut off")
    plan = page.rpartition("/")[2]
    await office.door.fetch(
        "UPDATE roster SET status = 'reading', sealed = NULL, nonce = NULL,"
        " received_at = now() - interval '1 hour' WHERE plan = $1::uuid",
        plan,
    )
    await purge(office.door)
    assert "Send it again" in (await office.door.http.get(page)).text
