"""SCIM against a real server: seats of a vault are given, changed and taken, whatever is there."""

from __future__ import annotations

import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import pytest_asyncio

from deploy.embedded.processes import pick_free_port
from services.provisioning.connectors.running import ConnectorRunner
from services.provisioning.connectors.scim import ScimConnector, load_endpoints
from shared.contracts.directory import Directory
from tests.provisioning.desk import Desk, hire, hr_record, leave_now
from tests.provisioning.worlds import ORGANIZATION, TIN, day, directory

TOKEN = "sesame"
PATIENCE_SECONDS = 20


def with_vault() -> Directory:
    """The directory with a vault whose groups give functions, and nothing else to do by hand."""
    base = directory().model_dump(mode="json")
    base["portals"].append(
        {
            "id": "vault",
            "name": "Password vault",
            "kind": "vault",
            "url": "https://vault.example",
            "connector": "scim",
            "starts": "new",
            "removal_rank": 0,
            "reaches": [{"carrier": "acme", "functions": ["prior_authorization"]}],
        }
    )
    base["enrolments"].append(
        {"id": "vault-1", "portal": "vault", "tin": TIN, "registered_on": "2020-01-01"}
    )
    base["job_duties"].append(
        {"id": "auth", "name": "Authorizations", "functions": ["prior_authorization"]}
    )
    base["titles"].append({"id": "Coordinator", "duties": ["front-desk", "auth"]})
    return Directory.model_validate(base)


class Vault:
    """A SCIM server in a process of its own, asked from outside."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}
        )

    async def users(self) -> dict[str, Any]:
        found = (await self.http.get("/Users")).json().get("Resources", [])
        return {user["userName"]: user for user in found}

    async def members(self, group: str) -> set[str]:
        groups = (await self.http.get("/Groups")).json().get("Resources", [])
        return {
            member["value"]
            for found in groups
            if found["displayName"] == group
            for member in found.get("members", [])
        }


@pytest_asyncio.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    port = pick_free_port()
    command = [str(Path(sys.executable).with_name("scim2-server")), "--port", str(port)]
    process = await create_subprocess_exec(
        *command, "--bearer-token", TOKEN, stdout=DEVNULL, stderr=DEVNULL
    )
    served = Vault(port)
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                try:
                    await served.http.get("/Users")
                    break
                except httpx.TransportError:
                    await anyio.sleep(0.1)
        yield served
    finally:
        await served.http.aclose()
        process.terminate()
        await process.wait()


def runner(desk: Desk, url: str, folder: Path, token: str = TOKEN) -> ConnectorRunner:
    (folder / "token").write_text(token)
    (folder / "scim.yaml").write_text(
        f"- {{organization: {ORGANIZATION}, portal: vault, url: '{url}',"
        f" token_file: {folder / 'token'}, groups: {{prior_authorization: Authorizations}}}}\n"
    )
    endpoints = load_endpoints(folder / "scim.yaml")
    connector = {"scim": ScimConnector(endpoints)}
    return ConnectorRunner(desk.pool, desk.recompute, desk.operations, connector)


@pytest_asyncio.fixture
async def at_work(desk: Desk, vault: Vault, tmp_path: Path) -> ConnectorRunner:
    """A coordinator who has a seat."""
    await desk.apply_directory(with_vault())
    await desk.hear(hire(title="Coordinator", email="w1@maple.example"))
    running = runner(desk, vault.url, tmp_path)
    await settle(desk, running)
    return running


async def settle(desk: Desk, running: ConnectorRunner) -> None:
    while await running.work():
        pass


async def open_at_vault(desk: Desk) -> set[str]:
    return {item["kind"] for item in await desk.work() if item["portal"] == "vault"}


async def test_a_hire_gets_a_seat_and_its_groups_confirmed_by_the_service(
    desk: Desk, vault: Vault, at_work: ConnectorRunner
) -> None:
    user = (await vault.users())["w1@maple.example"]
    assert user["active"] is True
    assert user["externalId"] == "w1"
    assert await vault.members("Authorizations") == {user["id"]}
    seat = next(one for one in (await desk.state())["portals"] if one["portal"] == "vault")
    assert (seat["grade"], seat["login_id"]) == ("api", "w1@maple.example")


async def test_a_departure_takes_the_seat_first_and_at_once(
    desk: Desk, vault: Vault, at_work: ConnectorRunner
) -> None:
    await desk.hear(leave_now())
    assert (await desk.work())[0]["portal"] == "vault"
    await settle(desk, at_work)
    assert (await vault.users())["w1@maple.example"]["active"] is False
    assert "vault" not in {portal for portal, _ in await desk.effective()}


async def test_a_mover_loses_the_group_and_keeps_the_seat(
    desk: Desk, vault: Vault, at_work: ConnectorRunner
) -> None:
    moves = hr_record(
        "worker.changed",
        id_="moves",
        employment_id="w1-e1",
        effective_on=day(0),
        title="Front Desk",
    )
    await desk.hear(moves)
    await settle(desk, at_work)
    assert await vault.members("Authorizations") == set()
    assert (await vault.users())["w1@maple.example"]["active"] is True


async def test_a_user_that_somebody_made_by_hand_is_taken_over(
    desk: Desk, vault: Vault, tmp_path: Path
) -> None:
    await vault.http.post(
        "/Users",
        json={
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": "w1@maple.example",
            "active": False,
        },
    )
    await desk.apply_directory(with_vault())
    await desk.hear(hire(title="Coordinator", email="w1@maple.example"))
    await settle(desk, runner(desk, vault.url, tmp_path))
    assert (await vault.users())["w1@maple.example"]["active"] is True
    assert await open_at_vault(desk) == set()


async def test_a_seat_that_is_gone_already_counts_as_removed(
    desk: Desk, vault: Vault, at_work: ConnectorRunner
) -> None:
    user = (await vault.users())["w1@maple.example"]
    await vault.http.delete(f"/Users/{user['id']}")
    await desk.hear(leave_now())
    await settle(desk, at_work)
    assert "vault" not in {portal for portal, _ in await desk.effective()}


async def test_a_service_that_does_not_answer_is_left_alone_and_nothing_counts_as_done(
    desk: Desk, tmp_path: Path
) -> None:
    await desk.apply_directory(with_vault())
    await desk.hear(hire(title="Coordinator"))
    running = runner(desk, f"http://127.0.0.1:{pick_free_port()}", tmp_path)
    await settle(desk, running)
    assert await open_at_vault(desk) == {"open"}
    assert "vault" not in {portal for portal, _ in await desk.effective()}


async def test_a_refusal_is_a_failed_operation_with_the_services_words(
    desk: Desk, vault: Vault, tmp_path: Path
) -> None:
    await desk.apply_directory(with_vault())
    await desk.hear(hire(title="Coordinator"))
    await settle(desk, runner(desk, vault.url, tmp_path, token="wrong"))
    (failed,) = await desk.published("operation.failed")
    assert "refused (401)" in failed["data"]["reason_given"]


@pytest.mark.parametrize("text", ["- {portal: vault}", "nonsense", "- {a: [}"])
def test_a_file_that_is_no_list_of_services_is_refused_by_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "scim.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"scim\.yaml"):
        load_endpoints(file)
