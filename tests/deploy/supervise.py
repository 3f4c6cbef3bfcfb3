"""Runs the supervisor on stand-ins: `python -m tests.deploy.supervise FOLDER FIRST_PORT CACHE`."""

import sys
from dataclasses import replace
from pathlib import Path

from deploy.installation import Installation
from deploy.processes import PROCESSES
from deploy.run import run


async def no_story(installation: Installation) -> list[str]:
    """Stand-ins have nothing to tell."""
    return []


if __name__ == "__main__":
    folder, first_port, cache = sys.argv[1:]
    sys.exit(
        run(
            installation=Installation(Path(folder), int(first_port), Path(cache)),
            processes=[replace(process, module="tests.deploy.stand_in") for process in PROCESSES],
            story=no_story,
        )
    )
