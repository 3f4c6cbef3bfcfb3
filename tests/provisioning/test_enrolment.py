"""The organization's own enrolment: four phases, in order, and no account before registration."""

import itertools
from datetime import date, timedelta
from typing import Any

import pytest

from services.provisioning.handlers.chores import ChoreCommands
from services.provisioning.handlers.directory import DirectoryCommands
from services.provisioning.handlers.enrolment import EnrolmentCommands
from services.provisioning.rules.enrolment import (
    CHECKLISTS,
    PHASE_LIFE,
    PHASES,
    Phase,
    PhaseMove,
    PhaseState,
    PhaseStatus,
    begin_enrolment,
    documents_of,
    expiring,
    moved,
    particulars,
    phase_days,
    why_not,
)
from services.provisioning.store import chores as chores_store
from services.provisioning.store import enrolment as enrolment_store
from shared.contracts.directory import Enrolment, EnrolmentDocument, PhaseDays
from shared.errors import Problem
from shared.postgres import in_transaction
from tests.provisioning.desk import ADMINISTRATOR, Desk, hire
from tests.provisioning.test_directory_api import ADMINISTRATOR as HTTP_ADMINISTRATOR
from tests.provisioning.test_directory_api import WORKER, Http, http
from tests.provisioning.worlds import NOW, ORGANIZATION, OTHER_TIN, TIN, as_date, day, directory

__all__ = ["http"]

ALL = {phase: {item.id: {"by": "x", "at": "t"} for item in CHECKLISTS[phase]} for phase in PHASES}
DAYS = PhaseDays()


def state(
    phase: Phase = Phase.REGISTRATION,
    status: PhaseStatus = PhaseStatus.WAITING,
    *,
    ticked: bool = True,
) -> PhaseState:
    return PhaseState("e", phase, status, None, ALL[phase] if ticked else {}, NOW, NOW)


# -- the table


@pytest.mark.parametrize(("status", "move"), list(itertools.product(PhaseStatus, PhaseMove)))
def test_a_move_the_table_lacks_is_refused_and_one_it_has_leads_on(
    status: PhaseStatus, move: PhaseMove
) -> None:
    training = state(Phase.TRAINING, status)
    before = [state(phase, PhaseStatus.CLEARED) for phase in PHASES[:-1]]
    refused = why_not(training, move, [*before, training], [], as_date(0))
    if (status, move) in PHASE_LIFE:
        assert refused is None
        assert moved(training, move, DAYS, NOW).status is PHASE_LIFE[status, move]
    else:
        assert refused is not None
        assert refused[0] == "not_possible_now"


def test_every_status_can_be_reached_and_left() -> None:
    reached = {PhaseStatus.WAITING, *PHASE_LIFE.values()}
    assert reached == set(PhaseStatus)
    assert {status for status, _ in PHASE_LIFE} == set(PhaseStatus)


@pytest.mark.parametrize("position", [1, 2, 3])
def test_a_phase_waits_for_the_one_before_it(position: int) -> None:
    phases = [state(phase, PhaseStatus.CLEARED) for phase in PHASES]
    phases[position] = state(PHASES[position])
    phases[position - 1] = state(PHASES[position - 1], PhaseStatus.SUBMITTED)
    refused = why_not(phases[position], PhaseMove.BEGIN, phases, [], as_date(0))
    assert refused is not None
    assert refused[0] == "earlier_phase_open"


@pytest.mark.parametrize("move", [PhaseMove.SUBMIT, PhaseMove.CLEAR])
def test_nothing_is_submitted_or_cleared_before_its_checklist_is_done(move: PhaseMove) -> None:
    working = state(status=PhaseStatus.WORKING, ticked=False)
    refused = why_not(working, move, [working], [], as_date(0))
    assert refused is not None
    assert refused[0] == "checklist_open"
    assert "4 more" in refused[1]


def test_an_expired_document_holds_a_registration_back() -> None:
    pack = [document("licence", -1)]
    working = state(status=PhaseStatus.WORKING)
    refused = why_not(working, PhaseMove.SUBMIT, [working], pack, as_date(0))
    assert refused is not None
    assert refused[0] == "document_expired"
    pack = [document("licence", 0)]
    assert why_not(working, PhaseMove.SUBMIT, [working], pack, as_date(0)) is None


