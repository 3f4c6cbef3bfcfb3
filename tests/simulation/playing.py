"""One seed: an organization, its story, everybody who works on it at once, and quiet points."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from services.provisioning.handlers.commands import (
    Evidence,
)
from services.provisioning.handlers.commands import Said as Word
from services.provisioning.handlers.deciding import Decider
from services.provisioning.rules.brake import CauseMove
from services.provisioning.rules.operations import Transition
from services.provisioning.store import brake as brake_store
from services.provisioning.store import views
from shared.auth import Principal
from shared.contracts.envelope import binary_headers, event_key
from shared.contracts.state import Grade
from shared.contracts.topics import HR_EVENTS, REVIEW_EVENTS
from shared.errors import Problem
from shared.postgres import Connection, in_transaction
from tests.simulation.invariants import check
from tests.simulation.invariants.access import retries_later
from tests.simulation.invariants.published import Ledger
from tests.simulation.others import Others
from tests.simulation.source import Log, Member
from tests.simulation.stage import CrashNow, Odds
from tests.simulation.stories import Author, Letter, directory_of, found, reform, scatter
from tests.simulation.theatre import CAST_MAX, Theatre

ROUNDS = 3
REST_ROUNDS = 60
"""How often time and sweep may find something before the organization must have come to rest."""

RETRY_HOURS_MAX = 24
"""What directories of this play say at most of asking again for what failed."""

REFUSALS = ("not_possible_now", "claimed_by_another", "operation_ended")
"""What people may be told when the work they saw has changed in between."""

PEOPLE = ("admin-1", "w1", "w2")
CALM = Odds()


@dataclass(frozen=True, slots=True)
class Played:
    """What one seed came to."""

    seed: int
    steps: int
    crashes: int
    events: int
    digest: int
    waits: int = field(compare=False)
    """How often somebody was seen to wait for a lock; how often one looks depends on the load."""


@dataclass(slots=True)
class _Command:
    """Something a person wants done, asked again with the same key until it is answered."""

    key: str
    body: bytes
    words: list[Word]
    step: tuple[str, int] | None = None


async def play(house: Theatre, seed: int) -> Played:
    """Play one seed to its end.

    Raises:
        AssertionError: an invariant does not hold.
    """
    await Play(house, seed).run()
    stage = house.stage
    return Played(seed, stage.steps, stage.crashes, len(house.hr.said), stage.digest, stage.waits)


class Play:
    """One organization and everybody who does something about it."""

    def __init__(self, theatre: Theatre, seed: int) -> None:
        self._theatre = theatre
        self._seed = seed
        self.organization = f"sim-{seed}"
        self.random = Random(f"{seed}/play")
        self.hr, self.reviews = Log(HR_EVENTS.name), Log(REVIEW_EVENTS.name)
        self.ledger = Ledger(self.organization)
        self._document: dict[str, Any] = {}
        self._commands = 0
        self._unanswered: list[_Command] = []
        self._decisions = 0
        self.others = Others(theatre, self.organization)

    async def run(self) -> None:
        """Play the seed to its end."""
        random = self.random
        await self.begin(found(Random(f"{self._seed}/directory"), self.organization))
        story = Author(Random(f"{self._seed}/story")).write()
        letters = scatter(random, story, self.organization)
        for number in range(ROUNDS):
            share = len(letters) if number == ROUNDS - 1 else random.randint(0, len(letters))
            for sent in letters[:share]:
                self.hr.append(random, sent)
            letters = letters[share:]
            if random.random() < 0.6:
                await self.catch_up()
            await self._work_at_once(number)
            await self.come_to_rest()
            await self.check()
        await self.carry_everything_out()
        await self.check(converged=True)

    async def begin(self, document: dict[str, Any]) -> None:
        """An empty house, the first directory, and all consumers at the beginning."""
        theatre = self._theatre
        await theatre.clear()
        theatre.hr = self.hr
        theatre.stage.begin(Random(f"{self._seed}/stage"))
        await self.apply_directory(document)
        for hearing in (*theatre.mains, *theatre.expresses):
            hearing.join(self.hr)
        for reviewing in theatre.reviewers:
            reviewing.join(self.reviews)

    # -- everybody at once

    async def _work_at_once(self, number: int) -> None:
        theatre, random = self._theatre, self.random
        mains, expresses = theatre.mains, theatre.expresses
        possible: dict[str, tuple[float, Callable[[Random], Awaitable[None]]]] = {
            "main-a": (1.0, lambda own: self._consume(mains[0], self.hr, own)),
            "main-b": (0.5, lambda own: self._consume(mains[1], self.hr, own)),
            "decide-a": (0.9, lambda own: self._decide_anew(theatre.deciders[0], own)),
            "decide-b": (0.4, lambda own: self._decide_anew(theatre.deciders[1], own)),
            "express-a": (0.7, lambda own: self._consume(expresses[0], self.hr, own)),
            "express-b": (0.15, lambda own: self._consume(expresses[1], self.hr, own)),
            "people": (0.8, self.do_work),
            "reviews": (0.5, self.review),
            "time": (0.8, self._tick),
            "simulator": (0.6, self._simulate),
            "directory": (0.35, self.reform_directory),
            "brake": (0.3, self.answer_the_brake),
            "connectors": (0.4, self.others.connect),
            "exceptions": (0.3, self.others.go_beyond_policy),
            "outages": (0.3, self.others.have_trouble),
            "lists": (0.3, self.others.import_lists),
        }
        chosen = [name for name, (chance, _) in possible.items() if random.random() < chance]
        while len(chosen) > CAST_MAX:
            chosen.remove(random.choice(chosen[1:]))
        troubled = random.random() < 0.7
        odds = Odds(
            crash=random.choice([0.0, 0.005, 0.03]) if troubled else 0.0,
            again=random.choice([0.0, 0.01]) if troubled else 0.0,
            crash_after_commit=random.choice([0.0, 0.1, 0.4]) if troubled else 0.0,
            stay=random.choice([0.0, 0.5, 0.9]),
            clock_jump=random.choice([0.0, 0.002, 0.02]),
        )

        def part(name: str) -> Callable[[], Awaitable[None]]:
            own = Random(f"{self._seed}/{number}/{name}")
            return lambda: possible[name][1](own)

        await theatre.stage.play({name: part(name) for name in chosen}, odds)

    async def _consume(self, member: Member[Any], log: Log, random: Random) -> None:
        most = random.choice([1, 3, 20])
        if random.random() < 0.3:
            member.join(log)
        for _ in range(random.randint(1, 5)):
            try:
                if not await member.consume(random, most=most, mishaps=True):
                    return
            except CrashNow:
                member.join(log)

    async def _decide_anew(self, decider: Decider, random: Random) -> None:
        for _ in range(random.randint(1, 6)):
            try:
                await decider.decide_next()
            except CrashNow:
                continue

    async def _tick(self, random: Random) -> None:
        for _ in range(random.randint(1, 4)):
            try:
                time, brake = self._theatre.time, self._theatre.brake
                await random.choice([time.due, time.sweep, brake.judge])()
            except CrashNow:
                continue

    async def _simulate(self, random: Random) -> None:
        for _ in range(random.randint(1, 3)):
            try:
                await self._theatre.simulator.work()
            except CrashNow:
                continue

    async def reform_directory(self, random: Random) -> None:
        for _ in range(random.randint(1, 2)):
            document = deepcopy(self._document)
            reform(random, document)
            try:
                await self.apply_directory(document)
            except CrashNow:
                continue

    async def apply_directory(self, document: dict[str, Any]) -> None:
        directory = directory_of(document)
        try:
            await in_transaction(
                self._theatre.stage.pool,
                lambda conn: self._theatre.directories.apply(
                    conn, directory, self._person("admin-1")
                ),
            )
        except Problem as problem:
            if problem.code != "portal_in_use":
                raise
        else:
            self._document = document

    async def answer_the_brake(self, random: Random, *moves: CauseMove) -> None:
        """Somebody releases or rejects something that the brake holds."""
        theatre = self._theatre
        who = self._person("admin-1")

        async def answer(conn: Connection) -> None:
            held = [
                row["cause_id"]
                for row in await brake_store.causes(conn, self.organization, waiting=True)
                if row["status"] == "engaged"
            ]
            if held:
                move = random.choice(moves or [CauseMove.RELEASE, CauseMove.REJECT])
                await theatre.brake.decide(conn, who, random.choice(held), move, "seen")

        with suppress(CrashNow):
            await in_transaction(theatre.stage.pool, answer)

    # -- people

    def _person(self, name: str) -> Principal:
        return Principal(
            self.organization, name, None, frozenset({"access:admin", "work:do"}), name
        )

    async def do_work(self, random: Random) -> None:
        for _ in range(random.randint(2, 7)):
            command = await self._think_of(random)
            if command is None:
                continue
            try:
                await self._give(command)
            except CrashNow:
                self._unanswered.append(command)
                if random.random() < 0.7:
                    await self._ask_again()

    async def catch_up(self) -> None:
        """Do most of the open work, so that what comes next meets access that is in use."""
        for item in await self._work_list(self._theatre.plain):
            transition = self.random.choices([Transition.DONE, Transition.CLAIM], [5, 1])[0]
            await self._say(item, self.random.choice(PEOPLE), transition)

    async def carry_everything_out(self) -> None:
        """Do all there is to do, until nothing that changes anybody's access is left.

        Raises:
            AssertionError: there is always more.
        """
        theatre = self._theatre
        for _ in range(REST_ROUNDS):
            await self.answer_the_brake(Random(0), CauseMove.RELEASE)
            await self.come_to_rest()
            items = [
                item
                for item in await self._work_list(theatre.plain)
                if item["kind"] != "appoint_successor"
            ]
            for item in items:
                await self._say(item, item["claimed_by"] or "admin-1", Transition.DONE)
            if not items:
                if not await retries_later(theatre.plain, self.organization, theatre.clock.at):
                    return
                theatre.clock.at += timedelta(hours=RETRY_HOURS_MAX)
        raise AssertionError("there is always more to do")

    async def _say(self, item: Any, by: str, transition: Transition) -> None:
        self._commands += 1
        word = Word(*self._about(item, by, transition))
        await self._give(_Command(f"k{self._commands}", repr(word).encode(), [word]))

    async def _work_list(
        self, conn: Connection, *, ended: bool = False, limit: int = 200
    ) -> list[Any]:
        return await views.work(
            conn,
            self.organization,
            ended=ended,
            portal=None,
            worker=None,
            overdue=None,
            after=None,
            limit=limit,
        )

    async def _ask_again(self) -> None:
        waiting, self._unanswered = self._unanswered, []
        for command in waiting:
            try:
                await self._give(command)
            except CrashNow:
                self._unanswered.append(command)

    async def _think_of(self, random: Random) -> _Command | None:
        """Something to say about a piece of work that this person sees in a list."""
        async with self._theatre.stage.pool.acquire() as conn:
            items = await self._work_list(conn, ended=random.random() < 0.1, limit=50)
        if not items:
            return None
        self._commands += 1
        by = random.choice(PEOPLE)
        seen = random.sample(items, min(len(items), random.choice([1, 1, 1, 2, 4])))
        if random.random() < 0.05:
            item = seen[0]
            step = (item["operation_id"], random.randrange(len(item["steps"])))
            return _Command(f"k{self._commands}", b"step", [Word(*self._about(item, by))], step)
        transition = random.choices(
            [
                Transition.DONE,
                Transition.CLAIM,
                Transition.FAIL,
                Transition.DECLINE,
                Transition.RELEASE,
            ],
            [10, 4, 2, 1, 1],
        )[0]
        words = [Word(*self._about(item, by, transition)) for item in seen]
        return _Command(f"k{self._commands}", repr(words).encode(), words)

    def _about(self, item: Any, by: str, transition: Transition = Transition.DONE) -> Any:
        evidence = Evidence(kind="note", text="seen") if transition is Transition.DONE else None
        return (item["operation_id"], transition, by, Grade.PERSON, evidence)

    async def _give(self, command: _Command) -> None:
        async def work(conn: Connection) -> dict[str, Any]:
            operations = self._theatre.operations
            if command.step is not None:
                await operations.take_step(
                    conn, self.organization, *command.step, command.words[0].by
                )
            else:
                await operations.say(conn, self.organization, command.words)
            return {"said": len(command.words)}

        try:
            await self._theatre.operations.command(
                self._person(command.words[0].by), "say", command.key, command.body, work
            )
        except Problem as problem:
            if problem.code not in REFUSALS:
                raise
            return
        for word in command.words:
            what = "step_done" if command.step is not None else word.transition.value
            self.ledger.answered[word.operation_id, what, word.by] += 1

    # -- reviews

    async def review(self, random: Random) -> None:
        member = self._theatre.reviewers[0]
        for _ in range(random.randint(1, 3)):
            if random.random() < 0.7:
                await self._decide(random)
            try:
                await member.consume(random, most=3, mishaps=True)
            except CrashNow:
                member.join(self.reviews)

    async def _decide(self, random: Random) -> None:
        """A reviewer decides on something that is, or lately was, effective."""
        rows = await self._theatre.plain.fetch(
            "SELECT worker, portal, rights FROM account WHERE organization = $1"
            " AND rights <> '[]' ORDER BY worker, portal",
            self.organization,
        )
        if not rows:
            return
        row = random.choice(rows)
        own = random.choice(sorted(row["rights"], key=lambda own: (own["tin"], own["function"])))
        self._decisions += 1
        line = random.choice(["l1", f"l{self._decisions}"])
        whole = random.random() < 0.1
        data = {
            "review_id": f"r-{row['worker']}-{row['portal']}",
            "line_id": f"{line}-{own['tin']}-{own['function']}{'-whole' * whole}",
            "campaign_id": None,
            "worker": row["worker"],
            "portal": row["portal"],
            "tin": None if whole else own["tin"],
            "function": None if whole else own["function"],
            "decision": random.choice(["remove", "remove", "remove", "keep"]),
            "operation_id": random.choice([own["operation_id"], None]),
            "decided_by": "w9",
            "decided_at": self._theatre.clock.at.isoformat(),
            "reason": "not needed",
        }
        headers = binary_headers(
            id=f"d{self._decisions}",
            type=random.choice(["review.decided", "review.corrected"]),
            source="/portalkeeper/review_scheduler",
            subject=row["worker"],
            time=self._theatre.clock.at,
            organization=self.organization,
        )
        if headers["ce_type"] == "review.corrected":
            data["previous_decision"] = "remove"
        sent = Letter(
            event_key(self.organization, row["worker"]).encode(),
            json.dumps(data).encode(),
            tuple((name, value.encode()) for name, value in headers.items()),
            None,
        )
        for _ in range(random.choice([1, 1, 2])):
            self.reviews.append(random, sent)
        self.reviews.unreadable.clear()

    # -- quiet points

    async def come_to_rest(self) -> None:
        """Deliver everything there is and do all that is due, with nothing going wrong."""
        theatre, random = self._theatre, Random(f"{self._seed}/rest")
        theatre.stage.odds = CALM
        await self._ask_again()
        for member, log in (
            (theatre.expresses[0], self.hr),
            (theatre.mains[0], self.hr),
            (theatre.reviewers[0], self.reviews),
        ):
            member.join(log)
            while await member.consume(random, most=50, mishaps=False):
                pass
        for _ in range(REST_ROUNDS):
            found = await theatre.time.due() + await theatre.time.sweep()
            found += await theatre.brake.judge()
            if not found + await theatre.deciders[0].decide_next():
                return
        raise AssertionError("time and sweep never come to rest")

    async def check(self, *, converged: bool = False) -> None:
        """Every invariant, and that everybody has what they should where all work is done."""
        self._theatre.clock.frozen = True
        await check(self._theatre, self.organization, self.hr, self.ledger, converged=converged)
        self._theatre.clock.frozen = False
