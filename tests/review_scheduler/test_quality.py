"""What the compliance officer is told: tables for the rules, and the year as the API tells it."""

from datetime import date, timedelta
from typing import Any

import pytest

from services.review_scheduler.rules.progress import forecast
from services.review_scheduler.rules.quality import (
    OVERLOAD_OPEN_LINES,
    Load,
    signals,
)
from shared.contracts.state import Finding
from tests.review_scheduler.clinic import REVIEWS, Clinic, deciding
from tests.review_scheduler.worlds import ORGANIZATION, START, World, holds, state


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (Load(4, 0, 0, 0), ()),
        (Load(4, 1, 0, 0), ()),
        (Load(4, 2, 0, 0), ("late",)),
        (Load(20, 4, 0, 0), ()),
        (Load(20, 5, 0, 0), ("late",)),
        (Load(4, 0, OVERLOAD_OPEN_LINES, 0), ()),
        (Load(4, 0, OVERLOAD_OPEN_LINES + 1, 0), ("overloaded",)),
        (Load(4, 4, 999, 1), ("rubber_stamping", "late", "overloaded")),
    ],
)
def test_each_signal_has_its_limit(load: Load, expected: tuple[str, ...]) -> None:
    assert signals(load) == expected


async def read(clinic: Clinic, what: str) -> Any:
    return (await clinic.ask("GET", f"/review/v1/{what}", scopes="audit:read")).json()


async def test_the_year_of_a_reviewer_tells_load_lateness_and_rubber_stamping(
    world: World, clinic: Clinic
) -> None:
    many = ("eligibility", "benefits", "claim_status", "remittance", "payment")
    await world.hear(state("ben", access=[holds("lni", *many)]))
    before = await read(clinic, "quality")
    assert [(each["reviewer"], each["open_lines"], each["signals"]) for each in
            before["reviewers"]] == [("sam", 2, [])]  # fmt: skip

    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"
    await clinic.ask("POST", path, deciding(review, "keep", "keep"))
    await world.open_campaign()
    listed = (await clinic.ask("GET", f"{REVIEWS}?worker=ben")).json()["reviews"]
    review = (await clinic.ask("GET", f"{REVIEWS}/{listed[0]['review_id']}")).json()
    world.clock.instant += timedelta(seconds=6)
    path = f"{REVIEWS}/{review['review_id']}/decisions"
    await clinic.ask("POST", path, deciding(review, *["keep"] * 5))
    world.clock.instant += timedelta(days=30)

    told = (await read(clinic, "quality"))["reviewers"][0]
    assert told == told | {
        "reviews": 3,
        "late": 1,
        "open_lines": 2,
        "decided": 7,
        "kept": 7,
        "rubber_stamped": 1,
        "signals": ["rubber_stamping"],
    }


STAMPS: list[tuple[int, int, float | None, bool]] = [
    (20, 20, 30, True),
    (20, 20, 79, True),
    (20, 20, 80, False),
    (20, 19, 30, False),
    (4, 4, 1, False),
    (5, 5, 1, True),
    (20, 20, None, True),
    (20, 20, -10, True),
    (0, 0, None, False),
]
"""Lines decided and kept, seconds from the first look to the last decision, and what that is."""


async def test_all_kept_faster_than_it_can_be_read_is_a_rubber_stamp(
    world: World, clinic: Clinic
) -> None:
    async with world.pool.acquire() as conn:
        await conn.executemany(
            "INSERT INTO review (review_id, organization, worker, reviewer, reviewer_rule, rule,"
            " reason, status, opened_at, due_at, lines, worked_lines, worked_kept, read_at,"
            " worked_until) VALUES (gen_random_uuid(), $1, 'ben', $2, 'supervisor', 'campaign',"
            " '', 'closed', $3, $3, $4, $4, $5, $6, $7)",
            [
                (
                    ORGANIZATION,
                    f"reviewer {number}",
                    START,
                    decided,
                    kept,
                    None if seconds is None else START,
                    START + timedelta(seconds=seconds or 0),
                )
                for number, (decided, kept, seconds, _) in enumerate(STAMPS)
            ],
        )

    told = {each["reviewer"]: each for each in (await read(clinic, "quality"))["reviewers"]}

    for number, (decided, _, seconds, stamped) in enumerate(STAMPS):
        year = told[f"reviewer {number}"]
        assert year["rubber_stamped"] == int(stamped), STAMPS[number]
        known = decided and seconds is not None
        took = max(0, seconds or 0) / decided if known else None
        assert year["seconds_per_line"] == pytest.approx(took, abs=0.05)


