"""The command line against the same system that the browser uses."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import orjson
import pytest
import pytest_asyncio

from tests.e2e.conftest import PATIENCE_SECONDS, System
from tests.e2e.test_browser import directory
from tests.servers import ROOT

WORKER = "W-COMMAND-1"


async def portalkeeper(session: Path, *arguments: str) -> tuple[int, Any, str]:
    """Exit status, JSON output, and what went to standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli.main",
        *arguments,
        "--json",
        cwd=ROOT,
        env={
            **os.environ,
            "PORTALKEEPER_SESSION_FILE": str(session),
            "XDG_CONFIG_HOME": str(session.parent),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else None, err.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def session(system: System) -> Path:
    return await system.session_file("administrator", "compliance", "operator", "review_manager")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def worked_off(system: System, session: Path) -> str:
    """An operation that was seen through from the command line, from the directory on."""
    directory_file = system.folder / "directory.json"
    directory_file.write_bytes(orjson.dumps(directory(system.organization, system.source)))
    code, _, err = await portalkeeper(session, "directory", "apply", "--yes", str(directory_file))
    assert code == 0, err

    begun = (datetime.now(UTC) - timedelta(days=9)).date().isoformat()
    facts = {"effective_on": begun, "employment_id": "E-9", "title": "Biller", "sites": ["main"]}
    event_file = system.folder / "event.json"
    event_file.write_bytes(orjson.dumps(system.hr_event("worker.hired", WORKER, facts)))
    code, sent, err = await portalkeeper(
        session,
        "hr",
        "send",
        str(event_file),
        "--secret-file",
        str(system.settings.sources_file),
    )
    assert (code, sent["accepted"] if sent else None) == (0, 1), err

    item = await first_work(session)
    code, claimed, err = await portalkeeper(session, "work", "claim", item["operation_id"])
    assert code == 0, err
    for step in claimed["steps"]:
        code, _, err = await portalkeeper(
            session, "work", "step", item["operation_id"], str(step["index"])
        )
        assert code == 0, err
    code, done, err = await portalkeeper(
        session,
        "work",
        "done",
        item["operation_id"],
        "--evidence",
        "HUB-1",
        "--login-id",
        "wcommand1",
    )
    assert (code, done and done["status"]) == (0, "done"), err
    return str(item["operation_id"])


async def test_work_is_seen_through_from_the_command_line_and_the_log_verifies(
    session: Path, worked_off: str
) -> None:
    code, _, err = await portalkeeper(session, "work", "claim", worked_off)
    assert code == 5, err

    code, report, err = await portalkeeper(session, "audit", "verify")
    assert code == 0, err
    assert report["good"] is True
    assert report["entries"] > 0
    code, again, err = await portalkeeper(session, "audit", "verify")
    assert code == 0, err
    assert again["entries"] >= report["entries"]


@pytest.mark.usefixtures("worked_off")
async def test_a_person_is_found_by_name_and_shown_with_what_they_have(session: Path) -> None:
    code, found, err = await portalkeeper(session, "people", "list", "COMMAND", "--limit", "5")
    assert code == 0, err
    assert [one["worker"] for one in found] == [WORKER]
    code, shown, err = await portalkeeper(session, "people", "show", WORKER)
    assert code == 0, err
    assert [access["login_id"] for access in shown["state"]["portals"]] == ["wcommand1"]
    code, _, err = await portalkeeper(session, "people", "show", "W-NOBODY")
    assert (code, "no_such_worker" in err) == (5, True)


@pytest.mark.usefixtures("worked_off")
async def test_a_mistyped_portal_is_answered_with_what_it_may_be_called(session: Path) -> None:
    code, _, err = await portalkeeper(session, "explain", WORKER, "hubb")
    assert (code, "Did you mean hub?" in err) == (5, True), err


@pytest.mark.usefixtures("worked_off")
async def test_the_command_line_explains_answers_for_a_moment_and_replays_the_log(
    system: System, session: Path
) -> None:
    code, found, err = await portalkeeper(session, "explain", WORKER, "hub")
    assert code == 0, err
    assert {line["function"]: line["state"] for line in found["lines"]} == {
        "claim_status": "effective",
        "eligibility": "effective",
    }
    now = datetime.now(UTC).isoformat()
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            code, answer, err = await portalkeeper(
                session, "who-had-access", "--portal", "hub", "--at", now
            )
            assert code == 0, err
            if answer["audit"]["proof"]:
                break
            await anyio.sleep(0.3)
    assert WORKER in {person["worker"] for person in answer["people"]}
    assert answer["audit"]["proof"]["proved"]

    code, report, err = await portalkeeper(session, "replay")
    assert code == 0, (report, err)
    assert report["operations"] > 0

    tampering = "UPDATE account SET login_id = $2 WHERE worker = $1"
    conn = await asyncpg.connect(system.dsns["provisioning"])
    await conn.execute(tampering, WORKER, "mallory")
    code, report, err = await portalkeeper(session, "replay", "--settle", "0.5")
    assert code == 1, err
    assert [(one["what"], one["field"], one["kept"]) for one in report["differences"]] == [
        ("account", "login_id", "mallory")
    ]
    code, verified, err = await portalkeeper(session, "audit", "verify", "--replay")
    assert (code, verified["good"]) == (1, True), err
    assert len(verified["replay"]["differences"]) == 1
    await conn.execute(tampering, WORKER, "wcommand1")
    await conn.close()
    code, verified, err = await portalkeeper(session, "audit", "verify", "--replay")
    assert (code, verified["replay"]["differences"]) == (0, []), err


async def first_work(session: Path) -> Any:
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            code, items, err = await portalkeeper(session, "work", "list", "--worker", WORKER)
            assert code == 0, err
            if items:
                return items[0]
            await anyio.sleep(0.3)


async def test_status_is_ready_when_every_service_is(session: Path) -> None:
    code, rows, err = await portalkeeper(session, "status")
    assert code == 0, (rows, err)
    assert {row["service"] for row in rows} == {"gateway", "provisioning", "audit", "review"}


@pytest.mark.parametrize(
    "command",
    [
        ("review", "list"),
        ("review", "campaigns"),
        ("review", "questions"),
        ("work", "list", "--ended"),
    ],
    ids=" ".join,
)
async def test_a_list_answers(session: Path, command: tuple[str, ...]) -> None:
    code, rows, err = await portalkeeper(session, *command)
    assert code == 0, err
    assert isinstance(rows, list)


async def test_reviews_are_counted_and_judged_from_the_command_line(session: Path) -> None:
    code, coverage, err = await portalkeeper(session, "review", "coverage")
    assert code == 0, err
    assert coverage["reviewed"] <= coverage["held"]
    code, quality, err = await portalkeeper(session, "review", "quality")
    assert code == 0, err
    assert set(quality) == {"since", "reviewers", "dormant_keeps"}
    code, _, err = await portalkeeper(session, "review", "decide", "no-such-review")
    assert (code, "Say which lines" in err) == (2, True)


async def test_accepting_a_gap_that_is_none_is_refused(session: Path) -> None:
    code, _, err = await portalkeeper(
        session, "accept-gap", "provisioning", "hr.worker-events.v1", "0", "--yes"
    )
    assert code == 5, err
