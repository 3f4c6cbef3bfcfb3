"""Seeded organizations, played one step at a time: `python -m tests.simulation` plays more."""

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tests.simulation.playing import play
from tests.simulation.theatre import Theatre, theatre

SEEDS = 200
SEEDS_PER_TEST = 20

pytestmark = pytest.mark.slow


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(database: Mapping[str, str]) -> AsyncIterator[Theatre]:
    async with theatre(database["provisioning"]) as house:
        yield house


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
async def test_whatever_comes_in_whatever_order_the_invariants_hold(
    house: Theatre, first: int
) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        try:
            await play(house, seed)
        except BaseException as error:
            error.add_note(house.story())
            error.add_note(f"seed {seed}; again with: python -m tests.simulation --seed {seed}")
            raise


async def test_a_seed_plays_the_same_way_alone_and_after_others(
    house: Theatre, database: Mapping[str, str]
) -> None:
    seed = 113
    await play(house, 7)
    after_another = await play(house, seed)
    async with theatre(database["provisioning"]) as fresh:
        alone = await play(fresh, seed)
    assert alone.steps > 100
    assert alone == after_another == await play(house, seed)
