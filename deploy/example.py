"""The example clinic, played into an installation that has just come up."""

import json

from deploy.errors import CannotStart
from deploy.installation import Installation
from deploy.keys import EXAMPLE_ORGANIZATION, make_secrets
from deploy.processes import PROCESSES
from deploy.story.checking import check_invariants
from deploy.story.playing import play
from deploy.story.services import ROLES, Installed, StoryFailed
from deploy.story.telling import summary
from services.gateway.links import make_links, make_session
from services.gateway.settings import Settings

LINK_ROLES = ("administrator", "compliance", "hr")


async def play_clinic(installation: Installation) -> list[str]:
    """Play the clinic's feed and print what came of it; the promises that do not hold.

    Raises:
        CannotStart: the example cannot be played; the sentence says why.
    """
    installed = await _sign_in(installation)
    try:
        await play(installed, say=_say)
        broken = await check_invariants(installed)
        _say("\n" + await summary(installed) + "\n")
    except StoryFailed as error:
        raise CannotStart(str(error)) from error
    return broken


async def _sign_in(installation: Installation) -> Installed:
    """One-time links for people, and a session for the command line and for the example."""
    secrets = make_secrets(installation.secrets)
    gateway = next(process for process in PROCESSES if process.name == "gateway")
    told = installation.environment(gateway, secrets)
    settings = Settings(
        database_url=told["PORTALKEEPER_DATABASE_URL"],
        gateway_url=installation.console,
        sources_file=secrets.sources,
    )
    session = await make_session(settings, EXAMPLE_ORGANIZATION, ROLES)
    installation.session_file.touch(mode=0o600)
    installation.session_file.write_text(json.dumps(session))
    return Installed(
        gateway=installation.console,
        session=session["session"],
        sources_file=secrets.sources,
        links=await make_links(settings, EXAMPLE_ORGANIZATION, LINK_ROLES),
    )


def _say(line: str) -> None:
    print(line, flush=True)
