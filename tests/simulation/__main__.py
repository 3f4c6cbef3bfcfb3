"""Play seeds until stopped: `python -m tests.simulation`, or one: `--seed 42`."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import time
import traceback
from collections.abc import Iterator
from random import SystemRandom

import structlog

from tests.servers import database_copy, postgres_server, template_database
from tests.simulation.playing import Played, Theatre, theatre

PROGRESS_SECONDS = 10.0


def seeds(arguments: argparse.Namespace) -> Iterator[int]:
    """The seeds asked for: one, a number of them from a first one on, or new ones for ever."""
    if arguments.seed is not None:
        return iter([arguments.seed])
    first = SystemRandom().randrange(10**9) if arguments.first is None else arguments.first
    if arguments.count is None:
        return itertools.count(first)
    return iter(range(first, first + arguments.count))


async def play_all(dsn: str, arguments: argparse.Namespace) -> list[int]:
    """Play and tell how it goes; the seeds that failed."""
    failed: list[int] = []
    played: list[Played] = []
    started = told = time.monotonic()
    async with theatre(dsn) as house:
        for seed in seeds(arguments):
            try:
                played.append(await house.play(seed))
            except BaseException as error:
                failed.append(seed)
                tell_failure(house, seed)
                if not isinstance(error, Exception):
                    raise
                if not arguments.go_on:
                    break
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                tell_progress(played, failed, told - started)
    tell_progress(played, failed, time.monotonic() - started)
    if arguments.seed is not None and played:
        print(played[-1])
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
            return 1 if await play_all(dsns["provisioning"], arguments) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play exactly this one")
    parser.add_argument("--first", type=int, help="the seed to begin with (default: any)")
    parser.add_argument("--count", type=int, help="how many (default: until stopped)")
    parser.add_argument("--go-on", action="store_true", help="do not stop at a failure")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        raise SystemExit(asyncio.run(main(parser.parse_args())))
    except KeyboardInterrupt:
        raise SystemExit(0) from None
