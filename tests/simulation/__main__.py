"""Play seeds and try whole organizations until stopped: `python -m tests.simulation`.

One seed: `--seed 42`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import time
import traceback
from collections.abc import Iterable
from random import SystemRandom

import structlog

from tests.servers import database_copy, postgres_server, template_database
from tests.simulation.organizations import try_organizations
from tests.simulation.playing import Played, play
from tests.simulation.theatre import Theatre, theatre

PROGRESS_SECONDS = 10.0
SEEDS_BETWEEN, ORGANIZATIONS_BETWEEN = 200, 60
"""Without end, so many of either take turns."""


async def soak(dsn: str, first: int, *, go_on: bool) -> list[int]:
    """Seeds and organizations by turns, without end; the seeds that failed.

    Raises:
        AssertionError: something does not hold for an organization, told in the fewest steps.
    """
    failed: list[int] = []
    for begin in itertools.count(first, SEEDS_BETWEEN):
        failed += await play_all(dsn, range(begin, begin + SEEDS_BETWEEN), go_on=go_on)
        if failed and not go_on:
            break
        await asyncio.to_thread(try_organizations, dsn, ORGANIZATIONS_BETWEEN, again=False)
        print(f"{ORGANIZATIONS_BETWEEN} organizations, none failed", flush=True)
    return failed


async def play_all(dsn: str, seeds: Iterable[int], *, go_on: bool) -> list[int]:
    """Play and tell how it goes; the seeds that failed."""
    failed: list[int] = []
    played: list[Played] = []
    started = told = time.monotonic()
    async with theatre(dsn) as house:
        for seed in seeds:
            try:
                played.append(await play(house, seed))
            except BaseException as error:
                failed.append(seed)
                tell_failure(house, seed)
                if not isinstance(error, Exception):
                    raise
                if not go_on:
                    break
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                tell_progress(played, failed, told - started)
    tell_progress(played, failed, time.monotonic() - started)
    return failed


def tell_failure(house: Theatre, seed: int) -> None:
    """What a person needs to see it again."""
    print(house.story())
    traceback.print_exc()
    print(f"seed {seed} failed; again with: python -m tests.simulation --seed {seed}", flush=True)


def tell_progress(played: list[Played], failed: list[int], seconds: float) -> None:
    """One line."""
    print(
        f"{len(played)} seeds, {len(failed)} failed {failed[-3:] or ''},"
        f" {sum(one.events for one in played)} events, {sum(one.steps for one in played)} steps,"
        f" {sum(one.crashes for one in played)} crashes,"
        f" {sum(one.waits for one in played)} waits for locks,"
        f" {60 * (len(played) + len(failed)) / seconds:.0f} seeds a minute,"
        f" last seed {played[-1].seed if played else 'none'}",
        flush=True,
    )


async def main(arguments: argparse.Namespace) -> int:
    """Play on a database of our own."""
    with postgres_server() as admin:
        async with template_database(admin) as template, database_copy(admin, template) as dsns:
            dsn, first, go_on = dsns["provisioning"], arguments.first, arguments.go_on
            if arguments.seed is not None:
                failed = await play_all(dsn, [arguments.seed], go_on=go_on)
            elif arguments.count is not None:
                failed = await play_all(dsn, range(first, first + arguments.count), go_on=go_on)
            else:
                failed = await soak(dsn, first, go_on=go_on)
            return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play exactly this one")
    parser.add_argument(
        "--first",
        type=int,
        default=SystemRandom().randrange(10**9),
        help="the seed to begin with (default: any)",
    )
    parser.add_argument("--count", type=int, help="how many (default: until stopped)")
    parser.add_argument("--go-on", action="store_true", help="do not stop at a failure")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        raise SystemExit(asyncio.run(main(parser.parse_args())))
    except KeyboardInterrupt:
        raise SystemExit(0) from None
