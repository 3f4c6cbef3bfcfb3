from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.provisioning.rules.timeline import Folded, TimelineEvent, fold, people
from shared.contracts.envelope import Envelope
from shared.contracts.hr import Dated, validate
from shared.contracts.state import WorkerStatus
from tests.provisioning.worlds import NOW, ORGANIZATION, SOURCE, ZONE, ago, day


def event(
    type_: str,
    *,
    id_: str,
    worker: str = "w1",
    time: datetime | None = None,
    source: str = SOURCE,
    entered_by: str | None = None,
    **data: Any,
) -> TimelineEvent:
    """An event as it comes out of the table: validated, with its instant resolved."""
    envelope = Envelope(
        id_, type_, source, worker, time or ago(days=100), ORGANIZATION, orjson.dumps(data), {}
    )
    valid = validate(envelope)
    effective_at = valid.data.takes_effect(ZONE) if isinstance(valid.data, Dated) else None
    return TimelineEvent(
        worker,
        source,
        id_,
        valid.fingerprint,
        type_,
        valid.time,
        effective_at,
        valid.data.model_dump(mode="json", exclude_none=True),
        entered_by,
    )


def hired(id_: str = "h1", employment: str = "e1", on: int = -90, **data: Any) -> TimelineEvent:
    keys = {key: data.pop(key) for key in ("worker", "time", "source") if key in data}
    return event(
        "worker.hired",
        id_=id_,
        employment_id=employment,
        effective_on=day(on),
        title=data.pop("title", "Biller"),
        sites=data.pop("sites", ["north"]),
        **keys,
        **data,
    )


def terminated(
    id_: str = "t1", employment: str = "e1", on: int = -10, **data: Any
) -> TimelineEvent:
    keys = {key: data.pop(key) for key in ("worker", "time", "source") if key in data}
    return event(
        "worker.terminated",
        id_=id_,
        employment_id=employment,
        effective_on=day(on),
        **keys,
        **data,
    )


def folded(*events: TimelineEvent, at: datetime = NOW) -> Folded:
    (person,) = people((), events)
    return fold(person, at, ZONE)


def test_a_hire_starts_at_midnight_in_the_organizations_zone() -> None:
    starts = datetime.fromisoformat(day(0)).replace(tzinfo=ZONE)
    assert folded(hired(on=0), at=starts - timedelta(seconds=1)).status is WorkerStatus.EXPECTED
    assert folded(hired(on=0), at=starts).status is WorkerStatus.ACTIVE


def test_a_termination_takes_effect_at_the_end_of_the_last_day() -> None:
    over = datetime.fromisoformat(day(1)).replace(tzinfo=ZONE)
    events = (hired(), terminated(on=0))
    assert folded(*events, at=over - timedelta(seconds=1)).status is WorkerStatus.ACTIVE
    assert folded(*events, at=over).status is WorkerStatus.TERMINATED


def test_an_immediate_termination_takes_effect_at_once() -> None:
    assert folded(hired(), terminated(on=0, immediate=True)).status is WorkerStatus.TERMINATED


def test_the_last_recorded_termination_of_an_employment_counts() -> None:
    later = terminated("t2", on=30, time=ago(days=1))
    state = folded(hired(), terminated("t1", on=-10, time=ago(days=2)), later)
    assert state.status is WorkerStatus.ACTIVE


def test_a_termination_wins_over_a_hire_on_the_same_instant() -> None:
    start = hired(on=-5)
    assert start.effective_at is not None
    end = event(
        "worker.terminated",
        id_="t",
        employment_id="e1",
        effective_at=start.effective_at.isoformat(),
    )
    state = folded(start, end)
    assert state.status is WorkerStatus.TERMINATED
    assert "employment_never_began" in {finding.rule for finding in state.findings}


def test_a_rehire_opens_another_employment() -> None:
    state = folded(hired(), terminated(), hired("h2", "e2", on=-5, title="Front Desk"))
    assert state.status is WorkerStatus.ACTIVE
    assert [employment.title for employment in state.open_employments] == ["Front Desk"]


def test_a_termination_of_somebody_never_hired_is_kept_as_a_finding() -> None:
    state = folded(terminated())
    assert state.status is WorkerStatus.UNKNOWN
    assert state.termination_in_effect
    assert [finding.rule for finding in state.findings] == ["termination_without_hire"]


