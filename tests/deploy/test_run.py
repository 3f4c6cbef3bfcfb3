"""The supervisor: what it starts it stops, whatever happens to it or to its processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.embedded.processes import is_alive
from deploy.errors import CannotStart
from deploy.installation import DATABASE, Installation, find_first_port, first_port_wanted
from deploy.keys import make_secrets
from deploy.processes import PORTS, PROCESSES
from deploy.run import Supervisor, forget, without
from tests.deploy.supervise import no_story
from tests.servers import JARS, ROOT, session_folder

SERVING = "Ctrl-C stops everything"
END_SECONDS = 60


@pytest.fixture
def installation() -> Iterator[Installation]:
    with session_folder() as folder:
        place = Installation(folder / "installation", find_first_port(), JARS.parent)
        yield place
        forget(place)


async def test_a_stopped_run_leaves_no_process_and_keeps_its_data(
    installation: Installation,
) -> None:
    with supervised(installation) as first:
        pids = read_until(first, SERVING, installation)
        await _write_a_row(installation)
        first.send_signal(signal.SIGINT)
        output = first.communicate(timeout=END_SECONDS)[0]
        assert first.returncode == 0
        assert "Traceback" not in output
        assert not any(process_lives(pid) for pid in pids)

    with supervised(installation) as second:
        read_until(second, SERVING, installation)
        assert await _read_the_row(installation) == "kept"
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=END_SECONDS)
        assert second.returncode == 0


@pytest.mark.parametrize(
    ("moment", "seconds_later"),
    [
        ("Starting PostgreSQL and Kafka", 0),
        ("Starting PostgreSQL and Kafka", 1.5),
        (f"Starting {len(PROCESSES)} processes", 0.2),
        ("Playing", 0.2),
    ],
)
def test_a_run_stopped_while_it_starts_or_plays_leaves_nothing(
    installation: Installation, moment: str, seconds_later: float
) -> None:
    with supervised(installation, "busy") as run:
        read_until_line(run, moment)
        time.sleep(seconds_later)
        pids = [json.loads(r.read_text())["pid"] for r in installation.folder.rglob("*.pid.json")]
        run.send_signal(signal.SIGINT)
        output = run.communicate(timeout=END_SECONDS)[0]

    assert run.returncode == 0
    assert "Traceback" not in output
    assert not any(process_lives(pid) for pid in pids)
    assert not list(installation.folder.rglob("*.pid.json"))


def test_what_a_killed_run_left_is_stopped_by_the_next(installation: Installation) -> None:
    with supervised(installation) as first:
        pids = read_until(first, SERVING, installation)
        first.kill()
        first.wait()
    assert all(process_lives(pid) for pid in pids)

    with supervised(installation) as second:
        read_until(second, SERVING, installation)
        assert not any(process_lives(pid) for pid in pids)
        second.send_signal(signal.SIGINT)
        second.communicate(timeout=END_SECONDS)
        assert second.returncode == 0


def test_a_process_that_ends_is_named_and_everything_stops(installation: Installation) -> None:
    with supervised(installation) as run:
        pids = read_until(run, SERVING, installation)
        record = json.loads((installation.logs / "review-relay.pid.json").read_text())
        os.kill(record["pid"], signal.SIGKILL)
        output = run.communicate(timeout=END_SECONDS)[0]

    assert run.returncode == 1
    assert "review-relay ended by itself" in output
    assert "standing in" in output
    assert "Traceback" not in output
    assert not any(process_lives(pid) for pid in pids)


def test_a_second_run_in_the_same_folder_is_refused(installation: Installation) -> None:
    with installation.locked(), supervised(installation) as second:
        output = second.communicate(timeout=END_SECONDS)[0]

    assert second.returncode == 1
    assert output.count("\n") == 1
    assert "already runs from this folder" in output


@pytest.mark.parametrize("port", sorted(PORTS))
def test_a_taken_port_is_named_with_who_wants_it(installation: Installation, port: int) -> None:
    number = installation.first_port + port
    with socket.create_server(("127.0.0.1", number)), pytest.raises(CannotStart) as refusal:
        Supervisor(installation, PROCESSES, no_story).start()

    assert f"Port {number}, wanted for {PORTS[port]}, is in use" in str(refusal.value)


def test_a_run_that_cannot_start_says_one_sentence(installation: Installation) -> None:
    taken = ("127.0.0.1", installation.first_port)
    with socket.create_server(taken), supervised(installation) as run:
        output = run.communicate(timeout=END_SECONDS)[0]

    assert run.returncode == 1
    assert output.count("\n") == 1
    assert output.startswith(f"Port {installation.first_port}, wanted for gateway, is in use: ")


@pytest.mark.parametrize("text", ["", "http", "80", "65530", "-1", "8080.5"])
def test_a_first_port_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(CannotStart, match="must be a number from 1024 to 65523"):
        first_port_wanted({"PORTALKEEPER_PORT": text})


def test_a_process_that_is_told_nonsense_says_so_in_one_sentence() -> None:
    told = os.environ | {"PORTALKEEPER_PORT": "eighty"}
    said = {
        process.name: subprocess.run(
            [sys.executable, "-m", process.module],
            env=told,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
        )
        for process in PROCESSES
    }

    for name, result in said.items():
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1, f"{name}: {result.stderr}"
        assert "cannot run: PORTALKEEPER_PORT: Input should be a valid integer" in result.stderr


def test_a_process_is_told_its_own_settings_only(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    secrets = make_secrets(installation.secrets)

    for process in PROCESSES:
        environment = installation.environment(process, secrets)
        others = [password for role, password in secrets.passwords.items()]
        assert not any(password in value for password in others for value in environment.values())
        assert ("PORTALKEEPER_SIGNER_KEY_FILE" in environment) == (process.name == "audit-signer")
        assert ("PORTALKEEPER_JWT_KEY_FILE" in environment) == (process.name == "gateway")


def test_a_log_that_follows_another_keeps_its_name_from_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTALKEEPER_LOG_ORIGIN", "portalkeeper.local/audit-2")
    installation = Installation(tmp_path)
    secrets = make_secrets(installation.secrets)
    told = [installation.environment(process, secrets) for process in PROCESSES]
    assert {each["PORTALKEEPER_LOG_ORIGIN"] for each in told} == {"portalkeeper.local/audit-2"}


def test_what_maintenance_needs_stopped_is_not_started() -> None:
    left = without(["audit-log", "audit-signer"])
    assert {each.name for each in PROCESSES} - {each.name for each in left} == {
        "audit-log",
        "audit-signer",
    }
    with pytest.raises(CannotStart, match="audit-projector"):
        without(["audit"])


def process_lives(pid: int) -> bool:
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def supervised(installation: Installation, *story: str) -> "subprocess.Popen[str]":
    place = (str(installation.folder), str(installation.first_port), str(installation.cache))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.supervise", *place, *story],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def read_until(run: "subprocess.Popen[str]", words: str, installation: Installation) -> list[int]:
    """Wait for a line with `words`; the ids of everything that runs then."""
    read_until_line(run, words)
    records = list(installation.folder.rglob("*.pid.json"))
    assert len(records) == len(PROCESSES) + 2
    return [json.loads(record.read_text())["pid"] for record in records]


def read_until_line(run: "subprocess.Popen[str]", words: str) -> None:
    assert run.stdout is not None
    lines = []
    for line in run.stdout:
        lines.append(line)
        if words in line:
            return
    pytest.fail("".join(lines))


async def _write_a_row(installation: Installation) -> None:
    connection = await asyncpg.connect(_owner(installation))
    await connection.execute("CREATE TABLE gateway.memory AS SELECT 'kept' AS word")
    await connection.close()


async def _read_the_row(installation: Installation) -> str:
    connection = await asyncpg.connect(_owner(installation))
    word: str = await connection.fetchval("SELECT word FROM gateway.memory")
    await connection.close()
    return word


def _owner(installation: Installation) -> str:
    secrets = make_secrets(installation.secrets)
    gateway = next(process for process in PROCESSES if process.name == "gateway")
    dsn = installation.environment(gateway, secrets)["PORTALKEEPER_DATABASE_URL"]
    assert DATABASE in dsn
    return dsn
