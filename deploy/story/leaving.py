"""Somebody of the example leaves, before the eyes of whoever tries it: order, ticks, receipt."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from deploy.keys import EXAMPLE_ORGANIZATION, EXAMPLE_SOURCE
from deploy.story.playing import Say, carry_out, explain, send_events
from deploy.story.quiet import wait_until_quiet
from deploy.story.services import Installed, Services, StoryFailed

LEAVERS_DUTY = "billing"
ARRIVES_SECONDS = 60
POLL_SECONDS = 0.2


async def dismiss_somebody(installed: Installed, *, say: Say = print) -> str:
    """Dismiss a biller at once, see the work arrive, tick it off, read the receipt; who it was.

    Raises:
        StoryFailed: nobody of the example bills any more, or a service refuses or is too slow.
    """
    async with Services(installed) as services:
        try:
            return await _dismiss(services, installed, say)
        except httpx.HTTPStatusError as error:
            raise StoryFailed(explain(error)) from error


async def _dismiss(services: Services, installed: Installed, say: Say) -> str:
    one = await _somebody(services)
    worker = str(one["worker"])
    say(f"HR dismisses {one['name']} ({one['title']}, {worker}), at once.")
    began = time.monotonic()
    await send_events(installed, [await _dismissal(services, worker)])
    sheet = await _ordered(services, worker)
    say(f"Removal was ordered on {len(sheet['portals'])} portals {_after(began)}, in this order:")
    for portal in sheet["portals"]:
        say(f"  {portal['name']}, by {datetime.fromisoformat(portal['deadline']):%H:%M} UTC")
    async for item in services.pages(
        "provisioning", "/access/v1/work", "items", status="open", worker=worker
    ):
        await carry_out(services, item)
        sheet = await services.get("provisioning", f"/access/v1/leavers/{worker}")
        say(f"Ticked off: {item['portal_name']}. Still reachable: {sheet['reachable']}")
    await wait_until_quiet(services)
    receipt = await services.get("provisioning", f"/access/v1/leavers/{worker}/receipt")
    say(f"HR's receipt: {receipt['removed']} of {receipt['of']} removed {_after(began)}.")
    for line in receipt["lines"]:
        say(f"  {line}")
    return worker


async def _somebody(services: Services) -> Mapping[str, Any]:
    """Who bills and can use the most portals."""
    billers = [
        one
        async for one in services.pages(
            "provisioning", "/access/v1/workers", "workers", status="active"
        )
        if LEAVERS_DUTY in one["duties"] and one["portals"]
    ]
    if not billers:
        raise StoryFailed("Nobody bills any more. Begin anew: make clean, then make run")
    return max(billers, key=lambda one: (one["portals"], one["worker"]))


async def _dismissal(services: Services, worker: str) -> dict[str, Any]:
    state = (await services.get("provisioning", f"/access/v1/workers/{worker}"))["state"]
    employment = next(one for one in state["employments"] if one["open"])
    now = datetime.now(UTC)
    return {
        "specversion": "1.0",
        "id": f"dismissed-{worker}",
        "source": EXAMPLE_SOURCE,
        "type": "worker.terminated",
        "subject": worker,
        "time": now.isoformat(),
        "organization": EXAMPLE_ORGANIZATION,
        "datacontenttype": "application/json",
        "data": {
            "employment_id": employment["employment_id"],
            "effective_at": now.isoformat(),
            "voluntary": False,
            "immediate": True,
        },
    }


async def _ordered(services: Services, worker: str) -> Mapping[str, Any]:
    """The leaver's sheet, once what HR said has been decided on."""
    until = time.monotonic() + ARRIVES_SECONDS
    while time.monotonic() < until:
        state = (await services.get("provisioning", f"/access/v1/workers/{worker}"))["state"]
        if state["status"] == "terminated":
            sheet: Mapping[str, Any] = await services.get(
                "provisioning", f"/access/v1/leavers/{worker}"
            )
            return sheet
        await asyncio.sleep(POLL_SECONDS)
    raise StoryFailed(f"Nothing was ordered for {worker} within {ARRIVES_SECONDS} seconds.")


def _after(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s after HR said so"
