"""Playing the example: the directory, the feed stage by stage, the work by hand, a review."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml
from standardwebhooks import Webhook

from deploy.story.clinic import (
    CEDAR_SOUND,
    Event,
    Feed,
    Stage,
    day_of_playing,
    read_directory,
    read_feed,
)
from deploy.story.quiet import wait_until_quiet
from deploy.story.services import Installed, Services, StoryFailed

Say = Callable[[str], None]

EVENTS_PER_REQUEST = 100
HANDS = 4
"""How many work items are carried out at a time."""

REMOVALS = frozenset({"revoke", "suspend"})
CONFLICT = httpx.codes.CONFLICT


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
            await _open_review(services, clinic, say)
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
    directory = await services.find("provisioning", "/access/v1/directory")
    feed = read_feed(CEDAR_SOUND / "hr-feed.yaml", date.today())
    today = datetime.now(feed.zone).date()
    if directory is not None and directory["directory"]["organization"]["id"] != feed.organization:
        raise StoryFailed("Another organization's directory is applied: the example stays out.")
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
            await _send(installed, stage.events)
        await wait_until_quiet(services)
        if stage is not stages[-1] or stage not in sent:
            await _work_off(services, stage)


async def _is_sent(services: Services, stage: Stage) -> bool:
    last = stage.events[-1]
    return last["id"] in await _known_events(services, last["subject"])


async def _send(installed: Installed, events: Iterable[Event]) -> None:
    """Post events as an HR system would, signed as Standard Webhooks."""
    events = list(events)
    source = yaml.safe_load(installed.sources_file.read_text())["sources"][events[0]["source"]]
    webhook = Webhook(source["secrets"][0])
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        for start in range(0, len(events), EVENTS_PER_REQUEST):
            body = json.dumps(events[start : start + EVENTS_PER_REQUEST])
            id_, now = f"example-{events[start]['id']}", datetime.now(UTC)
            response = await http.post(
                f"{installed.gateway}/hr/v1/events",
                content=body,
                headers={
                    "content-type": "application/cloudevents-batch+json",
                    "webhook-id": id_,
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": webhook.sign(id_, now, body),
                },
            )
            response.raise_for_status()


async def _work_off(services: Services, stage: Stage) -> None:
    """Do by hand what administrators did, until nothing new follows from it."""
    finished: set[str] = set()
    while True:
        todo = [
            item async for item in _by_hand(services, stage) if item["operation_id"] not in finished
        ]
        if not todo:
            return
        for start in range(0, len(todo), HANDS):
            together = todo[start : start + HANDS]
            await asyncio.gather(*(_carry_out(services, item) for item in together))
        finished |= {item["operation_id"] for item in todo}
        await wait_until_quiet(services)


async def _by_hand(services: Services, stage: Stage) -> AsyncIterator[dict[str, Any]]:
    for portal, what in stage.worked_off.items():
        async for item in services.pages(
            "provisioning", "/access/v1/work", "items", status="open", portal=portal
        ):
            if what == "everything" or item["kind"] in REMOVALS:
                yield item


async def _carry_out(services: Services, item: dict[str, Any]) -> None:
    """Claim a work item and tick it off with evidence; somebody may have been faster."""
    path = f"/access/v1/work/{item['operation_id']}"
    kind = "confirmation_number" if item["kind"] in REMOVALS else "note"
    text = (
        f"EX-{item['operation_id'][:8].upper()}"
        if item["kind"] in REMOVALS
        else "Example: seen in the portal's list of users."
    )
    login = f"{item['worker']}.{item['portal']}" if item["kind"] == "open" else None
    try:
        await services.post("provisioning", f"{path}/claim", {})
        for step in item["steps"]:
            if step["done_at"] is None:
                await services.post("provisioning", f"{path}/steps/{step['index']}", {})
        await services.post(
            "provisioning",
            f"{path}/done",
            {"evidence": {"kind": kind, "text": text}, "login_id": login},
            key=f"example-{item['operation_id']}",
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code != CONFLICT:
            raise


async def _open_review(services: Services, clinic: Clinic, say: Say) -> None:
    if (await services.get("review", "/review/v1/campaigns"))["campaigns"]:
        return
    key = f"example-{clinic.played_on.isoformat()}"
    campaign = await services.post("review", "/review/v1/campaigns", {}, key=key)
    say(f"Opened the review {campaign['title']}.")
    await wait_until_quiet(services)
