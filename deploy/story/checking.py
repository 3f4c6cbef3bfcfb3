"""The promises of Portalkeeper that can be asked for from outside, over the services' own APIs."""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from deploy.story.clinic import Event, Feed
from deploy.story.playing import REMOVAL_KINDS, explain, find_clinic
from deploy.story.quiet import wait_until_quiet
from deploy.story.services import Installed, Services, StoryFailed
from services.cli.audit_sources import FreshServer
from services.cli.audit_verify import CannotVerify, Report, verify
from services.cli.client import Failure
from services.cli.replay import compare
from shared.contracts.envelope import read_structured
from shared.contracts.hr import validate
from shared.contracts.topics import DEAD_LETTERS, HR_EVENTS
from shared.errors import Rejected
from shared.tlog.leaf import Opening

SETTLE_SECONDS = 2.0
SHOWN = 5
"""Examples that a broken promise names."""


@dataclass(frozen=True, slots=True)
class Logged:
    """An HR record in the audit log. `label` says duplicate or conflict where it is one."""

    place: tuple[str, int, int]
    id: str | None
    label: str | None


async def check_invariants(installed: Installed) -> list[str]:
    """The promises that do not hold, each in a sentence; none when all is well.

    Raises:
        StoryFailed: a service does not answer, or does not come to rest.
    """
    async with Services(installed) as services:
        try:
            await wait_until_quiet(services)
            feed = (await find_clinic(services)).feed
            broken = await _check_log(services, feed)
            broken += await _check_refused(services, feed)
            broken += await _check_leavers(services)
            broken += await _check_replay(services)
            report = await verify_audit_log(services)
        except httpx.HTTPStatusError as error:
            raise StoryFailed(explain(error)) from error
    broken += [f"The audit log does not verify: {problem.what}." for problem in report.problems]
    return broken


async def verify_audit_log(services: Services) -> Report:
    """Check the whole audit log, with no trust in its server.

    Raises:
        StoryFailed: the check could not be carried out.
    """
    url, token = await services.address("audit")
    try:
        return await verify(url, token, remembered=None, progress=lambda done, of: None)
    except CannotVerify as error:
        raise StoryFailed(f"The audit log cannot be checked: {error}") from error


async def _check_replay(services: Services) -> list[str]:
    """Promise 1 and 2 once more: what was published tells the tables, and open work is the rest."""
    url, token = await services.address("audit")
    provisioning, _ = await services.address("provisioning")
    source = FreshServer(url, lambda: token)
    try:
        report, _ = await asyncio.to_thread(
            compare, source, provisioning, lambda: token, settle=SETTLE_SECONDS
        )
    except (CannotVerify, Failure) as error:
        raise StoryFailed(f"Replay cannot be carried out: {error}") from error
    return [
        f"Replay differs: {one['what']} {one['key']} {one['field']}:"
        f" published {one['told']}, kept {one['kept']}."
        for one in report["differences"][:SHOWN]
    ]


async def dead_letters(services: Services) -> Counter[str]:
    """How many records were refused, by reason."""
    reasons: Counter[str] = Counter()
    async for entry in services.pages(
        "audit", "/audit/v1/entries", "entries", topic=DEAD_LETTERS.name
    ):
        whole = await services.get("audit", f"/audit/v1/entries/{entry['index']}")
        reasons[whole["payload"]["headers"].get("dl_reason") or "unknown"] += 1
    return reasons


def judge_feed(feed: Feed) -> tuple[list[Event], Counter[str]]:
    """The events of the feed that must be accepted, and how often each refusal must occur."""
    accepted: dict[str, Event] = {}
    refused: Counter[str] = Counter()
    for event in feed.events():
        try:
            validate(read_structured(event))
            accepted[event["id"]] = event
        except Rejected as reason:
            refused[reason.code] += 1
    return list(accepted.values()), refused


