"""The directory over HTTP: who may do what, and what a refusal says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
import yaml
from fastapi import FastAPI
from joserfc.jwk import OKPKey

from services.provisioning.api.routers import routers
from shared import problems
from shared.auth import Authenticator
from shared.contracts.directory_file import write_directory_file
from tests.provisioning.desk import Desk, hire
from tests.provisioning.worlds import ORGANIZATION, directory
from tests.shared.tokens import token, write_keys

ADMINISTRATOR = ("admin-1", "access:admin")
SIGNATORY = ("signatory-1", "policy:approve")
WORKER = ("w1", "directory:read")


@dataclass
class Http:
    """Provisioning's routes, asked as somebody."""

    client: httpx.AsyncClient
    key: OKPKey
    desk: Desk

    async def ask(
        self, who: tuple[str, str], method: str, path: str, **more: Any
    ) -> httpx.Response:
        bearer = token(self.key, sub=who[0], scope=who[1], org=ORGANIZATION)
        return await self.client.request(
            method, f"/access/v1{path}", headers={"authorization": f"Bearer {bearer}"}, **more
        )

    async def as_worker(self, worker: str, path: str) -> Any:
        """What a worker is answered who holds nothing but the scope that all have."""
        bearer = token(
            self.key, sub=worker, scope="directory:read", org=ORGANIZATION, worker=worker
        )
        answer = await self.client.get(
            f"/access/v1{path}", headers={"authorization": f"Bearer {bearer}"}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def good(self, who: tuple[str, str], method: str, path: str, **more: Any) -> Any:
        answer = await self.ask(who, method, path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, who: tuple[str, str], method: str, path: str, **more: Any) -> Any:
        answer = await self.ask(who, method, path, **more)
        assert answer.status_code >= 400, answer.text
        return answer.json()


@pytest_asyncio.fixture(loop_scope="session")
async def http(desk: Desk, tmp_path: Path) -> AsyncIterator[Http]:
    key = OKPKey.generate_key("Ed25519", {"kid": "k"})
    authenticator = Authenticator(write_keys(tmp_path / "jwks.json", key))
    app = FastAPI()
    problems.install(app)
    for router in routers(desk.pool, authenticator, desk.recompute, desk.operations, desk.brake):
        app.include_router(router)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://provisioning.test"
    ) as client:
        yield Http(client, key, desk)


def a_file(**changes: Any) -> str:
    return write_directory_file(directory(**changes))


async def test_a_file_that_is_wrong_is_refused_with_every_line(http: Http) -> None:
    text = a_file().replace("https://hub.example", "hub.example").replace("state: WA", "state: Wa")
    answer = await http.refused(ADMINISTRATOR, "POST", "/directory/plans", json={"file": text})
    assert answer["code"] == "directory_invalid"
    assert len(answer["errors"]) == 2
    for error in answer["errors"]:
        line = text.splitlines()[error["line"] - 1]
        assert "hub.example" in line or "state: Wa" in line


async def test_plan_propose_and_approve_over_http(http: Http) -> None:
    await http.desk.hear(hire("w1"))
    titles = [{"id": "Front Desk", "duties": ["billing"]}]
    policy = {**directory().policy.model_dump(mode="json"), "version": "v2"}
    text = a_file(titles=titles, policy=policy)
    plan = await http.good(ADMINISTRATOR, "POST", "/directory/plans", json={"file": text})
    assert plan["needs_approval"]
    assert plan["effects"]["lose"] == 1
    path = f"/directory/plans/{plan['plan']}"
    (effect,) = (await http.good(SIGNATORY, "GET", f"{path}/effects"))["effects"]
    assert effect["worker"] == "w1"
    assert (await http.good(ADMINISTRATOR, "POST", f"{path}/apply"))["status"] == "proposed"
    alone = await http.refused(("admin-1", "policy:approve"), "POST", f"{path}/approve")
    assert alone["code"] == "own_proposal"
    done = await http.good(SIGNATORY, "POST", f"{path}/approve")
    assert done["version"] == 2
    versions = await http.good(ADMINISTRATOR, "GET", "/directory/versions")
    assert versions["versions"][0]["approved_by"] == "signatory-1"
    listed = await http.good(ADMINISTRATOR, "GET", "/directory/plans")
    assert [(each["status"], each["stale"]) for each in listed["plans"]] == [("applied", False)]