async def test_a_dormant_login_that_is_kept_again_is_named(world: World, clinic: Clinic) -> None:
    idle = [holds("noridian", findings=(Finding("dormant", "never used"),))]
    for version in (2, 3):
        await world.hear(state("ana", version, access=idle))
        listed = (await clinic.ask("GET", f"{REVIEWS}?status=open")).json()["reviews"]
        review = (await clinic.ask("GET", f"{REVIEWS}/{listed[0]['review_id']}")).json()
        kept = deciding(review, *["keep"] * len(review["lines"]))
        kept["decisions"] = [each | {"reason": "maybe"} for each in kept["decisions"]][:1]
        path = f"{REVIEWS}/{review['review_id']}/decisions"
        answer = await clinic.ask("POST", path, kept)
        assert answer.status_code == 200, answer.text
        if version == 2:
            # The micro-review that the finding opened; the campaign asks about it as well.
            assert (await read(clinic, "quality"))["dormant_keeps"] == []

    kept = (await read(clinic, "quality"))["dormant_keeps"]
    assert [(each["worker"], each["function"], each["keeps"], each["last_reason"]) for each in
            kept] == [("ana", "eligibility", 2, "maybe")]  # fmt: skip


async def test_what_nobody_decided_on_within_a_year_is_named(world: World, clinic: Clinic) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"
    await clinic.ask("POST", path, deciding(review, "keep"))

    told = await read(clinic, "coverage")
    assert (told["held"], told["reviewed"]) == (2, 1)
    assert told["portals"] == [{"portal": "noridian", "held": 2, "reviewed": 1}]
    assert [(each["worker"], each["function"], each["asked"]) for each in told["unreviewed"]] == [
        ("ana", "remittance", True)
    ]

    world.clock.instant += timedelta(days=366)
    assert (await read(clinic, "coverage"))["reviewed"] == 0
    assert (await clinic.ask("GET", "/review/v1/coverage")).status_code == 403


DAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("decided", "undecided", "days_open", "pace", "days_left", "in_time"),
    [
        ([(DAY, 10)], 20, 1, 10.0, 2, True),
        ([(DAY, 10)], 200, 1, 10.0, 20, False),
        ([(DAY - timedelta(days=1), 4), (DAY, 10)], 14, 2, 7.0, 2, True),
        # What was done more than a week ago says nothing about the pace of now.
        ([(DAY - timedelta(days=9), 70), (DAY, 7)], 7, 10, 1.0, 7, True),
        ([], 5, 3, 0.0, None, False),
        ([(DAY, 10)], 0, 1, 10.0, 0, True),
    ],
)
def test_a_campaign_is_done_when_its_pace_of_a_week_says(
    decided: list[tuple[date, int]],
    undecided: int,
    days_open: int,
    pace: float,
    days_left: int | None,
    in_time: bool,
) -> None:
    opened = START - timedelta(days=days_open)
    told = forecast(decided, undecided, opened, START, START + timedelta(days=10), DAY)

    done_at = None if days_left is None else START + timedelta(days=days_left)
    assert (told.lines_per_day, told.done_at, told.in_time) == (pace, done_at, in_time)


async def test_a_campaign_tells_what_is_left_by_day_and_by_reviewer(
    world: World, clinic: Clinic
) -> None:
    review = await clinic.only_review()
    path = f"{REVIEWS}/{review['review_id']}/decisions"
    await clinic.ask("POST", path, deciding(review, "keep"))
    world.clock.instant += timedelta(days=20)

    told = await read(clinic, f"campaigns/{review['campaign_id']}/progress")

    assert told["remaining"] == [{"day": "2026-11-23", "lines": 1}]
    assert told["forecast"] == {"lines_per_day": 0.0, "done_at": None, "in_time": False}
    assert told["reviewers"] == [
        {
            "reviewer": "sam",
            "reviewer_name": "Sam",
            "reviews": 1,
            "lines": 2,
            "undecided": 1,
            "moot": 0,
            "overdue": 1,
            "delayed": 0,
        }
    ]
