"""Who works here, told a second time: slowly, from what HR said, without the product's fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from shared.contracts.hr import end_of_day, start_of_day
from tests.provisioning.worlds import ZONE


@dataclass(frozen=True, slots=True)
class Heard:
    """One accepted event, in the order of recording."""

    worker: str
    source: str
    id: str
    type: str
    data: dict[str, Any]
    entered_by: str | None


def standing(events: Sequence[Heard]) -> list[Heard]:
    """The events that no withdrawal in force withdraws."""
    withdraws = {
        position: {
            other
            for other, target in enumerate(events)
            if target.worker == event.worker
            and target.id == event.data["rescinds"]
            and (target.source == event.source or event.entered_by not in (None, event.worker))
        }
        for position, event in enumerate(events)
        if event.type == "worker.rescinded"
    }

    def reach(start: int) -> set[int]:
        found: set[int] = set()
        frontier = set(withdraws.get(start, ()))
        while frontier:
            found |= frontier
            frontier = {far for near in frontier for far in withdraws.get(near, ())} - found
        return found

    void = {position for position in withdraws if position in reach(position)}

    def stands(position: int) -> bool:
        return position not in void and not any(
            position in targets and stands(by) for by, targets in withdraws.items()
        )

    return [event for position, event in enumerate(events) if stands(position)]


def persons(events: Sequence[Heard], workers: Iterable[str]) -> list[frozenset[str]]:
    """Worker ids that are one person."""
    groups = [{worker} for worker in {*workers, *(event.worker for event in events)}]
    for event in events:
        if event.type == "worker.merged":
            pair = {event.worker, event.data["previous_worker_id"]}
            joined = set(pair).union(*(group for group in groups if group & pair))
            groups = [group for group in groups if not group & pair] + [joined]
    return [frozenset(group) for group in groups]


def employed(events: Sequence[Heard], now: datetime) -> bool:
    """Whether any employment of the person whose standing events these are is open at `now`."""
    return bool(open_employments(events, now))


def open_employments(events: Sequence[Heard], now: datetime) -> list[list[Heard]]:
    """What was said of each employment that is open at `now`, out of a person's standing events."""
    if any(event.type == "worker.erased" for event in events):
        return []
    ids = {event.data["employment_id"] for event in events if event.type == "worker.hired"}
    told = [[each for each in events if each.data.get("employment_id") == id_] for id_ in ids]
    return [own for own in told if _open(own, now)]


def _open(events: Sequence[Heard], now: datetime) -> bool:
    starts = hired_at(events)
    ends: list[datetime] = []
    leavings = [event for event in events if event.type == "worker.terminated"]
    if leavings:
        ends.append(_is_over(leavings[-1].data))
    last_day = last_said(events, "ends_on", max(now, starts))
    if last_day is not None:
        ends.append(end_of_day(date.fromisoformat(last_day), ZONE))
    return starts <= now and all(now < end for end in ends)


def hired_at(events: Sequence[Heard]) -> datetime:
    """When an employment begins."""
    return begins([event for event in events if event.type == "worker.hired"][-1].data)


def last_said(events: Sequence[Heard], field: str, by: datetime) -> Any:
    """What was said of a field of an employment for the latest date not after `by`, if anything."""
    said = [
        (begins(event.data), position, event.data[field])
        for position, event in enumerate(events)
        if event.type in ("worker.hired", "worker.changed")
        and field in event.data
        and begins(event.data) <= by
    ]
    return max(said)[2] if said else None


def begins(data: dict[str, Any]) -> datetime:
    """When something takes effect, unless it is the end of an employment."""
    if "effective_at" in data:
        return datetime.fromisoformat(data["effective_at"])
    return start_of_day(date.fromisoformat(data["effective_on"]), ZONE)


def _is_over(data: dict[str, Any]) -> datetime:
    if "effective_on" in data and not data.get("immediate"):
        return end_of_day(date.fromisoformat(data["effective_on"]), ZONE)
    return begins(data)