def test_the_attribute_with_the_latest_date_not_in_the_future_is_in_force() -> None:
    def change(id_: str, on: int, title: str, recorded: float) -> TimelineEvent:
        return event(
            "worker.changed",
            id_=id_,
            employment_id="e1",
            effective_on=day(on),
            title=title,
            time=ago(days=recorded),
        )

    events = (hired(), change("c1", -20, "Front Desk", 30), change("c2", 10, "Nurse", 29))
    assert folded(*events).open_employments[0].title == "Front Desk"
    assert folded(*events, at=NOW + timedelta(days=11)).open_employments[0].title == "Nurse"
    backdated = change("c3", -40, "Nurse", 1)
    assert folded(*events, backdated).open_employments[0].title == "Front Desk"
    same_day = change("c4", -20, "Biller", 1)
    assert folded(*events, same_day).open_employments[0].title == "Biller"


def test_a_change_or_a_leave_never_opens_an_employment() -> None:
    moved = event(
        "worker.changed", id_="c", employment_id="e1", effective_on=day(-5), title="Nurse"
    )
    away = event("worker.leave_started", id_="l", employment_id="e1", effective_on=day(-5))
    assert folded(moved, away).status is WorkerStatus.UNKNOWN


def test_leave_is_paired_by_effective_date_not_by_arrival() -> None:
    away = event("worker.leave_started", id_="l1", employment_id="e1", effective_on=day(-20))
    back = event(
        "worker.leave_ended",
        id_="l2",
        employment_id="e1",
        effective_on=day(-5),
        time=ago(days=200),
    )
    assert folded(hired(), away, back).status is WorkerStatus.ACTIVE
    assert folded(hired(), away, back, at=ago(days=10)).status is WorkerStatus.ON_LEAVE


def test_a_contractor_ends_with_the_end_date() -> None:
    state = folded(hired(kind="contractor", ends_on=day(-1)))
    assert state.status is WorkerStatus.TERMINATED
    assert folded(hired(kind="contractor", ends_on=day(0))).status is WorkerStatus.ACTIVE


def test_a_rescind_cancels_and_a_rescinded_rescind_does_not() -> None:
    undo = event("worker.rescinded", id_="r1", rescinds="t1")
    undo_undo = event("worker.rescinded", id_="r2", rescinds="r1")
    assert folded(hired(), terminated(), undo).status is WorkerStatus.ACTIVE
    assert folded(hired(), terminated(), undo, undo_undo).status is WorkerStatus.TERMINATED


def test_a_rescind_from_another_source_does_not_count() -> None:
    undo = event("worker.rescinded", id_="r1", rescinds="t1", source="/somebody/else")
    assert folded(hired(), terminated(), undo).status is WorkerStatus.TERMINATED


@pytest.mark.parametrize(("person", "status"), [("hr-1", "active"), ("w1", "terminated")])
def test_a_rescind_entered_by_hand_counts_unless_it_is_ones_own(person: str, status: str) -> None:
    undo = event(
        "worker.rescinded", id_="r1", rescinds="t1", source="/hr/entries", entered_by=person
    )
    assert folded(hired(), terminated(), undo).status.value == status


def test_a_circle_of_rescinds_is_void_and_a_finding() -> None:
    one = event("worker.rescinded", id_="r1", rescinds="r2")
    two = event("worker.rescinded", id_="r2", rescinds="r1")
    outside = event("worker.rescinded", id_="r3", rescinds="t1")
    state = folded(hired(), terminated(), one, two, outside)
    assert state.status is WorkerStatus.ACTIVE
    assert "rescind_cycle" in {finding.rule for finding in state.findings}


def test_a_merge_unions_timelines_and_a_termination_under_the_old_id_counts() -> None:
    merge = event("worker.merged", id_="m", worker="new", previous_worker_id="old")
    (person,) = people((), [hired(worker="old"), terminated(worker="old", employment="e1"), merge])
    assert person.worker == "new"
    assert fold(person, NOW, ZONE).status is WorkerStatus.TERMINATED


def test_a_rescinded_merge_parts_the_persons_again() -> None:
    merge = event("worker.merged", id_="m", worker="new", previous_worker_id="old")
    undo = event("worker.rescinded", id_="r", worker="new", rescinds="m")
    found = people((), [hired(worker="old"), hired(worker="new"), merge, undo])
    assert [person.worker for person in found] == ["new", "old"]


