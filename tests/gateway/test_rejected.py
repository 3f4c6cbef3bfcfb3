"""What was rejected at the door can be judged again after a fix, by whom it concerns."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from services.gateway.settings import Settings
from shared.contracts.hr import read_hr_event
from tests.gateway.conftest import (
    NEW_SECRET,
    ORGANIZATION,
    SOURCE,
    Door,
    MakeSettings,
    Watcher,
    have_directory,
    hired,
    open_door,
)
from tests.gateway.test_sign_in import csrf_of, sign_in

BRANCH = "harbor-branch"


async def bearer(door: Door, role: str = "hr") -> dict[str, str]:
    answer = await door.http.post(
        "/session/token", headers={"Authorization": f"Bearer {await door.secret(role)}"}
    )
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def listed(door: Door, headers: Mapping[str, str]) -> list[dict[str, Any]]:
    answer = await door.http.get("/hr/v1/rejected", headers=headers)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["rejected"])


def bound(settings: Settings, folder: Path, *organizations: str) -> Settings:
    """The same installation once its sources file has been put right."""
    sources = folder / "sources.yaml"
    sources.write_text(
        yaml.safe_dump(
            {"sources": {SOURCE: {"organizations": [*organizations], "secrets": [NEW_SECRET]}}}
        )
    )
    return settings.model_copy(update={"sources_file": sources})


async def replay_on_page(door: Door, reference: str) -> str:
    """Have one judged again by the button on HR's page; the page afterwards."""
    await sign_in(door, "hr")
    form = {"csrf": csrf_of(await door.http.get("/hr/lists")), "reference": reference}
    answer = await door.http.post("/hr/rejected", data=form, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    assert "It takes effect like any other event" in answer.text
    return answer.text


async def test_a_rejected_event_is_accepted_once_its_source_is_bound(
    make_settings: MakeSettings,
    prepared_kafka: str,
    fresh_database: Mapping[str, str],
    hr_topic: Watcher,
    tmp_path: Path,
) -> None:
    settings = make_settings(kafka=prepared_kafka, database_url=fresh_database["gateway"])
    event = hired()
    async with open_door(bound(settings, tmp_path, BRANCH)) as door:
        assert (await door.send([event])).status_code == 422
        headers = await bearer(door)
        assert await listed(door, headers) == [], "nobody could tell that it is about us"
    async with open_door(bound(settings, tmp_path, BRANCH, ORGANIZATION)) as door:
        headers = await bearer(door)
        (kept,) = await listed(door, headers)
        assert (kept["code"], kept["replayed_at"]) == ("source_not_bound", None)
        route = f"/hr/v1/rejected/{kept['reference']}/replay"
        for _ in range(2):
            answer = await door.http.post(route, headers=headers)
            assert (answer.status_code, answer.json()["id"]) == (202, event["id"])
        (kept,) = await listed(door, headers)
        assert kept["replayed_at"] is not None
        assert "accepted on replay" in await replay_on_page(door, kept["reference"])
        told = [each for each in await door.activity() if each[0] == "command.accepted"]
        assert [data["target"] for _, data in told] == [kept["reference"]] * 3
    for record in await hr_topic.take(2):
        assert read_hr_event(record).id == event["id"]


async def test_what_came_before_its_directory_takes_effect_once_it_is_there(
    fresh_door: Door, hr_topic: Watcher
) -> None:
    await fresh_door.fetch("DELETE FROM directory_object")
    event = hired()
    answer = await fresh_door.send([event])
    assert answer.status_code == 422
    assert "apply a directory" in answer.text
    headers = await bearer(fresh_door)
    (kept,) = await listed(fresh_door, headers)
    assert kept["code"] == "no_directory"
    await have_directory(fresh_door.settings)
    route = f"/hr/v1/rejected/{kept['reference']}/replay"
    assert (await fresh_door.http.post(route, headers=headers)).status_code == 202
    (record,) = await hr_topic.take(1)
    assert read_hr_event(record).id == event["id"]


async def test_a_directory_applied_a_moment_ago_is_waited_for(fresh_door: Door) -> None:
    await fresh_door.fetch("DELETE FROM directory_object")
    sending = asyncio.create_task(fresh_door.send([hired()]))
    await have_directory(fresh_door.settings)
    assert (await sending).status_code == 202


async def test_a_source_that_the_directory_does_not_name_is_told_so_and_kept(
    fresh_door: Door,
) -> None:
    await fresh_door.fetch("DELETE FROM directory_object WHERE kind = 'source'")
    answer = await fresh_door.send([hired()])
    assert answer.status_code == 422
    assert "`sources` of the directory" in answer.text
    (kept,) = await listed(fresh_door, await bearer(fresh_door))
    assert kept["code"] == "source_not_in_directory"


async def test_what_is_still_wrong_is_refused_with_its_rule_and_stays(fresh_door: Door) -> None:
    await fresh_door.send([hired(data={"effective_on": "soon"})])
    headers = await bearer(fresh_door)
    (kept,) = await listed(fresh_door, headers)
    answer = await fresh_door.http.post(
        f"/hr/v1/rejected/{kept['reference']}/replay", headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_data")
    assert await listed(fresh_door, headers) == [kept]
    assert ("command.refused", "invalid_data") in [
        (kind, data.get("code")) for kind, data in await fresh_door.activity()
    ]


async def test_nobody_replays_what_was_sent_about_another_organization(fresh_door: Door) -> None:
    await fresh_door.send([hired(organization="elsewhere", data={"effective_on": "2026-11-11"})])
    headers = await bearer(fresh_door)
    (kept,) = await listed(fresh_door, headers)
    answer = await fresh_door.http.post(
        f"/hr/v1/rejected/{kept['reference']}/replay", headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "source_not_bound")


async def test_rejected_events_are_for_hr_and_administrators(fresh_door: Door) -> None:
    headers = await bearer(fresh_door, "compliance")
    answer = await fresh_door.http.get("/hr/v1/rejected", headers=headers)
    assert answer.status_code == 403


async def test_a_body_that_was_altered_is_said_to_be_so(
    fresh_door: Door,
) -> None:
    await fresh_door.send([hired(type="nothing")])
    headers = await bearer(fresh_door)
    (kept,) = await listed(fresh_door, headers)
    await _alter(fresh_door)
    answer = await fresh_door.http.post(
        f"/hr/v1/rejected/{kept['reference']}/replay", headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "cannot_be_opened")


async def _alter(door: Door) -> None:
    await door.fetch("UPDATE rejected_body SET sealed = sealed || '\\x00' RETURNING 1")
