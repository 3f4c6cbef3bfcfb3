"""What the gateway forgets, and when."""

from services.gateway.handlers.sign_in import Doorkeeper
from services.gateway.purge import purge_once
from services.gateway.settings import Settings
from shared.clock import DatabaseClock
from shared.postgres import create_pool
from tests.gateway.conftest import Door, hired


async def purge(door: Door) -> int:
    clock = DatabaseClock()
    async with await create_pool(door.settings.database_url, max_size=1) as pool:
        return await purge_once(pool, clock, Doorkeeper(pool, clock, Settings(session_hours=1)))


async def test_rejected_bodies_go_when_their_time_is_over_and_not_before(fresh_door: Door) -> None:
    await fresh_door.send([hired(type="nothing"), hired(type="nothing else")])
    assert await purge(fresh_door) == 0
    await fresh_door.fetch(
        "UPDATE rejected_body SET expires_at = now() WHERE reference = (SELECT min(reference::text)"
        "::uuid FROM rejected_body)"
    )
    assert await purge(fresh_door) == 1
    assert len(await fresh_door.fetch("SELECT 1 FROM rejected_body")) == 1


async def test_a_session_at_its_end_is_closed_once_and_recorded(fresh_door: Door) -> None:
    secret = await fresh_door.secret("administrator")
    await fresh_door.fetch("UPDATE session SET expires_at = now()")
    assert await purge(fresh_door) == 1
    assert await purge(fresh_door) == 0
    kind, data = (await fresh_door.activity())[-1]
    assert (kind, data["reason"]) == ("session.closed", "expired")
    answer = await fresh_door.http.post(
        "/session/token", headers={"Authorization": f"Bearer {secret}"}
    )
    assert answer.status_code == 401


async def test_refused_attempts_and_old_links_are_forgotten(fresh_door: Door) -> None:
    await fresh_door.http.post("/in/guess")
    await fresh_door.link("administrator")
    await fresh_door.fetch("UPDATE refused_attempt SET at = at - interval '1 hour'")
    await fresh_door.fetch("UPDATE sign_in_link SET expires_at = now() - interval '31 days'")
    assert await purge(fresh_door) == 2