def test_a_registration_is_not_reopened_past_the_directory() -> None:
    cleared = state(status=PhaseStatus.CLEARED)
    refused = why_not(cleared, PhaseMove.REOPEN, [cleared], [], as_date(0))
    assert refused is not None
    assert refused[0] == "registration_is_data"


def test_what_was_registered_before_is_established_and_what_was_not_has_a_deadline() -> None:
    known = Enrolment(id="a", portal="hub", tin=TIN, registered_on=as_date(-1))
    assert {each.status for each in begin_enrolment(known, DAYS, NOW)} == {PhaseStatus.CLEARED}
    new = begin_enrolment(Enrolment(id="b", portal="hub", tin=TIN), DAYS, NOW)
    assert [each.due_at is not None for each in new] == [True, False, False, False]
    assert new[0].due_at == NOW + timedelta(days=phase_days(DAYS, Phase.REGISTRATION))
    assert not new[0].stalled(NOW + timedelta(days=44))
    assert new[0].stalled(NOW + timedelta(days=45))


def test_a_pack_is_what_the_enrolment_names_or_everything_for_its_tin() -> None:
    documents = [document("w9", 10), document("licence", 90), document("other", 400)]
    given = directory(
        documents=[each.model_dump(mode="json") for each in documents],
        enrolments=[
            {"id": "a", "portal": "hub", "tin": TIN},
            {"id": "b", "portal": "mac", "tin": TIN, "documents": ["w9"]},
        ],
    )
    first, second = given.enrolments
    assert [each.id for each in documents_of(given, first)] == ["w9", "licence", "other"]
    assert [each.id for each in documents_of(given, second)] == ["w9"]
    assert [each.id for each in expiring(given, as_date(0))] == ["w9"]


def test_what_a_form_asks_for_is_put_together_from_the_directory() -> None:
    ptans = [
        {"ptan": "G100", "tin": TIN, "carrier": "medicare"},
        {"ptan": "G200", "tin": OTHER_TIN, "carrier": "medicare"},
    ]
    sites = directory().model_dump(mode="json", exclude_none=True)["sites"]
    sites[0]["ptans"] = ptans
    signed = document("sign", 90).model_copy(update={"signatory": "Dr. Fox"})
    given = directory(sites=sites, documents=[signed.model_dump(mode="json")])
    by_portal = {each.portal: each for each in given.enrolments if each.tin == TIN}
    told = particulars(given, by_portal["mac"])
    assert told["ptans"] == [{"holder": "North", "ptan": "G100", "carrier": "medicare"}]
    assert told["signatories"] == ["Dr. Fox"]
    assert particulars(given, by_portal["hub"])["ptans"] == [], "no Medicare there"


def document(id_: str, days: int) -> EnrolmentDocument:
    return EnrolmentDocument(
        id=id_,
        kind="business_licence",
        name=id_.upper(),
        tins=(TIN,),
        held_at="the safe",
        expires_on=as_date(days),
    )


# -- seen through on a real database

UNREGISTERED = [
    *(
        {"id": f"{portal}-{TIN}", "portal": portal, "tin": TIN, "registered_on": "2020-01-01"}
        for portal in ("gate", "mac", "old")
    ),
    {"id": "hub-new", "portal": "hub", "tin": TIN, "owner": "w7"},
]


