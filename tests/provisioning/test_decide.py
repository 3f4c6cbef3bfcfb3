"""Deciding beside portals that stand says what the whole decision says."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.provisioning.rules.decide import decide, decide_beside_portals
from services.provisioning.rules.facts import Facts, Outcome
from services.provisioning.rules.operations import (
    GIVES,
    OPERATION_LIFE,
    Account,
    Operation,
    Transition,
    confirm,
    retry_after,
)
from services.provisioning.rules.timeline import TimelineEvent, people
from shared.contracts.state import Grade, PortalAccess
from tests.provisioning.test_timeline import event, hired, terminated
from tests.provisioning.worlds import NOW, ORGANIZATION, ago, compiled, day

DIRECTORY = compiled()
ADMINISTERED = compiled(
    administrators=[{"id": "a1", "portal": "hub", "worker": "w1", "since": "2026-01-01"}]
)
BY_PEOPLE = (Transition.CLAIM, Transition.RELEASE, Transition.DONE, Transition.FAIL)


class Life:
    """One worker, decided about again and again, as provisioning does."""

    def __init__(self) -> None:
        self.at = NOW
        self.events: list[TimelineEvent] = []
        self.accounts: dict[str, Account] = {}
        self.operations: dict[str, Operation] = {}
        self.last: Outcome | None = None
        self.portals: tuple[PortalAccess, ...] = ()
        self.stood = 0

    def facts(self) -> Facts:
        (person,) = people(["w1"], self.events)
        known = self.last.state.findings if self.last else ()
        return Facts(ORGANIZATION, person, known_findings=frozenset(known))

    def decide(self, *, only_the_timeline_changed: bool) -> None:
        facts = self.facts()
        whole = decide(
            replace(
                facts,
                accounts=tuple(self.accounts.values()),
                operations=tuple(one for one in self.operations.values() if one.open),
            ),
            DIRECTORY,
            self.at,
        )
        if only_the_timeline_changed and self.last and self.last.standing:
            beside = decide_beside_portals(facts, self.last.standing, DIRECTORY, self.at)
            if beside is not None:
                self.stood += 1
                assert whole.state.portals == self.portals
                beside.state.portals = self.portals
                assert beside == whole
        self.accounts |= {account.portal: account for account in whole.accounts}
        self.operations |= {one.operation_id: one for one in whole.operations}
        self.last, self.portals = whole, whole.state.portals

    def say(self, number: int, transition: Transition) -> None:
        possible = [
            one for one in self.operations.values() if (one.status, transition) in OPERATION_LIFE
        ]
        if not possible:
            return
        before = possible[number % len(possible)]
        after = replace(before, status=OPERATION_LIFE[before.status, transition])
        self.operations[after.operation_id] = after
        account = self.accounts[after.portal]
        if transition is Transition.DONE:
            account = confirm(account, after, grade=Grade.PERSON, at=self.at)
        elif transition is Transition.FAIL and after.kind in GIVES:
            account = retry_after(account, after, at=self.at, hours=24)
        self.accounts[after.portal] = account
        self.decide(only_the_timeline_changed=False)


@st.composite
def news(draw: st.DrawFn) -> TimelineEvent:
    id_ = draw(st.sampled_from(["x1", "x2", "x3", "x4", "x5", "x6"]))
    on = draw(st.integers(-5, 5))
    time = ago(hours=draw(st.integers(0, 50)))
    employment = draw(st.sampled_from(["e1", "e1", "e2"]))
    kind = draw(st.sampled_from("hctlbirnm"))
    title = draw(st.sampled_from(["Front Desk", "Front Desk", "Biller", "Juggler"]))
    if kind == "h":
        return hired(id_, employment, on, title=title, time=time)
    if kind == "t":
        return terminated(id_, employment, on, time=time, immediate=draw(st.booleans()))
    if kind == "r":
        rescinded = draw(st.sampled_from(["h0", "x1", "x2", "x3"]))
        return event("worker.rescinded", id_=id_, time=time, rescinds=rescinded)
    if kind == "n":
        return event(
            "worker.training_completed",
            id_=id_,
            time=time,
            module=draw(st.sampled_from(["remittance-basics", "other"])),
            completed_on=day(on),
            expires_on=day(on + 5),
        )
    if kind == "i":
        name = draw(st.sampled_from(["Ann", "Bea"]))
        return event(
            "worker.identity_corrected", id_=id_, time=time, effective_on=day(on), name=name
        )
    if kind == "m" and draw(st.integers(0, 5)) == 0:
        return event("worker.erased", id_=id_, time=time)
    types = {"l": "worker.leave_started", "b": "worker.leave_ended"}
    more = {} if kind in types else {"title": title, "department": draw(st.sampled_from("ABC"))}
    return event(
        types.get(kind, "worker.changed"),
        id_=id_,
        time=time,
        employment_id=employment,
        effective_on=day(on),
        **more,
    )


steps = st.one_of(
    st.tuples(st.just("hear"), st.lists(news(), min_size=1, max_size=2)),
    st.tuples(st.just("hear"), st.lists(news(), min_size=1, max_size=2)),
    st.tuples(st.just("say"), st.tuples(st.integers(0, 20), st.sampled_from(BY_PEOPLE))),
    st.tuples(st.just("wait"), st.integers(1, 60)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(steps, max_size=14))
def test_what_stands_is_decided_as_if_it_had_been_looked_at_again(
    story: list[tuple[str, object]],
) -> None:
    life = Life()
    life.events.append(hired("h0", title="Front Desk"))
    life.decide(only_the_timeline_changed=True)
    for what, how in story:
        if what == "hear":
            life.events.extend(how)  # type: ignore[arg-type]
            life.decide(only_the_timeline_changed=True)
        elif what == "say":
            life.say(*how)  # type: ignore[misc]
        else:
            life.at += timedelta(hours=how)  # type: ignore[arg-type]
            life.decide(only_the_timeline_changed=True)


def second_look(
    *more: TimelineEvent, at: datetime = NOW, **changes: Any
) -> tuple[Outcome, Outcome | None]:
    """The decision about a hire, and the one beside portals after more was heard."""
    life = Life()
    life.events = [hired("h0", title="Front Desk")]
    life.decide(only_the_timeline_changed=True)
    assert life.last is not None
    assert life.last.standing is not None
    life.events.extend(more)
    return life.last, decide_beside_portals(
        life.facts(), life.last.standing, compiled(**changes) if changes else DIRECTORY, at
    )


def test_portals_stand_when_a_name_is_corrected() -> None:
    news = event("worker.identity_corrected", id_="n", effective_on=day(-1), name="Bea")
    before, after = second_look(news)
    assert after is not None
    assert after.state.name == "Bea"
    assert after.next_change_at == before.next_change_at
    assert not after.operations
    assert not after.accounts


def test_portals_are_looked_at_when_something_else_is_desired() -> None:
    title = event(
        "worker.changed", id_="c", employment_id="e1", effective_on=day(-1), title="Biller"
    )
    assert second_look(title)[1] is None
    assert second_look(terminated())[1] is None
    assert second_look(event("worker.erased", id_="x"))[1] is None


def test_portals_are_looked_at_once_a_deadline_has_come() -> None:
    assert second_look(at=NOW)[1] is not None
    deadline = second_look()[0].operations[0].deadline
    assert second_look(at=deadline - timedelta(seconds=1))[1] is not None
    assert second_look(at=deadline)[1] is None


def test_portals_are_looked_at_under_another_directory_or_by_an_administrator() -> None:
    assert second_look(version=2)[1] is None
    life = Life()
    life.events = [hired("h0")]
    assert decide(life.facts(), ADMINISTERED, NOW).standing is None
