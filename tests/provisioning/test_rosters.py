"""A portal's own list of users: what it confirms, contradicts, and shows amiss."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.provisioning.rules.operations import Transition
from services.provisioning.store import findings as findings_store
from services.provisioning.store import logins as logins_store
from shared.contracts.directory import Directory
from shared.errors import Problem
from tests.provisioning.desk import Desk, hire, hr_record, leave_now, sequence_of
from tests.provisioning.importing import Importing, existing
from tests.provisioning.worlds import NOW, ORGANIZATION, as_date, directory

HEADER = "User ID,Full name,Status,Last login,Functions\n"
W1 = "w1@hub,Name of w1,Active,2026-06-14,eligibility; benefits\n"


def later(**parts: float) -> datetime:
    return NOW + timedelta(**parts)


async def hub(desk: Desk, worker: str = "w1") -> dict[str, Any]:
    return next(a for a in (await desk.state(worker))["portals"] if a["portal"] == "hub")


async def rules(desk: Desk) -> list[str]:
    async with desk.pool.acquire() as conn:
        found = await findings_store.open_findings(conn, ORGANIZATION, "hub")
    return sorted(one.finding.rule.value for one in found)


async def hub_work(desk: Desk, *, ended: bool = False) -> list[tuple[str, str]]:
    items = await desk.work(ended=ended)
    return [(item["worker"], item["kind"]) for item in items if item["portal"] == "hub"]


async def test_one_list_confirms_many_operations_with_its_lines_as_evidence(desk: Desk) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    desk.clock.at = later(hours=2)
    roster = HEADER + W1 + W1.replace("w1", "w2")
    answer = await Importing(desk).import_roster("hub", roster, as_of=later(hours=1))
    assert answer["counts"]["confirmed"] == 2
    access = await hub(desk)
    assert (access["status"], access["grade"], access["login_id"]) == ("active", "roster", "w1@hub")
    assert {own["grade"] for own in access["effective"]} == {"roster"}
    assert await hub_work(desk) == []
    ended = [item for item in await desk.work(ended=True) if item["worker"] == "w1"]
    assert "line 2" in ended[0]["evidence"]["text"]
    assert "operation.confirmed" in sequence_of(await desk.published())


async def test_a_list_is_pasted_as_the_portals_screen_shows_it(desk: Desk) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    desk.clock.at = later(hours=2)
    screen = """
      User ID     Full name      Status     Functions
      -------     ---------      ------     ---------
      w1@hub      Name of w1     Active     eligibility; benefits
      ghost       Ghost Rider    Active     eligibility
    """
    answer = await Importing(desk).import_roster("hub", screen, as_of=later(hours=1))
    assert answer["counts"]["confirmed"] == 1
    access = await hub(desk)
    assert (access["status"], access["grade"], access["login_id"]) == ("active", "roster", "w1@hub")
    assert await rules(desk) == ["orphan"]
    assert await hub_work(desk) == [("w2", "open")]


async def test_a_list_never_confirms_what_was_requested_after_it(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    answer = await Importing(desk).import_roster(
        "hub", HEADER + W1, as_of=NOW - timedelta(minutes=1)
    )
    assert answer["counts"]["confirmed"] == 0
    ended = [item["status"] for item in await desk.work(ended=True) if item["portal"] == "hub"]
    assert ended == ["cancelled"], "the login is there, so nothing is left to order"


async def test_a_list_contradicts_only_what_was_confirmed_before_it(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    await desk.finish_all()
    desk.clock.at = later(hours=1)
    await Importing(desk).import_roster("hub", HEADER, as_of=NOW - timedelta(hours=1))
    assert (await hub(desk))["status"] == "active", "confirmed after the list was right"
    await Importing(desk).import_roster("hub", HEADER + "x,X Y,active,,\n", as_of=later(minutes=30))
    access = await hub(desk)
    assert access["status"] == "closed"
    assert await hub_work(desk) == [("w1", "open")]
    assert "account.closed" in sequence_of(await desk.published())


async def test_a_grant_done_late_on_a_login_that_had_lapsed_tells_that_it_works_again(
    desk: Desk,
) -> None:
    await desk.hear(hire("w1"))
    line = "w1@hub,Name of w1,Active,2026-06-14,eligibility\n"
    desk.clock.at = later(hours=1)
    await Importing(desk).import_roster("hub", HEADER + line, as_of=later(hours=1))
    (grant,) = [item for item in await desk.work() if item["kind"] == "grant"]
    desk.clock.at = later(hours=2)
    lapsed = HEADER + line.replace("Active", "Inactive")
    await Importing(desk).import_roster("hub", lapsed, as_of=later(hours=2))
    assert await hub_work(desk) == [("w1", "resume")]
    before = sequence_of(await desk.published()).count("account.resumed")
    await desk.say(grant["operation_id"], Transition.DONE)
    assert (await hub(desk))["status"] == "active"
    assert sequence_of(await desk.published()).count("account.resumed") == before + 1
    resumed = (await desk.published("account.resumed"))[-1]["data"]
    assert (resumed["operation_id"], resumed["grade"]) == (str(grant["operation_id"]), "person")


async def test_a_suspended_login_that_is_listed_as_active_is_exposed_again(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    await Importing(desk).import_roster("hub", HEADER + W1, as_of=NOW)
    await desk.finish_all()
    await desk.hear(leave_now())
    await desk.finish_all()
    assert (await hub(desk))["status"] == "suspended"
    desk.clock.at = later(hours=3)
    await Importing(desk).import_roster("hub", HEADER + W1, as_of=later(hours=2))
    access = await hub(desk)
    assert access["exposed_since"] is not None
    assert await hub_work(desk) == [("w1", "suspend")]
    assert await rules(desk) == ["still_active"]
    assert "account.resumed" in sequence_of(await desk.published())
    await desk.finish_all()
    desk.clock.at = later(hours=5)
    gone = HEADER + W1.replace("Active", "Inactive")
    await Importing(desk).import_roster("hub", gone, as_of=later(hours=5))
    assert await rules(desk) == []
    assert (await hub(desk))["grade"] == "roster"
    assert "finding.resolved" in sequence_of(await desk.published())


async def test_a_login_that_the_portal_switched_off_has_lapsed(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    await desk.finish_all()
    desk.clock.at = later(hours=2)
    await Importing(desk).import_roster(
        "hub", HEADER + W1.replace("Active", "Disabled"), as_of=later(hours=1)
    )
    assert "account.lapsed" in sequence_of(await desk.published())
    assert await hub_work(desk) == [("w1", "resume")]


async def test_importing_twice_changes_nothing(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    importing = Importing(desk)
    await importing.import_roster("hub", HEADER + W1 + "ghost,Ghost Rider,active,,\n")
    before = await desk.published()
    again = await importing.preview_roster("hub", HEADER + W1 + "ghost,Ghost Rider,active,,\n")
    assert again["counts"]["confirmed"] == again["counts"]["changed"] == 0
    await importing.apply_roster(again["plan"])
    await importing.apply_roster(again["plan"])
    assert await desk.published() == before


async def test_a_plan_is_refused_once_something_has_changed(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    importing = Importing(desk)
    preview = await importing.preview_roster("hub", HEADER + W1)
    await desk.finish_all()
    with pytest.raises(Problem, match="stale_plan"):
        await importing.apply_roster(preview["plan"])


async def test_the_first_whole_list_ends_observing(desk: Desk) -> None:
    await desk.apply_directory(existing("hub", "gate", "mac"))
    await desk.hear(hire("w1"), hire("w2"))
    await Importing(desk).adopt(
        "Name,Hub\nName of w1,w1@hub; eligibility; remittance\n", as_of=as_date(-1)
    )
    assert await desk.work() == []
    part = HEADER + "w1@hub,Name of w1,Active,,eligibility; remittance\n"
    await Importing(desk).import_roster("hub", part, complete=False)
    assert await hub_work(desk) == [("w1", "grant")], "a login that was seen is known"
    desk.clock.at = later(hours=1)
    answer = await Importing(desk).import_roster("hub", part, as_of=later(hours=1))
    assert answer["reconciles"]
    assert set(await hub_work(desk)) == {("w1", "grant"), ("w1", "revoke"), ("w2", "open")}
    assert len(await desk.published("portal.reconciled")) == 1
    assert {item["portal"] for item in await desk.work()} == {"hub"}, "the others are observed"


async def test_last_logins_are_published_and_never_go_back(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    importing = Importing(desk)
    await importing.import_roster("hub", HEADER + W1)
    access = await hub(desk)
    assert access["last_login_at"] == "2026-06-14T07:00:00Z"
    assert access["last_login_grade"] == "roster"
    await importing.import_roster(
        "hub", HEADER + W1.replace("06-14", "05-01"), as_of=NOW - timedelta(days=40)
    )
    assert (await hub(desk))["last_login_at"] == "2026-06-14T07:00:00Z"


async def test_whose_a_login_is_is_asked_and_a_whole_list_waits_for_the_answer(desk: Desk) -> None:
    await desk.hear(hire("w1", name="Jon Smith"))
    roster = HEADER + "js,John Smith,active,,eligibility\n"
    importing = Importing(desk)
    preview = await importing.preview_roster("hub", roster)
    assert [doubt["key"] for doubt in preview["doubts"]] == ["person:John Smith"]
    assert preview["findings"] == []
    with pytest.raises(Problem, match="doubts_open"):
        await importing.apply_roster(preview["plan"])
    await importing.import_roster("hub", roster, answers={"person:John Smith": "w1"})
    assert (await hub(desk))["login_id"] == "js"


async def test_columns_that_were_explained_once_are_understood_the_next_time(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    importing = Importing(desk)
    odd = "Kennung,Wer,Elig,Remits\nw1@hub,Name of w1,X,\n"
    with pytest.raises(Problem, match="No column identifies the logins"):
        await importing.preview_roster("hub", odd)
    columns = {"Kennung": "login_id", "Wer": "name", "Remits": "function:remittance"}
    await importing.import_roster("hub", odd, columns=columns)
    assert [own["function"] for own in (await hub(desk))["effective"]] == ["eligibility"]
    preview = await importing.preview_roster("hub", odd)
    assert preview["columns"]["Kennung"] == "login_id"


async def test_a_list_without_functions_confirms_the_login_and_only_assumes_the_rest(
    desk: Desk,
) -> None:
    await desk.hear(hire("w1"))
    await Importing(desk).import_roster("hub", "User ID,Name\nw1@hub,Name of w1\n")
    access = await hub(desk)
    assert access["grade"] == "roster"
    assert {own["grade"] for own in access["effective"]} == {"assumed"}
    assert await hub_work(desk) == []


def with_rule(days: int) -> Directory:
    document = directory().model_dump(mode="json", exclude_none=True)
    portal = next(one for one in document["portals"] if one["id"] == "hub")
    portal["rules"] = [{"rule": "inactivity_days", "value": days, "source": "the guide, p. 4"}]
    return Directory.model_validate(document)


FINDINGS = {
    "nobody's": ("g,Ghost Rider,Active,2026-06-14,eligibility", ["orphan"]),
    "nobody's, switched off": ("g,Ghost Rider,Disabled,,", []),
    "left": ("w9@hub,Name of w9,Active,2026-06-14,eligibility; benefits", ["still_active"]),
    "left, and can do nothing": ("w9@hub,Name of w9,Active,2026-06-14,", []),
    "left, switched off": ("w9@hub,Name of w9,Inactive,,", []),
    "idle for longer than the rule": (
        "w1,Name of w1,Active,2026-05-05,eligibility; benefits",
        ["dormant", "rule_contradicted"],
    ),
    "idle for as long as the rule": ("w1,Name of w1,Active,2026-05-16,eligibility; benefits", []),
    "never used": ("w1,Name of w1,Active,never,eligibility; benefits", ["dormant"]),
    "named after a desk": ("frontdesk,Front Desk,Active,,eligibility", ["generic"]),
    "numbered": ("billing1,Billing,Active,,eligibility", ["generic"]),
    "two people": ("ours,Name of w1 / Name of w2,Active,2026-06-14,eligibility", ["shared"]),
    "too much": ("w1,Name of w1,Active,2026-06-14,eligibility; benefits; remittance", ["drift"]),
    "too little": ("w1,Name of w1,Active,2026-06-14,eligibility", ["drift"]),
    "as it should be": ("w1,Name of w1,Active,2026-06-14,eligibility; benefits", []),
    "two logins of one person": (
        "w1,Name of w1,Active,2026-06-14,eligibility; benefits\n"
        "w1b,Name of w1,Active,2026-06-14,eligibility; benefits",
        ["second_login"],
    ),
}


@pytest.mark.parametrize(("lines", "expected"), FINDINGS.values(), ids=FINDINGS)
async def test_each_kind_of_finding_is_found_and_says_what_to_do(
    desk: Desk, lines: str, expected: list[str]
) -> None:
    await desk.apply_directory(with_rule(30))
    await desk.hear(hire("w1"), hire("w2"), hire("w9"), leave_now("w9"))
    answer = await Importing(desk).import_roster("hub", HEADER + lines + "\n")
    assert sorted({finding["rule"] for finding in answer["findings"]}) == expected
    assert all(finding["next_step"] for finding in answer["findings"])
    raised = await desk.published("finding.raised")
    assert {event["data"]["rule"] for event in raised} >= set(expected)


async def test_what_stands_about_a_login_is_published_of_everybody_who_holds_it(
    desk: Desk,
) -> None:
    await desk.hear(hire("w1"), hire("w2"))
    importing = Importing(desk)
    idle = W1.replace("2026-06-14", "2026-01-05")
    await importing.import_roster("hub", HEADER + idle, as_of=NOW - timedelta(hours=2))
    await desk.pass_time()
    assert [one["rule"] for one in (await hub(desk))["findings"]] == ["dormant"]

    ours = "ours,Name of w1 / Name of w2,Active,2026-06-14,eligibility\n"
    await importing.import_roster("hub", HEADER + ours, as_of=NOW - timedelta(hours=1))
    await desk.pass_time()
    told = {worker: (await hub(desk, worker))["findings"] for worker in ("w1", "w2")}
    assert {worker: [one["rule"] for one in found] for worker, found in told.items()} == {
        "w1": ["shared"],
        "w2": ["shared"],
    }

    both = W1 + W1.replace("w1", "w2")
    await importing.import_roster("hub", HEADER + both)
    await desk.pass_time()
    assert (await hub(desk))["findings"] == []


async def test_a_rule_that_a_list_contradicts_is_told_with_its_source(desk: Desk) -> None:
    await desk.apply_directory(with_rule(30))
    await desk.hear(hire("w1"))
    roster = HEADER + W1.replace("2026-06-14", "2026-05-05")
    answer = await Importing(desk).import_roster("hub", roster)
    found = next(f for f in answer["findings"] if f["rule"] == "rule_contradicted")
    assert "30 idle days (the guide, p. 4)" in found["detail"]
    assert "41 days" in found["detail"]


async def test_a_mover_and_a_rehire_keep_the_login_the_list_shows(desk: Desk) -> None:
    await desk.hear(hire("w1"))
    await Importing(desk).import_roster("hub", HEADER + W1)
    await desk.hear(
        hr_record(
            "worker.changed",
            id_="c",
            employment_id="w1-e1",
            effective_on=as_date(0).isoformat(),
            name="Name Changed",
        )
    )
    desk.clock.at = later(hours=1)
    roster = HEADER + W1.replace("Name of w1", "Name Changed")
    preview = await Importing(desk).preview_roster("hub", roster, as_of=later(hours=1))
    assert preview["lines"][0]["why"] == "the login id is known"


# -- properties

STATUSES = ["Active", "Inactive", None]
FUNCTIONS = ["eligibility; benefits", "eligibility", "eligibility; benefits; remittance"]
lists = st.lists(
    st.tuples(st.sampled_from(STATUSES), st.sampled_from(FUNCTIONS)), min_size=3, max_size=3
)


def written(entries: list[tuple[str | None, str]]) -> list[str]:
    return [
        f"w{n}@hub,Name of w{n},{status},2026-06-1{n},{functions}\n"
        for n, (status, functions) in enumerate(entries, start=1)
        if status is not None
    ]


async def picture(desk: Desk) -> list[Any]:
    async with desk.pool.acquire() as conn:
        accounts = await logins_store.accounts_on(conn, ORGANIZATION, ["hub"])
    return [
        (one.worker, one.status.value, one.login_id, sorted(one.rights), one.last_login_at)
        for one in accounts
    ]


async def start_over(desk: Desk) -> None:
    async with desk.pool.acquire() as conn:
        for table in (
            "account",
            "operation",
            "worker",
            "worker_event",
            "outbox",
            "portal_login",
            "roster",
            "portal_finding",
            "import_plan",
            "import_meaning",
            "entitlement_history",
            "chore",
        ):
            await conn.execute(f"DELETE FROM {table}")
    desk.clock.at = NOW
    await desk.hear(hire("w1"), hire("w2"), hire("w3"))
    first = (await desk.work("w1"))[0]
    await desk.say(first["operation_id"], Transition.CLAIM)


slow = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@slow
@given(older=lists, newer=lists)
async def test_lists_in_any_order_twice_or_in_pieces_come_to_the_same(
    desk: Desk, older: list[Any], newer: list[Any]
) -> None:
    importing = Importing(desk)
    pictures = []
    first, second = written(older), written(newer)
    for way in ("in order", "twice", "backwards", "in pieces first"):
        await start_over(desk)
        desk.clock.at = later(hours=4)
        one = (HEADER + "".join(first), later(hours=1))
        other = (HEADER + "".join(second), later(hours=3))
        steps = {
            "in order": [one, other],
            "twice": [one, one, other, other, one],
            "backwards": [other, one],
            "in pieces first": [one, other],
        }[way]
        if way == "in pieces first":
            for line in second:
                await importing.import_roster(
                    "hub", HEADER + line, as_of=later(hours=3), complete=False
                )
        for text, as_of in steps:
            await importing.import_roster("hub", text, as_of=as_of)
        pictures.append(await picture(desk))
    shown = [[row[:4] for row in one] for one in pictures]
    assert shown[0] == shown[1] == shown[2] == shown[3]


@slow
@given(entries=lists, minutes=st.integers(-120, 120))
async def test_a_list_confirms_nothing_that_was_requested_after_it(
    desk: Desk, entries: list[Any], minutes: int
) -> None:
    await start_over(desk)
    desk.clock.at = later(hours=3)
    as_of = later(minutes=minutes)
    await Importing(desk).import_roster("hub", HEADER + "".join(written(entries)), as_of=as_of)
    for item in await desk.work(ended=True):
        if item["evidence"] and item["evidence"]["kind"] == "roster_line":
            assert item["requested_at"] <= as_of
