"""A person signs in through a real identity provider, in a real browser."""

from collections.abc import Mapping
from pathlib import Path

import asyncpg
import yaml
from playwright.async_api import Browser, Page, expect

from deploy.embedded.processes import pick_free_port
from tests.cli.conftest import listen
from tests.e2e.browsing import look
from tests.gateway.conftest import MakeSettings, make_settings
from tests.gateway.identity_provider import PASSWORD
from tests.gateway.test_provider_sign_in import identity_provider

__all__ = ["make_settings"]


async def log_in(page: Page, name: str) -> None:
    """What one does at the provider."""
    await page.get_by_label("Username").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()


async def test_somebody_signs_in_comes_back_to_the_page(
    browser: Browser,
    make_settings: MakeSettings,
    prepared_kafka: str,
    database: Mapping[str, str],
    tmp_path: Path,
) -> None:
    port = pick_free_port()
    home = f"http://127.0.0.1:{port}"
    notify = tmp_path / "notify.yaml"
    mail = "mailto://127.0.0.1:1?from=keeper@harbor.example&to={address}"
    notify.write_text(yaml.safe_dump({"harbor": {"channels": {"email": mail, "sms": "json://x"}}}))
    with identity_provider(tmp_path, home) as file:
        async with listen(
            make_settings,
            prepared_kafka,
            database,
            port,
            oidc_file=file,
            notify_file=notify,
        ):
            page = await (await browser.new_context()).new_page()
            await page.goto(f"{home}/notifications?from=mail")
            await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
            await look(page, "sign-in")
            await page.get_by_role("link", name="Sign in with Example sign-in").click()
            await log_in(page, "ann")
            await expect(page.get_by_role("heading", name="Notifications")).to_be_visible()
            assert page.url == f"{home}/notifications?from=mail"
            await page.get_by_label("email").fill("ann@home.example")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_label("email")).to_have_value("ann@home.example")
            await look(page, "notifications")

            await page.goto(f"{home}/command-line")
            await page.get_by_role("button", name="Make a link").click()
            await expect(page.get_by_text("portalkeeper sign-in http")).to_be_visible()
            await look(page, "command-line")

            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_text("You are still signed in at")).to_be_visible()
            await page.goto(f"{home}/notifications")
            await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    conn = await asyncpg.connect(database["gateway"])
    try:
        said = await conn.fetch("SELECT headers FROM outbox ORDER BY id")
    finally:
        await conn.close()
    types = [kind for row in said if (kind := str(row["headers"])).count("session.")]
    assert len(types) == 2, "opened and closed"
