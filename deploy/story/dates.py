"""Days and instants relative to the day an example is played: `-120d`, `last friday 17:00`.

A day is `today`, a signed number of days or weeks (`-120d`, `+2w`), `last friday` or `next monday`
(never today itself), or a calendar date. An instant is a day and a time of day on the wall clock of
the organization's zone.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_OFFSET = re.compile(r"([+-]\d{1,5})([dw])")
_WEEKDAY = re.compile(rf"(last|next) ({'|'.join(WEEKDAYS)})")
_TIME = re.compile(r"(.+) (\d{2}:\d{2})")

DAY_FIELDS = frozenset(
    {
        "completed_on",
        "effective_from",
        "effective_on",
        "ends_on",
        "expired_on",
        "expires_on",
        "grandfathered_until",
        "grandfathers_hired_before",
        "holidays",
        "registered_on",
        "signed_on",
        "since",
        "until",
        "verified_on",
    }
)
INSTANT_FIELDS = frozenset({"effective_at"})


def day(text: str, today: date) -> date:
    """The calendar day that `text` means when it is read on `today`.

    Raises:
        ValueError: it is none of the forms of this module.
    """
    if text == "today":
        return today
    if offset := _OFFSET.fullmatch(text):
        return today + timedelta(days=int(offset[1]) * (7 if offset[2] == "w" else 1))
    if weekday := _WEEKDAY.fullmatch(text):
        wanted = WEEKDAYS.index(weekday[2])
        if weekday[1] == "last":
            return today - timedelta(days=(today.weekday() - wanted - 1) % 7 + 1)
        return today + timedelta(days=(wanted - today.weekday() - 1) % 7 + 1)
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a day such as -120d, today or last friday") from error


def instant(text: str, today: date, zone: ZoneInfo) -> datetime:
    """The instant in UTC that `text` means: a day and a time on the wall clock of `zone`.

    A time that the clock change leaves out means the instant it would have been without the change;
    one that happens twice means the first.

    Raises:
        ValueError: the time of day is missing or one of the two cannot be read.
    """
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} lacks a time of day such as 17:00")
    wall = datetime.combine(day(parts[1], today), time.fromisoformat(parts[2]), tzinfo=zone)
    return wall.astimezone(UTC)


def expand(value: Any, today: date, zone: ZoneInfo, field: str = "") -> Any:
    """`value` as JSON has it, with every relative day and instant in it replaced.

    What a field holds follows from its name: see `DAY_FIELDS` and `INSTANT_FIELDS`.

    Raises:
        ValueError: such a field holds something that cannot be read; the message names the field.
    """
    if isinstance(value, dict):
        return {key: expand(member, today, zone, str(key)) for key, member in value.items()}
    if isinstance(value, list):
        return [expand(member, today, zone, field) for member in value]
    if isinstance(value, date):  # YAML reads 2026-11-23 as a date
        return value.isoformat()
    if not isinstance(value, str):
        return value
    try:
        if field in DAY_FIELDS:
            return day(value, today).isoformat()
        if field in INSTANT_FIELDS:
            return instant(value, today, zone).isoformat().replace("+00:00", "Z")
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
    return value
