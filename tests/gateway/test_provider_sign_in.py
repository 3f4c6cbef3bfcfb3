"""Signing in through a real identity provider: who gets in, as whom, to which page."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import httpx
import pytest
import pytest_asyncio
import yaml
from fastapi import Depends, FastAPI

from deploy.embedded.processes import pick_free_port
from services.gateway.rules.provider import return_path, roles_of, subject_of
from services.gateway.settings import Settings
from shared import problems
from shared.auth import NOT_FRESH, Authenticator, Principal
from tests.audit_log.worlds import serving
from tests.gateway.conftest import NOWHERE, Door, MakeSettings, open_door
from tests.gateway.identity_provider import CLIENT, PASSWORD, ROLES, SECRET
from tests.gateway.lists import left, state
from tests.gateway.test_departures import publish
from tests.gateway.test_sign_in import csrf_of
from tests.servers import ROOT

HOME = "http://gateway.test"


@contextmanager
def identity_provider(folder: Path, home: str) -> Iterator[Path]:
    """A provider on localhost; the file that tells the gateway of it."""
    port = pick_free_port()
    module = "tests.gateway.identity_provider"
    command = [sys.executable, "-m", module, str(port), str(folder), f"{home}/sign-in/callback"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (folder / "secret").write_text(SECRET)
        file = folder / "oidc.yaml"
        told = {
            "issuer": f"http://localhost:{port}/o",
            "name": "Example sign-in",
            "client_id": CLIENT,
            "client_secret_file": str(folder / "secret"),
            "organization": "harbor",
            "roles": ROLES,
        }
        file.write_text(yaml.safe_dump(told))
        yield file
        process.terminate()


@dataclass
class Person:
    """Somebody with a browser: what they see at the gateway, and at the provider."""

    door: Door
    away: httpx.AsyncClient
    name: str

    async def begin(self, page: str, *, fresh: bool = False) -> httpx.Response:
        """Ask for a page, and go as far as the provider's answer."""
        asked = {"next": page, **({"fresh": "true"} if fresh else {})}
        sent = await self.door.http.get("/sign-in/provider", params=asked)
        assert sent.status_code == 303, sent.text
        shown = await self.away.get(sent.headers["location"])
        if 'name="password"' in shown.text:
            form = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', shown.text)
            assert form
            shown = await self.away.post(
                shown.url,
                data={
                    "username": self.name,
                    "password": PASSWORD,
                    "csrfmiddlewaretoken": form[1],
                },
            )
        return shown

    async def sign_in(self, page: str = "/", *, fresh: bool = False) -> httpx.Response:
        """The gateway's answer when the provider has sent one back."""
        shown = await self.begin(page, fresh=fresh)
        return await self.door.http.get(shown.headers["location"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def provider_file(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Path]:
    with identity_provider(tmp_path_factory.mktemp("provider"), HOME) as file:
        yield file


@pytest_asyncio.fixture(loop_scope="session")
async def door(
    make_settings: MakeSettings, fresh_database: Mapping[str, str], provider_file: Path
) -> AsyncIterator[Door]:
    settings = make_settings(database_url=fresh_database["gateway"], oidc_file=provider_file)
    async with open_door(settings) as opened:
        yield opened


class Browser(httpx.AsyncClient):
    """Follows the provider's redirects as far as they stay there."""

    async def send(self, request: httpx.Request, **options: object) -> httpx.Response:
        answer = await super().send(request, **{**options, "follow_redirects": False})  # type: ignore[arg-type]
        while (
            answer.is_redirect
            and answer.next_request
            and answer.next_request.url.host == "localhost"
        ):
            answer = await super().send(answer.next_request, follow_redirects=False)
        return answer


@asynccontextmanager
async def person(door: Door, name: str) -> AsyncIterator[Person]:
    door.http.cookies.clear()
    async with Browser() as away:
        yield Person(door, away, name)


async def test_who_asks_for_a_page_comes_back_to_it_as_who_the_provider_says(door: Door) -> None:
    asked = await door.http.get("/hr?query=a b")
    assert asked.headers["location"] == "/sign-in?next=%2Fhr%3Fquery%3Da%2520b"
    page = await door.http.get(asked.headers["location"])
    assert "/sign-in/provider?next=%2Fhr%3Fquery%3Da%2520b" in page.text
    async with person(door, "ann") as ann:
        answer = await ann.sign_in("/hr?query=a%20b")
        assert answer.headers["location"] == "/hr?query=a%20b"
        assert "samesite=lax" in answer.headers["set-cookie"].lower()
        assert "Ann Lee" in (await door.http.get("/hr")).text
    (opened,) = [data for kind, data in await door.activity() if kind == "session.opened"]
    assert (opened["method"], opened["worker"]) == ("oidc", "W-1")
    assert opened["roles"] == ["administrator", "worker"]


async def test_who_has_no_role_is_refused_and_that_is_recorded(door: Door) -> None:
    async with person(door, "eve") as eve:
        answer = await eve.sign_in()
    assert answer.status_code == 403
    assert "no_role" in answer.text
    assert await door.activity() == [("session.refused", {"code": "no_role", "method": "oidc"})]


async def test_a_sign_in_ends_only_in_the_browser_that_began_it_and_only_once(door: Door) -> None:
    async with person(door, "rob") as rob:
        back = (await rob.begin("/")).headers["location"]
        state = door.http.cookies.pop("portalkeeper_sign_in")
        elsewhere = await door.http.get(back)
        assert (elsewhere.status_code, "sign_in_unknown" in elsewhere.text) == (403, True)
        headers = {"cookie": f"portalkeeper_sign_in={state}"}
        assert (await door.http.get(back, headers=headers)).status_code == 303
        assert (await door.http.get(back, headers=headers)).status_code == 403


async def test_a_code_without_its_verifier_is_worth_nothing(door: Door) -> None:
    async with person(door, "rob") as rob:
        back = (await rob.begin("/")).headers["location"]
        await door.fetch("UPDATE sign_in_attempt SET verifier = 'another'")
        answer = await door.http.get(back)
    assert (answer.status_code, "token_invalid" in answer.text) == (403, True)


async def test_an_answer_to_another_question_is_not_believed(door: Door) -> None:
    async with person(door, "rob") as rob:
        back = (await rob.begin("/")).headers["location"]
        await door.fetch("UPDATE sign_in_attempt SET nonce = 'another'")
        answer = await door.http.get(back)
    assert (answer.status_code, "token_invalid" in answer.text) == (403, True)


async def test_what_cannot_be_undone_asks_who_signed_in_long_ago_again(door: Door) -> None:
    async with person(door, "rob") as rob:
        await rob.sign_in()
        token = await command_line_token(door)
        assert Authenticator(door.settings.jwks_file).authenticate(token).fresh
        await door.fetch("UPDATE session SET authenticated_at = now() - interval '1 hour'")
        token = await command_line_token(door)
        gap = {"group": "g", "topic": "t", "partition": 0}
        bearer = {"authorization": f"Bearer {token}"}
        refused = await door.http.post("/ops/v1/accept-gap", json=gap, headers=bearer)
        assert (refused.status_code, refused.json()["code"]) == (403, NOT_FRESH)
        await rob.sign_in("/audit", fresh=True)
        bearer = {"authorization": f"Bearer {await command_line_token(door)}"}
        carried_out = await door.http.post("/ops/v1/accept-gap", json=gap, headers=bearer)
        assert carried_out.json()["code"] == "no_such_group"
    closed = [data for kind, data in await door.activity() if kind == "session.closed"]
    assert [each["reason"] for each in closed] == ["renewed"]


async def test_a_page_that_needs_a_fresh_sign_in_leads_there_and_back(
    make_settings: MakeSettings, fresh_database: Mapping[str, str], provider_file: Path
) -> None:
    settings = make_settings(database_url=fresh_database["gateway"], oidc_file=provider_file)
    provisioning = FastAPI()
    problems.install(provisioning)
    releases = Authenticator(settings.jwks_file).requires("access:admin", fresh=True)

    @provisioning.post("/access/v1/brake/c-1/release")
    async def release(who: Annotated[Principal, Depends(releases)]) -> dict[str, str]:
        return {"by": who.subject}

    async with serving(provisioning) as url:
        told = settings.model_copy(update={"provisioning_url": url})
        async with open_door(told) as door, person(door, "ann") as ann:
            await ann.sign_in()
            form = {"csrf": csrf_of(await door.http.get("/command-line")), "reason": "seen"}
            await door.fetch("UPDATE session SET authenticated_at = now() - interval '1 hour'")
            page = {"referer": "http://gateway.test/brake/c-1?from=list"}
            asked = await door.http.post("/brake/c-1/release", data=form, headers=page)
            assert asked.status_code == 403
            assert "Nothing has been done yet" in asked.text
            assert (
                "/sign-in/provider?fresh=true&amp;next=%2Fbrake%2Fc-1%3Ffrom%3Dlist" in asked.text
            )
            back = await ann.sign_in("/brake/c-1?from=list", fresh=True)
            assert back.headers["location"] == "/brake/c-1?from=list"
            form["csrf"] = csrf_of(await door.http.get("/command-line"))
            done = await door.http.post("/brake/c-1/release", data=form)
            assert done.status_code == 303, done.text


async def test_a_fresh_sign_in_that_the_provider_did_not_ask_for_is_refused(door: Door) -> None:
    async with person(door, "rob") as rob:
        await rob.sign_in()
        sent = await door.http.get("/sign-in/provider", params={"fresh": "true"})
        # Answered as by a provider that takes no notice of what it is asked, an hour later.
        silent = sent.headers["location"].replace("prompt=login", "display=page")
        await door.fetch("UPDATE sign_in_attempt SET begun_at = now() + interval '1 hour'")
        answer = await door.http.get((await rob.away.get(silent)).headers["location"])
    assert (answer.status_code, "not_fresh" in answer.text) == (403, True)


async def test_who_has_no_worker_id_goes_with_the_worker_whom_their_address_names(
    door: Door,
) -> None:
    rob = replace(state("w9"), email="rob.stone@harbor.example")
    await publish(door, rob)
    async with person(door, "rob") as browser:
        await browser.sign_in()
        token = await command_line_token(door)
        assert token
        assert (await door.http.get("/command-line")).status_code == 200
        terminated = replace(state("w9", ends_at=left(1), version=2), email=rob.email)
        await publish(door, terminated)
        assert (await door.http.get("/command-line")).status_code == 303
        refused = await browser.sign_in()
        assert (refused.status_code, "no longer work here" in refused.text) == (403, True)
    closed = [data["reason"] for kind, data in await door.activity() if kind == "session.closed"]
    assert closed == ["left", "left"]


async def command_line_token(door: Door) -> str:
    """A token of a session that the command line was given from the console."""
    csrf = csrf_of(await door.http.get("/command-line"))
    made = await door.http.post("/command-line", data={"csrf": csrf})
    link = re.search(r"/in/(\S+)</pre>", made.text)
    assert link, made.text
    opened = await door.http.post("/session", json={"code": link[1]})
    bearer = {"authorization": f"Bearer {opened.json()['session']}"}
    answer = await door.http.post("/session/token", headers=bearer)
    return str(answer.json()["token"])


async def test_beyond_this_machine_a_printed_link_lets_nobody_in(
    make_settings: MakeSettings, fresh_database: Mapping[str, str], provider_file: Path
) -> None:
    settings = make_settings(
        database_url=fresh_database["gateway"],
        oidc_file=provider_file,
        host="0.0.0.0",
        gateway_url="https://gateway.test",
    )
    async with open_door(settings) as door:
        link = await door.link("administrator")
        answer = await door.http.post(link)
        assert (answer.status_code, "links_off" in answer.text) == (403, True)


def test_beyond_this_machine_it_does_not_start_without_a_provider_or_encryption(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="PORTALKEEPER_OIDC_FILE"):
        make_settings(host="0.0.0.0")
    with pytest.raises(ValueError, match="https"):
        make_settings(host="0.0.0.0", oidc_file=tmp_path / "oidc.yaml")


async def test_a_provider_that_does_not_answer_is_named(
    make_settings: MakeSettings, fresh_database: Mapping[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "oidc.yaml"
    told = {"issuer": f"http://{NOWHERE}", "client_id": "x", "organization": "harbor"}
    file.write_text(yaml.safe_dump({**told, "roles": ROLES}))
    settings: Settings = make_settings(database_url=fresh_database["gateway"], oidc_file=file)
    async with open_door(settings) as door:
        answer = await door.http.get("/sign-in/provider")
    assert (answer.status_code, NOWHERE in answer.text) == (503, True)


@pytest.mark.parametrize(
    "elsewhere",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/sign-out", "/a\nb", "", "a"],
)
def test_nobody_is_sent_elsewhere_after_signing_in(elsewhere: str) -> None:
    assert return_path(elsewhere) == "/"


def test_groups_give_roles_and_a_worker_id_gives_the_workers_own() -> None:
    mapping = {"a": ["administrator", "reviewer"], "b": ["hr"]}
    assert roles_of(["a", "x"], mapping, None) == ("administrator",)
    assert roles_of(["a", "b"], mapping, "W-1") == ("administrator", "hr", "reviewer", "worker")
    assert roles_of([], mapping, "W-1") == ("worker",)


def test_an_address_is_never_an_actors_id() -> None:
    assert subject_of("https://i", "ann@clinic.example", "W-1") == "W-1"
    assert subject_of("https://i", "00u1ab", None) == "00u1ab"
    assert "@" not in subject_of("https://i", "ann@clinic.example", None)
