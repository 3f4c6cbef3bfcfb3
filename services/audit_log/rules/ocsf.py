"""The same facts as OCSF events for SIEMs, purely: Open Cybersecurity Schema Framework 1.8.0.

Only ids travel, never names or texts, so that what a subscriber keeps need not be erased. Whoever
wants more asks the log for the entry, whose index is `metadata.sequence`. `metadata.uid` names
the entry, so that it is the same whenever that is published again, and nothing else has it;
`metadata.original_event_uid` is the id that the source gave.

    what happened                  class
    access granted or revoked      User Access Management (3005)
    a login opened, ended, …       Account Change (3001)
    somebody signed in or out      Authentication (3002)
    everything else                Entity Management (3004)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from shared.contracts.envelope import Envelope

VERSION = "1.8.0"
CATEGORY = 3
"""Identity & Access Management."""

ACCOUNT_CHANGE, AUTHENTICATION, ENTITY_MANAGEMENT, USER_ACCESS = 3001, 3002, 3004, 3005
SUCCESS, FAILURE, OTHER = 1, 2, 99
INFORMATIONAL, LOW, MEDIUM = 1, 2, 3

ACTIVITIES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "entitlement.granted": (USER_ACCESS, 1),
        "entitlement.revoked": (USER_ACCESS, 2),
        "account.opened": (ACCOUNT_CHANGE, 1),
        "account.adopted": (ACCOUNT_CHANGE, 1),
        "account.resumed": (ACCOUNT_CHANGE, 2),
        "account.suspended": (ACCOUNT_CHANGE, 5),
        "account.lapsed": (ACCOUNT_CHANGE, 5),
        "account.closed": (ACCOUNT_CHANGE, 6),
        "session.opened": (AUTHENTICATION, 1),
        "session.refused": (AUTHENTICATION, 1),
        "session.closed": (AUTHENTICATION, 2),
        "audit.read": (ENTITY_MANAGEMENT, 2),
        "export.made": (ENTITY_MANAGEMENT, 2),
        "worker.hired": (ENTITY_MANAGEMENT, 1),
        "worker.erased": (ENTITY_MANAGEMENT, 4),
        "operation.requested": (ENTITY_MANAGEMENT, 1),
        "review.opened": (ENTITY_MANAGEMENT, 1),
        "campaign.opened": (ENTITY_MANAGEMENT, 1),
        "finding.raised": (ENTITY_MANAGEMENT, 1),
        "exposure.started": (ENTITY_MANAGEMENT, 1),
    }
)
"""Class and activity of a type of event; others are updates, `*.removed` deletes."""

ENTITY_UPDATE, ENTITY_DELETE = 3, 4
FAILED = frozenset({"refused", "failed", "declined", "rejected"})
ALARMING = frozenset({"exposure.started", "operation.overdue", "brake.engaged", "gap.accepted"})


@dataclass(frozen=True, slots=True)
class Entry:
    """What an OCSF event needs of an entry: its index, its log, and instants in milliseconds."""

    index: int
    origin: str
    recorded_at: int
    topic: str


def to_ocsf(event: Envelope, entry: Entry) -> dict[str, Any]:
    """An event as OCSF."""
    data = _object(event.data)
    class_uid, activity = ACTIVITIES.get(event.type, (ENTITY_MANAGEMENT, _activity(event.type)))
    failed = event.type.rpartition(".")[2] in FAILED
    made: dict[str, Any] = {
        "category_uid": CATEGORY,
        "class_uid": class_uid,
        "activity_id": activity,
        "type_uid": class_uid * 100 + activity,
        "time": _milliseconds(event),
        "severity_id": _severity(event.type, failed=failed),
        "status_id": FAILURE if failed else SUCCESS,
        "message": event.type,
        "metadata": {
            "version": VERSION,
            "product": {"name": "Portalkeeper", "vendor_name": "Portalkeeper"},
            # The id that a source gives is unique among its own events only.
            "uid": f"{entry.origin}/{entry.index}",
            "original_event_uid": event.id,
            "event_code": event.type,
            "log_name": entry.origin,
            "sequence": entry.index,
            "logged_time": entry.recorded_at,
            "tenant_uid": event.organization,
        },
    }
    if (code := data.get("code") or data.get("rule")) and isinstance(code, str):
        made["status_code"] = code
    actor = _actor(event, data)
    if actor is not None:
        made["actor"] = {"user": {"uid": actor}}
    return made | _about(class_uid, event, data, entry)


def _about(class_uid: int, event: Envelope, data: dict[str, Any], entry: Entry) -> dict[str, Any]:
    user = {"uid": event.subject}
    if class_uid == USER_ACCESS:
        privileges = _texts(data.get("functions")) + _texts(data.get("function"))
        resource = {"uid": data["portal"]} if isinstance(data.get("portal"), str) else None
        about: dict[str, Any] = {"user": user, "privileges": privileges or ["access"]}
        return about | ({"resources": [resource]} if resource else {})
    if class_uid == ACCOUNT_CHANGE:
        return {"user": user, **_unmapped(portal=data.get("portal"))}
    if class_uid == AUTHENTICATION:
        return {"user": user, "service": {"name": "Portalkeeper"}}
    named = {"uid": event.subject, "type": event.type.partition(".")[0]}
    names = ("portal", "operation_id", "review_id", "campaign_id", "command", "target", "kind")
    return {"entity": named, **_unmapped(**{name: data.get(name) for name in names})}


def _unmapped(**fields: Any) -> dict[str, Any]:
    """What OCSF has no field for; ids and tokens only."""
    said = {name: value for name, value in fields.items() if isinstance(value, str) and value}
    return {"unmapped": said} if said else {}


def _activity(type_: str) -> int:
    return ENTITY_DELETE if type_.endswith(".removed") else ENTITY_UPDATE


def _severity(type_: str, *, failed: bool) -> int:
    if type_ in ALARMING:
        return MEDIUM
    return LOW if failed else INFORMATIONAL


def _actor(event: Envelope, data: dict[str, Any]) -> str | None:
    for name in ("confirmed_by", "claimed_by", "decided_by", "approved_by", "accepted_by", "by"):
        if isinstance(found := data.get(name), str) and found:
            return found
    administrative = event.type.partition(".")[0] in ("session", "command", "audit", "export")
    return event.subject if administrative else None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _milliseconds(event: Envelope) -> int:
    return int(event.time.timestamp() * 1000)
