"""A worker's HR events and operations on one axis: what happened, and what lies ahead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Literal

RECORDED_LATER = timedelta(hours=24)
"""Beyond this, when a fact was recorded says something about it: back-dated or announced."""

BUNDLE_MIN = 4
"""So many ended operations in a row are shown as one line that opens."""

EVENT_TITLES: Mapping[str, str] = {
    "worker.hired": "Hired",
    "worker.changed": "Changed",
    "worker.identity_corrected": "Identity corrected",
    "worker.merged": "Merged with another worker id",
    "worker.leave_started": "Leave started",
    "worker.leave_ended": "Back from leave",
    "worker.terminated": "Employment ended",
    "worker.training_completed": "Training completed",
    "worker.training_expired": "Training expired",
    "worker.rescinded": "An earlier event was withdrawn",
    "worker.erased": "Erased",
}

AHEAD_TITLES: Mapping[str, str] = {
    "worker.hired": "Starts",
    "worker.changed": "Changes",
    "worker.leave_started": "Leave starts",
    "worker.leave_ended": "Comes back from leave",
    "worker.terminated": "Employment ends",
}
"""What is not past yet is written so."""

OPERATION_TITLES: Mapping[str, str] = {
    "open": "Open an account",
    "grant": "Grant",
    "revoke": "Remove",
    "suspend": "Suspend",
    "resume": "Resume",
    "rotate": "Change the shared login",
    "close": "End the login for good",
    "keep_alive": "Keep the login alive",
    "appoint_successor": "Appoint a successor",
    "fetch_roster": "Fetch the list of users",
    "finding": "Look into a finding",
    "change_password": "Change the password",
    "recertify": "Confirm the users",
    "profile_check": "Confirm the profile",
    "activity_log": "Ask for the activity log",
    "enrolment": "Move an enrolment on",
    "document": "Renew a document",
}

HOLDERS_ONLY = frozenset({"keep_alive", "change_password"})
"""What nobody may do for whoever holds the login."""

DETAIL_FIELDS = (
    "title",
    "department",
    "sites",
    "supervisor",
    "kind",
    "ends_on",
    "module",
    "version",
    "expires_on",
    "previous_worker_id",
    "rescinds",
)


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing on the axis. `at` places it; `recorded_at` is set when it tells more. UTC.

    `details` are fields of the event as HR sent them, each with its name.
    """

    at: datetime
    kind: Literal["event", "operation"]
    title: str
    title_ahead: str
    details: tuple[tuple[str, Any], ...]
    recorded_at: datetime | None
    rescinded: bool
    source: Mapping[str, Any]


def instant(value: str | None) -> datetime | None:
    """An RFC 3339 instant in UTC."""
    if not value:
        return None
    parsed = datetime.fromisoformat(value)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)


def lay_out(
    events: Sequence[Mapping[str, Any]], operations: Sequence[Mapping[str, Any]], now: datetime
) -> tuple[list[Moment], list[Moment]]:
    """What lies ahead of `now` (nearest first) and what is past (latest first)."""
    moments = [_of_event(event) for event in events]
    moments += [_of_operation(operation) for operation in operations]
    ahead = sorted((each for each in moments if each.at > now), key=lambda each: each.at)
    past = sorted(
        (each for each in moments if each.at <= now), key=lambda each: each.at, reverse=True
    )
    return ahead, past


def bundle(moments: Sequence[Moment]) -> list[list[Moment]]:
    """Moments as they are shown: long runs of operations that are over become one bundle."""
    bundles: list[list[Moment]] = []
    for is_over, run in groupby(moments, key=_is_over):
        members = list(run)
        if is_over and len(members) >= BUNDLE_MIN:
            bundles.append(members)
        else:
            bundles += [[each] for each in members]
    return bundles


def _is_over(moment: Moment) -> bool:
    return moment.kind == "operation" and bool(moment.source.get("ended_at"))


def _of_event(event: Mapping[str, Any]) -> Moment:
    recorded = instant(event.get("time")) or instant(event.get("recorded_at"))
    at = instant(event.get("effective_at")) or recorded
    assert at is not None
    data = event.get("data") or {}
    details = [(name, data[name]) for name in (*DETAIL_FIELDS, "immediate") if data.get(name)]
    apart = recorded is not None and abs(recorded - at) > RECORDED_LATER
    title = EVENT_TITLES.get(event["type"], event["type"])
    return Moment(
        at,
        "event",
        title,
        AHEAD_TITLES.get(event["type"], title),
        tuple(details),
        recorded if apart else None,
        bool(event.get("rescinded")),
        event,
    )


def _of_operation(operation: Mapping[str, Any]) -> Moment:
    at = instant(operation["requested_at"])
    assert at is not None
    title = OPERATION_TITLES.get(operation["kind"], operation["kind"])
    if operation["kind"] in ("grant", "revoke"):
        functions = operation.get("functions") or [operation.get("function") or "access"]
        title += " " + ", ".join(str(name).replace("_", " ") for name in functions)
    title += f" at {operation['portal_name']}"
    return Moment(at, "operation", title, title, (), None, False, operation)
