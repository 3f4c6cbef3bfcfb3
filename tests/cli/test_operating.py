"""What operators run: doctor, completion, and keeping the audit log."""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from services.cli.main import app
from tests.cli.conftest import Listening, Run


async def test_doctor_names_what_does_not_answer_and_what_to_do(
    run: Run, listening: Listening, prepared_kafka: str, database: Mapping[str, str]
) -> None:
    await run("sign-in", await listening.link("operator"))
    servers = {
        "PORTALKEEPER_KAFKA": prepared_kafka,
        "PORTALKEEPER_ADMIN_DATABASE_URL": database["admin"],
    }
    ran = await run("doctor", "--json", **servers)
    assert ran.code == 1
    seen = {each["what"]: each for each in json.loads(ran.out)}
    for well in ("Kafka", "topics", "PostgreSQL", "migrations", "session", "The gateway: clock"):
        assert seen[well]["state"] == "ok", seen[well]
    assert seen["The audit log"]["state"] == "failed"
    assert "its log says why" in seen["The audit log"]["next_step"]
    assert "PORTALKEEPER_NOTIFY_FILE" in seen["notifications"]["next_step"]


async def test_doctor_tells_of_servers_that_are_gone(run: Run) -> None:
    nowhere = {
        "PORTALKEEPER_KAFKA": "127.0.0.1:1",
        "PORTALKEEPER_ADMIN_DATABASE_URL": "postgresql://postgres@127.0.0.1:1/portalkeeper",
    }
    ran = await run("doctor", "--json", **nowhere)
    states = {each["what"]: each["state"] for each in json.loads(ran.out)}
    assert (ran.code, states["Kafka"], states["PostgreSQL"]) == (1, "failed", "failed")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_each_shell_gets_a_script(run: Run, shell: str) -> None:
    ran = await run("completion", shell)
    assert (ran.code, "_PORTALKEEPER_COMPLETE" in ran.out) == (0, True)


async def test_commands_are_completed(run: Run) -> None:
    asked = {
        "_PORTALKEEPER_COMPLETE": "complete_bash",
        "COMP_WORDS": "portalkeeper br",
        "COMP_CWORD": "1",
    }
    ran = await run(**asked)
    assert sorted(ran.out.split()) == ["brake", "break-glass"]


async def test_the_audit_log_is_backed_up_and_restored(
    run: Run, database: Mapping[str, str], tmp_path: Path
) -> None:
    key = tmp_path / "master.key"
    key.write_text(base64.b64encode(os.urandom(32)).decode())
    key.chmod(0o600)
    keystore = tmp_path / "keystore"
    keystore.mkdir(mode=0o700)
    told = {
        "PORTALKEEPER_DATABASE_URL": database["audit_owner"],
        "PORTALKEEPER_AUDIT_KEYSTORE_DIR": str(keystore),
        "PORTALKEEPER_AUDIT_MASTER_KEY_FILE": str(key),
    }
    copies = tmp_path / "copies"
    made = await run("backup", str(copies), "--json", **told)
    assert made.code == 0, made.err
    assert len(json.loads(made.out)["said"]) == 2
    missing = await run("restore", str(tmp_path / "elsewhere"), **told)
    assert missing.code == 1
    assert "Traceback" not in missing.err


async def test_where_nothing_is_installed_maintenance_says_what_it_needs(
    run: Run, listening: Listening
) -> None:
    await run("sign-in", await listening.link("operator"))
    ran = await run(
        "audit", "rotate-signing", PORTALKEEPER_DATABASE_URL="postgresql://127.0.0.1:1/x"
    )
    assert ran.code == 1
    assert ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "command", [("prune",), ("succeed", "next"), ("rotate-signing",), ("rotate-master", "key")]
)
async def test_what_cannot_be_undone_is_done_by_nobody_who_is_not_signed_in(
    run: Run, command: tuple[str, ...]
) -> None:
    ran = await run("audit", *command)
    assert ran.code != 0
    assert "sign-in" in ran.err


WITHOUT_DOCUMENT = {"run", "demo leaver", "completion", "hr watch"}
"""They serve, play, or go on until stopped."""


def test_every_command_has_json_for_programs() -> None:
    def walk(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
        for part, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{name} {part}".strip())
        if not hasattr(command, "commands"):
            yield name, {option for each in command.params for option in each.opts}

    commands = dict(walk(typer.main.get_command(app), ""))
    without = {name for name, options in commands.items() if "--json" not in options}
    assert without == WITHOUT_DOCUMENT
