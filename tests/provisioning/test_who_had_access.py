"""Who had access to a portal at a moment, as an auditor asks it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from services.provisioning.handlers.commands import Evidence, Said
from services.provisioning.rules.history import Source, statements_between
from services.provisioning.rules.operations import Account, Transition
from services.provisioning.store import history as history_store
from shared.contracts.directory import Function
from shared.contracts.envelope import event_id
from shared.contracts.state import AccountStatus, Entitlement, Grade
from shared.postgres import Connection, in_transaction
from tests.provisioning.asking import Asking
from tests.provisioning.desk import Desk, hire, leave_now
from tests.provisioning.importing import Importing, existing
from tests.provisioning.worlds import NOW, ORGANIZATION, TIN, as_date

PATH = "/access/v1/who-had-access"


def moment(**parts: float) -> str:
    """An instant counted from the story's beginning."""
    return (NOW + timedelta(**parts)).isoformat()


def rules(gaps: list[Any]) -> list[str]:
    return [gap["rule"] for gap in gaps]


async def seen_on_a_list(desk: Desk, worker: str) -> None:
    """The gate's login of a worker is confirmed again, as an API would."""
    [item] = [one for one in await desk.work(worker) if one["portal"] == "gate"]
    said = Said(
        item["operation_id"],
        Transition.DONE,
        "portal-simulator",
        Grade.API,
        Evidence(kind="api_answer", text="yes"),
        f"login-{worker}",
    )
    await in_transaction(desk.pool, lambda conn: desk.operations.say(conn, ORGANIZATION, [said]))


async def test_the_answer_names_people_authority_evidence_and_events(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire("w1"), hire("w2"), hire("w3", title="Nurse"))
    await seen_on_a_list(desk, "w1")
    await desk.pass_time(hours=1)
    await desk.finish_all()
    found = await asking.get(PATH, portal="gate", at=moment(hours=2), status=422)
    assert found["code"] == "lies_ahead"
    await desk.pass_time(hours=2)
    found = await asking.get(PATH, portal="gate", at=moment(hours=2))
    assert [person["name"] for person in found["people"]] == ["Name of w1", "Name of w2"]
    assert found["summary"] == {
        "people": 2,
        "by_grade": {"api": 1, "person": 1},
        "authorities": [
            {
                "authorized_by": {"kind": "policy", "reference": "v1", "by": "Dr. Ada Fox"},
                "people": 2,
            }
        ],
    }
    first, second = found["people"]
    assert (first["grade"], first["gaps"]) == ("api", [])
    assert (second["grade"], rules(second["gaps"])) == ("person", ["word_only"])
    [holding] = first["holdings"]
    assert (holding["function"], holding["login_id"]) == ("sign_on", "login-w1")
    assert holding["known_by"]["said_by"] == "portal-simulator"
    confirmed = {event["ce_id"] for event in await desk.published("operation.confirmed")}
    assert holding["known_by"]["event_id"] in confirmed


async def test_before_the_confirmation_nobody_had_it_but_somebody_may_have(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire("w1"))
    await desk.pass_time(hours=3)
    await desk.finish_all()
    found = await asking.get(PATH, portal="mac", at=moment(hours=1))
    assert found["people"] == []
    assert [(one["worker"], one["name"]) for one in found["perhaps"]] == [("w1", "Name of w1")]
    assert rules(found["gaps"]) == ["before_the_record", "no_roster"]
    long_before = await asking.get(PATH, portal="mac", at=moment(hours=-1))
    assert long_before["perhaps"] == []


async def test_between_order_and_confirmation_the_answer_says_that_removal_is_under_way(
    desk: Desk, asking: Asking
) -> None:
    await desk.hear(hire("w1"))
    await desk.finish_all()
    await desk.pass_time(hours=1)
    await desk.hear(leave_now("w1"))
    await desk.pass_time(hours=2)
    await desk.finish_all()
    await desk.pass_time(hours=1)
    [person] = (await asking.get(PATH, portal="hub", at=moment(hours=2)))["people"]
    assert "removal_under_way" in rules(person["gaps"])
    [person] = (await asking.get(PATH, portal="hub", at=moment(minutes=30)))["people"]
    assert "removal_under_way" not in rules(person["gaps"])
    assert {one["ended_by"]["said_by"] for one in person["holdings"]} == {"admin-1"}
    assert (await asking.get(PATH, portal="hub", at=moment(hours=3)))["people"] == []


