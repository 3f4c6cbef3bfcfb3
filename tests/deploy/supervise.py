"""Runs the supervisor on stand-ins: `python -m tests.deploy.supervise FOLDER FIRST_PORT CACHE`.

With `busy` behind it, it plays a story that never ends.
"""

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

from deploy.installation import Installation
from deploy.processes import PROCESSES
from deploy.run import run


async def no_story(installation: Installation) -> list[str]:
    """Stand-ins have nothing to tell."""
    return []


async def endless_story(installation: Installation) -> list[str]:
    """A task that nobody waits for is always in the middle of something."""
    print("Playing ...", flush=True)
    working = asyncio.create_task(_work())
    await asyncio.Event().wait()
    return [str(working)]


async def _work() -> None:
    while True:
        time.sleep(0.05)  # noqa: ASYNC251, this is what a signal is to meet
        await asyncio.sleep(0)


if __name__ == "__main__":
    folder, first_port, cache, *busy = sys.argv[1:]
    sys.exit(
        run(
            installation=Installation(Path(folder), int(first_port), Path(cache)),
            processes=[replace(process, module="tests.deploy.stand_in") for process in PROCESSES],
            story=endless_story if busy else no_story,
        )
    )
