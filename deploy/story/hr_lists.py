"""HR's lists at the end of the story: a good one, and one that was cut short."""

import asyncio

from deploy.story.clinic import CEDAR_SOUND
from deploy.story.quiet import wait_until_quiet
from deploy.story.services import Installed, Services, StoryFailed
from services.cli.client import Failure
from services.cli.hr import read_secret
from services.cli.rosters import Sender

LISTS = ("thursday.csv", "friday.csv")


async def send_hr_lists(services: Services, installed: Installed, source: str) -> None:
    """Send each list that was not sent yet, as a nightly job would, to be applied unless held.

    Raises:
        StoryFailed: one is refused, or nobody answers.
    """
    sent = await services.get("gateway", "/hr/v1/rosters")
    known = {one["file"] for one in sent["rosters"]}
    for name in LISTS:
        if name in known:
            continue
        content = (CEDAR_SOUND / "hr-lists" / name).read_bytes()
        try:
            secret = read_secret(installed.sources_file, source)
            sender = Sender(source, None, installed.gateway.rstrip("/"), secret)
            await asyncio.to_thread(sender.send, name, content, apply=True)
        except Failure as failure:
            raise StoryFailed(failure.sentence) from failure
        await wait_until_quiet(services)