def test_an_erased_worker_is_a_tombstone_even_if_that_is_rescinded() -> None:
    gone = event("worker.erased", id_="x")
    undo = event("worker.rescinded", id_="r", rescinds="x")
    state = folded(hired(name="Ann"), gone, undo)
    assert (state.status, state.name, state.employments) == (WorkerStatus.ERASED, None, ())


def test_training_counts_until_its_last_day_and_not_after() -> None:
    passed = event(
        "worker.training_completed", id_="p", module="m", completed_on=day(-30), expires_on=day(0)
    )
    assert folded(passed).training[0].valid
    assert not folded(passed, at=NOW + timedelta(days=1)).training[0].valid
    ended = event("worker.training_expired", id_="x", module="m", expired_on=day(-1))
    assert not folded(passed, ended).training[0].valid


# -- one set of events, one result

WORKERS, EMPLOYMENTS, IDS = ("w1", "w2", "w3"), ("e1", "e2"), tuple("abcdefgh")


@st.composite
def an_event(draw: st.DrawFn) -> TimelineEvent:
    type_ = draw(
        st.sampled_from(
            [
                "worker.hired",
                "worker.changed",
                "worker.terminated",
                "worker.leave_started",
                "worker.leave_ended",
                "worker.rescinded",
                "worker.rescinded",
                "worker.merged",
                "worker.identity_corrected",
                "worker.training_completed",
            ]
        )
    )
    worker = draw(st.sampled_from(WORKERS))
    on = day(draw(st.integers(-4, 4)))
    employment = draw(st.sampled_from(EMPLOYMENTS))
    data: dict[str, Any] = {"effective_on": on}
    match type_:
        case "worker.hired" | "worker.changed":
            data |= {
                "employment_id": employment,
                "title": draw(st.sampled_from(["Biller", "Front Desk"])),
            }
        case "worker.terminated":
            data |= {"employment_id": employment, "immediate": draw(st.booleans())}
        case "worker.leave_started" | "worker.leave_ended":
            data |= {"employment_id": employment}
        case "worker.rescinded":
            data = {"rescinds": draw(st.sampled_from(IDS))}
        case "worker.merged":
            others = [other for other in WORKERS if other != worker]
            data = {"previous_worker_id": draw(st.sampled_from(others))}
        case "worker.identity_corrected":
            data |= {"name": draw(st.sampled_from(["Ann", "Bea"]))}
        case "worker.training_completed":
            data = {"module": "m", "completed_on": on}
    return event(
        type_,
        id_=draw(st.sampled_from(IDS)),
        worker=worker,
        time=ago(hours=draw(st.integers(0, 3))),
        source=draw(st.sampled_from([SOURCE, "/other"])),
        **data,
    )


def settle(events: list[TimelineEvent], at: datetime) -> list[Folded]:
    """As the service does it: what is known already is not stored twice."""
    stored = {(one.source, one.id, one.fingerprint): one for one in events}
    return [fold(person, at, ZONE) for person in people(WORKERS, list(stored.values()))]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.lists(an_event(), max_size=14))
def test_any_order_and_any_duplicates_give_one_result(
    data: st.DataObject, events: list[TimelineEvent]
) -> None:
    again = data.draw(st.lists(st.sampled_from(events), max_size=5)) if events else []
    shuffled = data.draw(st.permutations(events + again))
    for hours in (-72, -1, 0, 36):
        at = NOW + timedelta(hours=hours)
        assert settle(list(shuffled), at) == settle(events, at)


@settings(max_examples=200, deadline=None)
@given(st.lists(an_event(), max_size=12), st.integers(-100, 100))
def test_nothing_changes_before_the_announced_next_change(
    events: list[TimelineEvent], hours: int
) -> None:
    at = NOW + timedelta(hours=hours)
    for before in settle(events, at):
        horizon = before.next_change_at or at + timedelta(days=30)
        last = horizon - timedelta(microseconds=1)
        after = next(one for one in settle(events, last) if one.worker == before.worker)
        assert (after.status, after.employments, after.training) == (
            before.status,
            before.employments,
            before.training,
        )


@settings(max_examples=200, deadline=None)
@given(st.lists(an_event(), max_size=12))
def test_after_a_termination_in_force_the_employment_is_not_open(
    events: list[TimelineEvent],
) -> None:
    for state in settle(events, datetime(2027, 1, 1, tzinfo=UTC)):
        for employment in state.employments:
            if employment.ends_at is not None:
                assert not employment.open
