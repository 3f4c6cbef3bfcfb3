"""Waiting until the services have nothing left to do; a wait that fails says what is left."""

import asyncio
import time
from typing import Any, Literal

from deploy.story.services import Services, StoryFailed
from shared.contracts.directory import OperationKind

QUIET_SECONDS = 300
POLL_SECONDS = 0.3
QUIET_POLLS = 2
"""How often in a row nothing may be left: a record may be between two services at one look."""

SIMULATED = frozenset(OperationKind) - {
    OperationKind.APPOINT_SUCCESSOR,
    OperationKind.KEEP_ALIVE,
}
"""What simulated portals carry out; people see to the rest, and holders sign in themselves."""

STATUS_OF: tuple[Literal["provisioning", "audit", "review", "gateway"], ...] = (
    "provisioning",
    "audit",
    "review",
    "gateway",
)


async def wait_until_quiet(services: Services, *, seconds: float = QUIET_SECONDS) -> None:
    """Wait until every record is applied, simulated portals have answered, and all is signed.

    Raises:
        StoryFailed: something is still left after `seconds`; the text names it.
    """
    deadline = time.monotonic() + seconds
    quiet = 0
    while quiet < QUIET_POLLS:
        left = await what_is_left(services)
        quiet = 0 if left else quiet + 1
        if left and time.monotonic() > deadline:
            raise StoryFailed(f"After {seconds:.0f} s there is still left: {'; '.join(left)}.")
        if quiet < QUIET_POLLS:
            await asyncio.sleep(POLL_SECONDS)


async def what_is_left(services: Services) -> list[str]:
    """What the first service that is not done still has to do, in words; empty when all are."""
    for name in STATUS_OF:
        if left := _left_by_status(name, await services.get(name, "/ops/v1/status")):
            return left
    if behind := (await services.get("provisioning", "/access/v1/sweep"))["behind"]:
        return [f"{behind} workers to evaluate anew"]
    campaigns = (await services.get("review", "/review/v1/campaigns"))["campaigns"]
    if opening := [each["title"] for each in campaigns if each["status"] == "opening"]:
        return [f"campaign {title} opens" for title in opening]
    causes = (await services.get("provisioning", "/access/v1/brake"))["causes"]
    if gathering := [one["cause_id"] for one in causes if one["status"] == "gathering"]:
        return [f"the brake judges {gathering[0]}"]
    if simulated := await _waiting_for_simulator(services):
        return [f"simulated portals answer {simulated}"]
    log = await services.get("audit", "/audit/v1/log")
    if signed_size(log["checkpoint"]) < log["size"]:
        return ["entries without a checkpoint"]
    return []


async def _waiting_for_simulator(services: Services) -> int:
    """Open operations that nobody but a simulated portal has to see to."""
    waiting = 0
    async for item in services.pages("provisioning", "/access/v1/work", "items", status="open"):
        if item["connector"] == "simulator" and item["kind"] in SIMULATED:
            waiting += item["status"] == "requested"
    return waiting


def _left_by_status(name: str, status: dict[str, Any]) -> list[str]:
    left = []
    if status["outbox"]:
        left.append(f"{name} publishes {status['outbox']}")
    for consumer in status["consumers"]:
        for partition in consumer["partitions"]:
            if partition["refused"]:
                raise StoryFailed(
                    f"{consumer['group']} stopped on {partition['topic']}/"
                    f"{partition['partition']}: {partition['refused']}"
                )
        lags = [partition["lag"] for partition in consumer["partitions"]]
        if not lags or None in lags:
            left.append(f"{consumer['group']} starts reading")
        elif sum(lags):
            left.append(f"{consumer['group']} reads {sum(lags)}")
    return left


def signed_size(checkpoint: str | None) -> int:
    """How many entries a checkpoint covers (its second line); none without one."""
    return int(checkpoint.splitlines()[1]) if checkpoint else 0
