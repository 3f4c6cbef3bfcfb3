"""Playing the example: the directory, the feed stage by stage, the work by hand, a review."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx

from deploy.keys import EXAMPLE_SOURCE
from deploy.story.adopting import check_old_spreadsheet
from deploy.story.clinic import (
    CEDAR_SOUND,
    Event,
    Feed,
    Stage,
    day_of_playing,
    read_directory,
    read_feed,
)
from deploy.story.hr_lists import send_hr_lists
from deploy.story.quiet import wait_until_quiet
from deploy.story.reviewing import review_access
from deploy.story.services import Installed, Services, StoryFailed
from services.cli.client import Failure
from services.cli.hr import read_secret, send
from shared.contracts.directory import OperationKind, RuleName

Say = Callable[[str], None]

HANDS = 4
"""How many work items are carried out at a time."""

SHARED_LOGIN = "practice"

REMOVAL_KINDS = frozenset({"revoke", "suspend", "rotate"})


@dataclass(frozen=True, slots=True)
class Clinic:
    """The example's files, read for the day it is, or was, played on."""

    played_on: date
    feed: Feed
    folder: Path = CEDAR_SOUND


async def play(installed: Installed, *, say: Say = print) -> None:
    """Bring the example clinic into running services, as far as it is not there yet.

    A second playing changes nothing, and one that was interrupted goes on where it stopped.

    Raises:
        StoryFailed: a service does not answer, refuses, or does not come to rest.
    """
    async with Services(installed) as services:
        try:
            clinic = await find_clinic(services)
            await _apply_directory(services, clinic, say)
            await _play_feed(services, installed, clinic, say)
            await review_access(services, installed, clinic.played_on, say)
            say("HR's lists of Thursday and Friday ...")
            await send_hr_lists(services, installed, EXAMPLE_SOURCE)
        except httpx.HTTPStatusError as error:
            raise StoryFailed(explain(error)) from error


def explain(error: httpx.HTTPStatusError) -> str:
    """What a service refused and why, in a line."""
    request = error.request
    return (
        f"{request.method} {request.url.path} was refused with "
        f"{error.response.status_code}: {error.response.text[:500]}"
    )


async def find_clinic(services: Services) -> Clinic:
    """The example for the day it was played on, or for today where it was not."""
    zone = read_feed(CEDAR_SOUND / "hr-feed.yaml", date.today()).zone
    today = datetime.now(zone).date()
    feed = read_feed(CEDAR_SOUND / "hr-feed.yaml", today)
    first = next(feed.events())
    recorded = (await _known_events(services, first["subject"])).get(first["id"])
    if recorded is None:
        return Clinic(today, feed)
    played_on = day_of_playing(feed, today, recorded)
    return Clinic(played_on, read_feed(CEDAR_SOUND / "hr-feed.yaml", played_on))


async def _known_events(services: Services, worker: str) -> dict[str, datetime]:
    found = await services.find("provisioning", f"/access/v1/workers/{worker}")
    if found is None:
        return {}
    return {event["id"]: datetime.fromisoformat(event["time"]) for event in found["events"]}


async def _apply_directory(services: Services, clinic: Clinic, say: Say) -> None:
    if await services.find("provisioning", "/access/v1/directory") is not None:
        return
    directory = read_directory(clinic.folder / "directory.yaml", clinic.played_on)
    await services.post("provisioning", "/access/v1/directory", directory.model_dump(mode="json"))
    await wait_until_quiet(services)
    say(f"Applied the directory of {directory.organization.name}.")


async def _play_feed(services: Services, installed: Installed, clinic: Clinic, say: Say) -> None:
    stages = clinic.feed.stages
    sent = [stage for stage in stages if await _is_sent(services, stage)]
    for number, stage in enumerate(stages, start=1):
        if stage in sent[:-1]:
            continue
        if stage not in sent:
            say(
                f"HR, part {number} of {len(stages)}: {stage.name} ({len(stage.events)} events) ..."
            )
            await send_events(installed, stage.events)
        await wait_until_quiet(services)
        if stage is stages[0]:
            await check_old_spreadsheet(
                services, clinic.folder, clinic.played_on, clinic.feed.zone, say
            )
        if stage is not stages[-1] or stage not in sent:
            await _work_off(services, clinic, stage)


async def _is_sent(services: Services, stage: Stage) -> bool:
    last = stage.events[-1]
    return last["id"] in await _known_events(services, last["subject"])


async def send_events(installed: Installed, events: Sequence[Event]) -> None:
    """Post events as `portalkeeper hr send` does; some are meant to be refused."""
    url = f"{installed.gateway.rstrip('/')}/hr/v1/events"
    try:
        secret = read_secret(installed.sources_file, events[0]["source"])
        await asyncio.to_thread(send, events, url, secret, lambda done: None)
    except Failure as failure:
        raise StoryFailed(failure.sentence) from failure


async def _work_off(services: Services, clinic: Clinic, stage: Stage) -> None:
    """Do by hand what administrators did, until nothing new follows from it."""
    finished: set[str] = set()
    directory = read_directory(clinic.folder / "directory.yaml", clinic.played_on)
    shared = {
        portal.id
        for portal in directory.portals
        if portal.holds(RuleName.ONE_LOGIN, clinic.played_on)
    }
    while True:
        todo = [
            item async for item in _by_hand(services, stage) if item["operation_id"] not in finished
        ]
        if not todo:
            return
        for start in range(0, len(todo), HANDS):
            together = todo[start : start + HANDS]
            await asyncio.gather(*(carry_out(services, item, shared) for item in together))
        finished |= {item["operation_id"] for item in todo}
        await wait_until_quiet(services)


async def _by_hand(services: Services, stage: Stage) -> AsyncIterator[dict[str, Any]]:
    for portal, what in stage.worked_off.items():
        async for item in services.pages(
            "provisioning", "/access/v1/work", "items", status="open", portal=portal
        ):
            if item["kind"] in set(OperationKind) and (
                what == "everything" or item["kind"] in REMOVAL_KINDS
            ):
                yield item


async def carry_out(services: Services, item: dict[str, Any], shared: Collection[str] = ()) -> None:
    """Tick a work item off with evidence; somebody may have been faster.

    Args:
        shared: portals that give the practice one login.
    """
    path = f"/access/v1/work/{item['operation_id']}"
    evidence = {"kind": "note", "text": "Example: seen in the portal's list of users."}
    holder = SHARED_LOGIN if item["portal"] in shared else item["worker"]
    login = f"{holder}.{item['portal']}" if item["kind"] == "open" else None
    try:
        if item["kind"] in REMOVAL_KINDS:
            await services.post("provisioning", f"{path}/claim", {})
            for step in item["steps"]:
                if step["done_at"] is None:
                    await services.post("provisioning", f"{path}/steps/{step['index']}", {})
            number = f"EX-{item['operation_id'][:8].upper()}"
            evidence = {"kind": "confirmation_number", "text": number}
        await services.post(
            "provisioning",
            f"{path}/done",
            {"evidence": evidence, "login_id": login},
            key=f"example-{item['operation_id']}",
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.CONFLICT:
            raise