class Seeing:
    """Enrolments on a desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.commands = EnrolmentCommands(
            desk.pool,
            desk.recompute,
            DirectoryCommands(desk.recompute),
            ChoreCommands(desk.recompute),
        )

    async def move(self, phase: Phase, move: PhaseMove, **more: Any) -> PhaseState:
        return await in_transaction(
            self.desk.pool,
            lambda conn: self.commands.move(conn, ADMINISTRATOR, "hub-new", phase, move, **more),
        )

    async def tick_all(self, phase: Phase) -> None:
        for item in CHECKLISTS[phase]:
            await self.tick(phase, item.id)

    async def tick(self, phase: Phase, item: str, *, done: bool = True) -> PhaseState:
        return await in_transaction(
            self.desk.pool,
            lambda conn: self.commands.tick(conn, ADMINISTRATOR, "hub-new", phase, item, done=done),
        )

    async def assign(self, phase: Phase, owner: str | None) -> PhaseState:
        return await in_transaction(
            self.desk.pool,
            lambda conn: self.commands.assign(conn, ADMINISTRATOR, "hub-new", phase, owner),
        )

    async def phases(self) -> dict[Phase, PhaseState]:
        async with self.desk.pool.acquire() as conn:
            found = await enrolment_store.phases(conn, ORGANIZATION, "hub-new")
        return {each.phase: each for each in found}

    async def chores(self, *, ended: bool = False) -> list[Any]:
        async with self.desk.pool.acquire() as conn:
            rows = await chores_store.chores(
                conn, ORGANIZATION, ended=ended, portal=None, worker=None, limit=100
            )
        return [row for row in rows if row["kind"] in ("enrolment", "document")]


@pytest.fixture
async def seeing(desk: Desk) -> Seeing:
    await desk.apply_directory(directory(enrolments=UNREGISTERED))
    seeing = Seeing(desk)
    await seeing.commands.watch()
    return seeing


async def test_no_account_is_requested_before_registration_has_cleared(seeing: Seeing) -> None:
    await seeing.desk.hear(hire("w1"))
    assert "hub" not in {item["portal"] for item in await seeing.desk.work()}
    await seeing.move(Phase.REGISTRATION, PhaseMove.BEGIN)
    await seeing.tick_all(Phase.REGISTRATION)
    await seeing.move(Phase.REGISTRATION, PhaseMove.SUBMIT, note="sent by fax")
    await seeing.desk.pass_time(minutes=1)
    assert "hub" not in {item["portal"] for item in await seeing.desk.work()}
    await seeing.move(Phase.REGISTRATION, PhaseMove.CLEAR, on=as_date(0))
    await seeing.desk.pass_time(minutes=1)
    assert "hub" in {item["portal"] for item in await seeing.desk.work()}
    async with seeing.desk.pool.acquire() as conn:
        compiled = await seeing.desk.recompute.directories.current(conn, {ORGANIZATION})
    enrolments = {each.id: each for each in compiled[ORGANIZATION].directory.enrolments}
    assert enrolments["hub-new"].registered_on == as_date(0)


async def test_each_phase_says_what_happened_and_the_next_ones_clock_begins(
    seeing: Seeing,
) -> None:
    await seeing.move(Phase.REGISTRATION, PhaseMove.BEGIN)
    await seeing.tick_all(Phase.REGISTRATION)
    assert (await seeing.phases())[Phase.CARRIER_MAPPING].due_at is None
    await seeing.move(Phase.REGISTRATION, PhaseMove.CLEAR)
    mapping = (await seeing.phases())[Phase.CARRIER_MAPPING]
    assert mapping.due_at == seeing.desk.clock.at + timedelta(days=14)
    said = await seeing.desk.published("enrolment.moved")
    assert [(e["data"]["move"], e["data"]["status"]) for e in said] == [
        ("begin", "working"),
        ("clear", "cleared"),
    ]
    assert said[0]["key"] == f"{ORGANIZATION}/hub"
    ticked = await seeing.desk.published("enrolment.item_ticked")
    assert len(ticked) == len(CHECKLISTS[Phase.REGISTRATION])


async def test_a_stalled_phase_becomes_overdue_work_that_ends_when_it_clears(
    seeing: Seeing,
) -> None:
    assert await seeing.chores() == []
    seeing.desk.clock.at += timedelta(days=46)
    assert await seeing.commands.watch() == 1
    assert await seeing.commands.watch() == 0
    (chore,) = await seeing.chores()
    assert chore["deadline"] <= seeing.desk.clock.at
    assert chore["addressed_to"] == "w7"
    assert "stuck in its registration (waiting)" in chore["text"]
    await seeing.move(Phase.REGISTRATION, PhaseMove.BEGIN)
    await seeing.tick_all(Phase.REGISTRATION)
    await seeing.move(Phase.REGISTRATION, PhaseMove.CLEAR)
    assert await seeing.chores() == []
    assert [each["status"] for each in await seeing.chores(ended=True)] == ["done"]


async def test_a_registration_entered_in_the_directory_clears_the_phase(seeing: Seeing) -> None:
    entered = [{**each, "registered_on": day(-1)} for each in UNREGISTERED]
    await seeing.desk.apply_directory(directory(enrolments=entered))
    await seeing.commands.watch()
    found = await seeing.phases()
    assert found[Phase.REGISTRATION].status is PhaseStatus.CLEARED
    assert found[Phase.CARRIER_MAPPING].due_at is not None


async def test_an_enrolment_that_leaves_the_directory_is_forgotten(seeing: Seeing) -> None:
    await seeing.desk.apply_directory(directory(enrolments=UNREGISTERED[:-1]))
    await seeing.commands.watch()
    assert await seeing.phases() == {}
    with pytest.raises(Problem, match="no such enrolment"):
        await seeing.move(Phase.REGISTRATION, PhaseMove.BEGIN)


async def test_a_document_about_to_expire_warns_once_and_again_for_its_new_date(
    seeing: Seeing,
) -> None:
    def with_licence(days: int) -> Any:
        licence = document("licence", days).model_dump(mode="json")
        return directory(enrolments=UNREGISTERED, documents=[licence])

    await seeing.desk.apply_directory(with_licence(61))
    assert await seeing.commands.watch() == 0
    seeing.desk.clock.at += timedelta(days=1)
    assert await seeing.commands.watch() == 1
    assert await seeing.commands.watch() == 0
    (chore,) = await seeing.chores()
    assert chore["kind"] == "document"
    assert f"expires on {as_date(61)}" in chore["text"]
    await seeing.desk.apply_directory(with_licence(50))
    assert await seeing.commands.watch() == 1


async def test_a_tick_can_be_taken_back_and_only_while_the_phase_is_worked_on(
    seeing: Seeing,
) -> None:
    with pytest.raises(Problem, match="The phase is waiting"):
        await seeing.tick(Phase.REGISTRATION, "npis")
    await seeing.move(Phase.REGISTRATION, PhaseMove.BEGIN)
    with pytest.raises(Problem, match="no such item"):
        await seeing.tick(Phase.REGISTRATION, "nothing")
    assert set((await seeing.tick(Phase.REGISTRATION, "npis")).ticked) == {"npis"}
    assert (await seeing.tick(Phase.REGISTRATION, "npis", done=False)).ticked == {}


async def test_a_day_of_confirmation_in_the_future_is_refused(seeing: Seeing) -> None:
    await seeing.move(Phase.REGISTRATION, PhaseMove.BEGIN)
    await seeing.tick_all(Phase.REGISTRATION)
    with pytest.raises(Problem, match="lies in the future"):
        await seeing.move(Phase.REGISTRATION, PhaseMove.CLEAR, on=as_date(0) + timedelta(days=1))


async def test_an_enrolment_is_seen_through_over_http(http: Http, desk: Desk) -> None:
    await desk.apply_directory(directory(enrolments=UNREGISTERED))
    found = (await http.good(WORKER, "GET", "/enrolments"))["enrolments"]
    assert [each["phase"] for each in found] == [None, None, None, "registration"]
    path = "/enrolments/hub-new/registration"
    refused = await http.refused(WORKER, "POST", f"{path}/begin", json={})
    assert refused["code"] == "scope_missing"
    early = await http.refused(
        HTTP_ADMINISTRATOR, "POST", "/enrolments/hub-new/training/begin", json={}
    )
    assert early["code"] == "earlier_phase_open"
    begun = await http.good(HTTP_ADMINISTRATOR, "POST", f"{path}/begin", json={"note": "new"})
    (first, *_) = begun["phases"]
    assert (first["status"], first["note"], first["moves"]) == (
        "working",
        "new",
        ["submit", "clear"],
    )
    open_ = await http.refused(HTTP_ADMINISTRATOR, "POST", f"{path}/clear", json={})
    assert open_["code"] == "checklist_open"
    await http.good(HTTP_ADMINISTRATOR, "POST", f"{path}/owner", json={"owner": "w9"})
    for item in first["checklist"]:
        await http.good(HTTP_ADMINISTRATOR, "POST", f"{path}/items/{item['id']}", json={})
    done = await http.good(
        HTTP_ADMINISTRATOR, "POST", f"{path}/clear", json={"on": str(date(2026, 6, 1))}
    )
    assert done["registered_on"] == "2026-06-01"
    assert done["phase"] == "carrier_mapping"
    assert done["phases"][0]["owner"] == "w9"