async def test_what_was_told_later_is_left_out_as_it_was_known_before(
    desk: Desk, asking: Asking
) -> None:
    """An old list, imported today, says that somebody had a login since long ago."""
    await desk.hear(hire("w1"))
    long_ago = NOW - timedelta(days=400)
    await adopt(desk, "w1", long_ago)
    await desk.pass_time(days=1)
    then = moment(days=-100)
    [person] = (await asking.get(PATH, portal="old", at=then))["people"]
    assert datetime.fromisoformat(person["since"]) == long_ago
    assert rules(person["gaps"]) == ["unverified", "nobody_answers", "said_later"]
    before = await asking.get(PATH, portal="old", at=then, known_at=moment(hours=-1))
    assert before["people"] == []


async def adopt(desk: Desk, worker: str, since: datetime) -> None:
    key = (TIN, Function.ELIGIBILITY)
    held = Entitlement(*key, None, Grade.ASSUMED, since, "sheet-1")
    after = Account(worker, "old", AccountStatus.ACTIVE, Grade.ASSUMED, "ann", {key: held})
    source = Source("sheet-1", "admin-1", event_id("sheet-1"))
    said = statements_between(Account(worker, "old"), after, source, at=desk.clock.at)

    async def work(conn: Connection) -> None:
        now = desk.clock.at
        await history_store.record_statements(conn, [(ORGANIZATION, one) for one in said], now)

    await in_transaction(desk.pool, work)


async def test_on_a_portal_that_had_users_before_the_answer_says_that_others_may_be_missing(
    desk: Desk, asking: Asking
) -> None:
    await desk.apply_directory(existing("hub"))
    await desk.hear(hire("w1"))
    sheet = "Name,Hub\nName of w1,w1hub\n"
    await Importing(desk).adopt(sheet, as_of=as_date(-1))
    await desk.pass_time(hours=1)
    found = await asking.get(PATH, portal="hub", at=moment(minutes=30))
    assert "observe_only" in rules(found["gaps"])
    [person] = found["people"]
    assert rules(person["gaps"]) == ["unverified"]
    assert {one["authorized_by"]["kind"] for one in person["holdings"]} == {"adoption"}
    roster = "User ID,Full name,Status,Functions\nw1hub,Name of w1,Active,eligibility; benefits\n"
    await Importing(desk).import_roster("hub", roster, as_of=desk.clock.at)
    await desk.pass_time(hours=1)
    found = await asking.get(PATH, portal="hub", at=moment(hours=2))
    assert rules(found["gaps"]) == ["roster_age"]
    assert found["summary"]["by_grade"] == {"roster": 1}
    earlier = await asking.get(PATH, portal="hub", at=moment(minutes=30))
    assert "observe_only" in rules(earlier["gaps"])
    assert earlier["summary"]["by_grade"] == {"assumed": 1}


async def test_pages_and_filters_by_function(desk: Desk, asking: Asking) -> None:
    await desk.hear(*(hire(f"w{number}") for number in range(1, 6)))
    await desk.finish_all()
    await desk.pass_time(hours=1)
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await asking.get(
            PATH, portal="hub", function="benefits", at=moment(minutes=5), limit=2, **cursor
        )
        seen += [person["worker"] for person in page["people"]]
        assert all(len(person["holdings"]) == 1 for person in page["people"])
        assert ("summary" in page) == (not cursor)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ["w1", "w2", "w3", "w4", "w5"]
    found = await asking.get(PATH, portal="hub", function="remittance", at=moment(minutes=5))
    assert found["people"] == []


async def test_a_time_without_an_offset_is_in_the_organizations_zone(
    desk: Desk, asking: Asking
) -> None:
    found = await asking.get(PATH, portal="hub", at="2026-03-14T09:00")
    assert found["at"] == "2026-03-14T16:00:00Z"
    for nonsense in ("yesterday", "2026-02-30T09:00", "0001-01-01T00:00"):
        refused = await asking.get(PATH, portal="hub", at=nonsense, status=422)
        assert refused["code"] == "invalid_instant"


async def test_only_who_may_read_access_or_audit_is_answered(desk: Desk, asking: Asking) -> None:
    await asking.get(PATH, "audit:read", portal="hub", at=moment())
    await asking.get(PATH, "work:do", portal="hub", at=moment(), status=403)
    await asking.get(PATH, portal="nowhere", at=moment(), status=404)