async def test_an_export_read_back_plans_nothing(http: Http) -> None:
    exported = await http.good(WORKER, "GET", "/directory/export")
    plan = await http.good(
        ADMINISTRATOR, "POST", "/directory/plans", json={"file": exported["file"]}
    )
    assert plan["changes"] == []


async def test_an_unmapped_title_is_mapped_by_an_edit_that_names_a_new_policy_version(
    http: Http,
) -> None:
    await http.desk.hear(hire("w1", title="Rev Cycle Spec II"))
    edit = {"put": [{"kind": "title", "id": "Rev Cycle Spec II", "value": {"duties": ["billing"]}}]}
    plan = await http.good(ADMINISTRATOR, "POST", "/directory/edits", json=edit)
    assert {(each["kind"], each["change"]) for each in plan["changes"]} == {
        ("policy", "changed"),
        ("title", "created"),
    }
    assert plan["effects"]["gain"] == 1
    wrong = {"put": [{"kind": "title", "id": "X", "value": {"duties": ["flying"]}}]}
    answer = await http.refused(ADMINISTRATOR, "POST", "/directory/edits", json=wrong)
    assert "job duty 'flying', which is not in the directory" in answer["detail"]


async def test_one_person_does_not_change_a_policy_past_the_plan(http: Http) -> None:
    document = directory(titles=[]).model_dump(mode="json")
    answer = await http.refused(ADMINISTRATOR, "POST", "/directory", json=document)
    assert answer["code"] == "second_person_needed"
    document = directory(contracts=[]).model_dump(mode="json")
    assert (await http.good(ADMINISTRATOR, "POST", "/directory", json=document))["version"] == 2


async def test_scopes_decide_who_plans_simulates_approves_and_reads(http: Http) -> None:
    body = {"file": a_file(contracts=[])}
    reader = ("r-1", "access:read")
    simulated = await http.good(reader, "POST", "/directory/simulations", json=body)
    assert not simulated["applicable"]
    path = f"/directory/plans/{simulated['plan']}"
    for who, method, where, more in (
        (reader, "POST", "/directory/plans", {"json": body}),
        (WORKER, "POST", "/directory/simulations", {"json": body}),
        (WORKER, "GET", path, {}),
        (reader, "POST", f"{path}/apply", {}),
        (ADMINISTRATOR, "POST", f"{path}/approve", {}),
        (reader, "POST", "/directory/edits", {"json": {}}),
    ):
        assert (await http.refused(who, method, where, **more))["code"] == "scope_missing"


async def test_the_catalogue_is_there_for_everybody(http: Http) -> None:
    found = (await http.good(WORKER, "GET", "/catalogue"))["portals"]
    assert {"noridian-nmp", "onehealthport", "wa-lni"} <= {each["id"] for each in found}
    one = await http.good(WORKER, "GET", "/catalogue/noridian-nmp")
    assert one["portal"]["steps"]["revoke"][0]["actor"] == "administrator"
    assert (await http.refused(WORKER, "GET", "/catalogue/nothing"))["code"] == "no_such_entry"


async def test_what_is_exported_is_yaml_a_person_can_read(http: Http) -> None:
    text = (await http.good(WORKER, "GET", "/directory/export"))["file"]
    assert yaml.safe_load(text)["organization"]["name"] == "Maple Clinic"
    assert max(len(line) for line in text.splitlines()) < 140


async def test_the_directory_in_force_says_who_put_it_there(http: Http) -> None:
    found = await http.good(WORKER, "GET", "/directory")
    assert (found["version"], found["applied_by"], found["approved_by"]) == (1, "admin-1", None)
    assert found["directory"]["organization"]["id"] == ORGANIZATION
