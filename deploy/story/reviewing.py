"""The example's reviews: two that nobody answers in time, and the quarter's, which supervisors do.

Days pass in no example, so the two are due within seconds. What policy says for no answer then
follows as it would after days: access goes, and somebody else is asked.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import yaml

from deploy.story.adopting import import_list
from deploy.story.clinic import CEDAR_SOUND
from deploy.story.quiet import wait_until_quiet
from deploy.story.services import Installed, Services, StoryFailed

CAMPAIGNS = "/review/v1/campaigns"
ANSWERS = CEDAR_SOUND / "review-answers.yaml"
AS_ADVISED = "Nothing calls for it, as the page says."
UPLOADS, ADMINISTRATION = "Carelon uploads", "User administration, asked at once"
"""Titles of the two campaigns, by which what came of them is told."""

PORTAL = "carelon"
DUE_SECONDS = 6
"""Longer than it takes to open them."""

PATIENCE_SECONDS = 120
POLL_SECONDS = 0.5

Say = Callable[[str], None]


async def review_access(
    services: Services, installed: Installed, played_on: date, say: Say
) -> None:
    """Open the reviews and see them through; what was opened or begun before stays as it is.

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
    quarter = next((each for each in campaigns if each["calendar"]), None)
    if quarter is None:
        order = {"calendar": "quarterly"}
        quarter = await services.post("review", CAMPAIGNS, order, key=f"example-{day}")
        say(f"Opened the review {quarter['title']}; the supervisors answer ...")
        await wait_until_quiet(services)
    await _answer(services, installed, quarter["campaign_id"])


async def _answer(services: Services, installed: Installed, campaign: str) -> None:
    """Have every supervisor answer who has not begun and is not to be waited for."""
    answers = yaml.safe_load(ANSWERS.read_text())
    begun: dict[str, bool] = {}
    async for review in services.pages(
        "review", "/review/v1/reviews", "reviews", campaign=campaign
    ):
        reviewer = review["reviewer"]
        started = review["undecided"] < review["lines"]
        begun[reviewer] = begun.get(reviewer, False) or started
    for reviewer in sorted(who for who, started in begun.items() if who and not started):
        if reviewer not in answers["not_begun"]:
            session = await installed.sign_in(f"reviewer={reviewer}")
            async with Services(replace(installed, session=session)) as desk:
                await _answer_at(desk, campaign, answers["removals"])
    await wait_until_quiet(services)


async def _answer_at(desk: Services, campaign: str, removals: list[dict[str, str]]) -> None:
    """Have one supervisor remove what they name, and for the rest do as is recommended."""
    for removal in removals:
        right = {name: removal[name] for name in ("worker", "portal", "function")}
        await _decide(desk, {"campaign_id": campaign, **right}, "remove", removal["reason"])
    for advice in ("keep", "remove"):
        where = {"campaign_id": campaign, "advice": advice}
        await _decide(desk, where, advice, AS_ADVISED if advice == "remove" else None)


async def _decide(desk: Services, where: dict[str, str], decision: str, reason: str | None) -> None:
    """Decide the same about all lines of a supervisor that fit, as the page does at once."""
    count = (await desk.get("review", "/review/v1/lines", **where))["count"]
    if count:
        order = {"where": where, "decision": decision, "reason": reason, "count": count}
        await desk.post("review", "/review/v1/decisions", order)


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
