"""One PostgreSQL database: roles, schemas, and each service's migrations.

Every service owns its schema through its own role and sees no other. In the audit log the writer
is not the owner: it and the signer get only what the migrations grant them, so that neither can
alter or drop a table.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
from pogo_core.error import BadMigrationError
from pogo_core.util import migrate
from pogo_core.util.sql import ensure_pogo_sync

from deploy.errors import CannotStart

SERVICES = Path(__file__).resolve().parent.parent / "services"
PREPARATION_LOCK = 7_012_026
"""The advisory lock that makes two preparations of one database take turns."""

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Schema:
    """A schema, the role that owns it, and the roles that may only use what they are granted.

    `guests` are roles of other schemas that are granted something here too.
    """

    name: str
    owner: str
    users: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """Everyone who works in the schema, the owner first."""
        return (self.owner, *self.users)


SCHEMAS = (
    Schema("gateway", "gateway"),
    Schema("provisioning", "provisioning"),
    Schema("review_scheduler", "review_scheduler"),
    Schema("audit_log", "audit_owner", ("audit_log", "audit_signer"), ("audit_search",)),
    Schema("audit_search", "audit_search", guests=("audit_log",)),
)
ROLES = tuple(role for schema in SCHEMAS for role in schema.roles)


def dsn_for(dsn: str, role: str, password: str, database: str | None = None) -> str:
    """The connection string `dsn` with another role, and another database if one is given."""
    parts = urlsplit(dsn)
    server = parts.netloc.rpartition("@")[2]
    return urlunsplit(
        parts._replace(
            netloc=f"{quote(role)}:{quote(password, safe='')}@{server}",
            path=parts.path if database is None else f"/{database}",
        )
    )


async def wait_for_postgres(admin_dsn: str, seconds: float) -> None:
    """Wait until the server takes connections, and create the database of `admin_dsn` if missing.

    Raises:
        CannotStart: it did not in time, or refuses the administrator.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            await (await asyncpg.connect(admin_dsn)).close()
            return
        except asyncpg.InvalidCatalogNameError:
            await _create_database(admin_dsn)
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as e:
            raise CannotStart(f"PostgreSQL refuses the administrator: {e}") from None
        except (OSError, asyncpg.PostgresError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise CannotStart(
                    f"No PostgreSQL answered within {seconds:.0f} s: {error}"
                ) from None
            await asyncio.sleep(POLL_SECONDS)


async def prepare_database(admin_dsn: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """Make roles and schemas, apply every service's migrations; return role -> connection string.

    Repeatable: what exists is kept, passwords are set to those given (one per name in `ROLES`).

    Raises:
        CannotStart: a migration cannot be applied.
    """
    dsns = {role: dsn_for(admin_dsn, role, passwords[role]) for role in ROLES}
    admin = await asyncpg.connect(admin_dsn)
    try:
        await admin.execute("SELECT pg_advisory_lock($1)", PREPARATION_LOCK)
        await _make_roles(admin, passwords)
        await _make_schemas(admin)
        await _migrate(admin, dsns)
    finally:
        await admin.close()
    return dsns


async def _create_database(admin_dsn: str) -> None:
    name = urlsplit(admin_dsn).path.lstrip("/")
    server = await asyncpg.connect(urlunsplit(urlsplit(admin_dsn)._replace(path="/postgres")))
    try:
        await server.execute(f'CREATE DATABASE "{name}"')
    except asyncpg.DuplicateDatabaseError:
        pass
    finally:
        await server.close()


async def _make_roles(admin: "asyncpg.Connection[Any]", passwords: Mapping[str, str]) -> None:
    for schema in SCHEMAS:
        for role in schema.roles:
            if not await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                await admin.execute(f"CREATE ROLE {role}")
            password = await admin.fetchval("SELECT quote_literal($1::text)", passwords[role])
            await admin.execute(f"ALTER ROLE {role} LOGIN PASSWORD {password}")
            await admin.execute(f"ALTER ROLE {role} SET search_path = {schema.name}")


async def _make_schemas(admin: "asyncpg.Connection[Any]") -> None:
    database = await admin.fetchval("SELECT quote_ident(current_database())")
    await admin.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    await admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    await admin.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {', '.join(ROLES)}")
    for schema in SCHEMAS:
        # An administrator who is no superuser may hand a schema only to a role it belongs to.
        if not await admin.fetchval("SELECT pg_has_role($1, 'MEMBER')", schema.owner):
            await admin.execute(f"GRANT {schema.owner} TO CURRENT_USER")
        await admin.execute(
            f"CREATE SCHEMA IF NOT EXISTS {schema.name} AUTHORIZATION {schema.owner}"
        )
        for user in (*schema.users, *schema.guests):
            await admin.execute(f"GRANT USAGE ON SCHEMA {schema.name} TO {user}")


async def _migrate(admin: "asyncpg.Connection[Any]", dsns: Mapping[str, str]) -> None:
    await ensure_pogo_sync(admin)
    for schema in SCHEMAS:
        migrations = SERVICES / schema.name / "migrations"
        if not any(migrations.glob("*.sql")):
            continue
        # The list of applied migrations is open to an owner only while its migrations run.
        await admin.execute(f"GRANT USAGE ON SCHEMA public TO {schema.owner}")
        await admin.execute(f"GRANT SELECT ON public._pogo_version TO {schema.owner}")
        await admin.execute(f"GRANT SELECT, INSERT ON public._pogo_migration TO {schema.owner}")
        owner = await asyncpg.connect(dsns[schema.owner])
        try:
            await migrate.apply(owner, migrations, schema_name=schema.name)
        except BadMigrationError as error:
            why = error.__cause__ or (
                "a migration begins with the lines `-- what it does` and `-- depends: <what it "
                "follows>`, then has the parts `-- migrate: apply` and `-- migrate: rollback`"
            )
            raise CannotStart(f"services/{schema.name}/migrations: {error} ({why})") from error
        finally:
            await owner.close()
            await admin.execute(f"REVOKE ALL ON public._pogo_migration FROM {schema.owner}")
            await admin.execute(f"REVOKE ALL ON public._pogo_version FROM {schema.owner}")
            await admin.execute(f"REVOKE ALL ON SCHEMA public FROM {schema.owner}")
