"""Preparation: what exists is kept, and each role can do what its service needs and no more."""

from collections.abc import Mapping

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.database import ROLES, SCHEMAS
from deploy.errors import CannotStart
from deploy.prepare import prepare
from deploy.topics import create_topics
from shared.contracts.topics import TOPICS, Topic
from tests.servers import PASSWORDS, TopicMaker


async def test_preparing_twice_changes_nothing(
    kafka: str, fresh_database: Mapping[str, str]
) -> None:
    first = await prepare(kafka, fresh_database["admin"], PASSWORDS)
    before = await _applied(fresh_database["admin"])
    second = await prepare(kafka, fresh_database["admin"], PASSWORDS)

    assert first == second
    assert await _applied(fresh_database["admin"]) == before


async def test_every_topic_exists_after_preparation(prepared_kafka: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=prepared_kafka)
    await admin.start()
    try:
        described = await admin.describe_topics([topic.name for topic in TOPICS])
    finally:
        await admin.close()

    assert {topic.name: topic.partitions for topic in TOPICS} == {
        one["topic"]: len(one["partitions"]) for one in described
    }


async def test_a_topic_with_other_partitions_is_refused(kafka: str, make_topic: TopicMaker) -> None:
    name = await make_topic(partitions=2)

    with pytest.raises(CannotStart, match="has 2 partitions and needs 3"):
        await create_topics(kafka, [Topic(name, "key", 3)], replication=1)


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_starts_in_its_own_schema(database: Mapping[str, str], role: str) -> None:
    schema = next(schema.name for schema in SCHEMAS if role in schema.roles)
    connection = await asyncpg.connect(database[role])
    try:
        assert await connection.fetchval("SELECT current_schema()") == schema
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ["audit_log", "audit_signer"])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE audit_log.forged (entry bigint)",
        "CREATE TABLE public.forged (entry bigint)",
        "CREATE SCHEMA forged",
        "ALTER TABLE audit_log.kept ADD COLUMN forged text",
        "DROP TABLE audit_log.kept",
        "TRUNCATE audit_log.kept",
        "DROP SCHEMA audit_log",
        "SET ROLE audit_owner",
        "SELECT * FROM public._pogo_migration",
    ],
)
async def test_writer_and_signer_cannot_change_the_audit_schema(
    audit_table: str, role: str, statement: str, database: Mapping[str, str]
) -> None:
    connection = await asyncpg.connect(database[role])
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_service_does_not_see_another_ones_schema(database: Mapping[str, str]) -> None:
    connection = await asyncpg.connect(database["gateway"])
    try:
        for schema in ("provisioning", "review_scheduler", "audit_log"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"CREATE TABLE {schema}.intruder ()")
            assert not await connection.fetchval(
                "SELECT has_schema_privilege('gateway', $1, 'USAGE')", schema
            )
    finally:
        await connection.close()


async def test_an_owner_loses_the_list_of_migrations_once_they_ran(
    database: Mapping[str, str],
) -> None:
    connection = await asyncpg.connect(database["provisioning"])
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM public._pogo_migration")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def audit_table(database: Mapping[str, str]) -> str:
    owner = await asyncpg.connect(database["audit_owner"])
    try:
        await owner.execute("CREATE TABLE audit_log.kept (entry bigint)")
    finally:
        await owner.close()
    return "audit_log.kept"


async def _applied(admin_dsn: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(admin_dsn)
    try:
        return await connection.fetch(
            "SELECT schema_name, migration_id, applied FROM public._pogo_migration ORDER BY 1, 2"
        )
    finally:
        await connection.close()
