"""Who comes in, by which link, and what a page lets them do."""

import re
from collections.abc import Mapping

import httpx
import pytest

from services.gateway.handlers.sign_in import NewLink
from services.gateway.rules.roles import ATTEMPTS_MAX, ROLE_SCOPES, scopes_of
from services.gateway.settings import Settings
from shared.auth import Authenticator
from tests.gateway.conftest import Door, MakeSettings, open_door


def csrf_of(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found, page.text
    return found[1]


async def sign_in(door: Door, role: str) -> None:
    door.http.cookies.clear()
    answer = await door.http.post(await door.link(role))
    assert answer.status_code == 303, answer.text


async def test_a_link_works_once(fresh_door: Door) -> None:
    link = await fresh_door.link("administrator")
    first = await fresh_door.http.post(link)
    assert first.status_code == 303
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    second = await fresh_door.http.post(link)
    assert second.status_code == 403
    assert "link_used" in second.text
    opened, refused = await fresh_door.activity()
    assert opened[0] == "session.opened"
    assert opened[1]["roles"] == ["administrator"]
    assert refused == ("session.refused", {"code": "link_used", "method": "one_time_link"})


async def test_looking_at_a_link_does_not_use_it_up(door: Door) -> None:
    link = await door.link("administrator")
    for _ in range(3):
        shown = await door.http.get(link)
        assert shown.status_code == 200
        assert "set-cookie" not in shown.headers
    assert (await door.http.post(link)).status_code == 303


async def test_only_hashes_of_links_and_sessions_are_stored(fresh_door: Door) -> None:
    link = await fresh_door.link("administrator")
    secret = await fresh_door.secret("administrator")
    (code,) = await fresh_door.fetch("SELECT * FROM sign_in_link")
    (session,) = await fresh_door.fetch("SELECT * FROM session")
    assert link.rpartition("/")[2] not in str(dict(code))
    assert secret not in str(dict(session))


async def test_an_expired_link_is_refused(fresh_door: Door) -> None:
    link = await fresh_door.link("administrator")
    await fresh_door.fetch("UPDATE sign_in_link SET expires_at = now() - interval '1 second'")
    answer = await fresh_door.http.post(link)
    assert answer.status_code == 403
    assert "link_expired" in answer.text


async def test_wrong_links_from_one_address_are_slowed_down(fresh_door: Door) -> None:
    for _ in range(ATTEMPTS_MAX):
        assert (await fresh_door.http.post("/in/guess")).status_code == 403
    good = await fresh_door.link("administrator")
    for _ in range(3):
        assert (await fresh_door.http.post(good)).status_code == 429
    assert len(await fresh_door.activity()) == ATTEMPTS_MAX + 1


async def test_a_command_without_the_sessions_token_is_refused_and_recorded(
    fresh_door: Door,
) -> None:
    await sign_in(fresh_door, "administrator")
    answer = await fresh_door.http.post("/work/1/claim", data={"csrf": "0" * 64})
    assert answer.status_code == 403
    assert "csrf_invalid" in answer.text
    kind, data = (await fresh_door.activity())[-1]
    assert (kind, data["command"], data["code"]) == (
        "command.refused",
        "work.claim",
        "csrf_invalid",
    )


async def test_a_form_from_another_site_is_refused(door: Door) -> None:
    link = await door.link("administrator")
    answer = await door.http.post(link, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert (await door.http.post(link)).status_code == 303


async def test_signing_out_ends_the_session_everywhere(fresh_door: Door) -> None:
    await sign_in(fresh_door, "administrator")
    csrf = csrf_of(await fresh_door.http.get("/hr"))
    cookies = dict(fresh_door.http.cookies)
    await fresh_door.http.post("/sign-out", data={"csrf": csrf})
    fresh_door.http.cookies.update(cookies)
    assert (await fresh_door.http.get("/hr")).headers["location"] == "/sign-in?next=%2Fhr"
    assert (await fresh_door.activity())[-1][0] == "session.closed"


@pytest.mark.parametrize(
    ("role", "page"),
    [("administrator", "/audit"), ("compliance", "/hr"), ("reviewer=W-1", "/people")],
)
async def test_a_page_beyond_the_role_is_refused(door: Door, role: str, page: str) -> None:
    await sign_in(door, role)
    answer = await door.http.get(page)
    assert answer.status_code == 403
    assert "scope_missing" in answer.text


async def test_a_compliance_officer_cannot_carry_out_work(door: Door) -> None:
    await sign_in(door, "compliance")
    csrf = csrf_of(await door.http.get("/people"))
    answer = await door.http.post("/work/1/claim", data={"csrf": csrf})
    assert answer.status_code == 403


async def test_nobody_sees_a_page_without_a_session(door: Door) -> None:
    door.http.cookies.clear()
    for page in ("/", "/people", "/matrix", "/work", "/audit", "/hr", "/reviews"):
        there = (await door.http.get(page)).headers["location"]
        assert there.startswith("/sign-in"), page


async def test_a_service_that_is_down_is_named_without_a_traceback(door: Door) -> None:
    await sign_in(door, "administrator")
    answer = await door.http.get("/people")
    assert answer.status_code == 503
    assert "Provisioning (people, access and work) does not answer" in answer.text
    assert "Traceback" not in answer.text


async def test_pages_forbid_inline_script_and_framing(door: Door) -> None:
    answer = await door.http.get("/sign-in")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script(?! src=)|style=|\son\w+=", answer.text)


async def test_a_session_secret_gets_a_token_that_the_services_accept(door: Door) -> None:
    secret = await door.secret("compliance", "operator")
    answer = await door.http.post("/session/token", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200
    token = answer.json()["token"]
    principal = Authenticator(door.settings.jwks_file).authenticate(token)
    assert principal.organization == "harbor"
    assert principal.scopes == scopes_of(["compliance", "operator"])
    status = await door.http.get("/ops/v1/status", headers={"Authorization": f"Bearer {token}"})
    assert status.status_code == 200


async def test_a_command_line_is_told_the_addresses_that_lead_there_from_outside(
    make_settings: MakeSettings, prepared_kafka: str, fresh_database: Mapping[str, str]
) -> None:
    settings = make_settings(
        kafka=prepared_kafka,
        database_url=fresh_database["gateway"],
        review_url="http://review-scheduler:8083",
        outer_urls={"review": "http://127.0.0.1:9083"},
    )
    async with open_door(settings) as door:
        session = {"Authorization": f"Bearer {await door.secret('compliance')}"}
        told = (await door.http.post("/session/token", headers=session)).json()["services"]

    assert told["review"] == "http://127.0.0.1:9083"
    assert told["provisioning"] == settings.provisioning_url


async def test_an_unknown_session_gets_no_token(door: Door) -> None:
    for header in ("Bearer nonsense", "Basic x", ""):
        answer = await door.http.post("/session/token", headers={"Authorization": header})
        assert answer.status_code == 401


async def test_the_published_keys_hold_no_private_part(door: Door) -> None:
    keys = (await door.http.get("/.well-known/jwks.json")).json()["keys"]
    assert keys
    assert all("d" not in key for key in keys)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "portal.clinic.example"])
def test_the_gateway_refuses_to_be_reached_from_other_machines(host: str) -> None:
    with pytest.raises(ValueError, match="one-time links are the only way to sign in"):
        Settings(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_the_gateway_listens_on_this_machine(host: str) -> None:
    assert Settings(host=host).host == host


def test_a_container_may_listen_everywhere_if_published_on_loopback() -> None:
    assert Settings(host="0.0.0.0", published_on="127.0.0.1").host == "0.0.0.0"


def test_nobody_holds_both_the_work_and_the_lens_by_one_role() -> None:
    for role, scopes in ROLE_SCOPES.items():
        assert not {"access:admin", "audit:read"} <= scopes, role


def test_a_reviewer_link_needs_a_worker() -> None:
    with pytest.raises(ValueError, match="reviewer=WORKER"):
        NewLink("harbor", ("reviewer",))


async def test_who_is_turned_away_by_a_page_or_a_route_is_recorded_once(fresh_door: Door) -> None:
    await sign_in(fresh_door, "worker=W-1")
    for _ in range(3):
        assert (await fresh_door.http.get("/people")).status_code == 403
    secret = await fresh_door.secret("hr")
    token = await fresh_door.http.post(
        "/session/token", headers={"authorization": f"Bearer {secret}"}
    )
    bearer = {"authorization": f"Bearer {token.json()['token']}"}
    for _ in range(3):
        refused = await fresh_door.http.post("/ops/v1/accept-gap", headers=bearer)
        assert refused.status_code == 403
    said = [data for kind, data in await fresh_door.activity() if kind == "command.refused"]
    assert [(data["command"], data["code"]) for data in said] == [
        ("GET /people", "scope_missing"),
        ("POST /ops/v1/accept-gap", "scope_missing"),
    ]
