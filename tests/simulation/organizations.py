"""Whole organizations, whatever happens to them in whatever order, as Hypothesis thinks of it.

Where the seeded play looks for what goes wrong between two statements of several processes, this
looks for what goes wrong between facts: every step is done by itself, and what fails is told in the
fewest steps that still fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from random import Random

from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from services.provisioning.rules.brake import CauseMove
from tests.simulation.playing import Play
from tests.simulation.stories import Author, Said, found, letter
from tests.simulation.theatre import Theatre, theatre

STEPS = 12
"""What happens to one organization, at most."""

ORDERLY = Random(0)
"""For what makes no difference here, such as holes in the log."""

chances = st.randoms(use_true_random=False)
"""What the play's own authors draw from; Hypothesis chooses what they get."""


class Organization(RuleBasedStateMachine):
    """One organization. At every quiet point all that is promised holds."""

    _loop: asyncio.Runner
    _house: Theatre

    def __init__(self) -> None:
        super().__init__()
        self._play = Play(self._house, 0)
        self._begun = False

    def _do(self, work: Awaitable[None]) -> None:
        async def done() -> None:
            await work

        try:
            self._loop.run(done())
        except BaseException:
            note(self._house.story())
            raise

    @initialize(chance=chances)
    def a_directory_is_applied(self, chance: Random) -> None:
        """What there is before anything happens."""
        self._author = Author(chance)
        self._do(self._play.begin(found(chance, self._play.organization)))
        self._begun = True

    @rule(chance=chances)
    def somebody_is_hired(self, chance: Random) -> None:
        """And something happens to them at times."""
        self._author.draw_from(chance)
        self._send(self._author.tell_of_somebody())

    @rule(chance=chances)
    def hr_says_something_odd(self, chance: Random) -> None:
        """Withdrawals, merges, contradictions, what cannot be taken."""
        self._author.draw_from(chance)
        self._send(self._author.tell_something_odd())

    def _send(self, sayings: Sequence[Said]) -> None:
        for said in sayings:
            self._play.hr.append(ORDERLY, letter(said, self._play.organization))

    @rule(chance=chances)
    def the_directory_changes(self, chance: Random) -> None:
        """Contracts, titles, policy, appointments."""
        self._do(self._play.reform_directory(chance))

    @rule(chance=chances)
    def people_say_what_became_of_work(self, chance: Random) -> None:
        """Done, cannot be done, mine."""
        self._do(self._play.do_work(chance))

    @rule()
    def most_work_is_done(self) -> None:
        """So that what comes next meets access that is in use."""
        self._do(self._play.come_to_rest())
        self._do(self._play.catch_up())

    @rule(chance=chances)
    def a_reviewer_decides(self, chance: Random) -> None:
        """About something that is effective."""
        self._do(self._play.review(chance))

    @rule(chance=chances)
    def somebody_needs_more_than_policy_gives(self, chance: Random) -> None:
        """Asks, approves, takes it in an emergency, ends it."""
        self._do(self._play.others.go_beyond_policy(chance))

    @rule(chance=chances)
    def a_portal_hands_out_its_list(self, chance: Random) -> None:
        """Which may show other than what is known."""
        self._do(self._play.others.import_lists(chance))

    @rule(chance=chances)
    def a_portal_goes_down_or_comes_back(self, chance: Random) -> None:
        """Deadlines there stand still."""
        self._do(self._play.others.have_trouble(chance))

    @rule(chance=chances)
    def services_behind_connectors_answer(self, chance: Random) -> None:
        """Or refuse, or do not."""
        self._do(self._play.others.connect(chance))

    @rule(chance=chances, move=st.sampled_from([CauseMove.RELEASE, CauseMove.REJECT]))
    def somebody_answers_the_brake(self, chance: Random, move: CauseMove) -> None:
        """Where it holds something."""
        self._do(self._play.answer_the_brake(chance, move))

    @rule(hours=st.sampled_from([1, 5, 30, 100]))
    def time_passes(self, hours: int) -> None:
        """And what is due is due."""
        self._house.clock.at += timedelta(hours=hours)

    @rule()
    def everything_comes_to_rest(self) -> None:
        """All that is promised holds."""
        self._do(self._play.come_to_rest())
        self._do(self._play.check())

    def teardown(self) -> None:
        """In the end everybody does all there is to do, and portals hold what they should."""
        if self._begun:
            self._do(self._play.come_to_rest())
            self._do(self._play.check())
            self._do(self._play.carry_everything_out())
            self._do(self._play.check(converged=True))


@contextmanager
def _running(dsn: str) -> Iterator[tuple[asyncio.Runner, Theatre]]:
    """A theatre that is called from outside any loop."""
    with asyncio.Runner() as loop:
        house = theatre(dsn)
        yield loop, loop.run(house.__aenter__())
        loop.run(house.__aexit__(None, None, None))


def try_organizations(dsn: str, examples: int, *, again: bool) -> None:
    """Let things happen to some organizations; whatever fails is told in the fewest steps.

    Args:
        again: think of the same organizations every time.

    Raises:
        AssertionError: something promised does not hold.
    """
    with _running(dsn) as (loop, house):

        class Here(Organization):
            _loop = loop
            _house = house

        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                derandomize=again,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
