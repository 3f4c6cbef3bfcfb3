"""People in HR are told what their sources wait for: once, and without names."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID, uuid4

import orjson
import pytest_asyncio

from services.gateway.handlers.hr_alarms import HrAlarms
from services.gateway.handlers.notices import GATHER
from services.gateway.handlers.source_health import SourceHealth
from services.gateway.rules.hr_alarms import WRONG_SIGNATURES_A_DAY, Faring, source_matters
from services.gateway.rules.notices import Kind, Matter, People, recipients, words_of
from services.gateway.rules.roster_changes import Asked
from services.gateway.sources import Source, Sources
from services.gateway.store import embargo, health, rosters
from services.gateway.store.embargo import SealedRow
from shared import timers
from tests.gateway.test_notices import (
    ANN,
    NOW,
    ORGANIZATION,
    SECRET,
    TODAY,
    Office,
    office,
    post,
    receiver,
)
from tests.servers import ROOT

__all__ = ["office", "post", "receiver"]

SOURCE = "harbor-hr"


@dataclass
class Watched:
    """An office whose HR sources are watched."""

    office: Office
    alarms: HrAlarms

    async def look(self) -> list[str]:
        """Look, let the mail go out that is due, and the subjects of all mail."""
        await self.alarms.check()
        await self.office.work()
        self.office.clock.at += GATHER
        await self.office.work()
        return self.office.post.subjects()

    async def ask(self, worker: str) -> None:
        async with self.office.pool.acquire() as conn:
            asked = [(worker, Asked.MISSING, "not on the list")]
            at = self.office.clock.at
            await rosters.ask(conn, ORGANIZATION, SOURCE, uuid4(), asked, at)


@pytest_asyncio.fixture(loop_scope="session")
async def watched(office: Office) -> AsyncIterator[Watched]:
    await office.know("hana", "hana@harbor.example")
    await office.pool.execute(
        'UPDATE directory_object SET data = data || \'{"hr": ["hana"]}\''
        " WHERE kind = 'organization'"
    )
    bound = Source(organizations=frozenset({ORGANIZATION}), secrets=(SECRET,))
    sources = Sources({SOURCE: bound})
    fares = SourceHealth(office.pool, sources, office.clock)
    yield Watched(office, HrAlarms(office.pool, office.clock, fares, {ORGANIZATION}))


async def test_questions_reach_hr_in_the_days_digest_and_name_nobody(watched: Watched) -> None:
    await watched.ask("w-missing")
    await watched.ask("w-other")
    assert await watched.look() == [], "questions wait for the digest"
    watched.office.clock.at += timedelta(days=1)
    assert await watched.look() == ["Portalkeeper: 1 HR source with questions"]
    (mail,) = watched.office.post.mail
    assert mail["to"] == "hana@harbor.example"
    text = str(mail.get_body(("plain",)).get_content())  # type: ignore[attr-defined]
    assert "https://portalkeeper.example/hr/questions?source=harbor-hr" in text
    assert "w-missing" not in text
    assert "sign in" in text
    watched.office.clock.at += timedelta(days=1)
    assert len(await watched.look()) == 1, "and are not told again"
    await watched.ask("w-third")
    await watched.look()
    watched.office.clock.at += timedelta(days=1)
    assert len(await watched.look()) == 2, "unless there is a new one"


async def test_a_question_answered_before_the_digest_is_told_nobody(watched: Watched) -> None:
    await watched.ask("w1")
    await watched.look()
    await watched.office.pool.execute("UPDATE hr_question SET answer = 'left'")
    await watched.look()
    watched.office.clock.at += timedelta(days=1)
    assert await watched.look() == []


async def test_late_lists_and_wrong_signatures_are_told_within_minutes(watched: Watched) -> None:
    async with watched.office.pool.acquire() as conn:
        await rosters.lock_source(conn, ORGANIZATION, SOURCE)
        await health.set_late(conn, ORGANIZATION, SOURCE, NOW - timedelta(hours=1))
        wrong = WRONG_SIGNATURES_A_DAY - 1
        await health.note_day(conn, "", "", NOW, wrong_signatures=wrong)
    assert await watched.look() == ["Portalkeeper: 1 HR list late"]
    async with watched.office.pool.acquire() as conn:
        await health.note_day(conn, "", "", NOW, wrong_signatures=1)
    assert (await watched.look())[1:] == ["Portalkeeper: 1 alarm about HR signatures"]


async def test_a_sources_owner_is_told_instead_of_hr(watched: Watched) -> None:
    await watched.office.know("otto", "otto@harbor.example")
    await watched.office.enact("source", SOURCE, {"id": SOURCE, "owner": "otto"})
    async with watched.office.pool.acquire() as conn:
        await rosters.lock_source(conn, ORGANIZATION, SOURCE)
        await health.set_late(conn, ORGANIZATION, SOURCE, NOW - timedelta(hours=1))
    await watched.look()
    assert [mail["to"] for mail in watched.office.post.mail] == ["otto@harbor.example"]


async def test_a_sealed_entry_that_cannot_be_opened_is_told_who_is_on_call(
    watched: Watched,
) -> None:
    entry = uuid4()
    async with watched.office.pool.acquire() as conn:
        await embargo.keep_sealed(conn, SealedRow(entry, ORGANIZATION, b"n", b"altered"))
        stuck = timers.Timer("embargo", str(entry), NOW, {"stuck": True})
        await timers.set_timers(conn, [stuck])
    assert await watched.look() == ["Portalkeeper: 1 sealed entry that cannot be opened"]
    assert [mail["to"] for mail in watched.office.post.mail] == ["olga@harbor.example"]


def test_each_thing_that_a_source_waits_for_is_a_matter_with_its_page() -> None:
    plan = str(UUID(int=1))
    since = date(2026, 6, 1)
    everything = Faring("hr/feed", None, since, NOW, plan, since, since)
    pages = {matter.kind: matter.path for matter in source_matters(everything)}
    assert pages == {
        Kind.HR_QUESTIONS: "/hr/questions?source=hr%2Ffeed",
        Kind.HR_LATE: "/hr/source?name=hr%2Ffeed",
        Kind.HR_HELD: f"/hr/lists/{plan}",
        Kind.HR_SILENT: "/hr/source?name=hr%2Ffeed",
        Kind.HR_DELIVERIES: "/hr/source?name=hr%2Ffeed",
    }
    assert list(source_matters(Faring("hr/feed"))) == []


def examples(type_: str, **changes: object) -> Iterator[Matter]:
    path = ROOT / "shared" / "contracts" / "examples" / f"{type_}.json"
    data: Mapping[str, object] = {**orjson.loads(path.read_bytes())["data"], **changes}
    for word in words_of(type_, NOW, orjson.dumps(data), data):
        assert isinstance(word, Matter)
        yield word


def test_a_title_without_a_duty_is_told_hr_once_a_day_whoever_has_it() -> None:
    (first,), (second,) = (list(examples("finding.raised", subject=who)) for who in ("w1", "w2"))
    assert first == second
    assert (first.kind, first.to_hr, first.about) == (Kind.TITLE, True, None)
    assert list(examples("finding.raised", rule="dormant")) == []


def test_a_chore_that_is_not_done_by_its_deadline_is_overdue_work_for_its_owner() -> None:
    new, late = examples("chore.requested", worker=None)
    assert (new.kind, late.kind) == (Kind.WORK, Kind.OVERDUE)
    assert late.begins_at == late.due_at
    assert late.subject == new.subject, "so that its end ends both"
    assert late.to_on_call


async def test_an_overdue_chore_is_told_from_its_deadline_on(office: Office) -> None:
    due = NOW + timedelta(days=2)
    late = Matter(
        "c1/overdue", Kind.OVERDUE, "/work", due, portal="noridian", to_on_call=True, begins_at=due
    )
    await office.note(late)
    for days, mails in ((0, 0), (1, 0), (3, 3)):
        office.clock.at = NOW + timedelta(days=days)
        await office.work()
        office.clock.at += GATHER
        await office.work()
        assert len(office.post.mail) == mails
    assert set(office.post.subjects()) == {"Portalkeeper: 1 task overdue"}


def test_where_hr_names_nobody_the_administrators_are_told_and_at_last_who_is_on_call() -> None:
    matter = Matter("m", Kind.HR_LATE, "/hr", None, to_hr=True)
    everybody = People([ANN], ("olga",), ("hana",))
    assert recipients(matter, everybody, TODAY) == ["hana"]
    assert recipients(matter, People([ANN], ("olga",)), TODAY) == ["ann"]
    left = People([ANN], ("olga",), ("hana",), frozenset({"ann", "hana"}))
    assert recipients(matter, left, TODAY) == ["olga"]
