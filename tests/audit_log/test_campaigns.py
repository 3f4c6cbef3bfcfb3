"""An evidence package about a campaign accounts for every line, and the verifier believes it."""

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.audit_log.rules.campaigns import CampaignRecord
from shared.contracts.envelope import binary_headers, event_key
from shared.contracts.review import REVIEW_EVENT_MODELS
from shared.contracts.topics import REVIEW_EVENTS
from tests.audit_log.test_exports import made, verifier
from tests.audit_log.worlds import WHEN, World, raw_record

CAMPAIGN = "5f1c1f6e-64a4-4d4c-8f4e-0d6c3f0e7a10"
AT = "2026-03-02T08:00:00Z"
LINE = {"tin": "91-1234567", "operation_id": "op-1"}


def about(line: str, function: str, **more: Any) -> dict[str, Any]:
    return {
        "review_id": "r1",
        "line_id": line,
        "campaign_id": CAMPAIGN,
        "worker": "ana",
        "portal": "noridian",
        "function": function,
        **LINE,
        **more,
    }


def decided(line: str, function: str, decision: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "review.decided", about(
        line, function, decision=decision, decided_by="sam", decided_at=AT, reason="why", **more
    )


def opened() -> list[tuple[str, dict[str, Any]]]:
    lines = [
        {"line_id": line, "portal": "noridian", "function": function, "duties": [], **LINE}
        for line, function in (("l1", "eligibility"), ("l2", "remittance"), ("l3", "payment"))
    ]
    campaign = {
        "campaign_id": CAMPAIGN,
        "title": "2026-Q1",
        "opened_by": "calendar",
        "opened_at": AT,
        "due_at": "2026-03-16T08:00:00Z",
        "policy_version": "7",
    }
    review = {
        "review_id": "r1",
        "campaign_id": CAMPAIGN,
        "kind": "campaign",
        "worker": "ana",
        "reviewer": "sam",
        "reviewer_rule": "supervisor",
        "reason": "campaign 2026-Q1",
        "opened_at": AT,
        "due_at": "2026-03-16T08:00:00Z",
        "lines": lines,
    }
    return [("campaign.opened", campaign), ("review.opened", review)]


def told() -> list[tuple[str, dict[str, Any]]]:
    """One line is kept against advice, one is removed after a day, one is moot."""
    gone = about("l3", "payment", moot_at=AT, reason="revoked", detail="gone before")
    removed = about(
        "l2",
        "remittance",
        decided_at=AT,
        ordered_at=AT,
        removed_at="2026-03-03T08:00:00Z",
        grade="roster",
        detail=None,
    )
    counts = {"reviews": 1, "kept": 1, "removed": 1, "moot": 1, "population": 1, "seen": 1}
    closed = {"campaign_id": CAMPAIGN, "closed_at": "2026-03-03T08:00:00Z", **counts}
    return [
        *opened(),
        decided("l1", "eligibility", "keep", risks=["dormant"], advice="remove"),
        decided("l2", "remittance", "remove"),
        ("review.moot", gone),
        ("review.removed", removed),
        ("campaign.closed", closed),
    ]


def recorded(events: list[tuple[str, dict[str, Any]]]) -> CampaignRecord:
    record = CampaignRecord(CAMPAIGN)
    for index, (type_, value) in enumerate(events):
        record.read({"index": index, "type": type_, "payload": {"value": value}})
    return record


def test_the_story_is_told_in_events_as_the_contract_has_them() -> None:
    for type_, value in told():
        REVIEW_EVENT_MODELS[type_].model_validate(value)


def test_a_closed_campaign_accounts_for_every_line() -> None:
    summary = recorded(told()).summary()

    assert summary["population"] == {"workers": 1, "reviews": 1, "lines": 3, "reviewers": 1}
    assert summary["outcomes"] == {"kept": 1, "moot": 1, "removed": 1}
    assert summary["removals"] == {
        "confirmed": 1,
        "median_hours": 24.0,
        "longest_hours": 24.0,
        "overdue": 0,
    }
    assert [(one["why"], one["entry"]) for one in summary["exceptions"]] == [
        ("kept against the recommendation", 2)
    ]
    assert summary["gaps"] == []


@pytest.mark.parametrize(
    ("left_out", "gap"),
    [
        ("review.decided", "0 lines are kept; the closing counted 1."),
        ("review.removed", "0 lines are removed; the closing counted 1."),
        ("review.moot", "0 lines are moot; the closing counted 1."),
        ("campaign.opened", "The entry that opens the campaign is not here."),
        ("campaign.closed", "The campaign is not closed yet: what is open can still change."),
    ],
)
def test_what_is_left_out_of_a_package_is_a_named_gap(left_out: str, gap: str) -> None:
    summary = recorded([event for event in told() if event[0] != left_out]).summary()

    assert gap in summary["gaps"]


async def test_the_package_of_a_campaign_lists_its_lines_and_passes_the_verifier(
    world: World, tmp_path: Path
) -> None:
    records = []
    for offset, (type_, value) in enumerate(told()):
        subject = value.get("worker", CAMPAIGN)
        headers = binary_headers(
            id=f"e{offset}",
            type=type_,
            source="/portalkeeper/review_scheduler",
            subject=subject,
            time=WHEN,
            organization="cedar-sound",
        )
        records.append(
            raw_record(
                offset,
                event_key("cedar-sound", subject).encode(),
                orjson.dumps(value),
                [(name, text.encode()) for name, text in headers.items()],
                topic=REVIEW_EVENTS.name,
            )
        )
    await world.append(*records)
    await world.sign()

    package = tmp_path / "evidence.zip"
    package.write_bytes(await made(world, "evidence", review=CAMPAIGN))

    content = zipfile.ZipFile(package)
    assert json.loads(content.read("campaign.json"))["gaps"] == []
    rows = list(csv.DictReader(io.StringIO(content.read("lines.csv").decode("utf-8-sig"))))
    assert [(row["function"], row["outcome"], row["hours_to_removal"]) for row in rows] == [
        ("eligibility", "kept", ""),
        ("payment", "moot", ""),
        ("remittance", "removed", "24.0"),
    ]
    assert "2026-Q1" in content.read("report.html").decode()
    folder = tmp_path / "unpacked"
    content.extractall(folder)
    good = verifier(folder, package, "--key", str(world.key.verifier))
    assert good.returncode == 0, good.stdout + good.stderr
    assert "7 entries are in the signed log; 7 are shown" in good.stdout
