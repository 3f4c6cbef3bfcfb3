"""What people do in a browser, whichever page they are on."""

import os
from pathlib import Path

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from tests.e2e.conftest import System

LOOKS = os.environ.get("PORTALKEEPER_SCREENSHOTS")
"""A folder for pictures of the pages, for whoever wants to look at them."""

WCAG_AA = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
ABOUT_COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
"""All of the rules whose answer may be another one in the dark."""


async def sign_in(browser: Browser, system: System, role: str) -> Page:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(await system.sign_in(role))
    await page.get_by_role("button", name="Sign in").click()
    return page


async def look(page: Page, name: str) -> None:
    """Keep pictures in light, dark and narrow, for whoever named a folder for them."""
    if LOOKS is None:
        return
    folder = Path(LOOKS)
    folder.mkdir(parents=True, exist_ok=True)
    before = page.viewport_size
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390)):
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await page.set_viewport_size({"width": width, "height": 900})
        await page.screenshot(path=folder / f"{name}-{scheme}-{width}.png", full_page=True)
    await page.emulate_media(color_scheme="light")
    if before is not None:
        await page.set_viewport_size(before)


async def beyond_the_screen(page: Page) -> int:
    """By how many pixels a page would have to be scrolled sideways."""
    beyond: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return beyond


async def broken_rules(page: Page) -> set[str]:
    """The rules of WCAG 2.2 AA that a page breaks, in light or in dark, as axe names them."""
    broken = set()
    for dark, rules in ((False, WCAG_AA), (True, ABOUT_COLOURS)):
        await page.emulate_media(color_scheme="dark" if dark else "light")
        # Without `resultTypes` a path to each element that keeps a rule is worked out, too.
        found = await Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]})
        broken |= {each["id"] for each in found.response["violations"]}
    return broken
