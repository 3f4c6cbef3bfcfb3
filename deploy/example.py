"""The example clinic, played into an installation that has just come up."""

import asyncio
import json
import os
import subprocess
import sys

from deploy.errors import CannotStart
from deploy.installation import CHECKOUT, Installation
from deploy.keys import EXAMPLE_ORGANIZATION, make_secrets
from deploy.processes import PROCESSES
from deploy.story.checking import check_invariants
from deploy.story.playing import play
from deploy.story.services import ROLES, Installed, StoryFailed
from deploy.story.telling import summary

LINK_ROLES = ("administrator", "compliance", "hr")


async def play_clinic(installation: Installation) -> list[str]:
    """Play the clinic's feed and print what came of it; the promises that do not hold.

    Raises:
        CannotStart: the example cannot be played; the sentence says why.
    """
    secrets = make_secrets(installation.secrets)
    session = _links(installation, "--session", *ROLES)
    file = installation.session_file
    file.touch(mode=0o600)
    file.write_text(json.dumps(session))

    async def sign_in(role: str) -> str:
        return (await asyncio.to_thread(_links, installation, "--session", role))["session"]

    installed = Installed(
        gateway=installation.console,
        session=session["session"],
        sign_in=sign_in,
        sources_file=secrets.sources,
        links=_links(installation, *LINK_ROLES),
    )
    try:
        await play(installed, say=_say)
        broken = await check_invariants(installed)
        _say("\n" + await summary(installed) + "\n")
    except StoryFailed as error:
        raise CannotStart(str(error)) from error
    return broken


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
