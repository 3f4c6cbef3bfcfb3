"""The example clinic's files: its directory and what its HR sent, read for one day of playing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import yaml

from deploy.story.dates import expand, instant
from shared.contracts.directory import Directory
from shared.contracts.directory_file import read_directory_document
from shared.contracts.envelope import rfc3339

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CEDAR_SOUND = EXAMPLES / "cedar-sound"

Event = dict[str, Any]
"""One CloudEvent in structured form, as HR systems post it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Part of the feed; what it causes is finished before the next part is sent.

    `worked_off` says what administrators then do by hand, by portal.
    """

    id: str
    name: str
    worked_off: Mapping[str, Literal["everything", "removals"]]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Feed:
    """What HR sent, in the order of delivery; an event may occur more than once."""

    organization: str
    zone: ZoneInfo
    stages: tuple[Stage, ...]

    def events(self) -> Iterator[Event]:
        """Every delivery of every stage."""
        for stage in self.stages:
            yield from stage.events


def read_directory(path: Path, today: date) -> Directory:
    """The directory in a YAML file whose days may be relative to `today`.

    Raises:
        ValueError: a relative day cannot be read, or the file is not a directory.
    """
    content = yaml.safe_load(path.read_text())
    zone = ZoneInfo(content["organization"]["zone"])
    return read_directory_document(expand(content, today, zone))


def read_feed(path: Path, today: date) -> Feed:
    """The HR feed in a YAML file, as CloudEvents for somebody who plays it on `today`.

    Raises:
        ValueError: a day cannot be read, an id is given twice, or `again` names no earlier event.
    """
    content = yaml.safe_load(path.read_text())
    zone = ZoneInfo(content["zone"])
    known: dict[str, Event] = {}

    def event(line: dict[str, Any]) -> Event:
        if set(line) == {"again"}:
            if line["again"] not in known:
                raise ValueError(f"again: no earlier event is called {line['again']}")
            return known[line["again"]]
        if line["id"] in known:
            raise ValueError(f"event {line['id']} is given twice")
        known[line["id"]] = {
            "specversion": "1.0",
            "id": line["id"],
            "type": line["type"],
            "source": line.get("source", content["source"]),
            "subject": line["subject"],
            "time": rfc3339(instant(line["at"], today, zone)),
            "organization": content["organization"],
            "datacontenttype": "application/json",
            "data": expand(line["data"], today, zone),
        }
        return known[line["id"]]

    return Feed(
        content["organization"],
        zone,
        tuple(
            Stage(
                stage["id"],
                stage["name"],
                stage["worked_off"],
                tuple(event(line) for line in stage["events"]),
            )
            for stage in content["stages"]
        ),
    )


def day_of_playing(feed: Feed, today: date, recorded: datetime) -> date:
    """The day on which a feed was played before.

    Args:
        feed: the same feed, read for `today`; its first event has a time relative to that day.
        recorded: the `time` of that first event as the services know it.
    """
    first = datetime.fromisoformat(next(feed.events())["time"])
    days = (recorded.astimezone(feed.zone).date() - first.astimezone(feed.zone).date()).days
    return today + timedelta(days=days)
