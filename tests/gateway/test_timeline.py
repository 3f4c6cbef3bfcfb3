"""A worker's events and operations on one axis."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.gateway.console.timeline import bundle, lay_out
from services.gateway.console.view import span

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def event(type_: str, effective: timedelta, recorded: timedelta, **data: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "type": type_,
        "source": "hr",
        "time": (NOW + recorded).isoformat(),
        "effective_at": (NOW + effective).isoformat(),
        "data": data,
        "rescinded": False,
    }


def test_a_future_event_lies_ahead_and_is_written_so() -> None:
    leaving = event("worker.terminated", timedelta(days=9), timedelta(days=-1))
    ahead, past = lay_out([leaving], [], NOW)
    assert past == []
    assert ahead[0].title_ahead == "Employment ends"
    assert ahead[0].recorded_at == NOW - timedelta(days=1)


def test_the_past_is_shown_latest_first_and_the_future_nearest_first() -> None:
    days = (5, -3, 2, -8)
    events = [event("worker.changed", timedelta(days=each), timedelta(days=each)) for each in days]
    ahead, past = lay_out(events, [], NOW)
    assert [(each.at - NOW).days for each in ahead] == [2, 5]
    assert [(each.at - NOW).days for each in past] == [-3, -8]


def test_when_a_fact_was_recorded_is_shown_only_if_it_tells_more() -> None:
    _, past = lay_out([event("worker.hired", timedelta(-3), timedelta(-3, hours=5))], [], NOW)
    assert past[0].recorded_at is None


def test_lengths_of_time_are_written_in_their_two_largest_units() -> None:
    written = {0.84: "0.8 s", 42: "42 s", 720: "12 min", 227_000: "63 h 3 min", 277_200: "3 d 5 h"}
    assert {seconds: span(seconds) for seconds in written} == written


def test_a_long_run_of_ended_operations_is_one_line_and_open_work_stays_apart() -> None:
    def operation(hours: int, ended: bool) -> dict[str, Any]:
        at = (NOW - timedelta(hours=hours)).isoformat()
        return {
            "kind": "open",
            "portal_name": "Hub",
            "requested_at": at,
            "ended_at": at if ended else None,
        }

    operations = [operation(1, False), *(operation(hours, True) for hours in (2, 3, 4, 5))]
    _, past = lay_out([event("worker.hired", timedelta(-9), timedelta(-9))], operations, NOW)
    assert [len(run) for run in bundle(past)] == [1, 4, 1]
