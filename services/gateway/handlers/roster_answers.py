"""What is answered about HR's lists: a summary of each, and everything that one comes to."""

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from services.gateway.rules.roster_plan import Plan
from services.gateway.rules.roster_reading import Reading
from services.gateway.store.rosters import Roster
from shared.contracts.envelope import rfc3339

SHOWN_LINES = 1_000
"""Of each part of a plan, how many are told; the counts tell how many there are."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A kept list with what it comes to now."""

    roster: Roster
    reading: Reading
    plan: Plan


def summary(roster: Roster) -> dict[str, Any]:
    """A list without what it says of anybody."""
    return {
        "plan": str(roster.plan),
        "source": roster.source,
        "file": roster.file_name,
        "sha256": roster.sha256.hex(),
        "received_at": rfc3339(roster.received_at),
        "received_by": roster.received_by,
        "status": roster.status,
        "counts": dict(roster.counts),
        "problem": roster.problem,
        "decided_by": roster.decided_by,
        "decided_at": rfc3339(roster.decided_at) if roster.decided_at else None,
        "progress": {"events": roster.events_total, "published": roster.events_done},
    }


def document(looked: Looked) -> dict[str, Any]:
    """A list with everything that it comes to, as JSON has it."""
    plan, reading = looked.plan, looked.reading
    by_kind: dict[str, list[dict[str, Any]]] = {"hires": [], "changes": [], "departures": []}
    for change in plan.changes:
        part = {"hire": "hires", "departure": "departures"}.get(change.kind, "changes")
        if len(by_kind[part]) < SHOWN_LINES:
            line = asdict(change)
            line["events"] = [type_ for type_, _ in change.events]
            by_kind[part].append(line)
    told = {
        **summary(looked.roster),
        "hash": plan.hash,
        "counts": plan.counts(),
        "expected": plan.expected,
        **by_kind,
        "questions": [asdict(each) for each in plan.questions[:SHOWN_LINES]],
        "errors": [asdict(each) for each in plan.errors[:SHOWN_LINES]],
        "titles": dict(plan.titles),
        "places": dict(plan.places),
        "columns": dict(reading.columns),
        "dropped": list(reading.dropped),
        "notes": list(plan.notes),
    }
    answer: dict[str, Any] = orjson.loads(orjson.dumps(told))
    return answer
