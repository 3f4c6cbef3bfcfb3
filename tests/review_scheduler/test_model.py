"""Random organizations through random months: nothing in scope is lost, nobody reviews their own.

A seed makes an organization, and a year of what happens to it: people move, leave, go on leave and
come back; reviewers answer, or do not; provisioning carries out, parks, or has removals rejected;
the service stops for a while, and replicas race. A seed that failed plays again the same way.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from services.review_scheduler.handlers.decisions import Wish, decide_lines
from shared.contracts.review import REVIEW_EVENT_MODELS
from shared.contracts.review_policy import CampaignCalendar, ReviewPolicy, Rung
from shared.contracts.state import DecisionApplied, Employment, PortalAccess, WorkerStatus
from shared.postgres import in_transaction
from tests.review_scheduler.worlds import (
    BY_TIME,
    START,
    World,
    administrator,
    directory_record,
    holds,
    person,
    state,
)

SEEDS = 12
DAYS = 120
PORTALS = ("availity", "noridian", "lni")
FUNCTIONS = ("eligibility", "remittance", "user_administration")
DAY = timedelta(days=1)


@dataclass
class Somebody:
    """One worker as the test knows them; `held` names the operation that granted each right."""

    worker: str
    supervisor: str | None
    held: dict[tuple[str, str], str]
    status: WorkerStatus = WorkerStatus.ACTIVE
    title: str = "Biller"
    version: int = 0


class Model:
    """An organization, what provisioning would publish of it, and what happens to it."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = Random(seed)
        self.people: dict[str, Somebody] = {}
        self.applied: dict[str, dict[tuple[str, str], tuple[DecisionApplied, str]]] = {}
        self.granted = 0

    async def begin(self) -> None:
        """A hierarchy of people, who holds what, and a policy."""
        names = [f"w{number}" for number in range(self.random.randint(3, 9))]
        for number, name in enumerate(names):
            above = self.random.choice([None, *names[:number]]) if number else None
            self.people[name] = Somebody(name, above, self._rights())
        random = self.random
        policy = ReviewPolicy(
            calendars=(
                CampaignCalendar(
                    id="all",
                    name="All",
                    every=random.choice(["month", "quarter"]),
                    days_to_decide=random.randint(3, 20),
                    spread_days=random.choice([1, 1, 3]),
                    no_answer=random.choice(["remove", "suspend", "escalate"]),
                ),
            ),
            micro_no_answer=random.choice(["remove", "escalate"]),
            ladder=tuple(
                Rung(days=days, tell=random.choice(["reviewer", "above_reviewer", "review_admin"]))
                for days in sorted(random.sample(range(-6, 4), 3))
            ),
        )
        await self.world.begin(
            directory_record("review_policy", "review_policy", policy),
            *(
                directory_record("administrator", name, administrator("noridian", name))
                for name in random.sample(names, random.randint(0, 2))
            ),
        )
        await self.publish(*names)

    def _rights(self) -> dict[tuple[str, str], str]:
        wanted = [(portal, each) for portal in PORTALS for each in FUNCTIONS]
        chosen = self.random.sample(wanted, self.random.randint(0, 4))
        return {right: self._operation() for right in chosen}

    def _operation(self) -> str:
        self.granted += 1
        return f"op-{self.granted}"

    async def publish(self, *names: str) -> None:
        """The newest states of these workers, some of them twice."""
        states = []
        for name in names:
            one = self.people[name]
            one.version += 1
            access = [self._access(one, portal) for portal in PORTALS]
            gone = one.status is WorkerStatus.TERMINATED
            employment = Employment(
                "e1", one.title, None, ("tacoma",), one.supervisor, "employee", START, None,
                not gone, one.status is WorkerStatus.ON_LEAVE, START if not gone else None,
            )  # fmt: skip
            states.append(
                state(
                    name,
                    one.version,
                    access=[each for each in access if each.effective],
                    title=one.title,
                    status=one.status,
                    decisions=[said for said, _ in self.applied.get(name, {}).values()],
                    employments=(employment,),
                )
            )
        await self.world.hear(*states)
        if self.random.random() < 0.2:
            await self.world.hear(*states)

    def _access(self, one: Somebody, portal: str) -> PortalAccess:
        rights = tuple(
            replace(entitlement, operation_id=operation)
            for (where, function), operation in sorted(one.held.items())
            if where == portal
            for entitlement in holds(portal, function).effective
        )
        return replace(holds(portal), effective=rights)

    async def pass_days(self, days: int) -> None:
        """Days in which the service runs; sometimes it is down for some, or replicas race."""
        if self.random.random() < 0.2:
            days = self.random.randint(2, 15)
        self.world.clock.instant += days * DAY
        if self.random.random() < 0.3:
            for _ in range(4):
                await asyncio.gather(
                    *(work(self.world.pool, self.world.clock) for work in BY_TIME * 2)
                )
        await self.world.at(self.world.clock.instant)

    async def play(self, days: int) -> None:
        """Begin, and let so many days pass with what happens in them."""
        await self.begin()
        until = START + days * DAY
        while self.world.clock.instant < until:
            for _ in range(self.random.randint(0, 4)):
                await self.something_happens()
            if self.random.random() < 0.6:
                await self.provisioning_works()
            await self.check()
            await self.pass_days(self.random.randint(1, 4))
            await self.check()

    async def something_happens(self) -> None:
        """One thing that people or portals do."""
        one = self.people[self.random.choice(list(self.people))]
        what = self.random.choice(
            ["move", "leave", "away", "back", "grant", "revoke", "decide", "decide", "decide"]
        )
        if what == "decide":
            await self.somebody_decides()
            return
        if what == "move":
            one.title = self.random.choice(["Biller", "Lead", "Front Desk"])
            one.supervisor = self.random.choice([None, *set(self.people) - {one.worker}])
        elif what == "leave" and self.random.random() < 0.4:
            one.status = WorkerStatus.TERMINATED
        elif what == "away" and one.status is WorkerStatus.ACTIVE:
            one.status = WorkerStatus.ON_LEAVE
        elif what == "back" and one.status is WorkerStatus.ON_LEAVE:
            one.status = WorkerStatus.ACTIVE
        elif what == "grant":
            one.held |= {right: self._operation() for right in list(self._rights())[:1]}
        elif what == "revoke" and one.held:
            del one.held[self.random.choice(sorted(one.held))]
        await self.publish(one.worker)

    async def somebody_decides(self) -> None:
        """A reviewer (or an administrator, where nobody is left) answers about a line or some."""
        waiting = await self.world.lines(status="undecided")
        if not waiting:
            return
        first = self.random.choice(waiting)
        lines = [each for each in waiting if each["review_id"] == first["review_id"]]
        chosen = self.random.sample(lines, self.random.randint(1, len(lines)))
        wishes = [
            Wish(each["line_id"], self.random.choice(["keep", "remove"]), "looked at it")
            for each in chosen
        ]
        who = person(first["reviewer"]) if first["reviewer"] else person("boss", "review:admin")
        await in_transaction(
            self.world.pool,
            lambda conn: decide_lines(
                conn, self.world.clock, who, UUID(str(first["review_id"])), wishes
            ),
        )

    async def provisioning_works(self) -> None:
        """Removals are ordered, held by the brake, rejected, or done; some only much later."""
        touched: set[str] = set()
        for line in await self.world.lines():
            if line["status"] not in ("removal_decided", "removal_ordered"):
                continue
            right = (line["portal"], line["function"])
            one = self.people[line["worker"]]
            if self.random.random() < 0.4 and line["operation_id"] == one.held.get(right):
                fate = self.random.choice(["ordered", "done", "done"])
                if line["expired_at"] is not None:
                    fate = self.random.choice([fate, "parked", "rejected"])
                if fate == "done":
                    del one.held[right]
                    fate = "confirmed"
                self._apply(line, fate)
                touched.add(one.worker)
        if touched:
            await self.publish(*sorted(touched))

    def _apply(self, line: Mapping[str, Any], status: str) -> None:
        said = DecisionApplied(str(line["review_id"]), str(line["line_id"]), status, "so it is")
        own = self.applied.setdefault(line["worker"], {})
        own[str(line["review_id"]), str(line["line_id"])] = (said, status)

    # -- what must hold

    async def check(self) -> None:
        lines = await self.world.lines()
        for line in lines:
            assert line["reviewer"] != line["worker"], "nobody reviews their own"
            assert line["decided_by"] != line["worker"], "nobody decides about their own"
        await self._every_removal_goes_on(lines)
        await self._nothing_is_told_twice()
        await self._nothing_is_asked_twice(lines)
        await self._every_review_goes_on(lines)
        await self._what_is_counted_is_so()

    async def _every_removal_goes_on(self, lines: list[dict[str, Any]]) -> None:
        """What was decided to be removed is followed while it is held."""
        for line in lines:
            one = self.people[line["worker"]]
            held = one.held.get((line["portal"], line["function"])) == line["operation_id"]
            if line["status"] == "removal_confirmed":
                assert not held, "gone only once the portal shows it"
            if line["status"] in ("removal_decided", "removal_ordered"):
                assert line["review_status"] == "decided" or any(
                    each["status"] == "undecided"
                    for each in lines
                    if each["review_id"] == line["review_id"]
                ), "visible until it is gone"

    async def _nothing_is_told_twice(self) -> None:
        told = await self.world.said("review.reminded") + await self.world.said("review.escalated")
        keys = [(each["review_id"], each["due_at"], each["days"]) for each in told]
        assert len(keys) == len(set(keys)), "a rung is told once"

    async def _nothing_is_asked_twice(self, lines: list[dict[str, Any]]) -> None:
        asked = [
            (each["worker"], each["portal"], each["function"])
            for each in lines
            if each["status"] == "undecided" and each["campaign_id"] is not None
        ]
        assert len(asked) == len(set(asked)), "two campaigns ask the same"

    async def _every_review_goes_on(self, lines: list[dict[str, Any]]) -> None:
        """What is undecided has a step ahead, or was passed on to those who are left last."""
        rows = await self.world.rows(
            """
            SELECT review_id, reviewer, expired_at, no_answer,
                EXISTS (SELECT FROM timer WHERE kind = 'ladder' AND key = review_id::text) AS ahead
            FROM review WHERE status = 'open'
            """
        )
        for row in rows:
            assert row["ahead"] or (row["reviewer"] is None and row["expired_at"]), row
        undecided = {each["review_id"] for each in lines if each["status"] == "undecided"}
        assert undecided == {row["review_id"] for row in rows}

    async def _what_is_counted_is_so(self) -> None:
        """Sums that are kept are what counting it all would come to."""
        held = await self.world.rows(
            """
            SELECT holder.worker, held ->> 'portal' AS portal,
                held -> 'entitlement' ->> 'tin' AS tin,
                held -> 'entitlement' ->> 'function' AS function,
                (SELECT max(line.decided_at AT TIME ZONE 'UTC')::date
                    FROM review JOIN line USING (review_id)
                    WHERE review.worker = holder.worker AND line.portal = held ->> 'portal'
                        AND line.tin = held -> 'entitlement' ->> 'tin'
                        AND line.function = held -> 'entitlement' ->> 'function') AS decided_on
            FROM worker AS holder, jsonb_array_elements(effective) AS held
            """
        )
        expected = {
            (each["worker"], each["portal"], each["tin"], each["function"]): each["decided_on"]
            or date.min
            for each in held
        }
        holdings = await self.world.rows("SELECT * FROM holding")
        assert expected == {
            (each["worker"], each["portal"], each["tin"], each["function"]): each["decided_on"]
            for each in holdings
        }
        sums = await self.world.rows(
            "SELECT portal, decided_on, sum(held)::int AS held FROM coverage"
            " GROUP BY portal, decided_on HAVING sum(held) <> 0"
        )
        assert Counter((each["portal"], each["decided_on"]) for each in holdings) == {
            (each["portal"], each["decided_on"]): each["held"] for each in sums
        }


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_nothing_in_scope_is_lost_in_whatever_happens(world: World, seed: int) -> None:
    model = Model(world, seed)
    await model.play(DAYS)
    await everything_ends(model)


async def every_word_is_by_its_contract(world: World) -> None:
    for type, contract in REVIEW_EVENT_MODELS.items():
        for data in await world.said(type):
            assert contract.model_validate(data).model_dump(mode="json", exclude_unset=True) == data


async def everything_ends(model: Model) -> None:
    """Once everybody answers and everything is carried out, every line has an end."""
    world = model.world
    for _ in range(400):
        waiting = await world.lines(status="undecided")
        if not waiting:
            break
        await model.somebody_decides()
    for line in await world.lines():
        if line["status"] in ("removal_decided", "removal_ordered"):
            model.people[line["worker"]].held.pop((line["portal"], line["function"]), None)
    await model.publish(*model.people)
    await model.check()
    await every_word_is_by_its_contract(world)
    ends = {each["status"] for each in await world.lines()}
    assert ends <= {"kept", "removal_confirmed", "moot"}
    opening = await world.rows("SELECT title FROM campaign WHERE status = 'open'")
    assert opening == [], "nothing keeps a campaign open any more"
