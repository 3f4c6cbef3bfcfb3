"""Fetching user lists is work like other work; make-believe portals hand theirs out."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
from fastapi import FastAPI
from joserfc.jwk import OKPKey

from services.gateway.tokens import mint
from services.provisioning.api.routers import routers
from services.provisioning.handlers.brake import BrakeHandler
from services.provisioning.handlers.chores import ChoreCommands
from services.provisioning.handlers.recurring import RecurringChores
from shared import problems
from shared.auth import Authenticator
from shared.contracts.directory import Directory
from tests.provisioning.desk import ADMINISTRATOR, Desk, hire, leave_now
from tests.provisioning.importing import Importing, existing
from tests.provisioning.worlds import NOW, TIN, directory

HEADER = "User ID,Name,Status\n"


class Office:
    """An administrator with HTTP in front of the desk."""

    def __init__(self, desk: Desk, http: httpx.AsyncClient) -> None:
        self.desk = desk
        self.http = http
        self.fetching = RecurringChores(desk.pool, desk.recompute, ChoreCommands(desk.recompute))

    async def get(self, path: str, **params: Any) -> Any:
        return (await self.http.get(path, params=params)).raise_for_status().json()

    async def work(self, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.get("/access/v1/work", **params))["items"]
        return found


@pytest_asyncio.fixture(loop_scope="session")
async def office(desk: Desk, tmp_path: Path) -> AsyncIterator[Office]:
    key = OKPKey.generate_key("Ed25519", {"kid": "k"})
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))

    async def passed(_conn: Any) -> bool:
        return True

    app = FastAPI()
    problems.install(app)
    brake = BrakeHandler(desk.pool, desk.recompute, passed)
    for router in routers(desk.pool, Authenticator(jwks), desk.recompute, desk.operations, brake):
        app.include_router(router)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://provisioning.test",
        headers={"Authorization": f"Bearer {mint(key, ADMINISTRATOR)}"},
    ) as http:
        yield Office(desk, http)


async def test_the_first_list_of_a_portal_in_use_is_asked_for_at_once(office: Office) -> None:
    await office.desk.apply_directory(existing("hub"))
    assert await office.fetching.ask() == 1
    assert await office.fetching.ask() == 0
    (item,) = await office.work()
    assert (item["kind"], item["portal"], item["overdue"]) == ("fetch_roster", "hub", False)
    assert "import" in item["steps"][0]["text"]


async def test_lists_are_asked_for_again_after_the_portals_interval(office: Office) -> None:
    assert await office.fetching.ask() == 0
    office.desk.clock.at = NOW + timedelta(days=31)
    assert await office.fetching.ask() == 4
    await Importing(office.desk).import_roster("hub", HEADER, as_of=office.desk.clock.at)
    assert {item["portal"] for item in await office.work()} == {"gate", "mac", "old"}
    ended = await office.work(status="ended", portal="hub")
    assert ended[0]["evidence"]["kind"] == "roster"
    office.desk.clock.at += timedelta(days=29)
    assert await office.fetching.ask() == 0
    office.desk.clock.at += timedelta(days=2)
    assert await office.fetching.ask() == 1


async def test_fetching_is_overdue_like_other_work_and_in_one_list_with_it(
    office: Office,
) -> None:
    await office.desk.hear(hire())
    office.desk.clock.at = NOW + timedelta(days=31)
    await office.fetching.ask()
    office.desk.clock.at += timedelta(days=4)
    assert {item["kind"] for item in await office.work()} == {"open", "fetch_roster"}
    first = await office.get("/access/v1/work", limit=3)
    second = await office.get("/access/v1/work", limit=10, cursor=first["next_cursor"])
    assert len({item["operation_id"] for item in first["items"] + second["items"]}) == 7
    late = [item for item in await office.work(overdue=True) if item["kind"] == "fetch_roster"]
    assert len(late) == 4
    overview = await office.get("/access/v1/overview")
    assert {item["kind"] for item in overview["overdue"]} >= {"fetch_roster"}


async def test_fetching_is_claimed_in_the_work_list_and_ends_only_by_importing(
    office: Office,
) -> None:
    await office.desk.apply_directory(existing("hub"))
    await office.fetching.ask()
    path = f"/access/v1/work/{(await office.work())[0]['operation_id']}"
    claimed = (await office.http.post(f"{path}/claim")).json()
    assert claimed["claimed_by"] == "admin-1"
    evidence = {"evidence": {"kind": "note", "text": "looked at it"}}
    refused = await office.http.post(f"{path}/done", json=evidence)
    assert (refused.status_code, refused.json()["code"]) == (409, "import_instead")
    await Importing(office.desk).import_roster("hub", HEADER)
    assert (await office.get(path))["status"] == "done"


def simulated() -> Directory:
    document = directory().model_dump(mode="json", exclude_none=True)
    portal = next(one for one in document["portals"] if one["id"] == "hub")
    portal["connector"] = "simulator"
    portal["rules"] = [
        {"rule": "inactivity_days", "value": 30, "source": "the guide"},
        {"rule": "deletes_after_days", "value": 90, "source": "the guide"},
    ]
    return Directory.model_validate(document)


SIMULATOR = "/access/v1/simulator/hub"


async def test_a_simulated_portals_list_shows_what_it_holds(office: Office) -> None:
    desk = office.desk
    await desk.apply_directory(simulated())
    await desk.hear(hire())
    await desk.simulator.work()
    ghost = {
        "login_id": "ghost",
        "name": "Ghost Rider",
        "functions": [[TIN, "eligibility"]],
        "last_login_at": (NOW - timedelta(days=41)).isoformat(),
    }
    await office.http.post(f"{SIMULATOR}/logins", json={"logins": [ghost]})
    roster = (await office.http.get(f"{SIMULATOR}/roster")).content
    assert b"Ghost Rider" in roster
    answer = await Importing(desk).import_roster("hub", roster)
    rules = {finding["rule"] for finding in answer["findings"]}
    assert rules == {"orphan", "rule_contradicted"}, "a login just opened need not have been used"
    assert await desk.work("w1", ended=False) == [
        item for item in await desk.work("w1") if item["portal"] != "hub"
    ]


async def test_a_removal_is_seen_on_the_simulated_portals_list(office: Office) -> None:
    desk = office.desk
    await desk.apply_directory(simulated())
    await desk.hear(hire())
    await desk.simulator.work()
    await desk.hear(leave_now())
    await office.http.post(f"{SIMULATOR}/behaviour", json={"reject_next": 1})
    await desk.simulator.work()
    assert {item["status"] for item in await desk.work("w1", ended=True)} >= {"failed"}
    await desk.simulator.work()
    desk.clock.at += timedelta(hours=1)
    roster = (await office.http.get(f"{SIMULATOR}/roster")).content
    await Importing(desk).import_roster("hub", roster, as_of=desk.clock.at)
    hub = next(a for a in (await desk.state())["portals"] if a["portal"] == "hub")
    assert (hub["status"], hub["grade"]) == ("suspended", "roster")


async def test_a_simulated_portal_takes_its_time(office: Office) -> None:
    desk = office.desk
    await desk.apply_directory(simulated())
    await office.http.post(f"{SIMULATOR}/behaviour", json={"delay_seconds": 3600})
    await desk.hear(hire())
    assert await desk.simulator.work() == 0
    desk.clock.at += timedelta(hours=2)
    assert await desk.simulator.work() == 1


async def test_a_simulated_portal_purges_idle_logins_by_its_own_rule(office: Office) -> None:
    await office.desk.apply_directory(simulated())
    logins = [
        {"login_id": f"l{days}", "last_login_at": (NOW - timedelta(days=days)).isoformat()}
        for days in (5, 40, 100)
    ]
    await office.http.post(f"{SIMULATOR}/logins", json={"logins": logins})
    assert (await office.http.post(f"{SIMULATOR}/purge")).json() == {"disabled": 1, "deleted": 1}
    roster = (await office.http.get(f"{SIMULATOR}/roster")).text
    assert "l5,,,Active" in roster
    assert "l40,,,Inactive" in roster
    assert "l100" not in roster


async def test_real_portals_are_not_played_with(office: Office) -> None:
    answer = await office.http.get("/access/v1/simulator/mac/roster")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_simulated")
