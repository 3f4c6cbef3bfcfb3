"""The example clinic, played into an installation that has just come up."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping

from deploy.errors import CannotStart
from deploy.installation import CHECKOUT, Installation
from deploy.keys import EXAMPLE_ORGANIZATION, make_secrets
from deploy.processes import PROCESSES
from deploy.story.checking import check_invariants
from deploy.story.leaving import dismiss_somebody
from deploy.story.playing import play
from deploy.story.services import ROLES, Installed, StoryFailed
from deploy.story.telling import summary

LINK_ROLES = ("administrator", "compliance", "hr")


async def play_clinic(installation: Installation) -> list[str]:
    """Play the clinic's feed and print what came of it; the promises that do not hold.

    Raises:
        CannotStart: the example cannot be played; the sentence says why.
    """
    session = _links(installation, "--session", *ROLES)
    file = installation.session_file
    file.touch(mode=0o600)
    file.write_text(json.dumps(session))
    installed = _installed(installation, session["session"], _links(installation, *LINK_ROLES))
    try:
        await play(installed, say=_say)
        broken = await check_invariants(installed)
        _say("\n" + await summary(installed) + "\n")
    except StoryFailed as error:
        raise CannotStart(str(error)) from error
    return broken


async def play_leaver(installation: Installation) -> None:
    """Have somebody of the example leave, in an installation that runs.

    Raises:
        CannotStart: none runs here, or it refuses; the sentence says why.
    """
    if not installation.session_file.exists():
        raise CannotStart("No example runs here. Start it first, in another window: make run")
    session = json.loads(installation.session_file.read_text())
    try:
        await dismiss_somebody(_installed(installation, session["session"], {}), say=_say)
    except StoryFailed as error:
        raise CannotStart(f"{error} Is it running? make run starts it.") from error


def _installed(installation: Installation, session: str, links: Mapping[str, str]) -> Installed:
    async def sign_in(role: str) -> str:
        return (await asyncio.to_thread(_links, installation, "--session", role))["session"]

    sources = make_secrets(installation.secrets).sources
    return Installed(installation.console, session, sign_in, sources, links)


def _links(installation: Installation, *arguments: str) -> dict[str, str]:
    """What the gateway's own program makes: one-time links, or a session for the command line.

    Raises:
        CannotStart: it refuses; the sentence is its own.
    """
    gateway = next(process for process in PROCESSES if process.name == "gateway")
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "services.gateway.links",
            "--organization",
            EXAMPLE_ORGANIZATION,
            *arguments,
        ],
        env={**os.environ, **installation.environment(gateway, make_secrets(installation.secrets))},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise CannotStart(f"Nobody can be signed in: {made.stderr.strip()}")
    answer: dict[str, str] = json.loads(made.stdout)
    return answer


def _say(line: str) -> None:
    print(line, flush=True)
