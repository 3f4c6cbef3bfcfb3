"""Making one-time links, and a session for whoever runs the installation.

    python -m services.gateway.links administrator compliance reviewer=W-0007
    python -m services.gateway.links --session administrator compliance operator

The first prints JSON from each role to its link. The second prints the content of a session file
for the command line (`PORTALKEEPER_SESSION_FILE`), all roles in one session. Both need the
gateway's own settings; `--organization` may be left out when the HR sources speak for one only.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from services.gateway.handlers.sign_in import Doorkeeper, NewLink
from services.gateway.settings import Settings
from services.gateway.sources import load_sources
from shared.clock import DatabaseClock
from shared.contracts.envelope import rfc3339
from shared.contracts.hr import describe
from shared.errors import Problem
from shared.postgres import create_pool


async def make_links(settings: Settings, organization: str, roles: Sequence[str]) -> dict[str, str]:
    """A one-time link for each of `roles` (`ROLE` or `ROLE=WORKER`), by role as given.

    Raises:
        ValueError: there is no such role, or it needs a worker.
        OSError, asyncpg.PostgresError: the database does not answer.
    """
    wanted = [_new_link(organization, [role]) for role in roles]
    async with await create_pool(settings.database_url, max_size=1) as pool:
        doorkeeper = Doorkeeper(pool, DatabaseClock(), settings)
        codes = await doorkeeper.make_links(wanted, settings.link_hours)
    base = settings.gateway_url.rstrip("/")
    return {role: f"{base}/in/{code}" for role, code in zip(roles, codes, strict=True)}


async def make_session(
    settings: Settings, organization: str, roles: Sequence[str]
) -> dict[str, Any]:
    """A session with all `roles` together, as the command line's session file holds it.

    Raises:
        Problem: 403 for the name of somebody who has left.
        ValueError: there is no such role, or it needs a worker.
        OSError, asyncpg.PostgresError: the database does not answer.
    """
    wanted = _new_link(organization, roles)
    async with await create_pool(settings.database_url, max_size=1) as pool:
        doorkeeper = Doorkeeper(pool, DatabaseClock(), settings)
        secret, session = await doorkeeper.open_for_installer(wanted)
    return {
        "gateway": settings.gateway_url.rstrip("/"),
        "session": secret,
        "expires_at": rfc3339(session.expires_at),
    }


def the_organization(settings: Settings) -> str:
    """The one organization that the HR sources speak for.

    Raises:
        ValueError: the sources file is wrong, or names several organizations.
    """
    organizations = sorted(load_sources(settings.sources_file).organizations)
    if len(organizations) != 1:
        raise ValueError(
            f"Name the organization with --organization: one of {', '.join(organizations)}."
        )
    return organizations[0]


def _new_link(organization: str, roles: Sequence[str]) -> NewLink:
    workers = {worker for role in roles if (worker := role.partition("=")[2])}
    if len(workers) > 1:
        raise ValueError("One session belongs to one worker.")
    return NewLink(
        organization,
        tuple(role.partition("=")[0] for role in roles),
        workers.pop() if workers else None,
    )


def main(arguments: Sequence[str]) -> int:
    """Print links or a session; the exit status is 0, or 1 after a sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway.links")
    parser.add_argument("roles", nargs="+", metavar="ROLE[=WORKER]")
    parser.add_argument("--organization")
    parser.add_argument("--session", action="store_true", help="one session instead of links")
    given = parser.parse_args(arguments)
    try:
        settings = Settings()
        organization = given.organization or the_organization(settings)
        make = make_session if given.session else make_links
        print(json.dumps(asyncio.run(make(settings, organization, given.roles)), indent=2))
    except ValidationError as error:
        print(describe(error), file=sys.stderr)
        return 1
    except Problem as refusal:
        print(refusal.detail, file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
