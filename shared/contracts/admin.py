"""What people and machines did at an HTTP surface: the events on `admin.activity-events.v1`.

The key is organization/actor and the subject is the actor. An actor who could not be told (a wrong
sign-in link, a wrong signature) is `UNKNOWN_ACTOR`, an HR source goes by its name; where no
organization could be told either, the fact is about the installation itself, `INSTALLATION`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

INSTALLATION = "installation"
UNKNOWN_ACTOR = "unknown"
SEALED_ACTOR = "sealed"
"""Whoever acts on an embargoed entry, until it takes effect."""


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """Somebody signed in. `session` is the session's public id, never the secret that opens it.

    `method` tells how they proved who they are; `expires_at` is UTC.
    """

    session: str
    method: str
    roles: tuple[str, ...]
    expires_at: datetime
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """A sign-in was refused: `code` names the rule, e.g. `link_used`."""

    code: str
    method: str


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """A session is over.

    `reason` is `signed_out`, `expired`, `renewed` by signing in again, or `left`: the person has.
    """

    session: str
    reason: str


@dataclass(frozen=True, slots=True)
class CommandAccepted:
    """A command was carried out. `target` is what it was about, e.g. an operation's id.

    `payload` is what was asked, where that is JSON of moderate size; `sha256`, in hexadecimal, is
    of what was asked, whatever it was.
    """

    command: str
    target: str
    session: str | None = None
    payload: Any = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """A command was refused: `code` names the rule, `status` is the HTTP status answered."""

    command: str
    target: str
    code: str
    status: int
    session: str | None = None
    payload: Any = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRead:
    """Data of the audit log was read: one event per query, export or stream opened.

    `what` is `entries`, `entry`, `proof`, `export` or `stream`; `filters` are the query as it was
    asked; `first` and `last` are the indexes of the entries shown, where any were.
    """

    what: str
    filters: Mapping[str, str] = field(default_factory=dict)
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class ExportMade:
    """An export of the audit log was made: what was asked for, and what the file holds.

    `form` is `jsonl`, `csv` or `evidence`; `size` is how many entries the log had; `sha256` is the
    file's, in hexadecimal.
    """

    export: str
    form: str
    asked: Mapping[str, str]
    entries: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class HoldSet:
    """A legal hold was set: what is about its subject is neither erased nor pruned.

    `kind` is `worker`, `portal`, `review` or `organization`.
    """

    hold: str
    kind: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class HoldReleased:
    """A legal hold was released; `reason` says why it is no longer needed."""

    hold: str
    kind: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class KeyRotated:
    """A key was replaced.

    `kind` is `signing` (`key` is the audit log's new verifier key, which the one before has named
    as its successor), `master` (`key` is the first half of the audit log's new key's SHA-256, in
    hexadecimal), `client` (`key` is the id of the program whose secret it is) or `source_secret`
    (`key` is the first eight bytes of the new webhook secret's SHA-256, in hexadecimal; `source` is
    the HR source, whose other secrets count until `others_end_at`, UTC).
    """

    kind: str
    key: str
    source: str | None = None
    others_end_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HrFileHeld:
    """A list of workers lacks so many people that a person must look; nobody lost access.

    `plan` is the list's id, `missing` of `expected` are the people whom its source named before.
    """

    source: str
    plan: str
    file: str
    missing: int
    expected: int


@dataclass(frozen=True, slots=True)
class HrFileLate:
    """No list of a source has arrived by the time that one was expected (UTC)."""

    source: str
    expected_at: datetime
    last_file_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NotificationDelivered:
    """Somebody was told: a channel took the message.

    `recipient` is a worker id, `team:NAME` or `webhook:ID`; `about` are ids of operations or
    reviews, with what was said of each. Addresses and texts are on no topic.
    """

    recipient: str
    channels: tuple[str, ...]
    about: tuple[str, ...]
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class NotificationFailed:
    """Somebody could not be told: `code` is `refused` by each channel, or `no_address`.

    `retry_at` is when it is tried again; nothing that is not urgent is.
    """

    recipient: str
    code: str
    about: tuple[str, ...]
    attempts: int = 1
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EntrySealed:
    """Somebody in HR sealed an entry until it takes effect; nothing else is said of it before.

    `commitment` is in hexadecimal: SHA-256 over the label `portalkeeper embargo v1` and a line
    feed, a salt of 32 bytes, organization, source and id joined by U+001F, and the event's
    fingerprint.
    """

    commitment: str


@dataclass(frozen=True, slots=True)
class EntryWithdrawn:
    """A sealed entry was withdrawn, or replaced by another, before it took effect."""

    commitment: str


@dataclass(frozen=True, slots=True)
class EntryOpened:
    """A sealed entry took effect and was sent as the HR event `event`.

    The actor is who entered it. With `salt`, in hexadecimal, the event can be held against the
    commitment.
    """

    commitment: str
    salt: str
    event: str


ADMIN_EVENT_MODELS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "session.opened": SessionOpened,
        "session.refused": SessionRefused,
        "session.closed": SessionClosed,
        "command.accepted": CommandAccepted,
        "command.refused": CommandRefused,
        "audit.read": AuditRead,
        "export.made": ExportMade,
        "hold.set": HoldSet,
        "hold.released": HoldReleased,
        "key.rotated": KeyRotated,
        "notification.delivered": NotificationDelivered,
        "notification.failed": NotificationFailed,
        "hr_file.held": HrFileHeld,
        "hr_file.late": HrFileLate,
        "entry.sealed": EntrySealed,
        "entry.withdrawn": EntryWithdrawn,
        "entry.opened": EntryOpened,
    }
)
