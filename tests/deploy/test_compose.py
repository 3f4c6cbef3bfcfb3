"""The compose project runs the same processes as the embedded run, each with only its secrets."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from deploy.processes import PROCESSES, Process
from tests.servers import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NOT_OURS = {"kafka", "postgres"}
JOBS = {"prepare", "secrets"}

each_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)


def test_both_ways_to_run_start_the_same_processes() -> None:
    assert set(SERVICES) - NOT_OURS - JOBS == {process.name for process in PROCESSES}


@each_process
def test_a_process_has_the_same_entry_point_in_a_container(process: Process) -> None:
    assert SERVICES[process.name]["command"] == ["python", "-m", process.module]


@each_process
def test_a_process_is_told_the_same_settings_in_a_container(process: Process) -> None:
    names = {"DATABASE_URL", "KAFKA", *process.settings}
    if process.port is not None:
        names |= {"HOST", "PORT"}
    if process.role == "gateway" and process.port is not None:
        # Only a container listens beyond loopback, and must say why that is no danger.
        names |= {"PUBLISHED_ON"}
    if "PROVISIONING_URL" in process.settings:
        names |= {"OUTER_URLS"}

    assert set(SERVICES[process.name]["environment"]) == {f"PORTALKEEPER_{name}" for name in names}


@each_process
def test_a_process_sees_its_own_secrets_only(process: Process) -> None:
    mounted = {
        volume.split(":")[1]: volume.split(":")[2:]
        for volume in SERVICES[process.name]["volumes"]
        if volume.startswith("secrets-")
    }
    own = f"/secrets/{process.role}"

    assert set(mounted) - {"/secrets/public"} == {own}
    assert all(mode == ["ro"] for mode in mounted.values())
    url = urlsplit(SERVICES[process.name]["environment"]["PORTALKEEPER_DATABASE_URL"])
    assert url.username == process.role
    assert url.password is None
    assert parse_qs(url.query)["passfile"] == [f"{own}/pgpass"]


@each_process
def test_a_process_starts_after_the_preparation(process: Process) -> None:
    assert SERVICES[process.name]["depends_on"] == {
        "prepare": {"condition": "service_completed_successfully"}
    }


@each_process
def test_a_listening_process_is_asked_for_its_health(process: Process) -> None:
    service = SERVICES[process.name]
    if process.port is None:
        assert "healthcheck" not in service
        return
    port = service["environment"]["PORTALKEEPER_PORT"]

    assert port == str(8080 + process.port)
    assert service["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}/readyz"
    assert all(one.startswith("127.0.0.1:") for one in service.get("ports", []))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - NOT_OURS))
def test_a_container_cannot_change_its_files_or_gain_rights(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_every_volume_is_declared() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}

    assert used == set(COMPOSE["volumes"])


def test_a_command_line_outside_finds_the_services_by_their_published_ports() -> None:
    environment = SERVICES["gateway"]["environment"]
    outer = json.loads(environment["PORTALKEEPER_OUTER_URLS"])

    for name, url in outer.items():
        host, port = urlsplit(environment[f"PORTALKEEPER_{name.upper()}_URL"]).netloc.split(":")
        assert url == f"http://127.0.0.1:{port}"
        assert SERVICES[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert set(outer) == {"provisioning", "audit", "review"}


def test_all_that_the_image_copies_is_sent_to_the_engine() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = {
        source
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    ignored, *sent = (ROOT / ".dockerignore").read_text().splitlines()

    assert ignored == "*"
    assert copied == {line.removeprefix("!") for line in sent if line.startswith("!")}


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()

    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001:10001"
