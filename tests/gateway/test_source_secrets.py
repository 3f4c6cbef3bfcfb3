"""Replacing a source's webhook secret without losing an event."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.gateway.rules.rates import Rates
from tests.gateway.conftest import (
    NEW_SECRET,
    OLD_SECRET,
    SOURCE,
    Door,
    MakeSettings,
    hired,
    open_door,
)


async def rotate(door: Door, source: str = SOURCE, role: str = "operator", **body: Any) -> Any:
    return await door.http.post(
        f"/hr/v1/sources/{source}/secrets", json=body, headers=await door.authorized(role)
    )


async def answers(door: Door, *secrets: str) -> list[int]:
    return [(await door.send([hired()], secret=secret)).status_code for secret in secrets]


async def test_the_new_secret_counts_at_once_and_the_others_until_the_overlap_is_over(
    fresh_door: Door,
) -> None:
    first = (await rotate(fresh_door)).json()["secret"]
    second = (await rotate(fresh_door, overlap_days=1)).json()["secret"]
    assert await answers(fresh_door, NEW_SECRET, OLD_SECRET, first, second) == [202] * 4
    third = await rotate(fresh_door, overlap_days=0)
    assert third.status_code == 201
    assert await answers(fresh_door, NEW_SECRET, OLD_SECRET, first, second) == [401] * 4
    assert await answers(fresh_door, third.json()["secret"]) == [202]


async def test_a_longer_overlap_does_not_bring_back_what_was_to_end_sooner(
    fresh_door: Door,
) -> None:
    await rotate(fresh_door, overlap_days=0)
    await rotate(fresh_door, overlap_days=7)
    assert await answers(fresh_door, NEW_SECRET) == [401]


async def test_a_rotation_is_known_to_a_gateway_that_starts_later(
    fresh_door: Door, make_settings: MakeSettings
) -> None:
    secret = (await rotate(fresh_door, overlap_days=0)).json()["secret"]
    async with open_door(fresh_door.settings) as restarted:
        assert await answers(restarted, secret, NEW_SECRET) == [202, 401]


async def test_a_secret_is_shown_once_and_kept_in_no_table_event_or_list_in_clear(
    fresh_door: Door,
) -> None:
    answer = (await rotate(fresh_door)).json()
    rows = await fresh_door.fetch("SELECT * FROM source_secret")
    assert {row["ends_at"] is None for row in rows} == {True, False}
    assert answer["secret"].removeprefix("whsec_") not in repr(rows)
    listed = await fresh_door.http.get(
        f"/hr/v1/sources/{SOURCE}/secrets", headers=await fresh_door.authorized("operator")
    )
    assert answer["secret"] not in listed.text
    assert len(listed.json()["secrets"]) == 3
    said = dict(await fresh_door.activity())["key.rotated"]
    assert said == {
        "kind": "source_secret",
        "key": answer["fingerprint"],
        "source": SOURCE,
        "others_end_at": said["others_end_at"],
    }
    assert answer["secret"] not in repr(await fresh_door.activity())


async def test_only_operators_of_an_organization_that_a_source_speaks_for_replace_its_secret(
    fresh_door: Door,
) -> None:
    assert (await rotate(fresh_door, role="administrator")).status_code == 403
    elsewhere = await rotate(fresh_door, source="other-hr")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "no_such_source")
    refused = dict(await fresh_door.activity())["command.refused"]
    assert (refused["command"], refused["code"]) == ("hr.secret.rotate", "no_such_source")


async def test_a_source_that_sends_more_than_it_may_is_told_when_to_go_on(
    make_settings: MakeSettings, door: Door
) -> None:
    slow = door.settings.model_copy(update={"source_events_per_minute": 3})
    async with open_door(slow) as limited:
        assert (await limited.send([hired(), hired(), hired()])).status_code == 202
        answer: httpx.Response = await limited.send([hired()])
        assert answer.status_code == 429
        assert answer.json()["code"] == "too_many_events"
        assert 0 < int(answer.headers["retry-after"]) <= 20


@pytest.mark.fast
def test_an_allowance_comes_back_evenly_and_a_large_batch_is_paid_back() -> None:
    rates = Rates(events_per_minute=60)
    assert rates.wait_for({"a"}, 90, now=0.0) == 0
    assert rates.wait_for({"a"}, 1, now=1.0) == 30
    assert rates.wait_for({"b"}, 1, now=1.0) == 0
    assert rates.wait_for({"a"}, 1, now=timedelta(seconds=31).total_seconds()) == 0
