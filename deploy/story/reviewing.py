"""The example's reviews: two that nobody answers in time, and the quarter's.

Days pass in no example, so the two are due within seconds. What policy says for no answer then
follows as it would after days: access goes, and somebody else is asked.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from deploy.story.adopting import import_list
from deploy.story.quiet import wait_until_quiet
from deploy.story.services import Services, StoryFailed

CAMPAIGNS = "/review/v1/campaigns"
UPLOADS, ADMINISTRATION = "Carelon uploads", "User administration, asked at once"
"""Titles of the two campaigns, by which what came of them is told."""

PORTAL = "carelon"
DUE_SECONDS = 6
"""Longer than it takes to open them."""

PATIENCE_SECONDS = 120
POLL_SECONDS = 0.5

Say = Callable[[str], None]


async def review_access(services: Services, played_on: date, say: Say) -> None:
    """Open the reviews and see through what follows by itself; what was opened stays as it is.

    Raises:
        StoryFailed: what must follow does not.
    """
    campaigns = (await services.get("review", CAMPAIGNS))["campaigns"]
    known = {each["title"] for each in campaigns}
    day = played_on.isoformat()
    if UPLOADS not in known:
        due_at = (datetime.now(UTC) + timedelta(seconds=DUE_SECONDS)).isoformat()
        uploads: dict[str, Any] = {
            "title": UPLOADS,
            "scope": {"portals": [PORTAL], "functions": ["prior_authorization_upload"]},
            "no_answer": "remove",
            "due_at": due_at,
        }
        administration: dict[str, Any] = {
            "title": ADMINISTRATION,
            "scope": {"functions": ["user_administration"]},
            "no_answer": "escalate",
            "due_at": due_at,
        }
        for number, order in enumerate((uploads, administration)):
            await services.post("review", CAMPAIGNS, order, key=f"example-{day}-{number}")
        say("Opened two reviews that nobody answers in time.")
        await _wait_until_removed(services)
        await import_list(services, PORTAL, {})
        await wait_until_quiet(services)
    if any(each["calendar"] for each in campaigns):
        return
    key = f"example-{day}"
    campaign = await services.post("review", CAMPAIGNS, {"calendar": "quarterly"}, key=key)
    say(f"Opened the review {campaign['title']}.")
    await wait_until_quiet(services)


async def _wait_until_removed(services: Services) -> None:
    """Wait until what nobody answered is gone from the portal."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        campaigns = (await services.get("review", CAMPAIGNS))["campaigns"]
        uploads = next(each for each in campaigns if each["title"] == UPLOADS)
        if uploads["status"] == "closed":
            break
        if time.monotonic() > deadline:
            raise StoryFailed(f"The review {UPLOADS} is still open: {uploads}")
        await asyncio.sleep(POLL_SECONDS)
    await wait_until_quiet(services)
