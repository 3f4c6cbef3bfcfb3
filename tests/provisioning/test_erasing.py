"""What provisioning still knows of somebody who was erased: nothing that names them."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from services.provisioning.handlers.commands import Evidence, Said
from services.provisioning.rules.operations import Transition
from shared.contracts.directory import Directory
from shared.contracts.state import Grade
from shared.errors import Problem
from shared.postgres import Connection, in_transaction
from tests.provisioning.asking import Asking
from tests.provisioning.desk import Desk, hire, hr_record, leave_now
from tests.provisioning.importing import Importing
from tests.provisioning.worlds import NOW, ORGANIZATION, directory

NAMES = ("Robin Secret", "robin@example.org", "1234567893", "rsecret")
"""What the person is called anywhere: name, address, number, login id."""

PASSING = {"outbox", "idempotency"}
"""What is published next, and answers that are kept for a week."""


async def places_that_name(desk: Desk) -> set[str]:
    """The columns of provisioning's tables that hold any of the names, as text or as bytes."""
    found = set()
    async with desk.pool.acquire() as conn:
        columns = await conn.fetch(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() ORDER BY 1, 2"
        )
        for table, column in columns:
            for name in NAMES if table not in PASSING else ():
                if await conn.fetchval(
                    f'SELECT EXISTS (SELECT FROM {table} WHERE strpos("{column}"::text, $1) > 0'
                    f' OR strpos("{column}"::text, $2) > 0)',
                    name,
                    name.encode().hex(),
                ):
                    found.add(f"{table}.{column}")
    return found


async def say_done(desk: Desk, worker: str, login_id: str | None = None) -> None:
    """All open work of a worker is done, with words that name the person."""
    for item in await desk.work(worker):
        evidence = Evidence(kind="note", text="Robin Secret, seen")
        said = Said(
            item["operation_id"], Transition.DONE, "admin-1", Grade.PERSON, evidence, login_id
        )
        await in_transaction(desk.pool, partial(saying, desk, said))


async def saying(desk: Desk, said: Said, conn: Connection) -> None:
    await desk.operations.say(conn, ORGANIZATION, [said])


def keeps_ids(days: int) -> Directory:
    document = directory().model_dump(mode="json")
    for portal in document["portals"]:
        portal["rules"] = [{"rule": "id_reuse_days", "value": days, "source": "its help"}]
    return Directory.model_validate(document)


@pytest.fixture
def asking(desk: Desk, tmp_path: Path) -> Asking:
    return Asking.of(desk, tmp_path)


async def gone(desk: Desk, asking: Asking) -> None:
    """Somebody who was here, is on a portal's list, and left."""
    await desk.apply_directory(keeps_ids(days=3000))
    person = {"name": "Robin Secret", "email": "robin@example.org", "npi": "1234567893"}
    await desk.hear(hire(**person), hire("w2"))
    await say_done(desk, "w1", "rsecret")
    roster = "User ID,Name,Email,Status\nRSECRET,Robin Secret,robin@example.org,Active\n"
    await Importing(desk).import_roster("mac", roster)
    await asking.post(
        "/access/v1/exceptions",
        {
            "worker": "w1", "portal": "hub", "tin": "12-3456789", "function": "claim_status",
            "reason": "Robin Secret helps out", "ends_at": str(NOW + timedelta(days=3)),
        },
        scopes="access:admin",
    )  # fmt: skip
    report = {"portal": "hub", "kind": "locked_out", "note": "Robin Secret was locked out"}
    await asking.post("/access/v1/incidents", report, scopes="directory:read", worker="w1")
    await desk.hear(leave_now())
    notice = {"portal": "mac", "channel": "phone", "proof": "told that Robin Secret left"}
    await asking.post("/access/v1/leavers/w1/notices", notice)


async def test_nothing_names_an_erased_person(desk: Desk, asking: Asking) -> None:
    await gone(desk, asking)
    await desk.hear(hr_record("worker.erased", id_="erased", time=NOW))
    assert "account.login_id" in await places_that_name(desk), "what is to be removed can be found"
    await say_done(desk, "w1")
    assert await places_that_name(desk) == set()
    state = await desk.state()
    assert state["status"] == "erased"
    assert all(access["login_id"] is None for access in state["portals"])


async def test_the_login_id_of_an_erased_person_is_kept_from_others_without_naming_them(
    desk: Desk, asking: Asking
) -> None:
    await gone(desk, asking)
    await say_done(desk, "w1")
    await desk.hear(hr_record("worker.erased", id_="erased", time=NOW))
    with pytest.raises(Problem, match="login_id_reused") as refused:
        await say_done(desk, "w2", "RSecret")
    assert "It was somebody else's" in str(refused.value)
    desk.clock.at += timedelta(days=3001)
    await say_done(desk, "w2", "RSecret")
