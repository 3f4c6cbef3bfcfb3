"""The one-shot job before any service: topics, database roles, schemas, migrations.

The same job prepares an embedded run, a compose project, a managed installation and a test:

    python -m deploy.prepare             secrets, then topics, roles, schemas and migrations
    python -m deploy.prepare --secrets   only the secrets, before there is any server
"""

import asyncio
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.database import ROLES, prepare_database, wait_for_postgres
from deploy.errors import CannotStart
from deploy.keys import EXAMPLE_ORGANIZATION, make_secrets
from deploy.topics import create_topics, wait_for_kafka
from shared.contracts.topics import TOPICS

SERVER_WAIT_SECONDS = 120


class Settings(BaseSettings):
    """What the job needs to know when it runs by itself, from `PORTALKEEPER_…` variables."""

    model_config = SettingsConfigDict(env_prefix="PORTALKEEPER_", frozen=True)

    kafka: str = "127.0.0.1:9092"
    """Bootstrap servers, `host:port`, separated by commas."""

    admin_database_url: str = "postgresql://postgres@127.0.0.1:5432/portalkeeper"
    """A role that may create roles, and the database to prepare; `passfile=` can name a password
    file."""

    secrets_dir: Path = Path("var/secrets")

    organization: str = EXAMPLE_ORGANIZATION
    """Whom the first HR source speaks for; counts until there is a sources file."""

    replication: int = 1
    """How many brokers keep each topic: 3 on a cluster."""


async def prepare(
    kafka: str, admin_dsn: str, passwords: Mapping[str, str], replication: int = 1
) -> dict[str, str]:
    """Create what is missing on both servers; return each role's connection string.

    Args:
        kafka: bootstrap servers.
        admin_dsn: an administrator's connection string; its database is created if missing.
        passwords: one for each name in `deploy.database.ROLES`.
        replication: how many brokers keep each new topic.

    Raises:
        CannotStart: a server does not answer or refuses; the sentence says which and why.
    """
    await asyncio.gather(
        wait_for_kafka(kafka, SERVER_WAIT_SECONDS),
        wait_for_postgres(admin_dsn, SERVER_WAIT_SECONDS),
    )
    await create_topics(kafka, TOPICS, replication)
    return await prepare_database(admin_dsn, passwords)


def main(arguments: list[str]) -> int:
    """Run the job; the exit status is 0, or 1 after a sentence on standard error."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = Settings()
    secrets = make_secrets(settings.secrets_dir, organization=settings.organization)
    if arguments == ["--secrets"]:
        return 0
    try:
        asyncio.run(
            prepare(
                settings.kafka,
                settings.admin_database_url,
                secrets.passwords,
                settings.replication,
            )
        )
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Prepared {len(TOPICS)} topics and {len(ROLES)} database roles.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
