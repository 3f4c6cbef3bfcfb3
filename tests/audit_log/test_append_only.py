"""Nobody changes what is in the log: neither writer nor signer, nor its owner by mistake."""

import asyncpg
import pytest

from tests.audit_log.worlds import World, hired

CHANGES = (
    "UPDATE entry SET leaf = 'x' WHERE index = 0",
    "DELETE FROM entry WHERE index = 0",
    "TRUNCATE entry",
    "UPDATE entry_000000 SET leaf = 'x' WHERE index = 0",
    "DELETE FROM entry_000000 WHERE index = 0",
    "TRUNCATE entry_000000",
    "UPDATE tile SET hashes = decode(repeat('00', 8192), 'hex')",
    "DELETE FROM tile",
    "TRUNCATE tile",
    "UPDATE checkpoint SET note = 'x'",
    "DELETE FROM checkpoint",
    "TRUNCATE checkpoint",
    "UPDATE log_head SET origin = 'x'",
    "UPDATE log_head SET size = size - 1",
    "DELETE FROM log_head",
    "TRUNCATE log_head",
)


@pytest.mark.parametrize("role", ["audit_log", "audit_signer", "audit_owner"])
async def test_no_role_can_change_what_is_appended(world: World, role: str) -> None:
    await world.append(*[hired(offset) for offset in range(300)])
    await world.sign()
    conn = await asyncpg.connect(world.database[role])
    try:
        for statement in CHANGES:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)
    finally:
        await conn.close()
    assert (await world.verify()).good


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO checkpoint (size, note, verifier_key) VALUES (9, '', '')",
        "ALTER TABLE entry DISABLE TRIGGER ALL",
        "DROP TABLE tile",
        "CREATE TABLE mine ()",
        "SET session_replication_role = replica",
    ],
)
async def test_the_writer_can_neither_sign_nor_alter_tables(world: World, statement: str) -> None:
    conn = await asyncpg.connect(world.database["audit_log"])
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)
    finally:
        await conn.close()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO entry (index, recorded_at, leaf) VALUES (0, now(), '')",
        "INSERT INTO log_head (origin) VALUES ('x')",
        "UPDATE log_head SET size = 9",
        "SELECT 1 FROM outbox",
        "SELECT 1 FROM audit_search.found",
    ],
)
async def test_the_signer_only_reads_the_log(world: World, statement: str) -> None:
    conn = await asyncpg.connect(world.database["audit_signer"])
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)
    finally:
        await conn.close()