async def _check_log(services: Services, feed: Feed) -> list[str]:
    """Promise 1 and 3: every accepted event is in the log, every record once, without a hole."""
    logged = [record async for record in _hr_records(services)]
    broken = []
    places = Counter(record.place for record in logged)
    if doubled := [place for place, times in places.items() if times > 1]:
        broken.append(f"{len(doubled)} records are in the audit log twice: {doubled[:SHOWN]}.")
    originals = Counter(record.id for record in logged if record.label is None)
    wrong = [event["id"] for event in judge_feed(feed)[0] if originals[event["id"]] != 1]
    if wrong:
        broken.append(
            f"{len(wrong)} accepted events are not in the audit log exactly once: {wrong[:SHOWN]}."
        )
    return broken


async def _hr_records(services: Services) -> AsyncIterator[Logged]:
    entries = {
        entry["index"]: entry
        async for entry in services.pages(
            "audit", "/audit/v1/entries", "entries", topic=HR_EVENTS.name
        )
    }
    if not entries:
        return
    lines = await services.lines(
        "audit",
        "/audit/v1/openings",
        **{"from": min(entries), "to": max(entries) + 1},
    )
    ids = {
        line["index"]: _event_id(line["opening"])
        for line in map(orjson.loads, lines)
        if line["index"] in entries and "opening" in line
    }
    for index, entry in entries.items():
        place = (entry["topic"], entry["partition"], entry["offset"])
        yield Logged(place, ids.get(index), entry["label"])


def _event_id(opening: str) -> str | None:
    headers = dict(Opening.decode(base64.b64decode(opening)).headers)
    id_ = headers.get("ce_id")
    return None if id_ is None else id_.decode()


async def _check_refused(services: Services, feed: Feed) -> list[str]:
    """Promise 5: what is refused is a dead letter with its reason, and stops nothing behind it."""
    broken = []
    found = await dead_letters(services)
    for reason, number in judge_feed(feed)[1].items():
        if found[reason] < number:
            broken.append(
                f"{number} events had to be refused as {reason}, "
                f"but {found[reason]} dead letters say so."
            )
    accepted = judge_feed(feed)[0]
    known: dict[str, set[str]] = {}
    for event in accepted:
        known.setdefault(event["subject"], set()).add(event["id"])
    unapplied = []
    for worker, ids in known.items():
        answer = await services.find("provisioning", f"/access/v1/workers/{worker}")
        applied = {event["id"] for event in answer["events"]} if answer else set()
        unapplied += sorted(ids - applied)
    if unapplied:
        broken.append(f"{len(unapplied)} accepted events have no effect: {unapplied[:SHOWN]}.")
    return broken


async def _check_leavers(services: Services) -> list[str]:
    """Promise 2: for a leaver nothing is desired, and what is left has an owner and a clock."""
    exposed = {
        (each["worker"], each["portal"]): each
        async for each in services.pages("provisioning", "/access/v1/exposures", "exposures")
    }
    broken = []
    async for row in services.pages(
        "provisioning", "/access/v1/workers", "workers", status="terminated"
    ):
        found = await services.get("provisioning", f"/access/v1/workers/{row['worker']}")
        for access in found["state"]["portals"]:
            where = f"{row['worker']} left, and on {access['portal']}"
            if access["desired"]:
                broken.append(f"{where} access is still desired.")
            if access["effective"]:
                broken += [
                    f"{where} {what}."
                    for what in _wrong_with(access, exposed.get((row["worker"], access["portal"])))
                ]
        broken += _unconfirmed(found["operations"])
    return broken


def _wrong_with(access: Mapping[str, Any], exposure: Mapping[str, Any] | None) -> list[str]:
    wrong = []
    removals = [op for op in access["operations"] if op["kind"] in REMOVAL_KINDS]
    if not removals:
        wrong.append("nobody was asked to remove what is left")
    elif not all(op["deadline"] for op in removals):
        wrong.append("the removal has no deadline")
    if exposure is None:
        wrong.append("the access that is left is not shown as exposed")
    elif not exposure["owner"]:
        wrong.append("the access that is left has no owner")
    if access["exposed_since"] is None:
        wrong.append("the clock of the exposure does not run")
    return wrong


def _unconfirmed(operations: list[Mapping[str, Any]]) -> list[str]:
    """Removals called done with neither a person's evidence nor a portal's answer."""
    return [
        f"Removal {item['operation_id']} is called done without evidence."
        for item in operations
        if item["kind"] in REMOVAL_KINDS and item["status"] == "done" and not item["evidence"]
    ]
